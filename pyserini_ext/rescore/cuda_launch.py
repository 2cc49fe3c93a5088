"""Launches of the CUDA kernels: which one, on what grid, with what arguments in what order."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from pyserini_ext.rescore import cuda_plan
from pyserini_ext.rescore.rows import METRICS, StoredRows

NULL = np.uint64(0)
"""In the place of an array that a kernel does without."""

THREADS = 256
"""In a block, unless said otherwise (``THREADS`` in the kernels)."""


class Launch(NamedTuple):
    """A launch of a kernel, on a GPU or in the emulation of one.

    Attributes
    ----------
    kernel : str
    grid : int
        Blocks; with none, there is nothing to do.
    block : int
        Threads in each.
    arguments : tuple
        Arrays on the device, and NumPy scalars of the size that the kernel declares.
    shared : int
        Bytes of shared memory beside what the kernel declares.
    """

    kernel: str
    grid: int
    block: int
    arguments: tuple[Any, ...]
    shared: int = 0


class Device(Protocol):
    """What launches are for: a GPU, or its emulation in the tests.

    Attributes
    ----------
    multiprocessors : int
    shared_bytes : int
        The most shared memory that a block can have.
    xp : module
        NumPy's functions for arrays on the device.
    """

    multiprocessors: int
    shared_bytes: int
    xp: Any

    @property
    def memory(self) -> int:
        """Return the bytes that could be had now."""

    def put(self, array: np.ndarray) -> Any:
        """Copy an array to the device."""

    def put_rows(
        self, rows: StoredRows, stride: int, chosen: np.ndarray | None = None
    ) -> DeviceRows:
        """Copy stored rows, all or the chosen ones, to the device."""

    def empty(self, shape: Any, dtype: Any) -> Any:
        """Return an array of any content on the device."""

    def get(self, array: Any) -> np.ndarray:
        """Copy an array from the device, after everything that was launched."""

    def launch(self, launch: Launch) -> None:
        """Run a kernel after those before it."""


class DeviceRows(NamedTuple):
    """Stored rows on the device.

    Attributes
    ----------
    data : array of uint8, shape (n, stride)
        `stride` is a multiple of 16.
    scales : array of float32, shape (n,), or ``NULL``
    stride : int
        Bytes from one row to the next.
    """

    data: Any
    scales: Any
    stride: int


def gather(
    device: Device,
    queries: Any,
    norms: Any,
    rows: StoredRows,
    stored: DeviceRows,
    wanted: Any,
    offsets: Any,
    tiles: cuda_plan.Tiles,
    metric: str,
    scores: Any,
) -> Launch:
    """Score candidates (``gather_dot.cu``).

    Parameters
    ----------
    device : Device
        Where the arrays are.
    queries : array of float32, shape (q, dimension)
    norms : array of float32, shape (q,), or ``NULL``
        Lengths of the queries; only for the cosine.
    rows : StoredRows
        For its dtype and dimension.
    stored : DeviceRows
    wanted : array of int32, shape (m,)
    offsets : array of int64, shape (q + 1,)
    tiles : Tiles
    metric : str
    scores : array of float32, shape (m,)
        Is written.
    """
    common: tuple[Any, ...] = (
        *(queries, norms, stored.data, np.int64(stored.stride), stored.scales),
        *(np.int32(rows.dimension), wanted, offsets),
        *(device.put(tiles.query), device.put(tiles.first), np.int32(tiles.size)),
    )
    if rows.dtype == "binary":
        name, arguments = "gather_binary_8", (*common, np.int32(METRICS.index(metric)), scores)
    else:
        name = f"gather_{rows.dtype}_{metric}_{cuda_plan.lanes(rows)}"
        arguments = (*common, scores)
    return Launch(name, len(tiles.query), THREADS, arguments, cuda_plan.staged_bytes(rows))

"""A CUDA device through CuPy: arrays on it, launches on it, and why there may be none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.rescore import cuda_source
from pyserini_ext.rescore.cuda_launch import NULL, DeviceRows, Launch
from pyserini_ext.rescore.rows import StoredRows

INSTALL = "pip install 'pyserini-ext[cuda13]' (or [cuda12], as the driver is)"

STAGING = 64 << 20
"""Bytes of page-locked memory through which rows travel: the copy is then at the bus's speed."""


class CudaDevice:
    """One GPU.

    Parameters
    ----------
    number : int
        As in ``cuda:0``.

    Attributes
    ----------
    multiprocessors : int
    shared_bytes : int
        Shared memory that one block can have.
    xp : module
        CuPy.
    """

    def __init__(self, number: int = 0) -> None:
        import cupy

        self._cupy = self.xp = cupy
        self._device = cupy.cuda.Device(number)
        attributes = self._device.attributes
        self.multiprocessors: int = attributes["MultiProcessorCount"]
        self.shared_bytes: int = attributes["MaxSharedMemoryPerBlockOptin"]
        self._functions: dict[str, Any] = {}
        self._staging: list[tuple[np.ndarray, Any]] = []

    @staticmethod
    def unavailable(number: int = 0) -> str | None:
        """Return why there is no such device and what would change that, or None if there is."""
        return _unavailable(number)

    @property
    def memory(self) -> int:
        """Bytes that could be had now."""
        with self._device:
            pool = self._cupy.get_default_memory_pool()
            return int(self._cupy.cuda.runtime.memGetInfo()[0]) + pool.free_bytes()

    def put(self, array: np.ndarray) -> Any:
        """Copy an array to the device.

        Raises
        ------
        InputError
            If its memory is full.
        """
        with self._device, self._full():
            return self._cupy.asarray(array)

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        """Return an array of any content on the device (raises as :meth:`put` does)."""
        with self._device, self._full():
            return self._cupy.empty(shape, dtype)

    def get(self, array: Any) -> np.ndarray:
        """Copy an array from the device, after everything that was launched."""
        with self._device:
            return self._cupy.asnumpy(array)

    def put_rows(
        self, rows: StoredRows, stride: int, chosen: np.ndarray | None = None
    ) -> DeviceRows:
        """Copy stored rows to the device, through page-locked memory.

        Parameters
        ----------
        rows : StoredRows
        stride : int
            Bytes from row to row on the device.
        chosen : ndarray of int, optional
            Only these rows, in this order.
        """
        count = len(rows) if chosen is None else len(chosen)
        with self._device:
            data = self.empty((count, stride), np.uint8)
            stream = self._cupy.cuda.get_current_stream()
            at_once = max(1, STAGING // stride)
            for start in range(0, count, at_once):
                stop = min(start + at_once, count)
                which = slice(start, stop) if chosen is None else chosen[start:stop]
                # Two buffers: one is filled while the other travels.
                buffer, travelled = self._buffer(start // at_once % 2, (stop - start) * stride)
                copy_rows(rows, which, buffer.reshape(-1, stride))
                # Without a stream the copy would be waited for.
                data[start:stop].set(buffer.reshape(-1, stride), stream)
                travelled.record()
        scales: Any = NULL
        if rows.scales is not None:
            scales = self.put(np.asarray(rows.scales if chosen is None else rows.scales[chosen]))
        return DeviceRows(data, scales, stride)

    def launch(self, launch: Launch) -> None:
        """Run a kernel after those before it.

        Raises
        ------
        cupy.cuda.driver.CUDADriverError
            If an earlier kernel failed.
        """
        if not launch.grid:
            return
        with self._device:
            function = self._function(launch.kernel)
            # Above 48 KiB, what the kernel declares itself included, it must be asked for.
            if launch.shared > 40 << 10:
                function.max_dynamic_shared_size_bytes = launch.shared
            function((launch.grid,), (launch.block,), launch.arguments, shared_mem=launch.shared)

    def synchronize(self) -> None:
        """Wait for everything that was launched; a kernel's error is raised here at the latest."""
        with self._device:
            self._cupy.cuda.get_current_stream().synchronize()

    @contextmanager
    def _full(self) -> Iterator[None]:
        try:
            yield
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            raise InputError(
                f"the memory of the GPU is full ({error}); give it fewer queries at a time or use "
                "device cpu"
            ) from error

    def _function(self, kernel: str) -> Any:
        if kernel not in self._functions:
            family = cuda_source.family_of(kernel)
            module = _module(family)
            for name in cuda_source.KERNELS[family]:
                self._functions[name] = module.get_function(name)
        return self._functions[kernel]

    def _buffer(self, number: int, size: int) -> tuple[np.ndarray, Any]:
        while len(self._staging) <= number:
            memory = self._cupy.cuda.alloc_pinned_memory(STAGING)
            event = self._cupy.cuda.Event(disable_timing=True)
            self._staging.append((np.frombuffer(memory, np.uint8, STAGING), event))
        buffer, travelled = self._staging[number]
        travelled.synchronize()
        return buffer[:size], travelled


def copy_rows(rows: StoredRows, which: slice | np.ndarray, into: np.ndarray) -> None:
    """Copy the bytes of rows into longer or shorter ones; what remains of the longer is zero.

    Parameters
    ----------
    rows : StoredRows
    which : slice or ndarray of int
    into : ndarray of uint8, shape (n, stride)
        At least the bytes of the components long, and a row of `rows` may be shorter than that.
    """
    source = np.asarray(rows.data).view(np.uint8)
    length = min(source.shape[1], into.shape[1])
    if length == source.shape[1] == into.shape[1] and not isinstance(which, slice):
        np.take(source, which, axis=0, out=into, mode="clip")  # "raise" would buffer the output
    else:
        into[:, :length] = source[which, :length]
        into[:, length:] = 0


@cache
def _module(family: str) -> Any:
    import cupy

    return cupy.RawModule(code=cuda_source.text(family), options=cuda_source.OPTIONS)


@cache
def _unavailable(number: int) -> str | None:
    try:
        import cupy.cuda
    except ImportError as error:
        return f"CuPy cannot be imported ({error}); {INSTALL}"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy's own classes differ between no driver, too old and no device
        return f"no CUDA device can be used: {error}; is the NVIDIA driver installed?"
    if not count:
        return "no CUDA device is visible; see nvidia-smi"
    if number >= count:
        return f"no device cuda:{number}; there are cuda:0 to cuda:{count - 1}"
    return None

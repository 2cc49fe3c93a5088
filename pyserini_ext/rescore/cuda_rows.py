"""Which stored rows are on a GPU, and how many fit."""

from __future__ import annotations

import weakref

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.rescore import cuda_plan
from pyserini_ext.rescore.cuda_launch import Device, DeviceRows
from pyserini_ext.rescore.rows import StoredRows

PAIR_BYTES = 64
"""Memory that a candidate takes at most beside its row: numbers, scores, keys."""


class RowsOnDevice:
    """Stored rows on a device, each set brought there once and kept while its object lives.

    Parameters
    ----------
    device : Device
    memory : int, optional
        Bytes to use at most; what is free by default.
    """

    def __init__(self, device: Device, memory: int | None = None) -> None:
        self._device, self._memory = device, memory
        self._resident: dict[int, DeviceRows] = {}

    def __len__(self) -> int:
        return len(self._resident)

    def clear(self) -> None:
        """Give the memory of all of them back."""
        self._resident.clear()

    def get(self, rows: StoredRows, pairs: int) -> DeviceRows | None:
        """Return all rows on the device, None if they do not fit beside that many candidates."""
        key = id(rows)
        if key not in self._resident:
            size = len(rows) * (row_stride(rows) + (4 if rows.dtype == "int8" else 0))
            if size + pairs * PAIR_BYTES > self._free():
                return None
            self._resident[key] = self._device.put_rows(rows, row_stride(rows))
            weakref.finalize(rows, _forget, weakref.ref(self), key)
        return self._resident[key]

    def most(self, rows: StoredRows, pairs: int) -> int:
        """Return how many rows may be on the device at once beside that many candidates.

        Raises
        ------
        InputError
            If not one may.
        """
        # Two blocks: one arrives while the other is scored.
        room = (self._free() - pairs * PAIR_BYTES) // (2 * (row_stride(rows) + 4))
        if room < 1:
            raise InputError(
                f"the GPU has {self._free() >> 20} MiB free, too little for {pairs} candidates; "
                "give it fewer queries at a time or use device cpu"
            )
        return int(room)

    def _free(self) -> int:
        # A tenth stays for CuPy and the driver.
        free = self._device.memory * 9 // 10
        return free if self._memory is None else min(free, self._memory)


def row_stride(rows: StoredRows) -> int:
    """Return the bytes from row to row on the device: those of the store where they will do."""
    own = np.asarray(rows.data).strides[0] if len(rows) > 1 else 0
    least = cuda_plan.row_bytes(rows)
    return own if own % cuda_plan.PIECE == 0 and own >= least else -(-least // 32) * 32


def _forget(owner: weakref.ref[RowsOnDevice], key: int) -> None:
    if (alive := owner()) is not None:
        alive._resident.pop(key, None)

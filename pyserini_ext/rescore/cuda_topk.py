"""The best candidates of each query on a GPU: sorting stretches of the lists and merging them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from pyserini_ext.rescore import cuda_plan
from pyserini_ext.rescore.cuda_launch import NULL, Device, Launch
from pyserini_ext.rescore.rows import Ranked
from pyserini_ext.rescore.top import offsets_after

LARGEST_SORT = 4096
"""Candidates that one block sorts (``LARGEST_SORT`` in ``topk.cu``)."""

THREADS = 512
"""In a block (``THREADS`` in ``topk.cu``)."""

KEY_BYTES = {"plain": 8, "mixed": 16}


class Round(NamedTuple):
    """Pairs of neighbouring runs, all to be merged at once.

    The runs come from the candidates ``begin[i]`` to ``middle[i]`` and ``middle[i]`` to ``end[i]``;
    the second is empty where a run has no neighbour. Only `k` keys of each are there.

    Attributes
    ----------
    begin, middle, end : ndarray of int64, shape (p,)
    block_pair, block_start : ndarray of int32, shape (b,)
        The pair that a block of threads works on, and the number of its first key.
    """

    begin: np.ndarray
    middle: np.ndarray
    end: np.ndarray
    block_pair: np.ndarray
    block_start: np.ndarray


def rounds(offsets: np.ndarray, k: int) -> Iterator[Round]:
    """Plan the merging of the lists that one block cannot sort."""
    long = np.flatnonzero(np.diff(offsets) > LARGEST_SORT)
    width = LARGEST_SORT
    while len(long) and width < np.diff(offsets)[long].max():
        begin = np.concatenate([np.arange(offsets[i], offsets[i + 1], 2 * width) for i in long])
        end = np.concatenate(
            [
                np.minimum(np.arange(offsets[i], offsets[i + 1], 2 * width) + 2 * width, stop)
                for i, stop in zip(long, offsets[long + 1], strict=True)
            ]
        )
        middle = np.minimum(begin + width, end)
        keys = np.minimum(middle - begin, k) + np.minimum(end - middle, k)
        yield Round(begin, middle, end, *_blocks(keys))
        width *= 2


class Steps:
    """The launches that keep the best `k` of each query (``topk.cu``), their tables on the device.

    Parameters
    ----------
    device : Device
    dense : array of float32, shape (m,)
        On the device; read at each :meth:`launch`.
    offsets : ndarray of int64, shape (q + 1,)
    k : int
    sparse : ndarray of float32, shape (m,), optional
    alpha : float
    """

    def __init__(
        self,
        device: Device,
        dense: Any,
        offsets: np.ndarray,
        k: int,
        sparse: np.ndarray | None = None,
        alpha: float = 0.0,
    ) -> None:
        lengths = np.diff(offsets)
        longest = int(lengths.max(initial=0))
        k = min(k, longest)
        kind, dtype = ("plain", np.float32) if sparse is None else ("mixed", np.float64)
        self._device, self._kept = device, offsets_after(offsets, k)
        self._positions = device.empty(int(self._kept[-1]), np.int32)
        self._scores = device.empty(int(self._kept[-1]), dtype)
        ranked = (dense, NULL if sparse is None else device.put(sparse), np.float64(alpha))
        lists, kept = device.put(offsets), device.put(self._kept)
        outputs = (self._positions, self._scores)

        merging = longest > LARGEST_SORT
        size = int(offsets[-1]) * KEY_BYTES[kind] if merging else KEY_BYTES[kind]
        runs, others = (device.empty(size, np.uint8) for _ in range(2))
        tiles = cuda_plan.tiles(offsets, LARGEST_SORT)
        table = (lists, device.put(tiles.query), device.put(tiles.first))
        room = max(32, 1 << max(0, min(longest, LARGEST_SORT) - 1).bit_length())
        arguments: tuple[Any, ...] = (*ranked, *table, np.int32(k), kept, runs, *outputs)
        name, shared = f"topk_sort_{kind}", room * KEY_BYTES[kind]
        self._launches = [Launch(name, len(tiles.query), THREADS, arguments, shared)]
        for each in rounds(offsets, k):
            arguments = (runs, others, *map(device.put, each), np.int32(k))
            name = f"topk_merge_{kind}"
            self._launches.append(Launch(name, len(each.block_pair), THREADS, arguments))
            runs, others = others, runs
        if merging:
            long = np.flatnonzero(lengths > LARGEST_SORT)
            pair, start = _blocks(np.diff(self._kept)[long])
            merged = (lists, kept, device.put(long[pair].astype(np.int32)), device.put(start))
            arguments = (*ranked, runs, *merged, *outputs)
            self._launches.append(Launch(f"topk_emit_{kind}", len(pair), THREADS, arguments))

    def launch(self) -> None:
        """Start them."""
        for each in self._launches:
            self._device.launch(each)

    def result(self) -> Ranked:
        """Wait for them and return what they found."""
        positions, scores = (self._device.get(each) for each in (self._positions, self._scores))
        return Ranked(positions, scores, self._kept)


def _blocks(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut runs of so many keys into blocks of threads: the run and the first key of each."""
    cut = cuda_plan.tiles(np.concatenate(([0], np.cumsum(keys))), THREADS)
    before = np.cumsum(keys) - keys
    return cut.query, (cut.first - before[cut.query]).astype(np.int32)

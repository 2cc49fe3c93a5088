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


def best(
    device: Device,
    dense: Any,
    offsets: np.ndarray,
    k: int,
    sparse: np.ndarray | None = None,
    alpha: float = 0.0,
) -> Ranked:
    """Keep the best `k` of each query (``topk.cu``).

    Parameters
    ----------
    device : Device
    dense : array of float32, shape (m,)
        On the device.
    offsets : ndarray of int64, shape (q + 1,)
    k : int
    sparse : ndarray of float32, shape (m,), optional
    alpha : float
    """
    kind, dtype = ("plain", np.float32) if sparse is None else ("mixed", np.float64)
    k = min(k, int(np.diff(offsets).max(initial=0)))
    kept = offsets_after(offsets, k)
    lists, outputs = device.put(offsets), device.put(kept)
    scores = (dense, NULL if sparse is None else device.put(sparse), np.float64(alpha))
    positions, values = device.empty(int(kept[-1]), np.int32), device.empty(int(kept[-1]), dtype)

    tiles = cuda_plan.tiles(offsets, LARGEST_SORT)
    longest = int(np.diff(offsets).max(initial=0))
    merging = longest > LARGEST_SORT
    size = int(offsets[-1]) * KEY_BYTES[kind] if merging else 1
    runs, others = device.empty(size, np.uint8), device.empty(size, np.uint8) if merging else None
    room = max(32, 1 << (min(longest, LARGEST_SORT) - 1).bit_length()) if longest else 0
    device.launch(
        Launch(
            f"topk_sort_{kind}",
            len(tiles.query),
            THREADS,
            (
                *(*scores, lists, device.put(tiles.query), device.put(tiles.first), np.int32(k)),
                *(outputs, runs, positions, values),
            ),
            room * KEY_BYTES[kind],
        )
    )
    for each in rounds(offsets, k):
        arguments = (runs, others, *map(device.put, each), np.int32(k))
        device.launch(Launch(f"topk_merge_{kind}", len(each.block_pair), THREADS, arguments))
        runs, others = others, runs
    if merging:
        long = np.flatnonzero(np.diff(offsets) > LARGEST_SORT)
        pair, start = _blocks(np.diff(kept)[long])
        block_query = long[pair].astype(np.int32)
        tables = (lists, outputs, device.put(block_query), device.put(start))
        arguments = (*scores, runs, *tables, positions, values)
        device.launch(Launch(f"topk_emit_{kind}", len(pair), THREADS, arguments))
    return Ranked(device.get(positions), device.get(values), kept)


def _blocks(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut runs of so many keys into blocks of threads: the run and the first key of each."""
    cut = cuda_plan.tiles(np.concatenate(([0], np.cumsum(keys))), THREADS)
    before = np.cumsum(keys) - keys
    return cut.query, (cut.first - before[cut.query]).astype(np.int32)

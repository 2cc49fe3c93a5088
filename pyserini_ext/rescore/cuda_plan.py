"""How work is cut into pieces for a GPU: plain arithmetic over candidate lists, with NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pyserini_ext.rescore.rows import Candidates, StoredRows

PIECE = 16
"""Bytes that a thread reads at once; rows on the device start at a multiple of it."""

LARGEST_TILE = 256
"""Candidates of one query that one block can take (``LARGEST_TILE`` in ``gather_dot.cu``)."""

WIDTH = {"float32": 4, "float16": 8, "int8": 16, "binary": 128}
"""Components in 16 bytes."""


class Tiles(NamedTuple):
    """Stretches of the candidate lists, none across two queries.

    Attributes
    ----------
    query : ndarray of int32, shape (t,)
    first : ndarray of int64, shape (t,)
        Among all candidates.
    size : int
        Candidates in a tile, fewer in the last one of a query.
    """

    query: np.ndarray
    first: np.ndarray
    size: int


def tiles(offsets: np.ndarray, size: int) -> Tiles:
    """Cut the list of each query into stretches of `size`; an empty list has none."""
    counts = -(-np.diff(offsets) // size)
    query = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    before = np.repeat(np.cumsum(counts) - counts, counts)
    first = offsets[:-1][query] + (np.arange(len(query)) - before) * size
    return Tiles(query, first.astype(np.int64), size)


def batches(offsets: np.ndarray, most: int) -> Iterator[slice]:
    """Cut queries into batches of at most `most` candidates; a query alone may have more."""
    start, queries = 0, len(offsets) - 1
    while start < queries:
        stop = int(np.searchsorted(offsets, offsets[start] + most, side="right")) - 1
        stop = min(max(stop, start + 1), queries)
        yield slice(start, stop)
        start = stop


def tile_size(pairs: int, multiprocessors: int) -> int:
    """Return how many candidates a block should take.

    As many as possible, because each block reads its query anew, but so that every multiprocessor
    gets several blocks when there are few candidates.
    """
    even = pairs // max(1, multiprocessors * 8)
    return int(np.clip(even // 32 * 32, 32, LARGEST_TILE))


def row_bytes(rows: StoredRows) -> int:
    """Return the bytes of a row on the device: those of its components, in whole pieces."""
    return -(-rows.dimension // WIDTH[rows.dtype]) * PIECE


def lanes(rows: StoredRows) -> int:
    """Return how many threads share a row: 8 or 32."""
    return 8 if rows.dtype == "binary" or row_bytes(rows) <= 256 else 32


def staged_bytes(rows: StoredRows) -> int:
    """Return the shared memory that a query takes beside rows of this kind."""
    if rows.dtype == "binary":
        return row_bytes(rows)
    step = lanes(rows) * WIDTH[rows.dtype]
    return -(-rows.dimension // step) * step * 4


class Block(NamedTuple):
    """The candidates that stand in one part of the store.

    Attributes
    ----------
    stored : ndarray of int64, shape (n,)
        The rows to bring to the device, ascending, each once.
    candidates : Candidates
        Row numbers are places in `stored`.
    pairs : ndarray of int64, shape (m,)
        Where each of `candidates` stands among all candidates.
    """

    stored: np.ndarray
    candidates: Candidates
    pairs: np.ndarray


def blocks(candidates: Candidates, cuts: int | np.ndarray) -> Iterator[Block]:
    """Cut candidates by their rows, for a store of which only a part fits on the device.

    Only rows that are wanted are brought there, each once for all queries.

    Parameters
    ----------
    candidates : Candidates
    cuts : int, or ndarray of int, shape (n,)
        How many rows fit; or of each distinct row, ascending, the number of its block.
    """
    stored, place = np.unique(candidates.rows, return_inverse=True)
    number = np.arange(len(stored)) // cuts if isinstance(cuts, int) else cuts
    # One stable sort instead of a pass over all candidates for each block.
    order = np.argsort(number[place], kind="stable")
    sizes = np.bincount(number[place])
    for each in np.flatnonzero(sizes):
        stop = int(sizes[: each + 1].sum())
        pairs = order[stop - sizes[each] : stop]
        first, last = np.searchsorted(number, [each, each + 1])
        rows = (place[pairs] - first).astype(np.int32)
        offsets = np.searchsorted(pairs, candidates.offsets).astype(np.int64)
        yield Block(stored[first:last].astype(np.int64), Candidates(rows, offsets), pairs)

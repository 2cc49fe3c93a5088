"""Candidates that queries share, scored row by row on a GPU instead of pair by pair."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pyserini_ext.rescore import cuda_plan
from pyserini_ext.rescore.cuda_launch import THREADS, Device, DeviceRows, Launch
from pyserini_ext.rescore.rows import Candidates, StoredRows

TILE = 8
"""Queries in shared memory at once, at most (``TILE`` in ``grouped.cu``)."""

LEAST_PAIRS, LEAST_SAVED = 1 << 20, 2000
"""Where grouping is taken: that many candidates, and bytes of rows not read again for each.

Sorting the candidates takes about as long as reading 2 KB for each of them, and some launches.
These are estimates: nothing of this was timed on a GPU yet.
"""


class Groups(NamedTuple):
    """Candidates by tile of queries, and by row within it; a group is a row with its pairs.

    Arrays are on the device but for the three of the blocks.

    Attributes
    ----------
    rows : array of int32, shape (g,)
        Ascending within a tile.
    begin : array of int32, shape (g + 1,)
        The pairs of group i are ``begin[i]`` to ``begin[i + 1]``.
    query, place : array of int32, shape (m,)
        Of each pair: its query, and where it stands among all candidates.
    block_query, block_first, block_last : ndarray of int32, shape (b,)
        Of each block of threads: the first query of its tile, and its groups.
    """

    rows: Any
    begin: Any
    query: Any
    place: Any
    block_query: np.ndarray
    block_first: np.ndarray
    block_last: np.ndarray


def pays(candidates: Candidates, rows: StoredRows) -> bool:
    """Return whether the candidates are so many, and shared by so many queries, that it pays."""
    pairs = len(candidates.rows)
    if not possible(rows) or not LEAST_PAIRS <= pairs < 1 << 31:
        return False
    return cuda_plan.row_bytes(rows) * (1 - 1 / sharing(candidates)) >= LEAST_SAVED


def possible(rows: StoredRows) -> bool:
    """Return whether there is a kernel for these rows: not for the shortest, and not for signs."""
    return rows.dtype != "binary" and cuda_plan.lanes(rows) == 32


def sharing(candidates: Candidates, tile: int = TILE, sample: int = 16) -> float:
    """Return the candidates per distinct row, within tiles of queries, from a sample of these."""
    starts = np.arange(0, len(candidates.offsets) - 1, tile)
    pairs = distinct = 0
    for start in starts[:: max(1, len(starts) // sample)]:
        stop = min(start + tile, len(candidates.offsets) - 1)
        own = candidates.rows[candidates.offsets[start] : candidates.offsets[stop]]
        pairs += len(own)
        distinct += len(np.unique(own))
    return pairs / distinct if distinct else 1.0


def group(
    device: Device, wanted: Any, offsets: Any, queries: int, rows: StoredRows
) -> tuple[Groups, int]:
    """Sort candidates into groups, on the device; return them and the queries of a tile.

    Parameters
    ----------
    device : Device
    wanted : array of int32, shape (m,)
        Rows, on the device; m > 0.
    offsets : array of int64, shape (q + 1,)
        On the device.
    queries : int
    rows : StoredRows
    """
    xp = device.xp
    tile = int(min(TILE, (device.shared_bytes - 4096) // cuda_plan.staged_bytes(rows)))
    query = xp.searchsorted(offsets, xp.arange(len(wanted)), side="right") - 1
    keys = query // tile * len(rows) + wanted
    place = xp.argsort(keys)
    keys = keys[place]
    first = xp.concatenate((xp.ones(1, dtype=bool), keys[1:] != keys[:-1]))
    begin = xp.flatnonzero(first)
    heads = keys[begin]
    tiles = -(-queries // tile)
    bounds = xp.searchsorted(heads, xp.arange(tiles + 1) * len(rows))
    stops = device.get(bounds).astype(np.int64)
    blocks = cuda_plan.tiles(stops, cuda_plan.tile_size(int(stops[-1]), device.multiprocessors))
    return (
        Groups(
            (heads % len(rows)).astype(np.int32),
            xp.concatenate((begin, xp.full(1, len(wanted)))).astype(np.int32),
            query[place].astype(np.int32),
            place.astype(np.int32),
            blocks.query * np.int32(tile),
            blocks.first.astype(np.int32),
            np.minimum(blocks.first + blocks.size, stops[blocks.query + 1]).astype(np.int32),
        ),
        tile,
    )


def launch(
    device: Device,
    queries: Any,
    norms: Any,
    rows: StoredRows,
    stored: DeviceRows,
    groups: Groups,
    tile: int,
    metric: str,
    scores: Any,
) -> Launch:
    """Score groups (``grouped.cu``); parameters as those of :func:`cuda_launch.gather`."""
    arguments = (
        *(queries, norms, stored.data, np.int64(stored.stride), stored.scales),
        *(np.int32(rows.dimension), np.int32(len(queries)), np.int32(tile)),
        *(device.put(groups.block_query), device.put(groups.block_first)),
        *(device.put(groups.block_last), groups.rows, groups.begin, groups.query, groups.place),
        scores,
    )
    name = f"grouped_{rows.dtype}_{metric}"
    shared = tile * cuda_plan.staged_bytes(rows)
    return Launch(name, len(groups.block_query), THREADS, arguments, shared)

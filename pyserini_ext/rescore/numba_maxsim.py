"""The loops of MaxSim on the CPU, compiled by numba: imported only where they are used.

A document's tokens are made float32 once and multiplied with four query tokens at a time, two of
them at once: eight sums in registers for six numbers read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyserini_ext.rescore.numba_kernels import REORDER, compiled, number


@compiled(REORDER)
def sum_of_best(query: np.ndarray, tokens: np.ndarray, count: int) -> Any:
    """Add up, over the rows of `query`, the best product with the first `count` tokens.

    NaN if one of the products is; minus infinity without tokens.
    """
    low = np.float32(-np.inf)
    total = np.float32(0)
    last_query, last = len(query) - 1, count - 1
    for i in range(0, len(query), 4):
        i1, i2, i3 = min(i + 1, last_query), min(i + 2, last_query), min(i + 3, last_query)
        a, b, c, d = query[i], query[i1], query[i2], query[i3]
        best_a = best_b = best_c = best_d = low
        for r in range(0, count, 2):
            x, y = tokens[r], tokens[min(r + 1, last)]
            ax = bx = cx = dx = ay = by = cy = dy = np.float32(0)
            for j in range(query.shape[1]):
                ax += a[j] * x[j]
                bx += b[j] * x[j]
                cx += c[j] * x[j]
                dx += d[j] * x[j]
                ay += a[j] * y[j]
                by += b[j] * y[j]
                cy += c[j] * y[j]
                dy += d[j] * y[j]
            best_a = larger(larger(best_a, ax), ay)
            best_b = larger(larger(best_b, bx), by)
            best_c = larger(larger(best_c, cx), cy)
            best_d = larger(larger(best_d, dx), dy)
        total += best_a
        if i + 1 <= last_query:
            total += best_b
        if i + 2 <= last_query:
            total += best_c
        if i + 3 <= last_query:
            total += best_d
    return total


@compiled()
def larger(best: float, value: float) -> float:
    """Return the larger of two numbers, NaN if either is."""
    return value if value > best or value != value else best


@compiled()
def unpack(
    data: np.ndarray, mask: np.ndarray, start: int, stop: int, width: int, out: np.ndarray
) -> int:
    """Put the tokens `start` to `stop` into `out` as float32; return how many are to be seen.

    `mask` is empty or has False for tokens that are not.
    """
    count = 0
    for row in range(start, stop):
        if len(mask) and not mask[row]:
            continue
        for j in range(width):
            out[count, j] = number(data[row, j])
        count += 1
    return count


@compiled()
def longest(rows: np.ndarray, bounds: np.ndarray) -> int:
    """Return the most tokens that one of some documents has."""
    most = 0
    for row in rows:
        most = max(most, bounds[row + 1] - bounds[row])
    return most


@compiled()
def score_pairs(
    queries: np.ndarray,
    ends: np.ndarray,
    rows: np.ndarray,
    offsets: np.ndarray,
    data: np.ndarray,
    bounds: np.ndarray,
    mask: np.ndarray,
    start: int,
    stop: int,
    out: np.ndarray,
) -> None:
    """Score the candidates `start` to `stop` into the same places of `out`.

    Query i has the rows ``ends[i]`` to ``ends[i + 1]`` of `queries`.
    """
    room = np.empty((longest(rows[start:stop], bounds), queries.shape[1]), np.float32)
    i = np.searchsorted(offsets, start, side="right") - 1
    for at in range(start, stop):
        while at >= offsets[i + 1]:
            i += 1
        row = rows[at]
        count = unpack(data, mask, bounds[row], bounds[row + 1], queries.shape[1], room)
        out[at] = sum_of_best(queries[ends[i] : ends[i + 1]], room, count)


@compiled()
def score_block(
    queries: np.ndarray,
    ends: np.ndarray,
    first: int,
    data: np.ndarray,
    bounds: np.ndarray,
    mask: np.ndarray,
    start: int,
    stop: int,
    out: np.ndarray,
) -> None:
    """Score the documents ``first + start`` to ``first + stop`` for every query.

    Into the columns `start` to `stop` of `out`, a row a query.
    """
    room = np.empty(
        (longest(np.arange(first + start, first + stop), bounds), queries.shape[1]), np.float32
    )
    for at in range(start, stop):
        row = first + at
        count = unpack(data, mask, bounds[row], bounds[row + 1], queries.shape[1], room)
        for i in range(len(ends) - 1):
            out[i, at] = sum_of_best(queries[ends[i] : ends[i + 1]], room, count)

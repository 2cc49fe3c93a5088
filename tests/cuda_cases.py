"""Inputs and float64 answers that the emulated kernels and the real ones are held to."""

from itertools import pairwise

import numpy as np

from pyserini_ext.rescore.rows import METRICS, Candidates, StoredRows

DTYPES = ("float32", "float16", "int8", "binary")
DIMENSIONS = (1, 3, 97, 127, 384, 768, 1024, 4096)
CELLS = [(dtype, metric) for dtype in DTYPES for metric in METRICS]

TOLERANCE = 2e-6
"""Of the sum of the absolute products: float32 sums in an order of their own."""


def stored(dtype, count, dimension, rng, pad=0):
    """Random rows, with `pad` zero bytes (in whole components) after each."""
    values = rng.standard_normal((count, dimension))
    if dtype == "binary":
        data = np.packbits(values >= 0, axis=1)
    elif dtype == "int8":
        data = rng.integers(-128, 128, (count, dimension)).astype(np.int8)
    else:
        data = values.astype(dtype)
    if pad:
        data = np.hstack([data, np.zeros((count, pad // data.itemsize), dtype=data.dtype)])
    scales = rng.uniform(0.001, 0.1, count).astype(np.float32) if dtype == "int8" else None
    return StoredRows(data, dtype, dimension, scales)


def vectors_of(rows):
    """What stored rows stand for, in float64."""
    if rows.dtype == "binary":
        bits = np.unpackbits(rows.data, axis=1)[:, : rows.dimension]
        return bits * 2.0 - 1
    found = rows.data[:, : rows.dimension].astype(np.float64)
    return found if rows.scales is None else found * rows.scales[:, None].astype(np.float64)


def lists(lengths, count, rng):
    """Candidates of so many rows each."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Candidates(rng.integers(0, count, offsets[-1]).astype(np.int32), offsets)


def owners(candidates):
    """The query of each candidate."""
    return np.repeat(np.arange(len(candidates.offsets) - 1), np.diff(candidates.offsets))


def answer(queries, candidates, rows, metric):
    """The scores in float64, and the size of error that float32 sums explain."""
    if rows.dtype == "binary":
        queries = np.where(queries >= 0, 1.0, -1.0)
    q = queries.astype(np.float64)[owners(candidates)]
    x = vectors_of(rows)[candidates.rows]
    with np.errstate(all="ignore"):
        if metric == "l2":
            size = ((np.abs(q) + np.abs(x)) ** 2).sum(axis=1)
            return -((q - x) ** 2).sum(axis=1), TOLERANCE * size
        scores, size = (q * x).sum(axis=1), (np.abs(q) * np.abs(x)).sum(axis=1)
        if metric == "ip":
            return scores, TOLERANCE * size
        lengths = np.linalg.norm(q, axis=1) * np.linalg.norm(x, axis=1)
        return np.where(lengths == 0, 0.0, scores / lengths), np.full(len(scores), TOLERANCE)


def assert_scores(found, expected, allowed):
    """Equal within what is allowed; the same NaN and infinities."""
    assert found.dtype == np.float32
    with np.errstate(all="ignore"):
        far = np.abs(found - expected) > allowed
    finite = np.isfinite(expected)
    assert not far[finite].any(), (found[far & finite][:5], expected[far & finite][:5])
    np.testing.assert_array_equal(found[~finite], expected[~finite])


def ranked(scores, offsets, k):
    """Positions by a stable sort of each list, NaN last, cut at `k`, one after the other."""
    own = [scores[a:b] for a, b in pairwise(offsets)]
    return np.concatenate([np.argsort(-each, kind="stable")[:k] for each in own] or [[]])

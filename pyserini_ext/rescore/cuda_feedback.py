"""New query vectors from stored rows on a GPU: average and Rocchio as weighted sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyserini_ext.rescore import cuda_plan
from pyserini_ext.rescore.cuda_launch import Launch
from pyserini_ext.rescore.rows import StoredRows

THREADS = 128
"""In a block (``THREADS`` in ``feedback.cu``)."""


def average_weights(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of the queries and of their rows whose sum is the mean of all.

    Parameters
    ----------
    counts : ndarray of int, shape (q,)
        Feedback rows of each query. A query without any keeps its vector.

    Returns
    -------
    ndarray of float32, shape (q,)
    ndarray of float32, shape (m,)
        The rows of all queries, one after the other.

    Examples
    --------
    >>> [each.tolist() for each in average_weights(np.array([1, 0, 3]))]
    [[0.5, 1.0, 0.25], [0.5, 0.25, 0.25, 0.25]]
    """
    weights = (1 / (counts + 1)).astype(np.float32)
    return weights, np.repeat(weights, counts)


def rocchio_weights(
    counts: np.ndarray,
    alpha: float,
    beta: float,
    gamma: float = 0.0,
    positive: int | None = None,
    negative: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of Rocchio's rule, as :func:`average_weights` does those of the mean.

    Parameters
    ----------
    counts : ndarray of int, shape (q,)
        Feedback rows of each query, best first.
    alpha, beta, gamma : float
        Of the query, of the mean of the first rows, of that of the last ones (taken off).
    positive : int, optional
        How many are first rows; all by default.
    negative : int
        How many are last rows. None is both: with few rows, first ones come first.

    Examples
    --------
    >>> found = rocchio_weights(np.array([4, 2, 0]), 0.5, 0.5, 0.25, positive=2, negative=1)
    >>> [each.tolist() for each in found]
    [[0.5, 0.5, 1.0], [0.25, 0.25, 0.0, -0.25, 0.25, 0.25]]
    """
    starts = np.cumsum(counts) - counts
    place = np.arange(int(counts.sum())) - np.repeat(starts, counts)
    first = counts if positive is None else np.minimum(counts, positive)
    last = np.maximum(first, counts - negative)
    each = np.repeat(np.stack([first, last, counts - last, counts]), counts, axis=1)
    weights = np.where(place < each[0], beta / np.maximum(each[0], 1), 0.0)
    weights -= np.where(place >= each[1], gamma / np.maximum(each[2], 1), 0.0)
    return np.where(counts, alpha, 1.0).astype(np.float32), weights.astype(np.float32)


def launch(
    queries: Any,
    query_weights: Any,
    rows: StoredRows,
    stored: Any,
    wanted: Any,
    weights: Any,
    offsets: Any,
    updated: Any,
) -> Launch:
    """Sum up (``feedback.cu``).

    Parameters
    ----------
    queries : array of float32, shape (q, dimension)
    query_weights : array of float32, shape (q,)
    rows : StoredRows
        For its dtype, which is not ``binary``, and its dimension.
    stored : DeviceRows
    wanted : array of int32, shape (m,)
    weights : array of float32, shape (m,)
    offsets : array of int64, shape (q + 1,)
    updated : array of float32, shape (q, dimension)
        Is written.
    """
    each = -(-rows.dimension // (cuda_plan.WIDTH[rows.dtype] * THREADS))
    arguments = (
        *(queries, query_weights, stored.data, np.int64(stored.stride), stored.scales),
        *(np.int32(rows.dimension), wanted, weights, offsets, np.int32(each), updated),
    )
    return Launch(f"feedback_{rows.dtype}", len(queries) * each, THREADS, arguments)

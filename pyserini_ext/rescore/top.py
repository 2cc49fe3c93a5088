"""The best of a list of scores, in the order of a stable sort."""

from __future__ import annotations

import numpy as np

from pyserini_ext.rescore.rows import Ranked


def best_positions(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the places of the best `k` scores.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
    k : int

    Returns
    -------
    ndarray of intp, shape (min(k, n),)
        The first of ``argsort(-scores, kind="stable")``: of equal scores the earlier place first,
        NaN after everything.

    Examples
    --------
    >>> best_positions(np.array([1.0, np.nan, 3.0, 1.0]), 3).tolist()
    [2, 0, 3]
    """
    keys = -scores
    if k < len(keys):
        last = np.partition(keys, k - 1)[k - 1]
        if not np.isnan(last):
            # Without a full sort; of those equal to the last only the first few belong to it.
            better = keys < last
            equal = np.flatnonzero(keys == last)[: k - np.count_nonzero(better)]
            better[equal] = True
            chosen = np.flatnonzero(better)
            return chosen[np.argsort(keys[chosen], kind="stable")]
    return np.argsort(keys, kind="stable")[:k]


def rank(scores: np.ndarray, offsets: np.ndarray, k: int) -> Ranked:
    """Keep the best `k` of each query.

    Parameters
    ----------
    scores : ndarray of float, shape (m,)
    offsets : ndarray of int64, shape (q + 1,)
        The scores of query i are ``scores[offsets[i]:offsets[i + 1]]``.
    k : int

    Returns
    -------
    Ranked
    """
    kept = offsets_after(offsets, k)
    positions = np.empty(kept[-1], dtype=np.int32)
    best = np.empty(kept[-1], dtype=scores.dtype)
    for i in range(len(offsets) - 1):
        own = scores[offsets[i] : offsets[i + 1]]
        chosen = best_positions(own, k)
        positions[kept[i] : kept[i + 1]] = chosen
        best[kept[i] : kept[i + 1]] = own[chosen]
    return Ranked(positions, best, kept)


def offsets_after(offsets: np.ndarray, k: int) -> np.ndarray:
    """Return the offsets of lists cut at `k`."""
    kept = np.zeros(len(offsets), dtype=np.int64)
    np.cumsum(np.minimum(np.diff(offsets), k), out=kept[1:])
    return kept


def interpolated(dense: np.ndarray, sparse: np.ndarray | None, alpha: float) -> np.ndarray:
    """Return what is ranked: `dense`, or with `sparse` the weighted sum in float64."""
    if sparse is None:
        return dense
    with np.errstate(invalid="ignore"):
        return alpha * sparse.astype(np.float64) + (1 - alpha) * dense.astype(np.float64)


class BestSoFar:
    """The best rows of each query over a matrix of scores that comes in blocks of rows.

    Of equal scores the lower row is kept, whatever the blocks; NaN never is.

    Parameters
    ----------
    queries, k : int

    Attributes
    ----------
    scores : ndarray of float32, shape (queries, k)
        Best first; -inf where there are fewer.
    rows : ndarray of int64, shape (queries, k)
        -1 where there are fewer.
    """

    def __init__(self, queries: int, k: int) -> None:
        self.scores: np.ndarray = np.full((queries, k), -np.inf, dtype=np.float32)
        self.rows: np.ndarray = np.full((queries, k), -1, dtype=np.int64)

    def add(self, scores: np.ndarray, first: int) -> None:
        """Take the scores of the next rows into account.

        Parameters
        ----------
        scores : ndarray of float32, shape (queries, n)
        first : int
            The row that the first column belongs to; higher than all before.
        """
        k = self.scores.shape[1]
        for fresh, best, rows in zip(scores, self.scores, self.rows, strict=True):
            places = np.flatnonzero(fresh > best[-1])
            merged = np.concatenate((best, fresh[places]))
            order = best_positions(merged, k)
            best[:], rows[:] = merged[order], np.concatenate((rows, places + first))[order]

"""How far scores and ranks move when vectors are stored in fewer bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyserini_ext.rescore.quantise import dequantise
from pyserini_ext.rescore.rows import StoredRows
from pyserini_ext.rescore.top import BestSoFar

DEPTHS = (10, 100)
"""Where the overlap of the two ranked lists is taken."""


class ConversionError:
    """Compares the exact search over vectors with that over their stored form, block by block.

    Parameters
    ----------
    queries : ndarray of float32, shape (q, dimension)
    metric : {"ip", "cosine", "l2"}
    own : ndarray of int, shape (q,), optional
        Queries that are documents themselves: their rows, which are left out of the ranks.
    """

    def __init__(self, queries: np.ndarray, metric: str, own: np.ndarray | None = None) -> None:
        self.queries, self.metric, self.own = queries, metric, own
        self._before = BestSoFar(len(queries), max(DEPTHS))
        self._after = BestSoFar(len(queries), max(DEPTHS))
        self._rows = 0
        self._max = self._sum = self._scores = self._squares = 0.0
        self._comparable = True

    def add(self, vectors: np.ndarray, stored: StoredRows) -> None:
        """Compare the next rows.

        Parameters
        ----------
        vectors : ndarray of float32, shape (n, dimension)
        stored : StoredRows
            The same.
        """
        signs = stored.dtype == "binary"
        queries = np.where(self.queries >= 0, 1, -1).astype(np.float32) if signs else self.queries
        before = similarities(self.queries, vectors, self.metric)
        after = similarities(queries, dequantise(stored, slice(None)), self.metric)
        if signs:
            self._comparable = False
        else:
            error = np.abs(after - before)
            self._max = max(self._max, float(error.max(initial=0)))
            self._sum += float(error.sum(dtype=np.float64))
        self._scores += float(before.sum(dtype=np.float64))
        self._squares += float(np.square(before, dtype=np.float64).sum())
        if self.own is not None:
            places = self.own - self._rows
            mine = np.flatnonzero((places >= 0) & (places < len(vectors)))
            before[mine, places[mine]] = after[mine, places[mine]] = -np.inf
        self._before.add(before, self._rows)
        self._after.add(after, self._rows)
        self._rows += len(vectors)

    def report(self) -> dict[str, Any]:
        """Return what was found.

        Returns
        -------
        dict
            ``queries``; ``max_score_error`` and ``mean_score_error`` over all queries and
            documents, None for signs, whose scores are on another scale;
            ``score_standard_deviation`` to compare them with; ``overlap@10`` and ``overlap@100``,
            the mean part of the documents ranked so high before that still are.
        """
        pairs = max(1, len(self.queries) * self._rows)
        mean = self._scores / pairs
        out: dict[str, Any] = {
            "queries": len(self.queries),
            "max_score_error": self._max if self._comparable else None,
            "mean_score_error": self._sum / pairs if self._comparable else None,
            "score_standard_deviation": float(max(0, self._squares / pairs - mean**2) ** 0.5),
        }
        for depth in DEPTHS:
            before, after = self._before.rows[:, :depth], self._after.rows[:, :depth]
            kept = [
                float(np.isin(b[b >= 0], a).sum()) / max(1, int(np.count_nonzero(b >= 0)))
                for b, a in zip(before, after, strict=True)
            ]
            out[f"overlap@{depth}"] = float(np.mean(kept)) if kept else None
        return out


def similarities(queries: np.ndarray, vectors: np.ndarray, metric: str) -> np.ndarray:
    """Score all vectors for all queries.

    Parameters
    ----------
    queries : ndarray of float32, shape (q, dimension)
    vectors : ndarray of float32, shape (n, dimension)
    metric : {"ip", "cosine", "l2"}

    Returns
    -------
    ndarray of float32, shape (q, n)
    """
    products = queries @ vectors.T
    if metric == "ip":
        return products
    own = np.square(queries, dtype=np.float64).sum(axis=1)[:, None]
    theirs = np.square(vectors, dtype=np.float64).sum(axis=1)
    if metric == "l2":
        return (2 * products.astype(np.float64) - own - theirs).astype(np.float32)
    lengths = np.sqrt(own * theirs)
    return (products / np.where(lengths == 0, 1, lengths)).astype(np.float32)

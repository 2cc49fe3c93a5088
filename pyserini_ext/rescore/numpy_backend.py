"""Rescoring in plain NumPy: what the other backends are held to, and what works everywhere."""

from __future__ import annotations

import numpy as np

from pyserini_ext.rescore.backend import Backend
from pyserini_ext.rescore.quantise import dequantise, signs
from pyserini_ext.rescore.rows import Candidates, Ranked, StoredRows
from pyserini_ext.rescore.top import interpolated, rank

BLOCK_BYTES = 16 << 20
"""Bytes of float32 vectors made at a time."""


class NumpyBackend(Backend):
    """Gathers the rows of one query after the other."""

    name = "numpy"

    @classmethod
    def unavailable(cls) -> str | None:
        """Return None: it works everywhere."""
        return None

    def score(
        self, queries: np.ndarray, candidates: Candidates, rows: StoredRows, metric: str
    ) -> np.ndarray:
        """Score every candidate (see :meth:`Backend.score`)."""
        scores = np.empty(len(candidates.rows), dtype=np.float32)
        step = max(1, BLOCK_BYTES // (4 * max(rows.dimension, 1)))
        score = _score_signs if rows.dtype == "binary" else _score
        with np.errstate(invalid="ignore", over="ignore"):
            for i, query in enumerate(queries):
                for start in range(candidates.offsets[i], candidates.offsets[i + 1], step):
                    part = slice(start, min(start + step, candidates.offsets[i + 1]))
                    scores[part] = score(query, candidates.rows[part], rows, metric)
        return scores

    def best(
        self,
        queries: np.ndarray,
        candidates: Candidates,
        rows: StoredRows,
        metric: str,
        k: int,
        sparse: np.ndarray | None = None,
        alpha: float = 0.0,
    ) -> Ranked:
        """Score every candidate and keep the best (see :meth:`Backend.best`)."""
        scores = interpolated(self.score(queries, candidates, rows, metric), sparse, alpha)
        return rank(scores, candidates.offsets, k)


def _score(query: np.ndarray, which: np.ndarray, rows: StoredRows, metric: str) -> np.ndarray:
    vectors = dequantise(rows, which)
    if metric == "l2":
        return -np.square(vectors - query).sum(axis=1)
    # Row by row: a matrix product rounds equal rows otherwise at different places.
    products = np.vecdot(vectors, query)
    if metric == "ip":
        return products
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    # A vector of zeros has no direction; its cosine is taken to be 0.
    return products / np.where(lengths == 0, np.float32(1), lengths)


def _score_signs(query: np.ndarray, which: np.ndarray, rows: StoredRows, metric: str) -> np.ndarray:
    own = signs(query[None])
    stored = np.asarray(rows.data)[which, : own.shape[1]]
    different = np.bitwise_count(stored ^ own).sum(axis=1, dtype=np.int64)
    return of_signs(rows.dimension - 2 * different, rows.dimension, metric)


def of_signs(products: np.ndarray, dimension: int, metric: str) -> np.ndarray:
    """Turn inner products of signs into scores.

    Parameters
    ----------
    products : ndarray of int, shape (m,)
    dimension : int
    metric : str

    Returns
    -------
    ndarray of float32, shape (m,)
    """
    if metric == "cosine":
        return (products / dimension).astype(np.float32)
    return (2 * (products - dimension) if metric == "l2" else products).astype(np.float32)

"""What a rescoring backend is, and which one is taken."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from pyserini_ext.rescore.rows import Candidates, Ranked, StoredRows


class Backend(ABC):
    """One way to compute the scores of candidates.

    Attributes
    ----------
    name : str
        As it is asked for: ``numpy``, ``numba``, ``cuda``.
    """

    name: str

    @classmethod
    @abstractmethod
    def unavailable(cls) -> str | None:
        """Return why it cannot work here and how to change that, or None if it can."""

    @abstractmethod
    def score(
        self, queries: np.ndarray, candidates: Candidates, rows: StoredRows, metric: str
    ) -> np.ndarray:
        """Score every candidate.

        Parameters
        ----------
        queries : ndarray of float32, shape (q, dimension)
        candidates : Candidates
            Checked by the caller.
        rows : StoredRows
        metric : str

        Returns
        -------
        ndarray of float32, shape (m,)
            In the order of ``candidates.rows``.
        """

    @abstractmethod
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
        """Score every candidate and keep the best `k` of each query.

        Parameters
        ----------
        queries, candidates, rows, metric
            As for :meth:`score`.
        k : int
        sparse : ndarray of float32, shape (m,), optional
            Scores of the first stage; then what is ranked is ``alpha * sparse + (1 - alpha) *
            dense``, computed in float64 as fusion does.
        alpha : float

        Returns
        -------
        Ranked
            Scores of float32, of float64 with `sparse`.
        """

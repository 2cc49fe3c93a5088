"""Vector-PRF: a new query vector as a weighted sum of the old one and of document vectors.

Li, Mourad, Zhuang, Koopman and Zuccon, "Pseudo Relevance Feedback with Deep Language Models and
Dense Retrievers: Successes and Pitfalls", TOIS 2023, section 3.3. Held to Pyserini's
``pyserini/search/faiss/_prf.py``, whose results these equal to float32 rounding.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Docids, Hits


class Vectors(Protocol):
    """Anything that looks document vectors up."""

    def vectors(self, docids: Docids) -> np.ndarray:
        """Return the vectors of `docids`, float32 of shape (n, dimension)."""


class VectorFeedback:
    """Base of the methods that need nothing but the vectors of the feedback documents."""

    depth: int

    def refine(
        self,
        queries: Sequence[str] | None,
        vectors: np.ndarray,
        feedback: Sequence[Hits],
        store: Vectors,
    ) -> np.ndarray:
        """Return the refined query vectors.

        Parameters
        ----------
        queries : sequence of str or None
            Not used.
        vectors : ndarray of float32, shape (q, dimension)
        feedback : sequence of Hits, length q
            Best first; the first ``depth`` count. A query without any keeps its vector.
        store : object with ``vectors(docids)``

        Returns
        -------
        ndarray of float32, shape (q, dimension)
        """
        lists = [hits.docids[: self.depth] for hits in feedback]
        documents = store.vectors(np.concatenate([*lists, np.empty(0, dtype=object)]))
        refined = np.array(vectors, dtype=np.float32)
        stop = 0
        for row, docids in enumerate(lists):
            start, stop = stop, stop + len(docids)
            if len(docids):
                refined[row] = self.combine(refined[row], documents[start:stop])
        return refined

    @abstractmethod
    def combine(self, query: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the new vector of one query.

        Parameters
        ----------
        query : ndarray of float32, shape (dimension,)
        documents : ndarray of float32, shape (n, dimension)
            n > 0, best first.
        """


@dataclass(frozen=True)
class Average(VectorFeedback):
    """The mean of the query vector and the vectors of the top documents.

    Parameters
    ----------
    depth : int
        Feedback documents; 3 in the reproduction settings of the paper.

    Examples
    --------
    >>> Average(depth=2).combine(np.array([3.0, 0.0]), np.array([[0.0, 3.0], [0.0, 0.0]])).tolist()
    [1.0, 1.0]
    """

    depth: int = 3

    def __post_init__(self) -> None:
        _check_depth(self.depth)

    def combine(self, query: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Average query and documents (see :meth:`VectorFeedback.combine`)."""
        return np.mean(np.vstack((query, documents)), axis=0)


@dataclass(frozen=True)
class Rocchio(VectorFeedback):
    """Rocchio: ``alpha * query + beta * mean(top documents) - gamma * mean(bottom documents)``.

    Parameters
    ----------
    depth : int
        Feedback documents retrieved; 5 in the reproduction settings of the paper. Pyserini's
        command retrieves 0 by default and must be told.
    alpha, beta : float
        0.4 and 0.6 in the reproduction settings; Pyserini's command has 0.9 and 0.1.
    gamma : float
        Weight of the negative documents, used when `bottomk` > 0.
    topk : int, optional
        How many of the first documents are positive; all `depth` by default (Pyserini's command
        takes 3, whatever the depth).
    bottomk : int
        How many of the last documents are negative. None is ever both positive and negative.

    Raises
    ------
    InputError
        If positive and negative documents would overlap or a number is out of range.

    Examples
    --------
    >>> rocchio = Rocchio(depth=1, alpha=0.5, beta=0.5)
    >>> rocchio.combine(np.array([1.0, 0.0]), np.array([[0.0, 1.0]])).tolist()
    [0.5, 0.5]
    """

    depth: int = 5
    alpha: float = 0.4
    beta: float = 0.6
    gamma: float = 0.1
    topk: int | None = None
    bottomk: int = 0

    def __post_init__(self) -> None:
        _check_depth(self.depth)
        if self.topk is None:
            object.__setattr__(self, "topk", self.depth - self.bottomk)
        for name in ("alpha", "beta", "gamma"):
            if not np.isfinite(getattr(self, name)):
                raise InputError(f"{name} is {getattr(self, name)}; it must be a finite number")
        if self.bottomk < 0 or self._positive < 1:
            raise InputError(
                f"topk is {self.topk} and bottomk is {self.bottomk} at depth {self.depth}; topk "
                "must be at least 1 and bottomk at least 0"
            )
        if self.bottomk and self._positive + self.bottomk > self.depth:
            raise InputError(
                f"topk {self.topk} and bottomk {self.bottomk} overlap at depth {self.depth}; "
                "a document cannot be positive and negative: raise depth or lower one of them"
            )

    @property
    def _positive(self) -> int:
        return self.depth - self.bottomk if self.topk is None else self.topk

    def combine(self, query: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Combine query and documents (see :meth:`VectorFeedback.combine`)."""
        refined = self.alpha * query + self.beta * np.mean(documents[: self._positive], axis=0)
        if self.bottomk:
            # Fewer documents than asked for: those that are positive stay out of the negatives.
            negative = documents[max(self._positive, len(documents) - self.bottomk) :]
            if len(negative):
                refined -= self.gamma * np.mean(negative, axis=0)
        return refined


def _check_depth(depth: int) -> None:
    if depth < 1:
        raise InputError(f"the feedback depth is {depth}; it must be at least 1")

"""What searchers share whose queries become vectors: one, or one for each token."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyserini_ext.hits import Hits
from pyserini_ext.rescore.backend import Backend
from pyserini_ext.run import Run
from pyserini_ext.search.base import Searcher, check_batch


class VectorSearcher(Searcher):
    """A searcher that retrieves with, and scores by, vectors of queries.

    They are an array of shape (q, dimension), or a
    :class:`~pyserini_ext.rescore.query_tokens.QueryTokens`; who refines or interpolates passes them
    on, a batch, a slice or some rows of them, and need not know which.

    Attributes
    ----------
    backend : Backend
        What computes the scores of given documents.
    """

    backend: Backend

    @property
    @abstractmethod
    def metric(self) -> str:
        """How documents are scored, which a feedback method may have to know."""

    @abstractmethod
    def encode(self, queries: Sequence[str]) -> Any:
        """Return the vectors of queries."""

    @abstractmethod
    def search_vectors(
        self, vectors: Any, qids: Sequence[str], k: int = 10, threads: int = 1
    ) -> Run:
        """Search with query vectors.

        Parameters
        ----------
        vectors : as :meth:`encode` returns them
        qids : sequence of str, length q
        k, threads : int

        Returns
        -------
        Run
        """

    @abstractmethod
    def score_vectors(self, vectors: Any, docids: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Score given documents for query vectors.

        Parameters
        ----------
        vectors : as :meth:`encode` returns them
        docids : sequence of sequence of str, length q

        Returns
        -------
        list of ndarray of float32
            NaN where there is no score, and none is invented.
        """

    @abstractmethod
    def with_vectors(self, hits: Sequence[Hits]) -> list[Hits]:
        """Return the lists without documents that this searcher has no score for."""

    @abstractmethod
    def greatest_scores(self, vectors: Any) -> np.ndarray:
        """Return a score that no document exceeds, for each query: ndarray of float64, (q,)."""

    def batch_search(
        self, queries: Sequence[str], qids: Sequence[str], k: int = 10, threads: int = 1
    ) -> Run:
        """Encode the batch at once and search (see :meth:`Searcher.batch_search`)."""
        check_batch(queries, qids, k, threads)
        return self.search_vectors(self.encode(queries), qids, k, threads)

    def score(self, queries: Sequence[str], docids: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Score given documents exactly (see :meth:`Searcher.score`)."""
        return self.score_vectors(self.encode(queries), docids)

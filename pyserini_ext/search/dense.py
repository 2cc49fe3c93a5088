"""Dense retrieval: an encoder for the queries, a vector store for the documents."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Docids, Hits, as_docids
from pyserini_ext.index.open import open_vectors
from pyserini_ext.index.vectors import MISSING, VectorStore
from pyserini_ext.rescore.backend import Backend
from pyserini_ext.rescore.rows import Candidates
from pyserini_ext.rescore.scoring import make_backend
from pyserini_ext.run import Run
from pyserini_ext.search.early_stop import greatest_scores
from pyserini_ext.search.vector_searcher import VectorSearcher

BLOCK = 1 << 14
"""Vectors read at a time to find the longest."""


class DenseSearcher(VectorSearcher):
    """Searches any vector store with any encoder.

    Parameters
    ----------
    index : str, Path or VectorStore
        A FAISS folder, a Lucene HNSW or flat vector index, a vector store of this package, or a
        store that is open already.
    encoder : str or object, optional
        A registered name (``minilm``), a checkpoint folder or hub name, or any object with
        ``encode(queries) -> float32 (n, dimension)``. It is loaded when the first query text
        comes; without one only :meth:`search_vectors` works.
    missing_vector : {"error", "skip", "zero"}
        What to do when the vector of a document is looked up that has none.
    backend : {"auto", "cuda", "numba", "numpy"} or Backend
        What computes the scores of given documents; see
        :func:`~pyserini_ext.rescore.scoring.make_backend`.
    ef_search, nprobe : int, optional
        Passed to :func:`~pyserini_ext.index.open.open_vectors`.
    **encoder_options
        Passed to the encoder (``device``, ``batch_size`` …).

    Examples
    --------
    >>> dense = DenseSearcher("indexes/npl.faiss", "minilm")  # doctest: +SKIP
    >>> dense.search("measurement of dielectric constants", k=10)  # doctest: +SKIP
    """

    def __init__(
        self,
        index: str | Path | VectorStore,
        encoder: Any = None,
        *,
        missing_vector: str = "error",
        backend: str | Backend = "auto",
        ef_search: int | None = None,
        nprobe: int | None = None,
        **encoder_options: Any,
    ) -> None:
        if missing_vector not in MISSING:
            raise InputError(f"missing_vector={missing_vector!r}; choose one of {MISSING}")
        if isinstance(index, VectorStore):
            self.store = index
        else:
            self.store = open_vectors(index, ef_search=ef_search, nprobe=nprobe)
        self.missing_vector = missing_vector
        self.backend = make_backend(backend) if isinstance(backend, str) else backend
        self._encoder = encoder
        self._encoder_options = encoder_options

    @property
    def metric(self) -> str:
        """How documents are scored, which a feedback method may have to know."""
        return self.store.metric

    @property
    def encoder(self) -> Any:
        """The encoder, loaded on first use."""
        if isinstance(self._encoder, str | Path):
            from pyserini_ext.encode import make_encoder

            self._encoder = make_encoder(str(self._encoder), **self._encoder_options)
        if self._encoder is None:
            raise InputError("this DenseSearcher has no encoder; give one: encoder='minilm'")
        return self._encoder

    def encode(self, queries: Sequence[str]) -> np.ndarray:
        """Encode queries.

        Returns
        -------
        ndarray of float32, shape (len(queries), dimension)
        """
        return self.store.check_queries(self.encoder.encode(list(queries)))

    def search_vectors(
        self, vectors: np.ndarray, qids: Sequence[str], k: int = 10, threads: int = 1
    ) -> Run:
        """Search with query vectors.

        Parameters
        ----------
        vectors : ndarray of float32, shape (q, dimension)
        qids : sequence of str, length q
        k, threads : int

        Returns
        -------
        Run
        """
        return Run(zip(qids, self.store.search(vectors, k, threads), strict=True))

    def score_vectors(
        self, vectors: np.ndarray, docids: Sequence[Sequence[str]]
    ) -> list[np.ndarray]:
        """Score given documents for query vectors.

        Parameters
        ----------
        vectors : ndarray of float32, shape (q, dimension)
        docids : sequence of sequence of str, length q

        Returns
        -------
        list of ndarray of float32
            NaN for a document without vector under ``missing_vector="skip"``: there is no score,
            and none is invented.
        """
        vectors = self.store.check_queries(vectors)
        if len(vectors) != len(docids):
            raise InputError(f"{len(vectors)} query vectors but {len(docids)} lists of documents")
        lengths = [len(own) for own in docids]
        wanted = np.concatenate([*map(as_docids, docids), np.empty(0, dtype=object)])
        rows = self.store.rows(wanted)
        found = rows >= 0
        if not found.all() and self.missing_vector == "error":
            raise self.store.lacks(wanted[~found], len(wanted))
        # Of each list those with a vector; the others keep what stands in for them.
        query = np.repeat(np.arange(len(docids)), lengths)
        counts = np.bincount(query[found], minlength=len(docids))
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        scores = np.full(len(rows), np.nan, dtype=np.float32)
        if not found.all() and self.missing_vector == "zero":
            nothing = np.zeros((1, self.store.dimension), dtype=np.float32)
            zero = [self.store.similarity(vector, nothing)[0] for vector in vectors]
            scores[~found] = np.array(zero, dtype=np.float32)[query[~found]]
        scores[found] = self.store.score(vectors, Candidates(rows[found], offsets), self.backend)
        return np.split(scores, np.cumsum(lengths)[:-1]) if lengths else []

    def with_vectors(self, hits: Sequence[Hits]) -> list[Hits]:
        """Return the lists without documents that have no vector, under the policy ``skip``."""
        if self.missing_vector != "skip":
            return list(hits)
        return [h[self.store.rows(h.docids) >= 0] for h in hits]

    def greatest_scores(self, vectors: np.ndarray) -> np.ndarray:
        """Return a score that no document exceeds, for each query: ndarray of float64, (q,)."""
        return greatest_scores(vectors, self.metric, self._longest)

    @cached_property
    def _longest(self) -> float:
        """Length of the longest stored vector."""
        longest = 0.0
        for start in range(0, len(self.store), BLOCK):
            block = self.store.take(np.arange(start, min(start + BLOCK, len(self.store))))
            longest = max(longest, float(np.linalg.norm(block.astype(np.float64), axis=1).max()))
        return longest

    def vectors(self, docids: Docids) -> np.ndarray:
        """Look document vectors up under this searcher's policy for missing ones."""
        return self.store.vectors(docids, missing=self.missing_vector)

    def close(self) -> None:
        """Close the vector store."""
        self.store.close()

"""Late interaction: exact MaxSim over a multi-vector store, or over candidates of encodings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Docids, Hits, as_docids
from pyserini_ext.index.muvera import read_muvera
from pyserini_ext.index.open import open_vectors
from pyserini_ext.index.tokens import TokenStore
from pyserini_ext.index.vectors import hits_of
from pyserini_ext.index.writer import STATE
from pyserini_ext.rescore.backend import Backend
from pyserini_ext.rescore.maxsim import rounded
from pyserini_ext.rescore.maxsim_scoring import score_maxsim, search_maxsim
from pyserini_ext.rescore.query_tokens import QueryTokens
from pyserini_ext.rescore.rows import listed
from pyserini_ext.rescore.scoring import make_backend
from pyserini_ext.run import Run
from pyserini_ext.search.vector_searcher import VectorSearcher

DEPTH = 1000
"""Candidates that are scored by default."""

MISSING = ("error", "skip")
"""What to do about a document that the store does not have."""

OF_QUERIES = ("checkpoint", "device", "dtype", "normalise")
"""What the encoder of the documents was given that concerns queries too."""

BLOCK = 1 << 16
"""Token vectors read at a time to find the longest."""


class MultiVectorSearcher(VectorSearcher):
    """Ranks documents by MaxSim: all of them, or candidates that their encodings found.

    To score what another searcher found there is
    :class:`~pyserini_ext.search.rescoring.RescoringSearcher`.

    Parameters
    ----------
    index : str, Path or TokenStore
        A multi-vector store (``python -m pyserini_ext.encode --to multivector``).
    encoder : str or object, optional
        A checkpoint, a preset's name, or an object with ``encode_queries(queries) ->
        QueryTokens``. By default the one that the store was made with. Loaded at the first query.
    candidates : str or Path, optional
        Encodings of ``python -m pyserini_ext.index.muvera``, made from the same store.
    depth : int, optional
        Candidates by them; by default 1000, or the hits asked for if those are more.
    average : bool
        Divide scores by the number of the query's tokens, which makes them comparable between
        queries.
    missing_vector : {"error", "skip"}
        What to do when a document is to be scored that is not in the store.
    backend : {"auto", "cuda", "numba", "numpy"} or Backend
        What computes MaxSim.
    encoder_options : mapping, optional
        Passed to the encoder (``query_length``, ``expand``, ``device`` …).

    Raises
    ------
    InputError
        If the arguments contradict each other, or the encodings are of another store.

    Examples
    --------
    >>> late = MultiVectorSearcher("indexes/npl.tokens", "minilm")      # doctest: +SKIP
    >>> late.search("measurement of dielectric constants", k=10)  # doctest: +SKIP
    """

    def __init__(
        self,
        index: str | Path | TokenStore,
        encoder: Any = None,
        *,
        candidates: str | Path | None = None,
        depth: int | None = None,
        average: bool = False,
        missing_vector: str = "error",
        backend: str | Backend = "auto",
        encoder_options: Mapping[str, Any] | None = None,
    ) -> None:
        if depth is not None and depth < 1:
            raise InputError(f"depth is {depth}; it must be at least 1")
        if depth is not None and candidates is None:
            raise InputError("depth is about candidates; without them all documents are scored")
        if missing_vector not in MISSING:
            raise InputError(
                f"missing_vector={missing_vector!r}; for documents of many vectors choose one of "
                f"{', '.join(MISSING)}"
            )
        self.store = index if isinstance(index, TokenStore) else TokenStore(index)
        self.depth, self.average, self.missing_vector = depth, average, missing_vector
        self.backend = make_backend(backend) if isinstance(backend, str) else backend
        self._named, self._workers = isinstance(backend, str), dict[int, Backend]()
        self._encoder, self._encoder_options = encoder, dict(encoder_options or {})
        self._encodings: Any = None
        if candidates is not None:
            self._muvera, made_from = read_muvera(candidates)
            if made_from != self.store.manifest.sha256:
                raise InputError(
                    f"the encodings in {candidates} were not made from {self.store.path}; make "
                    "them again with python -m pyserini_ext.index.muvera"
                )
            self._encodings = open_vectors(candidates)

    @property
    def metric(self) -> str:
        """The inner product: of a query token and the document token that is nearest to it."""
        return "ip"

    @property
    def encoder(self) -> Any:
        """The encoder of queries, loaded on first use."""
        if self._encoder is None:
            self._encoder, stated = _recorded(self.store.path)
            self._encoder_options = {**stated, **self._encoder_options}
        if isinstance(self._encoder, str | Path):
            from pyserini_ext.encode.multivector_names import make_multivector_encoder

            self._encoder = make_multivector_encoder(self._encoder, **self._encoder_options)
        return self._encoder

    def encode(self, queries: Sequence[str]) -> QueryTokens:
        """Encode queries.

        Returns
        -------
        QueryTokens
        """
        return self.encoder.encode_queries(list(queries))

    def search_vectors(
        self, vectors: QueryTokens, qids: Sequence[str], k: int = 10, threads: int = 1
    ) -> Run:
        """Search with the token vectors of queries: everything, or what the encodings find.

        Parameters
        ----------
        vectors : QueryTokens
        qids : sequence of str, length q
        k, threads : int

        Returns
        -------
        Run
            Documents without a token are in no list.
        """
        if self._encodings is not None:
            lists = self.candidates(vectors, self.depth or max(DEPTH, k), threads)
            found = self._scored(vectors, [hits.docids for hits in lists], self._worker(threads))
            best = [
                Hits(hits.docids[~np.isnan(own)], own[~np.isnan(own)]).head(k)
                for hits, own in zip(lists, found, strict=True)
            ]
            return Run(zip(qids, best, strict=True))
        scores, rows = search_maxsim(
            vectors.vectors, self.store.documents, k, vectors.mask, backend=self._worker(threads)
        )
        if self.average:
            scores = scores / np.maximum(vectors.lengths, 1).astype(np.float32)[:, None]
        return Run(zip(qids, hits_of(self.store.docids, scores, rows), strict=True))

    def candidates(self, vectors: QueryTokens, depth: int, threads: int = 1) -> list[Hits]:
        """Return the first documents by their fixed-dimensional encodings.

        Parameters
        ----------
        vectors : QueryTokens
        depth, threads : int

        Returns
        -------
        list of Hits, length q
            Scored by the product of the encodings.
        """
        if self._encodings is None:
            raise InputError("this searcher has no encodings; give candidates=")
        return self._encodings.search(self._muvera.queries(*vectors.packed()), depth, threads)

    def score_vectors(
        self, vectors: QueryTokens, docids: Sequence[Sequence[str]]
    ) -> list[np.ndarray]:
        """Score given documents for the token vectors of queries.

        Parameters
        ----------
        vectors : QueryTokens
        docids : sequence of sequence of str, length q

        Returns
        -------
        list of ndarray of float32
            NaN for a document without a token, and for one that is not in the store under
            ``missing_vector="skip"``: there is no score, and none is invented.
        """
        return self._scored(vectors, docids, self.backend)

    def with_vectors(self, hits: Sequence[Hits]) -> list[Hits]:
        """Return the lists without documents that have no token."""
        offsets, kept = self.store.documents.offsets, []
        for own in hits:
            rows = self._rows(own.docids)
            kept.append(own[(rows >= 0) & (offsets[rows + 1] > offsets[rows])])
        return kept

    def tokens(self, docids: Docids) -> tuple[np.ndarray, np.ndarray]:
        """Look the token vectors of documents up.

        Returns
        -------
        ndarray of float32, shape (tokens, dimension)
        ndarray of int64, shape (n + 1,)
            Where each document begins; one that has no token is empty.
        """
        rows = self._rows(docids)
        held = rows >= 0
        vectors, bounds = self.store.tokens(rows[held])
        lengths: np.ndarray = np.zeros(len(rows), dtype=np.int64)
        lengths[held] = np.diff(bounds)
        return vectors, np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)

    def greatest_scores(self, vectors: QueryTokens) -> np.ndarray:
        """Return a score that no document exceeds, for each query: ndarray of float64, (q,)."""
        lengths = np.linalg.norm(rounded(vectors.vectors).astype(np.float64), axis=2)
        most = np.where(vectors.mask, lengths, 0).sum(axis=1) * self._longest
        if self.average:
            most /= np.maximum(vectors.lengths, 1)
        sums = vectors.vectors.shape[1] + vectors.vectors.shape[2]
        return most * (1 + sums * float(np.finfo(np.float32).eps))

    @cached_property
    def _longest(self) -> float:
        """Length of the longest stored token vector."""
        data, longest = self.store.documents.rows.data, 0.0
        for start in range(0, len(data), BLOCK):
            block = data[start : start + BLOCK].astype(np.float64)
            longest = max(longest, float(np.linalg.norm(block, axis=1).max()))
        return longest

    def close(self) -> None:
        """Close the encodings."""
        if self._encodings is not None:
            self._encodings.close()

    def _scored(
        self, vectors: QueryTokens, docids: Sequence[Docids], worker: Backend
    ) -> list[np.ndarray]:
        if len(vectors) != len(docids):
            raise InputError(f"{len(vectors)} queries but {len(docids)} lists of documents")
        rows = [self._rows(as_docids(own)) for own in docids]
        held = [own >= 0 for own in rows]
        wanted = listed([own[have] for own, have in zip(rows, held, strict=True)])
        scores = score_maxsim(
            vectors.vectors, wanted, self.store.documents, vectors.mask, backend=worker
        )
        scores[scores == -np.inf] = np.nan
        found = []
        for i, have in enumerate(held):
            own: np.ndarray = np.full(len(have), np.nan, dtype=np.float32)
            own[have] = scores[wanted.offsets[i] : wanted.offsets[i + 1]]
            found.append(own / np.float32(max(1, vectors.lengths[i])) if self.average else own)
        return found

    def _rows(self, docids: Docids) -> np.ndarray:
        rows = self.store.rows(docids)
        if self.missing_vector == "error" and (rows < 0).any():
            raise InputError(
                f"document {docids[int((rows < 0).argmax())]!r} is not in {self.store.path}: "
                "the two indexes do not hold the same collection; rebuild one, or choose skip for "
                "missing vectors"
            )
        return rows

    def _worker(self, threads: int) -> Backend:
        if not self._named:
            return self.backend
        if threads not in self._workers:
            self._workers[threads] = make_backend(self.backend.name, threads=threads)
        return self._workers[threads]


def _recorded(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the encoder that a store was made with, and its options."""
    try:
        request = json.loads((path / STATE).read_text(encoding="utf-8"))["request"]
        options = {n: v for n, v in request["options"].items() if n in OF_QUERIES}
        return request["encoder"], options
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not say what it was encoded with; give encoder=") from error

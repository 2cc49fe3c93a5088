"""Late interaction: exact MaxSim over a multi-vector store, or over the candidates of others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Docids, Hits
from pyserini_ext.index.muvera import read_muvera
from pyserini_ext.index.open import open_vectors
from pyserini_ext.index.tokens import TokenStore
from pyserini_ext.index.vectors import hits_of
from pyserini_ext.index.writer import STATE
from pyserini_ext.rescore.backend import Backend
from pyserini_ext.rescore.maxsim_scoring import score_maxsim, search_maxsim
from pyserini_ext.rescore.rows import listed
from pyserini_ext.rescore.scoring import make_backend
from pyserini_ext.run import Run
from pyserini_ext.search.base import Searcher, check_batch

DEPTH = 1000
"""Candidates that are scored by default."""

OF_QUERIES = ("checkpoint", "device", "dtype", "normalise")
"""What the encoder of the documents was given that concerns queries too."""


class MultiVectorSearcher(Searcher):
    """Ranks documents by MaxSim: all of them, or candidates that something cheaper found.

    Parameters
    ----------
    index : str, Path or TokenStore
        A multi-vector store (``python -m pyserini_ext.encode --to multivector``).
    encoder : str or object, optional
        A checkpoint, a preset's name, or an object with ``encode_queries(queries) -> (vectors,
        mask)``. By default the one that the store was made with. Loaded at the first query.
    candidates : str or Path, optional
        Encodings of ``python -m pyserini_ext.index.muvera``, made from the same store.
    first_stage : str or Searcher, optional
        Another searcher whose documents are scored: a registered name, with `first_index`.
    first_index : str or Path, optional
        The index of `first_stage`.
    depth : int, optional
        Candidates of either; by default 1000, or the hits asked for if those are more.
    average : bool
        Divide scores by the number of the query's tokens, which makes them comparable between
        queries.
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
        first_stage: str | Searcher | None = None,
        first_index: str | Path | None = None,
        depth: int | None = None,
        average: bool = False,
        backend: str | Backend = "auto",
        encoder_options: Mapping[str, Any] | None = None,
    ) -> None:
        _check(candidates, first_stage, first_index, depth)
        self.store = index if isinstance(index, TokenStore) else TokenStore(index)
        self.depth, self.average = depth, average
        if isinstance(backend, str):
            make_backend(backend)
        self._backend, self._workers = backend, dict[int, Backend]()
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
        if isinstance(first_stage, str):
            from pyserini_ext.plugins import create

            first_stage = create("searcher", first_stage, index=first_index)
        self.first_stage: Any = first_stage

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

    def encode(self, queries: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Encode queries.

        Returns
        -------
        ndarray of float32, shape (q, t, dimension)
        ndarray of bool, shape (q, t)
            False where a query has fewer tokens.
        """
        found = self.encoder.encode_queries(list(queries))
        vectors, mask = found.vectors, found.mask
        return vectors, mask

    def batch_search(
        self, queries: Sequence[str], qids: Sequence[str], k: int = 10, threads: int = 1
    ) -> Run:
        """Search for a batch of queries (see :meth:`Searcher.batch_search`)."""
        check_batch(queries, qids, k, threads)
        depth = self.depth or max(DEPTH, k)
        vectors, mask = self.encode(queries)
        if self.first_stage is not None:
            found = self.first_stage.batch_search(queries, qids, depth, threads)
            return self.rescore_tokens(vectors, mask, qids, found, k, threads)
        return self.search_tokens(vectors, mask, qids, k, threads)

    def search_tokens(
        self,
        vectors: np.ndarray,
        mask: np.ndarray,
        qids: Sequence[str],
        k: int = 10,
        threads: int = 1,
    ) -> Run:
        """Search with the token vectors of queries: everything, or what the encodings find.

        Parameters
        ----------
        vectors : ndarray of float32, shape (q, t, dimension)
        mask : ndarray of bool, shape (q, t)
        qids : sequence of str, length q
        k, threads : int

        Returns
        -------
        Run
            Documents without a token are in no list.
        """
        if self._encodings is not None:
            depth = self.depth or max(DEPTH, k)
            found = Run(zip(qids, self.candidates(vectors, mask, depth, threads), strict=True))
            return self.rescore_tokens(vectors, mask, qids, found, k, threads)
        scores, rows = search_maxsim(
            vectors, self.store.documents, k, mask, backend=self._worker(threads)
        )
        scores = self._averaged(scores, mask)
        return Run(zip(qids, hits_of(self.store.docids, scores, rows), strict=True))

    def candidates(
        self, vectors: np.ndarray, mask: np.ndarray, depth: int, threads: int = 1
    ) -> list[Hits]:
        """Return the first documents by their fixed-dimensional encodings.

        Parameters
        ----------
        vectors, mask, threads
            As for :meth:`search_tokens`.
        depth : int

        Returns
        -------
        list of Hits, length q
            Scored by the product of the encodings.
        """
        if self._encodings is None:
            raise InputError("this searcher has no encodings; give candidates=")
        offsets = np.concatenate(([0], np.cumsum(mask.sum(axis=1)))).astype(np.int64)
        return self._encodings.search(self._muvera.queries(vectors[mask], offsets), depth, threads)

    def rescore_tokens(
        self,
        vectors: np.ndarray,
        mask: np.ndarray,
        qids: Sequence[str],
        found: Mapping[str, Hits],
        k: int = 10,
        threads: int = 1,
    ) -> Run:
        """Rank the documents of a run by MaxSim.

        Parameters
        ----------
        vectors, mask, qids, k, threads
            As for :meth:`search_tokens`.
        found : mapping of str to Hits

        Returns
        -------
        Run

        Raises
        ------
        InputError
            If a document is not in the store.
        """
        lists = [found[qid].docids for qid in qids]
        scores = self.score_tokens(vectors, mask, lists, threads)
        hits = []
        for docids, own in zip(lists, scores, strict=True):
            seen = own > -np.inf
            hits.append(Hits(docids[seen], own[seen]).head(k))
        return Run(zip(qids, hits, strict=True))

    def score(
        self, queries: Sequence[str], docids: Sequence[Sequence[str]], threads: int = 1
    ) -> list[np.ndarray]:
        """Score given documents exactly (see :meth:`Searcher.score`).

        Minus infinity for a document without a token.
        """
        return self.score_tokens(*self.encode(queries), docids, threads)

    def score_tokens(
        self,
        vectors: np.ndarray,
        mask: np.ndarray,
        docids: Sequence[Docids],
        threads: int = 1,
    ) -> list[np.ndarray]:
        """Score given documents for the token vectors of queries.

        Parameters
        ----------
        vectors, mask, threads
            As for :meth:`search_tokens`.
        docids : sequence of sequence of str, length q

        Returns
        -------
        list of ndarray of float32
        """
        if len(vectors) != len(docids):
            raise InputError(f"{len(vectors)} queries but {len(docids)} lists of documents")
        rows = [self.store.rows(own) for own in docids]
        for own, numbers in zip(docids, rows, strict=True):
            if (numbers < 0).any():
                raise InputError(
                    f"document {own[int((numbers < 0).argmax())]!r} is not in {self.store.path}: "
                    "the two indexes do not hold the same collection; rebuild one"
                )
        candidates = listed(rows)
        scores = score_maxsim(
            vectors, candidates, self.store.documents, mask, backend=self._worker(threads)
        )
        parts = np.split(scores, candidates.offsets[1:-1]) if len(rows) else []
        return [
            self._averaged(own[None], mask[i : i + 1])[0].astype(np.float32)
            for i, own in enumerate(parts)
        ]

    def close(self) -> None:
        """Close the first stage and the encodings."""
        for each in (self.first_stage, self._encodings):
            if each is not None:
                each.close()

    def _averaged(self, scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
        if not self.average:
            return scores
        return scores / np.maximum(mask.sum(axis=1), 1).astype(np.float32)[:, None]

    def _worker(self, threads: int) -> Backend:
        if isinstance(self._backend, Backend):
            return self._backend
        if threads not in self._workers:
            self._workers[threads] = make_backend(self._backend, threads=threads)
        return self._workers[threads]


def _check(candidates: Any, first_stage: Any, first_index: Any, depth: int | None) -> None:
    if depth is not None and depth < 1:
        raise InputError(f"depth is {depth}; it must be at least 1")
    if candidates is not None and first_stage is not None:
        raise InputError("candidates and first_stage both say what is scored; leave one out")
    if depth is not None and candidates is None and first_stage is None:
        raise InputError("depth is about candidates or first_stage; without them all are scored")
    if isinstance(first_stage, str) != (first_index is not None):
        raise InputError("first_stage (a searcher's name) and first_index belong together")


def _recorded(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the encoder that a store was made with, and its options."""
    try:
        request = json.loads((path / STATE).read_text(encoding="utf-8"))["request"]
        options = {n: v for n, v in request["options"].items() if n in OF_QUERIES}
        return request["encoder"], options
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not say what it was encoded with; give encoder=") from error

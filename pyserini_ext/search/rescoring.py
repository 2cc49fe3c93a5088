"""Sparse retrieval first, then the exact dense scores of what it found."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.fusion.interpolation import Interpolation
from pyserini_ext.hits import Hits
from pyserini_ext.run import Run
from pyserini_ext.search.base import Searcher, check_batch
from pyserini_ext.search.dense import DenseSearcher
from pyserini_ext.search.early_stop import interpolate_early
from pyserini_ext.search.lucene import LuceneIndexSearcher
from pyserini_ext.search.rows import RowRescorer, works_by_rows
from pyserini_ext.search.staged import FirstRound, StagedSearcher, complete, rule_of
from pyserini_ext.search.vector_searcher import VectorSearcher

EARLY_STOP = ("bound", "estimate")
"""``bound`` gives the hits of scoring everything; ``estimate`` looks fewer up and may not."""

DEPTH = 1000
"""Candidates that are scored by default."""


class RescoringSearcher(StagedSearcher):
    """Dense scores for the documents of a first stage, interpolated with its own where wanted.

    No vector index is searched: the store only looks vectors up (Leonhardt et al., "Efficient
    Neural Ranking using Forward Indexes", WWW 2022).

    Parameters
    ----------
    first_stage : Searcher
        E.g. a :class:`~pyserini_ext.search.sparse.BM25Searcher`.
    dense : DenseSearcher or MultiVectorSearcher
        Encoder and vectors; a store of this package is read fastest.
    rule : Interpolation, optional
        Without one (and without `alpha`) the dense score alone ranks the candidates.
    alpha : float, optional
        Short for ``rule=Interpolation(alpha)``.
    depth : int, optional
        Candidates of the first stage; by default 1000, or the hits asked for if those are more.
    early_stop : {"bound", "estimate"}, optional
        Do not score candidates that cannot enter the result: see
        :func:`~pyserini_ext.search.early_stop.interpolate_early`. Needs ``normalise="none"``.

    Attributes
    ----------
    looked_up : int
        Documents whose dense score the last call computed.

    Raises
    ------
    InputError
        If the arguments contradict each other.

    Examples
    --------
    >>> rescoring = RescoringSearcher(bm25, dense, alpha=0.3)      # doctest: +SKIP
    >>> rescoring.search("measurement of dielectric constants")  # doctest: +SKIP
    """

    def __init__(
        self,
        first_stage: Searcher,
        dense: VectorSearcher,
        rule: Interpolation | None = None,
        *,
        alpha: float | None = None,
        depth: int | None = None,
        early_stop: str | None = None,
    ) -> None:
        if not isinstance(dense, VectorSearcher):
            raise InputError(
                f"rescoring looks vectors up, which {type(dense).__name__} has not; give a "
                "DenseSearcher or a MultiVectorSearcher"
            )
        if depth is not None and depth < 1:
            raise InputError(f"depth is {depth}; it must be at least 1")
        self.interpolates = rule is not None or alpha is not None
        super().__init__(dense, first_stage, rule_of(rule, alpha), None, depth)
        self.searcher, self.depth, self.early_stop = dense, depth, early_stop
        self.looked_up = 0
        if early_stop is not None:
            check_early_stop(early_stop, self.rule if self.interpolates else None)

    def batch_search(
        self, queries: Sequence[str], qids: Sequence[str], k: int = 10, threads: int = 1
    ) -> Run:
        """Search for a batch of queries (see :meth:`Searcher.batch_search`)."""
        check_batch(queries, qids, k, threads)
        rule = self.rule if self.interpolates else None
        if self.early_stop is None and works_by_rows(rule) and self._by_rows is not None:
            depth = candidates(self.depth, k)
            found, self.looked_up = self._by_rows.search(queries, k, depth, rule, threads)
            return Run(zip(qids, found, strict=True))
        return super().batch_search(queries, qids, k, threads)

    @cached_property
    def _by_rows(self) -> RowRescorer | None:
        dense = self.searcher
        if not isinstance(self.sparse, LuceneIndexSearcher) or not isinstance(dense, DenseSearcher):
            return None
        rescorer = RowRescorer(self.sparse, dense)
        return rescorer if rescorer.complete else None

    def first_round(
        self, queries: Sequence[str], qids: Sequence[str], k: int, threads: int
    ) -> FirstRound:
        """Retrieve the candidates and score them (see :meth:`StagedSearcher.first_round`)."""
        assert self.sparse is not None
        run = self.sparse.batch_search(queries, qids, candidates(self.depth, k), threads)
        sparse, dense = list(run.values()), None
        vectors = self.searcher.encode(queries)
        self.looked_up = 0
        if self.early_stop is None:
            sparse, dense = rescored(self.searcher, vectors, sparse)
            self.looked_up = sum(map(len, dense))
        return FirstRound(queries, qids, vectors, dense, sparse)

    def stages(
        self, first: FirstRound, rule: Interpolation, k: int, threads: int, every: bool = False
    ) -> dict[str, list[Hits]]:
        """Rank by the new scores (see :meth:`StagedSearcher.stages`)."""
        assert first.sparse is not None
        found = {"sparse": [hits.head(k) for hits in first.sparse]} if every else {}
        if first.dense is None:
            check_early_stop(self.early_stop, rule)
            return found | {"interpolated": self._early(first, rule, k)}
        if every or not self.interpolates:
            found["dense"] = [hits.head(k) for hits in first.dense]
        if self.interpolates:
            pairs = zip(first.sparse, first.dense, strict=True)
            found["interpolated"] = [rule.fuse(s, d, k) for s, d in pairs]
        return found

    def _early(self, first: FirstRound, rule: Interpolation, k: int) -> list[Hits]:
        assert first.sparse is not None
        assert first.vectors is not None
        vectors = first.vectors

        def score(numbers: Sequence[int], docids: Sequence[Sequence[str]]) -> list[np.ndarray]:
            return self.searcher.score_vectors(vectors[list(numbers)], docids)

        most = None
        if self.early_stop == "bound":
            most = self.searcher.greatest_scores(vectors)
        hits, looked_up = interpolate_early(first.sparse, rule, k, score, most)
        self.looked_up += looked_up
        return hits


def candidates(depth: int | None, k: int) -> int:
    """Return how many documents to rescore for `k` hits: few hits do not mean few candidates."""
    return depth or max(DEPTH, k)


def rescored(
    dense: VectorSearcher, vectors: Any, lists: Sequence[Hits]
) -> tuple[list[Hits], list[Hits]]:
    """Return the candidates as they were, and ranked by their dense scores.

    Parameters
    ----------
    dense : VectorSearcher
    vectors : as ``dense.encode`` returns them
    lists : sequence of Hits, length q
        The candidates.

    Returns
    -------
    tuple of two lists of Hits, length q
        Documents without a vector stand in neither, under ``missing_vector="skip"``.
    """
    nothing = [Hits([], np.empty(0, np.float32)) for _ in lists]

    def score(docids: Sequence[Sequence[str]]) -> list[np.ndarray]:
        return dense.score_vectors(vectors, docids)

    # Nothing is asked of the sparse side: it has the score of every candidate.
    return complete(lists, nothing, score, score)


def check_early_stop(early_stop: str | None, rule: Interpolation | None) -> None:
    """Refuse early stopping where it cannot be right.

    Raises
    ------
    InputError
    """
    if early_stop not in EARLY_STOP:
        raise InputError(f"early_stop={early_stop!r}; choose one of {', '.join(EARLY_STOP)}")
    if rule is None:
        raise InputError(
            "early stopping needs interpolation: the sparse scores say when to stop; give alpha"
        )
    if rule.normalise != "none" or rule.convention.startswith("pyserini-hybrid"):
        raise InputError(
            f"early stopping needs normalise='none' and a convex sum, got {rule.normalise!r} "
            f"({rule.convention}): a normalised score depends on the candidates left out"
        )


def rescoring(
    index: str | Path,
    store: str | Path,
    encoder: Any = "minilm",
    *,
    first_stage: str = "bm25",
    alpha: float | None = None,
    normalise: str | None = None,
    depth: int | None = None,
    early_stop: str | None = None,
    missing_vector: str = "error",
) -> RescoringSearcher:
    """Exact dense scores for what a first stage found, mixed with its own where wanted.

    This makes a :class:`RescoringSearcher` from names.

    Parameters
    ----------
    index : str or Path
        The index of the first stage.
    store : str or Path
        Vector store, FAISS or Lucene vector index.
    encoder : str or object
    first_stage : str
        A registered searcher.
    alpha, normalise
        See :class:`~pyserini_ext.fusion.interpolation.Interpolation`.
    depth, early_stop
        See :class:`RescoringSearcher`.
    missing_vector : {"error", "skip", "zero"}

    Returns
    -------
    RescoringSearcher
    """
    from pyserini_ext.plugins import create

    rule = None
    if alpha is not None or normalise is not None:
        rule = Interpolation(0.5 if alpha is None else alpha, normalise)
    if early_stop is not None:
        check_early_stop(early_stop, rule)
    dense = DenseSearcher(store, encoder, missing_vector=missing_vector)
    first = create("searcher", first_stage, index=index)
    return RescoringSearcher(first, dense, rule, depth=depth, early_stop=early_stop)

"""Searchers that work in stages: a first round, and what is made of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyserini_ext.fusion.interpolation import Interpolation
from pyserini_ext.hits import Hits
from pyserini_ext.run import Run
from pyserini_ext.search.base import Searcher, check_batch
from pyserini_ext.search.vector_searcher import VectorSearcher

Scorer = Callable[[Sequence[Sequence[str]]], list[np.ndarray]]
"""From the docids of each query of a batch to their scores."""


@dataclass(frozen=True)
class FirstRound:
    """What the first round found for a batch; every weight of a grid starts from it.

    Attributes
    ----------
    queries, qids : sequence of str
    vectors : ndarray of float32, shape (q, dimension), QueryTokens or None
        The encoded queries, where the dense side is a :class:`VectorSearcher`.
    dense, sparse : list of Hits or None
        The retrieved lists, ``None`` where a list was not needed.
    """

    queries: Sequence[str]
    qids: Sequence[str]
    vectors: Any
    dense: list[Hits] | None
    sparse: list[Hits] | None


class StagedSearcher(Searcher):
    """Base of the searchers that combine others.

    Parameters
    ----------
    dense, sparse : Searcher
    rule : Interpolation
    dense_hits, sparse_hits : int, optional
        Depth of each side's list; as deep as the result by default.
    """

    def __init__(
        self,
        dense: Searcher,
        sparse: Searcher | None,
        rule: Interpolation,
        dense_hits: int | None,
        sparse_hits: int | None,
    ) -> None:
        self.dense, self.sparse, self.rule = dense, sparse, rule
        self.dense_hits, self.sparse_hits = dense_hits, sparse_hits

    @abstractmethod
    def first_round(
        self, queries: Sequence[str], qids: Sequence[str], k: int, threads: int
    ) -> FirstRound:
        """Retrieve everything that does not depend on the weight of the interpolation."""

    @abstractmethod
    def stages(
        self, first: FirstRound, rule: Interpolation, k: int, threads: int, every: bool = False
    ) -> dict[str, list[Hits]]:
        """Go on from the first round under one rule.

        Parameters
        ----------
        first : FirstRound
        rule : Interpolation
        k, threads : int
        every : bool
            Also return the lists that only led to the result, `k` deep.

        Returns
        -------
        dict of str to list of Hits
            Stage name to the lists of the batch; the last one is the result.
        """

    def batch_search(
        self, queries: Sequence[str], qids: Sequence[str], k: int = 10, threads: int = 1
    ) -> Run:
        """Search for a batch of queries (see :meth:`Searcher.batch_search`)."""
        return list(self.batch_stages(queries, qids, k, threads)[0].values())[-1]

    def batch_stages(
        self,
        queries: Sequence[str],
        qids: Sequence[str],
        k: int = 10,
        threads: int = 1,
        rules: Sequence[Interpolation] | None = None,
        every: bool = False,
    ) -> list[dict[str, Run]]:
        """Search under several rules with one first round.

        Parameters
        ----------
        queries, qids : sequence of str
        k, threads : int
        rules : sequence of Interpolation, optional
            E.g. a grid over alpha: ``[rule.with_alpha(a) for a in (0, 0.5, 1)]``. Retrieval that
            does not depend on the rule is done once.
        every : bool
            Return the runs of all stages, not the result alone.

        Returns
        -------
        list of dict of str to Run
            One for each rule: stage name to run, the result last.
        """
        check_batch(queries, qids, k, threads)
        first = self.first_round(queries, qids, k, threads)
        return [
            {
                name: Run(zip(qids, lists, strict=True), tag=name)
                for name, lists in self.stages(first, rule, k, threads, every).items()
            }
            for rule in (rules or [self.rule])
        ]

    def interpolate(
        self, first: FirstRound, dense: list[Hits], dense_score: Scorer, rule: Interpolation, k: int
    ) -> list[Hits]:
        """Fuse the sparse lists of the first round with dense lists."""
        assert self.sparse is not None
        assert first.sparse is not None
        sparse, searcher = first.sparse, self.sparse
        if rule.missing == "rescore":
            sparse, dense = complete(
                sparse, dense, lambda docids: searcher.score(first.queries, docids), dense_score
            )
        return [rule.fuse(s, d, k) for s, d in zip(sparse, dense, strict=True)]

    def close(self) -> None:
        """Close both sides."""
        self.dense.close()
        if self.sparse is not None:
            self.sparse.close()


class InterpolatedSearcher(StagedSearcher):
    """The weighted sum of a sparse and a dense searcher.

    Parameters
    ----------
    dense, sparse : Searcher
        Any two searchers; the names say which weight is whose. A searcher of Pyserini is wrapped
        by :class:`~pyserini_ext.search.sparse.PyseriniSearcher`.
    rule : Interpolation, optional
        Weight, normalisation and missing-score policy.
    alpha : float, optional
        Short for ``rule=Interpolation(alpha)``.
    dense_hits, sparse_hits : int, optional
        Depth of each side's list; as deep as the result by default.

    Examples
    --------
    >>> both = InterpolatedSearcher(dense, bm25, alpha=0.5)  # doctest: +SKIP
    >>> both.search("measurement of dielectric constants")  # doctest: +SKIP
    """

    def __init__(
        self,
        dense: Searcher,
        sparse: Searcher,
        rule: Interpolation | None = None,
        *,
        alpha: float | None = None,
        dense_hits: int | None = None,
        sparse_hits: int | None = None,
    ) -> None:
        super().__init__(dense, sparse, rule_of(rule, alpha), dense_hits, sparse_hits)

    def first_round(
        self, queries: Sequence[str], qids: Sequence[str], k: int, threads: int
    ) -> FirstRound:
        """Retrieve both lists (see :meth:`StagedSearcher.first_round`)."""
        assert self.sparse is not None
        vectors, depth = None, self.dense_hits or k
        if isinstance(self.dense, VectorSearcher):
            vectors = self.dense.encode(queries)
            dense = self.dense.search_vectors(vectors, qids, depth, threads)
        else:
            dense = self.dense.batch_search(queries, qids, depth, threads)
        sparse = self.sparse.batch_search(queries, qids, self.sparse_hits or k, threads)
        return FirstRound(queries, qids, vectors, list(dense.values()), list(sparse.values()))

    def stages(
        self, first: FirstRound, rule: Interpolation, k: int, threads: int, every: bool = False
    ) -> dict[str, list[Hits]]:
        """Fuse the two lists (see :meth:`StagedSearcher.stages`)."""
        assert first.dense is not None
        assert first.sparse is not None

        def score(docids: Sequence[Sequence[str]]) -> list[np.ndarray]:
            if first.vectors is not None and isinstance(self.dense, VectorSearcher):
                return self.dense.score_vectors(first.vectors, docids)
            return self.dense.score(first.queries, docids)

        found = {"dense": first.dense, "sparse": first.sparse} if every else {}
        return found | {"interpolated": self.interpolate(first, first.dense, score, rule, k)}


def rule_of(rule: Interpolation | None, alpha: float | None) -> Interpolation:
    """Return the rule meant by a rule, a weight, both or neither."""
    rule = rule or Interpolation()
    return rule if alpha is None else rule.with_alpha(alpha)


def complete(
    sparse: Sequence[Hits], dense: Sequence[Hits], sparse_score: Scorer, dense_score: Scorer
) -> tuple[list[Hits], list[Hits]]:
    """Give both lists of each query the same documents, with their exact scores.

    Parameters
    ----------
    sparse, dense : sequence of Hits, length q
    sparse_score, dense_score : callable
        From docids (a list for each query) to scores. NaN says that there is no score; such a
        document leaves both lists.

    Returns
    -------
    tuple of two lists of Hits, length q
    """
    pairs = list(zip(sparse, dense, strict=True))
    for_sparse = [_lacking(s, d) for s, d in pairs]
    for_dense = [_lacking(d, s) for s, d in pairs]
    scored_sparse = _scored(sparse_score, for_sparse)
    scored_dense = _scored(dense_score, for_dense)
    full_sparse, full_dense = [], []
    for i, (s, d) in enumerate(pairs):
        unscored = {
            docid
            for docids, scores in (
                (for_sparse[i], scored_sparse[i]),
                (for_dense[i], scored_dense[i]),
            )
            for docid in np.asarray(docids, dtype=object)[np.isnan(scores)]
        }
        full_sparse.append(_extended(s, for_sparse[i], scored_sparse[i], unscored))
        full_dense.append(_extended(d, for_dense[i], scored_dense[i], unscored))
    return full_sparse, full_dense


def _scored(score: Scorer, docids: list[list[str]]) -> list[np.ndarray]:
    """Score documents, asking nothing where there are none."""
    return score(docids) if any(docids) else [np.empty(0, np.float32) for _ in docids]


def _lacking(own: Hits, other: Hits) -> list[str]:
    held = set(own.docids.tolist())
    return [docid for docid in other.docids.tolist() if docid not in held]


def _extended(hits: Hits, docids: list[str], scores: np.ndarray, leave_out: set[str]) -> Hits:
    scores = np.concatenate([hits.scores, np.asarray(scores, dtype=hits.scores.dtype)])
    merged = [*hits.docids, *docids]
    if leave_out:
        kept = [i for i, docid in enumerate(merged) if docid not in leave_out]
        merged, scores = [merged[i] for i in kept], scores[kept]
    return Hits(merged, scores)

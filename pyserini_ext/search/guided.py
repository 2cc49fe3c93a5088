"""Retrieval by vectors with feedback from the scores of a second searcher, the guide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.fusion.interpolation import Interpolation
from pyserini_ext.hits import Hits
from pyserini_ext.search.base import Searcher
from pyserini_ext.search.dense import DenseSearcher
from pyserini_ext.search.refining import RefiningSearcher
from pyserini_ext.search.rescoring import candidates
from pyserini_ext.search.staged import FirstRound, Scorer, complete
from pyserini_ext.search.vector_searcher import VectorSearcher

STEP = 1e-5
"""By how much the rest of a list stays behind a reordered pool: more than a run file rounds off."""


class GuidedSearcher(RefiningSearcher):
    """Retrieves with two searchers, refines the query vectors by both, and ranks with the new ones.

    Parameters
    ----------
    dense : DenseSearcher or MultiVectorSearcher
    feedback : object
        A method such as :class:`~pyserini_ext.feedback.gqr.GQR`: ``depth`` and
        ``refine_guided(queries, vectors, pools, guide, store)``; where it has them, ``search``
        (default: True) and ``missing`` (default: ``rescore``) as described there, and
        ``takes_tokens`` (default: False), whether the vectors may be QueryTokens.
    guide : Searcher
        Any: BM25, an impact index, another dense searcher. One that cannot score given documents
        needs a method with another policy for missing scores.
    interpolate : {"before", "after", "both"}, optional
        ``before``: the pool is the first 2 * ``depth`` documents of the interpolated list, instead
        of the first ``depth`` of each; ``after``: the list of the refined vectors is interpolated
        with the guide's, which needs a method that searches again; ``both``: both.
    rule : Interpolation, optional
    alpha : float, optional
        Short for ``rule=Interpolation(alpha)``: the weight of the guide in interpolation.
    renormalise : bool
        Scale refined vectors to unit length.
    rescore : bool
        The dense side scores the documents that the guide found, instead of searching the store.
    dense_hits, sparse_hits : int, optional
        Depth of the lists that are interpolated; as deep as the result by default, and to rescore
        at least 1000.

    Raises
    ------
    InputError
        If the arguments contradict each other.

    Notes
    -----
    A query for which the guide finds nothing, or neither side does, keeps its vector. Where only
    the pool is reordered the rest of the first list follows it in its order; its scores are
    lowered by one number a query, so that they stay below.

    Examples
    --------
    >>> guided = GuidedSearcher(dense, GQR(), bm25)  # doctest: +SKIP
    >>> guided.search("measurement of dielectric constants")  # doctest: +SKIP
    """

    def __init__(
        self,
        dense: VectorSearcher,
        feedback: Any,
        guide: Searcher,
        interpolate: str | None = None,
        rule: Interpolation | None = None,
        *,
        alpha: float | None = None,
        renormalise: bool = False,
        rescore: bool = False,
        dense_hits: int | None = None,
        sparse_hits: int | None = None,
    ) -> None:
        super().__init__(
            dense,
            feedback,
            guide,
            interpolate,
            rule,
            alpha,
            renormalise,
            rescore,
            dense_hits,
            sparse_hits,
        )
        if not isinstance(guide, Searcher):
            raise InputError(
                f"the guide is {guide!r}; give a searcher, such as BM25Searcher (one of Pyserini "
                "is wrapped by PyseriniSearcher)"
            )
        check_guided(feedback, interpolate)
        exact = getattr(feedback, "missing", "rescore") == "rescore"
        if exact and type(guide).score is Searcher.score:
            raise InputError(
                f"{type(guide).__name__} cannot score given documents, which the pool needs; say "
                "missing='minimum' or 'zero' (--prf-arg missing=minimum)"
            )
        if isinstance(dense, DenseSearcher):
            stored = dense.store.stored
            if stored is not None and stored.dtype == "binary":
                raise InputError(
                    f"{dense.store.path or 'the store'} has the signs of vectors only, and their "
                    "scores have no gradient; give an index of whole vectors"
                )
        elif not getattr(feedback, "takes_tokens", False):
            raise InputError(
                f"{type(feedback).__name__} refines queries of one vector, but those of "
                f"{type(dense).__name__} have a vector for each token; choose another index"
            )
        self.guide = guide

    @property
    def search_again(self) -> bool:
        """Whether refined vectors retrieve, or only reorder the pool."""
        return getattr(self.feedback, "search", True)

    def first_round(
        self, queries: Sequence[str], qids: Sequence[str], k: int, threads: int
    ) -> FirstRound:
        """Encode, and retrieve with both (see :meth:`StagedSearcher.first_round`)."""
        vectors, own = self.searcher.encode(queries), self.feedback.depth
        sparse_depth = dense_depth = own
        if self.before or self.after:
            sparse_depth = max(own, self.sparse_hits or k)
        if self.rescore:
            sparse_depth = max(own, candidates(self.sparse_hits, k))
        if self.before or not self.search_again:
            dense_depth = max(own, (self.dense_hits or k) if self.before else k)
        sparse = self.guide.batch_search(queries, qids, sparse_depth, threads)
        first = FirstRound(queries, qids, vectors, None, list(sparse.values()))
        return replace(first, dense=self.retrieve(first, vectors, dense_depth, threads))

    def stages(
        self, first: FirstRound, rule: Interpolation, k: int, threads: int, every: bool = False
    ) -> dict[str, list[Hits]]:
        """Refine, rank anew and interpolate (see :meth:`StagedSearcher.stages`)."""
        assert first.vectors is not None
        assert first.dense is not None
        assert first.sparse is not None
        found: dict[str, list[Hits]] = {}
        if every:
            found["dense"] = self.retrieve(first, first.vectors, k, threads)
            sparse = self.guide.batch_search(first.queries, first.qids, k, threads)
            found["sparse"] = list(sparse.values())
        depth, source = self.feedback.depth, first.dense
        sides = [hits.head(depth) for hits in first.sparse], [h.head(depth) for h in first.dense]
        if self.before:
            source = self.interpolate_with(first, first.vectors, source, rule, max(k, 2 * depth))
            chosen = [set(hits.docids[: 2 * depth]) for hits in source]
            sides = _among(first.sparse, chosen), _among(first.dense, chosen)
            if every:
                found["before"] = [hits.head(k) for hits in source]
        pools, guide = self._pools(first, *sides)
        vectors = self.refine(first.queries, first.vectors, pools, guide)
        if self.search_again:
            dense = self.retrieve(first, vectors, (self.after and self.dense_hits) or k, threads)
        else:
            dense = self._reordered(vectors, pools, source, k)
        if every or not self.after:
            found["feedback"] = dense
        if self.after:
            found["after"] = self.interpolate_with(first, vectors, dense, rule, k)
        return found

    def refine(
        self,
        queries: Sequence[str],
        vectors: Any,
        pools: Sequence[Hits],
        guide: Sequence[np.ndarray],
    ) -> Any:
        """Refine query vectors from pools that both sides have scored.

        Parameters
        ----------
        queries : sequence of str
        vectors : ndarray of float32, shape (q, dimension), or QueryTokens
        pools : sequence of Hits, length q
            With the dense scores; a query with an empty pool keeps its vector.
        guide : sequence of ndarray of float32, length q
            The guide's scores of the pools, in their order.

        Returns
        -------
        ndarray of float32, shape (q, dimension), or QueryTokens
        """
        asked = [i for i, hits in enumerate(pools) if len(hits)]
        answer = None
        if asked:
            answer = self.feedback.refine_guided(
                [queries[i] for i in asked],
                vectors[asked],
                [pools[i] for i in asked],
                [guide[i] for i in asked],
                self.searcher,
            )
        return self.with_answer(vectors, asked, answer)

    def _pools(
        self, first: FirstRound, sparse: Sequence[Hits], dense: Sequence[Hits]
    ) -> tuple[list[Hits], list[np.ndarray]]:
        """Return the union of both sides with the dense scores, and the guide's beside it."""
        assert first.vectors is not None
        vectors = first.vectors

        missing = getattr(self.feedback, "missing", "rescore")

        def invented(docids: Sequence[Sequence[str]]) -> list[np.ndarray]:
            least = [
                float(hits.scores.min()) if missing == "minimum" and len(hits) else 0.0
                for hits in sparse
            ]
            return [np.full(len(own), s) for own, s in zip(docids, least, strict=True)]

        def exact(docids: Sequence[Sequence[str]]) -> list[np.ndarray]:
            return self.guide.score(first.queries, docids)

        def dense_score(docids: Sequence[Sequence[str]]) -> list[np.ndarray]:
            return self.searcher.score_vectors(vectors, docids)

        # A guide without an opinion is not asked for one: equal scores would pull as well.
        silent = [i for i, hits in enumerate(sparse) if not len(hits)]
        dense = [hits[:0] if i in silent else hits for i, hits in enumerate(dense)]
        score: Scorer = exact if missing == "rescore" else invented
        guided, pools = complete(sparse, self.searcher.with_vectors(dense), score, dense_score)
        scores = [hits.as_dict() for hits in guided]
        return pools, [
            np.array([own[docid] for docid in pool.docids], dtype=np.float32)
            for own, pool in zip(scores, pools, strict=True)
        ]

    def _reordered(
        self, vectors: Any, pools: Sequence[Hits], source: Sequence[Hits], k: int
    ) -> list[Hits]:
        scores = self.searcher.score_vectors(vectors, [hits.docids.tolist() for hits in pools])
        ordered = []
        for pool, own, hits in zip(pools, scores, source, strict=True):
            head, rest = Hits(pool.docids, own), hits.without(pool.docids)
            if len(head) and len(rest):
                below = float(head.scores[-1]) - STEP * max(1.0, abs(float(head.scores[-1])))
                lowered = rest.scores + min(0.0, below - float(rest.scores[0]))
                docids = np.concatenate([head.docids, rest.docids])
                together = np.concatenate([head.scores, lowered.astype(head.scores.dtype)])
                head = Hits(docids, together, ranked=True)
            ordered.append((head if len(head) else rest).head(k))
        return ordered


def _among(lists: Sequence[Hits], chosen: Sequence[set[str]]) -> list[Hits]:
    """Return of each list the documents that were chosen."""
    return [
        hits[np.array([docid in own for docid in hits.docids], dtype=bool)]
        for hits, own in zip(lists, chosen, strict=True)
    ]


def check_guided(feedback: Any, interpolate: str | None) -> None:
    """Refuse a method that needs no guide, and interpolation where it has nothing to mix.

    Raises
    ------
    InputError
    """
    name = type(feedback).__name__
    if not callable(getattr(feedback, "refine_guided", None)):
        raise InputError(
            f"{name} does not take the scores of a guide (refine_guided); for other methods on "
            "dense query vectors there is FeedbackSearcher"
        )
    if interpolate in ("after", "both") and not getattr(feedback, "search", True):
        raise InputError(
            f"interpolate={interpolate!r} mixes the list that refined vectors retrieve, but "
            f"{name}(search=False) only reorders the pool; say search=True (--prf-arg search=true)"
            ", or 'before'"
        )

"""What searchers that refine dense query vectors share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.fusion.interpolation import Interpolation
from pyserini_ext.hits import Hits
from pyserini_ext.rescore.query_tokens import QueryTokens
from pyserini_ext.search.base import Searcher
from pyserini_ext.search.multivector import MultiVectorSearcher
from pyserini_ext.search.rescoring import rescored
from pyserini_ext.search.staged import FirstRound, StagedSearcher, rule_of
from pyserini_ext.search.vector_searcher import VectorSearcher

WHEN = ("before", "after", "both")
"""When the sparse side is interpolated: before the vectors are refined, after it, or both."""


class RefiningSearcher(StagedSearcher):
    """Base of the searchers that retrieve, refine query vectors, and retrieve again.

    Parameters
    ----------
    dense : VectorSearcher
    feedback : object
        The method; the subclass says what it must have.
    sparse : Searcher or None
    interpolate : {"before", "after", "both"} or None
    rule : Interpolation or None
    alpha : float or None
    renormalise : bool
        Scale refined vectors to unit length.
    rescore : bool
        Every dense round scores what the sparse searcher found, instead of searching the store.
    dense_hits, sparse_hits : int or None

    Raises
    ------
    InputError
        If the arguments contradict each other.
    """

    def __init__(
        self,
        dense: VectorSearcher,
        feedback: Any,
        sparse: Searcher | None,
        interpolate: str | None,
        rule: Interpolation | None,
        alpha: float | None,
        renormalise: bool,
        rescore: bool,
        dense_hits: int | None,
        sparse_hits: int | None,
    ) -> None:
        super().__init__(dense, sparse, rule_of(rule, alpha), dense_hits, sparse_hits)
        if interpolate is not None and interpolate not in WHEN:
            raise InputError(f"interpolate={interpolate!r}; choose one of {', '.join(WHEN)}")
        if interpolate is None and (rule is not None or alpha is not None):
            raise InputError("rule or alpha was given without interpolate; it would be ignored")
        if not isinstance(dense, VectorSearcher):
            raise InputError(
                f"feedback refines query vectors, which {type(dense).__name__} has not; "
                "give a DenseSearcher or a MultiVectorSearcher"
            )
        if renormalise and isinstance(dense, MultiVectorSearcher):
            raise InputError(
                "renormalise is about queries of one vector; a token's length is its weight"
            )
        self.searcher, self.feedback = dense, feedback
        self.before = interpolate in ("before", "both")
        self.after = interpolate in ("after", "both")
        self.renormalise, self.rescore = renormalise, rescore

    def retrieve(self, first: FirstRound, vectors: Any, k: int, threads: int) -> list[Hits]:
        """Return the best `k` documents of each query vector: from the store, or rescored."""
        if self.rescore:
            assert first.sparse is not None
            return [hits.head(k) for hits in rescored(self.searcher, vectors, first.sparse)[1]]
        return list(self.searcher.search_vectors(vectors, first.qids, k, threads).values())

    def interpolate_with(
        self,
        first: FirstRound,
        vectors: Any,
        dense: list[Hits],
        rule: Interpolation,
        k: int,
    ) -> list[Hits]:
        """Mix the sparse lists of the first round into what query vectors retrieved."""

        def score(docids: Sequence[Sequence[str]]) -> list[np.ndarray]:
            return self.searcher.score_vectors(vectors, docids)

        return self.interpolate(first, dense, score, rule, k)

    def with_answer(self, vectors: Any, asked: list[int], answer: Any) -> Any:
        """Return `vectors` with those that were asked for replaced by a method's answer.

        Raises
        ------
        InputError
            If it is not what a method must return; the method is named.
        """
        if isinstance(vectors, QueryTokens):
            if not asked:
                return vectors
            return vectors.replaced(asked, _checked_tokens(self.feedback, answer, vectors[asked]))
        refined = np.array(vectors, dtype=np.float32)
        if asked:
            refined[asked] = _checked(self.feedback, answer, vectors[asked].shape)
        return _unit_length(refined) if self.renormalise else refined


def _checked(feedback: Any, answer: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Refuse what a feedback method must not return, naming the method."""
    answer = np.asarray(answer, dtype=np.float32)
    name = type(feedback).__name__
    if answer.shape != shape:
        raise InputError(
            f"feedback method {name} returned vectors of shape {answer.shape}, not {shape}"
        )
    if not np.isfinite(answer).all():
        raise InputError(f"feedback method {name} returned a vector that is not finite")
    return answer


def _checked_tokens(feedback: Any, answer: Any, tokens: QueryTokens) -> QueryTokens:
    """Refuse what a feedback method on tokens must not return, naming the method."""
    name, dimension = type(feedback).__name__, tokens.vectors.shape[2]
    if not isinstance(answer, QueryTokens):
        raise InputError(f"feedback method {name} returned {type(answer).__name__}, no QueryTokens")
    if len(answer) != len(tokens) or answer.vectors.shape[2] != dimension:
        raise InputError(
            f"feedback method {name} returned {len(answer)} queries of dimension "
            f"{answer.vectors.shape[2]}, not {len(tokens)} of {dimension}"
        )
    if not np.isfinite(answer.vectors[answer.mask]).all():
        raise InputError(f"feedback method {name} returned a vector that is not finite")
    return answer


def _unit_length(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to unit length; a vector of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0, 1, lengths)

"""Retrieval by vectors with pseudo-relevance feedback, interpolated with a sparse side or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pyserini_ext.errors import InputError
from pyserini_ext.fusion.interpolation import Interpolation
from pyserini_ext.hits import Hits
from pyserini_ext.search.base import Searcher
from pyserini_ext.search.multivector import MultiVectorSearcher
from pyserini_ext.search.refining import RefiningSearcher
from pyserini_ext.search.rescoring import candidates, rescored
from pyserini_ext.search.staged import FirstRound
from pyserini_ext.search.vector_searcher import VectorSearcher
from pyserini_ext.texts import texts_for


class FeedbackSearcher(RefiningSearcher):
    """Retrieves, refines the query vectors from the top documents, and retrieves again.

    Parameters
    ----------
    dense : DenseSearcher or MultiVectorSearcher
    feedback : object
        For a DenseSearcher a method such as :class:`~pyserini_ext.feedback.vector.Rocchio`:
        ``depth`` and ``refine(queries, vectors, feedback, store)``, or with a fifth parameter
        ``texts``. For a MultiVectorSearcher one such as
        :class:`~pyserini_ext.feedback.colbert_prf.ColBERTPRF`: ``refine_tokens``, which takes and
        returns QueryTokens. Where a method has ``search`` and that is False, the new vectors do
        not retrieve, but rank the documents of the round before; ``check_store(dense)`` may refuse
        an index.
    sparse : Searcher, optional
        Needed for interpolation.
    interpolate : {"before", "after", "both"}, optional
        ``before``: the feedback documents come from the interpolated list; ``after``: the second
        dense list is interpolated; ``both``: both (Li et al., "To Interpolate or not to
        Interpolate", SIGIR 2022, section 3).
    rule : Interpolation, optional
    alpha : float, optional
        Short for ``rule=Interpolation(alpha)``.
    iterations : int
        Rounds of feedback; each starts from the vector of the last one.
    renormalise : bool
        Scale refined vectors to unit length, for encoders whose vectors have it.
    rescore : bool
        Every dense round scores the documents that the sparse searcher found, instead of searching
        the vector store.
    dense_hits, sparse_hits : int, optional
        Depth of the lists that are interpolated; as deep as the result by default, and to rescore
        (or to rank them anew) at least 1000.
    texts : str, Path, Searcher or callable, optional
        Where a method that reads documents gets their text: what
        :func:`~pyserini_ext.texts.open_texts` takes. By default the index of `sparse`, if
        it is a Lucene index.

    Raises
    ------
    InputError
        If the arguments contradict each other.

    Notes
    -----
    A query that retrieves nothing in the first round keeps its vector.

    Examples
    --------
    >>> FeedbackSearcher(dense, Rocchio(depth=5), sparse=bm25, interpolate="both")  # doctest: +SKIP
    """

    def __init__(
        self,
        dense: VectorSearcher,
        feedback: Any,
        sparse: Searcher | None = None,
        interpolate: str | None = None,
        rule: Interpolation | None = None,
        *,
        alpha: float | None = None,
        iterations: int = 1,
        renormalise: bool = False,
        rescore: bool = False,
        dense_hits: int | None = None,
        sparse_hits: int | None = None,
        texts: Any = None,
    ) -> None:
        super().__init__(
            dense,
            feedback,
            sparse,
            interpolate,
            rule,
            alpha,
            renormalise,
            rescore,
            dense_hits,
            sparse_hits,
        )
        if rescore and sparse is None:
            raise InputError("rescore needs a sparse searcher: it finds what is to be scored")
        if (sparse is None) != (interpolate is None) and not (rescore and interpolate is None):
            raise InputError(
                "interpolation needs both a sparse searcher and when to use it: "
                "sparse=BM25Searcher(…), interpolate='before', 'after' or 'both'"
            )
        if iterations < 1:
            raise InputError(f"iterations is {iterations}; it must be at least 1")
        self.method = method_for(dense, feedback)
        if callable(check := getattr(feedback, "check_store", None)):
            check(dense)
        self.texts = texts_for(feedback, texts, sparse)
        self.iterations = iterations

    def first_round(
        self, queries: Sequence[str], qids: Sequence[str], k: int, threads: int
    ) -> FirstRound:
        """Encode, and retrieve what no weight changes (see :meth:`StagedSearcher.first_round`)."""
        vectors = self.searcher.encode(queries)
        sparse = None
        if self.sparse is not None:
            depth = self.sparse_hits or (max(k, self._depth(k)) if self.before else k)
            if self.rescore:
                depth = candidates(self.sparse_hits, k)
            run = self.sparse.batch_search(queries, qids, depth, threads)
            sparse = list(run.values())
        first = FirstRound(queries, qids, vectors, None, sparse)
        return replace(first, dense=self.retrieve(first, vectors, self._depth(k), threads))

    def stages(
        self, first: FirstRound, rule: Interpolation, k: int, threads: int, every: bool = False
    ) -> dict[str, list[Hits]]:
        """Refine, retrieve again and interpolate (see :meth:`StagedSearcher.stages`)."""
        assert first.vectors is not None
        assert first.dense is not None
        found: dict[str, list[Hits]] = {}
        if every:
            found["dense"] = self.retrieve(first, first.vectors, k, threads)
            if first.sparse is not None:
                found["sparse"] = [hits.head(k) for hits in first.sparse]
        vectors, dense = first.vectors, first.dense
        for iteration in range(1, self.iterations + 1):
            suffix = "" if self.iterations == 1 else f"-{iteration}"
            if self.before:
                dense = self.interpolate_with(first, vectors, dense, rule, max(k, self._depth(k)))
                if every:
                    found[f"before{suffix}"] = [hits.head(k) for hits in dense]
            vectors = self.refine(first.queries, vectors, dense)
            last = iteration == self.iterations
            depth = self._depth(k)
            if last:
                depth = (self.after and self.dense_hits) or k
            if self.search_again:
                dense = self.retrieve(first, vectors, depth, threads)
            else:
                dense = [hits.head(depth) for hits in rescored(self.searcher, vectors, dense)[1]]
            if every or (last and not self.after):
                found[f"feedback{suffix}"] = dense
        if self.after:
            found["after"] = self.interpolate_with(first, vectors, dense, rule, k)
        return found

    @property
    def search_again(self) -> bool:
        """Whether refined vectors retrieve, or rank what was retrieved."""
        return getattr(self.feedback, "search", True)

    def _depth(self, k: int) -> int:
        """Return how many documents a round retrieves that another one follows."""
        if not self.search_again:
            return candidates(self.dense_hits, k)
        if self.before:
            # Few hits do not mean few feedback documents.
            return self.dense_hits or max(k, self.feedback.depth)
        return self.feedback.depth

    def refine(self, queries: Sequence[str], vectors: Any, feedback: Sequence[Hits]) -> Any:
        """Refine query vectors from the top documents of ranked lists.

        Parameters
        ----------
        queries : sequence of str
        vectors : ndarray of float32, shape (q, dimension), or QueryTokens
        feedback : sequence of Hits, length q

        Returns
        -------
        ndarray of float32, shape (q, dimension), or QueryTokens
        """
        feedback = [hits.head(self.feedback.depth) for hits in self.searcher.with_vectors(feedback)]
        asked = [i for i, hits in enumerate(feedback) if len(hits)]
        answer = None
        if asked:
            answer = getattr(self.feedback, self.method)(
                [queries[i] for i in asked],
                vectors[asked],
                [feedback[i] for i in asked],
                self.searcher,
                *(() if self.texts is None else (self.texts,)),
            )
        return self.with_answer(vectors, asked, answer)


def method_for(dense: VectorSearcher, feedback: Any) -> str:
    """Return the name of the method that refines the vectors of a searcher's queries.

    Raises
    ------
    InputError
        If the feedback method is for queries of another kind.
    """
    kinds = {"refine": "one vector", "refine_tokens": "a vector for each token"}
    wanted = "refine_tokens" if isinstance(dense, MultiVectorSearcher) else "refine"
    if callable(getattr(feedback, wanted, None)):
        return wanted
    name = type(feedback).__name__
    other = next((own for own in kinds if callable(getattr(feedback, own, None))), None)
    if other is None:
        raise InputError(
            f"{name} does not refine query vectors ({wanted}); for the tokens of sparse queries "
            "there is TermFeedbackSearcher, for methods with a guide GuidedSearcher"
        )
    raise InputError(
        f"{name} refines queries of {kinds[other]} ({other}), but those of "
        f"{type(dense).__name__} have {kinds[wanted]}; choose another method or another index"
    )

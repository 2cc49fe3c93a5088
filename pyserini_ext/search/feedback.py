"""Dense retrieval with pseudo-relevance feedback, interpolated with a sparse side where wanted."""

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
from pyserini_ext.search.staged import FirstRound
from pyserini_ext.search.texts import texts_for


class FeedbackSearcher(RefiningSearcher):
    """Retrieves, refines the query vectors from the top documents, and retrieves again.

    Parameters
    ----------
    dense : DenseSearcher
    feedback : object
        A method such as :class:`~pyserini_ext.feedback.vector.Rocchio`: ``depth`` and
        ``refine(queries, vectors, feedback, store)``, or with a fifth parameter ``texts``.
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
        at least 1000.
    texts : str, Path, Searcher or callable, optional
        Where a method that reads documents gets their text: what
        :func:`~pyserini_ext.search.texts.open_texts` takes. By default the index of `sparse`, if
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
        dense: DenseSearcher,
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
        if not callable(getattr(feedback, "refine", None)):
            raise InputError(
                f"{type(feedback).__name__} does not refine query vectors (refine); for the tokens "
                "of sparse queries there is TermFeedbackSearcher"
            )
        self.texts = texts_for(feedback, texts, sparse)
        self.iterations = iterations

    def first_round(
        self, queries: Sequence[str], qids: Sequence[str], k: int, threads: int
    ) -> FirstRound:
        """Encode, and retrieve what no weight changes (see :meth:`StagedSearcher.first_round`)."""
        vectors = self.searcher.encode(queries)
        sparse = None
        if self.sparse is not None:
            depth = candidates(self.sparse_hits, k) if self.rescore else self.sparse_hits or k
            run = self.sparse.batch_search(queries, qids, depth, threads)
            sparse = list(run.values())
        first = FirstRound(queries, qids, vectors, None, sparse)
        depth = (self.dense_hits or k) if self.before else self.feedback.depth
        return replace(first, dense=self.retrieve(first, vectors, depth, threads))

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
                found["sparse"] = first.sparse
        vectors, dense = first.vectors, first.dense
        for iteration in range(1, self.iterations + 1):
            suffix = "" if self.iterations == 1 else f"-{iteration}"
            if self.before:
                dense = self.interpolate_with(first, vectors, dense, rule, k)
                if every:
                    found[f"before{suffix}"] = dense
            vectors = self.refine(first.queries, vectors, dense)
            last = iteration == self.iterations
            depth = (self.dense_hits or k) if last or self.before else self.feedback.depth
            if last and not self.after:
                depth = k
            dense = self.retrieve(first, vectors, depth, threads)
            if every or (last and not self.after):
                found[f"feedback{suffix}"] = dense
        if self.after:
            found["after"] = self.interpolate_with(first, vectors, dense, rule, k)
        return found

    def refine(
        self, queries: Sequence[str], vectors: np.ndarray, feedback: Sequence[Hits]
    ) -> np.ndarray:
        """Refine query vectors from the top documents of ranked lists.

        Parameters
        ----------
        queries : sequence of str
        vectors : ndarray of float32, shape (q, dimension)
        feedback : sequence of Hits, length q

        Returns
        -------
        ndarray of float32, shape (q, dimension)
        """
        feedback = [hits.head(self.feedback.depth) for hits in self.searcher.with_vectors(feedback)]
        asked = [i for i, hits in enumerate(feedback) if len(hits)]
        answer = None
        if asked:
            answer = self.feedback.refine(
                [queries[i] for i in asked],
                vectors[asked],
                [feedback[i] for i in asked],
                self.searcher,
                *(() if self.texts is None else (self.texts,)),
            )
        return self.with_answer(vectors, asked, answer)

"""Sparse retrieval with pseudo-relevance feedback: expanded queries, retrieved again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Docids, Hits
from pyserini_ext.run import Run
from pyserini_ext.search.base import Searcher, check_batch
from pyserini_ext.search.impact import ImpactSearcher


class TermFeedbackSearcher(Searcher):
    """Retrieves, expands the queries by the tokens of the top documents, and retrieves again.

    Parameters
    ----------
    searcher : ImpactSearcher
        From an index built with ``--store-docvectors`` documents are read fast.
    feedback : object
        A method such as :class:`~pyserini_ext.feedback.rm3.RM3`: ``depth`` and
        ``refine_terms(queries, weights, feedback, store)``.
    iterations : int
        Rounds of feedback; each starts from the query of the last one.

    Raises
    ------
    InputError
        If the searcher is none over token weights, or the method refines no tokens.

    Notes
    -----
    What the method sees does not depend on the mode of the index. Document weights are idf *
    weight, as a ``premultiplied`` index has them; query weights are those such an index is searched
    with, 1 for each token of a query, and may be any number of at least 0 after feedback. With the
    mode ``query`` they are multiplied by the idf of the index for the search. Where the index has
    no idf, or its encoder another table or none, both sides are used as they are. Scores and
    document weights are divided by the scale of the index.

    Examples
    --------
    >>> TermFeedbackSearcher(InferenceFreeSearcher("npl.impact"), RM3())  # doctest: +SKIP
    """

    def __init__(self, searcher: ImpactSearcher, feedback: Any, iterations: int = 1) -> None:
        if not isinstance(searcher, ImpactSearcher):
            raise InputError(
                f"{type(feedback).__name__} changes the weights of query tokens, which "
                f"{type(searcher).__name__} has not; give an InferenceFreeSearcher or "
                "ImpactSearcher"
            )
        if not callable(getattr(feedback, "refine_terms", None)):
            raise InputError(
                f"{type(feedback).__name__} does not refine query tokens (refine_terms); for dense "
                "query vectors there is FeedbackSearcher"
            )
        if iterations < 1:
            raise InputError(f"iterations is {iterations}; it must be at least 1")
        self.searcher, self.feedback, self.iterations = searcher, feedback, iterations
        info = searcher.info or {}
        self._scale = np.float32(info.get("scale", 1))
        own = getattr(searcher.encoder, "idf_sha256", None)
        known = info.get("mode") == "query" and own is not None and own == info["idf_sha256"]
        self._idf = searcher.idf if known else None
        self._missing = info.get("missing_idf") or 0.0
        self._last: tuple[tuple[str, ...], list[dict[str, float]]] | None = None

    def batch_search(
        self, queries: Sequence[str], qids: Sequence[str], k: int = 10, threads: int = 1
    ) -> Run:
        """Search for a batch of queries (see :meth:`Searcher.batch_search`)."""
        return self.batch_stages(queries, qids, k, threads)[0]["feedback"]

    def batch_stages(
        self,
        queries: Sequence[str],
        qids: Sequence[str],
        k: int = 10,
        threads: int = 1,
        rules: object = None,
        every: bool = False,
    ) -> list[dict[str, Run]]:
        """Search, and with `every` also return what the query as it was finds.

        Parameters
        ----------
        queries, qids, k, threads
            As for :meth:`batch_search`.
        rules : object
            Not used: nothing is interpolated.
        every : bool

        Returns
        -------
        list of dict of str to Run
            One: ``sparse`` (with `every`) and ``feedback``.
        """
        check_batch(queries, qids, k, threads)
        found = {"sparse": self.searcher.batch_search(queries, qids, k, threads)} if every else {}
        weights = self.expand(queries, threads)
        return [found | {"feedback": self.searcher.search_weights(weights, qids, k, threads)}]

    def score(
        self, queries: Sequence[str], docids: Sequence[Sequence[str]], threads: int = 1
    ) -> list[np.ndarray]:
        """Score given documents by the expanded queries (see :meth:`Searcher.score`)."""
        return self.searcher.score_weights(self.expand(queries, threads), docids, threads)

    def expand(self, queries: Sequence[str], threads: int = 1) -> list[dict[str, float]]:
        """Return the weights that the last round searches with.

        Parameters
        ----------
        queries : sequence of str
        threads : int

        Returns
        -------
        list of dict of str to float
            As :meth:`ImpactSearcher.search_weights` takes them.
        """
        # Interpolation searches for a batch and then scores documents for it.
        if self._last is not None and self._last[0] == tuple(queries):
            return self._last[1]
        weights = self.searcher.encode(queries)
        qids = [str(number) for number in range(len(queries))]
        for _ in range(self.iterations):
            found = self.searcher.search_weights(weights, qids, self.feedback.depth, threads)
            weights = self._refine(queries, weights, list(found.values()))
        self._last = tuple(queries), weights
        return weights

    def _refine(
        self, queries: Sequence[str], weights: list[dict[str, float]], found: list[Hits]
    ) -> list[dict[str, float]]:
        asked = [i for i, hits in enumerate(found) if len(hits)]
        answer = self.feedback.refine_terms(
            [queries[i] for i in asked],
            [{t: w / self._unit(t) for t, w in weights[i].items()} for i in asked],
            [Hits(found[i].docids, found[i].scores / self._scale, ranked=True) for i in asked],
            self,
        )
        if len(answer) != len(asked) or not all(isinstance(one, Mapping) for one in answer):
            raise InputError(
                f"feedback method {type(self.feedback).__name__} gave no {{token: weight}} for "
                "each query"
            )
        refined = list(weights)
        for i, one in zip(asked, answer, strict=True):
            refined[i] = {token: self._checked(w) * self._unit(token) for token, w in one.items()}
        return refined

    def vectors(self, docids: Docids) -> list[dict[str, float]]:
        """Return the tokens of documents with their weights, as the feedback method sees them."""
        distinct = list(dict.fromkeys(docids))
        read = dict(zip(distinct, self.searcher.document_vectors(distinct), strict=True))
        return [self._valued(read[docid] or {}) for docid in docids]

    def _valued(self, vector: Mapping[str, int]) -> dict[str, float]:
        scale = float(self._scale)
        if self._idf is None:
            return {token: impact / scale for token, impact in vector.items()}
        idf, missing = self._idf, self._missing
        return {token: impact / scale * idf.get(token, missing) for token, impact in vector.items()}

    def _unit(self, token: str) -> float:
        """Return the weight of a query token that counts once."""
        # A token without idf is in no document's vector, and stays as it is.
        return 1.0 if self._idf is None else self._idf.get(token, self._missing) or 1.0

    def _checked(self, weight: float) -> float:
        if not 0 <= weight < math.inf:
            raise InputError(
                f"feedback method {type(self.feedback).__name__} gave a token the weight {weight}; "
                "expected a finite number that is not negative"
            )
        return float(weight)

    def close(self) -> None:
        """Close the searcher."""
        self.searcher.close()

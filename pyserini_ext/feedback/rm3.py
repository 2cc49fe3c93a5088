"""RM3: the query's tokens mixed with those that stand out in its first documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Docids, Hits

WEIGHTINGS = ("scores", "softmax", "uniform")
"""How much each feedback document counts: see :class:`RM3`."""


class TokenVectors(Protocol):
    """Anything that looks the tokens of documents up."""

    def vectors(self, docids: Docids) -> Sequence[Mapping[str, float]]:
        """Return ``{token: weight}`` of each document, weights of at least 0."""


@dataclass(frozen=True)
class RM3:
    """Relevance model over the top documents, interpolated with the query.

    With P(t|d) = w_d(t) / sum of w_d and P(d|q) as `weighting` says, the relevance model is
    P(t|R) = sum over d of P(d|q) P(t|d), cut to its `terms` largest and scaled to sum up to 1; of
    equal ones the token that is smaller stays. The new query is
    ``original_weight * query + (1 - original_weight) * P(.|R)`` with the query scaled to 1 for this
    and the result scaled back, so that scores stay comparable.

    Sources: Lavrenko and Croft, *Relevance-Based Language Models*, SIGIR 2001; Abdul-Jaleel et al.,
    *UMass at TREC 2004: Novelty and HARD* (the interpolation). The defaults are those of Anserini's
    ``Rm3Reranker``, which moreover cuts each document to its `terms` largest tokens and leaves
    tokens out that stand in more than a tenth of the documents: here weights carry idf, and common
    tokens lose by it.

    Parameters
    ----------
    depth : int
        Feedback documents.
    terms : int
        Tokens of the relevance model.
    original_weight : float
        From 0 (feedback only) to 1 (the query as it was).
    weighting : {"scores", "softmax", "uniform"}
        P(d|q): in proportion to the scores (as in Anserini), to their exponentials (the query
        likelihood, were scores its logarithm), or equal for all.

    Raises
    ------
    InputError
        If a number is out of range or there is no such weighting.

    Examples
    --------
    >>> class Store:
    ...     def vectors(self, docids):
    ...         return [{"a": 3, "b": 1} for _ in docids]
    >>> RM3(terms=2).refine_terms(None, [{"a": 2.0}], [Hits(["d"], [1.0])], Store())
    [{'a': 1.75, 'b': 0.25}]
    """

    depth: int = 10
    terms: int = 10
    original_weight: float = 0.5
    weighting: str = "scores"

    def __post_init__(self) -> None:
        for name in ("depth", "terms"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} of rm3 is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.original_weight <= 1:
            raise InputError(
                f"original_weight of rm3 is {self.original_weight}; it must be from 0 to 1"
            )
        if self.weighting not in WEIGHTINGS:
            raise InputError(
                f"weighting of rm3 is {self.weighting!r}; choose one of {', '.join(WEIGHTINGS)}"
            )

    def refine_terms(
        self,
        queries: Sequence[str] | None,
        weights: Sequence[Mapping[str, float]],
        feedback: Sequence[Hits],
        store: TokenVectors,
    ) -> list[dict[str, float]]:
        """Return the expanded queries.

        Parameters
        ----------
        queries : sequence of str or None
            Not used.
        weights : sequence of mapping of str to float, length q
            Token to weight, of each query.
        feedback : sequence of Hits, length q
            Best first; the first ``depth`` count. A query without any keeps its weights.
        store : object with ``vectors(docids)``

        Returns
        -------
        list of dict of str to float, length q
            The tokens of the query first, then those that feedback added, the largest first.
        """
        tops = [hits.head(self.depth) for hits in feedback]
        docids = np.concatenate([*(hits.docids for hits in tops), np.empty(0, dtype=object)])
        vectors = iter(store.vectors(docids))
        return [
            self._mix(query, self.relevance_model([next(vectors) for _ in hits], hits.scores))
            for query, hits in zip(weights, tops, strict=True)
        ]

    def relevance_model(
        self, documents: Sequence[Mapping[str, float]], scores: np.ndarray
    ) -> dict[str, float]:
        """Return P(t|R) of the largest tokens.

        Parameters
        ----------
        documents : sequence of mapping of str to float, length n
        scores : ndarray of float, shape (n,)
            Of the documents, for P(d|q).

        Returns
        -------
        dict of str to float
            Sums up to 1; the largest first. Empty if no document has a token.
        """
        model: dict[str, float] = {}
        for document, probability in zip(documents, self._probabilities(scores), strict=True):
            length = float(sum(document.values()))
            for token, weight in document.items():
                if weight > 0:
                    model[token] = model.get(token, 0.0) + probability * weight / length
        kept = sorted(model.items(), key=lambda item: (-item[1], item[0]))[: self.terms]
        total = sum(weight for _, weight in kept)
        return {token: weight / total for token, weight in kept} if total > 0 else {}

    def _probabilities(self, scores: np.ndarray) -> list[float]:
        scores = np.asarray(scores, dtype=np.float64)
        if self.weighting == "softmax" and len(scores):
            scores = np.exp(scores - scores.max())
        if self.weighting == "uniform" or not scores.sum() > 0:
            scores = np.ones_like(scores)
        return (scores / scores.sum()).tolist() if len(scores) else []

    def _mix(self, query: Mapping[str, float], model: Mapping[str, float]) -> dict[str, float]:
        total = float(sum(query.values()))
        if not model or not total > 0:
            return dict(query)
        mixed = {token: self.original_weight * weight for token, weight in query.items()}
        for token, probability in model.items():
            added = (1 - self.original_weight) * total * probability
            mixed[token] = mixed.get(token, 0.0) + added
        return {token: weight for token, weight in mixed.items() if weight > 0}

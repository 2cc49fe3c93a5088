"""GQR: the query vector moved until its scores agree better with those of a second searcher.

Uzan, Yehudai, Pony, Shnarch and Gera, "Guided Query Refinement: Multimodal Hybrid Retrieval with
Test-Time Optimization", ICLR 2026 (arXiv 2510.05038, 2025). Held to the authors'
``paper-repro/query_optimizations.py`` (``optimize_queries_union``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast, overload

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.feedback.adam import adam
from pyserini_ext.feedback.gqr_pools import Pools
from pyserini_ext.feedback.gqr_tokens import TokenPool
from pyserini_ext.feedback.vector import Vectors
from pyserini_ext.hits import Docids, Hits
from pyserini_ext.rescore.query_tokens import QueryTokens
from pyserini_ext.rescore.rows import METRICS

TARGETS = ("frozen", "recomputed")
"""What the refined scores are to agree with: see :class:`GQR`."""

MISSING = ("rescore", "minimum", "zero")
"""What the guide says of a pool document that it did not retrieve."""


BLOCK_BYTES = 4 << 20
"""Padded vectors that are worked on at a time: what caches hold."""


class Tokens(Protocol):
    """Looks the token vectors of documents up."""

    def tokens(self, docids: Docids) -> tuple[np.ndarray, np.ndarray]:
        """Return float32 (tokens, dimension), and where each document begins, int64 (n + 1,)."""
        ...


@dataclass(frozen=True)
class GQR:
    """Guided query refinement: the query vector learns from a second searcher's scores.

    The pool of a query is the union of both searchers' first `depth` documents. With the
    distributions ``p1 = softmax(s1 / temperature)`` of the dense scores and
    ``p2 = softmax(s2 / guide_temperature)`` of the guide's over the pool, and the target
    ``m = (1 - alpha) p1 + alpha p2``, Adam minimises KL(m || p1) over the query vector z. Its
    gradient is ``sum over the pool of (p1 - m) d / temperature`` for inner products. z is not
    scaled back to the length it had.

    A query of many vectors has a matrix z, and documents have the scores of
    :class:`~pyserini_ext.feedback.gqr_tokens.TokenPool`. Tokens that are masked stay as they are.

    Parameters
    ----------
    depth : int
        Documents that each side puts into the pool; K = 10 in the paper.
    alpha : float
        Weight of the guide in the target, 0 (z stays) to 1; 0.5 in the paper.
    temperature : float
        Of both distributions; 1 in the paper.
    guide_temperature : float, optional
        Of the guide's distribution, where its scores have another scale, as BM25's have; not in
        the paper.
    lr : float
        Adam's; what the authors tune it over is in ``GRID``.
    steps : int
        The same.
    target : {"frozen", "recomputed"}
        ``frozen``: m has the p1 of the first query vector (the authors' code). ``recomputed``: m
        follows p1 from step to step (the paper's algorithm) and is a constant within each.
    search : bool
        False: z only reorders the pool, which stays ahead of the rest (the authors' default).
        True: z searches again.
    missing : {"rescore", "minimum", "zero"}
        For a pool document that the guide did not retrieve: its exact score (as in the authors'
        code), or the minimum of the guide's first documents or 0 for guides that cannot score.

    Raises
    ------
    InputError
        If a number is out of range or there is no such target or policy.

    Examples
    --------
    >>> class Store:
    ...     def vectors(self, docids):
    ...         return np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    >>> gqr = GQR(lr=0.25, steps=1)
    >>> pools, guide = [Hits(["a", "b"], [1.0, 0.0])], [np.array([0.0, 9.0])]
    >>> gqr.refine_guided(None, np.array([[1.0, 0.0]]), pools, guide, Store()).tolist()
    [[0.75, 0.25]]
    """

    GRID: ClassVar[dict[str, tuple[float, ...]]] = {
        "lr": (1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3),
        "steps": (10, 25, 50),
    }
    """What the authors tune over (``paper-repro/cfg.json``)."""

    takes_tokens: ClassVar[bool] = True
    """Queries may be QueryTokens."""

    depth: int = 10
    alpha: float = 0.5
    temperature: float = 1.0
    guide_temperature: float | None = None
    lr: float = 1e-3
    steps: int = 25
    target: str = "frozen"
    search: bool = False
    missing: str = "rescore"

    def __post_init__(self) -> None:
        if self.guide_temperature is None:
            object.__setattr__(self, "guide_temperature", self.temperature)
        for name, least in (("depth", 1), ("steps", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise InputError(
                    f"{name} of gqr is {value!r}; it must be a whole number of at least {least}"
                )
        for name in ("temperature", "guide_temperature", "lr"):
            if not 0 < getattr(self, name) < np.inf:
                raise InputError(f"{name} of gqr is {getattr(self, name)}; it must be above 0")
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha of gqr is {self.alpha}; it must be from 0 to 1")
        for name, choices in (("target", TARGETS), ("missing", MISSING), ("search", (True, False))):
            if getattr(self, name) not in choices:
                shown = ", ".join(str(choice) for choice in choices)
                raise InputError(f"{name} of gqr is {getattr(self, name)!r}; choose one of {shown}")

    @overload
    def refine_guided(
        self,
        queries: Sequence[str] | None,
        vectors: np.ndarray,
        pools: Sequence[Hits],
        guide: Sequence[np.ndarray],
        store: Vectors,
    ) -> np.ndarray: ...

    @overload
    def refine_guided(
        self,
        queries: Sequence[str] | None,
        vectors: QueryTokens,
        pools: Sequence[Hits],
        guide: Sequence[np.ndarray],
        store: Tokens,
    ) -> QueryTokens: ...

    def refine_guided(
        self,
        queries: Sequence[str] | None,
        vectors: np.ndarray | QueryTokens,
        pools: Sequence[Hits],
        guide: Sequence[np.ndarray],
        store: Vectors | Tokens,
    ) -> np.ndarray | QueryTokens:
        """Return the refined query vectors.

        Parameters
        ----------
        queries : sequence of str or None
            Not used.
        vectors : ndarray of float32, shape (q, dimension), or QueryTokens
        pools : sequence of Hits, length q
            A query with an empty pool keeps its vector.
        guide : sequence of ndarray of float, length q
            The guide's score of each document of the pool, in its order.
        store : object with ``vectors(docids)``, or ``tokens(docids)`` for QueryTokens
            And ``metric`` (``ip``, ``cosine``, ``l2``), where it is not the inner product.

        Returns
        -------
        ndarray of float32, shape (q, dimension), or QueryTokens, as given
            Computed in float64, because Adam divides by the size of the gradient, be it rounding.
        """
        metric = getattr(store, "metric", "ip")
        if metric not in METRICS:
            raise InputError(f"gqr has no gradient for the metric {metric!r} of this index")
        if isinstance(vectors, QueryTokens):
            return self._refined_tokens(vectors, pools, guide, cast(Tokens, store))
        refined = np.array(vectors, dtype=np.float32)
        asked = [row for row, hits in enumerate(pools) if len(hits)]
        if not asked or not self.steps:
            return refined
        documents = cast(Vectors, store).vectors(
            np.concatenate([pools[row].docids for row in asked])
        )
        ends = np.cumsum([len(pools[row]) for row in asked])
        each = np.split(documents, ends[:-1])
        largest = max(map(len, each))
        step = max(1, BLOCK_BYTES // (8 * largest * refined.shape[1]))
        for start in range(0, len(asked), step):
            part = slice(start, start + step)
            rows = asked[part]
            padded = Pools(each[part], metric)
            refined[rows] = self.optimise(
                refined[rows].astype(np.float64), padded, padded.padded([guide[r] for r in rows])
            )
        return refined

    def _refined_tokens(
        self,
        tokens: QueryTokens,
        pools: Sequence[Hits],
        guide: Sequence[np.ndarray],
        store: Tokens,
    ) -> QueryTokens:
        # One query at a time: its pool alone fills the caches.
        vectors = np.array(tokens.vectors, dtype=np.float32)
        for row, hits in enumerate(pools):
            own = tokens.mask[row]
            if not (self.steps and len(hits) and own.any()):
                continue
            pool = TokenPool(*store.tokens(hits.docids))
            if pool.present.any():
                z = vectors[row, own].astype(np.float64)
                vectors[row, own] = self.optimise(z[None], pool, pool.padded([guide[row]]))[0]
        return QueryTokens(vectors, tokens.mask)

    def optimise(
        self, queries: np.ndarray, pools: Pools | TokenPool, guide: np.ndarray
    ) -> np.ndarray:
        """Move query vectors towards agreement with the guide.

        Parameters
        ----------
        queries : ndarray of float64, shape (q, dimension), or (1, t, dimension) for a TokenPool
        pools : Pools or TokenPool
        guide : ndarray of float64, shape (q, p)
            Scores, laid out as the pools are.

        Returns
        -------
        ndarray of float64, of the shape of `queries`
        """
        assert self.guide_temperature is not None
        guided = self.alpha * pools.softmax(guide, self.guide_temperature)
        first = pools.softmax(pools.scores(queries)[0], self.temperature)

        def gradient(z: np.ndarray) -> np.ndarray:
            scores, pull = pools.scores(z)
            p = pools.softmax(scores, self.temperature)
            target = (1 - self.alpha) * (first if self.target == "frozen" else p) + guided
            return pull((p - target) / self.temperature)

        return adam(queries, gradient, lr=self.lr, steps=self.steps)

"""GQR: the query vector moved until its scores agree better with those of a second searcher.

Uzan, Yehudai, Pony, Shnarch and Gera, "Guided Query Refinement: Multimodal Hybrid Retrieval with
Test-Time Optimization", ICLR 2026 (arXiv 2510.05038, 2025), for single vectors. Held to the
authors' ``paper-repro/query_optimizations.py`` (``optimize_queries_union``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.feedback.adam import adam
from pyserini_ext.feedback.gqr_pools import Pools
from pyserini_ext.feedback.vector import Vectors
from pyserini_ext.hits import Hits
from pyserini_ext.rescore.rows import METRICS

TARGETS = ("frozen", "recomputed")
"""What the refined scores are to agree with: see :class:`GQR`."""

MISSING = ("rescore", "minimum", "zero")
"""What the guide says of a pool document that it did not retrieve."""

BLOCK_BYTES = 4 << 20
"""Padded vectors that are worked on at a time: what caches hold."""


@dataclass(frozen=True)
class GQR:
    """Guided query refinement: the query vector learns from a second searcher's scores.

    The pool of a query is the union of both searchers' first `depth` documents. With the
    distributions ``p1 = softmax(s1 / temperature)`` of the dense scores and
    ``p2 = softmax(s2 / guide_temperature)`` of the guide's over the pool, and the target
    ``m = (1 - alpha) p1 + alpha p2``, Adam minimises KL(m || p1) over the query vector z. Its
    gradient is ``sum over the pool of (p1 - m) d / temperature`` for inner products. z is not
    scaled back to the length it had.

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

    def refine_guided(
        self,
        queries: Sequence[str] | None,
        vectors: np.ndarray,
        pools: Sequence[Hits],
        guide: Sequence[np.ndarray],
        store: Vectors,
    ) -> np.ndarray:
        """Return the refined query vectors.

        Parameters
        ----------
        queries : sequence of str or None
            Not used.
        vectors : ndarray of float32, shape (q, dimension)
        pools : sequence of Hits, length q
            A query with an empty pool keeps its vector.
        guide : sequence of ndarray of float, length q
            The guide's score of each document of the pool, in its order.
        store : object with ``vectors(docids)``
            And ``metric`` (``ip``, ``cosine``, ``l2``), where it is not the inner product.

        Returns
        -------
        ndarray of float32, shape (q, dimension)
            Computed in float64, because Adam divides by the size of the gradient, be it rounding.
        """
        metric = getattr(store, "metric", "ip")
        if metric not in METRICS:
            raise InputError(f"gqr has no gradient for the metric {metric!r} of this index")
        refined = np.array(vectors, dtype=np.float32)
        asked = [row for row, hits in enumerate(pools) if len(hits)]
        if not asked or not self.steps:
            return refined
        documents = store.vectors(np.concatenate([pools[row].docids for row in asked]))
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

    def optimise(self, queries: np.ndarray, pools: Pools, guide: np.ndarray) -> np.ndarray:
        """Move query vectors towards agreement with the guide.

        Parameters
        ----------
        queries : ndarray of float64, shape (q, dimension)
        pools : Pools
        guide : ndarray of float64, shape (q, p)
            Scores, laid out as the pools are.

        Returns
        -------
        ndarray of float64, shape (q, dimension)
        """
        assert self.guide_temperature is not None
        guided = self.alpha * pools.softmax(guide, self.guide_temperature)

        def own(z: np.ndarray) -> np.ndarray:
            return pools.softmax(pools.scores(z), self.temperature)

        first = own(queries)

        def gradient(z: np.ndarray) -> np.ndarray:
            p = own(z)
            target = (1 - self.alpha) * (first if self.target == "frozen" else p) + guided
            return pools.gradient(z, (p - target) / self.temperature)

        return adam(queries, gradient, lr=self.lr, steps=self.steps)

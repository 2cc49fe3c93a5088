"""Interpolation: one weight between a sparse and a dense list, and Pyserini's own rules for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.fusion.combine import MISSING, fuse
from pyserini_ext.fusion.normalise import NORMALISERS
from pyserini_ext.hits import Hits

CONVENTIONS = {
    "convex": "alpha * sparse + (1 - alpha) * dense, with --normalise and --missing as given",
    "pyserini-fusion": "pyserini.fusion --method interpolation: convex, raw scores, missing = 0",
    "pyserini-hybrid": "pyserini.search.hybrid: alpha * sparse + dense, missing = list minimum",
    "pyserini-hybrid-normalised": "the same with its --normalization",
}
"""The rules that can be asked for by name."""

POLICIES = (*MISSING, "rescore")
"""``rescore`` is carried out by the searcher, which can look scores up, before lists are fused."""


@dataclass(frozen=True)
class Interpolation:
    """How the scores of a sparse and a dense retriever become one.

    Parameters
    ----------
    alpha : float
        Weight of the sparse side, 0 to 1 (any number under Pyserini's hybrid rule). 0.5 is the
        setting of Li et al., SIGIR 2022.
    normalise : {"none", "min-max", "z-score", "softmax", "rank"}
        Done to each list by itself.
    missing : {"rescore", "minimum", "zero"}
        For a document that only one side retrieved: ask the other side for its exact score, or
        let the minimum of that list or 0 stand for it.
    convention : str
        A name of :data:`CONVENTIONS`; Pyserini's rules fix `normalise` and `missing`, so that
        giving those as well is an error.

    Raises
    ------
    InputError
        If a value is unknown or two contradict each other.

    Examples
    --------
    >>> rule = Interpolation(alpha=0.5, normalise="min-max", missing="zero")
    >>> rule.fuse(Hits(["a", "b"], [9.0, 5.0]), Hits(["b", "c"], [0.8, 0.6]), k=1)
    Hits(1: a: 0.5)
    """

    alpha: float = 0.5
    normalise: str | None = None
    missing: str | None = None
    convention: str = "convex"

    def __post_init__(self) -> None:
        if self.convention not in CONVENTIONS:
            raise InputError(
                f"convention={self.convention!r}; choose one of {', '.join(CONVENTIONS)}"
            )
        fixed = self.convention != "convex"
        for name, choices, default in (
            ("normalise", tuple(NORMALISERS), "min-max"),
            ("missing", POLICIES, "rescore"),
        ):
            value = getattr(self, name)
            if value is None:
                object.__setattr__(self, name, self._fixed(name) if fixed else default)
            elif fixed and value != self._fixed(name):
                raise InputError(
                    f"{name}={value!r} contradicts the convention {self.convention!r}, which "
                    f"fixes it; leave {name} out or use the convention 'convex'"
                )
            elif value not in choices and not fixed:
                raise InputError(f"{name}={value!r}; choose one of {', '.join(choices)}")
        if not np.isfinite(self.alpha) or (
            not self.convention.startswith("pyserini-hybrid") and not 0 <= self.alpha <= 1
        ):
            raise InputError(f"alpha is {self.alpha}; it must be between 0 and 1")

    def _fixed(self, name: str) -> str:
        """Return what the convention of Pyserini fixes `name` to."""
        hybrid = self.convention.startswith("pyserini-hybrid")
        if name == "missing":
            return "minimum" if hybrid else "zero"
        return "centred" if self.convention.endswith("-normalised") else "none"

    def with_alpha(self, alpha: float) -> Interpolation:
        """Return the same rule with another weight."""
        return replace(self, alpha=alpha)

    def fuse(self, sparse: Hits, dense: Hits, k: int | None = None) -> Hits:
        """Combine the two lists of one query.

        Parameters
        ----------
        sparse, dense : Hits
            Under ``missing="rescore"`` both must hold the same documents: the searcher completes
            them first.
        k : int, optional
            Length of the result.

        Returns
        -------
        Hits
            float64 scores; float32 under Pyserini's hybrid rule, which computes in float32.
        """
        if self.convention.startswith("pyserini-hybrid"):
            fused = _hybrid(sparse, dense, self.alpha, self.normalise == "centred")
            return fused if k is None else fused.head(k)
        return fuse(
            [sparse, dense],
            [self.alpha, 1 - self.alpha],
            normalise=str(self.normalise),
            missing="zero" if self.missing == "rescore" else str(self.missing),
            k=k,
        )


def _hybrid(sparse: Hits, dense: Hits, alpha: float, normalised: bool) -> Hits:
    """Follow ``HybridSearcher._hybrid_results`` of Pyserini to the last bit.

    There the sparse score is a Python float and the dense one a NumPy float32, so that the sparse
    term is computed in float64, rounded to float32 and only then added (without dense hits all is
    float64 to the end). Where a list has no spread
    Pyserini divides by zero; here its normalised scores are 0.
    """
    place = {docid: i for i, docid in enumerate(dict.fromkeys([*sparse.docids, *dense.docids]))}
    columns: list[np.ndarray] = []
    for hits, dtype in ((sparse, np.float64), (dense, np.float32 if len(dense) else np.float64)):
        column: np.ndarray = np.empty(len(place), dtype=dtype)
        own = hits.scores.astype(dtype) if len(hits) else np.array([0, 1], dtype=dtype)
        low, high = own.min(), own.max()
        column[:] = low
        column[[place[docid] for docid in hits.docids]] = hits.scores
        if normalised:
            column -= (low + high) / 2
            column = column / (high - low) if high > low else np.zeros_like(column)
        columns.append(column)
    scores = (alpha * columns[0]).astype(columns[1].dtype) + columns[1]
    return Hits(list(place), scores.astype(np.float32))


def alpha_path(path: str | Path, alpha: float, alphas: int) -> Path:
    """Return the file for one weight of a grid: ``run.txt`` becomes ``run.alpha=0.3.txt``.

    With a single weight (``alphas == 1``) the path stays as it is.
    """
    path = Path(path)
    return path if alphas == 1 else path.with_name(f"{path.stem}.alpha={alpha:g}{path.suffix}")

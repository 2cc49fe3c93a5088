"""The weighted sum of several ranked lists of one query."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.fusion.normalise import NORMALISERS
from pyserini_ext.hits import Hits, as_docids

MISSING = ("minimum", "zero")
"""What stands for the score of a document that a list did not retrieve."""


def fuse(
    lists: Sequence[Hits],
    weights: Sequence[float],
    *,
    normalise: str | Callable[[np.ndarray], np.ndarray] = "none",
    missing: str = "zero",
    depth: int | None = None,
    k: int | None = None,
) -> Hits:
    """Sum the weighted, normalised scores of each document over the lists.

    Parameters
    ----------
    lists : sequence of Hits
        The lists of one query; empty ones are allowed.
    weights : sequence of float
        One for each list.
    normalise : str or callable
        A name of :data:`~pyserini_ext.fusion.NORMALISERS`, or a function from scores to scores.
    missing : {"minimum", "zero"}
        The normalised score that a document gets in a list that lacks it: that list's minimum
        (0 when it is empty), or 0.
    depth : int, optional
        Use only the best `depth` hits of each list, after normalisation over the whole list (the
        order of the two steps in Pyserini's fusion).
    k : int, optional
        Length of the result.

    Returns
    -------
    Hits
        Scores in float64, summed in the order of the lists.

    Examples
    --------
    >>> sparse, dense = Hits(["a", "b"], [9.0, 5.0]), Hits(["b", "c"], [0.8, 0.6])
    >>> fuse([sparse, dense], [0.5, 0.5], normalise="min-max")
    Hits(3: a: 0.5, b: 0.5, c: 0)
    """
    if len(lists) != len(weights):
        raise InputError(f"{len(lists)} lists but {len(weights)} weights; give one for each list")
    if missing not in MISSING:
        raise InputError(f"missing={missing!r}; choose one of {', '.join(MISSING)}")
    if isinstance(normalise, str):
        if normalise not in NORMALISERS:
            raise InputError(f"normalise={normalise!r}; choose one of {', '.join(NORMALISERS)}")
        normalise = NORMALISERS[normalise]

    place: dict[str, int] = {}
    for hits in lists:
        for docid in hits.docids[:depth].tolist():
            place.setdefault(docid, len(place))
    total = np.zeros(len(place))
    for hits, weight in zip(lists, weights, strict=True):
        if not len(hits):
            continue
        scores = normalise(hits.scores.astype(np.float64))[:depth]
        column = np.full(len(place), scores.min() if missing == "minimum" else 0.0)
        column[[place[docid] for docid in hits.docids[:depth].tolist()]] = scores
        total += weight * column
    fused = Hits(as_docids(list(place)), total)
    return fused if k is None else fused.head(k)

"""Early stopping: interpolated scores without looking every candidate's vector up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pyserini_ext.fusion.interpolation import Interpolation
from pyserini_ext.hits import Hits

Score = Callable[[Sequence[int], Sequence[Sequence[str]]], list[np.ndarray]]
"""From the numbers of queries and the docids asked of each to float32 scores (NaN: no vector)."""

FIRST_CHUNK = 64
"""Candidates scored before the first look at the bound; each chunk is twice as long as the last."""


def interpolate_early(
    sparse: Sequence[Hits],
    rule: Interpolation,
    k: int,
    score: Score,
    most: np.ndarray | None,
) -> tuple[list[Hits], int]:
    """Interpolate from the best sparse hit downwards until no later one can enter the first `k`.

    A candidate that follows in the sparse list scores at most ``alpha * (next sparse score) + (1 -
    alpha) * most``. Once that is below the k-th best score so far the first `k` are final.

    Parameters
    ----------
    sparse : sequence of Hits, length q
        Scores that go down.
    rule : Interpolation
        Without normalisation: a normalised score would depend on the candidates left out.
    k : int
    score : callable
        Dense scores of given documents.
    most : ndarray of float, shape (q,), or None
        A dense score that no document exceeds; then the result is that of scoring everything.
        None: the best dense score seen so far stands for it, as in Leonhardt et al., "Efficient
        Neural Ranking using Forward Indexes" (WWW 2022), section 4.2; that is a guess, and the
        result may differ.

    Returns
    -------
    list of Hits, length q
        The best `k` of each query, float64.
    int
        Documents whose dense score was computed.
    """
    alpha = rule.alpha
    active = [i for i, hits in enumerate(sparse) if len(hits)]
    dense: list[np.ndarray] = [np.empty(0, np.float32) for _ in sparse]
    start, size = 0, FIRST_CHUNK
    while active:
        stop = start + size
        chunk = [sparse[i].docids[start:stop].tolist() for i in active]
        for i, scores in zip(active, score(active, chunk), strict=True):
            dense[i] = np.concatenate([dense[i], scores])
        start, size = stop, 2 * size
        active = [
            i
            for i in active
            if stop < len(sparse[i])
            and not _final(sparse[i], dense[i], alpha, k, None if most is None else most[i])
        ]
    found = []
    for hits, scores in zip(sparse, dense, strict=True):
        known = ~np.isnan(scores)
        first = hits[: len(scores)][known]
        found.append(rule.fuse(first, Hits(first.docids, scores[known]), k))
    return found, sum(map(len, dense))


def _final(hits: Hits, dense: np.ndarray, alpha: float, k: int, most: float | None) -> bool:
    """Say whether no later document can be among the best `k`."""
    known = ~np.isnan(dense)
    if known.sum() < k:
        return False
    dense = dense[known].astype(np.float64)
    own = hits.scores[: len(known)][known].astype(np.float64)
    scores = alpha * own + (1 - alpha) * dense
    threshold = np.partition(scores, -k)[-k]
    bound = alpha * float(hits.scores[len(known)]) + (1 - alpha) * (
        dense.max() if most is None else most
    )
    # A later document with the same score could stand before this one by its docid.
    return bool(bound < threshold)


def greatest_scores(queries: np.ndarray, metric: str, longest: float) -> np.ndarray:
    """Return a score that no stored vector exceeds, for each query.

    Parameters
    ----------
    queries : ndarray of float32, shape (q, dimension)
    metric : {"ip", "cosine", "l2"}
    longest : float
        Length of the longest stored vector.

    Returns
    -------
    ndarray of float64, shape (q,)
        The inequality of Cauchy and Schwarz, and what float32 sums may add to it.
    """
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
    rounding = queries.shape[1] * float(np.finfo(np.float32).eps)
    if metric == "cosine":
        return np.full(len(queries), 1 + rounding)
    if metric == "l2":
        return np.zeros(len(queries))
    return lengths * longest * (1 + rounding)

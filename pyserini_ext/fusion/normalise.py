"""Making the scores of different retrievers comparable.

Each function takes the scores of one list, best first (float64, shape (n,), n > 0), and returns as
many. Where a list has no spread (one hit, or all tied) the value is the one named in its docstring,
never a division by zero.
"""

from __future__ import annotations

import numpy as np

RRF_K = 60
"""Cormack, Clarke and Büttcher (SIGIR 2009), section 2."""


def none(scores: np.ndarray) -> np.ndarray:
    """Return the scores as they are."""
    return scores


def min_max(scores: np.ndarray) -> np.ndarray:
    """Map the list onto [0, 1]; without spread every score becomes 1 (as in Pyserini's fusion)."""
    low, high = scores.min(), scores.max()
    if high == low:
        return np.ones_like(scores)
    return (scores - low) / (high - low)


def z_score(scores: np.ndarray) -> np.ndarray:
    """Subtract the mean and divide by the population deviation; without spread, 0."""
    deviation = scores.std()
    if deviation == 0:
        return np.zeros_like(scores)
    return (scores - scores.mean()) / deviation


def softmax(scores: np.ndarray) -> np.ndarray:
    """Turn the list into probabilities that sum to 1; without spread, 1/n each."""
    exponentials = np.exp(scores - scores.max())
    return exponentials / exponentials.sum()


def reciprocal_rank(scores: np.ndarray, rrf_k: int = RRF_K) -> np.ndarray:
    """Replace a score by ``1 / (rrf_k + rank)``, ranks from 1 (reciprocal rank fusion)."""
    return 1 / (rrf_k + np.arange(1, len(scores) + 1, dtype=np.float64))


NORMALISERS = {
    "none": none,
    "min-max": min_max,
    "z-score": z_score,
    "softmax": softmax,
    "rank": reciprocal_rank,
}

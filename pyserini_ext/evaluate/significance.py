"""Is the difference between two runs more than chance? Paired t-test and Holm's correction."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TIE = 1e-9
"""Per-query values closer than this are equal: summation order must not make a winner."""


@dataclass(frozen=True)
class Comparison:
    """One run against the baseline under one measure.

    Attributes
    ----------
    difference : float
        The run's aggregated value minus the baseline's.
    p : float or None
        Paired two-sided t-test; None with fewer than two queries.
    p_holm : float or None
        `p` after Holm's correction over all runs compared under this measure.
    wins, ties, losses : int
        Queries on which the run is better than, equal to or worse than the baseline.
    """

    difference: float
    p: float | None
    p_holm: float | None
    wins: int
    ties: int
    losses: int

    def significant(self, alpha: float = 0.05) -> bool:
        """Return whether the corrected p-value is below `alpha`."""
        return self.p_holm is not None and self.p_holm < alpha


def paired_t_test(values: np.ndarray, baseline: np.ndarray) -> float | None:
    """Return the p-value of a paired two-sided t-test.

    Parameters
    ----------
    values, baseline : ndarray of float, shape (n,)
        One value a query, in the same order.

    Returns
    -------
    float or None
        None when n < 2: no test exists. Never NaN: 1 when no query differs, 0 when all differ by
        the same amount (the limit of the test as the variance goes to zero).

    Notes
    -----
    Why the t-test: Urbano, Lima & Hanjalic, SIGIR 2019, compare the paired tests on IR measures.
    """
    if len(values) < 2:
        return None
    differences = np.asarray(values, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    if np.all(np.abs(differences) <= TIE):
        return 1.0
    if np.ptp(differences) <= TIE:
        return 0.0
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        p = float(stats.ttest_rel(values, baseline).pvalue)
    return p if math.isfinite(p) else 1.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for the number of tests, by Holm's step-down method.

    The smallest of m p-values is multiplied by m, the next by m - 1 and so on; a corrected value
    is never below the one before it and at most 1 (Holm, Scandinavian Journal of Statistics
    1979).

    Parameters
    ----------
    p_values : sequence of float or None
        One a test; None (no test) stays None and does not count.

    Returns
    -------
    list of float or None
        In the order given.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    tests = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for done, (p, place) in enumerate(tests):
        largest = max(largest, min(1.0, p * (len(tests) - done)))
        corrected[place] = largest
    return corrected


def compare(
    baseline: np.ndarray, runs: Sequence[np.ndarray], differences: Sequence[float]
) -> list[Comparison]:
    """Compare runs with a baseline under one measure.

    Parameters
    ----------
    baseline : ndarray of float, shape (n,)
        One value a query.
    runs : sequence of ndarray of float, shape (n,)
        The runs; together they are the family over which Holm corrects.
    differences : sequence of float
        Aggregated value of each run minus that of the baseline.

    Returns
    -------
    list of Comparison
    """
    p_values = [paired_t_test(values, baseline) for values in runs]
    result = []
    for values, difference, p, p_holm in zip(
        runs, differences, p_values, holm(p_values), strict=True
    ):
        wins = int(np.sum(values - baseline > TIE))
        losses = int(np.sum(baseline - values > TIE))
        ties = len(values) - wins - losses
        result.append(Comparison(difference, p, p_holm, wins, ties, losses))
    return result

"""Adam, step by step, on NumPy arrays: gradients come from a function, not from a graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def adam(
    start: np.ndarray,
    gradient: Callable[[np.ndarray], np.ndarray],
    *,
    lr: float,
    steps: int,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> np.ndarray:
    """Descend a gradient.

    Each number has its own pace, so that a batch of problems is solved as each would be alone.

    Parameters
    ----------
    start : ndarray of float
        Left as it is.
    gradient : callable
        From an array like `start` to the gradient there.
    lr : float
    steps : int
        0 gives `start` back.
    betas, eps : float
        Defaults of ``torch.optim.Adam``, whose order of operations this follows.

    Returns
    -------
    ndarray of float, of the shape of `start`

    Notes
    -----
    Kingma and Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, algorithm 1.

    Examples
    --------
    >>> adam(np.array([1.0, -1.0]), lambda x: 2 * x, lr=0.25, steps=1).round(6).tolist()
    [0.75, -0.75]
    """
    point = np.array(start)
    mean, square = np.zeros_like(point), np.zeros_like(point)
    for step in range(1, steps + 1):
        slope = gradient(point)
        mean += (1 - betas[0]) * (slope - mean)
        square *= betas[1]
        square += (1 - betas[1]) * slope * slope
        pace = np.sqrt(square) / np.sqrt(1 - betas[1] ** step) + eps
        point -= lr / (1 - betas[0] ** step) * mean / pace
    return point

"""k-means: Lloyd's algorithm, seeded by k-means++, the best of several starts."""

from __future__ import annotations

import numpy as np

ROUNDS = 300
"""Rounds of Lloyd's algorithm at most; as in scikit-learn."""


def kmeans(
    vectors: np.ndarray, clusters: int, *, seed: int, starts: int = 1, rounds: int = ROUNDS
) -> np.ndarray:
    """Cluster vectors and return the centroids.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dimension)
    clusters : int
    seed : int
        Equal seeds give equal centroids.
    starts : int
        Seedings; the clusters of the least sum of squared distances are kept, of equals the first.
    rounds : int

    Returns
    -------
    ndarray of float32, shape (k, dimension)
        Ordered by the first member of each cluster. k is `clusters`, or fewer where there are
        fewer distinct vectors; then they are the centroids.

    Examples
    --------
    >>> vectors = np.array([[9, 0], [0, 1], [0, 3], [9, 2]], dtype=np.float32)
    >>> kmeans(vectors, 2, seed=0).tolist()
    [[9.0, 1.0], [0.0, 2.0]]
    """
    random = np.random.default_rng(seed)
    best, least = vectors[:0], np.inf
    for _ in range(starts if len(vectors) else 0):
        centres, owner = lloyd(vectors, plus_plus(vectors, clusters, random), rounds)
        spread = float(np.square(vectors - centres[owner]).sum(dtype=np.float64))
        if spread < least:
            best, least = centres, spread
    return best


def plus_plus(vectors: np.ndarray, clusters: int, random: np.random.Generator) -> np.ndarray:
    """Choose vectors to begin with: each the likelier, the farther it is from those before.

    Arthur and Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007; of the
    2 + ln(clusters) vectors drawn for a place the best is taken, as scikit-learn does.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dimension)
        n > 0.
    clusters : int
    random : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (k, dimension)
        All different, so k is at most the number of distinct vectors.
    """
    trials = 2 + int(np.log(clusters))
    squares = np.square(vectors).sum(axis=1)
    # Below this a distance is rounding: between equal vectors, of which one is enough.
    least = 1e-6 * float(squares.max(initial=1e-30))

    def distances_to(rows: list[int] | np.ndarray) -> np.ndarray:
        found = squares[rows, None] + squares - 2 * (vectors[rows] @ vectors.T)
        return np.where(found > least, found, 0)

    chosen = [int(random.integers(len(vectors)))]
    distances = distances_to(chosen)[0]
    while len(chosen) < clusters and distances.any():
        upto = np.cumsum(distances, dtype=np.float64)
        # The sum grows where a vector is no centre yet, so none is drawn twice.
        drawn = np.searchsorted(upto, random.random(trials) * upto[-1], side="right")
        drawn = np.minimum(drawn, np.flatnonzero(distances)[-1])
        after = np.minimum(distances, distances_to(drawn))
        best = int(after.sum(axis=1, dtype=np.float64).argmin())
        chosen.append(int(drawn[best]))
        distances = after[best]
    return vectors[chosen]


def lloyd(vectors: np.ndarray, centres: np.ndarray, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Move centres to the means of the vectors nearest to them, until nothing changes.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dimension)
    centres : ndarray of float32, shape (k, dimension)
        A vector as near to two of them belongs to the first.
    rounds : int
        At most.

    Returns
    -------
    ndarray of float32, shape (m, dimension)
        Ordered by the first member; centres without any are left out.
    ndarray of int64, shape (n,)
        The centre that each vector belongs to.
    """
    owner: np.ndarray = np.full(len(vectors), -1)
    for _ in range(rounds):
        # The square of the vector's own length is the same for all centres.
        now = (np.square(centres).sum(axis=1) - 2 * (vectors @ centres.T)).argmin(axis=1)
        if (now == owner).all():
            break
        owner = now
        members = owner == np.arange(len(centres))[:, None]
        counts = members.sum(axis=1, keepdims=True)
        means = members.astype(vectors.dtype) @ vectors / np.maximum(counts, 1)
        centres = np.where(counts > 0, means, centres).astype(vectors.dtype)
    kept, first, owner = np.unique(owner, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return centres[kept[order]], np.argsort(order)[owner]


def squared_distances(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return squared distances, exactly 0 for equal vectors, float of shape (others, vectors)."""
    return np.stack([np.square(vectors - other).sum(axis=1) for other in others])

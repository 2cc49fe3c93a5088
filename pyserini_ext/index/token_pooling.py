"""Fewer vectors a document: k-means over its tokens, and the centroids in their place."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.rescore.kmeans import lloyd, squared_distances

ROUNDS = 20


def pooled(
    vectors: np.ndarray, offsets: np.ndarray, clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Replace the token vectors of each document by at most `clusters` centroids.

    The fixed clustering of CRISP (Veneroso et al., "CRISP: Clustering Multi-Vector Representations
    for Denoising and Pruning", 2025), without its training: k-means over each document by itself.

    Parameters
    ----------
    vectors : ndarray of float, shape (tokens, dimension)
    offsets : ndarray of int64, shape (n + 1,)
    clusters : int
        A document of no more vectors keeps its own.

    Returns
    -------
    ndarray of float32, shape (kept, dimension)
        The mean of each cluster, as long as its members are on average: a mean is shorter, the
        more so the more vectors it stands for, and MaxSim would rank by that.
    ndarray of int64, shape (n + 1,)

    Raises
    ------
    InputError
        If `clusters` is under 1.
    """
    if clusters < 1:
        raise InputError(f"{clusters} vectors a document; keep at least 1")
    found = [
        centroids(np.asarray(vectors[start:stop], dtype=np.float32), clusters)
        for start, stop in pairwise(offsets)
    ]
    bounds = np.concatenate(([0], np.cumsum([len(own) for own in found]))).astype(np.int64)
    nothing = np.empty((0, vectors.shape[1]), dtype=np.float32)
    return np.concatenate([nothing, *found]), bounds


def centroids(vectors: np.ndarray, clusters: int) -> np.ndarray:
    """Cluster the vectors of a document by Lloyd's algorithm.

    The first centre is the vector closest to the mean, each next one the vector farthest from those
    before; so nothing is random and equal documents have equal centroids.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dimension)
    clusters : int

    Returns
    -------
    ndarray of float32, shape (min(n, clusters), dimension)
        Fewer where vectors are equal.
    """
    if len(vectors) <= clusters:
        return vectors
    mean = vectors.mean(axis=0, keepdims=True)
    chosen = [int(squared_distances(vectors, mean)[0].argmin())]
    nearest = squared_distances(vectors, vectors[chosen])[0]
    while len(chosen) < clusters and nearest.max() > 0:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, squared_distances(vectors, vectors[chosen[-1:]])[0])
    means, owner = lloyd(vectors, vectors[chosen], ROUNDS)
    wanted = np.bincount(owner, np.linalg.norm(vectors, axis=1)) / np.bincount(owner)
    lengths = np.linalg.norm(means, axis=1)
    return means * (wanted / np.where(lengths == 0, 1, lengths)).astype(np.float32)[:, None]

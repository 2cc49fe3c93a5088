"""Pools of documents as distributions that a query vector gives, and how they move with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Pull = Callable[[np.ndarray], np.ndarray]
"""From a weight for each score, float64 (q, p), to the gradient of the weighted sum of the scores
at the queries that were scored, in their shape. A weight is 0 where no document is."""


class Distributions:
    """What pools of vectors and of token vectors share.

    Attributes
    ----------
    present : ndarray of bool, shape (q, p)
        Which places hold a document.
    """

    present: np.ndarray

    def softmax(self, scores: np.ndarray, temperature: float) -> np.ndarray:
        """Turn scores into a distribution over each pool.

        Parameters
        ----------
        scores : ndarray of float64, shape (q, p)
        temperature : float

        Returns
        -------
        ndarray of float64, shape (q, p)
            0 where no document is; each row sums up to 1.
        """
        scaled = np.where(self.present, scores / temperature, -np.inf)
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


class Pools(Distributions):
    """The pools of a batch of queries, padded to one length.

    Parameters
    ----------
    documents : sequence of ndarray of float, each of shape (n, dimension)
        The vectors of each query's pool.
    metric : {"ip", "cosine", "l2"}
        How documents are scored. The negative squared distance of a document is 2 z·d - |d|² and a
        number that is the same for the whole pool, which no softmax sees; it is left out here.

    Attributes
    ----------
    present : ndarray of bool, shape (q, p)
        Which places hold a document; p is the size of the largest pool.
    """

    def __init__(self, documents: Sequence[np.ndarray], metric: str = "ip") -> None:
        sizes = [len(own) for own in documents]
        shape = (len(sizes), max(sizes), documents[0].shape[1])
        self.metric = metric
        self.present = np.arange(shape[1]) < np.array(sizes)[:, None]
        self._vectors = np.zeros(shape)
        self._vectors[self.present] = np.concatenate(documents)
        self._offsets: np.ndarray | float = 0.0
        if metric == "l2":
            self._offsets = -np.square(self._vectors).sum(axis=2)
            self._vectors *= 2
        elif metric == "cosine":
            self._vectors = _directions(self._vectors)

    def padded(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Lay one number a document into the places of the pools.

        Returns
        -------
        ndarray of float64, shape (q, p)
            0 where no document is.
        """
        laid = np.zeros(self.present.shape)
        laid[self.present] = np.concatenate(values)
        return laid

    def scores(self, queries: np.ndarray) -> tuple[np.ndarray, Pull]:
        """Score the pools.

        Parameters
        ----------
        queries : ndarray of float64, shape (q, dimension)

        Returns
        -------
        ndarray of float64, shape (q, p)
            Where no document is, any number.
        Pull
        """
        own = _directions(queries) if self.metric == "cosine" else queries
        scores = np.matmul(self._vectors, own[:, :, None])[:, :, 0] + self._offsets

        def pull(weights: np.ndarray) -> np.ndarray:
            found = np.matmul(weights[:, None, :], self._vectors)[:, 0, :]
            if self.metric != "cosine":
                return found
            # Only the direction of the query counts: what points along it is taken out.
            lengths = np.linalg.norm(queries, axis=1, keepdims=True)
            found -= (found * own).sum(axis=1, keepdims=True) * own
            return found / np.where(lengths == 0, 1, lengths)

        return scores, pull


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to unit length; one of zeros stays, as its cosine is taken to be 0."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths == 0, 1, lengths)

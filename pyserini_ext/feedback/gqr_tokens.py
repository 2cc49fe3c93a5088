"""The pool of a query of many vectors: documents scored by MaxSim, and what moves their scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyserini_ext.feedback.gqr_pools import Distributions, Pull


class TokenPool(Distributions):
    """The pool of one query, a batch of one.

    A document is scored by MaxSim divided by the number of the query's tokens, as in the authors'
    ``Retriever.compute_scores``. Its gradient at a query token is the document token that is
    nearest to it, divided likewise; of equally near ones the first.

    Parameters
    ----------
    tokens : ndarray of float32, shape (tokens, dimension)
    bounds : ndarray of int64, shape (p + 1,)
        Where each document begins among them.

    Attributes
    ----------
    present : ndarray of bool, shape (1, p)
        Which documents have tokens; the others have no score and no part in the distributions.

    Notes
    -----
    The authors fill queries and documents up with zeros, divide by the filled-up length, and let
    Adam move the filling, too. Here a query has the tokens that it has.
    """

    def __init__(self, tokens: np.ndarray, bounds: np.ndarray) -> None:
        self.present = (np.diff(bounds) > 0)[None]
        self._tokens = np.ascontiguousarray(tokens, dtype=np.float32)
        # A copy in the order of the products that each step takes: up to twice as fast.
        self._columns = np.ascontiguousarray(self._tokens.T)
        self._held = np.flatnonzero(self.present[0])
        self._starts, self._ends = bounds[:-1][self._held], bounds[1:][self._held]

    def padded(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Return one number a document: float64, shape (1, p)."""
        return np.asarray(values, dtype=np.float64)

    def scores(self, queries: np.ndarray) -> tuple[np.ndarray, Pull]:
        """Score the pool.

        Parameters
        ----------
        queries : ndarray of float64, shape (1, t, dimension)

        Returns
        -------
        ndarray of float64, shape (1, p)
            0 for a document without tokens.
        Pull
        """
        own = queries[0]
        # Products in float32 only say which tokens are nearest: half the time of float64.
        nearest = self._tokens[self._nearest(own.astype(np.float32))].astype(np.float64)
        scores = np.zeros(self.present.shape)
        scores[0, self._held] = np.matmul(nearest, own[:, :, None])[:, :, 0].mean(axis=0)

        def pull(weights: np.ndarray) -> np.ndarray:
            return np.matmul(weights[0, self._held], nearest)[None] / len(own)

        return scores, pull

    def _nearest(self, own: np.ndarray) -> np.ndarray:
        """Return the number of the token of each document that is nearest to each query token."""
        products = own @ self._columns
        nearest = np.empty((len(own), len(self._held)), dtype=np.int64)
        for place, (start, end) in enumerate(zip(self._starts, self._ends, strict=True)):
            products[:, start:end].argmax(axis=1, out=nearest[:, place])
        return nearest + self._starts

"""The token vectors of a batch of queries: what late interaction has in place of one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyserini_ext.errors import InputError


@dataclass(frozen=True, eq=False)
class QueryTokens:
    """The token vectors of queries.

    A batch of them is cut and changed like an array of single vectors, query by query.

    Parameters
    ----------
    vectors : ndarray of float32, shape (q, t, dimension)
    mask : ndarray of bool, shape (q, t)
        False where a query has fewer tokens; the vector there is not looked at.

    Raises
    ------
    InputError
        If the shapes do not fit together.

    Examples
    --------
    >>> tokens = QueryTokens(np.ones((2, 3, 4)), np.array([[1, 1, 1], [1, 0, 0]], dtype=bool))
    >>> len(tokens), tokens[1:].lengths.tolist()
    (2, [1])
    """

    vectors: np.ndarray
    mask: np.ndarray

    def __post_init__(self) -> None:
        if self.vectors.ndim != 3 or self.mask.shape != self.vectors.shape[:2]:
            raise InputError(
                f"token vectors of shape {self.vectors.shape} with a mask of shape "
                f"{self.mask.shape}; expected (q, tokens, dimension) and (q, tokens)"
            )

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each query, ndarray of int64, shape (q,)."""
        return self.mask.sum(axis=1)

    def packed(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens without gaps.

        Returns
        -------
        ndarray of float32, shape (tokens, dimension)
        ndarray of int64, shape (q + 1,)
            Where each query begins.
        """
        offsets = np.concatenate(([0], np.cumsum(self.lengths))).astype(np.int64)
        return self.vectors[self.mask], offsets

    def replaced(self, rows: Sequence[int], others: QueryTokens) -> QueryTokens:
        """Return a copy in which some queries have other tokens.

        Parameters
        ----------
        rows : sequence of int
            Numbers of queries.
        others : QueryTokens
            One for each of `rows`; they may have more or fewer tokens.

        Returns
        -------
        QueryTokens
        """
        longest = max(self.mask.shape[1], others.mask.shape[1])
        vectors = np.zeros((len(self), longest, self.vectors.shape[2]), dtype=np.float32)
        mask = np.zeros(vectors.shape[:2], dtype=bool)
        for places, tokens in ((slice(None), self), (list(rows), others)):
            length = tokens.mask.shape[1]
            mask[places] = False
            vectors[places, :length], mask[places, :length] = tokens.vectors, tokens.mask
        return QueryTokens(vectors, mask)

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray) -> QueryTokens:
        return QueryTokens(self.vectors[rows], self.mask[rows])

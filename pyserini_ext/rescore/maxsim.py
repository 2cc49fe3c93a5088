"""MaxSim (late interaction) over documents of any number of token vectors, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.rescore.rows import Candidates, StoredRows

BLOCK_BYTES = 16 << 20
"""Bytes of token vectors taken at a time."""


@dataclass(frozen=True)
class TokenRows:
    """The token vectors of documents.

    Attributes
    ----------
    rows : StoredRows
        One row a token, the documents one after the other. dtype ``float16``.
    offsets : ndarray of int64, shape (n + 1,)
        Document i has the tokens ``offsets[i]`` to ``offsets[i + 1]``; there may be none.
    mask : ndarray of bool, shape (tokens,), optional
        False for tokens that are not to be looked at.
    """

    rows: StoredRows
    offsets: np.ndarray
    mask: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1


def maxsim(
    queries: np.ndarray,
    candidates: Candidates,
    documents: TokenRows,
    query_mask: np.ndarray | None = None,
    dtype: type = np.float32,
) -> np.ndarray:
    """Score candidates by the sum over query tokens of the best match among document tokens.

    Khattab and Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late
    Interaction over BERT", SIGIR 2020, section 3.3.

    Parameters
    ----------
    queries : ndarray of float, shape (q, t, dimension)
        Token vectors; they are rounded to float16, as those of the documents are.
    candidates : Candidates
        Numbers of documents.
    documents : TokenRows
    query_mask : ndarray of bool, shape (q, t), optional
        False for tokens that add nothing.
    dtype : type
        Of the sums: float64 for a reference.

    Returns
    -------
    ndarray of `dtype`, shape (m,)
        Minus infinity for a document without a token to look at, 0 for a query without one; NaN
        where a NaN was looked at.

    Raises
    ------
    InputError
        If shapes or types do not fit, or a document is not there.

    Examples
    --------
    >>> tokens = StoredRows(np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float16), "float16", 2)
    >>> documents = TokenRows(tokens, np.array([0, 2, 3, 3]))
    >>> candidates = Candidates(np.array([0, 1, 2], dtype=np.int32), np.array([0, 3]))
    >>> maxsim(np.array([[[3.0, 1.0], [0.0, 2.0]]]), candidates, documents).tolist()
    [5.0, 6.0, -inf]
    """
    query_mask = check_tokens(queries, candidates, documents, query_mask)
    scores: np.ndarray = np.empty(len(candidates.rows), dtype=dtype)
    own: np.ndarray = rounded(queries).astype(dtype)
    lengths = np.diff(documents.offsets)
    most = max(1, BLOCK_BYTES // (np.dtype(dtype).itemsize * max(1, documents.rows.dimension)))
    with np.errstate(invalid="ignore", over="ignore"):
        for i in range(len(own)):
            start, stop = candidates.offsets[i], candidates.offsets[i + 1]
            before = np.cumsum(lengths[candidates.rows[start:stop]])
            while start < stop:
                done = before[start - stop - 1] if start > candidates.offsets[i] else 0
                upto = np.searchsorted(before, done + most, side="right") + candidates.offsets[i]
                end = min(max(start + 1, upto), stop)
                part = candidates.rows[start:end]
                scores[start:end] = _score(own[i][query_mask[i]], part, documents, dtype)
                start = end
    return scores


def rounded(queries: np.ndarray) -> np.ndarray:
    """Return query tokens as they are multiplied: in float16."""
    with np.errstate(over="ignore"):
        return np.asarray(queries).astype(np.float16)


def check_tokens(
    queries: np.ndarray,
    candidates: Candidates,
    documents: TokenRows,
    query_mask: np.ndarray | None,
) -> np.ndarray:
    """Refuse what cannot be scored; return the mask of the query tokens."""
    rows = documents.rows
    if rows.dtype != "float16":
        raise InputError(f"token vectors have dtype {rows.dtype}; MaxSim takes float16")
    if queries.ndim != 3 or queries.shape[2] != rows.dimension:
        raise InputError(
            f"queries have shape {queries.shape}, expected (q, tokens, {rows.dimension}): were "
            "they made with another encoder than the stored vectors?"
        )
    if query_mask is None:
        query_mask = np.ones(queries.shape[:2], dtype=bool)
    if query_mask.shape != queries.shape[:2]:
        raise InputError(f"the query mask has shape {query_mask.shape}, not {queries.shape[:2]}")
    offsets, mask = documents.offsets, documents.mask
    if offsets[0] != 0 or offsets[-1] != len(rows) or (np.diff(offsets) < 0).any():
        raise InputError(f"the documents' offsets do not grow from 0 to {len(rows)}, the tokens")
    if mask is not None and mask.shape != (len(rows),):
        raise InputError(f"the token mask has shape {mask.shape}, not ({len(rows)},)")
    lists = candidates.offsets
    if len(lists) != len(queries) + 1 or lists[0] != 0 or lists[-1] != len(candidates.rows):
        raise InputError(
            f"{len(queries)} queries need {len(queries) + 1} offsets from 0 to "
            f"{len(candidates.rows)}; got {len(lists)}"
        )
    if len(candidates.rows):
        low, high = candidates.rows.min(), candidates.rows.max()
        if low < 0 or high >= len(documents):
            raise InputError(
                f"candidate {low if low < 0 else high} is not among the documents, 0 to "
                f"{len(documents) - 1}"
            )
    return query_mask


def token_numbers(documents: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of some documents, one after the other, and where each document begins.

    Returns
    -------
    ndarray of int64, shape (tokens,)
    ndarray of int64, shape (len(documents) + 1,)
    """
    begin = offsets[documents]
    lengths = offsets[documents + 1] - begin
    bounds = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return np.repeat(begin - bounds[:-1], lengths) + np.arange(bounds[-1]), bounds


def _score(query: np.ndarray, wanted: np.ndarray, documents: TokenRows, dtype: type) -> np.ndarray:
    numbers, bounds = token_numbers(wanted.astype(np.int64), documents.offsets)
    vectors: np.ndarray = np.asarray(documents.rows.data)[
        numbers, : documents.rows.dimension
    ].astype(dtype)
    products = vectors @ query.T
    if documents.mask is not None:
        products[~documents.mask[numbers]] = -np.inf
    best: np.ndarray = np.full((len(wanted), len(query)), -np.inf, dtype=dtype)
    filled = np.diff(bounds) > 0
    if filled.any():
        best[filled] = np.maximum.reduceat(products, bounds[:-1][filled], axis=0)
    return best.sum(axis=1)

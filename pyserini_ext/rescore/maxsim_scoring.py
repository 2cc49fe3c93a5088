"""MaxSim by the fastest backend there is: for given candidates, and over all documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.rescore.backend import Backend
from pyserini_ext.rescore.maxsim import TokenRows, check_tokens, maxsim, rounded
from pyserini_ext.rescore.numba_backend import NumbaBackend, sealed
from pyserini_ext.rescore.rows import Candidates, listed
from pyserini_ext.rescore.scoring import make_backend
from pyserini_ext.rescore.top import BestSoFar

BLOCK_SCORES = 1 << 22
"""Scores that are made at a time when all documents are searched."""


def score_maxsim(
    queries: np.ndarray,
    candidates: Candidates | Sequence[Sequence[int] | np.ndarray],
    documents: TokenRows,
    query_mask: np.ndarray | None = None,
    *,
    backend: str | Backend = "auto",
    device: str | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Score candidates by MaxSim.

    Parameters
    ----------
    queries, documents, query_mask
        See :func:`~pyserini_ext.rescore.maxsim.maxsim`, whose scores these are to float32
        rounding.
    candidates : Candidates, or a sequence of q sequences of int
        Numbers of documents.
    backend, device, threads
        See :func:`~pyserini_ext.rescore.scoring.rescore`.

    Returns
    -------
    ndarray of float32, shape (m,)

    Raises
    ------
    InputError
        If shapes do not fit, a document is not there, or the backend does not work here.
    """
    if not isinstance(candidates, Candidates):
        candidates = listed(candidates)
    candidates = Candidates(
        np.ascontiguousarray(candidates.rows, dtype=np.int32),
        np.ascontiguousarray(candidates.offsets, dtype=np.int64),
    )
    queries = np.asarray(queries)
    worker = make_backend(backend, device, threads) if isinstance(backend, str) else backend
    query_mask = check_tokens(queries, candidates, documents, query_mask)
    if isinstance(worker, NumbaBackend):
        return _by_numba(worker, queries, candidates, documents, query_mask)
    own: Any = getattr(worker, "maxsim", None)
    if own is not None:
        return own(queries, candidates, documents, query_mask)
    return maxsim(queries, candidates, documents, query_mask)


def search_maxsim(
    queries: np.ndarray,
    documents: TokenRows,
    k: int,
    query_mask: np.ndarray | None = None,
    *,
    backend: str | Backend = "auto",
    device: str | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Score all documents by MaxSim and keep the best, in bounded memory.

    Parameters
    ----------
    queries, documents, query_mask, backend, device, threads
        See :func:`score_maxsim`.
    k : int

    Returns
    -------
    ndarray of float32, shape (q, k)
        Best first, of equal scores the lower number; -inf where there are fewer documents with a
        token to look at.
    ndarray of int64, shape (q, k)
        Numbers of documents; -1 where there are fewer.

    Raises
    ------
    InputError
        If shapes do not fit, `k` is under 1, or the backend does not work here.
    """
    if k < 1:
        raise InputError(f"k is {k}; it must be at least 1")
    queries = np.asarray(queries)
    worker = make_backend(backend, device, threads) if isinstance(backend, str) else backend
    nothing = Candidates(np.empty(0, np.int32), np.zeros(len(queries) + 1, np.int64))
    query_mask = check_tokens(queries, nothing, documents, query_mask)
    best = BestSoFar(len(queries), min(k, max(1, len(documents))))
    step = max(1, BLOCK_SCORES // max(1, len(queries)))
    for start in range(0, len(documents), step):
        stop = min(start + step, len(documents))
        if isinstance(worker, NumbaBackend):
            scores = _block_by_numba(worker, queries, documents, query_mask, start, stop)
        else:
            numbers = np.tile(np.arange(start, stop, dtype=np.int32), len(queries))
            offsets = np.arange(len(queries) + 1, dtype=np.int64) * (stop - start)
            scores = score_maxsim(
                queries, Candidates(numbers, offsets), documents, query_mask, backend=worker
            ).reshape(len(queries), -1)
        best.add(scores, start)
    return best.scores, best.rows


def _by_numba(
    worker: NumbaBackend,
    queries: np.ndarray,
    candidates: Candidates,
    documents: TokenRows,
    query_mask: np.ndarray,
) -> np.ndarray:
    from pyserini_ext.rescore import numba_maxsim

    scores = np.empty(len(candidates.rows), dtype=np.float32)
    packed, ends = _packed(queries, query_mask)
    wanted, offsets = map(sealed, candidates)
    stored = _stored(documents)
    worker.run(
        lambda start, stop: numba_maxsim.score_pairs(
            packed, ends, wanted, offsets, *stored, start, stop, scores
        ),
        worker.pieces(len(wanted), _bytes_each(documents)),
    )
    return scores


def _block_by_numba(
    worker: NumbaBackend,
    queries: np.ndarray,
    documents: TokenRows,
    query_mask: np.ndarray,
    first: int,
    last: int,
) -> np.ndarray:
    from pyserini_ext.rescore import numba_maxsim

    scores = np.empty((len(queries), last - first), dtype=np.float32)
    packed, ends = _packed(queries, query_mask)
    stored = _stored(documents)
    worker.run(
        lambda start, stop: numba_maxsim.score_block(
            packed, ends, first, *stored, start, stop, scores
        ),
        worker.pieces(last - first, _bytes_each(documents) * len(queries)),
    )
    return scores


def _packed(queries: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the query tokens to be seen, one after the other, and where each query begins."""
    ends = np.concatenate(([0], np.cumsum(mask.sum(axis=1)))).astype(np.int64)
    tokens = np.ascontiguousarray(rounded(queries)[mask].astype(np.float32))
    return sealed(tokens), sealed(ends)


def _stored(documents: TokenRows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers of the tokens as 16 bits, where documents begin, and the mask."""
    data = np.asarray(documents.rows.data).view(np.uint16)
    mask = np.empty(0, dtype=bool) if documents.mask is None else np.asarray(documents.mask)
    bounds = np.ascontiguousarray(documents.offsets, dtype=np.int64)
    return sealed(data), sealed(bounds), sealed(mask)


def _bytes_each(documents: TokenRows) -> int:
    data = documents.rows.data
    return max(1, len(data) * data.strides[0] // max(1, len(documents)))

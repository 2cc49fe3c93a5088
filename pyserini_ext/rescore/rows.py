"""What is rescored: the stored rows of a collection and each query's candidates among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pyserini_ext.errors import InputError

METRICS = ("ip", "cosine", "l2")
"""Inner product, cosine of the angle, negative squared distance."""


@dataclass(frozen=True)
class StoredRows:
    """The vectors of a collection as they lie in memory or in a mapped file.

    Attributes
    ----------
    data : ndarray, shape (n, stride)
        C order. ``float32`` or ``float16`` components; ``int8`` components, each times the scale of
        its row; or, for ``binary``, ``uint8`` holding eight signs each, the first component in the
        highest bit, 1 for a component that is not negative. A row may be longer than the vector:
        what follows is zero.
    dtype : {"float32", "float16", "int8", "binary"}
    dimension : int
        Components of a vector.
    scales : ndarray of float32, shape (n,), or None
        Only for ``int8``.

    Notes
    -----
    The score of a query q for a row x, on every backend, with float32 sums of float32 products:
    ``float32``, ``float16`` and ``int8`` use q as it is and x as stored (``int8``: scale *
    integer). ``binary`` has the inner product of the signs of both, a whole number from
    -dimension to dimension; its cosine is that divided by the dimension, its l2 is twice that
    minus twice the dimension.
    """

    data: np.ndarray
    dtype: str
    dimension: int
    scales: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.data)


class Candidates(NamedTuple):
    """The rows that each query asks scores of.

    Attributes
    ----------
    rows : ndarray of int32, shape (m,)
        The lists of all queries, one after the other. A row may stand in many lists, and several
        times in one.
    offsets : ndarray of int64, shape (q + 1,)
        The list of query i is ``rows[offsets[i]:offsets[i + 1]]``.
    """

    rows: np.ndarray
    offsets: np.ndarray


class Ranked(NamedTuple):
    """The best candidates of each query.

    Attributes
    ----------
    positions : ndarray of int32, shape (r,)
        Places in each query's own candidate list, best first; of equal scores the earlier place
        first, NaN after everything.
    scores : ndarray of float32 or float64, shape (r,)
    offsets : ndarray of int64, shape (q + 1,)
    """

    positions: np.ndarray
    scores: np.ndarray
    offsets: np.ndarray


def listed(lists: Sequence[Sequence[int] | np.ndarray]) -> Candidates:
    """Put the candidates of several queries, a sequence of rows for each, behind one another."""
    offsets = np.zeros(len(lists) + 1, dtype=np.int64)
    np.cumsum([len(each) for each in lists], out=offsets[1:])
    parts = [np.asarray(each) for each in lists if len(each)]
    return Candidates(np.concatenate(parts) if parts else np.empty(0, np.int32), offsets)


def check(queries: np.ndarray, candidates: Candidates, rows: StoredRows, metric: str) -> None:
    """Refuse what no backend could score.

    Raises
    ------
    InputError
        If shapes do not fit or a row is not in the store.
    """
    if metric not in METRICS:
        raise InputError(f"metric={metric!r}; choose one of {', '.join(METRICS)}")
    if queries.ndim != 2 or queries.shape[1] != rows.dimension:
        raise InputError(
            f"queries have shape {queries.shape}, expected (q, {rows.dimension}): were they made "
            "with another encoder than the stored vectors?"
        )
    if len(rows) > np.iinfo(np.int32).max:
        raise InputError(f"{len(rows)} rows do not fit into int32; split the store")
    offsets = candidates.offsets
    if candidates.rows.ndim != 1 or candidates.rows.dtype.kind not in "iu":
        raise InputError(
            f"the rows of candidates are {candidates.rows.dtype} of shape "
            f"{candidates.rows.shape}; expected integers in one dimension"
        )
    if len(offsets) != len(queries) + 1 or offsets[0] != 0 or offsets[-1] != len(candidates.rows):
        raise InputError(
            f"{len(queries)} queries need {len(queries) + 1} offsets from 0 to "
            f"{len(candidates.rows)}; got {len(offsets)}"
        )
    if (np.diff(offsets) < 0).any():
        raise InputError("the offsets of the candidates go down; expected a growing sequence")
    if len(candidates.rows):
        low, high = candidates.rows.min(), candidates.rows.max()
        if low < 0 or high >= len(rows):
            raise InputError(
                f"candidate row {low if low < 0 else high} is not in the store, which has rows 0 "
                f"to {len(rows) - 1}; leave documents without a vector out of the candidates"
            )

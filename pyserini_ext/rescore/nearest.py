"""The stored rows nearest to vectors, among all of them, in bounded memory."""

from __future__ import annotations

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.rescore.rows import StoredRows
from pyserini_ext.rescore.top import BestSoFar

BLOCK_BYTES = 32 << 20
"""Of the vectors, and of the scores, that are worked on at a time."""

GROUP = 2048
"""Vectors that share a pass over the rows."""


def nearest_rows(vectors: np.ndarray, rows: StoredRows, k: int) -> np.ndarray:
    """Return the rows of the least Euclidean distance to each vector, exactly.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dimension)
    rows : StoredRows
        ``float32`` or ``float16``.
    k : int

    Returns
    -------
    ndarray of int64, shape (n, min(k, rows))
        Nearest first; of equal distances the lower row.

    Raises
    ------
    InputError
        If the dimensions or the dtype do not fit.

    Examples
    --------
    >>> rows = StoredRows(np.array([[0, 1], [4, 4], [0, 2]], dtype=np.float16), "float16", 2)
    >>> nearest_rows(np.array([[0, 3], [3, 3]], dtype=np.float32), rows, 2).tolist()
    [[2, 0], [1, 2]]
    """
    if rows.dtype not in ("float32", "float16") or vectors.shape[1] != rows.dimension:
        raise InputError(
            f"vectors of dimension {vectors.shape[1]} and {rows.dtype} rows of {rows.dimension}; "
            "expected the same dimension, and float32 or float16"
        )
    k = min(k, len(rows))
    found = np.empty((len(vectors), k), dtype=np.int64)
    for first in range(0, len(vectors), GROUP):
        some = vectors[first : first + GROUP]
        step = max(k, BLOCK_BYTES // (4 * max(len(some), rows.dimension)))
        best = BestSoFar(len(some), k)
        for start in range(0, len(rows) if k else 0, step):
            block = rows.data[start : start + step, : rows.dimension].astype(np.float32)
            # |v - r|² without |v|², which is the same for all rows, and negative: best is highest.
            scores = 2 * (some @ block.T) - np.square(block).sum(axis=1)
            best.add(scores, start)
        found[first : first + GROUP] = best.rows
    return found

"""Vectors in fewer bytes: what the dtypes of a vector store mean, and how they are made."""

from __future__ import annotations

from functools import cache

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.rescore.rows import StoredRows

DTYPES = {"float32": "<f4", "float16": "<f2", "int8": "|i1", "binary": "|u1"}
"""Name of a dtype to that of the numbers that lie on disk."""

ROW_BYTES = 32
"""A row takes a multiple of this, so that each begins where wide loads may."""

LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


def stride_of(dtype: str, dimension: int) -> int:
    """Return how many numbers of the stored type a row has, those that fill it up included.

    Examples
    --------
    >>> [stride_of(dtype, 100) for dtype in ("float32", "float16", "int8", "binary")]
    [104, 112, 128, 32]
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype={dtype!r}; choose one of {', '.join(DTYPES)}")
    size = np.dtype(DTYPES[dtype]).itemsize
    used = (dimension + 7) // 8 if dtype == "binary" else dimension * size
    return (used + ROW_BYTES - 1) // ROW_BYTES * ROW_BYTES // size


def quantise(matrix: np.ndarray, dtype: str) -> StoredRows:
    """Make stored rows of vectors.

    Parameters
    ----------
    matrix : array of float, shape (n, dimension)
    dtype : {"float32", "float16", "int8", "binary"}
        ``float16`` rounds to the nearest. ``int8`` rounds to the nearest of 255 steps between
        -m and m, where m is the largest magnitude of the row; a row of zeros has scale 0.
        ``binary`` keeps the sign, zero counting as positive.

    Returns
    -------
    StoredRows
        Rows filled up with zeros to a multiple of 32 bytes.

    Raises
    ------
    UnstorableError
        For a value that is not finite, or too large for ``float16``.

    Examples
    --------
    >>> rows = quantise(np.array([[1.0, -0.5, 0.0]]), "int8")
    >>> rows.data[0, :3].tolist(), float(rows.scales[0] * 127)
    ([127, -64, 0], 1.0)
    """
    matrix = np.asarray(matrix, dtype=np.float32)
    count, dimension = matrix.shape
    data = np.zeros((count, stride_of(dtype, dimension)), dtype=DTYPES[dtype])
    _refuse(~np.isfinite(matrix), "has values that are not finite")
    scales = None
    if dtype == "float32":
        data[:, :dimension] = matrix
    elif dtype == "float16":
        with np.errstate(over="ignore"):
            data[:, :dimension] = matrix
        _refuse(
            np.isinf(data),
            f"has values beyond {LARGEST_FLOAT16:g}, the largest of float16; store float32 or int8",
        )
    elif dtype == "int8":
        scales = np.abs(matrix).max(axis=1, initial=0) / np.float32(127)
        # Below the smallest normal number a scale is too coarse to divide by.
        scales[scales < np.finfo(np.float32).tiny] = 0
        steps = np.zeros_like(matrix)
        np.divide(matrix, scales[:, None], out=steps, where=scales[:, None] > 0)
        data[:, :dimension] = np.rint(steps, out=steps)
    else:
        packed = signs(matrix)
        data[:, : packed.shape[1]] = packed
    return StoredRows(data, dtype, dimension, scales)


def dequantise(rows: StoredRows, which: np.ndarray | slice) -> np.ndarray:
    """Return vectors as they are stored.

    Parameters
    ----------
    rows : StoredRows
    which : ndarray of int, shape (m,), or slice

    Returns
    -------
    ndarray of float32, shape (m, dimension)
        Of ``binary`` rows 1 and -1.
    """
    data = np.asarray(rows.data)[which]
    if rows.dtype == "binary":
        bits = np.unpackbits(data, axis=1, count=rows.dimension)
        return bits.astype(np.float32) * 2 - 1
    data = data[:, : rows.dimension]
    if rows.dtype == "float16":
        # Six times as fast as NumPy's own conversion.
        return _float16_table().take(data.view(np.uint16))
    if rows.dtype == "float32":
        return np.ascontiguousarray(data, dtype=np.float32)
    assert rows.scales is not None
    return data * np.asarray(rows.scales)[which][:, None]


def signs(matrix: np.ndarray) -> np.ndarray:
    """Pack signs into bits as ``numpy.packbits`` does.

    Parameters
    ----------
    matrix : ndarray of float, shape (n, dimension)

    Returns
    -------
    ndarray of uint8, shape (n, ceil(dimension / 8))
        1 for a component >= 0, so -0.0 counts as positive and NaN as negative.
    """
    return np.packbits(matrix >= 0, axis=1)


class UnstorableError(InputError):
    """A vector that a dtype cannot hold.

    Attributes
    ----------
    row : int
        The first of them.
    reason : str
        To follow the name of the document.
    """

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(f"row {row} {reason}")
        self.row, self.reason = row, reason


def _refuse(bad: np.ndarray, reason: str) -> None:
    if bad.any():
        raise UnstorableError(int(bad.any(axis=1).argmax()), reason)


@cache
def _float16_table() -> np.ndarray:
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)

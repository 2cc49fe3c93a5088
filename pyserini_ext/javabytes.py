"""What crosses the border to Java: one byte array a batch (the other side is ``Bytes.java``).

``bytes`` is the one type that pyjnius copies as a block, about 2 GB/s each way; a list of numbers
or strings is converted element by element, and a hit read through pyjnius costs some 5 us.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyserini_ext.hits import Docids, Hits, as_docids


def pack_strings(strings: Docids) -> bytes:
    """Pack strings: their number, their lengths in bytes (int32), their UTF-8."""
    # A lone surrogate has no UTF-8 and is in no index.
    encoded = [string.encode("utf-8", errors="replace") for string in strings]
    lengths = np.array([len(encoded), *map(len, encoded)], dtype="<i4")
    return lengths.tobytes() + b"".join(encoded)


def pack_ints(numbers: Any) -> bytes:
    """Pack numbers as int32."""
    return np.ascontiguousarray(numbers, dtype="<i4").tobytes()


def pack_floats(numbers: Any) -> bytes:
    """Pack numbers as float32."""
    return np.ascontiguousarray(numbers, dtype="<f4").tobytes()


def unpack_ints(message: Any) -> np.ndarray:
    """Return the int32 numbers of a Java byte array."""
    return np.frombuffer(message.tostring(), dtype="<i4")


def unpack_floats(message: Any) -> np.ndarray:
    """Return the float32 numbers of a Java byte array."""
    return np.frombuffer(message.tostring(), dtype="<f4")


def unpack_docids(message: Any, count: int) -> np.ndarray:
    """Return `count` docids that were joined by newlines, as an object array."""
    return as_docids(message.tostring().decode().split("\n") if count else [])


def unpack_texts(message: Any, count: int) -> list[str | None]:
    """Return texts packed as int32 lengths (-1 for None) and their UTF-8."""
    return split_texts(message.tostring(), count)


def split_texts(data: bytes, count: int) -> list[str | None]:
    """Return texts from the bytes of such a message."""
    texts: list[str | None] = []
    position = 4 * count
    for length in np.frombuffer(data, dtype="<i4", count=count).tolist():
        texts.append(None if length < 0 else data[position : position + length].decode())
        position += max(0, length)
    return texts


def unpack_hits(message: Any, queries: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (docids, float32 scores) for each query of a batch, in Java's order.

    See Also
    --------
    pyserini_ext.hits.Hits : what to make of a pair.
    """
    data = message.tostring()
    counts = np.frombuffer(data, dtype="<i4", count=queries)
    total = int(counts.sum())
    scores = np.frombuffer(data, dtype="<f4", count=total, offset=4 * queries)
    names = data[4 * (queries + total) :].decode().split("\n") if total else []
    docids = as_docids(names)
    stops = np.cumsum(counts)
    return [
        (docids[stop - count : stop], scores[stop - count : stop])
        for count, stop in zip(counts, stops, strict=True)
    ]


def unpack_numbers(message: Any, queries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Lucene's numbers of the hits of a batch (``Bytes.numbers``).

    Returns
    -------
    numbers : ndarray of int32, shape (m,)
    scores : ndarray of float32, shape (m,)
    offsets : ndarray of int64, shape (queries + 1,)
        The hits of query i are ``offsets[i]`` to ``offsets[i + 1]``.
    """
    data = message.tostring()
    offsets = np.zeros(queries + 1, dtype=np.int64)
    np.cumsum(np.frombuffer(data, dtype="<i4", count=queries), out=offsets[1:])
    total = int(offsets[-1])
    scores = np.frombuffer(data, dtype="<f4", count=total, offset=4 * queries)
    return np.frombuffer(data, dtype="<i4", offset=4 * (queries + total)), scores, offsets


def ranked(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[Hits]:
    """Make :class:`Hits` that keep Java's order, which is final."""
    return [Hits(docids, scores, ranked=True) for docids, scores in pairs]

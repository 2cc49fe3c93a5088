"""Writes the multi-vector store that :class:`~pyserini_ext.index.tokens.TokenStore` reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.files import write_json
from pyserini_ext.index.tokens import ID_FILES, TokenManifest, token_checksum
from pyserini_ext.index.writer import VectorWriter
from pyserini_ext.rescore.quantise import stride_of

IDS, FREQUENCIES = ID_FILES
BLOCK = 1 << 22
"""Token ids that are read at a time."""


class TokenWriter(VectorWriter):
    """Writes ``tokens.npy``, ``ends.npy``, ``docids.txt`` and ``tokens.json``.

    A document is a number in ``ends.npy``, which is what :class:`VectorWriter` keeps, resumes and
    counts; its tokens are on disk before that number is. Where the first documents come with token
    ids the others must, too; then ``ids.npy`` and ``frequencies.npy`` are written as well.

    Parameters
    ----------
    path, dimension, resume, **options
        See :class:`VectorWriter`.

    Examples
    --------
    >>> with TokenWriter("tokens", dimension=2) as out:   # doctest: +SKIP
    ...     out.append_tokens(["d1"], np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 2]))
    """

    VECTORS = "ends.npy"
    DOCIDS = "docids.txt"

    def __init__(
        self, path: str | Path, dimension: int, resume: bool = False, **options: Any
    ) -> None:
        super().__init__(path, dimension, resume, **options)
        self._width = stride_of("float16", dimension)
        self.tokens = self._end()
        """Vectors on disk."""
        self._tokens = (self.part / "tokens.npy").open("ab+")
        # None as long as it is open whether there will be ids.
        self._has_ids = (self.part / IDS).is_file() if self.count else None
        self._ids = (self.part / IDS).open("ab+") if self._has_ids else None
        self._cut()

    def row_bytes(self) -> dict[str, int]:
        """Return the bytes of a document in the files that are kept for each (an int64)."""
        return {self.VECTORS: 8}

    def header(self, count: int, name: str = VECTORS) -> bytes:
        """Return NumPy's own header of ``ends.npy``."""
        return _header("<i8", (count,))

    def append_tokens(
        self,
        docids: Sequence[str],
        vectors: np.ndarray,
        offsets: np.ndarray,
        ids: np.ndarray | None = None,
    ) -> None:
        """Add documents, on disk when this returns.

        Parameters
        ----------
        docids : sequence of str, length n
        vectors : array of float, shape (tokens, dimension)
        offsets : array of int64, shape (n + 1,)
            Document i has the vectors ``offsets[i]`` to ``offsets[i + 1]``; there may be none.
        ids : array of int, shape (tokens,), optional
            The token of each vector, -1 for a special one.

        Raises
        ------
        InputError
            As for :meth:`VectorWriter.append`, for values beyond float16, and for ids that come
            with some documents only, of another shape or below -1.
        """
        fits = len(offsets) == len(docids) + 1 and offsets[0] == 0 and offsets[-1] == len(vectors)
        if not fits or vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise InputError(
                f"{len(docids)} docids, {len(offsets)} offsets and token vectors of shape "
                f"{vectors.shape}; expected an offset more than docids, the last the number of "
                f"vectors, and the shape (tokens, {self.dimension})"
            )
        rows = np.zeros((len(vectors), self._width), dtype="<f2")
        with np.errstate(over="ignore"):
            rows[:, : self.dimension] = vectors
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            owner = int(np.searchsorted(offsets, bad.argmax(), side="right")) - 1
            raise InputError(
                f"the token vectors of document {docids[owner]!r} have values that are not finite "
                "in float16; encode with float32, normalised"
            )
        ids = self._checked_ids(ids, len(vectors))
        # A failed append before this one may have left tokens behind.
        self._cut()
        for file, array in ((self._tokens, rows), (self._ids, ids)):
            if file is not None and array is not None:
                file.write(array.data)
                file.flush()
                os.fsync(file.fileno())
        self._ends = (self.tokens + np.asarray(offsets[1:])).astype("<i8")
        self.append(docids, np.zeros((len(docids), self.dimension)))
        self.tokens += len(vectors)

    def encode(self, docids: Sequence[str], matrix: np.ndarray) -> list[np.ndarray]:
        """Return where the documents being appended end."""
        return [self._ends]

    def finish(self) -> None:
        """Write the number of tokens into the headers, the frequencies, and the manifest."""
        self._write_header("tokens.npy", _header("<f2", (self.tokens, self._width)))
        vocabulary = ids_sha256 = None
        if self._has_ids:
            self._write_header(IDS, _header("<i4", (self.tokens,)))
            # A file without rows cannot be mapped.
            ids = np.load(self.part / IDS, mmap_mode="r" if self.tokens else None)
            frequencies = document_frequencies(ids, np.load(self.part / self.VECTORS))
            np.save(self.part / FREQUENCIES, frequencies)
            vocabulary, ids_sha256 = len(frequencies), token_checksum(self.part, ID_FILES)
        sha256 = token_checksum(self.part)
        manifest = TokenManifest(
            self.dimension, self.count, self.tokens, sha256, vocabulary, ids_sha256
        )
        write_json(self.part / "tokens.json", manifest.to_json())

    def _checked_ids(self, ids: np.ndarray | None, count: int) -> np.ndarray | None:
        if self._has_ids is None:
            self._has_ids = ids is not None
            (self.part / IDS).unlink(missing_ok=True)
            self._ids = (self.part / IDS).open("ab+") if self._has_ids else None
        if self._has_ids != (ids is not None):
            raise InputError(
                f"{self.part} was begun {'with' if self._has_ids else 'without'} token ids; pass "
                "--overwrite to start again"
            )
        if ids is None:
            return None
        ids = np.ascontiguousarray(ids)
        if ids.shape != (count,) or ids.dtype.kind != "i" or (count and ids.min() < -1):
            raise InputError(
                f"token ids are {ids.dtype} of shape {ids.shape}; expected whole numbers of at "
                f"least -1 and the shape ({count},)"
            )
        return ids.astype("<i4")

    def _write_header(self, name: str, header: bytes) -> None:
        with (self.part / name).open("r+b") as file:
            file.write(header)
            file.flush()
            os.fsync(file.fileno())

    def _release(self) -> None:
        super()._release()
        for file in (self._tokens, self._ids):
            if file is not None:
                file.close()

    def _end(self) -> int:
        """Return the last number of ``ends.npy``."""
        if not self.count:
            return 0
        with (self.part / self.VECTORS).open("rb") as file:
            file.seek(-8, os.SEEK_END)
            return int(np.frombuffer(file.read(8), "<i8")[0])

    def _cut(self) -> None:
        header = len(_header("<f2", (0, self._width)))
        self._tokens.truncate(header + self.tokens * self._width * 2)
        if self._ids is not None:
            self._ids.truncate(len(_header("<i4", (0,))) + self.tokens * 4)


def document_frequencies(ids: np.ndarray, ends: np.ndarray, block: int = BLOCK) -> np.ndarray:
    """Count in how many documents each token is, in bounded memory.

    Parameters
    ----------
    ids : ndarray of int32, shape (tokens,)
        Mapped or not; negative ones are not counted.
    ends : ndarray of int64, shape (n,)
        Document i has the ids from ``ends[i - 1]`` to ``ends[i]``.
    block : int
        Tokens looked at together, where a document has no more.

    Returns
    -------
    ndarray of int32, shape (vocabulary,)
        As long as the largest id asks for.

    Examples
    --------
    >>> document_frequencies(np.array([3, 1, 3, -1, 3]), np.array([3, 5])).tolist()
    [0, 1, 0, 2]
    """
    largest = [int(ids[start : start + block].max()) for start in range(0, len(ids), block)]
    size = 1 + max(largest, default=-1)
    counts = np.zeros(size, dtype=np.int32)
    first = start = 0
    while first < len(ends):
        last = max(first + 1, int(np.searchsorted(ends, start + block, side="right")))
        lengths = np.diff(ends[first:last], prepend=start)
        own = np.asarray(ids[start : start + lengths.sum()], dtype=np.int64)
        documents = np.repeat(np.arange(len(lengths)), lengths)[own >= 0]
        pairs = np.unique(documents * size + own[own >= 0])
        counts += np.bincount(pairs % size if size else pairs, minlength=size).astype(np.int32)
        first, start = last, int(ends[last - 1])
    return counts


def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return NumPy's own header, which it pads so that the number of rows can grow."""
    out = BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return out.getvalue()

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
from pyserini_ext.index.tokens import TokenManifest, token_checksum
from pyserini_ext.index.writer import VectorWriter
from pyserini_ext.rescore.quantise import stride_of


class TokenWriter(VectorWriter):
    """Writes ``tokens.npy``, ``ends.npy``, ``docids.txt`` and ``tokens.json``.

    A document is a number in ``ends.npy``, which is what :class:`VectorWriter` keeps, resumes and
    counts; its tokens are on disk before that number is.

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
        self._cut()

    def row_bytes(self) -> dict[str, int]:
        """Return the bytes of a document in the files that are kept for each (an int64)."""
        return {self.VECTORS: 8}

    def header(self, count: int, name: str = VECTORS) -> bytes:
        """Return NumPy's own header of ``ends.npy``."""
        return _header("<i8", (count,))

    def append_tokens(
        self, docids: Sequence[str], vectors: np.ndarray, offsets: np.ndarray
    ) -> None:
        """Add documents, on disk when this returns.

        Parameters
        ----------
        docids : sequence of str, length n
        vectors : array of float, shape (tokens, dimension)
        offsets : array of int64, shape (n + 1,)
            Document i has the vectors ``offsets[i]`` to ``offsets[i + 1]``; there may be none.

        Raises
        ------
        InputError
            As for :meth:`VectorWriter.append`, and for values beyond float16.
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
        # A failed append before this one may have left tokens behind.
        self._cut()
        self._tokens.write(rows.data)
        self._tokens.flush()
        os.fsync(self._tokens.fileno())
        self._ends = (self.tokens + np.asarray(offsets[1:])).astype("<i8")
        self.append(docids, np.zeros((len(docids), self.dimension)))
        self.tokens += len(vectors)

    def encode(self, docids: Sequence[str], matrix: np.ndarray) -> list[np.ndarray]:
        """Return where the documents being appended end."""
        return [self._ends]

    def finish(self) -> None:
        """Write the number of tokens into its header, and the manifest."""
        self._tokens.close()
        with (self.part / "tokens.npy").open("r+b") as file:
            file.write(_header("<f2", (self.tokens, self._width)))
            file.flush()
            os.fsync(file.fileno())
        manifest = TokenManifest(self.dimension, self.count, self.tokens, token_checksum(self.part))
        write_json(self.part / "tokens.json", manifest.to_json())

    def _release(self) -> None:
        super()._release()
        self._tokens.close()

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


def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return NumPy's own header, which it pads so that the number of rows can grow."""
    out = BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return out.getvalue()

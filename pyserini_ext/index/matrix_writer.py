"""Writes the vector store that :class:`~pyserini_ext.index.matrix.MatrixStore` reads."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.files import write_json
from pyserini_ext.index.manifest import Manifest, arrays_of, checksum
from pyserini_ext.index.writer import VectorWriter
from pyserini_ext.rescore.quantise import UnstorableError, quantise, stride_of
from pyserini_ext.rescore.rows import METRICS


class MatrixWriter(VectorWriter):
    """Writes ``vectors.npy``, ``docids.txt`` and ``store.json``; see :class:`VectorWriter`.

    Parameters
    ----------
    path, dimension, **options
        See :class:`VectorWriter`.
    dtype : {"float32", "float16", "int8", "binary"}
        What the vectors are kept as: see :func:`~pyserini_ext.rescore.quantise.quantise`.
    metric : {"ip", "cosine", "l2"}
        What the store scores by.

    Attributes
    ----------
    appended : StoredRows
        The vectors appended last, as they are stored.

    Examples
    --------
    >>> with MatrixWriter("vectors", dimension=2) as out:   # doctest: +SKIP
    ...     out.append(["d1"], np.array([[1.0, 0.0]]))
    """

    VECTORS = "vectors.npy"
    DOCIDS = "docids.txt"

    def __init__(
        self,
        path: str | Path,
        dimension: int,
        resume: bool = False,
        *,
        dtype: str = "float32",
        metric: str = "ip",
        **options: Any,
    ) -> None:
        if metric not in METRICS:
            raise InputError(f"metric={metric!r}; choose one of {', '.join(METRICS)}")
        self.dtype, self.metric = dtype, metric
        self.arrays = arrays_of(dtype, stride_of(dtype, dimension))
        super().__init__(path, dimension, resume, **options)

    def row_bytes(self) -> dict[str, int]:
        """Return the bytes of a row in each array (see :meth:`VectorWriter.row_bytes`)."""
        return {
            name: dtype.itemsize * int(np.prod(shape))
            for name, (dtype, shape) in self.arrays.items()
        }

    def header(self, count: int, name: str = VECTORS) -> bytes:
        """Return NumPy's own header, which it pads so that the number of rows can grow."""
        out = BytesIO()
        dtype, shape = self.arrays[name]
        np.lib.format.write_array_header_1_0(
            out, {"descr": dtype.str, "fortran_order": False, "shape": (count, *shape)}
        )
        return out.getvalue()

    def encode(self, docids: Sequence[str], matrix: np.ndarray) -> list[np.ndarray]:
        """Quantise vectors (see :meth:`VectorWriter.encode`)."""
        try:
            self.appended = rows = quantise(matrix, self.dtype)
        except UnstorableError as error:
            raise InputError(
                f"the vector of document {docids[error.row]!r} {error.reason}"
            ) from None
        return [rows.data] if rows.scales is None else [rows.data, rows.scales]

    def finish(self) -> None:
        """Write the manifest."""
        stride = stride_of(self.dtype, self.dimension)
        sha256 = checksum(self.part, self.dtype)
        manifest = Manifest(self.dtype, self.dimension, self.count, stride, self.metric, sha256)
        write_json(self.part / "store.json", manifest.to_json())

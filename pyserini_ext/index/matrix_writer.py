"""Writes the vector store that :class:`~pyserini_ext.index.matrix.MatrixStore` reads."""

from __future__ import annotations

from io import BytesIO

import numpy as np

from pyserini_ext.files import write_json
from pyserini_ext.index.matrix import FORMAT, VERSION, checksum
from pyserini_ext.index.writer import VectorWriter


class MatrixWriter(VectorWriter):
    """Writes ``vectors.npy``, ``docids.txt`` and ``store.json``; see :class:`VectorWriter`.

    Examples
    --------
    >>> with MatrixWriter("vectors", dimension=2) as out:   # doctest: +SKIP
    ...     out.append(["d1"], np.array([[1.0, 0.0]]))
    """

    VECTORS = "vectors.npy"
    DOCIDS = "docids.txt"

    def header(self, count: int) -> bytes:
        """Return NumPy's own header, which it pads so that the number of rows can grow."""
        out = BytesIO()
        shape = (count, self.dimension)
        np.lib.format.write_array_header_1_0(
            out, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )
        return out.getvalue()

    def finish(self) -> None:
        """Write the manifest."""
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "dtype": "float32",
            "dimension": self.dimension,
            "count": self.count,
            "sha256": checksum(self.part),
        }
        write_json(self.part / "store.json", manifest)

"""Writes a flat inner-product FAISS index as Pyserini reads it, without holding it in memory."""

from __future__ import annotations

import struct

from pyserini_ext.index.writer import VectorWriter


class FaissWriter(VectorWriter):
    """Writes ``index`` (an ``IndexFlatIP``) and ``docid``; see :class:`VectorWriter`.

    A flat index is a header and the matrix (faiss/impl/index_write.cpp, ``write_index_header`` and
    ``IxFI``), so the vectors go straight to the file: the index is never in memory, not even once.
    """

    VECTORS = "index"
    DOCIDS = "docid"

    def header(self, count: int, name: str = VECTORS) -> bytes:
        """Return FAISS's header of a flat inner-product index."""
        unused, trained, inner_product = 1 << 20, True, 0
        return struct.pack(
            "<4siqqq?iQ",
            b"IxFI",
            self.dimension,
            count,
            unused,
            unused,
            trained,
            inner_product,
            count * self.dimension,
        )

"""Writes vectors to a Lucene index by Anserini's own indexers, HNSW or flat."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext import jvm
from pyserini_ext.errors import InputError
from pyserini_ext.index.writer import STATE, VectorWriter

LIMIT = 4096
"""Dimensions that Anserini's vector formats take. A document of more is left out without an error
(``IndexHnswDenseVectors``, ``IndexFlatDenseVectors`` of Anserini 1.7.1 and 2.2.0)."""

BUFFER_MB = 512
"""What Lucene holds before it writes a segment."""


class LuceneWriter(VectorWriter):
    """Appends vectors to a file, of which Anserini makes the index in the end.

    Anserini reads vectors from JSON only: while the index is made there are about ten bytes a
    number beside it, compressed.

    Parameters
    ----------
    path, dimension, **options
        See :class:`VectorWriter`.
    hnsw : bool
        A graph (M 16, efC 100: Anserini's defaults), or False for a scan.

    Raises
    ------
    InputError
        Also for more than :data:`LIMIT` dimensions.
    """

    VECTORS = "vectors.f32"
    DOCIDS = "docids.txt"

    def __init__(self, path: str | Path, dimension: int, *, hnsw: bool, **options: Any) -> None:
        if dimension > LIMIT:
            raise InputError(
                f"encodings of {dimension} dimensions; Anserini's Lucene indexes take {LIMIT}: "
                f"make smaller ones (--final {LIMIT}, or fewer --repetitions), or --to faiss"
            )
        self.hnsw = hnsw
        super().__init__(path, dimension, **options)

    @classmethod
    def finished(cls, path: Path) -> bool:
        """Say whether a folder is a finished index (see :meth:`VectorWriter.finished`)."""
        return (path / STATE).is_file() and any(path.glob("segments_*"))

    def header(self, count: int, name: str = VECTORS) -> bytes:
        """Return nothing: the file is the matrix."""
        return b""

    def finish(self) -> None:
        """Make the index of the vectors, and remove them."""
        # Java keeps the working directory that the process started in.
        part = self.part.absolute()
        source, index = part / "source", part / "lucene"
        for folder in (source, index):
            shutil.rmtree(folder, ignore_errors=True)
        source.mkdir()
        self._write_json(source / "vectors.jsonl.gz")
        name = "IndexHnswDenseVectors" if self.hnsw else "IndexFlatDenseVectors"
        arguments = ["-collection", "JsonDenseVectorCollection", "-input", str(source)]
        arguments += ["-generator", "DenseVectorDocumentGenerator", "-index", str(index)]
        arguments += ["-threads", "1", "-memoryBuffer", str(BUFFER_MB), "-quiet"]
        with jvm.java_errors(writing=self.path):
            jvm.autoclass(f"io.anserini.index.{name}").main(arguments)
        self._check_count(index)
        for file in index.iterdir():
            file.replace(self.part / file.name)
        for rest in (source, index):
            shutil.rmtree(rest)
        (self.part / self.DOCIDS).unlink()
        (self.part / self.VECTORS).unlink()

    def _write_json(self, path: Path) -> None:
        vectors = np.memmap(
            self.part / self.VECTORS, "<f4", "r", shape=(self.count, self.dimension)
        )
        # Nine digits name every float32; text of float64 would be twice as long.
        digits = "%.9g".__mod__
        with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as out:
            for docid, vector in zip(self._stored(), vectors, strict=True):
                numbers = ",".join(map(digits, vector.tolist()))
                out.write(f'{{"docid":{json.dumps(docid)},"contents":"","vector":[{numbers}]}}\n')

    def _check_count(self, index: Path) -> None:
        """Compare with what was written; Anserini logs what goes wrong, and goes on."""
        from pyserini_ext.index.lucene_vectors import LuceneVectorStore

        store = LuceneVectorStore(index)
        found = len(store)
        store.close()
        if found != self.count:
            raise InputError(
                f"{found} of {self.count} vectors are in the index {index}; is there room on the "
                "disk? Repeat the command to make it again"
            )

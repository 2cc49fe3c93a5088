"""The vector store of this package: a memory-mapped matrix, its docids and a manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits, as_docids
from pyserini_ext.index.faiss_index import faiss_threads
from pyserini_ext.index.vectors import VectorStore, hits_of

FORMAT = "pyserini-ext vectors"
VERSION = 1
BLOCK_BYTES = 64 << 20
"""Bytes of the matrix scored at a time: keeps the search of a large store in bounded memory."""


class MatrixStore(VectorStore):
    """Exact search over, and look-up in, a matrix that stays on disk.

    Parameters
    ----------
    path : str or Path
        Folder with ``store.json``, ``vectors.npy`` (float32, shape (n, dimension), C order) and
        ``docids.txt`` (UTF-8, one a line).

    Raises
    ------
    InputError
        If a file is missing or the manifest and the files disagree.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = self.folder = Path(path)
        for name in ("store.json", "vectors.npy", "docids.txt"):
            if not (self.path / name).is_file():
                raise InputError(f"{self.path} is not a vector store: {name} is missing")
        self.manifest = read_manifest(self.path)
        self.matrix = np.load(self.path / "vectors.npy", mmap_mode="r", allow_pickle=False)
        with (self.path / "docids.txt").open(encoding="utf-8") as lines:
            self.docids = as_docids([line.rstrip("\n") for line in lines])
        self.dimension = self.manifest["dimension"]
        expected = (self.manifest["count"], self.dimension)
        if self.matrix.shape != expected or self.matrix.dtype != self.manifest["dtype"]:
            raise InputError(
                f"{self.path}: vectors.npy is {self.matrix.dtype} of shape {self.matrix.shape}, "
                f"store.json says {self.manifest['dtype']} of shape {expected}; rebuild the store"
            )
        if len(self.docids) != len(self.matrix):
            raise InputError(
                f"{self.path}: {len(self.matrix)} vectors but {len(self.docids)} docids"
            )

    def verify(self) -> None:
        """Read everything and compare it with the manifest's checksum.

        Raises
        ------
        InputError
            If a byte has changed since the store was written.
        """
        actual = checksum(self.folder)
        if actual != self.manifest["sha256"]:
            raise InputError(
                f"{self.path} is damaged: sha256 is {actual}, store.json says "
                f"{self.manifest['sha256']}; rebuild the store"
            )

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Read the vectors of rows (see :meth:`VectorStore.take`)."""
        return np.asarray(self.matrix)[rows]

    def search(self, queries: np.ndarray, k: int, threads: int = 1) -> list[Hits]:
        """Score every row, in blocks, and keep the best (see :meth:`VectorStore.search`)."""
        import faiss

        queries = self.check_queries(queries)
        k = min(k, len(self))
        if not k:
            return [Hits([], np.empty(0, np.float32)) for _ in queries]
        matrix = np.asarray(self.matrix)
        heap = faiss.ResultHeap(len(queries), k, keep_max=True)
        step = max(1, BLOCK_BYTES // (4 * self.dimension))
        with faiss_threads(threads):
            for start in range(0, len(matrix), step):
                block = matrix[start : start + step]
                scores, rows = faiss.knn(
                    queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT
                )
                heap.add_result(scores, rows + start)
        heap.finalize()
        return hits_of(self.docids, heap.D, heap.I)


def read_manifest(path: Path) -> dict:
    """Read and check ``store.json``.

    Raises
    ------
    InputError
        If it is not JSON, of another format or version, or incomplete.
    """
    try:
        manifest = json.loads((path / "store.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise InputError(f"{path / 'store.json'}: format is {manifest['format']!r}")
        if manifest["version"] != VERSION:
            raise InputError(
                f"{path}: the store has version {manifest['version']}, this pyserini-ext reads "
                f"{VERSION}; use the release that wrote it or encode again"
            )
        for field in ("dtype", "dimension", "count", "sha256"):
            manifest[field]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path / 'store.json'} is damaged ({error}); rebuild the store"
        ) from error
    return manifest


def checksum(path: Path) -> str:
    """Return the sha256 over ``vectors.npy`` followed by ``docids.txt``."""
    digest = hashlib.sha256()
    for name in ("vectors.npy", "docids.txt"):
        with (path / name).open("rb") as source:
            while block := source.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()

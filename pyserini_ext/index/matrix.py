"""The vector store of this package: a memory-mapped matrix, its docids and a manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits, as_docids
from pyserini_ext.index.faiss_index import faiss_threads
from pyserini_ext.index.manifest import checksum, read_manifest
from pyserini_ext.index.vectors import VectorStore, hits_of
from pyserini_ext.rescore.quantise import dequantise
from pyserini_ext.rescore.rows import Candidates, StoredRows
from pyserini_ext.rescore.scoring import score
from pyserini_ext.rescore.top import BestSoFar

BLOCK_BYTES = 64 << 20
"""Bytes of float32 vectors or scores made at a time: bounds the memory that a search takes."""


class MatrixStore(VectorStore):
    """Exact search over, and look-up in, a matrix that stays on disk.

    Parameters
    ----------
    path : str or Path
        Folder with ``store.json``, ``docids.txt`` (UTF-8, one a line), ``vectors.npy`` and, for
        int8, ``scales.npy``.

    Attributes
    ----------
    stored : StoredRows
        The rows as they lie on disk, mapped into memory.

    Raises
    ------
    InputError
        If a file is missing or the manifest and the files disagree.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = self.folder = Path(path)
        self._find("store.json")
        self.manifest = manifest = read_manifest(self.path)
        for name in (*manifest.arrays, "docids.txt"):
            self._find(name)
        arrays = {}
        for name, expected in manifest.arrays.items():
            array = np.load(self.path / name, mmap_mode="r", allow_pickle=False)
            if (array.dtype, array.shape) != expected:
                raise InputError(
                    f"{self.path}: {name} is {array.dtype} of shape {array.shape}, store.json "
                    f"says {expected[0]} of shape {expected[1]}; rebuild the store"
                )
            # Every access to a memmap object makes another one.
            arrays[name] = np.asarray(array)
        with (self.path / "docids.txt").open(encoding="utf-8") as lines:
            self.docids = as_docids([line.rstrip("\n") for line in lines])
        if len(self.docids) != manifest.count:
            raise InputError(f"{self.path}: {manifest.count} vectors but {len(self.docids)} docids")
        self.dimension, self.metric = manifest.dimension, manifest.metric
        self.stored: StoredRows = StoredRows(
            arrays["vectors.npy"], manifest.dtype, manifest.dimension, arrays.get("scales.npy")
        )

    def _find(self, name: str) -> None:
        if not (self.folder / name).is_file():
            raise InputError(f"{self.path} is not a vector store: {name} is missing")

    def load(self) -> None:
        """Copy the rows from the mapped files into memory of this process.

        Rows picked at random are then read faster: the system gives large pages to memory, not to
        files.
        """
        rows = self.stored
        scales = None if rows.scales is None else np.array(rows.scales)
        self.stored = StoredRows(np.array(rows.data), rows.dtype, rows.dimension, scales)

    def verify(self) -> None:
        """Read everything and compare it with the manifest's checksum.

        Raises
        ------
        InputError
            If a byte has changed since the store was written.
        """
        actual = checksum(self.folder, self.manifest.dtype)
        if actual != self.manifest.sha256:
            raise InputError(
                f"{self.path} is damaged: sha256 is {actual}, store.json says "
                f"{self.manifest.sha256}; rebuild the store"
            )

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Read the vectors of rows (see :meth:`VectorStore.take`); of binary rows, 1 and -1."""
        return dequantise(self.stored, rows)

    def search(self, queries: np.ndarray, k: int, threads: int = 1) -> list[Hits]:
        """Score every row, in blocks, and keep the best (see :meth:`VectorStore.search`)."""
        queries = self.check_queries(queries)
        k = min(k, len(self))
        if not k:
            return [Hits([], np.empty(0, np.float32)) for _ in queries]
        if self.stored.dtype == "binary":
            scores, rows = self._search_signs(queries, k, threads)
        else:
            scores, rows = self._search_numbers(queries, k, threads)
        return hits_of(self.docids, scores, rows)

    def _search_numbers(
        self, queries: np.ndarray, k: int, threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        import faiss

        metric = faiss.METRIC_L2 if self.metric == "l2" else faiss.METRIC_INNER_PRODUCT
        if self.metric == "cosine":
            queries = _directions(queries)
        heap = faiss.ResultHeap(len(queries), k, keep_max=self.metric != "l2")
        step = max(1, BLOCK_BYTES // (4 * self.dimension))
        with faiss_threads(threads):
            for start in range(0, len(self), step):
                block = dequantise(self.stored, slice(start, start + step))
                if self.metric == "cosine":
                    block = _directions(block)
                scores, rows = faiss.knn(queries, block, min(k, len(block)), metric=metric)
                heap.add_result(scores, rows + start)
        heap.finalize()
        return -heap.D if self.metric == "l2" else heap.D, heap.I

    def _search_signs(
        self, queries: np.ndarray, k: int, threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        # Scores are few whole numbers: at the cut-off many are equal, and the lowest rows win.
        group = min(len(queries), 64)
        step = max(1, BLOCK_BYTES // (8 * group))
        found = []
        for some in np.split(queries, range(group, len(queries), group)):
            best = BestSoFar(len(some), k)
            for start in range(0, len(self), step):
                block = np.arange(start, min(start + step, len(self)), dtype=np.int32)
                offsets = np.arange(len(some) + 1, dtype=np.int64) * len(block)
                scores = score(
                    some,
                    Candidates(np.tile(block, len(some)), offsets),
                    self.stored,
                    metric=self.metric,
                    device="cpu",
                    threads=threads,
                )
                best.add(scores.reshape(len(some), -1), start)
            found.append(best)
        return np.concatenate([b.scores for b in found]), np.concatenate([b.rows for b in found])


def _directions(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0, np.float32(1), lengths)

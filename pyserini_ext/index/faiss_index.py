"""Vectors in a FAISS index, in the folder layout of Pyserini."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits, as_docids
from pyserini_ext.index.vectors import VectorStore, hits_of
from pyserini_ext.rescore.rows import StoredRows


class FaissStore(VectorStore):
    """A FAISS index with its docids.

    Parameters
    ----------
    path : str or Path
        Folder with ``index`` (written by ``faiss.write_index``) and ``docid`` (one a line).
    ef_search : int, optional
        Breadth of the search in an HNSW index.
    nprobe : int, optional
        Lists visited in an IVF index.

    Raises
    ------
    InputError
        If a file is missing or unreadable, the counts differ, or an option does not apply.

    Notes
    -----
    Flat, HNSW, IVF, PQ, scalar-quantised, OPQ and PCA indexes reconstruct their vectors; the
    quantised ones approximately.
    """

    def __init__(
        self, path: str | Path, ef_search: int | None = None, nprobe: int | None = None
    ) -> None:
        import faiss

        self.path = Path(path)
        for name in ("index", "docid"):
            if not (self.path / name).is_file():
                raise InputError(f"{self.path} is not a FAISS folder: the file {name!r} is missing")
        try:
            self.index = faiss.read_index(str(self.path / "index"))
        except RuntimeError as error:
            raise InputError(
                f"{self.path / 'index'} is not a readable FAISS index ({_reason(error)}); "
                "rebuild it"
            ) from error
        with (self.path / "docid").open(encoding="utf-8") as lines:
            self.docids = as_docids([line.rstrip() for line in lines])
        self.dimension = self.index.d
        if len(self.docids) != self.index.ntotal:
            raise InputError(
                f"{self.path}: {self.index.ntotal} vectors but {len(self.docids)} docids; the "
                "build was interrupted or the files belong to two indexes"
            )
        self._faiss: Any = faiss
        if self.index.metric_type == faiss.METRIC_L2:
            self.metric = "l2"
        self._set(faiss, "efSearch", ef_search, "hnsw", "an HNSW")
        self._set(faiss, "nprobe", nprobe, None, "an IVF")
        self._reconstructs = False
        self.stored = self._flat_rows()

    def _flat_rows(self) -> StoredRows | None:
        """Return the rows of a flat or HNSW-flat index where they lie, without a copy."""
        index = self.index
        if isinstance(index, self._faiss.IndexHNSWFlat):
            index = self._faiss.downcast_index(index.storage)
        if not isinstance(index, self._faiss.IndexFlat) or not index.ntotal:
            return None
        memory = (ctypes.c_float * (index.ntotal * index.d)).from_address(int(index.get_xb()))
        # Whoever keeps the rows keeps the index that owns them.
        memory.owner = self.index  # type: ignore[attr-defined]
        data = np.frombuffer(memory, dtype=np.float32).reshape(index.ntotal, index.d)
        return StoredRows(data, "float32", index.d)

    def _set(self, faiss: Any, name: str, value: int | None, part: str | None, kind: str) -> None:
        if value is None:
            return
        if value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1")
        inner = self.index
        while isinstance(inner, faiss.IndexPreTransform | faiss.IndexIDMap | faiss.IndexIDMap2):
            inner = faiss.downcast_index(inner.index)
        target = getattr(inner, part, None) if part else inner
        if target is None or not hasattr(target, name):
            raise InputError(
                f"{name}={value} needs {kind} index, but {self.path} holds {type(inner).__name__}"
            )
        setattr(target, name, value)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Reconstruct the vectors of rows (see :meth:`VectorStore.take`)."""
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        if not len(rows):
            return np.empty((0, self.dimension), dtype=np.float32)
        if not self._reconstructs:
            self._make_direct_map()
        return self.index.reconstruct_batch(rows)

    def _make_direct_map(self) -> None:
        """Let an IVF index find a vector by its row; FAISS does not keep that map on disk."""
        try:
            inner = self._faiss.extract_index_ivf(self.index)
        except RuntimeError:
            inner = None
        if inner is not None and inner.direct_map.type == self._faiss.DirectMap.NoMap:
            inner.make_direct_map()
        try:
            self.index.reconstruct_batch(np.zeros(1, dtype=np.int64))
        except RuntimeError as error:
            raise InputError(
                f"{type(self.index).__name__} in {self.path} cannot give its vectors back "
                f"({_reason(error)}); feedback and rescoring need one that can, e.g. a flat index"
            ) from error
        self._reconstructs = True

    def search(self, queries: np.ndarray, k: int, threads: int = 1) -> list[Hits]:
        """Search with FAISS (see :meth:`VectorStore.search`)."""
        queries = self.check_queries(queries)
        with faiss_threads(threads):
            scores, rows = self.index.search(queries, min(k, max(len(self), 1)))
        if self.metric == "l2":
            scores = -scores
        return hits_of(self.docids, scores, rows)


@contextmanager
def faiss_threads(count: int) -> Iterator[None]:
    """Let FAISS use `count` threads inside the block.

    FAISS and torch may share one OpenMP library: what is set for a search would hold for encoding,
    too, if it were not put back.
    """
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _reason(error: Exception) -> str:
    """Return the last sentence of a FAISS error, whose first part is a C++ source line."""
    return str(error).strip().splitlines()[-1].split("' failed: ")[-1].strip()

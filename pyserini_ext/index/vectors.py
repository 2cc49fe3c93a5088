"""Document vectors by docid: the piece that feedback, interpolation and rescoring share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Docids, Hits, as_docids
from pyserini_ext.rescore.backend import Backend
from pyserini_ext.rescore.rows import Candidates, Ranked, StoredRows
from pyserini_ext.rescore.scoring import rescore, score
from pyserini_ext.rescore.top import interpolated, rank

MISSING = ("error", "skip", "zero")
"""What to do about a docid without a vector."""

GATHER_BYTES = 64 << 20
"""Bytes of vectors read at a time from a store that does not hold them as rows."""


class VectorStore(ABC):
    """The vectors of a collection, looked up by docid and searched by inner product.

    Attributes
    ----------
    docids : ndarray of object, shape (n,)
        The docid of every row.
    dimension : int
        Length of a vector.
    path : Path or None
        Where the store lies, for messages.
    metric : {"ip", "cosine", "l2"}
        What :meth:`search` and :meth:`score` give: inner product, cosine, or the negative squared
        distance.
    stored : StoredRows or None
        The rows as they lie in memory, where the store has them so; then rescoring reads them in
        place.
    """

    docids: np.ndarray
    dimension: int
    path: Path | None = None
    metric: str = "ip"
    stored: StoredRows | None = None

    @abstractmethod
    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of rows.

        Parameters
        ----------
        rows : ndarray of int, shape (m,)
            Each in ``0 … len(self) - 1``, repetitions allowed.

        Returns
        -------
        ndarray of float32, shape (m, dimension)
            From a quantised index these are the vectors as the index reconstructs them.
        """

    @abstractmethod
    def search(self, queries: np.ndarray, k: int, threads: int = 1) -> list[Hits]:
        """Return the best `k` documents for each query vector.

        Parameters
        ----------
        queries : ndarray of float32, shape (q, dimension)
        k : int
        threads : int

        Returns
        -------
        list of Hits, length q
            Scored by inner product; an index built for the L2 metric gives the negative distance.
        """

    @cached_property
    def _row_of(self) -> dict[str, int]:
        rows = {docid: row for row, docid in enumerate(self.docids.tolist())}
        if len(rows) < len(self.docids):
            twice = next(d for row, d in enumerate(self.docids) if rows[d] != row)
            raise InputError(
                f"docid {twice!r} stands for several vectors in {self.path}; vectors can be "
                "looked up only where docids are distinct: rebuild the index without duplicates"
            )
        return rows

    def rows(self, docids: Docids) -> np.ndarray:
        """Return the row of each docid, -1 where there is none.

        Returns
        -------
        ndarray of int32, shape (n,)

        Notes
        -----
        A dictionary of all docids is made at the first call. To rescore what an index retrieves,
        ask once for the rows of all its documents and keep the table: then no query touches a
        string.
        """
        get = self._row_of.get
        return np.fromiter((get(docid, -1) for docid in docids), np.int32, count=len(docids))

    def vectors(self, docids: Docids, missing: str = "error") -> np.ndarray:
        """Return the vectors of documents.

        Parameters
        ----------
        docids : sequence of str
        missing : {"error", "skip", "zero"}
            For a docid without vector: raise, leave its row out, or give a row of zeros.

        Returns
        -------
        ndarray of float32, shape (m, dimension)
            In the order of `docids`; ``m < len(docids)`` only when rows were skipped.

        Raises
        ------
        InputError
            If a docid has no vector and `missing` is ``"error"``.
        """
        if missing not in MISSING:
            raise InputError(f"missing={missing!r}; choose one of {', '.join(MISSING)}")
        rows = self.rows(docids)
        absent = rows < 0
        if not absent.any():
            return self.take(rows)
        if missing == "error":
            raise self.lacks(as_docids(docids)[absent], len(rows))
        found = self.take(rows[~absent])
        if missing == "skip":
            return found
        vectors = np.zeros((len(rows), self.dimension), dtype=np.float32)
        vectors[~absent] = found
        return vectors

    def lacks(self, absent: np.ndarray, among: int) -> InputError:
        """Return the error about documents without a vector, out of so many asked for."""
        return InputError(
            f"document {absent[0]!r} has no vector in {self.path or 'the vector store'} "
            f"({len(absent)} of {among} are missing): the sparse and the dense index do "
            "not hold the same collection; rebuild one, or choose skip or zero for missing "
            "vectors"
        )

    def score(
        self, queries: np.ndarray, candidates: Candidates, backend: str | Backend = "auto"
    ) -> np.ndarray:
        """Score documents of each query exactly.

        Parameters
        ----------
        queries : ndarray of float32, shape (q, dimension)
        candidates : Candidates
        backend : str or Backend
            See :func:`pyserini_ext.rescore.scoring.rescore`.

        Returns
        -------
        ndarray of float32, shape (m,)
            In the order of ``candidates.rows``.
        """
        if self.stored is not None:
            return score(queries, candidates, self.stored, metric=self.metric, backend=backend)
        scores = np.empty(len(candidates.rows), dtype=np.float32)
        step = max(1, GATHER_BYTES // (4 * self.dimension))
        for start in range(0, len(scores), step):
            part = slice(start, start + step)
            rows, places = np.unique(candidates.rows[part], return_inverse=True)
            gathered = StoredRows(self.take(rows), "float32", self.dimension)
            offsets = np.clip(candidates.offsets - start, 0, len(places))
            own = Candidates(places.astype(np.int32), offsets)
            scores[part] = score(queries, own, gathered, metric=self.metric, backend=backend)
        return scores

    def rescore(
        self,
        queries: np.ndarray,
        candidates: Candidates,
        k: int,
        sparse: np.ndarray | None = None,
        alpha: float = 0.5,
        backend: str | Backend = "auto",
    ) -> Ranked:
        """Rank documents of each query by their exact scores.

        Parameters
        ----------
        queries : ndarray of float32, shape (q, dimension)
        candidates : Candidates
        k, sparse, alpha, backend
            See :func:`pyserini_ext.rescore.scoring.rescore`.

        Returns
        -------
        Ranked
        """
        if self.stored is None:
            scores = self.score(queries, candidates, backend)
            return rank(interpolated(scores, sparse, alpha), candidates.offsets, k)
        return rescore(
            queries,
            candidates,
            self.stored,
            k=k,
            metric=self.metric,
            sparse=sparse,
            alpha=alpha,
            backend=backend,
        )

    def similarity(self, query: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Score vectors as :meth:`search` does.

        Parameters
        ----------
        query : ndarray of float32, shape (dimension,)
        documents : ndarray of float32, shape (n, dimension)

        Returns
        -------
        ndarray of float32, shape (n,)
        """
        rows = StoredRows(documents, "float32", self.dimension)
        return score(query[None], [np.arange(len(rows))], rows, metric=self.metric)

    def check_queries(self, queries: np.ndarray) -> np.ndarray:
        """Return `queries` as contiguous float32 of shape (q, dimension), or say what is wrong."""
        queries = np.ascontiguousarray(np.atleast_2d(queries), dtype=np.float32)
        if queries.shape[1] != self.dimension:
            raise InputError(
                f"query vectors have dimension {queries.shape[1]} but the index "
                f"{self.path or ''} has {self.dimension}: was it built with another encoder?"
            )
        return queries

    def __len__(self) -> int:
        return len(self.docids)

    def close(self) -> None:
        """Release what the store holds open."""


def hits_of(docids: np.ndarray, scores: np.ndarray, rows: np.ndarray, drop: int = -1) -> list[Hits]:
    """Make :class:`Hits` of a score matrix and a row matrix, leaving out rows equal to `drop`."""
    found = []
    for query_scores, query_rows in zip(scores, rows, strict=True):
        kept = query_rows != drop
        if not kept.all():
            query_scores, query_rows = query_scores[kept], query_rows[kept]
        found.append(Hits(docids[query_rows], query_scores))
    return found

"""Vectors in a Lucene index that Pyserini made: HNSW or flat, quantised or not."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from pyserini_ext import javabytes, jvm
from pyserini_ext.errors import InputError
from pyserini_ext.hits import Docids, Hits
from pyserini_ext.index.vectors import VectorStore

EF_SEARCH = 100
"""Pyserini's default for HNSW (``LuceneHnswDenseSearcher``)."""

FLAT_CANDIDATES = 1000
"""What Anserini collects from a flat index before it cuts at k (``FlatDenseSearcher``)."""


class LuceneVectorStore(VectorStore):
    """Search over, and look-up in, Lucene's vector field.

    The documents found are those of Pyserini's ``LuceneHnswDenseSearcher`` and
    ``LuceneFlatDenseSearcher``. Their scores are mapped back from Lucene's positive scale to what
    FAISS gives (see :func:`similarity_of`), so that a weight tuned on one index fits the other.

    Parameters
    ----------
    path : str or Path
        An index of Anserini's ``IndexHnswDenseVectors`` or ``IndexFlatDenseVectors``.
    ef_search : int, optional
        Beam width of an HNSW search. By default 100, as in Pyserini, or `k` where that is more
        (Pyserini then returns fewer hits than asked for).

    Attributes
    ----------
    function : str
        Name of the ``VectorSimilarityFunction`` of Lucene that the index was built with.
    hnsw : bool
        Whether the search is approximate; a flat index is scanned.

    Raises
    ------
    InputError
        If the folder is not such an index, holds deleted documents, or `ef_search` is given for a
        flat index.

    Notes
    -----
    From a quantised index `take` returns the original vectors, which Lucene keeps beside.
    """

    def __init__(self, path: str | Path, ef_search: int | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_dir() or not any(self.path.glob("segments_*")):
            raise InputError(f"{path} is not a Lucene index (a folder with a segments_* file)")
        if ef_search is not None and ef_search < 1:
            raise InputError(f"ef_search is {ef_search}; it must be at least 1")
        vectors = jvm.autoclass("io.pyseriniext.Vectors")
        with jvm.java_errors():
            self._java = vectors(str(self.path.absolute()))
        self.ef_search = ef_search
        self.dimension = self._java.dimension()
        self.function: str = self._java.similarity()
        self.metric = {"EUCLIDEAN": "l2", "COSINE": "cosine"}.get(self.function, "ip")
        self.hnsw = "Hnsw" in self._java.format()
        self._count: int = self._java.documents.maxDoc()
        deleted = self._count - self._java.documents.numDocs()
        if deleted:
            self.close()
            raise InputError(f"{path} holds {deleted} deleted documents; rebuild the index")
        if ef_search is not None and not self.hnsw:
            self.close()
            raise InputError(f"ef_search={ef_search} does not apply to the flat index {path}")

    @cached_property
    def docids(self) -> np.ndarray:  # type: ignore[override]
        """The docid of every row, shape (n,), of ``str``; read when first asked for."""
        return javabytes.unpack_docids(self._java.documents.docids(), self._count)

    def rows(self, docids: Docids) -> np.ndarray:
        """Look docids up in the index (see :meth:`VectorStore.rows`); nothing is kept in memory."""
        message = self._java.documents.numbers(javabytes.pack_strings(docids))
        return javabytes.unpack_ints(message)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Read the vectors of rows (see :meth:`VectorStore.take`)."""
        rows = np.asarray(rows)
        if len(rows) and not (rows.min() >= 0 and rows.max() < self._count):
            raise InputError(f"rows must lie in 0 … {self._count - 1}; {self.path} has no others")
        with jvm.java_errors():
            message = self._java.take(javabytes.pack_ints(rows))
        return javabytes.unpack_floats(message).reshape(len(rows), self.dimension)

    def search(self, queries: np.ndarray, k: int, threads: int = 1) -> list[Hits]:
        """Search by vectors (see :meth:`VectorStore.search`).

        Raises
        ------
        InputError
            Also if `k` is more than the `ef_search` given: there would be fewer hits than asked
            for.
        """
        queries = self.check_queries(queries)
        if not np.isfinite(queries).all():
            raise InputError("a query vector holds NaN or infinity")
        if self.ef_search is not None and k > self.ef_search:
            raise InputError(
                f"k={k} hits cannot come out of a search with ef_search={self.ef_search}; give "
                "ef_search of at least k, or none"
            )
        least = EF_SEARCH if self.hnsw else FLAT_CANDIDATES
        candidates = self.ef_search or max(least, k)
        with jvm.java_errors():
            message = self._java.search(
                javabytes.pack_floats(queries),
                int(min(k, self._count)),
                int(min(candidates, max(least, self._count))),
                int(threads),
            )
        pairs = javabytes.unpack_hits(message, len(queries))
        return [Hits(docids, similarity_of(scores, self.function)) for docids, scores in pairs]

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Close the index."""
        self._java.close()


def similarity_of(scores: np.ndarray, function: str) -> np.ndarray:
    """Invert the map by which Lucene makes a similarity positive.

    Parameters
    ----------
    scores : ndarray of float32
        Scores of Lucene.
    function : str
        Name of a ``VectorSimilarityFunction`` of Lucene; the formulas stand in its source.

    Returns
    -------
    ndarray of float32
        The inner product (``DOT_PRODUCT``, ``MAXIMUM_INNER_PRODUCT``), the cosine (``COSINE``) or
        the negative squared distance (``EUCLIDEAN``). Lucene cuts an inner product below -1 to the
        score 0, which gives -1 here.

    Examples
    --------
    >>> similarity_of(np.array([0.75], dtype=np.float32), "DOT_PRODUCT")
    array([0.5], dtype=float32)
    """
    s = scores.astype(np.float64)
    if function in ("DOT_PRODUCT", "COSINE"):
        similarity = 2 * s - 1
    elif function == "MAXIMUM_INNER_PRODUCT":
        with np.errstate(divide="ignore"):
            similarity = np.where(s < 1, 1 - 1 / s, s - 1)
    elif function == "EUCLIDEAN":
        with np.errstate(divide="ignore"):
            similarity = 1 - 1 / s
    else:
        raise InputError(f"the index has the similarity {function}, which is not known here")
    return similarity.astype(np.float32)

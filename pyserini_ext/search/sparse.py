"""BM25 over an inverted index, and the adapter for any searcher of Pyserini."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext import javabytes, jvm
from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits
from pyserini_ext.run import Run
from pyserini_ext.search.base import Searcher, check_batch
from pyserini_ext.search.lucene import MOST, LuceneIndexSearcher, resolve_index


class BM25Searcher(LuceneIndexSearcher):
    """BM25 over a Lucene index, with the ranks and scores of Pyserini's ``LuceneSearcher``.

    A batch crosses the border to Java once, and docids come from doc values instead of stored
    documents, which makes reading 1000 hits a query several times faster.

    Parameters
    ----------
    index : str or Path
        A Lucene index made by Pyserini, or the name of a prebuilt one (then it is downloaded).
    k1, b : float
        BM25's parameters; Pyserini's defaults.
    language : str
        ISO 639-1 code of the analyzer that Anserini uses for it.
    adjust_ties : bool
        Anserini rounds scores to four decimals and subtracts 1e-6 for every hit that ties with the
        one before (``ScoreTiesAdjusterReranker``). True gives exactly Pyserini's scores, False
        gives Lucene's own. The order of the hits is the same; with True, scores over 32 can be
        equal in float32 where the documents' were not, and their hits keep the order of Lucene.

    Raises
    ------
    InputError
        If there is no such index, it is no inverted index, or the language is unknown.

    Examples
    --------
    >>> bm25 = BM25Searcher("indexes/npl.lucene")  # doctest: +SKIP
    >>> bm25.search("measurement of dielectric constants", k=3)  # doctest: +SKIP
    Hits(3: 5163: 11.2443, 2210: 9.8112, 4569: 9.7335)
    """

    def __init__(
        self,
        index: str | Path,
        k1: float = 0.9,
        b: float = 0.4,
        language: str = "en",
        adjust_ties: bool = True,
    ) -> None:
        if not k1 >= 0 or not 0 <= b <= 1:
            raise InputError(f"k1={k1}, b={b}: k1 must be at least 0 and b between 0 and 1")
        self.path = resolve_index(index, "sparse")
        self.k1, self.b, self.language, self.adjust_ties = k1, b, language, adjust_ties
        bm25 = jvm.autoclass("io.pyseriniext.Bm25")
        with jvm.java_errors():
            self._java = bm25(str(self.path.absolute()), float(k1), float(b), language)

    def batch_search(
        self, queries: Sequence[str], qids: Sequence[str], k: int = 10, threads: int = 1
    ) -> Run:
        """Search for a batch of queries (see :meth:`Searcher.batch_search`).

        A query of which the analyzer leaves nothing has no hits.
        """
        check_batch(queries, qids, k, threads)
        with jvm.java_errors():
            message = self._java.search(
                javabytes.pack_strings(queries), min(int(k), MOST), int(threads), self.adjust_ties
            )
        hits = javabytes.ranked(javabytes.unpack_hits(message, len(queries)))
        return Run(zip(qids, hits, strict=True), tag="bm25")

    def search_numbers(
        self, queries: Sequence[str], k: int, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Search without docids (see :meth:`LuceneIndexSearcher.search_numbers`)."""
        with jvm.java_errors():
            message = self._java.numbers(
                javabytes.pack_strings(queries), min(int(k), MOST), int(threads), self.adjust_ties
            )
        return javabytes.unpack_numbers(message, len(queries))

    def score(
        self, queries: Sequence[str], docids: Sequence[Sequence[str]], threads: int = 1
    ) -> list[np.ndarray]:
        """Return the BM25 scores of given documents (see :meth:`Searcher.score`).

        A document that holds no term of the query scores 0; so does one that is not in the index,
        because Anserini leaves documents without text out of it. With `adjust_ties` the scores are
        rounded as those of a search are; what a search subtracts from a tied hit depends on the
        other hits and is not subtracted here. Without, a document scores here what it scores in a
        search, bit for bit.

        Raises
        ------
        InputError
            If not one of the documents is in the index: it holds another collection.
        """
        if len(queries) != len(docids):
            raise InputError(f"{len(queries)} queries but {len(docids)} lists of docids")
        counts = [len(some) for some in docids]
        flat = [docid for some in docids for docid in some]
        with jvm.java_errors():
            message = self._java.score(
                javabytes.pack_strings(queries),
                javabytes.pack_ints(counts),
                javabytes.pack_strings(flat),
                int(threads),
            )
        scores = self._scores(message, docids)
        if self.adjust_ties:
            scores = [
                (np.floor(some.astype(np.float64) * 1e4 + 0.5) / 1e4).astype(np.float32)
                for some in scores
            ]
        return scores


class PyseriniSearcher(Searcher):
    """Any object with Pyserini's ``search``, and ``batch_search`` where it has one.

    Parameters
    ----------
    searcher : object
        Such as ``LuceneSearcher``, ``LuceneImpactSearcher``, ``FaissSearcher`` or
        ``LuceneHnswDenseSearcher``. Without a ``batch_search`` its ``search`` is called for each
        query.
    **options
        Given to each call, such as ``k0=1000, alpha=0.1`` for a ``HybridSearcher``.

    Raises
    ------
    InputError
        If the object has no ``search``.
    """

    def __init__(self, searcher: Any, **options: Any) -> None:
        if not callable(getattr(searcher, "search", None)):
            raise InputError(
                f"{type(searcher).__name__} has no method search(query, k); give a searcher of "
                "Pyserini or of pyserini-ext"
            )
        self.searcher, self.options = searcher, options

    def batch_search(
        self, queries: Sequence[str], qids: Sequence[str], k: int = 10, threads: int = 1
    ) -> Run:
        """Search for a batch of queries (see :meth:`Searcher.batch_search`)."""
        check_batch(queries, qids, k, threads)
        queries, qids = list(queries), list(qids)
        batch = getattr(self.searcher, "batch_search", None)
        if callable(batch):
            found = batch(queries, qids, k=k, threads=threads, **self.options)
            # A dictionary without some query stands for one without hits.
            return Run((qid, Hits.from_pyserini(found.get(qid, ()))) for qid in qids)
        return Run(
            (qid, Hits.from_pyserini(self.searcher.search(query, k=k, **self.options)))
            for qid, query in zip(qids, queries, strict=True)
        )

    def score(self, queries: Sequence[str], docids: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Score given documents, if the wrapped searcher can."""
        if isinstance(self.searcher, Searcher):
            return self.searcher.score(queries, docids)
        raise InputError(
            f"{type(self.searcher).__name__} of Pyserini cannot score given documents; use "
            "BM25Searcher, or choose another policy for missing scores (zero or minimum)"
        )

    def close(self) -> None:
        """Close the wrapped searcher, where it can be closed."""
        if callable(getattr(self.searcher, "close", None)):
            self.searcher.close()

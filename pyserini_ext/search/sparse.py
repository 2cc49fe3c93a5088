"""Searchers over inverted indexes, and the adapter for any searcher of Pyserini."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext import javabytes, jvm
from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits
from pyserini_ext.run import Run
from pyserini_ext.search.base import Searcher, check_batch

MOST = 2**31 - 2
"""No Lucene index holds more documents."""


class BM25Searcher(Searcher):
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
            self._java = bm25(str(self.path), float(k1), float(b), language)

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
        scores = javabytes.unpack_floats(message)
        absent = np.isnan(scores)
        if absent.any():
            if absent.all():
                raise InputError(
                    f"none of the {len(flat)} documents to score is in {self.path} (the first is "
                    f"{flat[0]!r}): the sparse and the dense index hold different collections"
                )
            scores = np.where(absent, np.float32(0), scores)
        if self.adjust_ties:
            rounded = np.floor(scores.astype(np.float64) * 1e4 + 0.5) / 1e4
            scores = rounded.astype(np.float32)
        return np.split(scores, np.cumsum(counts)[:-1]) if counts else []

    def stored(self, docids: Sequence[str], field: str = "raw") -> list[str | None]:
        """Return a stored field of documents, read in one call.

        Parameters
        ----------
        docids : sequence of str
        field : str
            ``"raw"`` (indexes built with ``--storeRaw``) or ``"contents"`` (``--storeContents``).

        Returns
        -------
        list of str or None
            None where the docid is not in the index or the field was not stored.
        """
        message = self._java.documents.stored(javabytes.pack_strings(docids), field)
        return javabytes.unpack_texts(message, len(docids))

    def contents(self, docids: Sequence[str]) -> list[str | None]:
        """Return the text of documents: the ``contents`` of the stored document.

        Returns
        -------
        list of str or None
            None where the docid is not in the index.

        Raises
        ------
        InputError
            If a document is in the index but its text was not stored.
        """
        texts: list[str | None] = []
        for docid, raw in zip(docids, self.stored(docids), strict=True):
            texts.append(None if raw is None else str(json.loads(raw)["contents"]))
            if raw is None and self._number(docid) >= 0:
                raise InputError(
                    f"{self.path} stores no text of document {docid!r}; build the index with "
                    "--storeRaw"
                )
        return texts

    def _number(self, docid: str) -> int:
        message = self._java.documents.numbers(javabytes.pack_strings([docid]))
        return int(javabytes.unpack_ints(message)[0])

    def __len__(self) -> int:
        return int(self._java.documents.numDocs())

    def close(self) -> None:
        """Close the index."""
        self._java.close()


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


class ImpactSearcher(PyseriniSearcher):
    """Learned sparse retrieval over an impact index, by Pyserini's ``LuceneImpactSearcher``.

    Parameters
    ----------
    index : str or Path
        An impact index (``--impact --pretokenized``), or the name of a prebuilt one.
    encoder : str or object
        What Pyserini takes: the name of a sparse query encoder's checkpoint, or an object whose
        ``encode(query)`` gives ``{token: weight}``. Pyserini cuts weights to whole numbers.
    min_idf : float
        Query tokens whose idf is not above this are dropped; so is, with 0, a token that stands
        in every document.

    Raises
    ------
    InputError
        If there is no such index or the encoder cannot encode.
    """

    def __init__(self, index: str | Path, encoder: Any, min_idf: float = 0) -> None:
        if not isinstance(encoder, str) and not callable(getattr(encoder, "encode", None)):
            raise InputError(
                f"the encoder of an impact index is {type(encoder).__name__}; give the name of a "
                "checkpoint or an object with encode(query) -> {token: weight}"
            )
        self.path = resolve_index(index, "impact")
        with jvm.pyserini_import():
            from pyserini.search.lucene import LuceneImpactSearcher
        super().__init__(LuceneImpactSearcher(str(self.path), encoder, min_idf))


def resolve_index(index: str | Path, kind: str) -> Path:
    """Return the folder of a Lucene index, downloading a prebuilt one that is asked for by name.

    Parameters
    ----------
    index : str or Path
    kind : str
        For messages: what sort of index is wanted.

    Raises
    ------
    InputError
        If it is neither a Lucene index nor the name of a prebuilt index of Pyserini.
    """
    path = Path(index)
    if path.is_dir():
        if not any(path.glob("segments_*")):
            holds = "a FAISS index" if (path / "docid").is_file() else "no segments_* file"
            raise InputError(
                f"{path} is not a Lucene index (it holds {holds}); build a {kind} index with "
                "python -m pyserini_ext pyserini.index.lucene"
            )
        return path
    # A name has no separators; importing Pyserini to look a path up would take seconds.
    if path.exists() or len(path.parts) != 1:
        raise InputError(f"no such {kind} index: {index} (expected the folder of a Lucene index)")
    with jvm.pyserini_import():
        import pyserini.prebuilt_index_info as prebuilt
        from pyserini.util import download_prebuilt_index
    known = {**prebuilt.TF_INDEX_INFO, **prebuilt.IMPACT_INDEX_INFO}
    if str(index) not in known:
        raise InputError(
            f"no such {kind} index: {index} is neither a folder nor one of the "
            f"{len(known)} prebuilt sparse indexes of Pyserini"
        )
    try:
        return Path(download_prebuilt_index(str(index)))
    except (ValueError, OSError) as error:
        raise InputError(f"the prebuilt index {index} could not be downloaded: {error}") from error

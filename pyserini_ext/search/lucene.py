"""What searchers over inverted indexes share: finding the index, and reading its documents."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext import javabytes, jvm
from pyserini_ext.errors import InputError
from pyserini_ext.search.base import Searcher

MOST = 2**31 - 2
"""No Lucene index holds more documents."""


class LuceneIndexSearcher(Searcher):
    """A searcher over an inverted index; a subclass sets `path` and `_java`, and searches.

    Attributes
    ----------
    path : Path
        The index.
    """

    path: Path
    _java: Any
    """Has ``documents`` (``Documents.java``) and ``close()``."""

    @abstractmethod
    def search_numbers(
        self, queries: Sequence[str], k: int, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Search for a batch of queries, giving Lucene's numbers instead of docids.

        Parameters
        ----------
        queries : sequence of str
        k, threads : int

        Returns
        -------
        numbers : ndarray of int32, shape (m,)
            The hits of all queries, one list after the other: places in :meth:`docids`.
        scores : ndarray of float32, shape (m,)
        offsets : ndarray of int64, shape (q + 1,)
            The hits of query i are ``offsets[i]`` to ``offsets[i + 1]``.
        """

    def _scores(self, message: Any, docids: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Return Java's scores (NaN: no such document) by query.

        Anserini leaves documents without text out of an index, so an absent document scores 0.

        Raises
        ------
        InputError
            If not one of the documents is in the index: it holds another collection.
        """
        scores = javabytes.unpack_floats(message)
        absent = np.isnan(scores)
        if absent.any():
            if absent.all():
                first = next(docid for some in docids for docid in some)
                raise InputError(
                    f"none of the {len(scores)} documents to score is in {self.path} (the first is "
                    f"{first!r}): the sparse and the dense index hold different collections"
                )
            scores = np.where(absent, np.float32(0), scores)
        counts = [len(some) for some in docids]
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
        """Return the text of documents: the ``contents`` of the stored document, in two calls.

        Returns
        -------
        list of str or None
            None where the docid is not in the index. Of a document that has ``title`` and ``text``
            instead (BEIR), both on a line each.

        Raises
        ------
        InputError
            If a document is in the index but its text was not stored, or not as JSON.
        """
        found = self.stored(docids)
        lacking = [docid for docid, raw in zip(docids, found, strict=True) if raw is None]
        for docid, number in zip(lacking, self._numbers(lacking), strict=True):
            if number >= 0:
                raise InputError(
                    f"{self.path} stores no text of document {docid!r}; build the index with "
                    "--storeRaw"
                )
        return [
            None if raw is None else self._contents(docid, raw)
            for docid, raw in zip(docids, found, strict=True)
        ]

    def _contents(self, docid: str, raw: str) -> str:
        try:
            document = json.loads(raw)
            if "contents" in document:
                return str(document["contents"])
            return "\n".join(filter(None, (document.get("title"), document["text"])))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{self.path} stores document {docid!r} as {raw[:40]!r}; expected JSON with "
                "contents, or with text (and title)"
            ) from None

    def _numbers(self, docids: Sequence[str]) -> list[int]:
        if not docids:
            return []
        message = self._java.documents.numbers(javabytes.pack_strings(docids))
        return javabytes.unpack_ints(message).tolist()

    def docids(self) -> np.ndarray:
        """Return the docid of every document, by Lucene's number.

        Returns
        -------
        ndarray of object, shape (n,)
        """
        documents = self._java.documents
        return javabytes.unpack_docids(documents.docids(), documents.maxDoc())

    def __len__(self) -> int:
        return int(self._java.documents.numDocs())

    def close(self) -> None:
        """Close the index."""
        self._java.close()


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

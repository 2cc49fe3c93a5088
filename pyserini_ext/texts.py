"""The text of documents by docid, for feedback that reads it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.collection import Collection, Document, open_collection
from pyserini_ext.errors import InputError
from pyserini_ext.plugins import create, parameters

Texts = Callable[[Sequence[str]], Sequence[str | None]]
"""From docids to texts, a batch at once; None where there is none."""

LARGE = 100_000
"""Documents from which a progress bar is worth its line."""

AT_ONCE = 10_000
"""Documents asked of an inverted index in one call."""


def reads_texts(method: Any) -> bool:
    """Whether a feedback method, or its class, is to be handed the text of documents."""
    refine = getattr(method, "refine", None)
    return callable(refine) and "texts" in (parameters(refine) or ())


def open_texts(source: Any) -> Texts:
    """Make a text source from what a user has.

    Parameters
    ----------
    source : str, Path, Searcher or callable
        The folder or name of a Lucene index built with ``--storeRaw``; a collection (a JSONL or TSV
        file, a folder of them, a BEIR folder); an open :class:`BM25Searcher` or another searcher
        over a Lucene index; or a callable, taken as it is.

    Returns
    -------
    callable
        Docids to texts.

    Raises
    ------
    InputError
        If it is none of these.
    """
    if hasattr(source, "contents"):
        return StoredTexts(source)
    if callable(source):
        return source
    if not isinstance(source, str | Path):
        raise InputError(
            f"{type(source).__name__} is no source of texts; give a Lucene index, a collection, or "
            "a callable from docids to texts"
        )
    path = Path(source)
    if path.is_file() or (path.is_dir() and not any(path.glob("segments_*"))):
        return CollectionTexts(open_collection(path))
    return StoredTexts(create("searcher", "bm25", index=source))


def texts_for(method: Any, source: Any, sparse: Any) -> Texts | None:
    """Return the text source of a feedback method, None for a method that reads no text.

    Parameters
    ----------
    method : object
    source : object or None
        What :func:`open_texts` takes.
    sparse : Searcher or None
        Takes the place of `source` if it can.

    Raises
    ------
    InputError
        If the method reads texts and there are none, or the other way round.
    """
    name = type(method).__name__
    if not reads_texts(method):
        if source is not None:
            raise InputError(f"{name} reads no text of documents, so texts would be ignored")
        return None
    if source is None and not hasattr(sparse, "contents"):
        raise InputError(
            f"{name} reads the text of documents; give texts (--prf-text): a Lucene index built "
            "with --storeRaw, or the collection"
        )
    return open_texts(sparse if source is None else source)


class StoredTexts:
    """Texts stored in a Lucene index, read in one call a batch.

    Parameters
    ----------
    searcher : LuceneIndexSearcher
        With ``contents(docids)`` and ``path``.
    """

    def __init__(self, searcher: Any) -> None:
        self.searcher = searcher

    def __call__(self, docids: Sequence[str]) -> list[str | None]:
        """Return the texts, None for a docid that is not in the index."""
        found: list[str | None] = []
        for start in range(0, len(docids), AT_ONCE):
            found += self.searcher.contents(docids[start : start + AT_ONCE])
        return found

    def __str__(self) -> str:
        return str(getattr(self.searcher, "path", type(self.searcher).__name__))


class CollectionTexts:
    """Texts in the files of a collection, read from where the table of their places says.

    The files are read once to make the table; it takes about 20 bytes a document, whatever its
    length. A text is what Pyserini's ``contents`` has: title and text on a line each.

    Parameters
    ----------
    collection : Collection
        The files must not be compressed.

    Raises
    ------
    InputError
        For a compressed file, for a line that is no document, and for a docid that comes twice.
    """

    def __init__(self, collection: Collection) -> None:
        from tqdm import tqdm

        for file in collection.files:
            if file.suffix == ".gz":
                raise InputError(
                    f"{file} is compressed, so no text can be looked up in it; unpack it (gunzip "
                    "-k), or give a Lucene index with stored texts"
                )
        self.collection = collection
        hashes, offsets, files = array("Q"), array("q"), array("i")
        with tqdm(desc="reading texts", unit="doc", delay=5, leave=False) as bar:
            places = zip(_places(collection.files), collection, strict=True)
            for number, ((place, offset), document) in enumerate(places, 1):
                hashes.append(_hash(document.docid))
                offsets.append(offset)
                files.append(place)
                if number % LARGE == 0:
                    bar.update(LARGE)
        order = np.argsort(np.asarray(hashes, dtype=np.uint64), kind="stable")
        self._hashes = np.asarray(hashes, dtype=np.uint64)[order]
        self._offsets = np.asarray(offsets, dtype=np.int64)[order]
        self._files = np.asarray(files, dtype=np.int32)[order]
        self._check_distinct()

    def __len__(self) -> int:
        return len(self._hashes)

    def __call__(self, docids: Sequence[str]) -> list[str | None]:
        """Return the texts, None for a docid that is not in the collection."""
        wanted = np.array([_hash(docid) for docid in docids], dtype=np.uint64)
        start = np.searchsorted(self._hashes, wanted, side="left")
        stop = np.searchsorted(self._hashes, wanted, side="right")
        # Two docids may share a hash; which is which stands in the files.
        rows = [row for pair in zip(start, stop, strict=True) for row in range(*pair)]
        read = {document.docid: document.contents for document in self._read(rows)}
        return [read.get(docid) for docid in docids]

    def _read(self, rows: Sequence[int]) -> Iterator[Document]:
        """Read documents, file by file and forwards."""
        ordered = sorted({(int(self._files[row]), int(self._offsets[row])) for row in rows})
        for number in dict.fromkeys(file for file, _ in ordered):
            path = self.collection.files[number]
            with path.open("rb") as source:
                for offset in (place for file, place in ordered if file == number):
                    source.seek(offset)
                    line = source.readline().strip(b"\r\n")
                    yield self.collection.parse(path, line, first=offset == 0)

    def _check_distinct(self) -> None:
        (twice,) = np.nonzero(self._hashes[1:] == self._hashes[:-1])
        for row in twice.tolist():
            pair = [document.docid for document in self._read([row, row + 1])]
            if pair[0] == pair[1]:
                raise InputError(f"{self.collection.path} has the docid {pair[0]!r} twice")

    def __str__(self) -> str:
        return str(self.collection.path)


def _places(files: Sequence[Path]) -> Iterator[tuple[int, int]]:
    """Yield the number of the file and the offset of each line that is not blank."""
    for number, file in enumerate(files):
        offset = 0
        with file.open("rb") as source:
            for line in source:
                if line.strip(b"\r\n"):
                    yield number, offset
                offset += len(line)


def _hash(docid: str) -> int:
    return int.from_bytes(blake2b(docid.encode(), digest_size=8).digest(), "little")

"""Encoding a whole collection into an index, chunk by chunk, going on where it was stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

from tqdm import tqdm

from pyserini_ext.collection import Collection, Document
from pyserini_ext.encode import encode_documents
from pyserini_ext.errors import InputError
from pyserini_ext.files import fingerprint
from pyserini_ext.index.docid_set import DocidSet
from pyserini_ext.index.writer import VectorWriter

SCANNED = 10_000
"""Documents whose docids are checked at a time."""


def scan(collection: Collection) -> int:
    """Read a collection through, so that a bad line is found now and not after hours of encoding.

    Returns
    -------
    int
        The number of documents.

    Raises
    ------
    InputError
        For a line that is no document, a docid that comes twice, or no documents at all.
    """
    seen = DocidSet(lambda: (document.docid for document in collection))
    count = 0
    with tqdm(desc="checking", unit="doc", delay=5, leave=False) as bar:
        for documents in chunks(collection, SCANNED):
            seen.add([document.docid for document in documents])
            count += len(documents)
            bar.update(len(documents))
    if not count:
        raise InputError(f"{collection.path} holds no documents")
    return count


def encode_collection(
    collection: Collection, encoder: Any, writer: VectorWriter, *, total: int, chunk: int
) -> None:
    """Encode what a writer does not have yet, and append it.

    Chunks are cut at the same documents whether or not the work was interrupted, and with the same
    threads the same batches give the same bits: so does the index.

    Parameters
    ----------
    collection : Collection
    encoder : Encoder
    writer : VectorWriter
        Not closed here.
    total : int
        Documents of the collection, for the progress bar (documents per second on stderr).
    chunk : int
        Documents encoded, sorted by length and written at a time; all that is in memory.
    """
    with tqdm(total=total, initial=writer.count, unit="doc", smoothing=0.1) as bar:
        for documents in chunks(collection.skip(writer.count), chunk):
            titles = [document.title for document in documents]
            vectors = encode_documents(encoder, [document.text for document in documents], titles)
            writer.append([document.docid for document in documents], vectors)
            bar.update(len(documents))


def identity(collection: Collection) -> dict[str, Any]:
    """Identify what a collection yields: its files, their reading, and the part that is covered."""
    digest = hashlib.sha256()
    for file in collection.files:
        digest.update(fingerprint(file)["sha256"].encode())
    return {
        "sha256": digest.hexdigest(),
        "fields": None if collection.fields is None else list(collection.fields),
        "docid_field": collection.docid_field,
        "delimiter": collection.delimiter,
        "start": collection.start,
        "stop": collection.stop,
    }


def chunks(collection: Collection, size: int) -> Iterator[list[Document]]:
    """Yield the documents in lists of `size`."""
    documents = iter(collection)
    while chunk := list(islice(documents, size)):
        yield chunk

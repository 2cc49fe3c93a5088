"""Encoding a whole collection into a multi-vector store, going on where it was stopped."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from pyserini_ext.collection import Collection
from pyserini_ext.encode.corpus import chunks
from pyserini_ext.index.token_pooling import pooled
from pyserini_ext.index.tokens_writer import TokenWriter


def encode_tokens(
    collection: Collection,
    encoder: Any,
    writer: TokenWriter,
    *,
    total: int,
    chunk: int,
    clusters: int | None = None,
) -> None:
    """Encode what a writer does not have yet, and append it.

    Parameters
    ----------
    collection, writer, total, chunk
        As for :func:`~pyserini_ext.encode.corpus.encode_collection`.
    encoder : MultiVectorEncoder
    clusters : int, optional
        Vectors to keep of a document: see :func:`~pyserini_ext.index.token_pooling.pooled`. They
        are of no token, so the store has no token ids.
    """
    with tqdm(total=total, initial=writer.count, unit="doc", smoothing=0.1) as bar:
        for documents in chunks(collection.skip(writer.count), chunk):
            titles = [document.title for document in documents]
            made = encoder.encode_documents([document.text for document in documents], titles)
            # The encoder of a plugin may give two arrays and no ids.
            vectors, offsets, ids = (*made, None)[:3]
            if clusters is not None:
                ids = None
                vectors, offsets = pooled(vectors, offsets, clusters)
            docids = [document.docid for document in documents]
            writer.append_tokens(docids, vectors, offsets, ids)
            bar.update(len(documents))

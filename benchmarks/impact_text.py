"""Inference-free retrieval beside BM25 on the same texts, end to end in Python."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import Collection, command, quote
from impact_search import in_turn, per_query, read
from quantisation import encoded
from timing import alternate

from pyserini_ext import jvm
from pyserini_ext.encode.sparse_encoder import make_sparse_encoder
from pyserini_ext.topics import load_topics

ENCODER = "bm25-impact"
BM25, OURS = "BM25, LuceneSearcher", "BM25, ours"
MODES = {
    "inference-free, query mode": "--mode query --scale 100",
    "inference-free, premultiplied S=20": "--mode premultiplied --scale 20",
}


def beside_bm25(collection: Collection, repeats: int) -> dict[str, Any]:
    """Time queries from text to hits, k=10 and 1000, and the encoding of a query alone."""
    from pyserini_ext.search.impact import ImpactSearcher
    from pyserini_ext.search.sparse import BM25Searcher

    with jvm.pyserini_import():
        from pyserini.search.lucene import LuceneSearcher
    folder = collection.work / f"quantisation-{ENCODER}"
    vectors = encoded(collection, ENCODER, folder)
    texts = list(load_topics(str(collection.topics)).values())
    lucene = str(collection.lucene())
    theirs, ours = LuceneSearcher(lucene), BM25Searcher(lucene)
    searches: dict[str, Callable[[str, int], Any]] = {
        BM25: lambda text, k: read(theirs.search(text, k)),
        OURS: ours.search,
    }
    encoder, table = None, ""
    for name, options in MODES.items():
        index = folder / f"{name.rpartition(' ')[2]}.impact"
        if not index.exists():
            command(
                f"python -m pyserini_ext.index --corpus {quote(vectors)} --output {quote(index)}"
                f" --idf collection --quiet {options}"
            )
        searcher = ImpactSearcher(index, ENCODER)
        encoder, table = searcher.encoder, str(index / "idf.json")
        searches[name] = searcher.search
    contestants = {
        name: (lambda k, search=search: per_query(search, texts, k))
        for name, search in searches.items()
    }
    return {
        "queries": len(texts),
        "bm25_same": sum(read(theirs.search(t, 1000)) == read(ours.search(t, 1000)) for t in texts),
        "encode_us": _encoding(encoder, table, texts, repeats),
        "k": {k: in_turn(contestants, k, repeats, BM25) for k in (10, 1000)},
    }


def _encoding(encoder: Any, table: str, texts: list[str], repeats: int) -> dict[str, float]:
    """Return microseconds a query: each by itself, in one batch, and words never seen before."""

    def each() -> None:
        for text in texts:
            encoder.encode(text)

    seconds = alternate({"single": each, "batch": lambda: encoder.encode_batch(texts)}, repeats)
    # The answer for a word is remembered: a fresh encoder has to ask the tokenizer for each.
    fresh = make_sparse_encoder(ENCODER, weights=table)
    fresh.encode("")  # reads the table
    started = time.perf_counter()
    fresh.encode_batch(texts)
    seconds["first"] = [time.perf_counter() - started]
    return {n: round(1e6 * float(np.median(s)) / len(texts), 1) for n, s in seconds.items()}


def collections(folder: Path, work: Path, names: list[str], repeats: int) -> dict[str, Any]:
    """Return what :func:`beside_bm25` finds for each collection."""
    return {name: beside_bm25(Collection.open(folder / name, work), repeats) for name in names}

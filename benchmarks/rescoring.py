"""When rescoring beats searching vectors: quality on collections, cost on a large store.

    python benchmarks/rescoring.py --collections "$PYSERINI_EXT_COLLECTIONS" \
        --json benchmarks/results/rescoring.json --page docs/rescoring.md

On collections: BM25, dense retrieval exact and by HNSW, and BM25 rescored, each as a searcher that
Python calls with a batch of queries whose vectors are known (encoding costs all of them the same).
On random vectors, where quality means nothing: the scores of given candidates against FAISS
searching all vectors, exactly and by IVF.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from common import Collection, fill, markdown
from rescore import in_memory, make_stores
from timing import alternate, conditions, describe

import pyserini_ext as px
from pyserini_ext.command import run_command
from pyserini_ext.errors import InputError
from pyserini_ext.evaluate import evaluate
from pyserini_ext.files import write_json
from pyserini_ext.rescore.rows import Candidates
from pyserini_ext.rescore.scoring import make_backend
from pyserini_ext.search.base import Searcher

COLLECTIONS = ("acm3204", "cranfield", "npl")
MEASURES = ("nDCG@10", "R@100")
HITS = 100
ALPHA = 0.05
"""BM25 scores reach tens and cosines 1: raw scores are mixed with little of BM25."""


class Known:
    """The vectors of queries that were encoded before."""

    def __init__(self, topics: dict[str, str], encoder: str) -> None:
        queries = list(topics.values())
        vectors = px.make_encoder(encoder).encode(queries)
        self.vectors = dict(zip(queries, vectors, strict=True))

    def encode(self, queries: list[str]) -> np.ndarray:
        """Look vectors up."""
        return np.stack([self.vectors[query] for query in queries])


def hnsw(flat: Path, folder: Path) -> Path:
    """Return an HNSW index of the vectors of a flat one, made where it is not there."""
    import faiss

    if not folder.exists():
        vectors = faiss.read_index(str(flat / "index"))
        index = faiss.IndexHNSWFlat(vectors.d, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 200
        index.add(vectors.reconstruct_n(0, vectors.ntotal))
        part = folder.with_suffix(".part")
        part.mkdir(exist_ok=True)
        faiss.write_index(index, str(part / "index"))
        (part / "docid").write_bytes((flat / "docid").read_bytes())
        part.rename(folder)
    return folder


def searchers(collection: Collection, topics: dict[str, str], encoder: str) -> dict[str, Any]:
    """Return what is compared, by name."""
    lucene, flat = collection.lucene(), collection.faiss(encoder)
    bm25, known = px.BM25Searcher(lucene), Known(topics, encoder)
    dense = px.DenseSearcher(flat, known)
    graph = px.DenseSearcher(hnsw(flat, collection.work / "hnsw"), known, ef_search=HITS)
    raw = px.Interpolation(ALPHA, normalise="none")
    found: dict[str, Any] = {"BM25": bm25, "dense, exact": dense, f"dense, HNSW, {HITS}": graph}
    for depth in (100, 1000):
        found[f"BM25, {depth} rescored"] = px.RescoringSearcher(bm25, dense, depth=depth)
    found["1000 rescored, min-max, 0.5"] = px.RescoringSearcher(bm25, dense, alpha=0.5)
    found[f"1000 rescored, raw, {ALPHA}"] = px.RescoringSearcher(bm25, dense, raw)
    for how in ("bound", "estimate"):
        name = f"1000 rescored, raw, {ALPHA}, stop by {how}"
        found[name] = px.RescoringSearcher(bm25, dense, raw, early_stop=how)
    return found


class Everything(Searcher):
    """A first stage that finds every document."""

    def __init__(self, docids: np.ndarray) -> None:
        self.hits = px.Hits(docids, np.zeros(len(docids), dtype=np.float32))

    def batch_search(
        self, queries: Sequence[str], qids: Sequence[str], k: int = 10, threads: int = 1
    ) -> px.Run:
        """Return all documents, whatever the queries are."""
        return px.Run(dict.fromkeys(qids, self.hits))


def exhaustive(dense: px.DenseSearcher, queries: list[str], qids: list[str]) -> dict[str, Any]:
    """Compare rescoring of all documents with exact search."""
    every = px.RescoringSearcher(Everything(dense.store.docids), dense, depth=len(dense.store))
    ours, theirs = (each.batch_search(queries, qids, HITS) for each in (every, dense))
    return {
        "same_ranks": sum(bool((ours[q].docids == theirs[q].docids).all()) for q in qids),
        "largest_difference": max(
            float(np.abs(ours[q].scores - theirs[q].scores).max()) for q in qids
        ),
    }


def on_collection(folder: Path, work: Path, encoder: str, repeats: int) -> dict[str, Any]:
    """Measure time and quality on one collection."""
    collection = Collection.open(folder, work)
    topics = px.load_topics(str(collection.topics))
    contestants = searchers(collection, topics, encoder)
    queries, qids = list(topics.values()), list(topics)

    def call(searcher: Any) -> Callable[[], Any]:
        return lambda: searcher.batch_search(queries, qids, HITS)

    calls = {name: call(searcher) for name, searcher in contestants.items()}
    seconds = alternate(calls, repeats, 2)
    rows = {}
    quality = evaluate(collection.qrels, {name: run() for name, run in calls.items()}, MEASURES)
    for name, searcher in contestants.items():
        looked_up = 0
        if isinstance(searcher, px.RescoringSearcher):
            looked_up = searcher.looked_up
        rows[name] = {
            "ms": [round(1000 * each / len(queries), 4) for each in seconds[name]],
            "quality": {each: round(quality.means[name][each], 4) for each in MEASURES},
            "vectors": round(looked_up / len(queries)),
        }
    return {
        "queries": len(queries),
        "documents": len(contestants["BM25"]),
        "rows": rows,
        "exhaustive": exhaustive(contestants["dense, exact"], queries, qids),
    }


def on_random_vectors(
    work: Path, rows: int, dimension: int, queries: int, threads: int, repeats: int
) -> dict[str, Any]:
    """Time scores of candidates against searches of all vectors."""
    import faiss

    stores = make_stores(work / f"rescore-{rows}x{dimension}", rows, dimension)
    loaded = {dtype: in_memory(stores[dtype]) for dtype in ("float32", "int8")}
    data = loaded["float32"].data[:, :dimension]
    numbers = np.random.default_rng(5)
    asked = numbers.standard_normal((queries, dimension), dtype=np.float32)
    faiss.omp_set_num_threads(threads)
    lists = min(1024, rows // 50)
    ivf = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(dimension), dimension, lists, faiss.METRIC_INNER_PRODUCT
    )
    ivf.train(np.ascontiguousarray(data[: 40 * lists]))
    ivf.add(data)
    backend = make_backend("numba", threads=threads)

    def search(probes: int) -> Callable[[], Any]:
        parameters = faiss.SearchParametersIVF(nprobe=probes)
        return lambda: ivf.search(asked, HITS, params=parameters)

    def rescore(dtype: str, count: int) -> Callable[[], Any]:
        chosen = numbers.integers(0, rows, queries * count).astype(np.int32)
        given = Candidates(chosen, np.arange(queries + 1, dtype=np.int64) * count)
        return lambda: backend.best(asked, given, loaded[dtype], "ip", HITS)

    contestants: dict[str, Callable[[], Any]] = {
        "all vectors, exact": lambda: faiss.knn(
            asked, data, HITS, metric=faiss.METRIC_INNER_PRODUCT
        )
    }
    for probes in (1, 16, 64):
        contestants[f"IVF, {probes} of {lists} lists"] = search(probes)
    for dtype in loaded:
        for count in (100, 1000, 10_000):
            contestants[f"{count} candidates rescored, {dtype}"] = rescore(dtype, count)
    seconds = alternate(contestants, repeats, 2)
    return {
        "documents": rows,
        "dimension": dimension,
        "queries": queries,
        "threads": threads,
        "rows": {
            name: {"ms": [round(1000 * value / queries, 4) for value in each]}
            for name, each in seconds.items()
        },
    }


def tables(report: dict[str, Any]) -> str:
    """Render everything that was measured."""
    parts = []
    for name, found in report["collections"].items():
        rows = [
            [
                title,
                _milliseconds(row),
                *(f"{row['quality'][measure]:.3f}" for measure in MEASURES),
                str(row["vectors"] or ""),
            ]
            for title, row in found["rows"].items()
        ]
        header = [f"{name}, {found['documents']} documents", "ms a query", *MEASURES, "vectors"]
        parts.append(markdown(header, rows))
        every = found["exhaustive"]
        parts.append(
            f"All documents rescored: the first {HITS} of exact dense search for "
            f"{every['same_ranks']} of {found['queries']} queries, scores within "
            f"{every['largest_difference']:.0e}.\n"
        )
    if found := report.get("random"):
        title = f"{found['documents']} vectors of dimension {found['dimension']}"
        rows = [[name, _milliseconds(row)] for name, row in found["rows"].items()]
        parts.append(markdown([title, "ms a query"], rows))
    return "\n".join(parts)


def _milliseconds(row: dict[str, Any]) -> str:
    each = row["ms"]
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--collections", type=Path, help="folder of acm3204, cranfield and npl")
    parser.add_argument("--names", nargs="+", default=list(COLLECTIONS), help="only these")
    parser.add_argument("--encoder", default="minilm", help="default: %(default)s")
    parser.add_argument("--rows", type=int, default=1_000_000, help="random vectors; 0: none")
    parser.add_argument("--dimension", type=int, default=768, help="default: %(default)s")
    parser.add_argument("--queries", type=int, default=64, help="on random vectors")
    parser.add_argument("--threads", type=int, default=2, help="on random vectors")
    parser.add_argument("--repeats", type=int, default=9, help="default: %(default)s")
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--json", type=Path, help="write all numbers")
    parser.add_argument("--page", type=Path, help="put the tables into this page")
    args = parser.parse_args()
    if not args.collections and not args.rows:
        raise InputError("nothing to measure: give --collections, or --rows over 0")
    report: dict[str, Any] = describe() | {"collections": {}}
    for name in args.names if args.collections else []:
        folder = args.collections / name
        found = on_collection(folder, args.work, args.encoder, args.repeats)
        report["collections"][name] = found
    if args.rows:
        report["random"] = on_random_vectors(
            args.work, args.rows, args.dimension, args.queries, args.threads, args.repeats
        )
    if args.json:
        write_json(args.json, report)
    if args.page:
        fill(args.page, "rescoring", f"{conditions(report)}\n{tables(report)}")
    print(tables(report), end="")


if __name__ == "__main__":
    run_command(main)

"""Late interaction: how many of its documents candidates hold, and what fewer vectors cost.

Token vectors of MiniLM; the store and the encodings are made by the commands that are printed, the
stores of centroids from the store's own vectors. Candidates are MUVERA's and BM25's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import Collection, command, fill, markdown, quote
from timing import describe

from pyserini_ext.command import run_command
from pyserini_ext.evaluate import evaluate
from pyserini_ext.files import write_json
from pyserini_ext.hits import Hits
from pyserini_ext.index.token_pooling import pooled
from pyserini_ext.index.tokens import TokenStore
from pyserini_ext.index.tokens_writer import TokenWriter
from pyserini_ext.rescore.query_tokens import QueryTokens
from pyserini_ext.rescore.scoring import make_backend
from pyserini_ext.run import Run
from pyserini_ext.search.multivector import MultiVectorSearcher
from pyserini_ext.search.sparse import BM25Searcher
from pyserini_ext.topics import load_topics

DEPTHS = (100, 500, 1000)

MUVERA = {
    "10, 4, 16 (int8)": "--to store --dtype int8 --repetitions 10 --bits 4",
    "20, 5, 16 (int8)": "--to store --dtype int8",
    "10, 4, 16 (Lucene HNSW)": "--to lucene --repetitions 10 --bits 4",
    "20, 5, 16 to 4096 (Lucene HNSW)": "--to lucene --final 4096",
}
"""Repetitions, bits, projected: a small one, and the paper's."""

CLUSTERS = (4, 8, 16)

CANDIDATES = ["candidates", "depth", "recall of 10", "of 100", "nDCG@10", "finding", "MaxSim"]
POOLED = ["vectors a document", "mean", "MB", "nDCG@10", "ms a query"]

Timed = tuple[Any, float]


def recall(found: Run, wanted: Run, k: int) -> float:
    """Return the share of the first `k` documents of `wanted` that are in `found`."""
    shares = [
        np.isin(hits.docids[:k], found[qid].docids).mean() if len(hits) else 1.0
        for qid, hits in wanted.items()
    ]
    return float(np.mean(shares))


class Experiment:
    """The queries of a collection, searched in a store.

    Parameters
    ----------
    collection : Collection
    threads : int
    """

    def __init__(self, collection: Collection, threads: int) -> None:
        self.collection, self.threads = collection, threads
        topics = load_topics(collection.topics)
        self.qids, self.queries = list(topics), list(topics.values())
        self.tokens = collection.tokens("minilm")
        self.searcher = self.open(self.tokens)
        self.vectors: QueryTokens = self.searcher.encode(self.queries)

    def open(self, store: Path, **options: Any) -> MultiVectorSearcher:
        """Open a store."""
        backend = make_backend("auto", threads=self.threads)
        return MultiVectorSearcher(store, "minilm", backend=backend, **options)

    def timed(self, function: Callable[[], Any]) -> Timed:
        """Return what a function returns, and its milliseconds a query."""
        started = time.perf_counter()
        found = function()
        return found, (time.perf_counter() - started) * 1000 / len(self.qids)

    def searched(self, searcher: MultiVectorSearcher) -> Timed:
        """Search everything."""
        searcher.search_vectors(self.vectors[:1], self.qids[:1])  # compiles
        return self.timed(lambda: searcher.search_vectors(self.vectors, self.qids, 100))

    def rescored(self, found: Run) -> Run:
        """Rank documents by MaxSim."""
        lists = [found[qid].docids for qid in self.qids]
        scores = self.searcher.score_vectors(self.vectors, lists)
        return Run(
            (qid, Hits(docids[~np.isnan(own)], own[~np.isnan(own)]).head(100))
            for qid, docids, own in zip(self.qids, lists, scores, strict=True)
        )

    def ndcg(self, run: Run) -> float:
        """Return the mean nDCG@10."""
        found = evaluate(self.collection.qrels, {"run": run}, ["nDCG@10"])
        return float(found.means["run"]["nDCG@10"])

    def candidates(self) -> Iterator[tuple[str, Callable[[int], Run]]]:
        """Yield ways to find so many candidates."""
        bm25 = BM25Searcher(self.collection.lucene())
        yield (
            "BM25",
            lambda depth: bm25.batch_search(self.queries, self.qids, depth, self.threads),
        )
        for name, options in MUVERA.items():
            words = "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
            folder = self.collection.work / f"minilm.fde-{words}"
            if not folder.exists():
                command(
                    f"python -m pyserini_ext.index.muvera --input {quote(self.tokens)} "
                    f"--output {quote(folder)} {options}"
                )
            searcher = self.open(self.tokens, candidates=folder)

            def find(depth: int, searcher: MultiVectorSearcher = searcher) -> Run:
                hits = searcher.candidates(self.vectors, depth, self.threads)
                return Run(zip(self.qids, hits, strict=True))

            yield f"MUVERA {name}", find
            searcher.close()

    def candidate_rows(self) -> Iterator[dict[str, Any]]:
        """Yield what the candidates of each way and depth are worth."""
        exact, spent = self.searched(self.searcher)
        yield {"candidates": "all documents", "nDCG@10": self.ndcg(exact), "MaxSim": spent}
        for name, find in self.candidates():
            find(10)  # what is loaded once
            for depth in DEPTHS:
                few, finding = self.timed(lambda find=find, depth=depth: find(depth))  # type: ignore[misc]
                best, spent = self.timed(lambda few=few: self.rescored(few))  # type: ignore[misc]
                yield {
                    "candidates": name,
                    "depth": depth,
                    "recall of 10": recall(few, exact, 10),
                    "of 100": recall(few, exact, 100),
                    "nDCG@10": self.ndcg(best),
                    "finding": finding,
                    "MaxSim": spent,
                }

    def pooled_rows(self) -> Iterator[dict[str, Any]]:
        """Yield what fewer vectors a document are worth."""
        stores = {"all": self.tokens}
        stores |= {str(clusters): self.clustered(clusters) for clusters in CLUSTERS}
        for name, folder in stores.items():
            searcher = self.open(folder)
            found, spent = self.searched(searcher)
            manifest = searcher.store.manifest
            yield {
                "vectors a document": name,
                "mean": manifest.tokens / manifest.count,
                "MB": (folder / "tokens.npy").stat().st_size / 1e6,
                "nDCG@10": self.ndcg(found),
                "ms a query": spent,
            }

    def clustered(self, clusters: int) -> Path:
        """Return a store as ``--clusters`` makes it, from the stored vectors."""
        folder = self.collection.work / f"minilm.pooled-{clusters}"
        if not folder.exists():
            store = TokenStore(self.tokens)
            with TokenWriter(folder, store.dimension, resume=True) as writer:
                for start in range(writer.count, len(store), 500):
                    rows = np.arange(start, min(start + 500, len(store)))
                    kept, bounds = pooled(*store.tokens(rows), clusters)
                    writer.append_tokens(store.docids[rows].tolist(), kept, bounds)
        return folder


FORMATS = {
    "depth": "d",
    "recall of 10": ".3f",
    "of 100": ".3f",
    "nDCG@10": ".4f",
    "finding": ".1f",
    "MaxSim": ".1f",
    "mean": ".1f",
    "MB": ".0f",
    "ms a query": ".1f",
}


def table(header: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as a table."""
    lines = [
        ["" if name not in row else format(row[name], FORMATS.get(name, "s")) for name in header]
        for row in rows
    ]
    return markdown(header, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--collection", type=Path, required=True, help="corpus.jsonl, queries.tsv, qrels.txt"
    )
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write all numbers")
    parser.add_argument("--page", type=Path, help="put the tables between the marks of this page")
    args = parser.parse_args(arguments)
    report: dict[str, Any] = describe()
    experiment = Experiment(Collection.open(args.collection, args.work), args.threads)
    report["multivector"] = list(experiment.candidate_rows())
    report["clusters"] = list(experiment.pooled_rows())
    for name, header in (("multivector", CANDIDATES), ("clusters", POOLED)):
        shown = table(header, report[name])
        print(shown)
        if args.page:
            fill(args.page, name, shown)
    if args.json:
        write_json(args.json, report)


if __name__ == "__main__":
    run_command(main)

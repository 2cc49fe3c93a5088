"""How many of the documents of exhaustive MaxSim are among MUVERA's candidates, and BM25's.

Token vectors of MiniLM; the store and the encodings are made by the commands that are printed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from common import Collection, command, fill, markdown, quote

from pyserini_ext.command import run_command
from pyserini_ext.evaluate import evaluate
from pyserini_ext.run import Run
from pyserini_ext.search.multivector import MultiVectorSearcher
from pyserini_ext.search.sparse import BM25Searcher
from pyserini_ext.topics import load_topics

DEPTHS = (100, 500, 1000)
SIZES = ((10, 4, 16), (20, 5, 16))
"""Repetitions, bits, projected: a small one, and the paper's."""


def recall(found: Run, wanted: Run, k: int) -> float:
    """Return the share of the first `k` documents of `wanted` that are in `found`."""
    shares = [
        np.isin(hits.docids[:k], found[qid].docids).mean() if len(hits) else 1.0
        for qid, hits in wanted.items()
    ]
    return float(np.mean(shares))


def candidates(
    collection: Collection, tokens: Path, queries: Sequence[str], qids: Sequence[str], threads: int
) -> Iterator[tuple[str, Run]]:
    """Yield candidates, deepest first for each way to find them."""
    deepest = max(DEPTHS)
    yield "BM25", BM25Searcher(collection.lucene()).batch_search(queries, qids, deepest, threads)
    for repetitions, bits, projected in SIZES:
        folder = collection.work / f"minilm.fde-{repetitions}-{bits}-{projected}"
        if not folder.exists():
            command(
                f"python -m pyserini_ext.index.muvera --input {quote(tokens)} "
                f"--output {quote(folder)} --to store --dtype int8 --repetitions {repetitions} "
                f"--bits {bits} --projected {projected}"
            )
        searcher = MultiVectorSearcher(tokens, "minilm", candidates=folder)
        vectors, mask = searcher.encode(queries)
        hits = searcher.candidates(vectors, mask, deepest, threads)
        name = f"MUVERA {repetitions}, {bits}, {projected}"
        yield f"{name} (int8)", Run(zip(qids, hits, strict=True))


def rows(collection: Collection, threads: int) -> Iterator[list[str]]:
    """Yield the rows of the table."""
    tokens = collection.work / "minilm.tokens"
    if not tokens.exists():
        command(
            f"python -m pyserini_ext.encode --corpus {quote(collection.corpus)} "
            f"--encoder minilm --to multivector --output {quote(tokens)}"
        )
    topics = load_topics(collection.topics)
    qids, queries = list(topics), list(topics.values())
    searcher = MultiVectorSearcher(tokens, "minilm")
    vectors, mask = searcher.encode(queries)
    searcher.search_tokens(vectors[:1], mask[:1], qids[:1], threads=threads)  # compiles
    started = time.perf_counter()
    exact = searcher.search_tokens(vectors, mask, qids, 100, threads)
    spent = (time.perf_counter() - started) * 1000 / len(qids)

    def ndcg(run: Run) -> str:
        found = evaluate(collection.qrels, {"run": run}, ["nDCG@10"])
        return f"{found.means['run']['nDCG@10']:.4f}"

    yield ["all documents", "", "", "", ndcg(exact), f"{spent:.1f}"]
    for name, found in candidates(collection, tokens, queries, qids, threads):
        for depth in DEPTHS:
            few = Run({qid: hits.head(depth) for qid, hits in found.items()})
            started = time.perf_counter()
            best = searcher.rescore_tokens(vectors, mask, qids, few, 100, threads)
            spent = (time.perf_counter() - started) * 1000 / len(qids)
            shares = [f"{recall(few, exact, k):.3f}" for k in (10, 100)]
            yield [name, str(depth), *shares, ndcg(best), f"{spent:.1f}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--collection", type=Path, required=True, help="corpus.jsonl, queries.tsv, qrels.txt"
    )
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--page", type=Path, help="put the table between the marks of this page")
    args = parser.parse_args(arguments)
    collection = Collection.open(args.collection, args.work)
    header = ["candidates", "depth", "recall of 10", "of 100", "nDCG@10", "MaxSim, ms a query"]
    table = markdown(header, list(rows(collection, args.threads)))
    print(table, end="")
    if args.page:
        fill(args.page, "multivector", table)


if __name__ == "__main__":
    run_command(main)

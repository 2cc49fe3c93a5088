"""Queries per second and start-up: this package against Pyserini, side by side in one run.

    python benchmarks/search.py --collection "$PYSERINI_EXT_COLLECTIONS/npl" \
        --json benchmarks/results/search.json

One collection, one index of each kind, one checkpoint, the same threads and batch size. Everything
is repeated in turn (A B A B …), so that a busy machine hits both; a ratio is the median over the
repeats, with the least and the most. Three kinds of measurement:

inner    in one process, models and indexes loaded: from query texts to hits
command  ``python -m``, from query file to run file
start    ``--help``, and a command with a single query

Threads that wait do so without spinning (``OMP_WAIT_POLICY=PASSIVE``) on both sides: where other
programs use the processors too, spinning ones measure those programs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Read by the runtime of OpenMP when torch and faiss load it, here and in the commands.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from common import Collection, quote
from timing import Contestants, describe, environment_of_pyserini, measure, processes, table

from pyserini_ext.command import run_command
from pyserini_ext.encode.presets import MINILM
from pyserini_ext.files import write_json
from pyserini_ext.topics import load_topics

BATCH, HITS, DEPTH, ALPHA, BETA, WEIGHT = 64, 1000, 5, 0.4, 0.6, 0.1
"""Rocchio as in Li et al., TOIS 2023; the weight is the default of ``pyserini.search.hybrid``."""


class Remembered:
    """An encoder that has encoded already, for what searching costs without the model."""

    def __init__(self, queries: Sequence[str], vectors: np.ndarray) -> None:
        self.vectors = dict(zip(queries, vectors, strict=True))

    def encode(self, queries: str | Sequence[str]) -> np.ndarray:
        """Return a vector for a query (Pyserini) or a matrix for a list (ours)."""
        if isinstance(queries, str):
            return self.vectors[queries]
        return np.stack([self.vectors[query] for query in queries])


def inner(collection: Collection, checkpoint: str, threads: int) -> dict[str, Contestants]:
    """Return the loops to compare, with everything they need loaded."""
    from pyserini_ext.encode.dense import BiEncoder
    from pyserini_ext.feedback.vector import Rocchio
    from pyserini_ext.fusion.interpolation import Interpolation
    from pyserini_ext.jvm import pyserini_import
    from pyserini_ext.search.base import Searcher
    from pyserini_ext.search.dense import DenseSearcher
    from pyserini_ext.search.feedback import FeedbackSearcher
    from pyserini_ext.search.sparse import BM25Searcher
    from pyserini_ext.search.staged import InterpolatedSearcher

    with pyserini_import():
        from pyserini.encode import AutoQueryEncoder
        from pyserini.search.faiss import FaissSearcher
        from pyserini.search.faiss._prf import DenseVectorRocchioPrf
        from pyserini.search.hybrid import HybridSearcher
        from pyserini.search.lucene import LuceneSearcher

    topics = load_topics(str(collection.topics))
    lucene, faiss = str(collection.lucene()), str(collection.faiss("minilm"))
    encoder = BiEncoder(checkpoint)
    remembered = Remembered(list(topics.values()), encoder.encode(list(topics.values())))
    # The class and options of --encoder-class sentence.
    theirs = AutoQueryEncoder(checkpoint, device="cpu", pooling="mean", l2_norm=True)
    rule = DenseVectorRocchioPrf(ALPHA, BETA, 0.1, DEPTH, 0)
    their_bm25, our_bm25 = LuceneSearcher(lucene), BM25Searcher(lucene)
    batches = [list(topics)[i : i + BATCH] for i in range(0, len(topics), BATCH)]

    def over_batches(search: Callable[[list[str], list[str]], Any]) -> Callable[[], dict]:
        def loop() -> dict:
            found = {}
            for qids in batches:
                found |= search([topics[qid] for qid in qids], qids)
            return found

        return loop

    def our(searcher: Searcher) -> Callable[[], dict]:
        return over_batches(lambda texts, qids: searcher.batch_search(texts, qids, HITS, threads))

    def rocchio(searcher: Any) -> Callable[[], dict]:
        # The loop of pyserini/search/faiss/__main__.py, whose first round gets no threads.
        def search(texts: list[str], qids: list[str]) -> dict:
            vectors, found = searcher.batch_search(texts, qids, k=DEPTH, return_vector=True)
            refined = rule.get_batch_prf_q_emb(qids, vectors, found)
            return searcher.batch_search(refined, qids, k=HITS, threads=threads)

        return over_batches(search)

    def hybrid(searcher: Any) -> Callable[[], dict]:
        both = HybridSearcher(searcher, their_bm25)
        return over_batches(
            lambda texts, qids: both.batch_search(texts, qids, HITS, HITS, threads, WEIGHT)
        )

    def read(loop: Callable[[], dict]) -> Callable[[], dict]:
        # Pyserini's hits are Java objects until their fields are read.
        return lambda: {q: [(h.docid, h.score) for h in hits] for q, hits in loop().items()}

    def pair(their_encoder: Any, our_encoder: Any) -> tuple[Contestants, Contestants]:
        searcher, dense = FaissSearcher(faiss, their_encoder), DenseSearcher(faiss, our_encoder)
        convention = Interpolation(alpha=WEIGHT, convention="pyserini-hybrid")
        return {
            "pyserini": rocchio(searcher),
            "ours": our(FeedbackSearcher(dense, Rocchio(DEPTH, ALPHA, BETA))),
        }, {
            "pyserini": hybrid(searcher),
            "ours": our(InterpolatedSearcher(dense, our_bm25, convention)),
            "ours, rescored": our(InterpolatedSearcher(dense, our_bm25, alpha=WEIGHT)),
        }

    feedback, interpolation = pair(theirs, encoder)
    feedback_only, interpolation_only = pair(remembered, remembered)
    bm25 = over_batches(lambda t, q: their_bm25.batch_search(t, q, k=HITS, threads=threads))
    return {
        "dense + Rocchio": feedback,
        "dense + Rocchio, queries encoded before": feedback_only,
        "interpolation": interpolation,
        "interpolation, queries encoded before": interpolation_only,
        "BM25, every hit read": {"pyserini": read(bm25), "ours": read(our(our_bm25))},
    }


def difference(contestants: Contestants) -> float:
    """Return how far the scores of ours are from Pyserini's, rank by rank, at most."""
    theirs, ours = contestants["pyserini"](), contestants["ours"]()
    worst = 0.0
    for qid, hits in ours.items():
        a, b = ([getattr(h, "score", h[-1] if isinstance(h, tuple) else None) for h in some]
                for some in (hits, theirs[qid]))  # fmt: skip
        worst = max(worst, float(np.abs(np.subtract(a, b)).max()))
    return worst


def commands(
    collection: Collection, checkpoint: str, threads: int, topics: Path, out: Path
) -> dict[str, dict[str, str]]:
    """Return the command lines to compare, after ``python -m``."""
    lucene, faiss = quote(collection.lucene()), quote(collection.faiss("minilm"))
    common = f"--hits {HITS} --threads {threads} --batch-size {BATCH}"
    to = f"--topics {quote(topics)} --output {quote(out)}"
    ours = f"pyserini_ext.search {common} {to} --quiet"
    our_dense = f"{ours} --index {faiss} --encoder minilm"
    their_dense = f"--index {faiss} --encoder {quote(checkpoint)} --encoder-class sentence"
    weights = f"--rocchio-alpha {ALPHA} --rocchio-beta {BETA} --rocchio-topk {DEPTH}"
    return {
        "dense + Rocchio": {
            "pyserini": f"pyserini.search.faiss {their_dense} {common} {to} --prf-method rocchio "
            f"--prf-depth {DEPTH} {weights}",
            "ours": f"{our_dense} --prf-method rocchio --prf-depth {DEPTH} {weights}",
        },
        "interpolation": {
            "pyserini": f"pyserini.search.hybrid dense {their_dense} sparse --index {lucene} "
            f"fusion --alpha {WEIGHT} --hits {HITS} run {common} {to}",
            "ours": f"{our_dense} --sparse-index {lucene} --interpolate --alpha {WEIGHT} "
            "--convention pyserini-hybrid",
        },
        "BM25": {
            "pyserini": f"pyserini.search.lucene --index {lucene} --bm25 {common} {to}",
            "ours": f"{ours} --sparse-index {lucene}",
        },
    }


def tables(report: dict[str, Any]) -> str:
    """Render everything that was measured."""
    units = {"inner": ("inner loop", "queries/s"), "command": ("whole command", "s")}
    units["start"] = ("start-up", "s")
    return "\n".join(
        table(title, report[kind], unit) for kind, (title, unit) in units.items() if kind in report
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--collection", type=Path, required=True, help="folder of a collection")
    parser.add_argument("--checkpoint", default=MINILM.location(), help="default: all-MiniLM-L6-v2")
    parser.add_argument(
        "--work", type=Path, default=Path("build/benchmarks"), help="default: %(default)s"
    )
    parser.add_argument("--repeats", type=int, default=7, help="of the inner loops (%(default)s)")
    parser.add_argument("--starts", type=int, default=3, help="of the commands (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--only", nargs="+", choices=("inner", "command", "start"))
    parser.add_argument("--json", type=Path, help="write all numbers")
    args = parser.parse_args()
    kinds = args.only or ("inner", "command", "start")
    collection = Collection.open(args.collection, args.work)
    queries = load_topics(str(collection.topics))
    report: dict[str, Any] = describe() | {
        "collection": args.collection.name,
        "queries": len(queries),
        "settings": {"batch_size": BATCH, "hits": HITS, "threads": args.threads},
    }
    if "inner" in kinds:
        report["inner"] = {}
        for title, loops in inner(collection, args.checkpoint, args.threads).items():
            worst = difference(loops)
            report["inner"][title] = measure(loops, args.repeats, len(queries))
            report["inner"][title]["largest_difference"] = worst
    with tempfile.TemporaryDirectory() as folder:
        environment, out = environment_of_pyserini(), Path(folder) / "run.txt"

        def timed(topics: Path, count: int) -> dict[str, Any]:
            lines = commands(collection, args.checkpoint, args.threads, topics, out)
            return {
                title: measure(processes(pair, environment), args.starts, count)
                for title, pair in lines.items()
            }

        if "command" in kinds:
            report["command"] = timed(collection.topics, len(queries))
        if "start" in kinds:
            single = Path(folder) / "single.tsv"
            single.write_text(f"1\t{next(iter(queries.values()))}\n", encoding="utf-8")
            helps = {
                "pyserini": "pyserini.search.faiss --help",
                "ours": "pyserini_ext.search --help",
            }
            report["start"] = {
                "--help": measure(processes(helps, environment), args.starts, 1),
                **{f"{title}, one query": found for title, found in timed(single, 1).items()},
            }
    print(tables(report), end="")
    report["load_average_after"] = [round(value, 1) for value in os.getloadavg()]
    if args.json:
        write_json(args.json, report)


if __name__ == "__main__":
    run_command(main)

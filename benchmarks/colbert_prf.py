"""ColBERT-PRF: how good it is beside late interaction without it and BM25, and what a query costs.

    python benchmarks/colbert_prf.py --collections "$PYSERINI_EXT_COLLECTIONS" \
        --json benchmarks/results/colbert_prf.json --page docs/colbert-prf.md

Token vectors of all-MiniLM-L6-v2, which is not trained for late interaction. Collections, indexes
and ``--work`` are those of ``multivector.py``; a multi-vector store without token ids is made anew.
Every command goes to stderr, the tables to stdout.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import Collection, fill, markdown, ours, quote
from gqr import tuned_settings
from timing import alternate, conditions, describe

from pyserini_ext.command import run_command
from pyserini_ext.errors import InputError
from pyserini_ext.evaluate import evaluate
from pyserini_ext.feedback.colbert_prf import ColBERTPRF
from pyserini_ext.files import write_json
from pyserini_ext.search.multivector import MultiVectorSearcher
from pyserini_ext.topics import load_topics

MEASURES = ["nDCG@10", "AP", "R@100"]
COLLECTIONS = ("acm3204", "cranfield", "npl")
ALPHA = 0.5

SEARCHES = {
    "after": f"--prf colbert-prf --interpolate after --alpha {ALPHA} --save-stages",
    "both": f"--prf colbert-prf --interpolate both --alpha {ALPHA} --save-stages",
    "rerank": "--prf colbert-prf --prf-arg search=false",
    "closest": "--prf colbert-prf --prf-arg tokens-from=feedback",
}
TUNED = "--prf colbert-prf --prf-arg search=false"
"""What is searched; the stages of the first two are rows of their own."""

ROWS = {
    "none": "after.dense",
    "bm25": "after.sparse",
    "interpolated": "both.before",
    "rerank": "rerank",
    "search": "after.feedback",
    "closest": "closest",
    "tuned": "tuned",
    "before": "both.feedback",
    "after": "after",
    "both": "both",
}
"""The rows of the tables, and the run of each."""

BASELINES = {"\\*": "none", "†": "interpolated"}
"""What rows are compared with, and the sign of a significant difference."""

TIMES = {
    "search": "first search",
    "collection": "expansion",
    "feedback": "`tokens_from=feedback`",
    "again": "search with it",
    "rescore": "or rescoring 1000",
}


def searched(collection: Collection, threads: int) -> dict[str, Any]:
    """Search in every way and return what is measured."""
    folder = collection.work / "colbert-prf"
    indexes = {
        "dense": f"--index {quote(collection.tokens('minilm'))}",
        "sparse": f"--sparse-index {quote(collection.lucene())}",
    }
    for name, options in SEARCHES.items():
        sides = " ".join(indexes.values()) if "--interpolate" in options else indexes["dense"]
        ours(
            f"search {sides} {options} --topics {quote(collection.topics)} --hits 1000 --quiet "
            f"--threads {threads} --output {quote(folder / name)}.txt"
        )
    runs = {row: folder / f"{name}.txt" for row, name in ROWS.items()}
    best = tuned_settings(
        f"{indexes['dense']} {TUNED} --topics {quote(collection.topics)} --hits 1000 --quiet "
        f"--threads {threads} --qrels {quote(collection.qrels)} --output {quote(runs['tuned'])}",
        runs["tuned"],
    )["best"]
    return {**measured(collection.qrels, runs), "best": best}


def measured(qrels: Path, runs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mean of each run, and what its differences from the baselines are worth."""
    out: dict[str, Any] = {"means": {}, "p": {}}
    for baseline in BASELINES.values():
        found = evaluate(qrels, runs, MEASURES, baseline)
        out["queries"] = len(found.qids)
        out["p"][baseline] = {}
        for run in found.runs:
            out["means"][run] = {m: round(found.means[run][m], 4) for m in MEASURES}
            if run != baseline:
                compared = found.comparisons[run]
                out["p"][baseline][run] = {m: _short(own.p_holm) for m, own in compared.items()}
    return out


def _short(p: float | None) -> float:
    return 1.0 if p is None else float(f"{p:.2g}")


def timed(collection: Collection, threads: int, count: int, repeats: int) -> dict[str, Any]:
    """Return the milliseconds that a query takes in each part, in a batch of the first queries."""
    late = MultiVectorSearcher(collection.tokens("minilm"))
    queries = list(load_topics(str(collection.topics)).values())[:count]
    qids = [str(number) for number in range(len(queries))]
    tokens = late.encode(queries)
    first = list(late.search_vectors(tokens, qids, 1000, threads).values())
    lists = [hits.docids.tolist() for hits in first]
    whole, cheap = ColBERTPRF(), ColBERTPRF(tokens_from="feedback")
    expanded = whole.refine_tokens(None, tokens, first, late)
    seconds = alternate(
        {
            "search": lambda: late.search_vectors(tokens, qids, 1000, threads),
            "collection": lambda: whole.refine_tokens(None, tokens, first, late),
            "feedback": lambda: cheap.refine_tokens(None, tokens, first, late),
            "again": lambda: late.search_vectors(expanded, qids, 1000, threads),
            "rescore": lambda: late.score_vectors(expanded, lists),
        },
        repeats,
    )
    each = {n: round(1000 * statistics.median(s) / len(queries), 2) for n, s in seconds.items()}
    tokens_each = len(late.store.documents.rows) / len(late.store)
    return {
        "batch": len(queries),
        "documents": len(late.store),
        "tokens_a_document": round(tokens_each, 1),
        "milliseconds": each,
    }


def cell(found: dict[str, Any], run: str, measure: str) -> str:
    """Render a mean, with the sign of each baseline that it differs from."""
    signs = [
        sign
        for sign, baseline in BASELINES.items()
        if found["p"][baseline].get(run, {}).get(measure, 1) < 0.05
    ]
    return f"{found['means'][run][measure]:.4f}{''.join(signs)}"


def tables(report: dict[str, Any]) -> str:
    """Render what the page holds."""
    collections = report.get("collections", {})
    out = []
    for measure in MEASURES if collections else ():
        rows = [
            [f"`{run}`", *(cell(found, run, measure) for found in collections.values())]
            for run in ROWS
        ]
        out.append(markdown([measure, *(f"`{name}`" for name in collections)], rows))
    if collections:
        queries = ", ".join(f"{own['queries']} (`{name}`)" for name, own in collections.items())
        betas = ", ".join(f"{own['best']['beta']} (`{n}`)" for n, own in collections.items())
        out.append(
            "\\* differs from `none`, † from `interpolated`: p < 0.05 (paired two-sided t-test, "
            f"Holm-corrected over {len(ROWS) - 1} runs per measure). Queries: {queries}. Best beta "
            f"on all queries: {betas}.\n"
        )
    if times := report.get("times"):
        rows = [
            [f"`{name}`", f"{own['documents']} of {own['tokens_a_document']:.0f}"]
            + [f"{own['milliseconds'][part]:.1f}" for part in TIMES]
            for name, own in times.items()
        ]
        header = ["ms a query", "documents of tokens", *TIMES.values()]
        out.append(markdown(header, rows))
        batch = max(own["batch"] for own in times.values())
        out.append(
            f"In batches of {batch} queries. *expansion* is k-means and the search for its tokens "
            "in the whole store.\n"
        )
    return "\n".join(out)


def main() -> None:
    """Run the experiments."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--collections", type=Path, required=True, help="folder of collections")
    parser.add_argument("--names", nargs="+", default=COLLECTIONS, help="default: all three")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=32, help="queries that are timed together")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--only", choices=("quality", "time"), help="one half of it; the other stays in --json"
    )
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--json", type=Path, help="write all numbers")
    parser.add_argument("--page", type=Path, help="page that the tables are put into")
    args = parser.parse_args()
    for name in args.names:
        if not (args.collections / name).is_dir():
            raise InputError(f"no such collection: {args.collections / name}")
    report: dict[str, Any] = {}
    if args.only and args.json and args.json.is_file():
        report = json.loads(args.json.read_text(encoding="utf-8"))
    report |= describe()
    opened = {name: Collection.open(args.collections / name, args.work) for name in args.names}
    if args.only != "time":
        report["collections"] = {
            name: searched(collection, args.threads) for name, collection in opened.items()
        }
    if args.only != "quality":
        report["times"] = {
            name: timed(collection, args.threads, args.batch, args.repeats)
            for name, collection in opened.items()
        }
    if args.json:
        write_json(args.json, report)
    text = tables(report)
    print(text, end="")
    if args.page:
        fill(args.page, "colbert-prf", f"{conditions(report)}\n{text}")


if __name__ == "__main__":
    run_command(main)

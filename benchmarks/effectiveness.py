"""How good the ways to search are: BM25, dense, feedback, interpolation; one table a collection.

    python benchmarks/effectiveness.py --collections "$PYSERINI_EXT_COLLECTIONS" --check-pyserini

A collection is a folder with ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.tsv`` and
``qrels.txt``. Its indexes are made once, in ``--work``. Tables go to stdout, the commands that
made them to stderr. ``--check-pyserini`` runs Pyserini's own commands for BM25, Average and Rocchio
as well and compares the runs rank by rank. A folder ``msmarco_dl_pool`` with published runs is not
searched: its runs are fused by our command and by Pyserini's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import Collection, markdown, ours, pyserini, quote
from timing import describe

from pyserini_ext.command import run_command
from pyserini_ext.encode.presets import MINILM
from pyserini_ext.errors import InputError
from pyserini_ext.evaluate import evaluate
from pyserini_ext.files import write_json
from pyserini_ext.run import Run

MEASURES = ["nDCG@10", "AP", "R@100", "R@1000"]
GRADED = ["nDCG@10", "AP(rel=2)", "R(rel=2)@100"]
"""TREC DL counts grades from 2 as relevant where a measure knows two grades only."""

ROCCHIO = "--prf rocchio --prf-depth 5 --rocchio-alpha 0.4 --rocchio-beta 0.6"
"""The settings of the reproduction in Li et al., TOIS 2023."""

QUESTIONS = {
    "against bm25": ("bm25",),
    "feedback against none": ("dense", "average", "rocchio"),
    "interpolated with feedback against without": ("interpolated", "before", "after", "both"),
}
"""The tables: the baseline, and the rows compared with it (all, where none is named). The
correction for several comparisons counts those of a table."""

NAMES = ("acm3204", "cranfield", "npl", "msmarco_dl_pool")
PAIRS = (("bm25", "tasb"), ("bm25", "splade"), ("tasb", "splade"))
METHODS = {
    "rrf": "--method rrf",
    "interpolation": "--method interpolation --alpha 0.5",
    "average": "--method average",
    "normalize": "--method normalize",
}

STEP = 2e-6
"""Scores closer than this may swap: runs are printed to six decimals, and encoding a query twice
moves a score by about 1e-7."""


def ways(collection: Collection, encoder: str) -> dict[str, str]:
    """Return the options of the search command for each row of the table."""
    sparse = f"--sparse-index {quote(collection.lucene())}"
    dense = f"--index {quote(collection.faiss(encoder))} --encoder {quote(encoder)}"
    return {
        "bm25": sparse,
        "dense": dense,
        "average": f"{dense} --prf avg --prf-depth 3",
        "rocchio": f"{dense} {ROCCHIO}",
        "interpolated": f"{dense} {sparse} --interpolate --alpha 0.5",
        "before": f"{dense} {sparse} {ROCCHIO} --interpolate before --alpha 0.5",
        "after": f"{dense} {sparse} {ROCCHIO} --interpolate after --alpha 0.5",
        "both": f"{dense} {sparse} {ROCCHIO} --interpolate both --alpha 0.5",
    }


def searched(collection: Collection, encoder: str) -> dict[str, Any]:
    """Search in every way, print a table for each question and return their numbers."""
    runs = {}
    for name, options in ways(collection, encoder).items():
        runs[name] = collection.work / "runs" / f"{name}.txt"
        ours(
            f"search {options} --topics {quote(collection.topics)} --hits 1000 --threads 2"
            f" --tag {name} --quiet --output {quote(runs[name])}"
        )
    tables = {}
    for title, (baseline, *others) in QUESTIONS.items():
        numbers = collection.work / f"{title.replace(' ', '-')}.json"
        names = [baseline, *(others or [name for name in runs if name != baseline])]
        ours(
            f"evaluate --qrels {quote(collection.qrels)} --baseline {baseline} --format markdown"
            f" --json {quote(numbers)} {' '.join(quote(runs[name]) for name in names)}"
            f" --measures {' '.join(MEASURES)}"
        )
        print(flush=True)
        found = json.loads(numbers.read_text(encoding="utf-8"))
        tables[title] = {key: found[key] for key in ("baseline", "queries", "runs")}
    return tables


def checked(collection: Collection, encoder: str) -> list[dict[str, Any]]:
    """Run Pyserini's own commands, print how they compare and return the rows."""
    topics = f"--topics {quote(collection.topics)} --hits 1000"
    index = f"search.faiss --index {quote(collection.faiss(encoder))}"
    dense = f"{index} --encoder-class {quote(encoder)} {topics} --threads 2 --batch-size 64"
    rocchio = (
        "--prf-method rocchio --prf-depth 5 --rocchio-topk 5 --rocchio-alpha 0.4 --rocchio-beta 0.6"
    )
    commands = {
        "bm25": f"search.lucene --index {quote(collection.lucene())} {topics} --bm25",
        "dense": dense,
        "average": f"{dense} --prf-method avg --prf-depth 3",
        "rocchio": f"{dense} {rocchio}",
    }
    if encoder == "minilm":
        # Without any plugin: Pyserini has a class for this checkpoint, which encodes one by one.
        commands["rocchio, Pyserini's encoder"] = (
            f"{index} --encoder {quote(MINILM.location())} --encoder-class sentence"
            f" {topics} --threads 2 --batch-size 64 {rocchio}"
        )
    rows = []
    for name, line in commands.items():
        mine = collection.work / "runs" / f"{name.partition(',')[0]}.txt"
        theirs = mine.with_suffix(".pyserini.txt")
        pyserini(f"{line} --output {quote(theirs)}")
        rows.append(
            {
                "run": name,
                "ours": means(collection.qrels, mine, MEASURES),
                "pyserini": means(collection.qrels, theirs, MEASURES),
                "runs": verdict(mine, theirs),
            }
        )
    print(compared("run", MEASURES, rows))
    return rows


def fused(folder: Path, work: Path) -> list[dict[str, Any]]:
    """Fuse published runs by both commands, print how they compare and return the rows."""
    rows = []
    for year in ("dl19", "dl20"):
        qrels = folder / f"qrels.{year}.full.txt"
        for pair in PAIRS:
            runs = " ".join(quote(folder / "runs" / f"{year}.{name}.txt") for name in pair)
            for method, options in METHODS.items():
                name = f"{year} {' + '.join(pair)}, {method}"
                mine = work / folder.name / f"{year}.{'.'.join(pair)}.{method}.txt"
                theirs = mine.with_suffix(".pyserini.txt")
                mine.parent.mkdir(parents=True, exist_ok=True)
                ours(f"fusion --runs {runs} {options} --output {quote(mine)}")
                pyserini(f"fusion --runs {runs} {options} --output {quote(theirs)}")
                rows.append(
                    {
                        "run": name,
                        "ours": means(qrels, mine, GRADED),
                        "pyserini": means(qrels, theirs, GRADED),
                        "runs": verdict(mine, theirs),
                    }
                )
    print(compared("runs and method", GRADED, rows))
    return rows


def means(qrels: Path, run: Path, measures: list[str]) -> dict[str, float]:
    """Return the measures of one run."""
    return evaluate(qrels, {"run": run}, measures).means["run"]


def verdict(ours: Path, theirs: Path) -> str:
    """Say whether two runs are the same: byte for byte, rank by rank, or where they part.

    The last columns (tags) may differ. Rank by rank means: in each rank scores within `STEP`, and
    the same document unless its score in the other run is within `STEP` too.
    """
    mine, other = Run.read(ours, keep_ranks=True), Run.read(theirs, keep_ranks=True)
    if set(mine) != set(other):
        return f"{len(set(mine) ^ set(other))} queries are in one run only"
    swaps = 0
    for qid, hits in mine.items():
        counterparts = other[qid]
        if len(hits) != len(counterparts):
            return f"query {qid}: {len(hits)} hits and {len(counterparts)}"
        if not np.allclose(hits.scores, counterparts.scores, rtol=0, atol=STEP):
            return (
                f"query {qid}: scores differ by {np.abs(hits.scores - counterparts.scores).max()}"
            )
        known = counterparts.as_dict()
        for hit, counterpart in zip(hits, counterparts, strict=True):
            if hit.docid != counterpart.docid:
                swaps += 1
                there = known.get(hit.docid, counterparts[-1].score)
                if abs(there - counterpart.score) > STEP:
                    return f"query {qid}: {hit.docid} and {counterpart.docid} in one rank"
    same = all(np.array_equal(hits.scores, other[qid].scores) for qid, hits in mine.items())
    if swaps:
        return f"same ranks but for {swaps} of {sum(map(len, mine.values()))} tied to {STEP:g}"
    return "identical" if same else f"same ranks, scores within {STEP:g}"


def compared(title: str, measures: list[str], rows: list[dict[str, Any]]) -> str:
    """Return the table of two commands side by side."""

    def lines() -> Iterator[list[str]]:
        for row in rows:
            cells = []
            for measure in measures:
                a, b = (f"{row[side][measure]:.4f}" for side in ("ours", "pyserini"))
                cells.append(a if a == b else f"{a} / {b}")
            yield [row["run"], *cells, row["runs"]]

    legend = (
        "One number: ours and Pyserini's agree in all four decimals; otherwise ours / Pyserini's."
    )
    return markdown([title, *measures, "the runs"], lines()) + f"\n{legend}\n"


def main() -> None:
    """Run the experiments."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--collections", type=Path, required=True, help="folder of collections")
    parser.add_argument("--names", nargs="+", default=NAMES, help=f"default: {' '.join(NAMES)}")
    parser.add_argument("--encoder", default="minilm", help="default: %(default)s")
    parser.add_argument(
        "--work", type=Path, default=Path("build/benchmarks"), help="default: %(default)s"
    )
    parser.add_argument("--check-pyserini", action="store_true", help="run its commands as well")
    parser.add_argument("--json", type=Path, help="write all numbers")
    args = parser.parse_args()
    for name in args.names:
        if not (args.collections / name).is_dir():
            raise InputError(f"no such collection: {args.collections / name}")
    report: dict[str, Any] = describe() | {"collections": {}}
    for name in args.names:
        folder = args.collections / name
        print(f"### {name}\n", flush=True)
        if (folder / "runs").is_dir():
            found = {"fusion": fused(folder, args.work)}
        else:
            collection = Collection.open(folder, args.work)
            found: dict[str, Any] = searched(collection, args.encoder)
            if args.check_pyserini:
                found["pyserini"] = checked(collection, args.encoder)
        report["collections"][name] = found
    if args.json:
        write_json(args.json, report)


if __name__ == "__main__":
    run_command(main)

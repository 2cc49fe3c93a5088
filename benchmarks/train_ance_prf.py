"""Trains ANCE-PRF on the queries of small collections, by cross-validation, beside Rocchio.

    python benchmarks/train_ance_prf.py --collections "$PYSERINI_EXT_COLLECTIONS" \
        --json benchmarks/results/train_ance_prf.json --page docs/ance-prf.md

all-MiniLM-L6-v2, whose document vectors stay as they are, learns to read three feedback documents.
The judged queries are dealt into folds; each fold is searched by a model that was trained on the
others, and the folds make one run. Every command goes to stderr. Models in ``--work`` are
used again, with the time that they took. Indexes are those of ``effectiveness.py``.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import Collection, command, fill, markdown, ours, quote
from timing import conditions, describe

from pyserini_ext.command import run_command
from pyserini_ext.encode.presets import MINILM
from pyserini_ext.errors import InputError
from pyserini_ext.evaluate import evaluate
from pyserini_ext.evaluate.qrels import read_qrels
from pyserini_ext.files import atomic_writer, write_json
from pyserini_ext.run import Run
from pyserini_ext.search.tune import folds_of
from pyserini_ext.topics import load_topics

MEASURES = ["nDCG@10", "AP", "R@100"]
COLLECTIONS = ("npl", "cranfield", "acm3204")
BASELINES = ("none", "rocchio")
K = 3

LENGTHS = {"acm3204": 256, "cranfield": 256, "npl": 160}
"""Tokens of query and documents: what fits into the time. NPL's documents are short."""

EPOCHS = {"acm3204": 8, "cranfield": 3, "npl": 8}

SHARED = "--batch 8 --learning-rate 2e-5 --dtype bfloat16"

TRAINED = {"trained": "--anchor 20", "plain": "--anchor 0"}
"""Rows of trained models, and what is special about their training."""

SEARCHED = {
    "none": "",
    "average": f"--prf avg --prf-depth {K}",
    "rocchio": "--prf rocchio --prf-depth 5 --rocchio-alpha 0.4 --rocchio-beta 0.6",
}
"""Rows that need no model; Rocchio as in gqr.py."""


def deal(collection: Collection, folder: Path, count: int, seed: int) -> list[dict[str, Path]]:
    """Write the topics of each fold, to train on and to search, and return their files."""
    qrels, topics = read_qrels(collection.qrels), load_topics(str(collection.topics))
    judged = [qid for qid in topics if any(grade > 0 for grade in qrels.get(qid, {}).values())]
    fold = folds_of(len(judged), count, seed)
    files = []
    for number in range(count):
        own = {part: folder / f"{part}-{number}.tsv" for part in ("train", "held-out")}
        for part, file in own.items():
            with atomic_writer(file) as out:
                for qid, where in zip(judged, fold, strict=True):
                    if (where == number) == (part == "held-out"):
                        out.write(f"{qid}\t{topics[qid]}\n")
        files.append(own)
    return files


def searched(collection: Collection, topics: Path, run: Path, options: str) -> Path:
    """Search topics, by all documents."""
    ours(
        f"search --index {quote(collection.faiss('minilm'))} --encoder minilm {options} "
        f"--topics {quote(topics)} --hits 1000 --threads 2 --quiet --output {quote(run)}"
    )
    return run


def reading(collection: Collection, model: object) -> str:
    """Return the options that search with a PRF encoder."""
    texts = quote(collection.corpus)
    return f"--prf ance-prf --prf-encoder {quote(model)} --prf-text {texts}"


def trained(
    collection: Collection, folder: Path, name: str, files: list[dict[str, Path]], options: str
) -> tuple[Path, float]:
    """Train without each fold, search it, and return the run of all folds, and seconds."""
    merged, seconds = Run(tag=name), 0.0
    for number, own in enumerate(files):
        # Other settings are another model.
        key = hashlib.sha256(options.encode()).hexdigest()[:8]
        made = folder / f"{name}-{number}-{key}"
        clock = made.with_suffix(".seconds")
        if not made.exists():
            started = time.perf_counter()
            command(
                f"python -m pyserini_ext.train ance-prf --topics {quote(own['train'])} "
                f"--qrels {quote(collection.qrels)} --index {quote(collection.faiss('minilm'))} "
                f"--texts {quote(collection.corpus)} --family bi-encoder --k {K} "
                f"--checkpoint {quote(MINILM.location())} {options} --output {quote(made)}"
            )
            clock.write_text(str(time.perf_counter() - started))
        seconds += float(clock.read_text())
        run = folder / "runs" / f"{name}-{number}.txt"
        searched(collection, own["held-out"], run, reading(collection, made))
        merged.update(Run.read(run))
    path = folder / "runs" / f"{name}.txt"
    merged.save(path)
    return path, round(seconds, 1)


def compared(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run everything on a collection."""
    collection = Collection.open(args.collections / name, args.work)
    folder = collection.work / "ance-prf"
    files = deal(collection, folder, args.folds, args.seed)
    length = LENGTHS.get(name, 256)
    runs = {
        row: searched(collection, collection.topics, folder / "runs" / f"{row}.txt", options)
        for row, options in SEARCHED.items()
    }
    same = f"--prf-arg k={K} --prf-arg family=bi-encoder --prf-arg max_length={length}"
    runs["untrained"] = searched(
        collection,
        collection.topics,
        folder / "runs" / "untrained.txt",
        f"{reading(collection, MINILM.location())} {same}",
    )
    settings = (
        f"--max-length {length} --epochs {args.epochs or EPOCHS.get(name, 10)} {SHARED} "
        f"--seed {args.seed} --threads {args.threads}"
    )
    seconds = {}
    for row, special in TRAINED.items():
        runs[row], seconds[row] = trained(collection, folder, row, files, f"{settings} {special}")
    return measured(collection.qrels, runs) | {"settings": settings, "seconds": seconds}


def measured(qrels: Path, runs: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the runs with each baseline."""
    out: dict[str, Any] = {"against": {}}
    for baseline in BASELINES:
        found = evaluate(qrels, runs, MEASURES, baseline)
        out["queries"] = len(found.qids)
        out["means"] = {
            run: {measure: round(found.means[run][measure], 4) for measure in MEASURES}
            for run in found.runs
        }
        out["against"][baseline] = {
            run: {
                measure: {
                    "difference": round(own.difference, 4),
                    "p": float(f"{own.p_holm if own.p_holm is not None else 1:.2g}"),
                }
                for measure, own in found.comparisons[run].items()
            }
            for run in found.runs
            if run != baseline
        }
    return out


def cell(found: dict[str, Any], run: str, measure: str) -> str:
    """Render a mean, with a sign for each baseline that it differs from significantly."""
    signs = ""
    for sign, baseline in zip(("\\*", "†"), BASELINES, strict=True):
        own = found["against"][baseline].get(run, {}).get(measure)
        signs += sign if own and own["p"] < 0.05 else ""
    return f"{found['means'][run][measure]:.4f}{signs}"


def tables(report: dict[str, Any]) -> str:
    """Render what the page holds."""
    collections = report["collections"]
    out = []
    for measure in MEASURES:
        names = next(iter(collections.values()))["means"]
        rows = [
            [run, *(cell(found, run, measure) for found in collections.values())] for run in names
        ]
        out.append(markdown([measure, *(f"`{name}`" for name in collections)], rows))
    others = len(next(iter(collections.values()))["means"]) - 1
    out.append(
        "\\* differs from none, † from Rocchio: p < 0.05 (paired two-sided t-test, Holm-corrected "
        f"over {others} runs per measure). Queries: "
        + ", ".join(f"{found['queries']} (`{name}`)" for name, found in collections.items())
        + f"; {report['folds']} folds.\n"
    )
    rows = []
    for name, found in collections.items():
        for run, seconds in found["seconds"].items():
            rows.append([f"`{name}`, {run}", f"{seconds:.0f}"])
    out.append(markdown(["training of all folds", "seconds"], rows))
    lines = [
        f"- {run}, `{name}`: `{found['settings']} {special}`\n"
        for name, found in collections.items()
        for run, special in TRAINED.items()
    ]
    out.append("".join(lines))
    return "\n".join(out)


def main() -> None:
    """Run the proof."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--collections", type=Path, required=True, help="folder of collections")
    parser.add_argument("--names", nargs="+", default=COLLECTIONS, help="default: all three")
    parser.add_argument("--folds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, help="default: what fits into a quarter of an hour")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--json", type=Path, help="write all numbers")
    parser.add_argument("--page", type=Path, help="page that the tables are put into")
    args = parser.parse_args()
    if args.folds < 2:
        raise InputError(f"--folds is {args.folds}; it must be at least 2")
    for name in args.names:
        if not (args.collections / name).is_dir():
            raise InputError(f"no such collection: {args.collections / name}")
    report: dict[str, Any] = describe() | {"folds": args.folds, "seed": args.seed}
    report["collections"] = {}
    for name in args.names:
        report["collections"][name] = compared(name, args)
        if args.json:
            write_json(args.json, report)
    text = f"{conditions(report)}\n{tables(report)}"
    print(text, end="")
    if args.page:
        fill(args.page, "train-ance-prf", text)


if __name__ == "__main__":
    run_command(main)

"""Trains a small inference-free sparse encoder and searches held-out queries with it.

    python benchmarks/train_sparse.py --collection "$PYSERINI_EXT_COLLECTIONS/npl" \
        --json benchmarks/results/train_sparse.json

The judged queries are split by a seed; the training part and pseudo-queries made of the documents
are what all-MiniLM-L6-v2 (given a head) is trained on, with BM25 and dense retrieval as teachers.
Rows: BM25; ``bm25-impact``; the dense teacher; the model with its closed-form head, not trained;
trained by InfoNCE with the teachers' lists as hard negatives; trained by distillation. Every
command is printed. What is in ``--work`` already is used again, and not timed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import Collection, command, markdown, ours, quote
from timing import describe

from pyserini_ext.command import run_command
from pyserini_ext.encode.presets import MINILM
from pyserini_ext.evaluate import evaluate
from pyserini_ext.evaluate.qrels import read_qrels
from pyserini_ext.files import atomic_writer, write_json
from pyserini_ext.topics import load_topics

MEASURES = ["nDCG@10", "AP", "R@100"]

MODELS = {
    "untrained": "--steps 0",
    "contrastive": "--loss contrastive",
    "distilled": "--loss distillation",
}
"""Rows that are models, and what is special about their training."""

BASELINES = ("bm25", "bm25-impact")


def split(collection: Collection, folder: Path, train: int, seed: int) -> dict[str, Path]:
    """Write the judged queries as two files of topics, and the qrels of the held-out ones."""
    qrels, topics = read_qrels(collection.qrels), load_topics(collection.topics)
    judged = [qid for qid in topics if any(grade > 0 for grade in qrels.get(qid, {}).values())]
    chosen = set(np.random.default_rng(seed).permutation(judged)[:train].tolist())
    files = {name: folder / f"{name}.tsv" for name in ("train", "held-out")}
    for name, file in files.items():
        with atomic_writer(file) as out:
            for qid in judged:
                if (qid in chosen) == (name == "train"):
                    out.write(f"{qid}\t{topics[qid]}\n")
    files["qrels"] = folder / "held-out.qrels"
    with atomic_writer(files["qrels"]) as out:
        for qid in judged:
            if qid not in chosen:
                out.writelines(f"{qid} 0 {d} {grade}\n" for d, grade in qrels[qid].items())
    return files


def timed(line: str, made: Path) -> float | None:
    """Run a command if what it makes is not there; return its seconds."""
    if made.exists():
        return None
    started = time.perf_counter()
    command(line)
    return round(time.perf_counter() - started, 1)


def prepare(collection: Collection, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Split the queries, and let the teachers search for the training part."""
    files = split(collection, folder, args.train, args.seed)
    candidates = folder / "candidates.jsonl"
    seconds = timed(
        f"python -m pyserini_ext.train candidates --corpus {quote(collection.corpus)} "
        f"--topics {quote(files['train'])} --qrels {quote(collection.qrels)} "
        f"--pseudo-queries {args.pseudo_queries} --hits 50 --threads 2 "
        f"--teacher bm25 index={quote(collection.lucene())} "
        f"--teacher dense index={quote(collection.faiss('minilm'))} encoder=minilm "
        f"--output {quote(candidates)}",
        candidates,
    )
    return files | {"candidates": candidates, "seconds": {"candidates": seconds}}


def search(files: dict[str, Any], folder: Path, name: str, options: str) -> Path:
    """Search the held-out queries."""
    run = folder / "runs" / f"{name}.txt"
    ours(
        f"search {options} --topics {quote(files['held-out'])} --hits 1000 --threads 2 --quiet "
        f"--output {quote(run)}"
    )
    return run


def index(collection: Collection, folder: Path, name: str, encoder: str) -> tuple[str, Any]:
    """Encode and index the collection; return the options that search it, and seconds."""
    vectors, impacts = folder / "vectors" / f"{name}.jsonl", folder / f"{name}.impact"
    seconds = timed(
        f"python -m pyserini_ext.encode.sparse --corpus {quote(collection.corpus)} "
        f"--output {quote(vectors)} --no-contents {encoder}",
        vectors,
    )
    idf = "--idf collection" if name == "bm25-impact" else ""
    timed(
        f"python -m pyserini_ext.index --corpus {quote(vectors)} --output {quote(impacts)} "
        f"--mode premultiplied {idf} --quiet",
        impacts,
    )
    model = encoder.split()[1]
    return (
        f"--sparse-index {quote(impacts)} --sparse-searcher impact --sparse-encoder {model}",
        seconds,
    )


def density(vectors: Path) -> dict[str, float]:
    """Return how many weights documents have on average, and the FLOPS of the vectors."""
    sums: dict[str, float] = {}
    count = weights = 0
    with vectors.open(encoding="utf-8") as lines:
        for line in lines:
            vector = json.loads(line)["vector"]
            count += 1
            weights += len(vector)
            for token, weight in vector.items():
                sums[token] = sums.get(token, 0.0) + weight
    flops = sum((value / count) ** 2 for value in sums.values())
    return {"weights": round(weights / count, 1), "flops": round(flops, 2)}


def measure(files: dict[str, Any], runs: dict[str, Path]) -> dict[str, Any]:
    """Compare the runs with each baseline."""
    out: dict[str, Any] = {}
    for baseline in BASELINES:
        found = evaluate(files["qrels"], runs, MEASURES, baseline)
        out["queries"] = len(found.qids)
        out[baseline] = {
            run: {
                measure: {"value": round(found.means[run][measure], 4)}
                | (
                    {}
                    if run == baseline
                    else {
                        "difference": round(compared.difference, 4),
                        "p": float(f"{compared.p_holm or 0:.2g}"),
                    }
                )
                for measure in MEASURES
                if run == baseline or (compared := found.comparisons[run][measure])
            }
            for run in found.runs
        }
    return out


def tables(report: dict[str, Any]) -> str:
    """Render everything that is in the page."""
    out = []
    for baseline in BASELINES:
        rows = []
        for run, results in report["evaluation"][baseline].items():
            cells = []
            for found in results.values():
                star = "\\*" if found.get("p", 1) < 0.05 else ""
                change = f" {found['difference']:+.4f}{star}" if "difference" in found else ""
                cells.append(f"{found['value']:.4f}{change}")
            rows.append([run, *cells])
        out.append(markdown([f"against {baseline}", *MEASURES], rows))
    rows = []
    for name, found in report["models"].items():
        seconds = [found.get("train_seconds"), found.get("encode_seconds")]
        shown = ["" if value is None else f"{value:.0f}" for value in seconds]
        rows.append([name, f"{found['weights']:.0f}", f"{found['flops']:.2f}", *shown])
    out.append(
        markdown(["model", "weights a document", "FLOPS", "training, s", "encoding, s"], rows)
    )
    return "\n".join(out)


def main() -> None:
    """Run the proof."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--collection", type=Path, required=True, help="folder of a collection")
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--checkpoint", default=MINILM.location(), help="default: all-MiniLM-L6-v2")
    parser.add_argument("--train", type=int, default=30, help="queries to train on (%(default)s)")
    parser.add_argument("--pseudo-queries", type=int, default=3000, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=300, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--dtype", default="bfloat16", help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="write all numbers")
    args = parser.parse_args()
    collection = Collection.open(args.collection, args.work)
    report: dict[str, Any] = describe() | {"seed": args.seed, "train_queries": args.train}
    folder = collection.work / "train"
    files = prepare(collection, folder, args)
    report["seconds"], report["models"] = files["seconds"], {}
    runs = {
        "bm25": search(files, folder, "bm25", f"--sparse-index {quote(collection.lucene())}"),
        "dense": search(
            files,
            folder,
            "dense",
            f"--index {quote(collection.faiss('minilm'))} --encoder minilm",
        ),
    }
    models: dict[str, tuple[str, float | None]] = {"bm25-impact": ("--encoder bm25-impact", None)}
    for name, special in MODELS.items():
        made = folder / "models" / name
        steps = special if "--steps" in special else f"{special} --steps {args.steps}"
        seconds = timed(
            f"python -m pyserini_ext.train sparse --corpus {quote(collection.corpus)} "
            f"--candidates {quote(files['candidates'])} --checkpoint {quote(args.checkpoint)} "
            f"--states {quote(folder / 'states.f16')} --dtype {args.dtype} --queries 16 "
            f"--head-learning-rate 1e-3 --l0 30 --seed {args.seed} {steps} --output {quote(made)}",
            made,
        )
        models[name] = (f"--encoder {quote(made)} --dtype {args.dtype}", seconds)
    for name, (encoder, seconds) in models.items():
        options, encoding = index(collection, folder, name, encoder)
        runs[name] = search(files, folder, name, options)
        report["models"][name] = density(folder / "vectors" / f"{name}.jsonl") | {
            "train_seconds": seconds,
            "encode_seconds": encoding,
        }
    order = ("bm25", "bm25-impact", "dense", *MODELS)
    report["evaluation"] = measure(files, {name: runs[name] for name in order})
    print(tables(report), end="")
    if args.json:
        write_json(args.json, report)


if __name__ == "__main__":
    run_command(main)

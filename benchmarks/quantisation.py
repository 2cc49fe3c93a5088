"""What quantising and pruning impacts cost: nDCG@10 against the exact scores of float weights.

    python benchmarks/quantisation.py --collections "$PYSERINI_EXT_COLLECTIONS" \
        --json benchmarks/results/quantisation.json

Documents are encoded once (``--encoder``: a registered sparse encoder or a checkpoint folder), then
indexed in every way of `VARIANTS`. The first row, the baseline of the tests, multiplies float64
weights with NumPy: no index, nothing rounded. Differences are tested as ``python -m
pyserini_ext.evaluate`` tests them (paired t-test, Holm's correction over the rows of a collection).
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from common import Collection, command, markdown, ours, quote
from timing import describe

from pyserini_ext.command import run_command
from pyserini_ext.encode.sparse_encoder import make_sparse_encoder
from pyserini_ext.errors import InputError
from pyserini_ext.evaluate import evaluate
from pyserini_ext.files import write_json
from pyserini_ext.hits import Hits
from pyserini_ext.run import Run
from pyserini_ext.search.impact import ImpactSearcher
from pyserini_ext.topics import load_topics

NAMES = ("acm3204", "cranfield", "npl")
HITS = 1000
MEASURES = ["nDCG@10", "AP", "R@1000"]
FLOAT = "float"
VARIANTS = {
    "weights, S=100": "--mode query --scale 100",
    "S=100": "--mode premultiplied --scale 100",
    "S=20": "--mode premultiplied --scale 20",
    "S=5": "--mode premultiplied --scale 5",
    "S=100, 90 % of postings": "--mode premultiplied --scale 100 --prune-keep 0.9",
    "S=100, 70 % of postings": "--mode premultiplied --scale 100 --prune-keep 0.7",
    "S=100, 50 % of postings": "--mode premultiplied --scale 100 --prune-keep 0.5",
    "S=20, 70 % of postings": "--mode premultiplied --scale 20 --prune-keep 0.7",
}
"""Rows and the options of ``python -m pyserini_ext.index``."""


def exact(vectors: Path, queries: Mapping[str, Mapping[str, float]]) -> Run:
    """Return the best documents by the sum of query weight * document weight, in float64.

    Parameters
    ----------
    vectors : Path
        Lines of ``{"id": …, "vector": {token: weight}}``.
    queries : mapping of str to mapping of str to float
        Weights of the tokens of each query, by qid.
    """
    docids: list[str] = []
    postings: dict[str, tuple[list[int], list[float]]] = {
        token: ([], []) for weights in queries.values() for token in weights
    }
    with vectors.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            document = json.loads(line)
            docids.append(document["id"])
            for token, weight in document["vector"].items():
                if token in postings:
                    postings[token][0].append(number)
                    postings[token][1].append(weight)
    lists = {t: (np.array(d, dtype=np.intp), np.array(w)) for t, (d, w) in postings.items()}
    names = np.array(docids, dtype=object)
    run = Run(tag=FLOAT)
    for qid, weights in queries.items():
        scores = np.zeros(len(docids))
        for token, weight in weights.items():
            documents, values = lists[token]
            scores[documents] += weight * values
        found = np.flatnonzero(scores)
        run.add(qid, Hits(names[found], scores[found]).head(HITS))
    return run


def encoded(collection: Collection, encoder: str, folder: Path) -> Path:
    """Return the vectors of the documents, encoded where they are not there."""
    vectors = folder / "vectors" / "documents.jsonl"
    vectors.parent.mkdir(parents=True, exist_ok=True)
    if not vectors.exists():
        command(
            f"python -m pyserini_ext.encode.sparse --corpus {quote(collection.corpus)}"
            f" --encoder {quote(encoder)} --output {quote(vectors)} --no-contents"
        )
    return vectors


def idf_option(encoder: str, folder: Path) -> str:
    """Return ``--idf …``: the model's table; an encoder without one takes the collection's."""
    table = (
        None if encoder == "bm25-impact" else getattr(make_sparse_encoder(encoder), "weights", None)
    )
    if not table:
        return "--idf collection"
    file = folder / "idf.json"
    write_json(file, dict(table))
    return f"--idf {quote(file)}"


def size(index: Path) -> int:
    """Return the bytes of Lucene's own files."""
    return sum(f.stat().st_size for f in index.iterdir() if f.suffix != ".json")


def measured(collection: Collection, encoder: str) -> dict[str, Any]:
    """Index in every way, search and compare."""
    folder = collection.work / f"quantisation-{Path(encoder).name}"
    vectors = encoded(collection, encoder, folder)
    idf = idf_option(encoder, folder)
    topics = load_topics(str(collection.topics))
    runs: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {FLOAT: {}}
    for name, options in VARIANTS.items():
        index = folder / "index"
        shutil.rmtree(index, ignore_errors=True)
        ours(
            f"index --corpus {quote(vectors)} --output {quote(index)} {idf} {options}"
            " --optimize --quiet"
        )
        searcher = ImpactSearcher(index, encoder)
        if not runs:
            weights = searcher.encoder.encode_batch(list(topics.values()))
            runs[FLOAT] = exact(vectors, dict(zip(topics, weights, strict=True)))
        runs[name] = searcher.batch_search(list(topics.values()), list(topics), k=HITS, threads=2)
        assert searcher.info is not None
        report = searcher.info["report"]
        searcher.close()
        rows[name] = {
            "options": options,
            "postings": report["postings"] / report["weights"],
            "bytes": size(index),
            "largest_impact": report["largest_impact"],
        }
    found = evaluate(collection.qrels, runs, MEASURES, FLOAT)
    for name, row in rows.items():
        row |= {"means": found.means[name]}
        if name != FLOAT:
            other = found.comparisons[name]["nDCG@10"]
            row |= {"difference": other.difference, "p": other.p, "p_holm": other.p_holm}
            row |= {"wins": other.wins, "losses": other.losses}
    return {"queries": len(found.qids), "documents": len(searcher), "rows": rows}


def tables(report: dict[str, Any]) -> str:
    """Render what was measured, one table a collection."""

    def lines(rows: dict[str, dict[str, Any]]) -> Iterator[list[str]]:
        for name, row in rows.items():
            cells = [f"{row['means'][measure]:.4f}" for measure in MEASURES]
            if name == FLOAT:
                yield [name, *cells, "", "", "", ""]
                continue
            p = "" if row["p_holm"] is None else f"{row['p_holm']:.2f}"
            if row["p_holm"] is not None and row["p_holm"] < 0.01:
                p = "< 0.01"
            cells += [f"{row['difference']:+.4f}", p, f"{100 * row['postings']:.0f} %"]
            yield [name, *cells, f"{row['bytes'] / 1e3:.0f}"]

    header = ["impacts", *MEASURES, "against float", "p", "postings", "kB"]
    return "\n".join(
        f"**{name}**, {found['queries']} queries, {found['documents']} documents\n\n"
        + markdown(header, lines(found["rows"]))
        for name, found in report["collections"].items()
    )


def main() -> None:
    """Run the experiments."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--collections", type=Path, required=True, help="folder of collections")
    parser.add_argument("--names", nargs="+", default=NAMES, help=f"default: {' '.join(NAMES)}")
    parser.add_argument(
        "--encoder", default="bm25-impact", help="registered name or checkpoint (%(default)s)"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("build/benchmarks"), help="default: %(default)s"
    )
    parser.add_argument("--json", type=Path, help="write all numbers")
    args = parser.parse_args()
    for name in args.names:
        if not (args.collections / name).is_dir():
            raise InputError(f"no such collection: {args.collections / name}")
    report = describe() | {"encoder": args.encoder, "collections": {}}
    for name in args.names:
        collection = Collection.open(args.collections / name, args.work)
        report["collections"][name] = measured(collection, args.encoder)
    print(tables(report), end="")
    if args.json:
        write_json(args.json, report)


if __name__ == "__main__":
    run_command(main)

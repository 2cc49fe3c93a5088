"""GQR: how good it is beside interpolation and Rocchio, and what a query costs.

    python benchmarks/gqr.py --collections "$PYSERINI_EXT_COLLECTIONS" \
        --json benchmarks/results/gqr.json

Collections, indexes and ``--work`` are those of ``effectiveness.py``. Tables go to stdout, the
commands that made them to stderr. ``--only time`` needs no collection and measures the
optimisation alone, on random vectors, beside the same loop with a graph of torch for each query.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import Collection, markdown, ours, public, quote
from timing import Contestants, alternate, describe

from pyserini_ext.command import run_command
from pyserini_ext.errors import InputError
from pyserini_ext.feedback.gqr import GQR
from pyserini_ext.files import write_json
from pyserini_ext.hits import Hits
from pyserini_ext.search.tune import main as tune

MEASURES = ["nDCG@10", "AP", "R@100"]
NAMES = ("acm3204", "cranfield", "npl")

ROWS = {
    "dense": "",
    "bm25": None,
    "rocchio": "--prf rocchio --prf-depth 5 --rocchio-alpha 0.4 --rocchio-beta 0.6",
    "interpolated": "--interpolate --alpha 0.5",
    "gqr": "--prf gqr",
    "gqr-search": "--prf gqr --prf-arg search=true",
    "gqr-after": "--prf gqr --prf-arg search=true --interpolate after --alpha 0.5",
}
"""What is not tuned; nothing of BM25 in the first, nothing dense in the second."""

TUNED = {
    "gqr-tuned": "--prf gqr",
    "gqr-tuned-scale": "--prf gqr --grid lr=1e-4,5e-4,1e-3 steps=10,25 guide-temperature=1,3,6,12",
}
"""The grid of the authors, and one with a temperature for the guide."""

QUESTIONS = {
    "against dense": ("dense", "bm25", "rocchio", "interpolated", "gqr", "gqr-search", *TUNED),
    "against interpolation": ("interpolated", "gqr", "gqr-after", *TUNED),
}
"""The tables: the baseline, and the rows compared with it."""

SHAPES = ((20, 25, 384), (20, 50, 384), (20, 25, 1024), (200, 25, 384))
"""Pool, steps, dimension of what is timed."""


def searched(
    collection: Collection,
    dense: str,
    rows: Mapping[str, str | None],
    grids: Mapping[str, str],
    questions: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Search in every way, print a table for each question and return their numbers.

    Parameters
    ----------
    collection : Collection
    dense : str
        The options that name the index.
    rows, grids : mapping of str to str
        Runs and their options; those that are tuned.
    questions : mapping of str to sequence of str
        The tables: the baseline, and the rows compared with it.
    """
    sparse = f"--sparse-index {quote(collection.lucene())}"
    topics = f"--topics {quote(collection.topics)} --hits 1000 --threads 2 --quiet"
    runs, tuned = {}, {}
    for name, options in {**rows, **grids}.items():
        runs[name] = collection.work / "runs" / f"{name}.txt"
        sides = sparse if options is None else dense
        if options and "--prf rocchio" not in options:
            sides = f"{dense} {sparse}"
        line = f"{sides} {options or ''} {topics} --tag {name} --output {quote(runs[name])}"
        if name not in grids:
            ours(f"search {line}")
            continue
        tuned[name] = tuned_settings(f"{line} --qrels {quote(collection.qrels)}", runs[name])
    tables: dict[str, Any] = {"tuned": tuned}
    for title, (baseline, *others) in questions.items():
        numbers = collection.work / f"gqr-{title.replace(' ', '-')}.json"
        compared = " ".join(quote(runs[name]) for name in (baseline, *others))
        ours(
            f"evaluate --qrels {quote(collection.qrels)} --baseline {baseline} --format markdown"
            f" --json {quote(numbers)} {compared}"
            f" --measures {' '.join(MEASURES)}"
        )
        print(flush=True)
        found = json.loads(numbers.read_text(encoding="utf-8"))
        tables[title] = {key: found[key] for key in ("baseline", "queries", "runs")}
    for name, found in tuned.items():
        best = ", ".join(f"{key} {value}" for key, value in found["best"].items())
        print(f"{name}: best on all queries {best}")
    print(flush=True)
    return tables


def tuned_settings(line: str, run: Path) -> dict[str, Any]:
    """Cross-validate and return what was chosen."""
    print(f"$ python -m pyserini_ext.search.tune {public(line)}", file=sys.stderr, flush=True)
    with contextlib.redirect_stdout(sys.stderr):
        tune(shlex.split(line))
    found = json.loads(run.with_name(f"{run.name}.json").read_text(encoding="utf-8"))
    return {key: found[key] for key in ("best", "folds", "held_out", "without_feedback")}


class Store:
    """Vectors by the number that a docid is."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.rows = vectors

    def vectors(self, docids: Any) -> np.ndarray:
        """Return the vectors of documents, float32 (n, d)."""
        return self.rows[np.asarray(docids, dtype=np.int64)]


def by_torch(gqr: GQR, queries: np.ndarray, documents: list[Any], guide: list[Any]) -> np.ndarray:
    """Refine each query by itself, with a graph and ``torch.optim.Adam``, in float32."""
    import torch

    refined = []
    for query, own, scores in zip(queries, documents, guide, strict=True):
        z = torch.tensor(query, requires_grad=True)
        vectors = torch.from_numpy(own)
        adam = torch.optim.Adam([z], lr=gqr.lr)
        with torch.no_grad():
            p2 = torch.softmax(torch.from_numpy(scores), -1)
            target = (1 - gqr.alpha) * torch.softmax(vectors @ z, -1) + gqr.alpha * p2
        for _ in range(gqr.steps):
            p1 = torch.softmax(vectors @ z, -1)
            adam.zero_grad()
            (target * (target / p1).log()).sum().backward()
            adam.step()
        refined.append(z.detach().numpy())
    return np.array(refined)


def contestants(pool: int, steps: int, dimension: int, batch: int) -> Contestants:
    """Return the three ways to refine one batch of random queries, having compared them."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((20000, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries, store, gqr = vectors[:batch], Store(vectors), GQR(steps=steps)
    picked = [random.choice(20000, pool, replace=False) for _ in range(batch)]
    pools = [
        Hits([str(row) for row in own], vectors[own] @ query)
        for own, query in zip(picked, queries, strict=True)
    ]
    guide = [random.gamma(2, 4, pool).astype(np.float32) for _ in range(batch)]
    documents = [store.vectors(hits.docids) for hits in pools]

    def refined(part: slice) -> np.ndarray:
        return gqr.refine_guided(None, queries[part], pools[part], guide[part], store)

    found: Contestants = {
        "batch": lambda: refined(slice(None)),
        "one by one": lambda: [refined(slice(i, i + 1)) for i in range(batch)],
        "torch": lambda: by_torch(gqr, queries, documents, guide),
    }
    np.testing.assert_allclose(found["batch"](), found["torch"](), atol=1e-3)
    return found


def timed(batch: int, repeats: int) -> list[dict[str, Any]]:
    """Time the optimisation, print the table and return its rows."""
    rows = []
    for shape in SHAPES:
        seconds = alternate(contestants(*shape, batch), repeats)
        row: dict[str, Any] = dict(zip(("pool", "steps", "dimension"), shape, strict=True))
        row |= {
            name: round(1000 * statistics.median(own) / batch, 4) for name, own in seconds.items()
        }
        rows.append(row)
    header = ["pool, steps, dimension", f"batch of {batch}", "one by one", "torch, one by one"]
    lines = [
        [f"{row['pool']}, {row['steps']}, {row['dimension']}"]
        + [f"{row[name]:.2f}" for name in ("batch", "one by one", "torch")]
        for row in rows
    ]
    print(markdown(header, lines))
    print("Milliseconds a query: the optimisation, with the vectors looked up in memory.\n")
    return rows


def main() -> None:
    """Run the experiments."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--collections", type=Path, help="folder of collections")
    parser.add_argument("--names", nargs="+", default=NAMES, help=f"default: {' '.join(NAMES)}")
    parser.add_argument("--encoder", default="minilm", help="default: %(default)s")
    parser.add_argument("--only", choices=("time", "quality"), help="one half of it")
    parser.add_argument("--batch", type=int, default=64, help="queries at once (default: 64)")
    parser.add_argument("--repeats", type=int, default=9, help="default: %(default)s")
    parser.add_argument(
        "--work", type=Path, default=Path("build/benchmarks"), help="default: %(default)s"
    )
    parser.add_argument("--json", type=Path, help="write all numbers")
    args = parser.parse_args()
    if args.only != "time" and args.collections is None:
        raise InputError("give --collections, or --only time")
    for name in args.names if args.only != "time" else ():
        if not (args.collections / name).is_dir():
            raise InputError(f"no such collection: {args.collections / name}")
    report: dict[str, Any] = describe()
    if args.only != "quality":
        report["milliseconds"] = timed(args.batch, args.repeats)
    if args.only != "time":
        report["collections"] = {}
        for name in args.names:
            print(f"### {name}\n", flush=True)
            collection = Collection.open(args.collections / name, args.work)
            index = f"--index {quote(collection.faiss(args.encoder))}"
            dense = f"{index} --encoder {quote(args.encoder)}"
            report["collections"][name] = searched(collection, dense, ROWS, TUNED, QUESTIONS)
    if args.json:
        write_json(args.json, report)


if __name__ == "__main__":
    run_command(main)

"""GQR with late interaction: how good it is beside interpolation, and what a query costs.

    python benchmarks/gqr_tokens.py --collections DIR --json FILE --page docs/gqr.md

Collections, indexes and ``--work`` are those of ``gqr.py``; token vectors are those of the encoder.
``--only time`` measures the optimisation alone, on random token vectors, beside the same loop with
a graph of torch for each query.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from common import Collection, fill, markdown, quote
from gqr import NAMES, searched
from timing import Contestants, alternate, describe

from pyserini_ext.command import run_command
from pyserini_ext.errors import InputError
from pyserini_ext.feedback.gqr import GQR
from pyserini_ext.files import write_json
from pyserini_ext.hits import Docids, Hits
from pyserini_ext.rescore.query_tokens import QueryTokens

ROWS = {
    "maxsim": "",
    "bm25": None,
    "maxsim-interpolated": "--interpolate --alpha 0.5",
    "maxsim-gqr": "--prf gqr",
    "maxsim-gqr-search": "--prf gqr --prf-arg search=true",
}
TUNED = {
    "maxsim-gqr-tuned-scale": "--prf gqr --grid lr=1e-3,5e-3 steps=25 guide-temperature=1,3,6,12"
}
QUESTIONS = {"against maxsim": (*ROWS, *TUNED)}

SHAPES = ((20, 100, 32, 384), (20, 100, 32, 128), (20, 50, 10, 384), (20, 8, 10, 384))
"""Pool, tokens of a document (half to one and a half times as many), of a query, dimension."""

HEADER = ["pool, document, query, dimension", "GQR", "torch"]


class Store:
    """Random token vectors of random documents; a docid is a number."""

    def __init__(self, length: int, dimension: int) -> None:
        random = np.random.default_rng(0)
        self.documents = []
        for count in random.integers(length // 2, length + length // 2 + 1, 400):
            own = random.standard_normal((count, dimension)).astype(np.float32)
            self.documents.append(own / np.linalg.norm(own, axis=1, keepdims=True))

    def tokens(self, docids: Docids) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of documents and where each begins."""
        own = [self.documents[int(docid)] for docid in docids]
        return np.concatenate(own), np.cumsum([0, *map(len, own)])


def by_torch(
    gqr: GQR, queries: np.ndarray, documents: list[list[np.ndarray]], guide: list[np.ndarray]
) -> np.ndarray:
    """Refine each query by itself, with a graph and ``torch.optim.Adam``, in float32."""
    import torch

    refined = []
    for query, own, scores in zip(queries, documents, guide, strict=True):
        z = torch.tensor(query, requires_grad=True)
        filled = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(d) for d in own], True)
        empty = torch.arange(filled.shape[1])[None] >= torch.tensor([[len(d)] for d in own])

        def p1(z: Any, filled: Any = filled, empty: Any = empty) -> Any:
            products = (filled @ z.T).masked_fill(empty[:, :, None], -torch.inf)
            return torch.softmax(products.amax(dim=1).mean(dim=1), 0)

        adam = torch.optim.Adam([z], lr=gqr.lr)
        with torch.no_grad():
            p2 = torch.softmax(torch.from_numpy(scores), -1)
            target = (1 - gqr.alpha) * p1(z) + gqr.alpha * p2
        for _ in range(gqr.steps):
            adam.zero_grad()
            (target * (target / p1(z)).log()).sum().backward()
            adam.step()
        refined.append(z.detach().numpy())
    return np.array(refined)


def contestants(pool: int, length: int, of_query: int, dimension: int, batch: int) -> Contestants:
    """Return the two ways to refine one batch of random queries, having compared them."""
    random = np.random.default_rng(1)
    store, gqr = Store(length, dimension), GQR()
    vectors = random.standard_normal((batch, of_query, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    queries = QueryTokens(vectors, np.ones((batch, of_query), dtype=bool))
    picked = [random.choice(400, pool, replace=False) for _ in range(batch)]
    pools = [Hits([str(row) for row in own], np.zeros(pool)) for own in picked]
    guide = [random.gamma(2, 4, pool).astype(np.float32) for _ in range(batch)]
    documents = [[store.documents[int(docid)] for docid in hits.docids] for hits in pools]
    found: Contestants = {
        "gqr": lambda: gqr.refine_guided(None, queries, pools, guide, store).vectors,
        "torch": lambda: by_torch(gqr, vectors, documents, guide),
    }
    np.testing.assert_allclose(found["gqr"](), found["torch"](), atol=2e-2)
    return found


def timed(batch: int, repeats: int) -> list[dict[str, Any]]:
    """Time the optimisation."""
    rows = []
    for shape in SHAPES:
        seconds = alternate(contestants(*shape, batch), repeats)
        row: dict[str, Any] = dict(
            zip(("pool", "document", "query", "dimension"), shape, strict=True)
        )
        row |= {n: round(1000 * statistics.median(own) / batch, 2) for n, own in seconds.items()}
        rows.append(row)
    return rows


def times(rows: list[dict[str, Any]]) -> str:
    """Return the table of :func:`timed`."""
    names = ("pool", "document", "query", "dimension")
    lines = [
        [", ".join(str(row[n]) for n in names), *(f"{row[n]:.1f}" for n in ("gqr", "torch"))]
        for row in rows
    ]
    return markdown(HEADER, lines)


def qualities(found: dict[str, Any]) -> str:
    """Return one table of the runs of all collections."""
    header = ["run", *(f"{name}, {m}" for name in found for m in ("nDCG@10", "AP"))]
    table: dict[str, list[str]] = {}
    for numbers in found.values():
        for row in numbers["against maxsim"]["runs"]:
            cells = [row["results"][measure] for measure in ("nDCG@10", "AP")]
            marks = ["\\*" if cell.get("significant") else "" for cell in cells]
            table.setdefault(row["run"], [row["run"]]).extend(
                f"{cell['value']:.4f}{mark}" for cell, mark in zip(cells, marks, strict=True)
            )
    return markdown(header, list(table.values()))


def main() -> None:
    """Run the experiments."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--collections", type=Path, help="folder of collections")
    parser.add_argument("--names", nargs="+", default=NAMES, help=f"default: {' '.join(NAMES)}")
    parser.add_argument("--encoder", default="minilm", help="default: %(default)s")
    parser.add_argument("--only", choices=("time", "quality"), help="one half; the other stays")
    parser.add_argument("--batch", type=int, default=16, help="queries at once (default: 16)")
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    parser.add_argument(
        "--work", type=Path, default=Path("build/benchmarks"), help="default: %(default)s"
    )
    parser.add_argument("--json", type=Path, help="write all numbers")
    parser.add_argument("--page", type=Path, help="put the tables between the marks of this page")
    args = parser.parse_args()
    if args.only != "time" and args.collections is None:
        raise InputError("give --collections, or --only time")
    report: dict[str, Any] = {}
    if args.only and args.json and args.json.is_file():
        report = json.loads(args.json.read_text(encoding="utf-8"))
    report |= describe()
    tables = {}
    if args.only != "quality":
        report["milliseconds"] = timed(args.batch, args.repeats)
        tables["gqr-tokens-time"] = times(report["milliseconds"])
    if args.only != "time":
        found = report["collections"] = {}
        for name in args.names:
            collection = Collection.open(args.collections / name, args.work)
            dense = f"--index {quote(collection.tokens(args.encoder))}"
            found[name] = searched(collection, dense, ROWS, TUNED, QUESTIONS)
        tables["gqr-tokens"] = qualities(found)
    for name, table in tables.items():
        print(table)
        if args.page:
            fill(args.page, name, table)
    if args.json:
        write_json(args.json, report)


if __name__ == "__main__":
    run_command(main)

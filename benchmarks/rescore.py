"""Exact scores of given candidates: every backend beside its peers, and the memory's own speed.

    python benchmarks/rescore.py --json benchmarks/results/rescore.json \
        --plot docs/rescore.svg --page docs/vector-stores.md

Random unit vectors and random candidates, seeded; the vectors are made once and kept in
``build/benchmarks``. All contestants take turns on the same rows. What bounds them is the memory:
*read in order* is the time to read as many bytes one after the other, *read by rows* the time to
read the candidates' own rows and only add up what stands there.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from common import fill, markdown
from timing import alternate, conditions, describe

from pyserini_ext.command import run_command
from pyserini_ext.errors import InputError
from pyserini_ext.files import write_json
from pyserini_ext.index.matrix import MatrixStore
from pyserini_ext.index.matrix_writer import MatrixWriter
from pyserini_ext.index.vectors import VectorStore
from pyserini_ext.rescore.quantise import DTYPES
from pyserini_ext.rescore.rows import Candidates, StoredRows
from pyserini_ext.rescore.scoring import make_backend, unavailable

BLOCK = 16384
"""Vectors made at a time."""

PEER = "numpy: mat[ids] @ q"
DEPTH = 100

Contestants = dict[str, Callable[[], Any]]


def make_stores(folder: Path, rows: int, dimension: int) -> dict[str, StoredRows]:
    """Make the vectors in every dtype where they are not there; return them, mapped."""
    missing = [dtype for dtype in DTYPES if not (folder / dtype).exists()]
    writers = {
        dtype: MatrixWriter(folder / dtype, dimension, dtype=dtype, overwrite=True)
        for dtype in missing
    }
    numbers = np.random.default_rng(0)
    for start in range(0, rows if missing else 0, BLOCK):
        block = numbers.standard_normal((min(BLOCK, rows - start), dimension), dtype=np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        docids = [str(row) for row in range(start, start + len(block))]
        for writer in writers.values():
            writer.append(docids, block)
    for writer in writers.values():
        writer.close()
    return {dtype: MatrixStore(folder / dtype).stored for dtype in DTYPES}


def in_memory(rows: StoredRows) -> StoredRows:
    """Return a copy in memory."""
    scales = None if rows.scales is None else np.array(rows.scales)
    return StoredRows(np.array(rows.data), rows.dtype, rows.dimension, scales)


def peers(queries: np.ndarray, lists: np.ndarray, data: np.ndarray, threads: int) -> Contestants:
    """Return what is done elsewhere, on float32."""
    import faiss
    import torch

    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    mat, q = torch.from_numpy(data), torch.from_numpy(queries)
    ids = torch.from_numpy(lists.astype(np.int64))
    ids64 = np.ascontiguousarray(lists, dtype=np.int64)
    products = np.empty(lists.shape, dtype=np.float32)

    def by_idx() -> None:
        faiss.fvec_inner_products_by_idx(
            faiss.swig_ptr(products), faiss.swig_ptr(queries), faiss.swig_ptr(data),
            faiss.swig_ptr(ids64), data.shape[1], len(queries), lists.shape[1],
        )  # fmt: skip

    def bmm() -> None:
        gathered = mat.index_select(0, ids.flatten()).view(*ids.shape, -1)
        torch.bmm(gathered, q[:, :, None])

    return {
        PEER: lambda: [data[own] @ query for own, query in zip(lists, queries, strict=True)],
        "numpy: gather, einsum": lambda: np.einsum("qcd,qd->qc", data[lists], queries),
        "faiss: inner products by idx": by_idx,
        "torch: gather, bmm": bmm,
    }


def ceilings(candidates: Candidates, stores: dict[str, StoredRows], threads: int) -> Contestants:
    """Return functions that only read the bytes that each dtype's candidates have."""
    from pyserini_ext.rescore.numba_kernels import compiled

    def in_order(words: np.ndarray) -> int:
        total = np.uint64(0)
        for i in range(len(words)):
            total += words[i]
        return total

    def by_rows(words: np.ndarray, rows: np.ndarray) -> int:
        a = b = c = d = np.uint64(0)
        for i in range(0, len(rows) - 3, 4):
            wa, wb = words[rows[i]], words[rows[i + 1]]
            wc, wd = words[rows[i + 2]], words[rows[i + 3]]
            for j in range(words.shape[1]):
                a += wa[j]
                b += wb[j]
                c += wc[j]
                d += wd[j]
        return a + b + c + d

    plain, gathered = compiled()(in_order), compiled()(by_rows)

    def on_threads(function: Callable, parts: list[tuple]) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: function(*part), parts))

    found: Contestants = {}
    for dtype, rows in stores.items():
        words = rows.data.view(np.uint64)
        wanted = len(candidates.rows) * words.shape[1]
        # As many bytes in order, from another place each time so that no cache holds them.
        flat = words.reshape(-1)
        places = iter(range(1 << 60))

        def read(flat: np.ndarray = flat, wanted: int = wanted, places: Any = places) -> None:
            size = min(wanted, len(flat))
            start = next(places) * size % max(1, len(flat) - size)
            on_threads(plain, [(part,) for part in np.array_split(flat[start:][:size], threads)])

        found[f"{dtype}: read in order"] = read
        parts = np.array_split(candidates.rows, threads * 4)
        found[f"{dtype}: read by rows"] = partial(
            on_threads, gathered, [(words, part) for part in parts]
        )
    return found


def contestants(
    queries: np.ndarray, candidates: Candidates, stores: dict[str, StoredRows], threads: int
) -> Contestants:
    """Return our backends, on every dtype, with the cut at the best and the fusion on float32."""
    works = {name: reason is None for name, reason in unavailable().items()}
    found: Contestants = {}
    sparse = np.random.default_rng(3).random(len(candidates.rows), dtype=np.float32)
    for name in (name for name, good in works.items() if good):
        backend = make_backend(name, threads=None if name == "cuda" else threads)
        for dtype, rows in stores.items():
            if name != "numpy" or dtype == "float32":
                call = partial(backend.score, queries, candidates, rows, "ip")
                found[f"{dtype}: {name}"] = call
        if name != "numpy":
            best = partial(backend.best, queries, candidates, stores["float32"], "ip", DEPTH)
            found[f"float32: {name}, best {DEPTH}"] = best
            found[f"float32: {name}, interpolated, best {DEPTH}"] = partial(best, sparse, 0.5)
    return found


def check(queries: np.ndarray, lists: np.ndarray, stores: dict[str, StoredRows], own: Any) -> float:
    """Return the largest difference from float64 on the first query's candidates, in float32."""
    exact = stores["float32"].data[lists[0]].astype(np.float64) @ queries[0].astype(np.float64)
    return float(np.abs(own()[: len(exact)] - exact).max())


class Docids(VectorStore):
    """Docids without vectors."""

    def __init__(self, count: int) -> None:
        self.docids = np.array([f"doc{number}" for number in range(count)], dtype=object)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Not needed."""
        raise NotImplementedError

    def search(self, queries: np.ndarray, k: int, threads: int = 1) -> list:
        """Not needed."""
        raise NotImplementedError


def lookups(count: int, asked: int) -> Contestants:
    """Return ways from a docid, or from the number that an index gave it, to a row."""
    store = Docids(count)
    numbers = np.random.default_rng(1).integers(0, count, asked).astype(np.int32)
    # New strings, as a first stage makes them: their hashes are not known yet.
    wanted = [f"doc{number}" for number in numbers.tolist()]
    fixed = np.array([docid.encode() for docid in store.docids], dtype="S")
    order = np.argsort(fixed).astype(np.int32)
    ordered = fixed[order]
    table = store.rows(store.docids)

    def fresh() -> list[str]:
        return [docid[:1] + docid[1:] for docid in wanted]

    return {
        "strings, dictionary": lambda: store.rows(fresh()),
        "strings, sorted bytes": lambda: order[
            np.searchsorted(ordered, np.array(fresh(), dtype=ordered.dtype))
        ],
        "numbers of the index, table": lambda: table[numbers],
        "(making the strings)": fresh,
    }


def milliseconds(seconds: list[float]) -> dict[str, Any]:
    """Summarise repeats."""
    each = [round(1000 * value, 3) for value in seconds]
    return {"ms": each, "median": statistics.median(each), "least": min(each)}


def tables(report: dict[str, Any]) -> str:
    """Render everything that was measured."""
    found, floor = report["scores"], report["bytes"]
    rows = []
    for name, each in found.items():
        dtype = name.partition(":")[0] if name.partition(":")[0] in floor else "float32"
        bounds = [found[f"{dtype}: read {how}"]["median"] for how in ("in order", "by rows")]
        rows.append([
            name,
            f"{each['median']:.2f} ({each['least']:.2f} to {max(each['ms']):.2f})",
            f"{floor[dtype] / each['median'] / 1e6:.1f}",
            *(f"{each['median'] / bound:.2f}" for bound in bounds),
            f"{found[PEER]['median'] / each['median']:.1f}",
        ])  # fmt: skip
    header = ["scores", "ms", "GB/s", "/ read in order", "/ read by rows", "times as fast as NumPy"]
    text = markdown(header, rows)
    if "lookup" in report:
        rows = [
            [name, f"{each['median']:.2f} ({each['least']:.2f} to {max(each['ms']):.2f})"]
            for name, each in report["lookup"].items()
        ]
        text += "\n" + markdown(["from docids to rows", "ms"], rows)
    return text


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw how near to the speed of the memory each came."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "rescore"
    from matplotlib import pyplot

    found, floor = report["scores"], report["bytes"]
    dtype_of = {name: n if (n := name.partition(":")[0]) in floor else "float32" for name in found}
    rate = {n: floor[dtype_of[n]] / found[n]["median"] / 1e6 for n in found}
    shown = [n for n in found if "read" not in n and "best" not in n and dtype_of[n] != "binary"]
    shown.sort(key=rate.__getitem__)
    figure, axes = pyplot.subplots(figsize=(7.5, 0.36 * len(shown) + 1.2))
    ours = [": num" in n and n != PEER and "cuda" not in n for n in shown]
    axes.barh(
        [
            n if ":" not in n or n.split(":")[0] not in floor else n.replace(": ", ", ")
            for n in shown
        ],
        [rate[n] for n in shown],
        color=["#218bff" if own else "#8c959f" for own in ours],
    )
    for kind, style in (("in order", "-"), ("by rows", ":")):
        value = rate[f"float32: read {kind}"]
        axes.axvline(value, color="#cf222e", linestyle=style, label=f"memory, read {kind}")
    axes.set_xlabel("GB/s of the candidates' rows")
    axes.legend(loc="lower right", frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=500_000, help="default: %(default)s")
    parser.add_argument("--dimension", type=int, default=768, help="default: %(default)s")
    parser.add_argument("--queries", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--candidates", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=11, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument(
        "--docids", type=int, default=7_000_000, help="to look rows up among; 0: leave that out"
    )
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--json", type=Path, help="write all numbers")
    parser.add_argument("--page", type=Path, help="put the tables into this page")
    parser.add_argument("--plot", type=Path, help="draw how near to the memory's speed each came")
    args = parser.parse_args()
    if reason := unavailable()["numba"]:
        raise InputError(reason)
    mapped = make_stores(
        args.work / f"rescore-{args.rows}x{args.dimension}", args.rows, args.dimension
    )
    stores = {dtype: in_memory(rows) for dtype, rows in mapped.items()}
    numbers = np.random.default_rng(2)
    queries = numbers.standard_normal((args.queries, args.dimension), dtype=np.float32)
    lists = numbers.integers(0, args.rows, (args.queries, args.candidates)).astype(np.int32)
    candidates = Candidates(
        lists.reshape(-1), np.arange(args.queries + 1, dtype=np.int64) * args.candidates
    )
    ours = contestants(queries, candidates, stores, args.threads)
    backend = make_backend("numba", threads=args.threads)
    file = partial(backend.score, queries, candidates, mapped["float32"], "ip")
    every = (
        ceilings(candidates, stores, args.threads)
        | peers(
            queries, lists, np.asarray(stores["float32"].data[:, : args.dimension]), args.threads
        )
        | ours
        | {"float32: numba, mapped file": file}
    )
    report: dict[str, Any] = describe() | {
        name: getattr(args, name)
        for name in ("rows", "dimension", "queries", "candidates", "threads", "docids")
    }
    report["largest_difference"] = check(queries, lists, stores, ours["float32: numba"])
    report["bytes"] = {
        dtype: len(candidates.rows) * rows.data.strides[0] for dtype, rows in stores.items()
    }
    report["scores"] = {
        name: milliseconds(each) for name, each in alternate(every, args.repeats, 2).items()
    }
    del every, ours, stores, mapped, file
    if args.docids:
        ways = lookups(args.docids, len(candidates.rows))
        report["lookups"] = len(candidates.rows)
        report["lookup"] = {
            name: milliseconds(each) for name, each in alternate(ways, args.repeats).items()
        }
    report["load_average_after"] = [round(value, 1) for value in os.getloadavg()]
    print(tables(report), end="")
    if args.json:
        write_json(args.json, report)
    if args.page:
        fill(args.page, "rescore", f"{conditions(report)}\n{tables(report)}")
    if args.plot:
        plot(report, args.plot)


if __name__ == "__main__":
    run_command(main)

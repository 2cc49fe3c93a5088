"""What the benchmarks share: collections, commands, a description of the machine, timing."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyserini_ext.errors import InputError
from pyserini_ext.files import fingerprint
from pyserini_ext.provenance import versions

VARIABLE = "PYSERINI_EXT_COLLECTIONS"
"""Names the folder of collections; in what is printed and kept it stands for that folder."""


@dataclass(frozen=True)
class Collection:
    """A collection and the folder where its indexes and runs lie.

    Attributes
    ----------
    corpus, topics, qrels : Path
        ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.tsv``, ``qrels.txt``.
    work : Path
        Its name has a part of the corpus's fingerprint: another corpus gets other indexes.
    """

    corpus: Path
    topics: Path
    qrels: Path
    work: Path

    @classmethod
    def open(cls, folder: Path, work: Path) -> Collection:
        """Find the files of a collection.

        Raises
        ------
        InputError
            If one is missing.
        """
        files = [folder / name for name in ("corpus.jsonl", "queries.tsv", "qrels.txt")]
        for file in files:
            if not file.is_file():
                raise InputError(
                    f"no such file: {file}; a collection is a folder with corpus.jsonl, "
                    "queries.tsv and qrels.txt"
                )
        return cls(*files, work / f"{folder.name}-{fingerprint(files[0])['sha256'][:8]}")

    def lucene(self) -> Path:
        """Return the inverted index, made by Pyserini's own command where it is not there."""
        index = self.work / "lucene"
        if not index.exists():
            # Anserini reads every file of a folder, so the corpus needs one to itself.
            source, part = self.work / "corpus", self.work / "lucene.part"
            source.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.corpus, source / "corpus.jsonl")
            shutil.rmtree(part, ignore_errors=True)
            command(
                "python -m pyserini_ext pyserini.index.lucene --collection BeirFlatCollection "
                f"--input {quote(source)} --index {quote(part)} --threads 2 --storeRaw "
                "--generator DefaultLuceneDocumentGenerator",
            )
            part.rename(index)
        return index

    def faiss(self, encoder: str) -> Path:
        """Return the dense index, made by our own command where it is not there."""
        index = self.work / f"{Path(encoder).name}.faiss"
        if not index.exists():
            command(
                f"python -m pyserini_ext.encode --corpus {quote(self.corpus)} "
                f"--encoder {quote(encoder)} --output {quote(index)}",
            )
        return index


def command(line: str) -> None:
    """Print a command and run it in a process of its own; its output is shown if it fails."""
    show(line)
    done = subprocess.run(
        [sys.executable, *shlex.split(line)[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise InputError(f"the command above failed with status {done.returncode}")


def ours(line: str) -> None:
    """Print one of our commands (``search …``) and run it here: Java and torch start once."""
    show(f"python -m pyserini_ext.{line}")
    name, *arguments = shlex.split(line)
    main: Callable[[Sequence[str]], int | None] = importlib.import_module(
        f"pyserini_ext.{name}.__main__"
    ).main
    # search prints the names of the runs, which the reader of the tables does not need.
    with contextlib.redirect_stdout(sys.stdout if name == "evaluate" else sys.stderr):
        if status := main(arguments):
            raise InputError(f"the command above failed with status {status}")


def pyserini(line: str) -> None:
    """Print one of Pyserini's commands (``search.lucene …``) and run it here, plugins included."""
    from pyserini_ext import bridge

    show(f"python -m pyserini_ext pyserini.{line}")
    name, *arguments = shlex.split(line)
    with contextlib.redirect_stdout(sys.stderr):
        bridge.run(f"pyserini.{name}", arguments)


def show(line: str) -> None:
    """Print a command as it would be typed, to stderr: stdout has the tables."""
    print(f"$ {public(line)}", file=sys.stderr, flush=True)


def quote(path: object) -> str:
    """Return a path or name as the shell wants it."""
    return shlex.quote(str(path))


def public(text: str) -> str:
    """Return `text` with the folder of collections replaced by the name of its variable."""
    folder = os.environ.get(VARIABLE, "").rstrip("/")
    return text.replace(folder, f"${VARIABLE}") if folder else text


def alternate(
    contestants: Mapping[str, Callable[[], Any]], repeats: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Time functions in turn (A B A B …), so that a busy machine hits all of them.

    Returns
    -------
    dict of str to list of float
        Wall-clock seconds of each repeat.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(-warm_up, repeats):
        for name, function in contestants.items():
            started = time.perf_counter()
            function()
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return how many times as fast we are: the median over the repeats, the least, the most."""
    each = [b / a for a, b in zip(ours, theirs, strict=True)]
    found = {"median": statistics.median(each), "min": min(each), "max": max(each)}
    return {name: round(value, 2) for name, value in found.items()}


def markdown(header: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def describe() -> dict[str, Any]:
    """Return what a measurement depends on besides its input; no names of hosts or folders."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command_line": public(shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}"]))
        + "".join(
            f" {quote(public(a))}" if "$" not in public(a) else f' "{public(a)}"'
            for a in sys.argv[1:]
        ),
        "commit": _commit(),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "load_average": [round(value, 1) for value in os.getloadavg()],
        "versions": versions(),
    }


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parents[1]), *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "pyserini_ext", "java", "benchmarks/*.py")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"

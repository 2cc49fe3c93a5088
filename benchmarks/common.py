"""What the benchmarks share: collections and their indexes, commands, Markdown."""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyserini_ext.errors import InputError
from pyserini_ext.files import fingerprint
from pyserini_ext.index.tokens import read_token_manifest

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

    def tokens(self, encoder: str) -> Path:
        """Return the multi-vector store, with token ids, made where it is not there."""
        store = self.work / f"{Path(encoder).name}.tokens"
        if not store.exists() or read_token_manifest(store).vocabulary is None:
            command(
                f"python -m pyserini_ext.encode --corpus {quote(self.corpus)} --overwrite "
                f"--encoder {quote(encoder)} --to multivector --output {quote(store)}"
            )
        return store


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


def markdown(header: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def fill(page: Path, name: str, text: str) -> None:
    """Put `text` between the marks ``<!-- name -->`` and ``<!-- /name -->`` of a page.

    Raises
    ------
    InputError
        If the page lacks the marks.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise InputError(f"{page} has no {begin} with {end} after it")
    page.write_text(f"{before}{begin}\n{text}{end}{after}", encoding="utf-8")

"""Reading files of sparse vectors in Java: what stands in them, and writing the index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pyserini_ext import javabytes, jvm
from pyserini_ext.errors import InputError

FORMAT = 1
"""Version of the user data that an impact index carries."""
SUFFIXES = (".jsonl", ".json")
PACKINGS = ("", ".gz", ".zst")


def vector_files(corpus: str | Path) -> list[Path]:
    """Return the files of a collection of sparse vectors, in the order they are read.

    Raises
    ------
    InputError
        If there are none.
    """
    path = Path(corpus)
    names = tuple(f"{suffix}{packing}" for suffix in SUFFIXES for packing in PACKINGS)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"no such file or folder: {path}")
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name.endswith(names))
    if not files:
        raise InputError(f"{path} holds no {', '.join(names)} file")
    return files


class VectorJobs:
    """The passes over the files of a collection.

    Parameters
    ----------
    files : list of Path
    field : str
        JSON field of the vector; empty for the usual ones.
    threads : int
    progress : bool
        Show a progress bar on stderr.
    """

    def __init__(self, files: list[Path], field: str, threads: int, progress: bool) -> None:
        # Java does not follow a change of the current folder.
        self.files = javabytes.pack_strings([str(file.absolute()) for file in files])
        self.field, self.threads, self.progress = field, threads, progress

    def scan(self) -> tuple[int, list[str], np.ndarray, np.ndarray]:
        """Return the number of documents and, by token, document frequency and largest weight."""
        job = jvm.autoclass("io.pyseriniext.ImpactScan")(self.files, self.field, self.threads)
        documents = self._run(job, "counting", None)
        df = javabytes.unpack_ints(job.frequencies())
        tokens = javabytes.unpack_texts(job.tokens(), len(df))
        largest = np.frombuffer(job.largest().tostring(), dtype="<f8")
        return documents, [str(token) for token in tokens], df, largest

    def write(
        self,
        part: Path,
        options: Mapping[str, Any],
        table: Mapping[str, float],
        settings: Mapping[str, Any],
        documents: int | None,
        merge: bool,
    ) -> dict[str, Any]:
        """Write the index and return the report."""
        with jvm.java_errors(part):
            writer = jvm.autoclass("io.pyseriniext.ImpactWriter")(
                self.files,
                str(part.absolute()),
                json.dumps(options),
                javabytes.pack_strings(list(table)),
                np.array(list(table.values()), dtype="<f8").tobytes(),
                self.threads,
            )
        try:
            self._run(writer, "indexing", documents, part)
            with jvm.java_errors(part):
                report = json.loads(writer.report())
                if not report["documents"]:
                    raise InputError("the collection holds no documents")
                if (twice := writer.duplicate()) is not None:
                    self._refuse(twice)
                user_data = {"format": FORMAT, **settings, "report": report}
                writer.commit(json.dumps(user_data, ensure_ascii=False), merge)
        except BaseException:
            with suppress(Exception):
                writer.abort()
            raise
        return report

    def _refuse(self, docid: str) -> None:
        find = jvm.autoclass("io.pyseriniext.FindDocid")(self.files, self.field, docid)
        self._run(find, "searching", None)
        raise InputError(f"document id {docid!r} comes twice: {find.places()}")

    def _run(self, job: Any, name: str, total: int | None, part: Path | None = None) -> int:
        job.start()
        silent = None if self.progress else True
        with tqdm(desc=name, total=total, unit="doc", disable=silent) as bar:
            try:
                with jvm.java_errors(part):
                    while not job.finished(100):
                        bar.update(job.done() - bar.n)
            except BaseException:
                job.stop()
                raise
            done = int(job.done())
            bar.update(done - bar.n)
        return done

"""Building impact indexes by Pyserini and by us: time, processor time, memory, bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import synthetic
from common import quote, show
from timing import environment_of_pyserini

from pyserini_ext.errors import InputError

THREADS = 2
PYSERINI = (
    "pyserini.index.lucene --collection JsonVectorCollection "
    f"--generator DefaultLuceneDocumentGenerator --threads {THREADS} --impact --pretokenized"
)
DIRECT = (
    "pyserini_ext pyserini.index.lucene --collection SparseVectorCollection "
    f"--generator SparseVectorDocumentGenerator --threads {THREADS} --impact --pretokenized"
)
OURS = f"pyserini_ext.index --quiet --threads {THREADS} --overwrite"


def resources(line: str, environment: dict[str, str] | None = None) -> dict[str, float]:
    """Run ``python -m line`` and return what it took.

    Returns
    -------
    dict of str to float
        ``seconds``; ``cpu_seconds``, user and system, of all threads; ``peak_mib``, resident, with
        the pages of files that are mapped.
    """
    show(f"python -m {line}")
    started = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(
            f"exec {quote(sys.executable)} -m {line}",
            shell=True,
            env=environment or environment_of_pyserini(),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if child.returncode:
            out.seek(0)
            raise InputError(f"python -m {line}\nfailed:\n{out.read().decode()}")
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(usage.ru_maxrss / 1024),
    }


def size(index: Path) -> int:
    """Return the bytes of Lucene's own files."""
    return sum(file.stat().st_size for file in index.iterdir() if file.suffix != ".json")


def compared(work: Path, documents: int, scales: tuple[int, ...]) -> dict[str, Any]:
    """Build the same collection by Pyserini and by us, at several scales of the weights.

    The last indexes stay in the folder of the collection, as ``pyserini`` and ``ours``.
    """
    found: dict[str, Any] = {}
    for scale in scales:
        corpus = synthetic.write(work, documents, scale)
        vectors = quote(corpus / "vectors")
        lines = {
            "pyserini": f"{PYSERINI} --input {vectors}",
            "ours": f"{OURS} --corpus {vectors} --scale 1",
        }
        if scale == max(scales):
            lines["pyserini's command, our collection"] = f"{DIRECT} --input {vectors}"
            lines["ours, premultiplied"] = (
                f"{OURS} --corpus {vectors} --scale 1 --mode premultiplied --idf "
                f"{quote(corpus / 'idf.json')}"
            )
        for name, line in lines.items():
            index = corpus / name.replace(" ", "-").replace(",", "").replace("'", "")
            shutil.rmtree(index, ignore_errors=True)
            option = "--output" if name.startswith("ours") else "--index"
            took = resources(f"{line} {option} {quote(index)}")
            title = f"{name}, weights times {scale}"
            found[title] = {**took, "documents": documents, "bytes": size(index)}
    return found


def start_up(work: Path) -> dict[str, Any]:
    """Return what both commands take for one document, which is what starting takes."""
    corpus = synthetic.write(work, 1)
    vectors = quote(corpus / "vectors")
    shutil.rmtree(corpus / "pyserini", ignore_errors=True)
    return {
        "pyserini": resources(f"{PYSERINI} --input {vectors} --index {quote(corpus / 'pyserini')}"),
        "ours": resources(f"{OURS} --corpus {vectors} --output {quote(corpus / 'ours')}"),
    }


def under_a_heap(work: Path, documents: int, heap: str) -> dict[str, Any]:
    """Build a large collection with a bounded Java heap; with ours alone."""
    corpus = synthetic.write(work, documents)
    index = corpus / "ours"
    took = resources(
        f"{OURS} --corpus {quote(corpus / 'vectors')} --output {quote(index)} --scale 1",
        {**environment_of_pyserini(), "PYSERINI_EXT_JVM_OPTIONS": f"-Xmx{heap}"},
    )
    return {**took, "documents": documents, "heap": heap, "bytes": size(index)}

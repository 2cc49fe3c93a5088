"""Documents encoded per second: this package against ``pyserini.encode``, side by side in one run.

    python benchmarks/encode.py --collections "$PYSERINI_EXT_COLLECTIONS" \
        --json benchmarks/results/encode.json

Same checkpoint (all-MiniLM-L6-v2), same texts (title and text joined beforehand, the first of
each collection), same batch size, length and threads, float32. Two kinds of measurement, each
repeated in turn:

inner    the encoders alone, in one process, after the model is loaded
command  ``python -m``, from the JSONL file to the FAISS index (the first collection only)
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

# Read by the runtime of OpenMP when torch loads it, here and in the commands.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from common import quote
from timing import Contestants, describe, environment_of_pyserini, measure, processes, table

from pyserini_ext.collection import open_collection
from pyserini_ext.command import run_command
from pyserini_ext.encode.presets import MINILM
from pyserini_ext.errors import InputError
from pyserini_ext.files import write_json

BATCH, LENGTH, CHUNK = 64, 256, 2048
"""Pyserini's defaults for batches and length, and the documents our command encodes at a time."""


class Encoders:
    """Both encoders, loaded once."""

    def __init__(self, checkpoint: str, threads: int) -> None:
        import torch

        from pyserini_ext.encode.dense import BiEncoder
        from pyserini_ext.jvm import pyserini_import

        with pyserini_import():
            from pyserini.encode import AutoDocumentEncoder
        torch.set_num_threads(threads)
        self.theirs = AutoDocumentEncoder(checkpoint, device="cpu", pooling="mean", l2_norm=True)
        self.ours = BiEncoder(checkpoint, batch_size=BATCH, document_max_length=LENGTH)

    def contestants(self, texts: list[str]) -> Contestants:
        """Return the loops of the two commands over `texts`."""

        def in_steps(encode: Callable[[list[str]], np.ndarray], step: int) -> np.ndarray:
            parts = [texts[start : start + step] for start in range(0, len(texts), step)]
            return np.concatenate([encode(part) for part in parts])

        return {
            "pyserini": lambda: in_steps(
                lambda part: self.theirs.encode(part, max_length=LENGTH), BATCH
            ),
            "ours": lambda: in_steps(self.ours.encode_documents, CHUNK),
        }


def commands(texts: list[str], checkpoint: str, threads: int, folder: Path) -> dict[str, str]:
    """Write the corpus and return the command lines to compare, after ``python -m``."""
    corpus = folder / "corpus.jsonl"
    with corpus.open("w", encoding="utf-8") as out:
        for number, text in enumerate(texts):
            out.write(json.dumps({"id": str(number), "contents": text}) + "\n")
    common = f"--encoder {quote(checkpoint)} --batch-size {BATCH} --max-length {LENGTH}"
    return {
        "pyserini": f"pyserini.encode input --corpus {corpus} output --embeddings "
        f"{folder}/pyserini --to-faiss encoder {common} --encoder-class sentence-transformers "
        "--dimension 384 --device cpu",
        "ours": f"pyserini_ext.encode --corpus {corpus} --output {folder}/ours {common} "
        f"--threads {threads} --overwrite",
    }


def read(folder: Path, limit: int) -> list[str]:
    """Return the texts of the first documents of a collection."""
    if not (folder / "corpus.jsonl").is_file():
        raise InputError(f"no such file: {folder / 'corpus.jsonl'}")
    documents = islice(open_collection(folder / "corpus.jsonl"), limit)
    return [" ".join(f"{d.title} {d.text}".split()) for d in documents]


def tables(report: dict[str, Any]) -> str:
    """Render everything that was measured."""
    titles = {"inner": "the encoders alone", "command": "whole command"}
    return "\n".join(
        table(title, report[kind], "documents/s")
        for kind, title in titles.items()
        if kind in report
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--collections", type=Path, required=True, help="folder of collections")
    parser.add_argument("--names", nargs="+", default=["npl", "acm3204", "cranfield"])
    parser.add_argument("--limit", type=int, default=500, help="first documents (%(default)s)")
    parser.add_argument("--checkpoint", default=MINILM.location(), help="default: all-MiniLM-L6-v2")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--only", choices=("inner", "command"))
    parser.add_argument("--json", type=Path, help="write all numbers")
    args = parser.parse_args()
    texts = {name: read(args.collections / name, args.limit) for name in args.names}
    report: dict[str, Any] = describe() | {"threads": args.threads}
    if args.only != "command":
        encoders, report["inner"] = Encoders(args.checkpoint, args.threads), {}
        for name, some in texts.items():
            loops = encoders.contestants(some)
            found = measure(loops, args.repeats, len(some))
            difference = np.abs(loops["pyserini"]() - loops["ours"]()).max()
            found["largest_difference"] = float(difference)
            report["inner"][f"{name}, {len(some)} documents"] = found
    if args.only != "inner":
        name, some = next(iter(texts.items()))
        environment = environment_of_pyserini() | {"OMP_NUM_THREADS": str(args.threads)}
        with tempfile.TemporaryDirectory() as folder:
            lines = commands(some, args.checkpoint, args.threads, Path(folder))
            found = measure(processes(lines, environment), args.repeats, len(some), warm_up=0)
        report["command"] = {f"{name}, {len(some)} documents": found}
    print(tables(report), end="")
    report["load_average_after"] = [round(value, 1) for value in os.getloadavg()]
    if args.json:
        write_json(args.json, report)


if __name__ == "__main__":
    run_command(main)

"""Documents encoded per second: this package against ``pyserini.encode``.

Same checkpoint, same texts (title and text joined beforehand), same batch size, length and number
of threads, float32. Two measurements, each repeated in turn so that a busy machine hits both:

inner    the encoders alone, in one process, after the model is loaded
command  ``python -m``, from the JSONL file to the FAISS index

    python benchmarks/encode.py --corpus $PYSERINI_EXT_COLLECTIONS/npl --output encode.json

The ratio is taken from the best of the repeats, of wall-clock and of CPU seconds; the largest
difference between the two encoders' vectors is reported beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from itertools import islice
from pathlib import Path

import numpy as np

from pyserini_ext.collection import open_collection
from pyserini_ext.encode.presets import MINILM
from pyserini_ext.files import write_json
from pyserini_ext.jdk import find_java

BATCH, LENGTH, CHUNK = 64, 256, 2048


def cpu_seconds():
    """CPU seconds of this process and of its finished children."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def timed(function):
    """Return the result, and the wall-clock and CPU seconds it took."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    result = function()
    return result, {"wall": time.perf_counter() - wall, "cpu": cpu_seconds() - cpu}


def compare(documents, repeats, **contestants):
    """Run the contestants in turn; return docs/s of the best repeat of each, and the ratios."""
    seconds = {name: [] for name in contestants}
    results = {}
    for _ in range(repeats):
        for name, function in contestants.items():
            results[name], took = timed(function)
            seconds[name].append(took)
            print(f"  {name}: {took['wall']:.1f} s, {took['cpu']:.1f} CPU s", flush=True)
    rows = {}
    for kind in ("wall", "cpu"):
        best = {name: min(took[kind] for took in runs) for name, runs in seconds.items()}
        rows[kind] = {
            "docs_per_second": {name: round(documents / s, 1) for name, s in best.items()},
            "ratio": round(best["pyserini"] / best["ours"], 2),
        }
    return {**rows, "seconds": seconds}, results


def inner(texts, checkpoint, repeats, threads):
    """Compare the encoders in this process."""
    import torch

    from pyserini_ext.encode.dense import BiEncoder
    from pyserini_ext.jvm import pyserini_import

    with pyserini_import():
        from pyserini.encode import AutoDocumentEncoder
    torch.set_num_threads(threads)
    theirs = AutoDocumentEncoder(checkpoint, device="cpu", pooling="mean", l2_norm=True)
    ours = BiEncoder(checkpoint, batch_size=BATCH, document_max_length=LENGTH)

    def in_steps(encode, step):
        parts = [texts[start : start + step] for start in range(0, len(texts), step)]
        return np.concatenate([encode(part) for part in parts])

    for encode in (lambda part: theirs.encode(part, max_length=LENGTH), ours.encode_documents):
        encode(texts[:BATCH])
    measured, vectors = compare(
        len(texts),
        repeats,
        pyserini=lambda: in_steps(lambda part: theirs.encode(part, max_length=LENGTH), BATCH),
        ours=lambda: in_steps(ours.encode_documents, CHUNK),
    )
    difference = float(np.abs(vectors["pyserini"] - vectors["ours"]).max())
    return {**measured, "largest_difference": difference}


def whole(texts, checkpoint, repeats, threads):
    """Compare the commands."""
    home = find_java()
    path = os.pathsep.join((str(Path(home) / "bin"), os.environ["PATH"]))
    environment = dict(os.environ, JAVA_HOME=str(home), PATH=path, OMP_NUM_THREADS=str(threads))
    environment.setdefault("OPENAI_API_KEY", "placeholder")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.jsonl"
        with corpus.open("w", encoding="utf-8") as out:
            for number, text in enumerate(texts):
                out.write(json.dumps({"id": str(number), "contents": text}) + "\n")
        common = f"--encoder {shlex.quote(checkpoint)} --batch-size {BATCH} --max-length {LENGTH}"
        commands = {
            "pyserini": f"-m pyserini.encode input --corpus {corpus} output --embeddings "
            f"{folder}/pyserini --to-faiss encoder {common} --encoder-class sentence-transformers "
            "--dimension 384 --device cpu",
            "ours": f"-m pyserini_ext.encode --corpus {corpus} --output {folder}/ours {common} "
            f"--threads {threads} --overwrite",
        }

        def run(name):
            command = [sys.executable, *shlex.split(commands[name])]
            subprocess.run(command, env=environment, check=True, capture_output=True)

        measured, _ = compare(
            len(texts), repeats, **{name: lambda name=name: run(name) for name in commands}
        )
    return measured


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--limit", type=int, help="only the first documents")
    parser.add_argument("--output", required=True, help="JSON to write")
    parser.add_argument("--checkpoint", default=MINILM.location())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", choices=("inner", "command"))
    args = parser.parse_args()
    documents = islice(open_collection(args.corpus), args.limit)
    texts = [" ".join(f"{d.title} {d.text}".split()) for d in documents]
    report = {
        "command": shlex.join(["python", "benchmarks/encode.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "versions": {
            name: metadata.version(name) for name in ("pyserini", "torch", "transformers")
        },
        "collection": Path(args.corpus).name,
        "documents": len(texts),
        "threads": args.threads,
        "load_before": os.getloadavg()[0],
    }
    for name, measure in (("inner", inner), ("command", whole)):
        if args.only not in (None, name):
            continue
        print(f"{name}, {len(texts)} documents", flush=True)
        report[name] = measure(texts, args.checkpoint, args.repeats, args.threads)
        print(
            f"  wall-clock {report[name]['wall']['docs_per_second']} docs/s, "
            f"{report[name]['wall']['ratio']} times; CPU {report[name]['cpu']['ratio']} times"
        )
    write_json(args.output, report)


if __name__ == "__main__":
    main()

"""``python -m pyserini_ext.index.convert``: vectors in fewer bytes, and what that costs."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.command import run_command
from pyserini_ext.errors import InputError
from pyserini_ext.files import write_json
from pyserini_ext.rescore.quantise import DTYPES

DESCRIPTION = """\
Copy the vectors of an index into a vector store, which is searched exactly and read fast by docid.
Bytes of a vector of dimension d, of which each row takes a multiple of 32:

  float32  4d     as they are
  float16  2d     rounded; for GPUs
  int8     d + 4  255 steps a vector; the best choice on a CPU
  binary   d / 8  signs only; for a first stage, not for exact scores

OUTPUT appears when it is complete. How far scores and ranks move is measured on the way, with
documents as queries or with topics, printed, and kept in OUTPUT/conversion.json."""

BLOCK_BYTES = 64 << 20
"""Bytes of float32 vectors converted at a time."""


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    out = argparse.ArgumentParser(
        prog="python -m pyserini_ext.index.convert",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = out.add_argument
    add(
        "--input",
        required=True,
        metavar="FOLDER",
        help="FAISS folder, Lucene vector index or vector store; of a quantised FAISS index, the "
        "vectors as it reconstructs them",
    )
    add("--output", required=True, metavar="FOLDER", help="vector store to make")
    add("--dtype", required=True, choices=DTYPES, help="how to store a vector: see above")
    add("--overwrite", action="store_true", help="replace OUTPUT")
    add("--quiet", action="store_true", help="no progress bar")
    error = out.add_argument_group("the error").add_argument
    error(
        "--queries",
        type=int,
        metavar="N",
        help="documents drawn to be queries (default: 100); 0 leaves the error out",
    )
    error("--seed", type=int, help="of the draw (default: 0)")
    error("--topics", metavar="FILE", help="queries instead of documents; needs --encoder")
    error("--encoder", metavar="NAME", help="name, folder or hub name of the encoder of the index")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parser().parse_args(arguments)
    report = convert(
        args.input,
        args.output,
        args.dtype,
        queries=args.queries,
        seed=args.seed,
        topics=args.topics,
        encoder=args.encoder,
        overwrite=args.overwrite,
        progress=not args.quiet,
    )
    print(table(report), end="")


def convert(
    source: str | Path,
    output: str | Path,
    dtype: str,
    *,
    queries: int | None = None,
    seed: int | None = None,
    topics: str | Path | None = None,
    encoder: Any = None,
    overwrite: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Copy the vectors of an index into a vector store.

    Parameters
    ----------
    source : str or Path
        Anything that :func:`~pyserini_ext.index.open.open_vectors` opens.
    output : str or Path
        Folder to make.
    dtype : {"float32", "float16", "int8", "binary"}
    queries : int, optional
        Documents drawn to measure the error with; 100 by default.
    seed : int, optional
        Of the draw; 0 by default.
    topics : str or Path, optional
        Measure with these queries instead.
    encoder : str or object, optional
        Of the topics.
    overwrite, progress : bool

    Returns
    -------
    dict
        Also kept in ``conversion.json``: ``dtype``, ``documents``, ``bytes`` and ``bytes_float32``
        of the vectors, and what :meth:`ConversionError.report` says.

    Raises
    ------
    InputError
        If options contradict each other, `output` exists, or a vector cannot be stored so; the
        message names the document.
    """
    from pyserini_ext.index.matrix_writer import MatrixWriter
    from pyserini_ext.index.open import open_vectors

    _check(queries, seed, topics, encoder)
    source, output = Path(source), Path(output)
    if source.resolve() == output.resolve():
        raise InputError(f"input and output are both {source}; choose another output")
    if topics is None:
        queries, seed = 100 if queries is None else queries, seed or 0
    arguments = {
        "input": str(source),
        "dtype": dtype,
        "queries": queries,
        "seed": seed,
        "topics": None if topics is None else str(topics),
        "encoder": None if encoder is None else str(encoder),
    }
    MatrixWriter.check(output, overwrite=overwrite)
    store = open_vectors(source)
    try:
        if not len(store):
            raise InputError(f"{source} holds no vectors")
        if store.stored is not None and store.stored.dtype == "binary" != dtype:
            raise InputError(f"{source} holds signs only; convert the index it was made from")
        judge = _judge(store, queries, seed, topics, encoder)
        writer = MatrixWriter(
            output, store.dimension, dtype=dtype, metric=store.metric, overwrite=overwrite,
            request={"convert": arguments},
        )  # fmt: skip
        try:
            with writer:
                size = _copy(store, writer, judge, progress)
                report = {
                    "dtype": dtype,
                    "documents": len(store),
                    "bytes": size,
                    "bytes_float32": 4 * store.dimension * len(store),
                    **(judge.report() if judge else {}),
                }
                _describe(writer.part, arguments, report)
        except BaseException:
            shutil.rmtree(writer.part, ignore_errors=True)
            raise
    finally:
        store.close()
    return report


def _check(queries: int | None, seed: int | None, topics: Any, encoder: Any) -> None:
    if (topics is None) != (encoder is None):
        given, other = ("topics", "encoder") if encoder is None else ("encoder", "topics")
        raise InputError(f"{given} needs {other}: queries are encoded as the documents were")
    if topics is not None and (queries is not None or seed is not None):
        raise InputError("queries and seed are for drawing documents; leave them out with topics")
    if queries is not None and queries < 0:
        raise InputError(f"queries is {queries}; it must be at least 0")


def _judge(store: Any, count: int | None, seed: int | None, topics: Any, encoder: Any) -> Any:
    from pyserini_ext.index.conversion_error import ConversionError

    if topics is not None:
        from pyserini_ext import plugins
        from pyserini_ext.topics import load_topics

        texts = list(load_topics(topics).values())
        if isinstance(encoder, str | Path):
            encoder = plugins.create_or_load("encoder", str(encoder), "bi-encoder")
        return ConversionError(store.check_queries(encoder.encode(texts)), store.metric)
    if not count:
        return None
    drawn = np.random.default_rng(seed).choice(len(store), min(count, len(store)), replace=False)
    rows = np.sort(drawn)
    return ConversionError(np.array(store.take(rows), dtype=np.float32), store.metric, rows)


def _copy(store: Any, writer: Any, judge: Any, progress: bool) -> int:
    from tqdm import tqdm

    step = max(1, BLOCK_BYTES // (4 * store.dimension))
    silent = None if progress else True
    with tqdm(desc="converting", total=len(store), unit="doc", disable=silent) as bar:
        for start in range(0, len(store), step):
            rows = np.arange(start, min(start + step, len(store)))
            vectors = store.take(rows)
            writer.append(store.docids[rows].tolist(), vectors)
            if judge:
                judge.add(vectors, writer.appended)
            bar.update(len(rows))
    return sum(writer.row_bytes().values()) * len(store)


def _describe(folder: Path, arguments: dict[str, Any], report: dict[str, Any]) -> None:
    from pyserini_ext import provenance

    inputs = {name: arguments[name] for name in ("input", "topics") if arguments[name]}
    write_json(folder / "conversion.json", provenance.describe(arguments, inputs, report=report))


def table(report: dict[str, Any]) -> str:
    """Render the report for people."""
    mib = 1 << 20
    lines = [
        ("documents", f"{report['documents']}"),
        ("vectors", f"{report['bytes'] / mib:.1f} MiB, {report['bytes_float32'] / mib:.1f} MiB in "
         "float32"),
    ]  # fmt: skip
    if "queries" in report:
        if report["max_score_error"] is None:
            error = "not comparable: signs have scores of their own"
        else:
            error = (
                f"max {report['max_score_error']:.2g}, mean {report['mean_score_error']:.2g}; "
                f"scores have a standard deviation of {report['score_standard_deviation']:.2g}"
            )
        lines += [("queries", f"{report['queries']}"), ("score error", error)]
        lines += [(name, f"{report[name]:.4f}") for name in report if name.startswith("overlap")]
    return "".join(f"{name:<12} {text}\n" for name, text in lines)


if __name__ == "__main__":
    run_command(main)

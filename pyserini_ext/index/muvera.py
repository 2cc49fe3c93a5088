"""``python -m pyserini_ext.index.muvera``: one vector a document from a multi-vector store."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pyserini_ext.command import run_command
from pyserini_ext.errors import InputError
from pyserini_ext.index.faiss_writer import FaissWriter
from pyserini_ext.index.fde import Muvera
from pyserini_ext.index.matrix_writer import MatrixWriter
from pyserini_ext.index.muvera_lucene import LuceneWriter
from pyserini_ext.index.tokens import TokenStore
from pyserini_ext.index.writer import STATE, VectorWriter

BLOCK_BYTES = 64 << 20
"""Bytes of encodings made at a time, before their final projection."""

DESCRIPTION = """\
Make MUVERA's fixed-dimensional encodings of a multi-vector store: an index with one vector a
document, whose first documents for a query are candidates for exact MaxSim (the searcher
multi-vector, argument candidates). An interrupted run goes on when the same command is repeated."""


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    out = argparse.ArgumentParser(
        prog="python -m pyserini_ext.index.muvera", description=DESCRIPTION
    )
    add = out.add_argument
    add("--input", required=True, metavar="FOLDER", help="multi-vector store")
    add("--output", required=True, metavar="FOLDER", help="index to make")
    add(
        "--to",
        choices=("faiss", "store", "lucene", "lucene-flat"),
        default="faiss",
        help="a flat FAISS index, a vector store, Lucene's HNSW or its flat format, as Anserini "
        "makes them (default: %(default)s)",
    )
    add(
        "--dtype",
        choices=("float32", "float16", "int8"),
        help="with --to store: what the encodings are kept as (default: float32)",
    )
    add("--repetitions", type=int, default=20, help="default: %(default)s")
    add("--bits", type=int, default=5, help="2^BITS parts of the space (default: %(default)s)")
    add(
        "--projected",
        type=int,
        default=16,
        help="dimensions of a part; 0 for no projection (default: %(default)s)",
    )
    add(
        "--final",
        type=int,
        metavar="DIMENSIONS",
        help="project the whole encoding to so many; Lucene takes at most 4096",
    )
    add("--seed", type=int, default=42, help="default: %(default)s")
    add("--overwrite", action="store_true", help="replace OUTPUT")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parser().parse_args(arguments)
    if args.dtype is not None and args.to != "store":
        raise InputError("--dtype is about --to store; leave one out")
    store = TokenStore(args.input)
    options = {"overwrite": args.overwrite, "resume": not args.overwrite}
    sizes = (args.repetitions, args.bits, args.projected or None)
    muvera = Muvera(store.dimension, *sizes, args.seed, args.final)
    request = {"muvera": asdict(muvera), "tokens": store.manifest.sha256}
    writer: VectorWriter
    if args.to == "faiss":
        writer = FaissWriter(args.output, muvera.width, request=request, **options)
    elif args.to.startswith("lucene"):
        request["to"] = args.to
        hnsw = args.to == "lucene"
        writer = LuceneWriter(args.output, muvera.width, hnsw=hnsw, request=request, **options)
    else:
        kept = args.dtype or "float32"
        request["dtype"] = kept
        writer = MatrixWriter(args.output, muvera.width, dtype=kept, request=request, **options)
    with writer:
        write_encodings(store, muvera, writer)
    print(
        f"{len(store)} documents, {len(store.documents.rows)} tokens, {muvera.width} dimensions: "
        f"{args.output}"
    )


def write_encodings(store: TokenStore, muvera: Muvera, writer: VectorWriter) -> None:
    """Encode what a writer does not have yet, and append it.

    Parameters
    ----------
    store : TokenStore
    muvera : Muvera
    writer : VectorWriter
        Not closed here.
    """
    step = max(1, BLOCK_BYTES // (4 * muvera.inner))
    with tqdm(total=len(store), initial=writer.count, unit="doc", delay=2) as bar:
        for start in range(writer.count, len(store), step):
            rows = np.arange(start, min(start + step, len(store)))
            writer.append(store.docids[rows].tolist(), muvera.documents(*store.tokens(rows)))
            bar.update(len(rows))


def read_muvera(path: str | Path) -> tuple[Muvera, str]:
    """Read how the encodings in a folder were made.

    Returns
    -------
    Muvera
    str
        The checksum of the multi-vector store they were made from.

    Raises
    ------
    InputError
        If the folder was not made by this command.
    """
    place = Path(path) / STATE
    try:
        request = json.loads(place.read_text(encoding="utf-8"))["request"]
        return Muvera(**request["muvera"]), request["tokens"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} holds no encodings of MUVERA; make them with python -m "
            "pyserini_ext.index.muvera"
        ) from error


if __name__ == "__main__":
    run_command(main)

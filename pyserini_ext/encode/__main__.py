"""``python -m pyserini_ext.encode``: a collection to an index that Pyserini reads."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from pyserini_ext.collection import open_collection
from pyserini_ext.command import run_command
from pyserini_ext.encode import make_encoder
from pyserini_ext.encode.corpus import encode_collection, identity, scan
from pyserini_ext.encode.multivector_corpus import encode_tokens
from pyserini_ext.errors import InputError
from pyserini_ext.files import fingerprint
from pyserini_ext.index.faiss_writer import FaissWriter
from pyserini_ext.index.matrix_writer import MatrixWriter
from pyserini_ext.index.tokens_writer import TokenWriter
from pyserini_ext.index.writer import VectorWriter, part_of
from pyserini_ext.plugins import read_options

WRITERS: dict[str, type[VectorWriter]] = {
    "faiss": FaissWriter,
    "store": MatrixWriter,
    "multivector": TokenWriter,
}
CHUNK = {"cpu": 2048}
CHUNK_ELSEWHERE = 16_384
"""Documents encoded and written at a time; more where a second is worth more of them."""

DESCRIPTION = """\
Encode a collection into a FAISS index that Pyserini reads (pyserini.search.faiss --index), into a
vector store of this package, or into a multi-vector store, which has a vector for each token. The
collection is streamed. An interrupted run goes on where it stopped when the same command is given
again; OUTPUT appears when it is complete, until then OUTPUT.part holds the work."""


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    out = argparse.ArgumentParser(prog="python -m pyserini_ext.encode", description=DESCRIPTION)
    corpus = out.add_argument_group("input")
    corpus.add_argument(
        "--corpus",
        required=True,
        help="JSONL or TSV file (.gz too), BEIR folder, or folder of such files",
    )
    corpus.add_argument(
        "--fields",
        nargs="+",
        help="JSON fields, parts of contents or TSV columns to encode, in order; the one called "
        "title stands before the others (default: title and text, or contents)",
    )
    corpus.add_argument("--docid-field", help="JSON field of the docid (default: id, _id, docid)")
    corpus.add_argument("--delimiter", default="\n", help="between the parts of contents")
    corpus.add_argument("--shard-id", type=int, default=0, help="part to encode, from 0")
    corpus.add_argument("--shard-num", type=int, default=1, help="number of equal parts")
    output = out.add_argument_group("output")
    output.add_argument("--output", "--embeddings", required=True, help="folder to make")
    output.add_argument(
        "--to", choices=sorted(WRITERS), default="faiss", help="kind of index (default: faiss)"
    )
    output.add_argument("--to-faiss", action="store_const", const="faiss", dest="to")
    output.add_argument(
        "--clusters",
        type=int,
        metavar="N",
        help="with --to multivector: keep N vectors a document, centroids of its tokens",
    )
    output.add_argument(
        "--overwrite", action="store_true", help="replace OUTPUT and start unfinished work again"
    )
    encoder = out.add_argument_group("encoder")
    encoder.add_argument(
        "--encoder",
        required=True,
        help="registered name (python -m pyserini_ext plugins), checkpoint folder, or hub name",
    )
    encoder.add_argument("--checkpoint", help="another checkpoint for a registered encoder")
    encoder.add_argument("--batch-size", type=int, help="texts in a forward pass, at most")
    encoder.add_argument("--max-length", type=int, help="tokens of a document")
    encoder.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: cpu)")
    encoder.add_argument("--dtype", choices=("float32", "bfloat16", "float16"))
    encoder.add_argument("--fp16", action="store_const", const="float16", dest="dtype")
    encoder.add_argument("--pooling", choices=("cls", "mean", "last"))
    encoder.add_argument(
        "--l2-norm", action="store_true", default=None, help="scale vectors to length 1"
    )
    encoder.add_argument("--prefix", help="put before each document, a space between")
    encoder.add_argument(
        "--encoder-arg", action="append", metavar="NAME=VALUE", help="any option of the encoder"
    )
    encoder.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    return out


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(arguments)
    collection = open_collection(
        args.corpus,
        args.fields,
        docid_field=args.docid_field,
        delimiter=args.delimiter.replace("\\n", "\n").replace("\\t", "\t"),
    ).shard(args.shard_id, args.shard_num)
    if args.threads is not None and args.threads < 1:
        raise InputError(f"--threads is {args.threads}; it must be at least 1")
    _check_clusters(args)
    threads = args.threads or os.cpu_count() or 1
    options = _options(args)
    chunk = CHUNK.get(args.device or "cpu", CHUNK_ELSEWHERE)
    request = {
        "encoder": args.encoder,
        "options": options,
        "checkpoint": _checkpoint(options.get("checkpoint", args.encoder)),
        "corpus": identity(collection),
        "chunk": chunk,
        "threads": threads,
        "versions": {name: metadata.version(name) for name in ("torch", "transformers")},
    }
    output, writer_class, overwrite = Path(args.output), WRITERS[args.to], args.overwrite
    if args.clusters is not None:
        request["clusters"] = args.clusters
    writer_class.check(output, resume=not overwrite, overwrite=overwrite, request=request)
    if overwrite and part_of(output).exists():
        shutil.rmtree(part_of(output))
    total = scan(collection)

    import torch

    torch.set_num_threads(threads)
    if args.to == "multivector":
        from pyserini_ext.encode.multivector_names import make_multivector_encoder

        encoder = make_multivector_encoder(args.encoder, **options)
    else:
        encoder = make_encoder(args.encoder, **options)
    writer = writer_class(
        output, _dimension(encoder), resume=not overwrite, overwrite=overwrite, request=request
    )
    if writer.count:
        print(f"going on behind {writer.count} of {total} documents", file=sys.stderr)
    try:
        with writer:
            if isinstance(writer, TokenWriter):
                size = {"total": total, "chunk": chunk, "clusters": args.clusters}
                encode_tokens(collection, encoder, writer, **size)
            else:
                encode_collection(collection, encoder, writer, total=total, chunk=chunk)
    except KeyboardInterrupt:
        print(
            f"interrupted: {writer.count} of {total} documents are in {part_of(output)}; the same "
            "command goes on there",
            file=sys.stderr,
        )
        return 130
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the encoder's options that were given; Pyserini puts a space behind the prefix."""
    prefix = args.prefix
    if prefix and not prefix[-1].isspace():
        prefix += " "
    options = {
        "checkpoint": args.checkpoint,
        "batch_size": args.batch_size,
        "document_max_length": args.max_length,
        "device": args.device,
        "dtype": args.dtype,
        "pooling": args.pooling,
        "normalise": args.l2_norm,
        "document_prefix": prefix,
    }
    options = {name: value for name, value in options.items() if value is not None}
    for name, value in read_options(args.encoder_arg or ()).items():
        if name in options:
            raise InputError(f"--encoder-arg {name}={value}: {name} is given twice")
        options[name] = value
    return options


def _check_clusters(args: argparse.Namespace) -> None:
    """Refuse options for one vector a text with several, and the other way round."""
    if args.to != "multivector":
        if args.clusters is not None:
            raise InputError("--clusters is about --to multivector; leave one out")
        return
    if args.clusters is not None and args.clusters < 1:
        raise InputError(f"--clusters is {args.clusters}; it must be at least 1")
    for flag, value in (("--pooling", args.pooling), ("--prefix", args.prefix)):
        if value is not None:
            raise InputError(
                f"{flag} does not apply to --to multivector, which keeps every token; leave it out"
            )


def _checkpoint(name: str) -> str | None:
    """Identify a local checkpoint: a fine-tuned one may change under the same name."""
    return fingerprint(name)["sha256"] if Path(name).is_dir() else None


def _dimension(encoder: Any) -> int:
    known = getattr(encoder, "dimension", None)
    return int(known) if known is not None else int(encoder.encode(["a"]).shape[1])


if __name__ == "__main__":
    run_command(main)

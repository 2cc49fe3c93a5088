"""``python -m pyserini_ext.encode.sparse``: a collection to a file of sparse vectors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pyserini_ext.collection import Collection, open_collection
from pyserini_ext.command import run_command
from pyserini_ext.encode.sparse_encoder import make_sparse_encoder
from pyserini_ext.encode.texts import joined
from pyserini_ext.encode.vector_file import VectorFileWriter
from pyserini_ext.errors import InputError
from pyserini_ext.files import fingerprint, write_json
from pyserini_ext.index.idf import compute_idf
from pyserini_ext.plugins import names, read_options

CHUNK = 2048
"""Documents encoded, sorted by length and written at a time."""

OF_DOCUMENTS = ("device", "dtype", "batch_size", "trust_remote_code")
"""Options that do not matter for queries; an index should not ask for a GPU, or to run code."""

DESCRIPTION = """\
Encode a collection into sparse vectors: JSON lines {"id", "contents", "vector": {token: weight}},
which python -m pyserini_ext.index and Pyserini's JsonVectorCollection read. The collection is
streamed. An interrupted run goes on where it stopped when the same command is given again; OUTPUT
appears when it is complete."""


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    out = argparse.ArgumentParser(
        prog="python -m pyserini_ext.encode.sparse", description=DESCRIPTION, allow_abbrev=False
    )
    corpus = out.add_argument_group("input").add_argument
    corpus(
        "--corpus",
        required=True,
        help="JSONL or TSV file (.gz too), BEIR folder, or folder of such files",
    )
    corpus("--fields", nargs="+", help="fields to encode (default: title and text, or contents)")
    corpus("--docid-field", help="JSON field of the docid (default: id, _id, docid)")
    corpus("--shard-id", type=int, default=0, help="part to encode, from 0")
    corpus("--shard-num", type=int, default=1, help="number of equal parts")
    output = out.add_argument_group("output").add_argument
    output("--output", required=True, metavar="FILE", help="to make: .jsonl or .jsonl.gz")
    output("--idf", metavar="FILE", help="write the idf of the encoded documents here, as JSON")
    output("--no-contents", action="store_true", help="leave the text out")
    output(
        "--overwrite", action="store_true", help="replace OUTPUT and start unfinished work again"
    )
    encoder = out.add_argument_group("encoder").add_argument
    encoder(
        "--encoder",
        required=True,
        help="registered name (python -m pyserini_ext plugins --kind sparse-encoder), checkpoint "
        "folder, or hub name",
    )
    encoder("--checkpoint", help="another checkpoint for a registered encoder")
    encoder("--batch-size", type=int, help="texts in a forward pass, at most")
    encoder("--max-length", type=int, help="tokens of a document")
    encoder("--device", help="cpu, cuda, cuda:1, mps (default: cpu)")
    encoder("--dtype", choices=("float32", "bfloat16", "float16"))
    encoder("--activation", choices=("log1p", "log1p-log1p"), help="of the logits (v3: twice)")
    encoder("--top-n", type=int, help="weights of a document to keep, the largest")
    encoder("--prune-ratio", type=float, help="drop weights up to this share of the largest")
    encoder(
        "--encoder-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other option of the encoder, such as k1=1.2 of bm25-impact",
    )
    encoder("--threads", type=int, help="CPU threads (default: all cores)")
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(arguments)
    VectorFileWriter.check(args.output, args.overwrite)
    if args.threads is not None and args.threads < 1:
        raise InputError(f"--threads is {args.threads}; it must be at least 1")
    options = _options(args)
    collection = open_collection(args.corpus, args.fields, docid_field=args.docid_field).shard(
        args.shard_id, args.shard_num
    )
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    encoder = make_sparse_encoder(args.encoder, **options)
    if not hasattr(encoder, "prepare"):
        encoder.encode_documents([])  # loads the model: mistakes show before the work begins
    # Only now is it known that the command is worth the imports below.
    from pyserini_ext.encode.corpus import identity, scan
    from pyserini_ext.provenance import versions

    total = scan(collection)
    name = str(options.get("checkpoint", args.encoder))
    request = {
        "encoder": args.encoder,
        "options": options,
        "checkpoint": fingerprint(name)["sha256"] if Path(name).is_dir() else None,
        "corpus": identity(collection),
        "contents": not args.no_contents,
        "versions": versions(),
    }
    writer = VectorFileWriter(args.output, request, overwrite=args.overwrite)
    if writer.count:
        print(f"going on behind {writer.count} of {total} documents", file=sys.stderr)
    try:
        encode_to(writer, collection, encoder, total)
        if args.idf:
            df = writer.frequencies()
            values = compute_idf(list(df.values()), writer.count).tolist()
            write_json(args.idf, dict(sorted(zip(df, values, strict=True))))
        about = {
            "tokenizer": getattr(encoder, "tokenizer_name", None),
            "encoder": repr(encoder),
            "queries": _queries(args.encoder, options, encoder),
        }
        writer.finish(about)
    except KeyboardInterrupt:
        print(
            f"interrupted: {writer.count} of {total} documents are in {writer.part}; the same "
            "command goes on there",
            file=sys.stderr,
        )
        return 130
    finally:
        writer.close()
    print(f"{writer.count} documents in {args.output}; tokenizer {about['tokenizer']}")
    return 0


def encode_to(
    writer: VectorFileWriter, collection: Collection, encoder: Any, total: int | None = None
) -> None:
    """Encode what a writer does not have yet, and append it.

    Parameters
    ----------
    writer : VectorFileWriter
        Not closed here.
    collection : Collection
    encoder : SparseEncoding
    total : int, optional
        Documents of the collection, for the progress bar.
    """
    from pyserini_ext.encode.corpus import chunks

    if hasattr(encoder, "prepare"):
        with tqdm(desc="counting", total=total, unit="doc", delay=5, leave=False) as bar:
            encoder.prepare(_seen(collection, bar))
    contents = writer.request["contents"]
    with tqdm(total=total, initial=writer.count, unit="doc", smoothing=0.1) as bar:
        for documents in chunks(collection.skip(writer.count), CHUNK):
            vectors = encoder.encode_documents(
                [document.text for document in documents],
                [document.title for document in documents],
            )
            writer.append(
                [document.docid for document in documents],
                [document.contents for document in documents] if contents else None,
                vectors,
            )
            bar.update(len(documents))


def _queries(name: str, options: dict[str, Any], encoder: Any) -> dict[str, Any]:
    """Say for an index of the vectors which encoder its queries need, and which table that has."""
    kept = {key: value for key, value in options.items() if key not in OF_DOCUMENTS}
    for key in ("checkpoint", "weights"):
        if isinstance(kept.get(key), str):
            kept[key] = _absolute(kept[key])
    if name not in names("sparse-encoder"):
        name = _absolute(name)
    try:
        table = getattr(encoder, "weights", None)
    except InputError:
        table = None  # A model may be without, and be searched with the idf of the collection.
    idf = "collection" if table is None and hasattr(encoder, "prepare") else table
    return {"encoder": {"name": name, "options": kept}, "idf": idf}


def _absolute(name: str) -> str:
    # The index may be made, and searched, in another folder.
    return str(Path(name).resolve()) if Path(name).exists() else name


def _seen(collection: Collection, bar: Any) -> Any:
    for document in collection:
        bar.update()
        yield from joined([document.text], [document.title])


def _options(args: argparse.Namespace) -> dict[str, Any]:
    named = {
        "checkpoint": args.checkpoint,
        "batch_size": args.batch_size,
        "document_max_length": args.max_length,
        "device": args.device,
        "dtype": args.dtype,
        "activation": args.activation,
        "top_n": args.top_n,
        "prune_ratio": args.prune_ratio,
    }
    given = {name: value for name, value in named.items() if value is not None}
    free = read_options(args.encoder_arg)
    if twice := sorted(given.keys() & free.keys()):
        raise InputError(f"the encoder's {twice[0]} is given twice")
    return {**given, **free}


if __name__ == "__main__":
    run_command(main)

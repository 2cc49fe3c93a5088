"""``python -m pyserini_ext.index``: sparse vectors to an impact index."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from pyserini_ext.command import run_command
from pyserini_ext.index.impact import MODES, Pruning, build_impact_index

DESCRIPTION = """\
Index sparse vectors (JSON lines: id, {token: weight}) so that LuceneImpactSearcher of Pyserini and
ImpactSearcher of this package search them. Postings are written directly, so the cost does not
grow with the weights. OUTPUT appears when it is complete; a report of what was dropped is printed
and kept in OUTPUT/build.json. What python -m pyserini_ext.encode.sparse left in CORPUS.about
(tokenizer, encoder, idf) is taken over."""


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    out = argparse.ArgumentParser(
        prog="python -m pyserini_ext.index", description=DESCRIPTION, allow_abbrev=False
    )
    add = out.add_argument
    add("--corpus", required=True, help="JSONL file (.gz, .zst too) or a folder of such files")
    add("--output", required=True, metavar="FOLDER", help="index to make")
    add("--overwrite", action="store_true", help="replace OUTPUT")
    add(
        "--vector-field",
        help="JSON field of the vector (default: vector, sparse_embedding, weights)",
    )
    add(
        "--tokenizer",
        metavar="NAME",
        help="name of the tokenizer, checked when searching (default: what CORPUS.about says)",
    )
    add("--threads", type=int, help="default: all cores")
    add("--store-raw", "--storeRaw", action="store_true", help="store the text")
    add(
        "--store-docvectors",
        "--storeDocvectors",
        action="store_true",
        help="store impacts by document too",
    )
    add("--optimize", action="store_true", help="merge into one segment")
    add("--quiet", action="store_true", help="no progress bar")
    weights = out.add_argument_group("weights").add_argument
    weights(
        "--mode",
        choices=MODES,
        default="query",
        help="query: idf comes with the query (default); premultiplied: impacts are idf * weight",
    )
    weights("--scale", type=float, help="impact of the value 1 (default: 100)")
    weights(
        "--bits",
        type=int,
        help="impacts below 2**BITS: without --scale the largest value gets the largest impact, "
        "with it larger ones are clipped",
    )
    weights(
        "--idf",
        metavar="FILE",
        help="idf.json of a model, or: collection, none (default: what CORPUS.about says)",
    )
    weights("--missing-idf", type=float, default=0.0, help="of unknown tokens (default: 0)")
    prune = out.add_argument_group("pruning, by idf * weight").add_argument
    prune("--prune-threshold", type=float, default=0.0, help="drop postings below this")
    prune("--prune-mass", type=float, default=1.0, help="part of a document's sum to keep")
    prune("--prune-keep", type=float, default=1.0, help="part of a document's postings to keep")
    prune("--prune-cap", type=int, help="postings of a document to keep at most")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parser().parse_args(arguments)
    report = build_impact_index(
        args.corpus,
        args.output,
        mode=args.mode,
        scale=args.scale,
        bits=args.bits,
        idf=args.idf,
        missing_idf=args.missing_idf,
        tokenizer=args.tokenizer,
        pruning=Pruning(args.prune_threshold, args.prune_mass, args.prune_keep, args.prune_cap),
        vector_field=args.vector_field,
        store_raw=args.store_raw,
        store_docvectors=args.store_docvectors,
        merge=args.optimize,
        threads=args.threads,
        overwrite=args.overwrite,
        progress=not args.quiet,
    )
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    run_command(main)

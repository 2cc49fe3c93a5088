"""``python -m pyserini_ext.train``: encoders trained from teachers or from judgements."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

from pyserini_ext.command import run_command

SUBCOMMANDS = {
    "candidates": ("pyserini_ext.train.candidates", "search for training queries, keep the scores"),
    "ance-prf": ("pyserini_ext.train.ance_prf", "train a query encoder that reads feedback"),
    "sparse": ("pyserini_ext.train.sparse", "train the document side of an inference-free model"),
}
"""Name to module and description. A module has ``add_options(parser)`` and ``main(args)``; it is
imported when its name is typed, and imports torch no earlier than in ``main``."""

EXAMPLE = """\
example:
  python -m pyserini_ext.train candidates --corpus corpus.jsonl --pseudo-queries 4000 \\
      --teacher bm25 index=indexes/lucene --teacher dense index=indexes/faiss encoder=minilm \\
      --output candidates.jsonl
  python -m pyserini_ext.train sparse --corpus corpus.jsonl --candidates candidates.jsonl \\
      --checkpoint distilbert-base-uncased --output models/sparse
  python -m pyserini_ext.encode.sparse --corpus corpus.jsonl --encoder models/sparse \\
      --output vectors/sparse.jsonl"""


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Run the subcommand that is named first."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_ext.train",
        description="Train encoders; python -m pyserini_ext.train NAME --help says more.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="NAME", required=True)
    for name, (module, text) in SUBCOMMANDS.items():
        found = import_module(module)
        sub = commands.add_parser(
            name,
            help=text,
            description=found.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        found.add_options(sub)
        sub.set_defaults(main=found.main)
    args = parser.parse_args(arguments)
    return args.main(args)


if __name__ == "__main__":
    run_command(main)

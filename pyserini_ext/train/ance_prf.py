"""``train ance-prf``: a query encoder that reads feedback documents, for given document vectors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pyserini_ext.errors import InputError
from pyserini_ext.train.prf_options import PAPER_WARMUP, inputs
from pyserini_ext.train.resumable import run_training

DESCRIPTION = """\
Train a query encoder to read a query together with its first k documents (ANCE-PRF). Document
vectors stay as they are: CHECKPOINT must be the encoder that made INDEX, and is where training
begins. OUTPUT is a checkpoint that needs no further option:

  python -m pyserini_ext.search --prf ance-prf --prf-encoder OUTPUT ...

Feedback documents and hard negatives come from a first-stage run, relevant documents from the
qrels, and no document that is known to be relevant is a negative. Defaults marked "paper" are those
of Yu et al. 2021 for the 500,000 training queries of MS MARCO. With some hundred queries they
change next to nothing: see the example. An interrupted run goes on where it stopped when the same
command is given again; its result is the same.

example:
  python -m pyserini_ext.train ance-prf --topics queries.tsv --qrels qrels.txt \\
      --index indexes/faiss --texts corpus.jsonl --checkpoint models/minilm --family bi-encoder \\
      --learning-rate 2e-5 --batch 8 --anchor 20 --dev-fraction 0.2 --output models/minilm-prf"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the subcommand."""
    switch = argparse.BooleanOptionalAction
    add = parser.add_argument_group("input and output").add_argument
    add("--topics", required=True, help="queries: a file, BEIR folder, or name that Pyserini knows")
    add("--qrels", required=True, help="their relevant documents: grade 1 or more")
    add("--index", required=True, help="document vectors: FAISS, Lucene or a store of ours")
    add(
        "--texts", required=True, help="of feedback documents: Lucene index with raw, or collection"
    )
    add("--checkpoint", required=True, help="folder or hub name")
    add("--output", required=True, metavar="FOLDER", help="to make")
    add("--overwrite", action="store_true", help="replace OUTPUT, start unfinished work again")
    add("--run", metavar="FILE", help="first-stage run (default: --encoder searches --index)")
    add("--encoder", help="of the first stage: name, folder (default: --checkpoint)")
    add = parser.add_argument_group("what is read: recorded in OUTPUT").add_argument
    add("--k", type=int, help="feedback documents (default: as CHECKPOINT records, else 3)")
    add(
        "--family", help="ance, tas-b, tct-colbert-v2, bi-encoder (default: as recorded, else ance)"
    )
    add("--template", help="with {query} and {documents}; these six default to the family's")
    add("--document", help="each document, with {text}")
    add("--separator", help="between documents")
    add("--max-length", type=int, help="tokens; fewer are faster (default: 512)")
    add("--lowercase", action=switch, help="lower-case query and documents")
    add("--fill", action=switch, help="[MASK] behind the text")
    add("--pooling", choices=("cls", "mean", "last"), help="default: as CHECKPOINT says")
    add("--normalise", action=switch, help="unit length (default: as CHECKPOINT says)")
    add(
        "--missing-text",
        default="error",
        choices=("error", "skip", "empty"),
        help="of a feedback document without text (default: %(default)s)",
    )
    add = parser.add_argument_group("loss").add_argument
    add(
        "--passages",
        type=int,
        default=21,
        help="of a query: a relevant one, the others hard negatives (default: %(default)s, paper)",
    )
    add(
        "--depth",
        type=int,
        default=1000,
        help="negatives are drawn from the first so many of the run (default: %(default)s, paper)",
    )
    add("--in-batch", action="store_true", help="passages of the other queries are negatives too")
    add(
        "--temperature",
        type=float,
        help="scores are divided by it (default: 1, paper; 0.05 where vectors have unit length, "
        "whose scores lie too close together for 1)",
    )
    add(
        "--anchor",
        type=float,
        default=0.0,
        metavar="W",
        help="add W * (1 - cosine to the query's Rocchio vector), which holds on to what feedback "
        "does without training; try 20 with some hundred queries (default: 0, paper)",
    )
    add = parser.add_argument_group("batches and steps").add_argument
    add("--epochs", type=int, default=10, help="rounds over the queries (default: 10, paper)")
    add("--batch", type=int, default=32, help="queries at once (default: 32, paper)")
    add("--accumulate", type=int, default=1, help="batches of a step (default: %(default)s)")
    add("--learning-rate", type=float, default=1e-6, help="default: 1e-6, paper")
    add(
        "--warmup",
        type=int,
        help=f"steps (default: {PAPER_WARMUP}, paper, but at most a tenth of all steps)",
    )
    add("--seed", type=int, default=0, help="default: %(default)s")
    add("--save-every", type=int, default=100, help="steps between states (default: %(default)s)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1 (default: cpu)")
    add(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="of the forward pass; weights stay float32 (default: bfloat16 on cuda, else float32; "
        "a CPU with avx512_bf16 is faster in bfloat16)",
    )
    add("--threads", type=int, help="CPU threads (default: all cores)")
    add = parser.add_argument_group(
        "choice of the epoch, by nDCG@10 of held-out queries"
    ).add_argument
    add("--dev-fraction", type=float, help="hold so much of the queries out (default: none)")
    add("--dev-topics", help="or: queries that are not trained on")
    add("--dev-qrels", help="their judgements; --run must have these queries too")


def main(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    check(args)
    args.dtype = args.dtype or ("bfloat16" if args.device.startswith("cuda") else "float32")
    from pyserini_ext.train.prf_data import read_queries

    queries = read_queries(args)

    def work(request: dict[str, Any], part: Path, device: Any) -> None:
        from pyserini_ext.train.prf_task import train

        train(args, request, queries, part, device)

    if status := run_training(args, inputs(args), work):
        return status
    print(
        f"{args.output}: python -m pyserini_ext.search --prf ance-prf --prf-encoder {args.output}"
    )
    return 0


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is loaded.

    Raises
    ------
    InputError
    """
    output = Path(args.output)
    if output.exists() and not args.overwrite:
        raise InputError(f"{output} exists already; choose another name or pass --overwrite")
    for name in ("qrels", "run", "dev_qrels"):
        path = getattr(args, name)
        if path and not Path(path).is_file():
            raise InputError(f"no such file: {path} ({_flag(name)})")
    least: dict[str, Any] = {"k": 1, "max_length": 1, "passages": 2, "depth": 1, "epochs": 1}
    least |= {"batch": 1, "accumulate": 1, "save_every": 1, "threads": 1, "warmup": 0, "seed": 0}
    for name, value in least.items():
        given = getattr(args, name)
        if given is not None and given < value:
            raise InputError(f"{_flag(name)} is {given}; it must be at least {value}")
    for name in ("learning_rate", "temperature"):
        given = getattr(args, name)
        if given is not None and not 0 < given < float("inf"):
            raise InputError(f"{_flag(name)} is {given}; it must be more than 0")
    if args.dev_fraction is not None and not 0 < args.dev_fraction < 1:
        raise InputError(f"--dev-fraction is {args.dev_fraction}; it must lie between 0 and 1")
    if (args.dev_topics is None) != (args.dev_qrels is None):
        raise InputError("--dev-topics and --dev-qrels belong together; give both or neither")
    if args.dev_topics and args.dev_fraction:
        raise InputError("--dev-fraction takes dev queries from --topics; leave --dev-topics out")
    if not 0 <= args.anchor < float("inf"):
        raise InputError(f"--anchor is {args.anchor}; it must be 0 or more")
    if args.run and args.encoder and not args.anchor:
        raise InputError("--encoder makes the first-stage run, and --run is one; leave one out")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"

"""``train sparse``: the document side of an inference-free sparse encoder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pyserini_ext.errors import InputError
from pyserini_ext.train.resumable import run_training

LOSSES = ("distillation", "contrastive")

DESCRIPTION = """\
Train a model to give documents weights of vocabulary tokens, so that sum(idf * weight) over the
distinct tokens of a query ranks as the teachers do. CHECKPOINT is any masked language model, or
an encoder without head, such as all-MiniLM-L6-v2, which is given one tied to its embeddings.
OUTPUT is a checkpoint folder with an idf.json, for python -m pyserini_ext.encode.sparse and
pyserini_ext.search. An interrupted run goes on where it stopped when the same command is given
again; its result is the same.

example:
  python -m pyserini_ext.train sparse --corpus corpus.jsonl --candidates candidates.jsonl \\
      --checkpoint distilbert-base-uncased --steps 2000 --output models/sparse"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the subcommand."""
    add = parser.add_argument_group("input and output").add_argument
    add("--corpus", required=True, help="collection: JSONL, TSV, BEIR folder")
    add("--candidates", required=True, metavar="FILE", help="of the subcommand candidates")
    add("--checkpoint", required=True, help="folder or hub name")
    add("--output", required=True, metavar="FOLDER", help="to make")
    add("--overwrite", action="store_true", help="replace OUTPUT, start unfinished work again")
    add("--idf", metavar="FILE", help="query weights (default: the idf of the corpus)")
    add = parser.add_argument_group("model").add_argument
    add(
        "--activation",
        default="log1p",
        choices=("log1p", "log1p-log1p"),
        help="of the logits; v3 has it twice",
    )
    add("--max-length", type=int, default=256, help="tokens of a document (default: %(default)s)")
    add(
        "--states",
        metavar="FILE",
        help="train the head only, on hidden states of the corpus that are kept here, 2 bytes a "
        "number; the file is made once, and each step is several times faster",
    )
    add = parser.add_argument_group("loss").add_argument
    add("--loss", choices=LOSSES, default=LOSSES[0], help="default: %(default)s")
    add(
        "--teacher-scale", type=float, help="of distillation; the mixed scores' range (default: 30)"
    )
    add("--flops", type=float, default=0.01, help="lambda of FLOPS (default: %(default)s)")
    add("--flops-ramp", type=int, help="steps over which it grows (default: a third of --steps)")
    add(
        "--l0",
        type=int,
        default=150,
        help="documents of up to this many weights are spared by FLOPS (default: %(default)s)",
    )
    add = parser.add_argument_group("batches and steps").add_argument
    add("--steps", type=int, default=1000, help="default: %(default)s")
    add("--queries", type=int, default=8, help="queries of a batch (default: %(default)s)")
    add("--documents", type=int, default=8, help="documents of a query (default: %(default)s)")
    add("--accumulate", type=int, default=1, help="batches of a step (default: %(default)s)")
    add(
        "--topic-share",
        type=float,
        default=0.25,
        help="share of a batch that comes from the topics where there are pseudo-queries too",
    )
    add("--learning-rate", type=float, help="of the body (default: 5e-5)")
    add("--head-learning-rate", type=float, help="default: as the body; ten times that if new")
    add("--warmup", type=int, help="steps (default: a tenth of --steps)")
    add("--seed", type=int, default=0, help="default: %(default)s")
    add("--save-every", type=int, default=100, help="steps between states (default: %(default)s)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1 (default: cpu)")
    add(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="of the forward pass (default: bfloat16 on cuda, else float32; a CPU with "
        "avx512_bf16 is several times faster in bfloat16)",
    )
    add("--threads", type=int, help="CPU threads (default: all cores)")


def main(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    check(args)
    defaults(args)
    roles = ("corpus", "candidates", "checkpoint", "idf")
    given = {role: getattr(args, role) for role in roles}
    files = {role: path for role, path in given.items() if path and Path(path).exists()}

    def work(request: dict[str, Any], part: Path, device: Any) -> None:
        from pyserini_ext.train.sparse_task import train

        train(args, request, part, device)

    if status := run_training(args, files, work):
        return status
    print(f"{args.output}: python -m pyserini_ext.encode.sparse --encoder {args.output}")
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
    if not Path(args.candidates).is_file():
        raise InputError(
            f"no such file: {args.candidates}; python -m pyserini_ext.train candidates makes it"
        )
    if args.idf and not Path(args.idf).is_file():
        raise InputError(f"no such file: {args.idf}")
    least = {"steps": 0, "queries": 1, "documents": 2, "accumulate": 1, "save_every": 1, "l0": 0}
    least |= {"max_length": 3, "threads": 1, "warmup": 0, "flops_ramp": 0, "seed": 0}
    for name, value in least.items():
        given = getattr(args, name)
        if given is not None and given < value:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} is {given}; it must be at least {value}")
    if not 0 <= args.topic_share <= 1:
        raise InputError(f"--topic-share is {args.topic_share}; expected 0 to 1")
    for name in ("learning_rate", "head_learning_rate", "flops", "teacher_scale"):
        given = getattr(args, name)
        if given is not None and not 0 <= given < float("inf"):
            raise InputError(f"--{name.replace('_', '-')} is {given}; it must be 0 or more")
    if args.teacher_scale is not None and args.loss != "distillation":
        raise InputError("--teacher-scale belongs to --loss distillation; leave it out")
    if args.states and args.learning_rate is not None:
        raise InputError(
            "--learning-rate is that of the body, which rests with --states; give "
            "--head-learning-rate"
        )


def defaults(args: argparse.Namespace) -> None:
    """Fill in the options whose defaults follow from others."""
    values: dict[str, Any] = {
        "learning_rate": 5e-5,
        "dtype": "bfloat16" if args.device.startswith("cuda") else "float32",
        "warmup": args.steps // 10,
        "flops_ramp": args.steps // 3,
        "teacher_scale": 30.0 if args.loss == "distillation" else None,
    }
    for name, value in values.items():
        if getattr(args, name) is None:
            setattr(args, name, value)

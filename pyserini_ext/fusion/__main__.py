"""``python -m pyserini_ext.fusion``: combine run files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from pyserini_ext.command import run_command
from pyserini_ext.errors import InputError
from pyserini_ext.fusion.combine import MISSING, fuse
from pyserini_ext.fusion.interpolation import alpha_path
from pyserini_ext.fusion.normalise import NORMALISERS, RRF_K, reciprocal_rank
from pyserini_ext.hits import Hits
from pyserini_ext.run import RunWriter, iter_run

METHODS = ("rrf", "interpolation", "average", "normalize")

EXAMPLES = """\
examples:
  python -m pyserini_ext.fusion --runs bm25.txt dense.txt --output rrf.txt
  python -m pyserini_ext.fusion --runs bm25.txt dense.txt --method interpolation --alpha 0.3 \\
      --normalise min-max --missing minimum --output mixed.txt
  python -m pyserini_ext.fusion --runs bm25.txt dense.txt --method interpolation \\
      --alpha 0 0.25 0.5 0.75 1 --output grid.txt      # grid.alpha=0.25.txt …

The methods and their defaults are those of python -m pyserini.fusion; --normalise and --missing
change what it leaves fixed.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_ext.fusion",
        description="Combine TREC run files of the same topics into one.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", nargs="+", required=True, metavar="FILE", help="runs to combine")
    parser.add_argument("--output", required=True, metavar="FILE", help="the run to write")
    parser.add_argument("--runtag", default="pyserini-ext.fusion", help="last column of the run")
    parser.add_argument("--method", choices=METHODS, default="rrf", help="default: %(default)s")
    parser.add_argument("--rrf.k", dest="rrf_k", type=int, metavar="K", help="default: 60")
    parser.add_argument(
        "--alpha",
        type=float,
        nargs="+",
        help="interpolation: weight of the first run (default: 0.5); several write a run each",
    )
    parser.add_argument(
        "--normalise",
        choices=tuple(NORMALISERS),
        help="default: none (interpolation, average), min-max (normalize)",
    )
    parser.add_argument(
        "--missing", choices=MISSING, default="zero", help="score of a document that a run lacks"
    )
    parser.add_argument("--depth", type=int, default=1000, help="hits of each run that count")
    parser.add_argument("--k", type=int, default=1000, help="hits a query in the output")
    parser.add_argument(
        "--resort",
        action="store_true",
        help="rank each run by score, then docid, instead of by its rank column",
    )
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot be carried out, before any file is opened."""
    if len(args.runs) < 2:
        raise InputError(f"--runs names {len(args.runs)} file; fusion needs at least two")
    if args.method == "interpolation" and len(args.runs) != 2:
        raise InputError(
            f"--method interpolation takes exactly two runs, {len(args.runs)} were given; use "
            "average, normalize or rrf for more"
        )
    for flag, value, method in (
        ("--alpha", args.alpha, "interpolation"),
        ("--rrf.k", args.rrf_k, "rrf"),
    ):
        if value is not None and args.method != method:
            raise InputError(f"{flag} only applies to --method {method}, not {args.method}")
    if args.normalise and args.method in ("rrf", "normalize"):
        raise InputError(f"--method {args.method} fixes the normalisation; leave out --normalise")
    for alpha in args.alpha or ():
        if not 0 <= alpha <= 1:
            raise InputError(f"--alpha {alpha}; it must be between 0 and 1")
    for flag, value in (("--depth", args.depth), ("--k", args.k), ("--rrf.k", args.rrf_k)):
        if value is not None and value < 1:
            raise InputError(f"{flag} {value}; it must be at least 1")
    for path in args.runs:
        if not Path(path).is_file():
            raise InputError(f"--runs: no such file: {path}")


def align(runs: Sequence[Iterable[tuple[str, Hits]]]) -> Iterator[tuple[str, list[Hits]]]:
    """Bring the hits of each query together.

    Runs whose queries come in the same order are held one query at a time; otherwise a query
    waits in memory until every run has given it.

    Parameters
    ----------
    runs : sequence of iterables of (qid, Hits)

    Yields
    ------
    tuple of (str, list of Hits)
        A run without hits for the query gives an empty list.
    """
    nothing = Hits([], [])
    waiting: dict[str, dict[int, Hits]] = {}
    live = {number: iter(run) for number, run in enumerate(runs)}
    while live:
        for number in list(live):
            pair = next(live[number], None)
            if pair is None:
                del live[number]
                continue
            qid, hits = pair
            waiting.setdefault(qid, {})[number] = hits
            if len(waiting[qid]) == len(runs):
                found = waiting.pop(qid)
                yield qid, [found[i] for i in range(len(runs))]
    for qid, found in waiting.items():
        yield qid, [found.get(i, nothing) for i in range(len(runs))]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    check(args)
    count = len(args.runs)
    alphas = args.alpha or [0.5]
    weightings = {
        "rrf": [[1.0] * count],
        "interpolation": [[alpha, 1 - alpha] for alpha in alphas],
        "average": [[1 / count] * count],
        "normalize": [[1.0] * count],
    }[args.method]

    normalise: str | Callable[[np.ndarray], np.ndarray] = args.normalise or "none"
    if args.method == "rrf":
        normalise = partial(reciprocal_rank, rrf_k=args.rrf_k or RRF_K)
    elif args.method == "normalize":
        normalise = "min-max"
    grid = len(weightings)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(RunWriter(alpha_path(args.output, a, grid), tag=args.runtag))
            for a in (alphas if grid > 1 else alphas[:1])
        ]
        runs = [iter_run(path, keep_ranks=not args.resort) for path in args.runs]
        for qid, lists in align(runs):
            for writer, weights in zip(writers, weightings, strict=True):
                fused = fuse(
                    lists,
                    weights,
                    normalise=normalise,
                    missing=args.missing,
                    depth=args.depth,
                    k=args.k,
                )
                writer.write(qid, fused)


if __name__ == "__main__":
    run_command(main)

"""`python -m pyserini_ext.search.tune`: a feedback method's parameters, by cross-validation."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from pyserini_ext.command import run_command
from pyserini_ext.errors import InputError
from pyserini_ext.evaluate.measures import Measurer
from pyserini_ext.evaluate.qrels import read_qrels
from pyserini_ext.files import write_json
from pyserini_ext.fusion.interpolation import Interpolation
from pyserini_ext.hits import Hits
from pyserini_ext.plugins import create, load, read_options
from pyserini_ext.provenance import beside, describe
from pyserini_ext.run import RunWriter
from pyserini_ext.search.__main__ import build
from pyserini_ext.search.arguments import (
    existing,
    prf_options,
    refines_terms,
    rules,
    takes_guide,
)
from pyserini_ext.search.checks import check
from pyserini_ext.search.feedback import FeedbackSearcher
from pyserini_ext.search.guided import GuidedSearcher, check_guided
from pyserini_ext.search.options import make_parser
from pyserini_ext.search.staged import FirstRound
from pyserini_ext.topics import load_topics

EXAMPLES = """\
example:
  python -m pyserini_ext.search.tune --index npl.faiss --encoder minilm \\
      --sparse-index npl.lucene --prf gqr --grid lr=1e-4,1e-3 steps=10,25 \\
      --topics npl.tsv --qrels qrels.txt --measure nDCG@10 --output tuned.txt

The run holds each judged query as it is found with the parameters that are best on the other folds.
The table has every setting with its mean over all judged queries; its best one is what to use on
other topics. Everything else is in the JSON beside the run.
"""

Setting = dict[str, Any]


def folds_of(count: int, folds: int, seed: int) -> np.ndarray:
    """Return the fold of each query, ndarray of int, shape (count,): drawn, of equal sizes."""
    fold = np.empty(count, dtype=np.int64)
    fold[np.random.default_rng(seed).permutation(count)] = np.arange(count) % folds
    return fold


def choose(values: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return which setting is best on the other folds.

    Parameters
    ----------
    values : ndarray of float, shape (settings, queries)
    fold : ndarray of int, shape (queries,)

    Returns
    -------
    ndarray of int, shape (folds,)
        Of equal settings the first.

    Examples
    --------
    >>> choose(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]), np.array([0, 1, 2])).tolist()
    [1, 0, 0]
    """
    return np.array([values[:, fold != own].mean(axis=1).argmax() for own in range(fold.max() + 1)])


def read_grid(pairs: Sequence[str] | None, method: Any, name: str) -> list[Setting]:
    """Return the settings of a grid, ``NAME=VALUE,VALUE …``, or of the method's own ``GRID``.

    Raises
    ------
    InputError
        For a pair that is none, a name given twice, or no grid at all.
    """
    grid: dict[str, Sequence[Any]] = {}
    for pair in pairs or ():
        key, equals, values = pair.partition("=")
        if not equals or not values:
            raise InputError(f"--grid {pair}: expected NAME=VALUE,VALUE, e.g. lr=1e-4,1e-3")
        key = key.replace("-", "_")
        if key in grid:
            raise InputError(f"--grid {pair}: {key} is given twice")
        grid[key] = [read_options([f"{key}={value}"])[key] for value in values.split(",")]
    grid = grid or dict(getattr(method, "GRID", {}))
    if not grid:
        raise InputError(f"--prf {name} has no grid of its own; give --grid NAME=VALUE,VALUE …")
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read and check the command line; ``args.settings`` has the settings of the grid."""
    parser = make_parser()
    parser.prog, parser.epilog = "python -m pyserini_ext.search.tune", EXAMPLES
    parser.description = "Tune a feedback method by cross-validation; options are those of search."
    add = parser.add_argument_group("tuning").add_argument
    add("--qrels", required=True, metavar="FILE", help="judgements, TREC or BEIR")
    add("--grid", nargs="+", metavar="NAME=VALUE,…", help="default: the grid of the method")
    add("--measure", default="nDCG@10", help="what is made largest (default: %(default)s)")
    add("--folds", type=int, default=5, help="default: %(default)s")
    add("--seed", type=int, default=0, help="of the folds (default: %(default)s)")
    args = parser.parse_args(argv)
    check(args)
    if not args.prf or refines_terms(args):
        raise InputError("nothing to tune: give --prf and a method for dense vectors, such as gqr")
    if args.folds < 2:
        raise InputError(f"--folds is {args.folds}; it must be at least 2")
    if args.save_stages or (args.alpha and len(args.alpha) > 1):
        raise InputError("tune writes one run: leave --save-stages out, and give one --alpha")
    args.settings = read_grid(args.grid, load("feedback", args.prf), args.prf)
    return args


def methods_of(args: argparse.Namespace) -> list[Any]:
    """Make the feedback method of every setting, so that a wrong one costs nothing yet."""
    fixed = prf_options(args)
    for name in args.settings[0]:
        if fixed.get(name) is not None:
            raise InputError(f"{name} is in the grid and given by itself; leave one out")
    methods = [create("feedback", args.prf, **{**fixed, **each}) for each in args.settings]
    if takes_guide(args):
        for method in methods:
            check_guided(method, args.interpolate)
    return methods


@dataclass
class Trial:
    """A method in its searcher, and the first rounds that suit it, batch by batch."""

    searcher: FeedbackSearcher | GuidedSearcher
    firsts: list[FirstRound]
    remove_query: bool = False

    def hits(
        self, batch: int, rule: Interpolation, k: int, threads: int, stage: int = -1
    ) -> dict[str, Hits]:
        """Return what is found for one batch: the result, or for stage 0 the plain list."""
        first = self.firsts[batch]
        stages = self.searcher.stages(first, rule, k, threads, every=stage == 0)
        found = zip(first.qids, list(stages.values())[stage], strict=True)
        return {qid: hits.without([qid]) if self.remove_query else hits for qid, hits in found}


def trials_of(
    args: argparse.Namespace, methods: Sequence[Any], topics: Mapping[str, str]
) -> list[Trial]:
    """Retrieve once for all methods that read as many documents, and wait for the rest."""
    searcher, qids = build(args), list(topics)
    assert isinstance(searcher, FeedbackSearcher | GuidedSearcher)
    known: dict[tuple[int, bool], list[FirstRound]] = {}
    trials = []
    for method in methods:
        own = copy.copy(searcher)
        own.feedback = method
        key = method.depth, bool(getattr(method, "search", True))
        if key not in known:
            batches = [qids[s : s + args.batch_size] for s in range(0, len(qids), args.batch_size)]
            known[key] = [
                own.first_round([topics[qid] for qid in batch], batch, args.hits, args.threads)
                for batch in batches
            ]
        trials.append(Trial(own, known[key], args.remove_query))
    return trials


def table(settings: Sequence[Setting], means: np.ndarray, chosen: np.ndarray, name: str) -> str:
    """Return the settings, their means over all queries and the folds that chose them."""
    rows = [[*settings[0], name, "chosen in folds"]]
    for number, (setting, mean) in enumerate(zip(settings, means, strict=True)):
        folds = " ".join(str(fold + 1) for fold in np.flatnonzero(chosen == number))
        rows.append([*(f"{value}" for value in setting.values()), f"{mean:.4f}", folds])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    methods, settings = methods_of(args), args.settings
    measurer = Measurer(read_qrels(args.qrels), [args.measure])
    (name,), judged = measurer.names, set(measurer.qids)
    topics = {qid: text for qid, text in load_topics(args.topics).items() if qid in judged}
    if len(topics) < args.folds:
        raise InputError(f"{len(topics)} topics have judgements, too few for {args.folds} folds")
    rows = np.array([row for row, qid in enumerate(measurer.qids) if qid in topics])
    place = {measurer.qids[row]: number for number, row in enumerate(rows)}

    from tqdm import tqdm

    trials, (rule, *_) = trials_of(args, methods, topics), rules(args)
    count = len(trials[0].firsts)

    def measured(trial: Trial, stage: int = -1) -> np.ndarray:
        found: dict[str, Hits] = {}
        for batch in range(count):
            found.update(trial.hits(batch, rule, args.hits, args.threads, stage))
        return measurer.measure(found.items())[name][rows]

    plain = measured(trials[0], stage=0)
    bar = tqdm(trials, unit="setting", disable=True if args.quiet else None)
    values = np.array([measured(trial) for trial in bar])
    fold = folds_of(len(rows), args.folds, args.seed)
    chosen = choose(values, fold)
    held_out = values[chosen[fold], np.arange(len(rows))]
    means, best = values.mean(axis=1), int(values.mean(axis=1).argmax())

    with RunWriter(args.output, format=args.output_format, tag=args.tag) as writer:
        for batch in range(count):
            every = {
                number: trials[number].hits(batch, rule, args.hits, args.threads)
                for number in sorted(set(chosen.tolist()))
            }
            for qid in trials[0].firsts[batch].qids:
                writer.write(qid, every[int(chosen[fold[place[qid]]])][qid])
    found = {
        "measure": name,
        "settings": [{**s, name: float(m)} for s, m in zip(settings, means, strict=True)],
        "best": settings[best],
        "folds": [settings[number] for number in chosen],
        "held_out": float(held_out.mean()),
        "without_feedback": float(plain.mean()),
        "queries": len(rows),
    }
    inputs = {"topics": args.topics, "qrels": args.qrels, **existing(args)}
    write_json(beside(args.output), describe(vars(args), inputs, **found))
    print(table(settings, means, chosen, name))
    shown = " ".join(f"{key}={value}" for key, value in settings[best].items())
    print(f"\nbest on all {len(rows)} queries: {shown}")
    print(
        f"{name} on held-out folds: {held_out.mean():.4f}; without feedback: {plain.mean():.4f}\n"
        f"{args.output}"
    )


if __name__ == "__main__":
    run_command(main)

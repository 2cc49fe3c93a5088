"""``python -m pyserini_ext.evaluate``: runs and qrels in, a table and a report out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyserini_ext.command import run_command
from pyserini_ext.errors import InputError
from pyserini_ext.evaluate.evaluation import Evaluation, evaluate
from pyserini_ext.evaluate.measures import DEFAULT_MEASURES, EXAMPLES, parse_measures
from pyserini_ext.evaluate.names import run_names
from pyserini_ext.evaluate.table import FORMATS


def make_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_ext.evaluate",
        description="Measure runs, test them against a baseline, show wins and losses.",
    )
    parser.add_argument("runs", nargs="*", type=Path, help="TREC or MS MARCO run files")
    parser.add_argument("--qrels", type=Path, required=True, help="TREC or BEIR judgements")
    parser.add_argument(
        "--baseline", metavar="RUN", help="run file, or name of a run, to compare with"
    )
    parser.add_argument(
        "--measures", nargs="+", default=list(DEFAULT_MEASURES), metavar="MEASURE",
        help=f"as ir_measures spells them, e.g. {EXAMPLES}; wins and losses are those of the "
        f"first (default: {' '.join(DEFAULT_MEASURES)})",
    )  # fmt: skip
    parser.add_argument("--alpha", type=float, default=0.05, help="level of significance (0.05)")
    parser.add_argument("--format", choices=FORMATS, default="text", help="of the table (text)")
    parser.add_argument("--topics", help="topics whose text the report shows")
    parser.add_argument("--report", type=Path, metavar="HTML", help="write a self-contained page")
    parser.add_argument("--png", type=Path, help="write the picture of wins and losses")
    parser.add_argument(
        "--per-query", type=Path, metavar="TSV", help="write every value and difference"
    )
    parser.add_argument("--json", type=Path, help="write all numbers, with p-values")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = make_parser().parse_args(arguments)
    runs, baseline = _runs(options.runs, options.baseline)
    _check_files(options, list(runs.values()))
    if not 0 < options.alpha < 1:
        raise InputError(f"--alpha {options.alpha:g}: expected a level between 0 and 1, as 0.05")
    if options.png and (baseline is None or len(runs) < 2):
        raise InputError("--png compares runs with a baseline: add --baseline and another run")
    if options.topics and not options.report:
        raise InputError("--topics are shown in the report only: add --report report.html")
    _check_measures(options.measures)
    topics = _topics(options.topics) if options.topics else None
    result = evaluate(options.qrels, runs, options.measures, baseline, alpha=options.alpha)
    sys.stdout.write(result.table(options.format))
    sys.stdout.flush()
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    _write(options, result, runs, topics)
    return 0


def _runs(paths: list[Path], baseline: str | None) -> tuple[dict[str, Path], str | None]:
    """Name the runs; put the baseline in front when it is a file that is not among them."""
    if baseline is None:
        if not paths:
            raise InputError("no runs to evaluate; give at least one run file")
        return run_names(paths), None
    place = Path(baseline).resolve()
    if Path(baseline).is_file():
        if place not in [path.resolve() for path in paths]:
            paths = [Path(baseline), *paths]
        runs = run_names(paths)
        return runs, next(name for name, path in runs.items() if path.resolve() == place)
    runs = run_names(paths)
    if baseline not in runs:
        known = ", ".join(runs) or "none given"
        raise InputError(f"--baseline {baseline}: neither a file nor the name of a run ({known})")
    return runs, baseline


def _check_files(options: argparse.Namespace, runs: list[Path]) -> None:
    """Refuse missing inputs and outputs that would overwrite something read or written."""
    inputs = [options.qrels, *runs]
    for path in inputs:
        if not path.is_file():
            raise InputError(f"no such file: {path}")
    taken = {path.resolve(): "an input" for path in inputs}
    for flag in ("report", "png", "per_query", "json"):
        path = getattr(options, flag)
        if path is None:
            continue
        name = f"--{flag.replace('_', '-')}"
        if path.is_dir():
            raise InputError(f"{name} {path} is a folder; give the name of a file to write")
        if path.resolve() in taken:
            raise InputError(f"{name} {path} is also {taken[path.resolve()]}; give another name")
        taken[path.resolve()] = f"the output of {name}"


def _check_measures(names: list[str]) -> None:
    try:
        parse_measures(names)
    except InputError as error:
        files = [name for name in names if Path(name).is_file()]
        if not files:
            raise
        raise InputError(
            f"{files[0]!r} stands after --measures and was taken for one; "
            "put the run files in front of --measures"
        ) from error


def _topics(name: str) -> Mapping[str, str]:
    from pyserini_ext.topics import load_topics

    return load_topics(name)


def _write(
    options: argparse.Namespace,
    result: Evaluation,
    runs: Mapping[str, Path],
    topics: Mapping[str, str] | None,
) -> None:
    """Write the files that were asked for; what makes them is imported only then."""
    from pyserini_ext.evaluate import export

    if options.per_query:
        export.write_per_query(options.per_query, result)
    if options.json:
        files = {name: str(path) for name, path in runs.items()}
        export.write_evaluation(options.json, result, qrels=str(options.qrels), files=files)
    if options.png:
        from pyserini_ext.evaluate.plots import write_png

        write_png(options.png, result)
    if options.report:
        from pyserini_ext.evaluate.report import write_report

        write_report(options.report, result, topics=topics, source=options.qrels.name)
    for path in (options.report, options.png, options.per_query, options.json):
        if path:
            print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    run_command(main)

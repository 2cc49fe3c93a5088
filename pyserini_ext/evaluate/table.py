"""The results table as text, Markdown or CSV."""

from __future__ import annotations

import csv
import io
import textwrap
from typing import TYPE_CHECKING

from pyserini_ext.errors import InputError

if TYPE_CHECKING:
    from pyserini_ext.evaluate.evaluation import Evaluation

FORMATS = ("text", "markdown", "csv")

CSV_COLUMNS = (
    "run", "measure", "value", "best", "baseline", "difference", "p", "p_holm", "significant",
    "wins", "ties", "losses",
)  # fmt: skip


def render(result: Evaluation, format: str = "text") -> str:
    """Render an evaluation, ending in a newline.

    Parameters
    ----------
    result : Evaluation
    format : {"text", "markdown", "csv"}
        Text and Markdown have a row a run and a column a measure, with a legend; CSV has a row
        per run and measure, and unrounded numbers.

    Returns
    -------
    str

    Raises
    ------
    InputError
        For another format.
    """
    if format not in FORMATS:
        raise InputError(f"unknown table format {format!r}; choose from {', '.join(FORMATS)}")
    if format == "csv":
        return _csv(result)
    return _markdown(result) if format == "markdown" else _text(result)


def number(value: float) -> str:
    """Write a measure with four decimals, a count with none."""
    return f"{value:.0f}" if abs(value) >= 10 and value == int(value) else f"{value:.4f}"


def legend(result: Evaluation) -> str:
    """Explain the marks of the table in one or two sentences."""
    first = result.measures[0]
    text = f"{len(result.qids)} judged {'query' if len(result.qids) == 1 else 'queries'}."
    if result.baseline is None or not result.comparisons:
        return text
    count = len(result.comparisons)
    family = "one run" if count == 1 else f"{count} runs"
    return (
        f"{text} Signed numbers are differences from {result.baseline}; * marks p < "
        f"{result.alpha:g} in a paired two-sided t-test, Holm-corrected over {family} per "
        f"measure. W/T/L: queries better, equal, worse than {result.baseline} in {first}."
    )


def _cells(result: Evaluation, run: str, strong: tuple[str, str]) -> list[str]:
    """Return the cells of a row after the name."""
    cells = []
    comparisons = result.comparisons.get(run, {})
    for measure in result.measures:
        before, after = strong if run in result.best(measure) else (" " * len(strong[0]), "")
        cell = f"{before}{number(result.means[run][measure])}{after}"
        if comparison := comparisons.get(measure):
            mark = "*" if comparison.significant(result.alpha) else " "
            cell += f" {comparison.difference:+.4f}{mark}"
        cells.append(cell)
    if first := comparisons.get(result.measures[0]):
        cells.append(f"{first.wins}/{first.ties}/{first.losses}")
    elif result.comparisons:
        cells.append("baseline")
    return cells


def _header(result: Evaluation) -> list[str]:
    return ["run", *result.measures, *(["W/T/L"] if result.comparisons else [])]


def _text(result: Evaluation) -> str:
    header = [_header(result)[0], *(f" {name}" for name in _header(result)[1:])]
    if result.comparisons:
        header[-1] = header[-1].strip()
    rows = [header] + [[run, *_cells(result, run, (">", ""))] for run in result.runs]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    best = " > marks the best value of a column." if len(result.runs) > 1 else ""
    return "\n".join([*lines, "", *textwrap.wrap(legend(result) + best, 100)]) + "\n"


def _markdown(result: Evaluation) -> str:
    header = _header(result)
    lines = [header, [":--", *["--:"] * (len(header) - 1)]]
    for run in result.runs:
        cells = [cell.strip().replace("*", r"\*") for cell in _cells(result, run, ("\0", "\0"))]
        lines.append([_escape(run), *(cell.replace("\0", "**") for cell in cells)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    best = " The best value of a column is bold." if len(result.runs) > 1 else ""
    return f"{table}\n\n{_escape(legend(result))}{best}\n"


def _escape(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*").replace("_", r"\_")


def _csv(result: Evaluation) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for run in result.runs:
        for measure in result.measures:
            value = repr(result.means[run][measure])
            row = [run, measure, value, run in result.best(measure), result.baseline]
            if found := result.comparisons.get(run, {}).get(measure):
                row += [repr(found.difference), found.p, found.p_holm]
                row += [found.significant(result.alpha), found.wins, found.ties, found.losses]
            writer.writerow(row + [""] * (len(CSV_COLUMNS) - len(row)))
    return out.getvalue()

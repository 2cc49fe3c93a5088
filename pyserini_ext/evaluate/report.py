"""A report on one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyserini_ext.evaluate.plots import draw, p_text, png
from pyserini_ext.evaluate.significance import TIE
from pyserini_ext.evaluate.table import legend, number
from pyserini_ext.files import atomic_writer

if TYPE_CHECKING:
    from pyserini_ext.evaluate.evaluation import Evaluation, TopHit

EXTREMES = 10
"""Biggest wins and biggest losses listed for each run."""

CSS = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #222;
  background: #fff; max-width: 70rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem }
h1 { font-size: 1.6rem; margin: 0 0 .25rem } h2 { font-size: 1.25rem; margin: 2.75rem 0 .5rem }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem }
p.lead, .legend, caption, small { color: #555 } .legend { font-size: .9rem; max-width: 60rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
caption { text-align: left; font-size: .9rem; padding: .25rem 0 }
th, td { padding: .4rem .7rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid #ddd } thead th { border-bottom: 2px solid #222; font-weight: 600 }
.results td, .results thead th + th { text-align: right; white-space: nowrap }
.results td small { display: block } .results tr.baseline { background: #f4f4f4 }
.extremes { width: 100%; font-size: .92rem } .extremes .n { text-align: right }
.extremes tbody th { font-weight: 400; min-width: 16rem }
.extremes code { overflow-wrap: anywhere } .best { font-weight: 700 }
.win { color: #005a8e } .loss { color: #a84700 }
img { width: 100%; height: auto; display: block; margin: .5rem 0 }
code { font: .9em ui-monospace, Menlo, Consolas, monospace } ul.notes { padding-left: 1.2rem }
"""


def write_report(
    path: str | Path,
    result: Evaluation,
    *,
    topics: Mapping[str, str] | None = None,
    title: str = "Effectiveness of runs",
    source: str = "",
) -> None:
    """Write the report: results, wins and losses per run, the queries they come from.

    Parameters
    ----------
    path : str or Path
        The HTML file. Pictures and styles are inside it; it loads nothing.
    result : Evaluation
    topics : mapping of str to str, optional
        qid to query text, shown beside the qid.
    title : str
    source : str
        Where the numbers come from, e.g. the name of the qrels file.
    """
    page = html(result, topics=topics, title=title, source=source)
    with atomic_writer(path) as out:
        out.write(page)


def html(
    result: Evaluation,
    *,
    topics: Mapping[str, str] | None = None,
    title: str = "Effectiveness of runs",
    source: str = "",
) -> str:
    """Return the page that :func:`write_report` writes."""
    judged = f"{len(result.qids)} judged queries" + (f" from {escape(source)}" if source else "")
    against = f", compared with {escape(str(result.baseline))}" if result.comparisons else ""
    runs = f"{len(result.runs)} run{'s' if len(result.runs) > 1 else ''}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{runs} on {judged}{against}.</p>',
        results_table(result),
        _notes(result),
        *(_run_section(result, run, topics or {}) for run in result.comparisons),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def results_table(result: Evaluation) -> str:
    """Return the results as an HTML table with its legend."""
    names = ["run", *result.measures, *(["W/T/L"] if result.comparisons else [])]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = []
    for run in result.runs:
        kind = ' class="baseline"' if run == result.baseline else ""
        cells = "".join(_cell(result, run, measure) for measure in result.measures)
        if first := result.comparisons.get(run, {}).get(result.measures[0]):
            cells += f"<td>{first.wins}/{first.ties}/{first.losses}</td>"
        elif result.comparisons:
            cells += "<td>baseline</td>"
        rows.append(f'<tr{kind}><th scope="row">{escape(run)}</th>{cells}</tr>')
    best = " The best value of a column is bold." if len(result.runs) > 1 else ""
    caption = "Effectiveness"
    if result.comparisons:
        caption += f"; below it the difference from {escape(str(result.baseline))} and its p-value"
    return (
        f'<div class="scroll"><table class="results"><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></div>\n"
        f'<p class="legend">{escape(legend(result))}{best}</p>'
    )


def _cell(result: Evaluation, run: str, measure: str) -> str:
    kind = ' class="best"' if run in result.best(measure) else ""
    cell = f"<span{kind}>{number(result.means[run][measure])}</span>"
    if found := result.comparisons.get(run, {}).get(measure):
        mark = "*" if found.significant(result.alpha) else ""
        p = "" if found.p_holm is None else f" {escape(p_text(found.p_holm))}"
        cell += f"<small>{_signed(found.difference)}{mark}{p}</small>"
    return f"<td>{cell}</td>"


def _signed(difference: float) -> str:
    kind = "win" if difference > TIE else "loss" if difference < -TIE else "tie"
    # A true minus sign is as wide as the plus.
    return f'<span class="{kind}">{difference:+.4f}</span>'.replace(">-", ">&minus;")


def _notes(result: Evaluation) -> str:
    if not result.notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in result.notes)
    return f'<ul class="notes">{items}</ul>'


def _run_section(result: Evaluation, run: str, topics: Mapping[str, str]) -> str:
    measure, baseline = result.measures[0], str(result.baseline)
    found = result.comparisons[run][measure]
    summary = f"{found.wins} wins, {found.ties} ties, {found.losses} losses"
    picture = base64.b64encode(png(draw(result, [run]))).decode("ascii")
    described = (
        f"{run} against {baseline} in {measure}: {summary}. Left: the difference of every query, "
        "sorted. Right: the value of every query under the run against that under the baseline."
    )
    deltas = result.deltas(run)
    order = np.argsort(-deltas, kind="stable")
    wins = [int(row) for row in order if deltas[row] > TIE][:EXTREMES]
    losses = [int(row) for row in order[::-1] if deltas[row] < -TIE][:EXTREMES]
    return "\n".join(
        [
            f"<section><h2>{escape(run)}: {summary}</h2>",
            f'<img alt="{escape(described)}" src="data:image/png;base64,{picture}">',
            _extremes(result, run, wins, "Biggest wins", topics),
            _extremes(result, run, losses, "Biggest losses", topics),
            "</section>",
        ]
    )


def _extremes(
    result: Evaluation, run: str, rows: list[int], title: str, topics: Mapping[str, str]
) -> str:
    if not rows:
        return f"<h3>{title}</h3><p>None.</p>"
    measure, baseline = result.measures[0], str(result.baseline)
    names = ["query", "difference", baseline, run, f"first of {baseline}", f"first of {run}"]
    kinds = ["", *[' class="n"'] * 3, "", ""]
    head = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>'
        for name, kind in zip(names, kinds, strict=True)
    )
    lines = []
    for row in rows:
        qid = result.qids[row]
        text = f"<br>{escape(topics[qid])}" if qid in topics else ""
        numbers = (
            _signed(float(result.deltas(run)[row])),
            *(number(float(result.values[name][measure][row])) for name in (baseline, run)),
        )
        lines.append(
            f'<tr><th scope="row"><code>{escape(qid)}</code>{text}</th>'
            + "".join(f'<td class="n">{value}</td>' for value in numbers)
            + "".join(f"<td>{_top(result.top[name].get(qid, ()))}</td>" for name in (baseline, run))
            + "</tr>"
        )
    note = f"in {measure}; after a document its relevance, ? if not judged"
    return (
        f'<h3>{title}</h3>\n<div class="scroll"><table class="extremes">'
        f"<caption>{escape(note)}</caption><thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def _top(hits: tuple[TopHit, ...]) -> str:
    if not hits:
        return "no hits"
    return "<br>".join(
        f"<code>{escape(hit.docid)}</code> "
        f"<small>{'?' if hit.relevance is None else hit.relevance}</small>"
        for hit in hits
    )

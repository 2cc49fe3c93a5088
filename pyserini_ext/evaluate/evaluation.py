"""Measure runs against judgements and compare them with a baseline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.evaluate.measures import DEFAULT_MEASURES, Measurer
from pyserini_ext.evaluate.names import run_names
from pyserini_ext.evaluate.qrels import read_qrels
from pyserini_ext.evaluate.significance import Comparison, compare
from pyserini_ext.hits import Hits
from pyserini_ext.run import iter_run

TOP = 3
"""Documents remembered per query, for the report."""


class TopHit(NamedTuple):
    """A document at the head of a ranking; `relevance` is None where it is not judged."""

    docid: str
    relevance: int | None


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found.

    Attributes
    ----------
    qids : list of str
        The judged queries, in the order of the qrels.
    measures : list of str
        Names as ir_measures spells them; the first is the one whose wins and losses are shown.
    runs : list of str
        Names, the baseline where it was given.
    baseline : str or None
    alpha : float
        Level of significance.
    values : dict of str to dict of str to ndarray of float64, shape (queries,)
        Run, measure -> value per query in the order of `qids`.
    means : dict of str to dict of str to float
        Run, measure -> mean over all judged queries (sum for counts such as NumRet).
    comparisons : dict of str to dict of str to Comparison
        Run, measure -> against the baseline; empty without one, the baseline is not in it.
    notes : list of str
        What the reader has to know about the numbers.
    top : dict of str to dict of str to tuple of TopHit
        Run, qid -> the first documents.
    """

    qids: list[str]
    measures: list[str]
    runs: list[str]
    baseline: str | None
    alpha: float
    values: dict[str, dict[str, np.ndarray]]
    means: dict[str, dict[str, float]]
    comparisons: dict[str, dict[str, Comparison]]
    notes: list[str] = field(default_factory=list)
    top: dict[str, dict[str, tuple[TopHit, ...]]] = field(default_factory=dict, repr=False)

    def best(self, measure: str) -> list[str]:
        """Return the runs with the highest value; none when there is only one run."""
        if len(self.runs) < 2:
            return []
        highest = max(self.means[run][measure] for run in self.runs)
        return [run for run in self.runs if self.means[run][measure] == highest]

    def deltas(self, run: str, measure: str | None = None) -> np.ndarray:
        """Return the per-query differences of `run` from the baseline, shape (queries,)."""
        if self.baseline is None:
            raise InputError("there is no baseline to compare with; name one")
        measure = measure or self.measures[0]
        return self.values[run][measure] - self.values[self.baseline][measure]

    def table(self, format: str = "text") -> str:
        """Return the results as a table: "text", "markdown" or "csv"."""
        from pyserini_ext.evaluate.table import render

        return render(self, format)

    def _repr_html_(self) -> str:
        from pyserini_ext.evaluate.report import results_table

        return results_table(self)


def evaluate(
    qrels: Mapping[str, Mapping[str, int]] | str | Path,
    runs: Mapping[str, Any] | Iterable[str | Path],
    measures: Sequence[str] = DEFAULT_MEASURES,
    baseline: str | None = None,
    *,
    alpha: float = 0.05,
) -> Evaluation:
    """Measure runs and test their differences from a baseline.

    Runs are read one after the other and a block of queries at a time; only values per query
    are kept.

    Parameters
    ----------
    qrels : mapping, str or Path
        qid to docid to relevance, or a file for :func:`~pyserini_ext.evaluate.qrels.read_qrels`.
    runs : mapping of str to Run or path, or iterable of paths
        By name; files without a name are called by their file names.
    measures : sequence of str
        As ir_measures spells them, e.g. ``nDCG@10``, ``AP(rel=2)``.
    baseline : str, optional
        Name of the run that the others are compared with.
    alpha : float
        Level of significance of the corrected p-values.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        For bad measures, files or an unknown baseline (before any run is read), and for a run
        that shares no query with the qrels.

    Examples
    --------
    >>> from pyserini_ext.hits import Hits
    >>> from pyserini_ext.run import Run
    >>> good = Run({"q1": Hits(["d1"], [1.0])})
    >>> bad = Run({"q1": Hits(["d2"], [1.0])})
    >>> result = evaluate({"q1": {"d1": 1}}, {"bad": bad, "good": good}, ["nDCG@10"], "bad")
    >>> result.means["good"]["nDCG@10"], result.comparisons["good"]["nDCG@10"].wins
    (1.0, 1)
    """
    named = dict(runs) if isinstance(runs, Mapping) else run_names(runs)
    _check(named, baseline, alpha)
    judged = qrels if isinstance(qrels, Mapping) else read_qrels(qrels)
    measurer = Measurer(judged, measures)
    values, top, notes = {}, {}, []
    for name, run in named.items():
        reader = _Reader(name, run, judged)
        values[name] = measurer.measure(reader)
        top[name] = reader.top
        notes += reader.notes()
    means = {name: measurer.aggregate(values[name]) for name in named}
    others = [name for name in named if name != baseline] if baseline is not None else []
    comparisons: dict[str, dict[str, Comparison]] = {name: {} for name in others}
    for measure in measurer.names if baseline is not None else []:
        found = compare(
            values[str(baseline)][measure],
            [values[name][measure] for name in others],
            [means[name][measure] - means[str(baseline)][measure] for name in others],
        )
        for name, comparison in zip(others, found, strict=True):
            comparisons[name][measure] = comparison
    if others and len(measurer.qids) < 2:
        notes.append("no significance test: it needs at least two judged queries")
    return Evaluation(
        measurer.qids, measurer.names, list(named), baseline, alpha,
        values, means, comparisons, notes, top,
    )  # fmt: skip


def _check(runs: Mapping[str, Any], baseline: str | None, alpha: float) -> None:
    if not runs:
        raise InputError("no runs to evaluate; give at least one run file")
    if baseline is not None and baseline not in runs:
        raise InputError(f"the baseline {baseline!r} is not among the runs: {', '.join(runs)}")
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha:g}; expected a level between 0 and 1, such as 0.05")
    for run in runs.values():
        if isinstance(run, str | Path) and not Path(run).is_file():
            raise InputError(f"no such file: {run}")


class _Reader:
    """Passes the hits of one run on, remembering what the notes and the report need."""

    def __init__(self, name: str, run: Any, qrels: Mapping[str, Mapping[str, int]]) -> None:
        self.name, self.run, self.qrels = name, run, qrels
        self.top: dict[str, tuple[TopHit, ...]] = {}
        self.unjudged: list[str] = []

    def __iter__(self) -> Iterator[tuple[str, Hits]]:
        pairs = iter_run(self.run) if isinstance(self.run, str | Path) else self.run.items()
        for qid, hits in pairs:
            judged = self.qrels.get(qid)
            if judged is None:
                self.unjudged.append(qid)
                continue
            found = Hits.from_pyserini(hits)
            if len(found):
                docids = found.docids[:TOP].tolist()
                self.top[qid] = tuple(TopHit(docid, judged.get(docid)) for docid in docids)
            yield qid, found
        if not self.top:
            raise InputError(
                f"run {self.name} shares no query with the qrels: its queries are "
                f"{_some(self.unjudged)}, the judged ones {_some(list(self.qrels))}"
            )

    def notes(self) -> list[str]:
        """Say which queries were left out, and which counted as empty."""
        notes = []
        if self.unjudged:
            notes.append(
                f"{self.name}: {_count(self.unjudged)} without judgements left out "
                f"({_some(self.unjudged)})"
            )
        missing = [qid for qid in self.qrels if qid not in self.top]
        if missing:
            notes.append(
                f"{self.name}: {_count(missing)} with judgements but no hits counted as 0 "
                f"({_some(missing)})"
            )
        return notes


def _count(qids: Sequence[str]) -> str:
    return f"{len(qids)} {'query' if len(qids) == 1 else 'queries'}"


def _some(qids: Sequence[str]) -> str:
    shown = ", ".join(list(qids)[:5]) or "none"
    return f"{shown}, …" if len(qids) > 5 else shown

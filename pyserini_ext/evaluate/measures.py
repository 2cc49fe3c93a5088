"""Measures by name, computed query by query with ir_measures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits

DEFAULT_MEASURES = ("nDCG@10", "AP", "RR@10", "R@100", "R@1000")

EXAMPLES = "nDCG@10, AP, AP(rel=2), RR@10, R@1000, R(rel=2)@1000, P@5, Success@5, Judged@10"

QUERIES_AT_ONCE = 500
"""Queries handed to ir_measures in one call: bounds the memory a large run takes."""


def parse_measures(names: Iterable[str]) -> list[Any]:
    """Turn names such as ``nDCG@10`` or ``AP(rel=2)`` into ir_measures objects.

    Parameters
    ----------
    names : iterable of str
        In the syntax of ir_measures: ``Measure(parameter=value)@cutoff``.

    Returns
    -------
    list of ir_measures.measures.Measure

    Raises
    ------
    InputError
        Naming the measure that is unknown, misspelt or given twice, and examples.
    """
    import ir_measures

    measures: list[Any] = []
    for name in names:
        try:
            measure = ir_measures.parse_measure(name)
            measure.validate_params()
        except (ValueError, NameError, KeyError, TypeError, AssertionError) as error:
            raise InputError(f"{name!r} is not a measure; examples: {EXAMPLES}") from error
        cutoff = measure.params.get("cutoff", 1)
        # trec_eval ends the whole process on a cutoff below one.
        if isinstance(cutoff, bool) or not isinstance(cutoff, int) or cutoff < 1:
            raise InputError(
                f"the cutoff of measure {name!r} must be a whole number of at least 1; "
                f"examples: {EXAMPLES}"
            )
        if measure in measures:
            raise InputError(f"measure {name!r} is given twice; remove one")
        measures.append(measure)
    if not measures:
        raise InputError(f"no measures; examples: {EXAMPLES}")
    return measures


class Measurer:
    """Computes measures for the hits of many queries.

    Every judged query counts: one without hits gets the measure's value for an empty ranking
    (0), as ``trec_eval -c`` does. Queries without judgements are left out. Hits are taken in the
    order that trec_eval gives them: score (as float32) descending, equal scores by docid
    descending. RR with a cutoff follows MS MARCO's own script, which puts equal scores in the
    order of docid ascending.

    Parameters
    ----------
    qrels : mapping of str to mapping of str to int
        qid to docid to relevance.
    measures : sequence of str
        Names, see :func:`parse_measures`.

    Attributes
    ----------
    names : list of str
        The measures, spelt as ir_measures spells them.
    qids : list of str
        The judged queries, in the order of the qrels.

    Raises
    ------
    InputError
        For a bad measure, or one whose provider is not installed.
    """

    def __init__(
        self,
        qrels: Mapping[str, Mapping[str, int]],
        measures: Sequence[str] = DEFAULT_MEASURES,
    ) -> None:
        self._measures = parse_measures(measures)
        self.names = [str(measure) for measure in self._measures]
        self.qids = list(qrels)
        self._rows = {qid: row for row, qid in enumerate(self.qids)}
        self._evaluator = self._make_evaluator(qrels)

    def _make_evaluator(self, qrels: Mapping[str, Mapping[str, int]]) -> Any:
        import ir_measures

        plain = {qid: dict(judged) for qid, judged in qrels.items()}
        try:
            return ir_measures.evaluator(self._measures, plain)
        except (ValueError, AssertionError) as error:
            raise InputError(
                f"not all of {', '.join(self.names)} can be computed here: {error} "
                f"Examples that can: {EXAMPLES}"
            ) from error

    def measure(self, hits: Iterable[tuple[str, Hits]]) -> dict[str, np.ndarray]:
        """Return each measure's value for each judged query.

        Parameters
        ----------
        hits : iterable of (qid, Hits)
            ``Run.items()``, or what :func:`~pyserini_ext.run.iter_run` yields. Read once, a few
            hundred queries at a time.

        Returns
        -------
        dict of str to ndarray of float64, shape (queries,)
            By measure, in the order of ``names``; values in the order of ``qids``.
        """
        values = {
            name: np.full(len(self.qids), float(measure.DEFAULT))
            for name, measure in zip(self.names, self._measures, strict=True)
        }
        judged = ((qid, found) for qid, found in hits if qid in self._rows and len(found))
        while block := {qid: found.as_dict() for qid, found in islice(judged, QUERIES_AT_ONCE)}:
            for qid, name, value in self._calculate(block):
                values[name][self._rows[qid]] = value
        return values

    def _calculate(self, block: dict[str, dict[str, float]]) -> Iterator[tuple[str, str, float]]:
        try:
            for metric in self._evaluator.iter_calc(block):
                # ir_measures also reports the judged queries that are outside this block.
                if metric.query_id in block:
                    yield metric.query_id, str(metric.measure), float(metric.value)
        except (ValueError, ArithmeticError, RuntimeError) as error:
            raise InputError(
                f"ir_measures could not compute {', '.join(self.names)}: {error}"
            ) from error

    def aggregate(self, values: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Return one number a measure: the mean over queries (the sum for counts).

        Parameters
        ----------
        values : mapping of str to ndarray
            What :meth:`measure` returned.

        Returns
        -------
        dict of str to float
        """
        result = {}
        for name, measure in zip(self.names, self._measures, strict=True):
            aggregator = measure.aggregator()
            for value in values[name].tolist():
                aggregator.add(value)
            result[name] = float(aggregator.result())
        return result

"""The evaluation as files for other programs: per-query values as TSV, everything as JSON."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_ext.files import atomic_writer, write_json

if TYPE_CHECKING:
    from pyserini_ext.evaluate.evaluation import Evaluation


def write_per_query(path: str | Path, result: Evaluation) -> None:
    """Write ``qid measure run value baseline delta`` as TSV with a header.

    Parameters
    ----------
    path : str or Path
    result : Evaluation
        Without a baseline the last two columns are empty.
    """
    with atomic_writer(path) as out:
        out.write("qid\tmeasure\trun\tvalue\tbaseline\tdelta\n")
        for measure in result.measures:
            for run in result.runs:
                values = result.values[run][measure].tolist()
                if result.baseline is None:
                    rows = [f"{value!r}\t\t" for value in values]
                else:
                    base = result.values[result.baseline][measure].tolist()
                    rows = [f"{v!r}\t{b!r}\t{v - b!r}" for v, b in zip(values, base, strict=True)]
                out.writelines(
                    f"{qid}\t{measure}\t{run}\t{row}\n"
                    for qid, row in zip(result.qids, rows, strict=True)
                )


def as_dict(result: Evaluation) -> dict[str, Any]:
    """Return the evaluation as plain numbers, strings and lists.

    Parameters
    ----------
    result : Evaluation

    Returns
    -------
    dict
        Ready for JSON; p-values are null where there was no test.
    """
    return {
        "queries": len(result.qids),
        "measures": result.measures,
        "baseline": result.baseline,
        "alpha": result.alpha,
        "test": "paired two-sided t-test; p_holm: Holm's correction over the runs of a measure",
        "runs": [
            {"run": run, "results": {m: _result(result, run, m) for m in result.measures}}
            for run in result.runs
        ],
        "notes": result.notes,
        "versions": {name: version(name) for name in ("ir_measures", "pytrec-eval-terrier")},
    }


def _result(result: Evaluation, run: str, measure: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"value": result.means[run][measure]}
    if found := result.comparisons.get(run, {}).get(measure):
        entry |= {
            "difference": found.difference,
            "p": found.p,
            "p_holm": found.p_holm,
            "significant": found.significant(result.alpha),
            "wins": found.wins,
            "ties": found.ties,
            "losses": found.losses,
        }
    return entry


def write_evaluation(path: str | Path, result: Evaluation, **given: Any) -> None:
    """Write :func:`as_dict` as JSON, with `given` (file names and the like) in front."""
    write_json(path, {**given, **as_dict(result)})

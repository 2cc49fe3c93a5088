"""Pictures of wins and losses: sorted differences and a scatter plot, a row a run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.evaluate.significance import TIE
from pyserini_ext.files import atomic_path

if TYPE_CHECKING:
    from pyserini_ext.evaluate.evaluation import Evaluation

# Okabe & Ito's palette: told apart under the common forms of colour blindness, and in grey.
WIN, LOSS, TIED, INK, RULE = "#0072B2", "#D55E00", "#8A8A8A", "#222222", "#BBBBBB"

TALLEST = 60_000
"""Pixels: matplotlib draws no more than 65,536. Reached with more than a hundred runs."""

SEPARATE_BARS = 150
"""More queries than this are drawn as one filled step instead of bars with gaps."""


def draw(result: Evaluation, runs: Sequence[str] | None = None) -> Any:
    """Draw wins and losses against the baseline under the first measure.

    Parameters
    ----------
    result : Evaluation
        With a baseline and at least one other run.
    runs : sequence of str, optional
        The runs to draw, a row each; all but the baseline if None.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        When there is nothing to compare.
    """
    runs = list(result.comparisons) if runs is None else list(runs)
    if not runs:
        raise InputError("wins and losses need a baseline and at least one other run; name both")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with _style():
        layout = ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.12)
        figure = Figure(figsize=(10.5, 3.7 * len(runs)), layout=layout)
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(runs), 2, squeeze=False, width_ratios=(1.75, 1))
        limits = _limits(result)
        for row, run in zip(axes, runs, strict=True):
            _differences(row[0], result, run, limits)
            _scatter(row[1], result, run)
    return figure


def _style() -> Any:
    """Return a context in which the user's own matplotlib settings have no say."""
    import matplotlib.style

    ours: Any = {
        "axes.edgecolor": RULE, "axes.labelcolor": INK, "axes.titlesize": 11, "text.color": INK,
        "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
        "axes.spines.right": False, "text.parse_math": False,
    }  # fmt: skip
    return matplotlib.style.context(["default", ours])


def _limits(result: Evaluation) -> tuple[float, float]:
    """Return one vertical range for all runs, so that their pictures can be compared."""
    deltas = np.concatenate([result.deltas(run) for run in result.comparisons])
    span = max(float(np.ptp(np.append(deltas, 0.0))), TIE) if np.any(deltas) else 1.0
    # Both halves keep room for the text that stands in their free corner.
    low, high = min(float(deltas.min()), -0.3 * span), max(float(deltas.max()), 0.4 * span)
    return low - 0.06 * span, high + 0.06 * span


def _differences(axis: Any, result: Evaluation, run: str, limits: tuple[float, float]) -> None:
    """Draw a bar a query, the largest win first."""
    deltas = np.sort(result.deltas(run))[::-1]
    places = np.arange(1, len(deltas) + 1)
    colours = np.where(deltas > TIE, WIN, LOSS)
    if len(deltas) <= SEPARATE_BARS:
        axis.bar(places, deltas, width=0.8, color=colours, linewidth=0)
    else:
        edges = np.append(places - 0.5, places[-1] + 0.5)
        axis.stairs(np.maximum(deltas, 0), edges, fill=True, color=WIN, linewidth=0)
        axis.stairs(np.minimum(deltas, 0), edges, fill=True, color=LOSS, linewidth=0)
    found = result.comparisons[run][result.measures[0]]
    axis.axhline(0, color=INK, linewidth=0.8)
    axis.set_xlim(0.4, len(deltas) + 0.6)
    axis.set_ylim(*limits)
    axis.set_title(f"{_short(run)} against {_short(str(result.baseline))}", loc="left", pad=8)
    axis.set_xlabel(f"{len(deltas)} queries, largest win first")
    axis.set_ylabel(f"difference in {result.measures[0]}")
    axis.grid(axis="y", color="#E6E6E6", linewidth=0.7)
    axis.set_axisbelow(True)
    # Sorted bars run from the upper left to the lower right: the other two corners are free.
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    corner = {"transform": axis.transAxes, "ha": "right", "va": "top", "bbox": ground}
    axis.text(0.985, 0.97, f"{found.wins} wins", color=WIN, weight="bold", **corner)
    axis.text(0.985, 0.89, f"{found.ties} ties", color="#5F5F5F", weight="bold", **corner)
    axis.text(0.985, 0.81, f"{found.losses} losses", color="#B34E00", weight="bold", **corner)
    corner |= {"ha": "left", "va": "bottom"}
    axis.text(0.015, 0.04, _verdict(result, run), **corner)


def _scatter(axis: Any, result: Evaluation, run: str) -> None:
    """Draw a point a query, the baseline's value to the right and the run's upwards."""
    measure = result.measures[0]
    base, values = result.values[str(result.baseline)][measure], result.values[run][measure]
    deltas = values - base
    top = max(1.0, float(max(base.max(), values.max())))
    axis.plot([0, top], [0, top], color=TIED, linewidth=1, zorder=1)
    for chosen, colour, marker in (
        (np.abs(deltas) <= TIE, TIED, "s"),
        (deltas > TIE, WIN, "^"),
        (deltas < -TIE, LOSS, "v"),
    ):
        axis.scatter(
            base[chosen], values[chosen], s=24, marker=marker, color=colour, alpha=0.6,
            linewidths=0, zorder=2, clip_on=False,
        )  # fmt: skip
    axis.set_xlim(-0.02 * top, 1.02 * top)
    axis.set_ylim(-0.02 * top, 1.02 * top)
    axis.set_box_aspect(1)
    axis.set_xlabel(f"{measure} of {_short(str(result.baseline), 24)}")
    axis.set_ylabel(f"{measure} of {_short(run, 24)}", labelpad=8)
    axis.set_title("above the line: a win", loc="left", pad=8, color="#5F5F5F", fontsize=10)


def _verdict(result: Evaluation, run: str) -> str:
    found = result.comparisons[run][result.measures[0]]
    text = f"mean {found.difference:+.4f}"
    return text if found.p_holm is None else f"{text}, {p_text(found.p_holm)} (t-test, Holm)"


def p_text(p: float) -> str:
    """Write a p-value as people do: ``p = 0.032``, ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _short(name: str, length: int = 40) -> str:
    return name if len(name) <= length else f"{name[: length // 2]}…{name[-length // 2 + 1 :]}"


def png(figure: Any, dots_per_inch: float = 144) -> bytes:
    """Return a figure as the bytes of a PNG file, the same bytes every time."""
    out = io.BytesIO()
    dots_per_inch = min(dots_per_inch, TALLEST / figure.get_figheight())
    with _style():
        figure.savefig(out, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return out.getvalue()


def write_png(path: str | Path, result: Evaluation) -> None:
    """Write the picture of all runs to `path`, whole or not at all."""
    content = png(draw(result))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)

"""The picture of `benchmarks/step_schedules.py`: the score of every schedule against its cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.runs.figure import COLOURS, GRID, INK, new_figure, style, to_svg
from common.runs.stats import estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = {
    "schedule": "the schedule found",
    "fewer-steps": "the dense network in fewer steps",
    "thinned": "the same, thinned",
    "small-to-large": "small to large",
    "large-to-small": "large to small",
    "interleaved": "interleaved",
    "uniform": "one ticket everywhere",
}


@style()
def picture(rows: list[dict[str, Any]], timed: list[dict[str, Any]]) -> str:
    """Scores against costs as they are counted, and against time as it is measured, as an `<svg>`.

    Small points are seeds, lines go through their means. Budgets that some seeds lack are left out: means of other
    seeds are of other networks.

    Args:
        rows: of one label, for the costs.
        timed: rows of any labels, for the times.
    """
    seeds = {row["seed"] for row in rows}
    rows, timed = _of_all(seeds, rows), _of_all(seeds, timed)
    figure = new_figure(10.4, 4.2)
    counted, measured = figure.subplots(1, 2, sharey=True)
    unit = {"seconds": "time", "macs": "multiply-adds"}[rows[0]["settings"]["cost"]]
    _costs(counted, rows)
    counted.set_xlabel(f"share of the dense network's {unit}, counted")
    counted.set_ylabel(f"{rows[0]['quality']['name']}, less is better")
    _times(measured, timed)
    measured.set_xlabel("share of the dense network's time, measured")
    dense = estimate([row["quality"]["dense"]["mean"] for row in rows])
    measured.plot([1], [dense.mean], marker="o", markersize=5, color=INK)
    for axes in (counted, measured):
        axes.axhline(dense.mean, color=INK, linewidth=1.0, linestyle=":", label="dense in 50 steps")
        axes.set_xlim(0, 1.04)
        axes.grid(color=GRID, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    counted.set_yscale("log")
    counted.yaxis.set_major_formatter("{x:g}")
    counted.yaxis.set_minor_formatter("{x:g}")
    figure.legend(*counted.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right center")
    return to_svg(figure, "schedules against their baselines")


def _of_all(seeds: set[int], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of labels and budgets that all of the seeds have."""
    found: dict[tuple[str, float], set[int]] = {}
    for row in rows:
        found.setdefault((row["label"], row["budget"]), set()).add(row["seed"])
    return [row for row in rows if found[row["label"], row["budget"]] == seeds]


def _costs(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Every schedule by its cost, the dense network's being 1."""
    for (name, shown), colour in zip(SHOWN.items(), COLOURS, strict=False):
        points: dict[float, list[tuple[float, float]]] = {}
        for row in rows:
            if name in row["quality"]:
                one = row["quality"][name]
                points.setdefault(row["budget"], []).append((one["cost"], one["mean"]))
        _line(axes, list(points.values()), colour, shown, width=2.2 if name == "schedule" else 1.2)


def _times(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """The schedule found by its measured time, the best dense float32's being 1."""
    points: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for row in rows:
        one = (1 / row["measured_speedup"], row["quality"]["schedule"]["mean"])
        points.setdefault((row["label"], row["budget"]), []).append(one)
    _line(axes, list(points.values()), COLOURS[0], SHOWN["schedule"], width=2.2)


def _line(axes: Axes, points: list[list[tuple[float, float]]], colour: str, shown: str, width: float) -> None:
    """A line through the means of points, and those."""
    means = sorted(tuple(estimate(values).mean for values in zip(*some, strict=True)) for some in points)
    axes.plot(*zip(*means, strict=True), marker="o", markersize=5, color=colour, label=shown, linewidth=width)
    axes.scatter(*zip(*(one for some in points for one in some), strict=True), s=8, color=colour, alpha=0.5)

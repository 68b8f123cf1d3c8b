"""The picture of `benchmarks/step_schedules.py`: the score of every schedule against its cost, and against time."""

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
    "uniform": "one network everywhere",
}
_UNITS = {"seconds": "time", "macs": "multiply-adds"}

Points = list[tuple[float, float]]


@style()
def picture(rows: list[dict[str, Any]], timed: list[dict[str, Any]]) -> str:
    """Scores against costs as they are counted, and against time as it is measured, as an `<svg>`.

    Small points are seeds, large ones their means. Budgets that some seeds lack are left out: means of other seeds are
    of other networks.

    Args:
        rows: of one label, for the costs.
        timed: of any labels of the same family, for the times.

    Raises:
        SystemExit: no budget has all seeds of the rows.
    """
    from matplotlib.ticker import LogLocator

    seeds = {row["seed"] for row in rows}
    rows, timed = _of_all(seeds, rows), _of_all(seeds, timed)
    if not rows:
        raise SystemExit(f"found no budget that all of seeds {sorted(seeds)} have; run those that are missing")
    figure = new_figure(10.4, 4.2)
    counted, measured = figure.subplots(1, 2, sharey=True)
    _costs(counted, rows)
    counted.set_xlabel(f"share of the dense network's {_UNITS[rows[0]['settings']['cost']]}, counted")
    counted.set_ylabel(f"{rows[0]['quality']['name']}, less is better")
    _times(measured, timed)
    measured.set_xlabel("share of the dense network's time, measured")
    steps = rows[0]["settings"]["steps"]
    dense = estimate([row["quality"]["dense"]["mean"] for row in rows])
    for axes in (counted, measured):
        axes.axhline(dense.mean, color=INK, linewidth=1.0, linestyle=":", label=f"dense in {steps} steps")
        axes.plot([1], [dense.mean], marker="o", markersize=5, color=INK)
        axes.set_xlim(left=0)
        axes.grid(color=GRID, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    counted.set_yscale("log")
    counted.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 2.5, 3, 4, 6)))
    counted.yaxis.set_major_formatter("{x:g}")
    counted.minorticks_off()
    figure.legend(*counted.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right center")
    return to_svg(figure, "schedules against their baselines")


def _of_all(seeds: set[int], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of these seeds, of labels and budgets that all of them have."""
    found: dict[tuple[str, float], set[int]] = {}
    for row in rows:
        found.setdefault((row["label"], row["budget"]), set()).add(row["seed"])
    return [row for row in rows if row["seed"] in seeds and found[row["label"], row["budget"]] >= seeds]


def _costs(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Every schedule by its cost, the dense network's being 1, a line through budgets at which all seeds have it."""
    seeds = len({row["seed"] for row in rows})
    for (name, shown), colour in zip(SHOWN.items(), COLOURS, strict=False):
        points: dict[float, Points] = {}
        for row in rows:
            if name in row["quality"]:
                one = row["quality"][name]
                points.setdefault(row["budget"], []).append((one["cost"], one["mean"]))
        means = sorted(_mean(axes, some, colour) for some in points.values() if len(some) == seeds)
        if means:
            width = 2.2 if name == "schedule" else 1.2
            axes.plot(*zip(*means, strict=True), marker="o", markersize=5, color=colour, label=shown, linewidth=width)


def _times(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """The schedules found by their measured times, the best dense float32's being 1, named by what was searched.

    Budgets of which the same was found share a point.
    """
    points: dict[tuple[str, float], Points] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        one = (1 / row["measured_speedup"], row["quality"]["schedule"]["mean"])
        points.setdefault((_UNITS[row["settings"]["cost"]], row["budget"]), []).append(one)
    budgets: dict[tuple[str, tuple[tuple[float, float], ...]], list[str]] = {}
    for (unit, budget), some in sorted(points.items()):
        budgets.setdefault((unit, tuple(some)), []).append(f"{budget:.0%}")
    for place, ((unit, same), found) in enumerate(budgets.items()):
        name = f"{', '.join(found)} of {unit}"
        x, y = _mean(axes, list(same), COLOURS[0])
        axes.plot([x], [y], marker="os^Dv"[place % 5], markersize=7, color=COLOURS[0], label=name, linestyle="none")
    axes.legend(title="found for", frameon=False, fontsize=8, title_fontsize=8, loc="upper center")


def _mean(axes: Axes, points: Points, colour: str) -> tuple[float, float]:
    """The mean of points, which are drawn."""
    axes.scatter(*zip(*points, strict=True), s=8, color=colour, alpha=0.5)
    x, y = (estimate(values).mean for values in zip(*points, strict=True))
    return x, y

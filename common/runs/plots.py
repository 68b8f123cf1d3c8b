"""Pictures of a report as SVG text: a metric against the density, and the density of every tensor.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; every series also has its own marker.
The same data give the same bytes, whatever style the caller's own plots have, and pyplot is not touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.runs.drawing import graph_drawing
from common.runs.figure import COLOURS, GRID, INK, new_figure, style, to_svg
from common.runs.stats import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Rung", "density_curve", "graph_drawing", "layer_densities"]

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_KNOWN = {"ticket": 0, "random": 1, "reinit": 2, "reinitialised": 2}
_TITLES = {"random": "random ticket", "reinit": "re-initialised ticket", "reinitialised": "re-initialised ticket"}


@dataclass(frozen=True)
class Rung:
    """One round of a search: what is kept, and how each series does there.

    Args:
        density: share kept, in (0, 1].
        series: name to estimate. `"ticket"` is drawn as a line with its confidence band, `"random"`, `"reinit"` and
            any other as lines with error bars.
        label: what the horizontal axis says instead of the density, such as `"edges 81%\\nweights 51%"`; when every
            rung has one, the rounds are evenly spaced.
    """

    density: float
    series: Mapping[str, Estimate]
    label: str = ""


@style()
def density_curve(
    rungs: Sequence[Rung], *, dense: Estimate | None = None, metric: str = "test accuracy", percent: bool = True
) -> str:
    """A metric against the share kept, densest round on the left: ticket, controls and the dense network, with 95 % CI.

    Args:
        rungs: the rounds, in any order.
        dense: the dense network, drawn as a band across.
        metric: the name of the vertical axis.
        percent: show the metric times 100.

    Returns:
        An `<svg>` element.

    Raises:
        ValueError: there are no rungs, or a density is outside (0, 1].

    >>> rungs = [Rung(d, {"ticket": Estimate(0.8, 0.01, 3)}) for d in (1.0, 0.5, 0.25)]
    >>> density_curve(rungs, dense=Estimate(0.81, 0.01, 3))[:4]
    '<svg'
    """
    rungs = _checked(rungs)
    labelled = all(rung.label for rung in rungs)
    figure = new_figure(_width(rungs, labelled), 4.4)
    axes = figure.add_subplot()
    scale = 100.0 if percent else 1.0
    if dense is not None:
        _across(axes, dense, scale)
    names = list(dict.fromkeys(name for rung in rungs for name in rung.series))
    names.sort(key=lambda name: _KNOWN.get(name, len(_KNOWN)))
    for name in names:
        points = [
            (i if labelled else rung.density, rung.series[name]) for i, rung in enumerate(rungs) if name in rung.series
        ]
        _line(axes, name, names, points, scale)
    _share_axis(axes, rungs, labelled)
    axes.set_ylabel(f"{metric} (%)" if percent else metric)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    _legend(figure, axes)
    return to_svg(figure, f"{metric} against the share kept")


@style()
def layer_densities(rounds: Mapping[str, Mapping[str, float]]) -> str:
    """The share each tensor keeps, round by round, as a table of shaded numbers.

    Args:
        rounds: label of a round to `{tensor name: density}`; a tensor missing from a round is left blank.

    Returns:
        An `<svg>` element.

    Raises:
        ValueError: there are no rounds or no tensors.

    >>> layer_densities({"1": {"conv.weight": 0.8}, "2": {"conv.weight": 0.64}})[:4]
    '<svg'
    """
    names = list(dict.fromkeys(name for densities in rounds.values() for name in densities))
    if not names:
        raise ValueError(f"found {len(rounds)} rounds and no tensor; give at least one round with one tensor's density")
    import numpy as np

    table = np.array([[densities.get(name, np.nan) for densities in rounds.values()] for name in names]) * 100
    roomy, numbered = len(names) <= 40, len(names) <= 60
    width = 0.6 + 0.075 * min(max(map(len, names)), 42) + 0.62 * max(len(rounds), 3) + (0 if numbered else 0.8)
    figure = new_figure(width, 0.75 + (0.3 if roomy else 0.19) * max(len(names), 2))
    axes = figure.add_subplot()
    image = axes.pcolormesh(table, cmap="Blues", vmin=0, vmax=100, edgecolors="white", linewidth=1.0)
    axes.set_xticks(np.arange(len(rounds)) + 0.5, list(rounds))
    axes.set_yticks(np.arange(len(names)) + 0.5, [_short(name) for name in names], fontsize=9 if roomy else 7)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.set_xlabel("round (numbers: share kept, %)" if numbered else "round")
    axes.spines[:].set_visible(False)
    if numbered:
        _numbers(axes, table, 8.5 if roomy else 6.5)
    else:
        figure.colorbar(image, ax=axes, label="share kept (%)", fraction=0.05, pad=0.02, aspect=40)
    return to_svg(figure, "share kept by tensor and round")


def _checked(rungs: Sequence[Rung]) -> list[Rung]:
    if not rungs:
        raise ValueError("found no rungs; give at least one round")
    for rung in rungs:
        if not 0 < rung.density <= 1:
            raise ValueError(f"a density must be in (0, 1]; found {rung.density}")
    return sorted(rungs, key=lambda rung: -rung.density)


def _across(axes: Axes, dense: Estimate, scale: float) -> None:
    mean, half = dense.mean * scale, (dense.ci95 or 0.0) * scale
    axes.axhspan(mean - half, mean + half, color=INK, alpha=0.08, linewidth=0)
    axes.axhline(mean, color=INK, linewidth=1.2, linestyle=(0, (5, 3)), label="dense network")


def _line(axes: Axes, name: str, names: list[str], points: list[tuple[float, Estimate]], scale: float) -> None:
    others = [other for other in names if other not in _KNOWN]
    slot = _KNOWN[name] if name in _KNOWN else 3 + others.index(name) % (len(COLOURS) - 3)
    x = [at for at, _ in points]
    mean = [found.mean * scale for _, found in points]
    half = [(found.ci95 or 0.0) * scale for _, found in points]
    look: dict[str, Any] = {"color": COLOURS[slot], "marker": _MARKERS[slot], "label": _TITLES.get(name, name)}
    if name == "ticket":
        low, high = [m - h for m, h in zip(mean, half, strict=True)], [m + h for m, h in zip(mean, half, strict=True)]
        axes.fill_between(x, low, high, color=COLOURS[slot], alpha=0.18, linewidth=0, zorder=3)
        axes.plot(x, mean, linewidth=2.2, markersize=6, markeredgecolor="white", zorder=5, **look)
    else:
        axes.errorbar(x, mean, yerr=half, linewidth=1.3, markersize=4.5, elinewidth=1, capsize=2.5, zorder=4, **look)


def _share_axis(axes: Axes, rungs: list[Rung], labelled: bool) -> None:
    if labelled:
        axes.set_xticks(range(len(rungs)), [rung.label for rung in rungs], fontsize=8)
        axes.set_xlabel("kept")
        axes.margins(x=0.06)
        return
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks([rung.density for rung in rungs], [_percent(rung.density * 100) for rung in rungs])
    axes.set_xlabel("share kept (%)")


def _width(rungs: list[Rung], labelled: bool) -> float:
    """Inches, so that the labels of the rounds do not run into each other."""
    longest = max(len(line) for rung in rungs for line in (rung.label.splitlines() or [""]))
    return max(7.4, 1.0 + 0.078 * (longest + 2) * len(rungs)) if labelled else max(7.4, 1.0 + 0.5 * len(rungs))


def _legend(figure: Figure, axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    handles, names = axes.get_legend_handles_labels()
    order = sorted(range(len(names)), key=lambda i: (names[i] != "ticket", names[i] != "dense network"))
    columns = len(order) if len(order) <= 4 else 3
    shown = [handles[i] for i in order], [names[i] for i in order]
    figure.legend(*shown, loc="outside upper left", ncols=columns, frameon=False, handlelength=2.4, borderaxespad=0.2)


def _numbers(axes: Axes, table: Any, size: float) -> None:
    for row, values in enumerate(table.tolist()):
        for column, value in enumerate(values):
            if value == value:  # not NaN
                look: dict[str, Any] = {"color": "white" if value > 65 else INK, "fontsize": size}
                axes.text(column + 0.5, row + 0.5, _percent(value), ha="center", va="center", **look)


def _percent(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 or value == 0 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _short(name: str) -> str:
    return name if len(name) <= 42 else f"{name[:12]}…{name[-29:]}"

"""A metric against the density as SVG text: tickets, controls and the dense network, of one method or of many.

Every series has a colour and a marker of its own, and where there are more series than colours a dash pattern too.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.runs.figure import COLOURS, GRID, INK, new_figure, style, to_svg
from common.runs.stats import Estimate
from common.runs.words import percent_label, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Rung", "density_curve"]

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_MORE_MARKERS = ("<", ">", "p", "h", "*", "d", "8")
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)))
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
    rungs: Sequence[Rung],
    *,
    dense: Estimate | None = None,
    metric: str = "test accuracy",
    percent: bool = True,
    log_above: float | None = None,
) -> str:
    """A metric against the share kept, densest round on the left: ticket, controls and the dense network, with 95 % CI.

    Args:
        rungs: the rounds, in any order; those of several methods may have densities of their own. What is not finite,
            as after a training that diverged, is left out of its line.
        dense: the dense network, drawn as a band across.
        metric: the name of the vertical axis.
        percent: show the metric times 100.
        log_above: make the vertical axis logarithmic if the largest mean is more than so many times the smallest and
            all are positive, as distances are; never by default.

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
    width = _width(rungs, labelled)
    figure = new_figure(width, 4.4)
    axes = figure.add_subplot()
    scale = _Scale(100.0 if percent else 1.0, _floor(rungs, dense, log_above) if log_above else -math.inf)
    if dense is not None and math.isfinite(dense.mean):
        _across(axes, dense, scale)
    found = dict.fromkeys(name for rung in rungs for name in rung.series)
    order = (lambda name: _KNOWN.get(name, len(_KNOWN))) if "ticket" in found else _KNOWN.__contains__
    names = sorted(found, key=order)  # controls after the methods that they belong to
    for name in names:
        points = [
            (i if labelled else rung.density, rung.series[name]) for i, rung in enumerate(rungs) if name in rung.series
        ]
        _line(axes, _look(name, names), points, scale, band=name == "ticket")
    _share_axis(axes, rungs, labelled, width)
    _metric_axis(axes, f"{metric} (%)" if percent else metric, scale)
    _legend(figure, axes, width)
    return to_svg(figure, f"{metric} against the share kept")


def _checked(rungs: Sequence[Rung]) -> list[Rung]:
    if not rungs:
        raise ValueError("found no rungs; give at least one round")
    for rung in rungs:
        if not 0 < rung.density <= 1:
            raise ValueError(f"a density must be in (0, 1]; found {rung.density}")
    return sorted(rungs, key=lambda rung: -rung.density)


@dataclass(frozen=True)
class _Scale:
    """What the vertical axis shows: values times a factor, and those from `floor` on if it is logarithmic."""

    times: float
    floor: float

    @property
    def log(self) -> bool:
        return self.floor > 0

    def ends(self, found: Estimate) -> tuple[float, float, float]:
        """Mean and the two ends of its interval."""
        half = found.ci95 if found.ci95 is not None and math.isfinite(found.ci95) else 0.0
        mean = found.mean if math.isfinite(found.mean) else math.nan
        low = max(found.mean - half, min(found.mean, self.floor))
        return mean * self.times, low * self.times, (found.mean + half) * self.times


def _floor(rungs: list[Rung], dense: Estimate | None, above: float) -> float:
    """The lower end of a logarithmic axis; minus infinity if the axis is to be linear."""
    found = [one for rung in rungs for one in rung.series.values()] + ([dense] if dense else [])
    means = [one.mean for one in found if math.isfinite(one.mean)]
    return min(means) / 1.6 if means and 0 < min(means) * above < max(means) else -math.inf


def _across(axes: Axes, dense: Estimate, scale: _Scale) -> None:
    mean, low, high = scale.ends(dense)
    axes.axhspan(low, high, color=INK, alpha=0.08, linewidth=0)
    axes.axhline(mean, color=INK, linewidth=1.2, linestyle=(0, (5, 3)), label="dense network")


def _look(name: str, names: list[str]) -> dict[str, Any]:
    """Colour, marker and dashes: ticket and controls have theirs, others what is left, no two the same."""
    look: dict[str, Any] = {"label": _TITLES.get(name, short_name(name)), "linestyle": "-"}
    if name in _KNOWN:
        return look | {"color": COLOURS[_KNOWN[name]], "marker": _MARKERS[_KNOWN[name]]}
    taken = {_KNOWN[other] for other in names if other in _KNOWN}
    free = [slot for slot in (3, 4, 5, 6, 0, 1, 2) if slot not in taken]
    markers = [_MARKERS[slot] for slot in free] + list(_MORE_MARKERS)
    index = [other for other in names if other not in _KNOWN].index(name)
    return look | {
        "color": COLOURS[free[index % len(free)]],
        "marker": markers[index % len(markers)],
        "linestyle": _DASHES[index // len(free) % len(_DASHES)],
    }


def _line(axes: Axes, look: dict[str, Any], points: list[tuple[float, Estimate]], scale: _Scale, *, band: bool) -> None:
    x = [at for at, _ in points]
    mean, low, high = zip(*(scale.ends(found) for _, found in points), strict=True)
    if band:
        axes.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0, zorder=3)
        axes.plot(x, mean, linewidth=2.2, markersize=6, markeredgecolor="white", zorder=5, **look)
    else:
        bars = [[m - at for m, at in zip(mean, low, strict=True)], [at - m for m, at in zip(mean, high, strict=True)]]
        axes.errorbar(x, mean, yerr=bars, linewidth=1.3, markersize=4.5, elinewidth=1, capsize=2.5, zorder=4, **look)


def _share_axis(axes: Axes, rungs: list[Rung], labelled: bool, width: float) -> None:
    if labelled:
        axes.set_xticks(range(len(rungs)), [rung.label for rung in rungs], fontsize=8)
        axes.set_xlabel("kept")
        axes.margins(x=0.06)
        return
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.xaxis.set_minor_locator(NullLocator())
    shown = _apart([rung.density for rung in rungs], width)
    axes.set_xticks(shown, [percent_label(density * 100) for density in shown])
    axes.set_xlabel("share kept (%)")


def _apart(densities: list[float], width: float) -> list[float]:
    """Densities, falling, without those whose labels would run into another; the first and the last stay."""
    least = math.log(densities[0] / densities[-1]) * 0.45 / (width - 1.2)
    shown = densities[:1]
    for density in densities[1:]:
        if math.log(shown[-1] / density) > least:
            shown.append(density)
    if len(shown) > 1:
        shown[-1] = densities[-1] if math.log(shown[-1] / densities[-1]) <= least else shown[-1]
    return shown


def _metric_axis(axes: Axes, name: str, scale: _Scale) -> None:
    axes.set_ylabel(textwrap.fill(name, 38, break_long_words=False))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    if scale.log:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        axes.set_yscale("log")
        low, high = scale.floor * scale.times, axes.get_ylim()[1]
        axes.set_ylim(low, high)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 2000 * low else (1.0,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    elif scale.times == 100:  # no interval of a share goes on below none or above all
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -2), min(high, 102))


def _width(rungs: list[Rung], labelled: bool) -> float:
    """Inches, so that the labels of the rounds do not run into each other."""
    longest = max(len(line) for rung in rungs for line in (rung.label.splitlines() or [""]))
    if labelled:
        return max(7.4, 1.0 + 0.078 * (longest + 2) * len(rungs))
    return max(7.4, 1.0 + 0.5 * len(_apart([rung.density for rung in rungs], 11.0)))


def _legend(figure: Figure, axes: Axes, width: float) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    handles, names = axes.get_legend_handles_labels()
    order = sorted(range(len(names)), key=lambda i: (names[i] != "ticket", names[i] != "dense network"))
    columns = _columns([names[i] for i in order], width)
    shown = [handles[i] for i in order], [names[i] for i in order]
    figure.legend(*shown, loc="outside upper left", ncols=columns, frameon=False, handlelength=2.4, borderaxespad=0.2)


def _columns(names: list[str], width: float) -> int:
    """As many columns of a legend, filled one after the other, as fit: four names in a line, else in threes."""
    for columns in range(len(names) if len(names) <= 4 else 3, 1, -1):
        tall, more = divmod(len(names), columns)
        starts = [i * tall + min(i, more) for i in range(columns + 1)]
        longest = [max(map(len, names[a:b])) for a, b in itertools.pairwise(starts)]
        if sum(0.6 + 0.083 * count for count in longest) <= width:
            return columns
    return 1

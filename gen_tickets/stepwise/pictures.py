"""Pictures of a schedule search as SVG text: sensitivity, front, who denoises when, losses by interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from common.runs.figure import COLOURS, GRID, INK, new_figure, style, to_svg
from gen_tickets._intervals import paced
from gen_tickets.stepwise.solve import Point

if TYPE_CHECKING:
    from matplotlib.colors import Normalize

__all__ = ["bars", "front_curve", "heat_map", "losses"]


@style()
def heat_map(damage: np.ndarray, names: Sequence[str], labels: Sequence[str]) -> str:
    """Damage (K, M) of every swap, one row a network, one column an interval, on a logarithmic scale.

    Where some do less than no damage, colours are symmetric about zero.

    Args:
        damage: the first column, of the dense network, is zero and left out; inf is left blank.
        names: of the M choices.
        labels: of the K intervals, from noise to image.

    Returns:
        An `<svg>` element.

    >>> heat_map(np.array([[0.0, 1.0], [0.0, 10.0]]), ["dense", "small"], ["1", "2"])[:4]
    '<svg'
    """
    table = np.where(np.isfinite(damage[:, 1:]) & (damage[:, 1:] != 0), damage[:, 1:], np.nan).T
    figure = new_figure(1.8 + 0.62 * table.shape[1], 1.3 + 0.42 * len(table))
    axes = figure.add_subplot()
    norm, colours = _scale(table[np.isfinite(table)])
    axes.pcolormesh(table, cmap=colours, norm=norm, edgecolors="white", linewidth=1.0)
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            dark = norm(value) > 0.6 if colours == "Oranges" else abs(norm(value) - 0.5) > 0.3
            axes.text(column + 0.5, row + 0.5, f"{value:.2g}", ha="center", va="center", fontsize=8,
                      color="white" if dark else INK)  # fmt: skip
    axes.set_xticks(np.arange(table.shape[1]) + 0.5, labels, fontsize=8)
    axes.set_yticks(np.arange(len(table)) + 0.5, names[1:])
    axes.set_xlabel("log-SNR at the beginning of the interval, from noise to image")
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return to_svg(figure, "damage of every swap")


def _scale(values: np.ndarray) -> tuple[Normalize, str]:
    """A logarithmic scale of colours for damages, symmetric about zero if one is negative."""
    from matplotlib.colors import LogNorm, SymLogNorm

    least, most = (values.min(), values.max()) if len(values) else (1.0, 2.0)
    if least > 0:
        return LogNorm(least, max(most, least * 1.01)), "Oranges"
    most = max(most, -least)
    return SymLogNorm(0.1 * most, vmin=-most, vmax=most), "PuOr_r"


@style()
def front_curve(front: Sequence[Point], looked: Sequence[Point], chosen: Point, cost: str) -> str:
    """Damage against cost: the front as a line, schedules that were sampled as a whole as points.

    Args:
        front: by rising cost, with the sums of damages.
        looked: with their joint damages.
        chosen: one of them.
        cost: what the horizontal axis is a share of.

    Returns:
        An `<svg>` element.

    >>> point = Point((1,), 0.2, 3.0)
    >>> front_curve([point, Point((0,), 1.0, 0.0)], [point], point, "seconds")[:4]
    '<svg'
    """
    figure = new_figure(7.0, 4.4)
    axes = figure.add_subplot()
    axes.step([one.cost for one in front], [one.damage for one in front], where="post", color=COLOURS[0],
              label="front, sum of single swaps")  # fmt: skip
    axes.plot([one.cost for one in looked], [one.damage for one in looked], "o", color=COLOURS[1], markersize=5,
              label="sampled as a whole")  # fmt: skip
    axes.plot([chosen.cost], [chosen.damage], "*", color=COLOURS[2], markersize=13, label="the schedule found")
    found = [abs(one.damage) for one in [*front, *looked] if np.isfinite(one.damage) and one.damage]
    signed = any(one.damage < 0 for one in [*front, *looked])
    axes.set_yscale("symlog", linthresh=0.1 * max(found) if signed else min(found, default=1.0))
    axes.set_xlabel(f"cost, share of the dense network's {cost}")
    axes.set_ylabel("damage, less is better")
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return to_svg(figure, "damage against cost")


@style()
def bars(schedules: Mapping[str, Sequence[tuple[str, float]]], names: Sequence[str], cost: str) -> str:
    """Who denoises for how long: a bar a schedule, from noise on the left to the image on the right.

    Args:
        schedules: label to (network, its share of the dense network's cost), stretch by stretch.
        names: of all networks, for their colours.
        cost: what the horizontal axis is a share of.

    Returns:
        An `<svg>` element.

    >>> bars({"found": [("small", 0.1), ("dense", 0.4)]}, ["dense", "small"], "seconds")[:4]
    '<svg'
    """
    figure = new_figure(7.4, 1.2 + 0.38 * len(schedules))
    axes, seen = figure.add_subplot(), set[str]()
    for row, parts in enumerate(schedules.values()):
        left = 0.0
        for name, width in parts:
            if not width:
                continue  # skipped
            label: dict[str, Any] = {} if name in seen else {"label": name}
            network, every = paced(name)
            colour = (COLOURS[names.index(network) % len(COLOURS)], 0.2 + 0.8 / every)  # the paler, the more it rests
            axes.barh(row, width, left=left, height=0.62, color=colour, edgecolor="white", linewidth=0.6, **label)
            seen.add(name)
            left += width
    axes.set_yticks(range(len(schedules)), list(schedules))
    axes.invert_yaxis()
    axes.set_xlabel(f"{cost}, share of the dense network's; from noise (left) to image")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    return to_svg(figure, "who denoises when")


@style()
def losses(curves: Mapping[str, np.ndarray], steps: Sequence[int]) -> str:
    """Held-out losses by interval, as shares of what they were at the start: a panel a network.

    Args:
        curves: network to losses (checks, intervals).
        steps: of the checks.

    Returns:
        An `<svg>` element.

    >>> losses({"dense": np.array([[2.0, 1.0], [1.0, 1.0]])}, [0, 10])[:4]
    '<svg'
    """
    from matplotlib import colormaps

    figure = new_figure(3.4 * len(curves), 3.2)
    panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for axes, (name, curve) in zip(panels, curves.items(), strict=True):
        for interval, line in enumerate((curve / curve[0]).T):
            shade = colormaps["viridis"](interval / max(1, curve.shape[1] - 1))
            axes.plot(steps, line, color=shade, linewidth=1.3, label=f"interval {interval + 1}")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("step")
        axes.grid(color=GRID, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("loss, 1 at the start")
    panels[-1].legend(frameon=False, fontsize=7)
    return to_svg(figure, "losses by interval")

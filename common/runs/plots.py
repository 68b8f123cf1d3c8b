"""Pictures of a report as SVG text: a metric against the density, and the density of every tensor.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart. The same data give the same bytes,
whatever style the caller's own plots have, and pyplot is not touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from common.runs.curves import Rung, density_curve
from common.runs.drawing import graph_drawing
from common.runs.figure import INK, new_figure, style, to_svg
from common.runs.words import percent_label, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Rung", "density_curve", "graph_drawing", "layer_densities"]


@style()
def layer_densities(rounds: Mapping[str, Mapping[str, float]], *, columns: str = "round") -> str:
    """The share each tensor keeps, round by round, as a table of shaded numbers.

    Args:
        rounds: label of a round to `{tensor name: density}`; a tensor missing from a round is left blank.
        columns: what the labels are of, where they are of no rounds.

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
    roomy, numbered = len(names) <= 40, len(names) <= 80
    width = 0.6 + 0.075 * min(max(map(len, names)), 42) + 0.62 * max(len(rounds), 3) + (0 if numbered else 0.8)
    figure = new_figure(width, 0.75 + (0.3 if roomy else 0.19) * max(len(names), 2))
    axes = figure.add_subplot()
    image = axes.pcolormesh(table, cmap="Blues", norm=_shades(numbered), edgecolors="white", linewidth=1.0)
    slanted: dict[str, Any] = (
        {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if max(map(len, rounds)) > 8 else {}
    )
    axes.set_xticks(np.arange(len(rounds)) + 0.5, [short_name(label) for label in rounds], **slanted)
    axes.set_yticks(np.arange(len(names)) + 0.5, [short_name(name) for name in names], fontsize=9 if roomy else 7)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.set_xlabel(f"{columns} (numbers: share kept, %)" if numbered else columns)
    axes.spines[:].set_visible(False)
    if numbered:
        _numbers(axes, table, 8.5 if roomy else 6.5)
    else:
        figure.colorbar(image, ax=axes, label="share kept (%)", fraction=0.05, pad=0.02, aspect=40)
    return to_svg(figure, f"share kept by tensor and {columns}")


def _shades(numbered: bool) -> Any:
    """Shares to shades; where there are no numbers to read, small shares get more of the scale."""
    from matplotlib.colors import Normalize, PowerNorm

    return Normalize(0, 100) if numbered else PowerNorm(0.4, 0, 100)


def _numbers(axes: Axes, table: Any, size: float) -> None:
    for row, values in enumerate(table.tolist()):
        for column, value in enumerate(values):
            if value == value:  # not NaN
                look: dict[str, Any] = {"color": "white" if value > 65 else INK, "fontsize": size}
                axes.text(column + 0.5, row + 0.5, percent_label(value), ha="center", va="center", **look)

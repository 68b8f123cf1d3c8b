"""The picture of `roofline.py`: rates over intensities under the roofs of one core, a panel a layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from common.runs.figure import COLOURS, GRID, INK, MUTED, new_figure, style

__all__ = ["draw"]

_LEFT, _RIGHT = 1.0, 1000.0
_LOW, _HIGH = 20.0, 180.0


@style()
def draw(found: dict[str, Any], path: Path) -> None:
    """Write the picture.

    Args:
        found: what `roofline.py` measured.
        path: of a PNG file.
    """
    figure = new_figure(11.0, 6.4)
    panels = figure.subplots(2, 3, sharex=True, sharey=True).flat
    names = list(dict.fromkeys(layer["layer"] for layer in found["layers"]))
    for axes, name in zip(panels, names, strict=False):
        _frame(axes, name)
        _roofs(axes, found["roofs"])
        _layer(axes, [layer for layer in found["layers"] if layer["layer"] == name])
    legend = figure.axes[-1]
    _frame(legend, "the roofs of this core")
    _roofs(legend, found["roofs"])
    _roof_names(legend, found["roofs"])
    hardware = (
        f"{found['hardware']}, one thread, {found['images']} images,\ntorch {found['torch']}, {found['date']}.\n"
        "Operations on padding count,\nsome of which dense convolutions skip."
    )
    legend.text(_RIGHT, 1.05 * _LOW, hardware, ha="right", va="bottom", fontsize=7.5, color=MUTED)
    figure.suptitle(_finding(found["layers"]), x=0.01, ha="left", fontsize=12.5, fontweight="bold")
    figure.supxlabel("operations per byte of inputs, outputs and weights (FLOP/byte)", fontsize=10)
    figure.supylabel("rate (GFLOP/s): sparse on the non-zeros, dense on all weights", fontsize=10)
    figure.savefig(path, format="png", dpi=130, metadata={"Software": None})


def _finding(layers: list[dict[str, Any]]) -> str:
    """What the picture says, of 3 x 3 layers with 128 and 256 channels."""
    judged = [layer for layer in layers if layer["layer"].startswith(("3x3, 128", "3x3, 256"))]
    shares = [layer["of_peak_best"] for layer in judged]
    below = {layer["density"] for layer in judged if layer["of_peak_best"] < 0.5}
    always = [layer["density"] for layer in judged if layer["density"] > max(below, default=0.0)]
    where = (
        f"at least half at densities from {min(always):g} on" if always else "less than half at some of every density"
    )
    return (
        f"Sparse 3x3 kernels of 128 and 256 channels reach {min(shares):.0%} to {max(shares):.0%} of the core's "
        f"multiply-add peak,\n{where}"
    )


def _frame(axes: Any, name: str) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(_LEFT, _RIGHT)
    axes.set_ylim(_LOW, _HIGH)
    for axis, ticks in ((axes.xaxis, (1, 10, 100, 1000)), (axes.yaxis, (20, 40, 60, 80, 120, 160))):
        axis.set_ticks(ticks, [str(tick) for tick in ticks])
        axis.set_minor_locator(NullLocator())
    axes.grid(color=GRID, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(name, loc="left", fontsize=10)


def _roofs(axes: Any, roofs: dict[str, float]) -> None:
    most, memory = roofs["multiply_add_gflops"], roofs["read_gb_per_second"]
    edge = np.array([_LEFT, most / memory])
    axes.plot(edge, edge * memory, color=INK, linewidth=1.4)
    axes.plot([most / memory, _RIGHT], [most, most], color=INK, linewidth=1.4)
    loads = roofs["load_multiply_add_gflops"]
    axes.plot([loads / memory, _RIGHT], [loads, loads], color=MUTED, linewidth=1.0, linestyle=(0, (4, 2)))
    axes.plot([most / memory / 2, _RIGHT], [most / 2, most / 2], color=MUTED, linewidth=1.0, linestyle=(0, (1, 2)))


def _roof_names(axes: Any, roofs: dict[str, float]) -> None:
    most, loads, memory = (roofs[k] for k in ("multiply_add_gflops", "load_multiply_add_gflops", "read_gb_per_second"))
    look: dict[str, Any] = {"fontsize": 8.5, "ha": "right"}
    axes.text(_RIGHT, most * 1.04, f"multiply-adds in registers: {most:.0f} GFLOP/s", va="bottom", color=INK, **look)
    text = f"each with a load from the\nfirst-level cache: {loads:.0f} GFLOP/s"
    axes.text(_RIGHT, loads * 0.95, text, va="top", color=MUTED, **look)
    axes.text(_RIGHT, most / 2 * 0.95, f"half of the peak: {most / 2:.0f} GFLOP/s", va="top", color=MUTED, **look)
    place = 1.6, 1.6 * memory * 0.8
    axes.text(*place, f"main memory: {memory:.0f} GB/s read", va="top", fontsize=8.5, color=INK)


def _layer(axes: Any, points: list[dict[str, Any]]) -> None:
    x, y = ([point[key] for point in points] for key in ("intensity", "kernel_gflops_best"))
    axes.plot(x, y, color=COLOURS[0], marker="o", markersize=5, linewidth=1.2)
    look: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8}
    labelled = float("inf")
    for point in points:
        if point["intensity"] < 0.7 * labelled:
            labelled = point["intensity"]
            place = (labelled, point["kernel_gflops_best"])
            axes.annotate(f"{point['density']:g}", place, (2, -11), color=COLOURS[0], **look)
    axes.annotate("sparse, by density", (x[-1], y[-1]), (-4, -22), color=COLOURS[0], **look)
    dense = max(max(point["dense_gflops_best"], point["dense_channels_last_gflops_best"]) for point in points)
    place = (points[0]["dense_intensity"], dense)
    axes.plot(*place, color=COLOURS[1], marker="D", markersize=5, linestyle="none")
    axes.annotate("dense", place, (0, 6), ha="center", color=COLOURS[1], **look)

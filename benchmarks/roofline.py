"""How near the sparse kernels come to what one core can do, by layer and density, beside dense oneDNN.

Each layer takes turns with torch's dense convolution and with a loop of multiply-adds that touches no memory, so that
a busy machine slows all alike: `of_peak` is the kernel's rate on the non-zeros over the loop's in the same turns.
`kernel` are the sums alone, on an input that is staged; `layer` brings the input there first. Operations are 2 x
non-zeros x pixels x images, those on padding included, some of which dense kernels skip; intensity is operations per
byte of inputs, outputs and weights (8 bytes a non-zero, 4 dense), each counted once. One thread, 16 images, medians of
seven turns; `best` is of the quickest turn, which other work on the machine disturbs least, and is what the picture
shows. Writes `results/roofline.json` and draws it.

    python benchmarks/roofline.py
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peaks import Peak, peaks
from roofline_figure import draw
from torch.nn import functional

from common.runs.manifest import hardware
from common.runs.race import race
from common.sparse.geometry import parts, stage
from common.sparse.layer import Layer, Where
from common.sparse.layout import IMAGES, Plane
from common.sparse.machine import host
from common.sparse.memory import over
from common.sparse.summation import Sum, buffer
from common.sparse.team import Team
from common.sparse.weights import Kept

LAYERS = ((3, 128, 32), (3, 256, 16), (3, 256, 8), (3, 512, 4), (1, 256, 16))  # kernel, channels, rows and columns
DENSITIES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02)
_TURN = 0.004  # seconds that a turn lasts at least
ROOT = Path(__file__).resolve().parent


def engines(kernel: int, channels: int, size: int, density: float) -> tuple[dict[str, Callable[[], object]], int]:
    """Sums alone, the whole layer and dense convolutions, which are checked against each other; and the non-zeros."""
    torch.manual_seed(0)
    weight = torch.randn(channels, channels, kernel, kernel) / channels
    weight *= torch.rand_like(weight) < density
    edge, plane, where = kernel // 2, Plane(size, size, IMAGES), Where(host(), Team(1))
    options: dict[str, Any] = {"stride": [1, 1], "padding": [edge] * 4, "dilation": [1, 1], "groups": 1}
    x, y = (over(where.pool.take(channels * plane.size // 4), IMAGES, channels, plane) for _ in "xy")
    x.normal_()
    layer, source = Layer(Kept.of(weight), options), stage(options, (kernel, kernel), size, size, IMAGES)
    staged = torch.from_numpy(buffer(channels * source.plane.size // 4))
    over(staged, IMAGES, channels, source.plane).copy_(x)
    (part,) = parts(weight.numpy(), options, source, plane, (size, size))
    sums = Sum(weight.numpy(), part.inputs, part.outputs, part.size)
    bias = torch.from_numpy(buffer(channels * IMAGES)).view(channels, IMAGES)
    plain = x.contiguous()
    last = plain.to(memory_format=torch.channels_last), weight.to(memory_format=torch.channels_last)
    expected = functional.conv2d(plain, weight, padding=edge)
    found: dict[str, Callable[[], object]] = {
        "kernel": lambda: sums.run(staged.data_ptr(), y.data_ptr(), bias.data_ptr(), None, where.team),
        "layer": partial(layer.run, x, y, bias, None, None, where),
        "dense": partial(functional.conv2d, plain, weight, None, 1, edge),
        "dense_channels_last": partial(functional.conv2d, *last, None, 1, edge),
    }
    for name in ("kernel", "layer"):
        y.zero_()
        found[name]()
        torch.testing.assert_close(y, expected, atol=1e-4, rtol=1e-4)
    return found, int(torch.count_nonzero(weight))


def measure(kernel: int, channels: int, size: int, density: float, peak: Peak, repeats: int) -> dict[str, Any]:
    """Rates in GFLOP/s of one layer at one density, and its intensity."""
    calls, nonzeros = engines(kernel, channels, size, density)
    weights, pixels = kernel * kernel * channels * channels, size * size * IMAGES
    work = {name: 2.0 * pixels * (weights if "dense" in name else nonzeros) for name in calls} | {"peak": peak.work}
    calls["peak"] = peak.call
    turns = {name: max(1, ceil(_TURN / times["seconds_min"])) for name, times in race(calls, 2).items()}

    def several(name: str) -> None:
        for _ in range(turns[name]):
            calls[name]()

    timed = race({name: partial(several, name) for name in calls}, repeats)
    rates, best = (
        {name: work[name] * turns[name] / timed[name][which] / 1e9 for name in calls}
        for which in ("seconds", "seconds_min")
    )
    moved, dense = 2 * channels * pixels * 4, max(("dense", "dense_channels_last"), key=best.__getitem__)
    return {
        "layer": f"{kernel}x{kernel}, {channels} channels, {size}x{size}",
        "density": density,
        **{f"{name}_gflops": round(rate, 1) for name, rate in rates.items()},
        **{f"{name}_gflops_best": round(rate, 1) for name, rate in best.items()},
        "of_peak": round(rates["kernel"] / rates["peak"], 3),
        "of_peak_best": round(best["kernel"] / best["peak"], 3),
        "dense_of_peak_best": round(best[dense] / best["peak"], 3),
        "speedup_of_layer_best": round(best["layer"] / best[dense] * weights / nonzeros, 2),
        "intensity": round(work["kernel"] / (moved + 8 * nonzeros), 2),
        "dense_intensity": round(work["dense"] / (moved + 4 * weights), 2),
    }


def roofs(repeats: int) -> dict[str, float]:
    """The core's peaks in GFLOP/s and GB/s: the best of all turns, since nothing makes a core quicker than it is."""
    loops = peaks()
    timed = race({name: loop.call for name, loop in loops.items()}, repeats)
    rates = {name: loop.work / timed[name]["seconds_min"] / 1e9 for name, loop in loops.items()}
    source, target = np.ones(64 << 20, dtype=np.float32), np.zeros(64 << 20, dtype=np.float32)
    copied = race({"copy": lambda: np.copyto(target, source)}, repeats)["copy"]["seconds_min"]
    return {
        "multiply_add_gflops": round(rates["multiply_add"], 1),
        "load_multiply_add_gflops": round(rates["load_multiply_add"], 1),
        "read_gb_per_second": round(rates["read"], 1),
        "copy_gb_per_second": round(2 * source.nbytes / copied / 1e9, 1),
    }


def main() -> None:
    """Measure, write the figures and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "roofline.json")
    parser.add_argument("--picture", type=Path, default=ROOT.parent / "docs" / "images" / "roofline.png")
    parser.add_argument("--draw", action="store_true", help="draw what --results already holds; measure nothing")
    options = parser.parse_args()
    if not options.draw:
        torch.set_num_threads(1)
        peak = peaks()["multiply_add"]
        found = {
            "hardware": hardware(),
            "lanes": host().lanes,
            "threads": 1,
            "images": IMAGES,
            "torch": torch.__version__,
            "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
            "roofs": roofs(options.repeats),
            "layers": [measure(*layer, density, peak, options.repeats) for layer in LAYERS for density in DENSITIES],
        }
        options.results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(found, indent=1))
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    draw(json.loads(options.results.read_text(encoding="utf-8")), options.picture)


if __name__ == "__main__":
    main()

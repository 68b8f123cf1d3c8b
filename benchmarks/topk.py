"""How long an exact global selection among 20 million weights takes, beside one call of torch.kthvalue.

Timed in turn, repeat by repeat, so that a busy machine slows all alike: `prune(scores, density)` with the global
allocation over several tensors, the same within masks that keep half, and `torch.kthvalue` on the concatenated scores,
which finds the threshold only (no mask, no ties). The masks are checked against a stable sort once. Prints one JSON
object; `ratio` is prune over kthvalue.

    python benchmarks/topk.py --repeats 7 --density 0.1
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy
import torch
from torch import Tensor

from common.allocate import global_, prune
from common.masks import Masks
from common.runs.manifest import hardware
from common.runs.race import race


def make(tensors: int, total: int, decimals: int | None) -> dict[str, Tensor]:
    """Magnitudes of normal weights in tensors of unequal size; rounded to so many decimals, they have many ties."""
    generator = torch.Generator().manual_seed(0)
    shares = torch.arange(1, tensors + 1, dtype=torch.float64)
    sizes = (shares / shares.sum() * total).long().tolist()
    sizes[-1] += total - sum(sizes)
    scores = {f"layer{i}.weight": torch.randn(size, generator=generator).abs() for i, size in enumerate(sizes)}
    return scores if decimals is None else {name: score.round(decimals=decimals) for name, score in scores.items()}


def is_exact(scores: dict[str, Tensor], masks: Masks, density: float) -> bool:
    """Whether the masks are those of a stable descending sort of everything."""
    flat = torch.cat(list(scores.values())).numpy()
    best = numpy.argsort(-flat, kind="stable")[: round(density * flat.size)]
    expected = numpy.zeros(flat.size, dtype=bool)
    expected[best] = True
    return bool((torch.cat(list(masks.values())).numpy() == expected).all())


def measure(scores: dict[str, Tensor], density: float, repeats: int) -> dict[str, Any]:
    """Milliseconds and ratios, and whether the masks are right."""
    flat = torch.cat(list(scores.values()))
    rank = flat.numel() - round(density * flat.numel()) + 1
    half = prune(scores, 0.5)
    exact = is_exact(scores, prune(scores, density), density)
    timed = race(
        {
            "prune": lambda: prune(scores, density, allocate=global_),
            "prune_within": lambda: prune(scores, density, allocate=global_, within=half),
            "kthvalue": lambda: torch.kthvalue(flat, rank),
        },
        repeats,
    )
    times = {name: found["seconds"] for name, found in timed.items()}
    return {
        "exact": exact,
        "ratio": round(times["prune"] / times["kthvalue"], 3),
        "ratio_within": round(times["prune_within"] / times["kthvalue"], 3),
        "milliseconds": {name: round(1000 * value, 1) for name, value in times.items()},
    }


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=20_000_000)
    parser.add_argument("--tensors", type=int, default=12)
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--decimals", type=int, help="round the scores to so many decimals, for ties")
    options = parser.parse_args()
    if not 0.0 <= options.density <= 0.5:
        parser.error(f"--density must lie in [0, 0.5], within the masks that keep half; found {options.density}")
    scores = make(options.tensors, options.entries, options.decimals)
    result = measure(scores, options.density, options.repeats)
    context = {"threads": torch.get_num_threads(), "torch": torch.__version__, "hardware": hardware()}
    print(json.dumps(vars(options) | result | context, indent=1))


if __name__ == "__main__":
    main()

"""What masking costs a training step: the same step dense and masked, interleaved, on an MLP and a small CNN.

Each pair of models starts alike and sees the same batch; dense and masked steps alternate, so that a busy machine slows
both. Reported are median milliseconds and the median of the pairwise ratios. Prints one JSON object.

Pruned entries have second moments of exactly zero, whatever zeroes their gradients, and torch's default CPU Adam takes
their square root with an operator that is several times slower on zeros than on other numbers; `sqrt_of_zeros` is that
ratio on this machine. `Adam(fused=True)` does not use it and is the better choice on a CPU, dense or masked.

    python benchmarks/masked_step.py --repeats 30 --density 0.2
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from common.apply import masked
from common.masks import Masks, prunable
from common.runs.manifest import hardware

OPTIMIZERS: dict[str, Callable[[Iterable[Tensor]], torch.optim.Optimizer]] = {
    "sgd_momentum": lambda params: torch.optim.SGD(params, lr=1e-3, momentum=0.9),
    "adam": lambda params: torch.optim.Adam(params, lr=1e-4),
    "adam_fused": lambda params: torch.optim.Adam(params, lr=1e-4, fused=True),
}


def mlp() -> tuple[nn.Module, tuple[int, ...]]:
    """4.2 million weights: 1024, 1024, 1024, 1024, 1024, 10."""
    layers = [layer for _ in range(4) for layer in (nn.Linear(1024, 1024), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(1024, 10)), (1024,)


def cnn() -> tuple[nn.Module, tuple[int, ...]]:
    """1.5 million weights on 3 x 16 x 16 images."""
    widths = (3, 64, 128, 256, 448)
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(widths)):
        layers += [nn.Conv2d(a, b, 3, stride=1 if i == 0 else 2, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10)), (3, 16, 16)


def stepper(model: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, Tensor]) -> Callable[[], float]:
    """One training step, and the seconds it took."""

    def step() -> float:
        begin = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()
        return time.perf_counter() - begin

    return step


def measure(
    make: Callable[[], tuple[nn.Module, tuple[int, ...]]], name: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Medians of dense and masked steps under one optimizer."""
    torch.manual_seed(0)
    dense, shape = make()
    sparse = copy.deepcopy(dense)
    masks = Masks({n: torch.rand(p.shape) < options.density for n, p in prunable(sparse).items()})
    batch = (torch.randn(options.batch, *shape), torch.randint(10, (options.batch,)))
    steps = [stepper(m, OPTIMIZERS[name](m.parameters()), batch) for m in (dense, sparse)]
    seconds: list[tuple[float, float]] = []
    with masked(sparse, masks):
        for repeat in range(options.repeats + 3):
            pair = (steps[0](), steps[1]()) if repeat % 2 else (steps[1](), steps[0]())[::-1]
            if repeat >= 3:
                seconds.append(pair)
    ratio = statistics.median(m / d for d, m in seconds)
    return {
        "weights": masks.total,
        "dense_ms": round(1000 * statistics.median(d for d, _ in seconds), 2),
        "masked_ms": round(1000 * statistics.median(m for _, m in seconds), 2),
        "ratio": round(ratio, 3),
        "within_limit": ratio <= options.limit,
    }


def sqrt_of_zeros(repeats: int = 15) -> float:
    """How much slower torch takes the square roots of a million zeros than of a million ones."""
    seconds: dict[float, list[float]] = {0.0: [], 1.0: []}
    for _ in range(repeats):
        for value, times in seconds.items():
            tensor = torch.full((1 << 20,), value)
            begin = time.perf_counter()
            tensor.sqrt_()
            times.append(time.perf_counter() - begin)
    return statistics.median(seconds[0.0]) / statistics.median(seconds[1.0])


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--density", type=float, default=0.2)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--limit", type=float, default=1.25)
    options = parser.parse_args()
    results = {f"{make.__name__}_{name}": measure(make, name, options) for make in (mlp, cnn) for name in OPTIMIZERS}
    about = {"threads": torch.get_num_threads(), "torch": torch.__version__, "hardware": hardware()}
    extra = {"sqrt_of_zeros": round(sqrt_of_zeros(), 1), "results": results}
    print(json.dumps(vars(options) | about | extra, indent=1))


if __name__ == "__main__":
    main()

"""What an extractor must tell apart before its distances mean anything: four rows of the test split against itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from gen_tickets.distances import frechet, statistics

__all__ = ["NOISE", "rows"]

NOISE = 32
"""Standard deviation of the noise, of 255."""


def rows(features: Callable[[Tensor], Tensor], pixels: Tensor, labels: Tensor, seed: int) -> dict[str, float]:
    """Frechet distances of one half of labelled images, as it is and spoilt, from the other half.

    Args:
        features: from images (N, C, H, W) uint8 to (N, D).
        pixels: (N, C, H, W) uint8.
        labels: (N,).
        seed: of the halves and the noise.

    Returns:
        `real` (as it is: the noise floor at this number of images), `noise` (N(0, 32) on every byte), `blur` (means of
        3x3 pixels) and `missing class` (without the images of label 0).
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(pixels), generator=generator)
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    half = pixels[second]
    noise = NOISE * torch.randn(half.shape, generator=generator)
    padded = functional.pad(half.float(), (1, 1, 1, 1), mode="replicate")
    spoilt = {
        "real": half,
        "noise": _bytes(half + noise),
        "blur": _bytes(functional.avg_pool2d(padded, 3, stride=1)),
        "missing class": half[labels[second] != 0],
    }
    real = statistics(features(pixels[first]))
    return {name: frechet(statistics(features(part)), real) for name, part in spoilt.items()}


def _bytes(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)

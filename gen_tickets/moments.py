"""Moments of features: mean and diagonal variance over a data set, and how far generated images are from them.

An extractor is any function from images (N, C, H, W) to a list of feature tensors (N, ...), in eval mode and frozen:
the layers of a classifier or of an auto-encoder's encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.scoped import seeded
from gen_tickets._steps import step_seed

__all__ = ["Extractor", "Moments", "features", "gaps", "latent_length", "moments"]

Extractor = Callable[[Tensor], Sequence[Tensor]]


class Moments(NamedTuple):
    """Mean and variance (F,) of every feature."""

    mean: Tensor
    variance: Tensor


def features(extractor: Extractor, images: Tensor) -> Tensor:
    """All features of images in one row each, (N, F).

    >>> features(lambda x: [x, x.mean((2, 3))], torch.ones(2, 1, 2, 2)).shape
    torch.Size([2, 5])
    """
    return torch.cat([feature.flatten(1) for feature in extractor(images)], 1)


@torch.no_grad()
def moments(extractor: Extractor, images: Tensor, batch: int = 256) -> Moments:
    """Mean and unbiased variance of the features of all images, once and for all.

    Args:
        extractor: see above.
        images: at least two.
        batch: images at once.

    Raises:
        ValueError: there are fewer than two images.

    >>> found = moments(lambda x: [x, 2 * x], torch.tensor([0.0, 2.0]).reshape(2, 1, 1, 1))
    >>> found.mean.tolist(), found.variance.tolist()
    ([1.0, 2.0], [2.0, 8.0])
    """
    if len(images) < 2:
        raise ValueError(f"found {len(images)} images; expected at least 2, which have a variance")
    count, mean, square = 0, torch.zeros(1), torch.zeros(1)
    for part in images.split(batch):
        found = features(extractor, part).double()
        here, size = found.mean(0), len(part)
        mean, square = mean.to(here), square.to(here)
        apart, both = here - mean, count + size
        square = square + (found - here).square().sum(0) + apart.square() * (count * size / both)
        mean, count = mean + apart * (size / both), both
    return Moments(mean.float(), (square / (count - 1)).float())


@torch.no_grad()
def gaps(
    generator: nn.Module, real: Moments, extractor: Extractor, *, count: int = 1000, seed: int = 0, batch: int = 250
) -> dict[str, float]:
    """How far the moments of generated images are from the real ones, in eval mode: mean squares over features.

    Args:
        generator: from latents to images, with the attribute `latent`.
        real: of the real images.
        extractor: that they were computed with.
        count: images to draw.
        seed: of the latents.
        batch: images at once.
    """
    was = generator.training
    generator.eval()
    device = next(generator.parameters()).device
    with seeded(step_seed(seed, "gaps")):
        latents = torch.randn(count, latent_length(generator)).to(device)
        fake = torch.cat([generator(part) for part in latents.split(batch)])
    generator.train(was)
    found = moments(extractor, fake, batch)
    names = {"mean_gap": found.mean - real.mean.to(device), "variance_gap": found.variance - real.variance.to(device)}
    return {name: float(gap.square().mean()) for name, gap in names.items()}


def latent_length(generator: nn.Module) -> int:
    """The length of a generator's latents.

    Raises:
        TypeError: it has no integer attribute `latent`.
    """
    latent = getattr(generator, "latent", None)
    if not isinstance(latent, int):
        raise TypeError(f"found a {type(generator).__name__} without an integer `latent`; expected a generator")
    return latent

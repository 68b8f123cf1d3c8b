r"""Early-bird tickets of generative models: channels by the scale of their BatchNorm, as soon as they settle.

After every epoch the channels of the largest $|\gamma|$ are drawn; once the last masks are close to each other the
ticket has emerged. Scale and shift of a dropped channel are zero, so `common.sparse.slim.slim` removes it for good.

>>> from gen_tickets import gan
>>> from gen_tickets.models import build
>>> model = build("dcgan", "tiny")
>>> train = gan.trainer(torch.rand(64, 1, 8, 8) * 2 - 1, gan.DCGAN)
>>> early_bird(model, train, density=0.5, steps=1, epochs=5).epoch
5
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from common.allocate import prune
from common.masks import Masks
from common.search import Train
from common.stopping import EarlyBird

__all__ = ["Emergence", "channel_masks", "early_bird"]


class Emergence(NamedTuple):
    """When a ticket emerged.

    Attributes:
        epoch: counted from 1; None if it did not.
        masks: of the last epoch, named within the part that was watched.
        distances: the largest distance after each epoch; infinite until enough masks were drawn.
    """

    epoch: int | None
    masks: Masks
    distances: list[float]


def channel_masks(model: nn.Module, density: float) -> Masks:
    """Masks that keep the share of all BatchNorm channels with the largest scales, and one in every layer at least.

    Args:
        model: with BatchNorm.
        density: of channels, in (0, 1].

    Returns:
        Masks of the scales and the shifts.

    Raises:
        ValueError: there is no BatchNorm, or fewer channels would stay than there are layers.

    References:
        Liu et al., Learning Efficient Convolutional Networks through Network Slimming, ICCV 2017.

    >>> norm = nn.BatchNorm2d(4)
    >>> _ = norm.weight.data.copy_(torch.tensor([0.1, -0.9, 0.3, 0.2]))
    >>> channel_masks(nn.Sequential(norm), 0.5)["0.bias"].tolist()
    [False, True, True, False]
    """
    norms = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine
    }
    if not norms:
        raise ValueError(f"found no BatchNorm in this {type(model).__name__}; expected one whose scales rank channels")
    scores = {f"{name}.weight": module.weight.detach().abs() for name, module in norms.items()}
    channels = sum(score.numel() for score in scores.values())
    if round(density * channels) < len(norms):
        raise ValueError(
            f"found the density {density} of {channels} channels, fewer than the {len(norms)} layers that each keep "
            f"one; expected at least {len(norms) / channels:.3g}"
        )
    for score in scores.values():
        score[score.argmax()] = torch.inf
    masks = prune(scores, density)
    return masks | {f"{name}.bias": masks[f"{name}.weight"] for name in norms}


def early_bird(
    model: nn.Module,
    train: Train,
    *,
    density: float,
    steps: int,
    epochs: int,
    part: str = "",
    window: int = 5,
    threshold: float = 0.1,
) -> Emergence:
    """Train the dense model until its channels have settled, or for so many epochs.

    Args:
        model: trained in place.
        train: goes on where it stopped, as the trainers of this package do.
        density: of channels that the ticket keeps.
        steps: of training an epoch.
        epochs: at most.
        part: the submodule whose channels are drawn, such as generator; all of the model by default.
        window, threshold: of `common.stopping.EarlyBird`.

    Raises:
        ValueError: see `channel_masks` and `EarlyBird`.

    References:
        You et al., Drawing Early-Bird Tickets, ICLR 2020.
        Kalibhat et al., Winning Lottery Tickets in Deep Generative Models, AAAI 2021.
    """
    watched = model.get_submodule(part)
    bird = EarlyBird(window, threshold)
    distances: list[float] = []
    masks = channel_masks(watched, density)
    for epoch in range(1, epochs + 1):
        train(model, (epoch - 1) * steps, epoch * steps)
        masks = channel_masks(watched, density)
        settled = bird.update(masks)
        distances.append(bird.distance)
        if settled:
            return Emergence(epoch, masks, distances)
    return Emergence(None, masks, distances)

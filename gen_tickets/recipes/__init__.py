"""What a family needs for a search, bound to data, settings and a seed: one file a family, one function `bind` in it.

To add a family, add its networks to `gen_tickets.models.FAMILIES`, a file here, and a line in `RECIPES`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from common.rewind import Rewind
from common.runs.errors import UsageError
from common.scores import Objective
from gen_tickets._steps import Trainer, within
from gen_tickets.config import Find
from gen_tickets.data import Images
from gen_tickets.networks import Network
from gen_tickets.presets import set_to

__all__ = ["RECIPES", "Recipe", "bind"]

RECIPES = {
    "ddpm": "ddpm", "vae": "vae", "beta-vae": "vae", "autoencoder": "vae",
    "dcgan": "gan", "wgan": "gan", "sngan": "gan", "gfmn": "gfmn",
}  # fmt: skip
"""Family to the file here that binds it."""


@dataclass(frozen=True)
class Recipe:
    """A dense network, ready to be searched for tickets.

    Attributes:
        config: filled by `gen_tickets.presets.preset`.
        network: what it is, as plain data.
        model: with the seed's initial weights, or those of the model to prune.
        make_trainer: a new `Train` of this family, with nothing remembered.
        sampled: the state_dict that images are drawn from, after a training: averages in place of weights.
        losses: of a model in eval mode on the test images; smaller is better, the first one decides.
        objective: for criteria that need gradients, or a loss to measure damage by; None if there is none.
        depths: of every prunable tensor, for allocations by depth, from 0; None counts the tensors.
        initial: from a seed to a model as `model` began, where `network.initial` is not that.
        parts: what methods of this family alone need, by name.
    """

    config: Find
    network: Network
    model: nn.Module
    make_trainer: Callable[[], Trainer]
    sampled: Callable[[nn.Module, Trainer], Mapping[str, Tensor]]
    losses: Callable[[nn.Module], Mapping[str, float]]
    objective: Objective | None = None
    depths: Mapping[str, int] | None = None
    initial: Callable[[int], nn.Module] | None = None
    parts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def train(self) -> Trainer:
        """The search's own trainer, which remembers its rewinding point."""
        return self.make_trainer()

    @cached_property
    def params(self) -> dict[str, nn.Parameter]:
        """What is pruned, by name: all of the model, or the part that the settings name.

        Raises:
            UsageError: the model has no such part.
        """
        part = self.config.part
        try:
            return within(self.model) if part in (None, "all") else within(self.model, str(part))
        except KeyError as error:
            raise UsageError(f"--part {part}: {error.args[0]}") from None

    @property
    def steps(self) -> int:
        """Of every training."""
        return set_to(self.config.training.steps)

    @property
    def rewind(self) -> Rewind:
        """Where tickets go back to."""
        return Rewind.step(round(self.config.training.rewind * self.steps))


def bind(config: Find, images: Images, seed: int, *, teacher: Mapping[str, Tensor] | None = None) -> Recipe:
    """The recipe of a family.

    Args:
        config: filled by `gen_tickets.presets.preset`.
        images: the data.
        seed: of weights, batches, noise.
        teacher: state_dict of the trained dense model, where tickets are distilled from it.

    Raises:
        UsageError: a setting that this family has not.
        ValueError: images and network do not go together.
    """
    module = importlib.import_module(f"gen_tickets.recipes.{RECIPES[config.family]}")
    made: Recipe = module.bind(config, images, seed, teacher)
    return made

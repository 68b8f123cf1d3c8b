"""What the recipes share: the seed's network, the rewinding point, the parts that are pruned."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from common.rewind import Rewind
from common.runs.errors import UsageError
from common.scoped import seeded
from gen_tickets._steps import within
from gen_tickets.config import Find
from gen_tickets.data import Images
from gen_tickets.networks import Network

T = TypeVar("T")

__all__ = ["network_of", "pruned_params", "rewind_of", "set_to", "weights_of"]


def network_of(config: Find, images: Images) -> Network:
    """The named network for these images."""
    return Network(config.family, str(config.size), images.shape)


def weights_of(network: Network, seed: int) -> nn.Module:
    """A network with the initial weights of a seed."""
    with seeded(seed):
        return network.build()


def rewind_of(config: Find) -> Rewind:
    """The step that tickets are rewound to, by the share of `config.training.rewind`.

    >>> from gen_tickets.config import Training
    >>> rewind_of(Find(training=Training(steps=200, rewind=0.05)))
    Rewind(weights=10, start=10)
    """
    return Rewind.step(round(config.training.rewind * set_to(config.training.steps)))


def pruned_params(model: nn.Module, part: str | None) -> dict[str, nn.Parameter]:
    """What `config.part` names: all of a model, or one of its parts.

    Raises:
        UsageError: the model has no such part.
    """
    try:
        return within(model) if part in (None, "all") else within(model, str(part))
    except KeyError as error:
        raise UsageError(f"--part {part}: {error.args[0]}") from None


def set_to(value: T | None) -> T:
    """A setting that `preset` has filled.

    Raises:
        ValueError: it has not.
    """
    if value is None:
        raise ValueError("found a setting that is not filled; call gen_tickets.presets.preset first")
    return value

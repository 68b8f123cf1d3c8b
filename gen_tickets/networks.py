"""The network a ticket belongs to: how to build it again, which part of it makes images, and from what.

A `Network` is plain data, so that a ticket carries it; `ddpm`, or a pipeline of diffusers, is a U-Net that takes steps,
everything else a generator or a decoder that makes images from latents at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from common.masks import Masks
from common.runs.errors import UsageError
from common.scoped import seeded
from common.ticket import Ticket, TicketError
from gen_tickets.models import FAMILIES, build, configuration

__all__ = ["Network", "Opened", "named", "opened", "part_of"]

Shape = tuple[int, int, int]
_PARTS = {"generator": ("dcgan", "wgan", "sngan"), "decoder": ("vae", "beta-vae", "autoencoder")}


def part_of(family: str) -> str:
    """The submodule of a family's networks that makes images: generator, decoder, or all of it, an empty text.

    >>> part_of("sngan"), part_of("ddpm")
    ('generator', '')
    """
    return next((part for part, families in _PARTS.items() if family in families), "")


@dataclass(frozen=True)
class Network:
    """What it takes to build a network again, as plain data.

    Attributes:
        family: a key of `gen_tickets.models.FAMILIES`.
        size: a key of that family's table.
        image: (C, H, W) that it makes; of a latent model, that its auto-encoder makes.
        classes: of a class-conditional U-Net.
        unet: the config of a diffusers U-Net that is none of the named sizes, from a pipeline or over latents.
        scheduler: the config of a diffusers scheduler, `_class_name` included; that of DDPM if there is none.
        autoencoder: the folder of the `AutoencoderKL` that latents are decoded by.

    >>> Network("dcgan", "tiny", (1, 8, 8)).noise(2, seed=0).shape
    torch.Size([2, 32])
    """

    family: str
    size: str
    image: Shape
    classes: int | None = None
    unet: Mapping[str, Any] | None = None
    scheduler: Mapping[str, Any] | None = None
    autoencoder: str | None = None

    def __str__(self) -> str:
        return self.size if self.denoises else f"{self.family}/{self.size}"

    @property
    def denoises(self) -> bool:
        """Whether it takes steps."""
        return self.family == "ddpm"

    @property
    def part(self) -> str:
        """The submodule that makes images, see `part_of`."""
        return part_of(self.family)

    def build(self) -> nn.Module:
        """The whole model with fresh weights, from torch's global generator."""
        if self.unet is None:
            return build(self.family, self.size, image=self.image, classes=self.classes)
        from diffusers import UNet2DModel

        made: nn.Module = UNet2DModel.from_config(dict(self.unet))
        return made

    def initial(self, seed: int) -> nn.Module:
        """The whole model with the initial weights of a seed; torch's random state stays as it was."""
        with seeded(seed):
            return self.build()

    def maker(self, model: nn.Module) -> nn.Module:
        """The part of a model that makes images."""
        return model.get_submodule(self.part)

    def noise_shape(self) -> tuple[int, ...]:
        """The shape of what one image is made from: (C, H, W) of a U-Net, (z,) of a generator.

        Raises:
            UsageError: this auto-encoder has no length of latents to draw images from.
        """
        if self.unet is not None:
            side = self.unet["sample_size"]
            return self.unet["in_channels"], *((side, side) if isinstance(side, int) else side)
        if self.denoises:
            return self.image
        latent = _latent(self.family, self.size, self.image)
        if latent is None:
            raise UsageError(f"found no latents in {self} to draw images from; choose another of {', '.join(FAMILIES)}")
        return (latent,)

    def noise(self, count: int, seed: int) -> Tensor:
        """Noise or latents for so many images, (N, ...): the first ones of a seed are the same, however many follow."""
        draw = torch.Generator().manual_seed(seed)
        return torch.randn(count, *self.noise_shape(), generator=draw)

    def inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Inputs of one call of `maker`, as engines are prepared for."""
        noise = self.noise(batch, 0)
        if not self.denoises:
            return (noise,)
        timesteps = torch.full((batch,), 500)
        return (noise, timesteps) if self.classes is None else (noise, timesteps, self.labels(batch))

    def labels(self, count: int, start: int = 0) -> Tensor:
        """The classes of images number `start` on: 0, 1, ..., and again."""
        return torch.arange(start, start + count) % (self.classes or 1)

    def as_dict(self) -> dict[str, Any]:
        """As plain data; the inverse is `Network.from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Network:
        """From what `as_dict` gave.

        >>> network = Network("ddpm", "tiny", (1, 8, 8))
        >>> Network.from_dict(network.as_dict()) == network
        True
        """
        return replace(cls(**stored), image=cast(Shape, tuple(stored["image"])))


@cache
def _latent(family: str, size: str, image: Shape) -> int | None:
    """The length of the latents of a network of the suite, which the network itself knows."""
    network = Network(family, size, image)
    model = network.initial(0)
    latent = getattr(model, "latent", None) or getattr(network.maker(model), "latent", None)
    return latent if isinstance(latent, int) else None


def named(name: str) -> Network:
    """A network of the suite: the size of a U-Net, or `FAMILY/SIZE`.

    Raises:
        UsageError: there is no such network.

    >>> named("small").image, named("dcgan/tiny").part
    ((1, 28, 28), 'generator')
    """
    family, _, size = name.rpartition("/")
    try:
        image = configuration(family or "ddpm", size).image
    except KeyError as error:
        raise UsageError(f"--model {name}: {error.args[0]}") from None
    return Network(family or "ddpm", size, image)


@dataclass(frozen=True)
class Opened:
    """A ticket with its network, ready to make images.

    Attributes:
        ticket: as it was saved.
        network: what it belongs to.
        model: the whole model in eval mode, pruned weights zero.
        trained: whether its weights are the trained ones, or the rewound ones.
    """

    ticket: Ticket
    network: Network
    model: nn.Module
    trained: bool

    @property
    def maker(self) -> nn.Module:
        """The part that makes images."""
        return self.network.maker(self.model)

    @property
    def masks(self) -> Masks:
        """The masks of that part, by their names within it."""
        named = dict(self.maker.named_parameters())
        prefix = f"{self.network.part}." if self.network.part else ""
        short = {name.removeprefix(prefix): mask for name, mask in self.ticket.masks.items()}
        return Masks({name: mask for name, mask in short.items() if name in named})


def opened(ticket: Ticket, model: str | None = None) -> Opened:
    """Build a ticket's network and load the ticket into it.

    Args:
        ticket: of `gen-tickets find`, or any other with `model`.
        model: name of the network that it belongs to, where the ticket does not say.

    Raises:
        UsageError: it does not say, and neither does `model`; or there is no such network.
        TicketError: it belongs to another model.
    """
    stored = ticket.recipe.get("network")
    if model is None and stored is None:
        raise UsageError("this ticket does not say which network it belongs to; name it, as in --model dcgan/small")
    try:
        network = named(model) if model is not None else Network.from_dict(stored or {})
    except (TypeError, KeyError) as error:
        raise TicketError(f"found a ticket whose recipe names no network of this suite: {stored}; {error}") from error
    whole = network.initial(0).eval()
    maker = network.maker(whole)
    of = maker if ticket.weights.keys() == maker.state_dict().keys() else whole  # a ticket of that part alone
    ticket.apply(of)
    if ticket.trained is not None:
        of.load_state_dict(ticket.trained)
    return Opened(ticket, network, whole, ticket.trained is not None)

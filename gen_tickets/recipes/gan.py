"""Recipe of GANs: DCGAN, WGAN with gradient penalty, SNGAN; both networks are rewound, whichever is pruned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from gen_tickets import gan
from gen_tickets._steps import Trainer
from gen_tickets.config import Find
from gen_tickets.data import Images, as_floats
from gen_tickets.gan_models import GAN
from gen_tickets.networks import Network
from gen_tickets.presets import set_to
from gen_tickets.recipes import Recipe

__all__ = ["bind"]

_PUBLISHED = {"dcgan": gan.DCGAN, "wgan": gan.WGAN, "sngan": gan.SNGAN}


def bind(config: Find, images: Images, seed: int, teacher: Mapping[str, Tensor] | None = None) -> Recipe:
    """See `gen_tickets.recipes.bind`; with `config.adversarial.distil` the teacher's discriminator teaches."""
    network = Network(config.family, set_to(config.size), images.shape)
    model = cast(GAN, network.initial(seed))
    how, particular = config.training, config.adversarial
    settings = replace(
        _PUBLISHED[config.family],
        lr=set_to(how.lr),
        batch=set_to(how.batch),
        generator_batch=set_to(how.batch),
        average=set_to(how.average),
        critic_steps=set_to(particular.critic_steps),
        feature=particular.feature,
    )
    judge = _discriminator(network, teacher) if particular.distil and teacher is not None else None
    make = partial(gan.trainer, as_floats(images.train), settings, seed, teacher=judge)
    return Recipe(
        config=config,
        network=network,
        model=model,
        make_trainer=make,
        sampled=_averages,
        losses=lambda _: {},
        objective=partial(_fooled, count=128, seed=seed),
        parts={"settings": settings},
    )


def _discriminator(network: Network, state: Mapping[str, Tensor]) -> nn.Module:
    model = cast(GAN, network.initial(0))
    model.load_state_dict(state)
    return model.discriminator


def _fooled(model: nn.Module, *, count: int, seed: int) -> list[Tensor]:
    """The generator's loss against the present discriminator."""
    pair = cast(GAN, model)
    latents = torch.randn(count, pair.latent, generator=torch.Generator().manual_seed(seed))
    return [nn.functional.softplus(-pair.discriminator(pair.generator(latents))).mean()]


@torch.no_grad()
def _averages(model: nn.Module, train: Trainer) -> Mapping[str, Tensor]:
    pair = cast(GAN, model)
    mean = gan.averaged(pair, train).state_dict()
    return {**pair.state_dict(), **{f"generator.{name}": value for name, value in mean.items()}}

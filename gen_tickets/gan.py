"""Training of GANs as the engine's `Train`: DCGAN, SNGAN and WGAN, with distillation and perturbed features.

A step updates the discriminator `critic_steps` times and the generator once. Rewinding takes back both; which of them
is pruned is a choice of names: `within(gan, "generator")` or both. Below spectral norm it is the weight before
normalisation. The average of the generator starts at its weights of that time and is zero wherever a weight is. On
several processes BatchNorm is as `gen_tickets._ranks` says, and each process draws latents of its own.

>>> from common import tickets
>>> from gen_tickets.models import build
>>> images, gan = torch.rand(64, 1, 8, 8) * 2 - 1, build("sngan", "tiny")
>>> train = trainer(images, SNGAN, seed=0)
>>> found = next(tickets(gan, train, [0.5], steps=1, params=within(gan, "generator")))
>>> sorted(found.metrics), averaged(gan, train)(torch.zeros(2, 32)).shape
(['discriminator', 'generator'], torch.Size([2, 1, 8, 8]))
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from gen_tickets._batches import Batches
from gen_tickets._ranks import share
from gen_tickets._steps import Measure, Session, Trainer, adam
from gen_tickets._steps import within as within
from gen_tickets.ema import average
from gen_tickets.gan_losses import (
    HINGE,
    NON_SATURATING,
    WASSERSTEIN,
    Adversary,
    Term,
    couples_images,
    distillation,
    gradient_penalty,
    perturbed,
)
from gen_tickets.gan_models import GAN

__all__ = ["DCGAN", "SNGAN", "WGAN", "WGAN_CLIPPED", "Settings", "averaged", "trainer", "within"]


@dataclass(frozen=True)
class Settings:
    """How a pair is trained.

    Attributes:
        adversary: the loss of both.
        lr, betas: of the two Adams.
        critic_steps: updates of the discriminator a step.
        batch, generator_batch: images an update of the discriminator and of the generator.
        average: decay of the generator's average a step.
        penalty: weight of the gradient penalty.
        clip: bound of the critic's parameters, or none.
        distil: weight of the divergence from a teacher, where there is one.
        feature: after how many of the discriminator's `layers` features are perturbed; 0 for none.
        size: of that perturbation.
    """

    adversary: Adversary = NON_SATURATING
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    critic_steps: int = 1
    batch: int = 128
    generator_batch: int = 128
    average: float = 0.999
    penalty: float = 0.0
    clip: float | None = None
    distil: float = 1.0
    feature: int = 0
    size: float = 0.01


DCGAN = Settings()
"""Radford et al., ICLR 2016."""

SNGAN = Settings(HINGE, betas=(0.0, 0.9), critic_steps=5, batch=64)
"""Miyato et al., ICLR 2018, as in Chen et al., GANs Can Play Lottery Tickets Too, ICLR 2021."""

WGAN = Settings(WASSERSTEIN, 1e-4, (0.0, 0.9), critic_steps=5, batch=64, generator_batch=64, penalty=10.0)
"""With gradient penalty: Gulrajani et al., NeurIPS 2017."""

WGAN_CLIPPED = Settings(WASSERSTEIN, 5e-5, (0.0, 0.99), critic_steps=5, batch=64, generator_batch=64, clip=0.01)
"""With clipped weights: Arjovsky et al., ICML 2017; Adam without momentum stands for its RMSProp."""


def trainer(
    images: Tensor,
    settings: Settings = DCGAN,
    seed: int = 0,
    *,
    teacher: nn.Module | None = None,
    measure: Measure | None = None,
) -> Trainer:
    """A `Train` of a `GAN`.

    Args:
        images: (N, C, H, W), float32 in [-1, 1].
        settings: how; DCGAN, SNGAN, WGAN and WGAN_CLIPPED are the published ones.
        seed: of batches and latents.
        teacher: a trained dense discriminator to distil from; a frozen copy is taken.
        measure: of the averaged generator in eval mode, such as FID.

    Returns:
        The trainer; it returns the losses of both at the last step, and what `measure` found.

    Raises:
        TypeError, ValueError: the images are not as they should be; or, when called, the model is no GAN, a gradient
            penalty meets BatchNorm, or the discriminator has no such layer to perturb.

    References:
        Chen et al., GANs Can Play Lottery Tickets Too, ICLR 2021 (distillation, average).
        Chen et al., Data-Efficient GAN Training Beyond (Just) Augmentations, NeurIPS 2021 (features).
    """
    batches = Batches(images, settings.batch, seed)
    frozen = None if teacher is None else copy.deepcopy(teacher).eval().requires_grad_(False)

    @contextmanager
    def begin(model: nn.Module) -> Iterator[Session]:
        pair = _Pair(_checked(model, settings), settings, batches, frozen)
        yield Session(pair.step, (pair.critic_adam, pair.generator_adam), pair.average.module, pair.averages())

    return Trainer(begin, seed, measure)


def averaged(gan: GAN, train: Trainer) -> nn.Module:
    """A copy of the generator, in eval mode, with the averages of the last training and the present statistics.

    Args:
        gan: as that training left it.
        train: the trainer of this module.

    Raises:
        ValueError: nothing was trained yet.
    """
    if not train.carried:
        raise ValueError("found no averages: this trainer has not trained yet. Call it, or take gan.generator")
    generator = copy.deepcopy(gan.generator).eval()
    generator.load_state_dict(train.carried, strict=False)
    return generator


class _Pair:
    """A GAN under training."""

    def __init__(self, gan: GAN, settings: Settings, batches: Batches, teacher: nn.Module | None) -> None:
        self.gan, self.settings, self.batches = gan, settings, batches
        self.device = next(gan.parameters()).device
        self.teacher = None if teacher is None else teacher.to(self.device)
        self.critic_adam = adam(gan.discriminator.parameters(), settings.lr, settings.betas)
        self.generator_adam = adam(gan.generator.parameters(), settings.lr, settings.betas)
        self.average = average(gan.generator, settings.average, warm_up=False)
        self.average.update_parameters(gan.generator)  # the weights at the start are the first average

    def averages(self) -> dict[str, Tensor]:
        return dict(self.average.module.named_parameters())

    def step(self, number: int) -> dict[str, Tensor]:
        losses = {}
        for k in range(self.settings.critic_steps):
            real = self.batches(number * self.settings.critic_steps + k).to(self.device)
            losses["discriminator"] = self.discriminate(real)
        losses["generator"] = self.generate()
        self.average.update_parameters(self.gan.generator)
        return losses

    def latents(self, count: int) -> Tensor:
        return torch.randn(count, self.gan.latent, device=self.device)

    def discriminate(self, real: Tensor) -> Tensor:
        chosen, critic = self.settings, self.gan.discriminator
        with torch.no_grad():
            fake = self.gan.generator(self.latents(len(real)))
        loss = self.term(real, chosen.adversary.real) + self.term(fake, chosen.adversary.fake)
        if chosen.penalty:
            loss = loss + chosen.penalty * gradient_penalty(critic, real, fake)
        self.critic_adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.critic_adam.step()
        if chosen.clip is not None:
            with torch.no_grad():
                for param in critic.parameters():
                    param.clamp_(-chosen.clip, chosen.clip)
        return loss

    def term(self, images: Tensor, loss: Term) -> Tensor:
        """The loss of some images' logits, half of it at perturbed features, and the divergence from a teacher."""
        chosen, critic = self.settings, cast(Any, self.gan.discriminator)
        feature = critic.layers[: chosen.feature](images)

        def rest(at: Tensor) -> Tensor:
            return critic.head(critic.layers[chosen.feature :](at))

        logits = rest(feature) if chosen.feature else critic(images)
        total = loss(logits)
        if chosen.feature:
            moved = perturbed(feature, lambda at: loss(rest(at)), chosen.size)
            total = (total + loss(rest(moved))) / 2
        if self.teacher is not None:
            total = total + chosen.distil * distillation(logits, self.teacher(images))
        return total

    def generate(self) -> Tensor:
        images = self.gan.generator(self.latents(len(share(self.settings.generator_batch))))
        loss = self.settings.adversary.generator(self.gan.discriminator(images))
        self.generator_adam.zero_grad()
        loss.backward(inputs=list(self.gan.generator.parameters()))  # type: ignore[no-untyped-call]
        self.generator_adam.step()
        return loss


def _checked(model: nn.Module, settings: Settings) -> GAN:
    if not isinstance(model, GAN):
        raise TypeError(f"found a {type(model).__name__}; expected a gen_tickets.gan_models.GAN, which holds a pair")
    if settings.penalty and couples_images(model.discriminator):
        raise ValueError(
            "found BatchNorm in the discriminator; a gradient penalty needs each image judged alone. Use build('wgan', "
            "...), or settings without a penalty."
        )
    layers = len(cast(nn.Sequential, model.discriminator.layers)) if settings.feature else 0
    if not 0 <= settings.feature <= layers:
        raise ValueError(
            f"found feature={settings.feature}; the discriminator has {layers} layers. Choose 1 to {layers}"
        )
    return model

"""Losses of GANs: three adversaries, gradient penalty, distillation of a discriminator, perturbed features.

Logits, or the values of a critic, are (N,); every loss is a scalar, a mean over the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "HINGE", "NON_SATURATING", "WASSERSTEIN", "Adversary", "distillation", "gradient_penalty", "perturbed",
]  # fmt: skip

Term = Callable[[Tensor], Tensor]


class Adversary(NamedTuple):
    """The terms of a two-player loss, each from logits (N,) to a scalar.

    Attributes:
        real: the discriminator's, of real images.
        fake: the discriminator's, of generated ones.
        generator: the generator's, of generated images.

    >>> logits = torch.tensor([0.5, 2.0])
    >>> HINGE.real(logits).item(), HINGE.fake(logits).item(), HINGE.generator(logits).item()
    (0.25, 2.25, -1.25)
    """

    real: Term
    fake: Term
    generator: Term


NON_SATURATING = Adversary(
    lambda x: functional.softplus(-x).mean(), lambda x: functional.softplus(x).mean(),
    lambda x: functional.softplus(-x).mean(),
)  # fmt: skip
"""Cross-entropy, with -log D(G(z)) for the generator (Goodfellow et al., NeurIPS 2014)."""

HINGE = Adversary(lambda x: (1 - x).relu().mean(), lambda x: (1 + x).relu().mean(), lambda x: -x.mean())
"""The hinge of SNGAN (Miyato et al., ICLR 2018)."""

WASSERSTEIN = Adversary(lambda x: -x.mean(), lambda x: x.mean(), lambda x: -x.mean())
"""The difference of a critic's values (Arjovsky et al., Wasserstein GAN, ICML 2017)."""


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    r"""$E[(\|\nabla_x D(x)\|_2 - 1)^2]$ at $x = u\, x_r + (1 - u)\, x_f$ with $u$ uniform on [0, 1) for each image.

    Args:
        critic: from images to values (N,), each of its own image alone.
        real, fake: images (N, C, H, W).

    References:
        Gulrajani et al., Improved Training of Wasserstein GANs, NeurIPS 2017.

    >>> images = torch.zeros(2, 1, 2, 2)
    >>> gradient_penalty(lambda x: 2 * x.flatten(1).sum(1), images, images).item()  # slopes of norm 4
    9.0
    """
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (share * real + (1 - share) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def distillation(student: Tensor, teacher: Tensor) -> Tensor:
    r"""$KL(p \| q)$ in nats between the two-class distributions $p = \sigma(t)$ of a teacher and $q = \sigma(s)$.

    Args:
        student: logits (N,) of the sparse discriminator.
        teacher: logits (N,) of the dense one, on the same images; no gradient reaches them.

    References:
        Chen et al., GANs Can Play Lottery Tickets Too, ICLR 2021.

    >>> distillation(torch.tensor([1.5]), torch.tensor([1.5])).item()
    0.0
    """
    teacher = teacher.detach()
    apart = functional.logsigmoid(teacher) - functional.logsigmoid(student)
    other = functional.logsigmoid(-teacher) - functional.logsigmoid(-student)
    return (teacher.sigmoid() * apart + (-teacher).sigmoid() * other).mean()


def perturbed(feature: Tensor, loss: Callable[[Tensor], Tensor], size: float) -> Tensor:
    r"""One step up the loss, $f + \gamma\, \mathrm{sign}(\nabla_f L)$, through which gradients reach the feature.

    Args:
        feature: of any shape.
        loss: from a feature of that shape to a scalar.
        size: gamma; the references use 0.01, a single step and no projection.

    References:
        Chen et al., Data-Efficient GAN Training Beyond (Just) Augmentations, NeurIPS 2021.

    >>> perturbed(torch.tensor([1.0, -1.0, 0.0]), lambda f: f.square().sum(), 0.5).tolist()
    [1.5, -1.5, 0.0]
    """
    at = feature.detach().requires_grad_()
    (slope,) = torch.autograd.grad(loss(at), at)
    return feature + size * slope.sign()


def couples_images(module: nn.Module) -> bool:
    """Whether BatchNorm lets the images of a batch see each other.

    >>> couples_images(nn.Sequential(nn.BatchNorm2d(1))), couples_images(nn.Linear(1, 1))
    (True, False)
    """
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())

"""The networks of the suite: a constructor a family, and named configurations of each.

`build("dcgan", "small")` makes a network with fresh weights, drawn from torch's global generator. To add a
configuration, add an entry to `FAMILIES`; to add a family, a constructor and its table.

Images are (N, C, H, W) in [-1, 1] throughout, latents (N, z) from N(0, 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from torch import nn

from common.masks import closest
from gen_tickets.gan_models import GAN, DCGANDiscriminator, ResNetGenerator, SNDiscriminator, signed_constant_
from gen_tickets.vae_models import VAE, AutoEncoder, ConvDecoder, ConvEncoder, Image, first_side

__all__ = [
    "FAMILIES", "UNETS", "Config", "autoencoder", "build", "configuration", "dcgan", "ddpm", "gfmn",
    "linear_autoencoder", "sngan", "vae",
]  # fmt: skip

Widths = tuple[int, ...]
_PUBLISHED: dict[str, Any] = {
    "norm_eps": 1e-6, "attention_head_dim": None, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1,
}  # fmt: skip


def ddpm(
    image: Image,
    widths: Widths,
    *,
    attention: tuple[int, ...],
    layers: int = 1,
    groups: int = 8,
    dropout: float = 0.0,
    classes: int | None = None,
) -> nn.Module:
    """The U-Net of DDPM, as diffusers' `UNet2DModel` with its initialisation: noise prediction from image and timestep.

    Shapes:
        - input: images (N, C, H, W), timesteps (N,), and with `classes` labels (N,)
        - output: `.sample`, of the images' shape

    Args:
        image: (C, H, W); H = W, and 2 to the power len(widths) - 1 divides it.
        widths: channels at each resolution, from the finest.
        attention: the indices of the resolutions that have self-attention.
        layers, groups, dropout: residual blocks a resolution, groups of GroupNorm and dropout in them.
        classes: number of classes of a conditional model.

    Raises:
        ValueError: the image cannot be halved so often, or the groups do not divide the widths.

    References:
        Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020.

    >>> import torch
    >>> unet = ddpm((1, 8, 8), (8, 16), attention=(1,), classes=10)
    >>> unet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 999]), torch.tensor([3, 7])).sample.shape
    torch.Size([2, 1, 8, 8])
    """
    import diffusers

    first_side(image, len(widths) - 1)
    if any(width % groups for width in widths):
        raise ValueError(f"found the widths {widths}; expected multiples of groups={groups}. Change either.")
    kinds = ["Attn" if level in attention else "" for level in range(len(widths))]
    shape = {"sample_size": image[1], "in_channels": image[0], "out_channels": image[0]}
    sizes = {"block_out_channels": widths, "layers_per_block": layers, "norm_num_groups": groups, "dropout": dropout}
    unet: Any = diffusers.UNet2DModel(
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        num_class_embeds=classes,
        **(shape | sizes | _PUBLISHED),
    )
    return unet


def dcgan(image: Image, latent: int, widths: Widths, critic: Widths, *, norm: bool = True) -> GAN:
    """DCGAN, and with `norm=False` WGAN, whose critic has no BatchNorm; initialised from N(0, 0.02).

    Args:
        image: (C, H, W).
        latent: length of the latent vector.
        widths: of the generator, from the smallest map.
        critic: widths of the discriminator, from the largest map.
        norm: BatchNorm in the discriminator.

    Raises:
        ValueError: see `ConvDecoder` and `DCGANDiscriminator`.

    >>> sorted({name.split(".")[0] for name, _ in dcgan((1, 8, 8), 4, (16, 8), (8, 16)).named_parameters()})
    ['discriminator', 'generator']
    """
    return GAN(ConvDecoder(image, latent, widths), DCGANDiscriminator(image, critic, norm=norm))


def sngan(image: Image, latent: int, widths: Widths, critic: int) -> GAN:
    """SNGAN: a residual generator with BatchNorm, a residual discriminator of width `critic` under spectral norm.

    Raises:
        ValueError: see `ResNetGenerator` and `SNDiscriminator`, also for the arguments and the papers.

    >>> sngan((1, 8, 8), 4, (8, 8), 8).latent
    4
    """
    return GAN(ResNetGenerator(image, latent, widths), SNDiscriminator(image, critic))


def vae(image: Image, latent: int, widths: Widths, encoder: Widths) -> VAE:
    """Convolutional VAE with the decoder of widths `widths` and the encoder of widths `encoder`.

    Raises:
        ValueError: see `ConvDecoder` and `ConvEncoder`; for the papers see `VAE`.

    >>> vae((1, 8, 8), 4, (16, 8), (8, 16)).decoder.latent
    4
    """
    return VAE(ConvEncoder(image, encoder, 2 * latent), ConvDecoder(image, latent, widths))


def autoencoder(image: Image, latent: int, widths: Widths, encoder: Widths) -> AutoEncoder:
    """Convolutional auto-encoder of a VAE's encoder, without log-variances, and decoder.

    Raises:
        ValueError: see `ConvDecoder` and `ConvEncoder`; for the paper see `AutoEncoder`.

    >>> autoencoder((1, 8, 8), 4, (16, 8), (8, 16)).decoder.latent
    4
    """
    return AutoEncoder(ConvEncoder(image, encoder, latent), ConvDecoder(image, latent, widths))


def linear_autoencoder(image: Image, latent: int, widths: Widths) -> AutoEncoder:
    """Linear layers with ReLU between them, the decoder the encoder's mirror: Kalibhat's auto-encoder for MNIST.

    >>> sum(p.numel() for p in linear_autoencoder((1, 28, 28), 32, (128, 64)).parameters())
    222384
    """
    sizes = [image[0] * image[1] * image[2], *widths, latent]
    encoder = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())][:-1]
    decoder = [layer for pair in pairwise(sizes[::-1]) for layer in (nn.Linear(*pair), nn.ReLU())][:-1]
    last = [nn.Tanh(), nn.Unflatten(1, image)]
    return AutoEncoder(nn.Sequential(nn.Flatten(), *encoder), nn.Sequential(*decoder, *last))


def gfmn(image: Image, latent: int, widths: Widths) -> ResNetGenerator:
    """GFMN's residual generator with signed constants for weights, as a strong ticket needs them.

    For the trained dense baseline, `model.apply(gen_tickets.vae_models.normal_)` gives the published N(0, 0.02). Raises
    what `ResNetGenerator` does.

    References:
        Yeo et al., Can We Find Strong Lottery Tickets in Generative Models?, AAAI 2023.

    >>> gfmn((1, 8, 8), 8, (16, 8)).layers[0].weight.abs().unique().tolist()
    [0.5]
    """
    model = ResNetGenerator(image, latent, widths, first_bias=False)
    signed_constant_(model)
    return model


class Config(NamedTuple):
    """A named configuration: the images it is meant for, and the constructor with all else bound."""

    image: Image
    make: Callable[..., nn.Module]


UNETS: dict[str, Widths] = {"tiny": (16, 32), "small": (32, 64, 64), "cifar10": (128, 256, 256, 256)}
"""Widths of the U-Nets at each resolution."""

_TINY, _SMALL, _CIFAR = (1, 8, 8), (1, 28, 28), (3, 32, 32)
_DCGAN = {
    "tiny": Config(_TINY, partial(dcgan, latent=32, widths=(96, 48), critic=(32, 64))),
    "small": Config(_SMALL, partial(dcgan, latent=64, widths=(128, 64, 32), critic=(48, 96, 192))),
    "cifar10": Config(_CIFAR, partial(dcgan, latent=128, widths=(512, 256, 128, 64), critic=(64, 128, 256, 512))),
}
_VAE = {
    "tiny": Config(_TINY, partial(vae, latent=32, widths=(96, 48), encoder=(32, 64))),
    "small": Config(_SMALL, partial(vae, latent=64, widths=(128, 64, 32), encoder=(32, 64, 128))),
    "cifar10": Config(_CIFAR, partial(vae, latent=128, widths=(512, 256, 128, 64), encoder=(64, 128, 256))),
}
FAMILIES: dict[str, dict[str, Config]] = {
    "ddpm": {
        "tiny": Config(_TINY, partial(ddpm, widths=UNETS["tiny"], attention=(1,))),
        "small": Config(_SMALL, partial(ddpm, widths=UNETS["small"], attention=(2,))),
        "cifar10": Config(
            _CIFAR, partial(ddpm, widths=UNETS["cifar10"], attention=(1,), layers=2, groups=32, dropout=0.1)
        ),
    },
    "dcgan": _DCGAN,
    "wgan": {name: Config(config.image, partial(config.make, norm=False)) for name, config in _DCGAN.items()},
    "sngan": {
        "tiny": Config(_TINY, partial(sngan, latent=32, widths=(48, 48), critic=32)),
        "small": Config(_SMALL, partial(sngan, latent=64, widths=(96, 96, 96), critic=64)),
        "cifar10": Config(_CIFAR, partial(sngan, latent=128, widths=(256, 256, 256, 256), critic=128)),
    },
    "vae": _VAE,
    "beta-vae": _VAE,
    "autoencoder": {
        "tiny": Config(_TINY, partial(autoencoder, latent=32, widths=(96, 48), encoder=(32, 64))),
        "small": Config(_SMALL, partial(autoencoder, latent=64, widths=(128, 64, 32), encoder=(32, 64, 128))),
        "cifar10": Config(_CIFAR, partial(autoencoder, latent=200, widths=(256, 128, 64, 32), encoder=(64, 128, 256))),
        "linear": Config(_SMALL, partial(linear_autoencoder, latent=32, widths=(128, 64))),
    },
    "gfmn": {
        "tiny": Config(_TINY, partial(gfmn, latent=32, widths=(128, 64))),
        "small": Config(_SMALL, partial(gfmn, latent=64, widths=(192, 96, 48))),
        "cifar10": Config(_CIFAR, partial(gfmn, latent=100, widths=(512, 256, 128, 64))),
    },
}


def configuration(family: str, config: str) -> Config:
    """An entry of `FAMILIES`; a KeyError names those that there are."""
    known: Mapping[str, object] = FAMILIES.get(family, FAMILIES)
    what, name = (f"configuration of {family}", config) if family in FAMILIES else ("family", family)
    if name not in known:
        options = ", ".join(known)
        raise KeyError(f"found the {what} {name!r}; expected one of {options}. Did you mean {closest(name, known)}?")
    return FAMILIES[family][config]


def build(family: str, config: str, *, image: Image | None = None, classes: int | None = None) -> nn.Module:
    """A network of a family in one of its named configurations, with fresh weights.

    Args:
        family: a key of `FAMILIES`.
        config: a key of the family's table.
        image: (C, H, W) of the data at hand; by default that of the configuration.
        classes: number of classes, for a class-conditional DDPM.

    Raises:
        KeyError: the family or the configuration is unknown.
        ValueError: the configuration does not reach the images, or `classes` is given to another family than ddpm.

    >>> sum(p.numel() for p in build("dcgan", "tiny").parameters())
    157298
    """
    usual, make = configuration(family, config)
    if classes is not None and family != "ddpm":
        raise ValueError(f"found classes={classes} for {family}; only ddpm has a class-conditional form. Leave it out.")
    return make(image or usual) if classes is None else make(image or usual, classes=classes)

"""Generators, discriminators and the module that joins a pair: DCGAN, WGAN, SNGAN, and the generator of GFMN.

Latents are (N, z), drawn from N(0, 1); images are (N, C, H, W) in [-1, 1]; logits are (N,). A discriminator is its
`layers` followed by its `head`, so a feature in between can be read or perturbed:
`d.head(d.layers[2:](d.layers[:2](images)))`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gen_tickets.vae_models import ConvDecoder, ConvEncoder, Image, check_shape, first_side

__all__ = ["GAN", "DCGANDiscriminator", "DCGANGenerator", "ResNetGenerator", "SNDiscriminator", "signed_constant_"]

DCGANGenerator = ConvDecoder
"""The generator of DCGAN and WGAN is the decoder of a VAE: one class, so that tickets move between them."""


class GAN(nn.Module):
    """A generator and its discriminator in one module, so that one mask dictionary names both.

    Shapes:
        - input: latents (N, latent)
        - output: images (N, C, H, W) in [-1, 1]; `discriminator` takes images to logits (N,)

    Args:
        generator: from latents to images, with the attribute `latent`.
        discriminator: from images to logits, or the values of a critic.

    References:
        Goodfellow et al., Generative Adversarial Nets, NeurIPS 2014.

    >>> gan = GAN(DCGANGenerator((1, 8, 8), 4, (16, 8)), DCGANDiscriminator((1, 8, 8), (8, 16)))
    >>> images = gan(torch.randn(2, gan.latent))
    >>> images.shape, gan.discriminator(images).shape
    (torch.Size([2, 1, 8, 8]), torch.Size([2]))
    """

    def __init__(self, generator: ConvDecoder | ResNetGenerator, discriminator: nn.Module) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        self.image, self.latent = generator.image, generator.latent

    def forward(self, latents: Tensor) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] of latents (N, latent)."""
        return self.generator(latents)


class DCGANDiscriminator(ConvEncoder):
    """DCGAN's discriminator, and without norm the critic of WGAN: the encoder with one output.

    Shapes:
        - input: images (N, C, H, W)
        - output: logits, or values of a critic (N,)

    Args:
        image: (C, H, W), at least 2 to the power len(widths) pixels a side.
        widths: channels after each halving.
        norm: BatchNorm on all but the first; it would couple the images that a gradient penalty takes one by one.

    Raises:
        ValueError: the images are too small for so many halvings, or have another shape.

    References:
        Radford et al., Unsupervised Representation Learning with Deep Convolutional GANs, ICLR 2016.
        Gulrajani et al., Improved Training of Wasserstein GANs, NeurIPS 2017 (the critic).

    >>> DCGANDiscriminator((1, 8, 8), (8, 16), norm=False)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2])
    """

    def __init__(self, image: Image, widths: tuple[int, ...], *, norm: bool = True) -> None:
        super().__init__(image, widths, 1, norm=norm)
        self.head.append(nn.Flatten(0))


class _UpBlock(nn.Module):
    """Pre-activation residual block that doubles height and width; the 1x1 shortcut runs before it is enlarged."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(before), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = nn.BatchNorm2d(after), nn.Conv2d(after, after, 3, padding=1)
        self.shortcut, self.enlarge = nn.Conv2d(before, after, 1), nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(self.enlarge(torch.relu(self.norm1(x))))
        return self.conv2(torch.relu(self.norm2(inner))) + self.enlarge(self.shortcut(x))


class ResNetGenerator(nn.Module):
    """A linear layer, residual blocks that double the image with BatchNorm, a 3x3 convolution and tanh.

    With constant widths it is the generator of SNGAN; with halving widths and no first bias, that of GFMN.
    Convolutions start from Xavier's uniform distribution, BatchNorm scales from N(1, 0.02).

    Shapes:
        - input: latents (N, latent)
        - output: images (N, C, H, W) in [-1, 1]

    Args:
        image: (C, H, W); H = W, and 2 to the power len(widths) - 1 divides it.
        latent: length of the latent vector.
        widths: channels of the first map and after each block.
        first_bias: a bias on the first layer.

    Raises:
        ValueError: no such number of doublings reaches the image, or the latents have another shape.

    References:
        Miyato et al., Spectral Normalization for Generative Adversarial Networks, ICLR 2018, table 4.
        dos Santos et al., Learning Implicit Generative Models by Matching Perceptual Features, ICCV 2019.

    >>> ResNetGenerator((1, 8, 8), latent=4, widths=(16, 16))(torch.zeros(2, 4)).shape
    torch.Size([2, 1, 8, 8])
    """

    def __init__(self, image: Image, latent: int, widths: tuple[int, ...], *, first_bias: bool = True) -> None:
        super().__init__()
        self.image, self.latent = image, latent
        side = first_side(image, len(widths) - 1)
        first = nn.Linear(latent, widths[0] * side**2, bias=first_bias)
        blocks = [_UpBlock(i, o) for i, o in pairwise(widths)]
        last = nn.Conv2d(widths[-1], image[0], 3, padding=1)
        end = [nn.BatchNorm2d(widths[-1]), nn.ReLU(), last, nn.Tanh()]
        self.layers = nn.Sequential(first, nn.Unflatten(1, (widths[0], side, side)), *blocks, *end)
        self.apply(_xavier_)

    def forward(self, latents: Tensor) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] of latents (N, latent)."""
        return self.layers(check_shape(latents, (self.latent,), "latents"))


def _xavier_(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def _spectral(layer: nn.Module) -> nn.Module:
    return spectral_norm(layer.apply(_xavier_))


class _DownBlock(nn.Module):
    """Residual block under spectral norm, without BatchNorm; the first block takes raw images."""

    def __init__(self, before: int, after: int, *, halve: bool, first: bool = False) -> None:
        super().__init__()
        self.first = first
        self.conv1 = _spectral(nn.Conv2d(before, after, 3, padding=1))
        self.conv2 = _spectral(nn.Conv2d(after, after, 3, padding=1))
        same = before == after and not halve
        self.shortcut = nn.Identity() if same else _spectral(nn.Conv2d(before, after, 1))
        self.pool = nn.AvgPool2d(2) if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(x if self.first else torch.relu(x))
        return self.pool(self.conv2(torch.relu(inner))) + self.shortcut(self.pool(x))


class _SumPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum((2, 3))


class SNDiscriminator(nn.Module):
    """SNGAN's discriminator: four residual blocks, two of them halving, a sum over pixels, a linear layer.

    All weights stand under spectral norm. What is pruned is the weight before normalisation,
    `...parametrizations.weight.original`, and the norm is that of the masked weight, as in GAN-LTH.

    Shapes:
        - input: images (N, C, H, W)
        - output: logits (N,)

    Args:
        image: (C, H, W), at least 4 pixels a side.
        width: channels of every block.

    Raises:
        ValueError: the images are smaller than 4 pixels, or have another shape.

    References:
        Miyato et al., Spectral Normalization for Generative Adversarial Networks, ICLR 2018, table 4.
        Chen et al., GANs Can Play Lottery Tickets Too, ICLR 2021.

    >>> SNDiscriminator((1, 8, 8), width=8)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2])
    """

    def __init__(self, image: Image, width: int) -> None:
        super().__init__()
        if min(image[1:]) < 4:
            raise ValueError(f"found images of {image[1]}x{image[2]} pixels; expected at least 4 a side. Enlarge them.")
        self.image = image
        halving = [_DownBlock(image[0], width, halve=True, first=True), _DownBlock(width, width, halve=True)]
        keeping = [_DownBlock(width, width, halve=False) for _ in range(2)]
        self.layers = nn.Sequential(*halving, *keeping, nn.ReLU())
        self.head = nn.Sequential(_SumPool(), _spectral(nn.Linear(width, 1, bias=False)), nn.Flatten(0))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N,) of images (N, C, H, W)."""
        return self.head(self.layers(check_shape(images, self.image, "images")))


def signed_constant_(model: nn.Module, density: float = 1.0) -> None:
    r"""Replace every conv and linear weight by its sign times Kaiming's deviation, $\sqrt{2 / (\rho \cdot fan_{in})}$.

    The weights of a strong ticket: never trained, only chosen by scores.

    Args:
        model: any module; it is changed in place.
        density: the share rho that will be kept, in (0, 1], to keep the activations' scale.

    Raises:
        ValueError: the density is outside (0, 1].

    References:
        Ramanujan et al., What's Hidden in a Randomly Weighted Neural Network?, CVPR 2020.
        Yeo et al., Can We Find Strong Lottery Tickets in Generative Models?, AAAI 2023.

    >>> layer = nn.Linear(8, 3)
    >>> signed_constant_(layer)
    >>> layer.weight.abs().unique().tolist()
    [0.5]
    """
    if not 0 < density <= 1:
        raise ValueError(f"found the density {density}; expected one in (0, 1], the share that will be kept")
    for module in model.modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            continue
        below = dict(module.named_parameters())  # a normalised weight is the constant before normalisation
        weight = below.get("parametrizations.weight.original", module.weight)
        fan_in: float = weight[0].numel()
        if isinstance(module, nn.ConvTranspose2d):  # a pixel sees every stride-th row and column of the kernel
            fan_in = weight[:, 0].numel() / (module.stride[0] * module.stride[1])
        scale = (2 / (density * fan_in)) ** 0.5
        with torch.no_grad():
            weight.copy_(torch.where(weight < 0, -scale, scale))

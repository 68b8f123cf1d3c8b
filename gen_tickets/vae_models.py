"""Encoders, decoders, and the auto-encoders and VAEs that join them.

Images are (N, C, H, W) in [-1, 1], latents (N, z). The decoder is also the generator of DCGAN and WGAN: a ticket moves
between the families by the names below `decoder.` and `generator.`.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = [
    "VAE", "AutoEncoder", "ConvDecoder", "ConvEncoder", "Image", "Reconstruction", "check_shape", "first_side",
    "normal_",
]  # fmt: skip

Image = tuple[int, int, int]  # channels, height and width


def check_shape(x: Tensor, shape: tuple[int, ...], what: str) -> Tensor:
    """The batch (N, *shape) itself.

    Raises:
        ValueError: it has another shape.

    >>> check_shape(torch.zeros(2, 4), (4,), "latents").shape
    torch.Size([2, 4])
    """
    if tuple(x.shape[1:]) != shape:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"found {what} {tuple(x.shape)}; expected (N, {wanted}). Build the model for this shape.")
    return x


def first_side(image: Image, doublings: int) -> int:
    """Side of the square map from which so many doublings reach the image.

    Raises:
        ValueError: the image is not square, or no whole side doubles to it.

    >>> first_side((1, 28, 28), 2)
    7
    """
    _, height, width = image
    factor = 2**doublings
    if height != width or height % factor or height < factor:
        raise ValueError(
            f"found images of {height}x{width} pixels; expected squares with a side that {factor} divides, for "
            f"{doublings} doublings. Pad or resize the images, or give fewer widths."
        )
    return height // factor


def normal_(module: nn.Module) -> None:
    """DCGAN's initialisation of one module (Radford et al.): weights N(0, 0.02), BatchNorm scales N(1, 0.02), biases 0.

    >>> layer = nn.Linear(1000, 100).apply(normal_)
    >>> f"{layer.weight.std():.3f}", layer.bias.count_nonzero().item()
    ('0.020', 0)
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0 if isinstance(module, nn.BatchNorm2d) else 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _block(conv: nn.Conv2d | nn.ConvTranspose2d, activation: nn.Module, *, norm: bool = True) -> nn.Sequential:
    parts = OrderedDict[str, nn.Module](conv=conv)
    if norm:
        parts["norm"] = nn.BatchNorm2d(conv.out_channels)
    parts["activation"] = activation
    return nn.Sequential(parts)


class ConvDecoder(nn.Module):
    """Transposed convolutions from a latent to an image, each with BatchNorm and ReLU, then a 3x3 convolution and tanh.

    DCGAN's generator, in the form for 32 pixels of Miyato et al., whose table 3 has the widths of `cifar10`.

    Shapes:
        - input: latents (N, latent)
        - output: images (N, C, H, W) in [-1, 1]

    Args:
        image: (C, H, W); H = W, and 2 to the power len(widths) - 1 divides it.
        latent: length of the latent vector.
        widths: channels of the first map and after each doubling.

    Raises:
        ValueError: no such number of doublings reaches the image, or the latents have another shape.

    References:
        Radford et al., Unsupervised Representation Learning with Deep Convolutional GANs, ICLR 2016.
        Miyato et al., Spectral Normalization for Generative Adversarial Networks, ICLR 2018.

    >>> ConvDecoder((1, 8, 8), latent=4, widths=(16, 8))(torch.zeros(2, 4)).shape
    torch.Size([2, 1, 8, 8])
    """

    def __init__(self, image: Image, latent: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.image, self.latent = image, latent
        first = nn.ConvTranspose2d(latent, widths[0], first_side(image, len(widths) - 1), bias=False)
        ups = [nn.ConvTranspose2d(i, o, 4, stride=2, padding=1, bias=False) for i, o in pairwise(widths)]
        last = nn.Conv2d(widths[-1], image[0], 3, padding=1)
        blocks = [_block(conv, nn.ReLU()) for conv in (first, *ups)]
        self.layers = nn.Sequential(nn.Unflatten(1, (latent, 1, 1)), *blocks, last, nn.Tanh())
        self.apply(normal_)

    def forward(self, latents: Tensor) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] of latents (N, latent)."""
        return self.layers(check_shape(latents, (self.latent,), "latents"))


class ConvEncoder(nn.Module):
    """Strided convolutions with leaky ReLU, with BatchNorm on all but the first, then one linear layer.

    Shapes:
        - input: images (N, C, H, W)
        - output: (N, outputs)

    Args:
        image: (C, H, W), at least 2 to the power len(widths) pixels a side.
        widths: channels after each halving.
        outputs: length of what comes out.
        norm: BatchNorm.

    Raises:
        ValueError: the images are too small for so many halvings, or have another shape.

    References:
        Radford et al., Unsupervised Representation Learning with Deep Convolutional GANs, ICLR 2016.

    >>> ConvEncoder((1, 8, 8), widths=(8, 16), outputs=4)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 4])
    """

    def __init__(self, image: Image, widths: tuple[int, ...], outputs: int, *, norm: bool = True) -> None:
        super().__init__()
        self.image = image
        height, width = image[1] >> len(widths), image[2] >> len(widths)
        if not height * width:
            least = f"expected at least {2 ** len(widths)} a side for {len(widths)} halvings"
            raise ValueError(f"found images of {image[1]}x{image[2]} pixels; {least}. Give fewer widths.")
        self.layers = nn.Sequential()
        for index, (i, o) in enumerate(pairwise([image[0], *widths])):
            has = norm and index > 0
            conv = nn.Conv2d(i, o, 4, stride=2, padding=1, bias=not has)
            self.layers.append(_block(conv, nn.LeakyReLU(0.2), norm=has))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * height * width, outputs))
        self.apply(normal_)

    def forward(self, images: Tensor) -> Tensor:
        """Vectors (N, outputs) of images (N, C, H, W)."""
        return self.head(self.layers(check_shape(images, self.image, "images")))


class AutoEncoder(nn.Module):
    """An encoder to a latent and a decoder back, to be trained on the squared error of the reconstruction.

    Shapes:
        - input: images (N, C, H, W) in [-1, 1]
        - output: images of the same shape and range

    Args:
        encoder: from images to latents (N, z).
        decoder: from latents (N, z) to images.

    References:
        Kalibhat et al., Winning Lottery Tickets in Deep Generative Models, AAAI 2021.

    >>> model = AutoEncoder(ConvEncoder((1, 8, 8), (8, 16), 4), ConvDecoder((1, 8, 8), 4, (16, 8)))
    >>> model.encode(torch.zeros(2, 1, 8, 8)).shape, model(torch.zeros(2, 1, 8, 8)).shape
    (torch.Size([2, 4]), torch.Size([2, 1, 8, 8]))
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, images: Tensor) -> Tensor:
        """Latents (N, z) of images (N, C, H, W)."""
        return self.encoder(images)

    def decode(self, latents: Tensor) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] of latents (N, z)."""
        return self.decoder(latents)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions of images (N, C, H, W)."""
        return self.decode(self.encode(images))


class Reconstruction(NamedTuple):
    """What a VAE makes of images: reconstructions (N, C, H, W), and mean and log-variance (N, z) of the posterior."""

    images: Tensor
    mean: Tensor
    log_variance: Tensor


class VAE(nn.Module):
    r"""Variational auto-encoder: $z = \mu(x) + \sigma(x) \odot \epsilon$ with $\epsilon \sim N(0, I)$.

    A beta-VAE is the same network with another weight on the divergence in its loss.

    Shapes:
        - input: images (N, C, H, W) in [-1, 1]
        - output: a `Reconstruction`

    Args:
        encoder: from images to mean and log-variance (N, 2 z).
        decoder: from latents (N, z) to images.

    References:
        Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014.
        Higgins et al., beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework, ICLR 2017.

    >>> model = VAE(ConvEncoder((1, 8, 8), (8, 16), outputs=8), ConvDecoder((1, 8, 8), 4, (16, 8)))
    >>> [tuple(part.shape) for part in model(torch.zeros(2, 1, 8, 8))]
    [(2, 1, 8, 8), (2, 4), (2, 4)]
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (N, z), of the posterior of images (N, C, H, W)."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance

    def reparameterise(self, mean: Tensor, log_variance: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A draw (N, z) from the posterior, through which gradients reach mean and log-variance."""
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        return mean + (log_variance / 2).exp() * noise

    def decode(self, latents: Tensor) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] of latents (N, z); those of N(0, 1) draws are samples of the model."""
        return self.decoder(latents)

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Reconstruction:
        """Encode, draw and decode; the draw follows `generator`, or torch's global one."""
        mean, log_variance = self.encode(images)
        return Reconstruction(self.decode(self.reparameterise(mean, log_variance, generator)), mean, log_variance)

"""Latent diffusion: images to latents and back by a frozen auto-encoder of diffusers.

Latents are encoded once and then trained on as images are; the auto-encoder is neither trained nor pruned.

References:
    Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.runs.errors import UsageError
from gen_tickets.denoising import evaluating

__all__ = ["decode", "encode", "load_autoencoder"]


@lru_cache(maxsize=1)
def load_autoencoder(folder: str) -> nn.Module:
    """The `AutoencoderKL` that diffusers saved in a folder, frozen and in eval mode.

    Raises:
        UsageError: there is no such folder.
        ValueError: what it holds cannot be read as one.
    """
    from diffusers import AutoencoderKL

    if not Path(folder).is_dir():
        raise UsageError(f"found no folder {folder}; expected an AutoencoderKL that diffusers' save_pretrained wrote")
    try:
        made: nn.Module = AutoencoderKL.from_pretrained(folder, local_files_only=True, low_cpu_mem_usage=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{folder} holds no AutoencoderKL that diffusers can read: {' '.join(str(error).split())[:200]}; give the "
            "folder that its save_pretrained wrote"
        ) from error
    return made.requires_grad_(False).eval()


def encode(autoencoder: nn.Module, images: Tensor, *, batch: int = 64) -> Tensor:
    """The latents of images: the means of the posterior, less the auto-encoder's shift, times its scaling factor.

    Args:
        autoencoder: an `AutoencoderKL` of diffusers; left as it was.
        images: (N, C, H, W) in [-1, 1].
        batch: images encoded at a time.

    Returns:
        (N, c, h, w), without gradient, on the images' device.

    Raises:
        TypeError: the network has no `encode`, `decode` and `config.scaling_factor`.
    """
    shift, scale = _scaling(autoencoder)
    known: Any = autoencoder
    return _batched(autoencoder, images, batch, lambda part: (known.encode(part).latent_dist.mode() - shift) * scale)


def decode(autoencoder: nn.Module, latents: Tensor, *, batch: int = 64) -> Tensor:
    """The images of latents, as `encode` made them.

    Args:
        autoencoder: the one that encoded; left as it was.
        latents: (N, c, h, w).
        batch: latents decoded at a time.

    Returns:
        (N, C, H, W), about in [-1, 1], without gradient, on the latents' device.

    Raises:
        TypeError: as `encode`.
    """
    shift, scale = _scaling(autoencoder)
    known: Any = autoencoder
    return _batched(autoencoder, latents, batch, lambda part: known.decode(part / scale + shift).sample)


def _scaling(autoencoder: nn.Module) -> tuple[float, float]:
    config = getattr(autoencoder, "config", None)
    scale = getattr(config, "scaling_factor", None)
    if scale is None or not hasattr(autoencoder, "encode") or not hasattr(autoencoder, "decode"):
        raise TypeError(
            f"found a {type(autoencoder).__name__}; expected an auto-encoder with encode, decode and "
            "config.scaling_factor. Pass diffusers' AutoencoderKL."
        )
    return float(getattr(config, "shift_factor", None) or 0.0), float(scale)


def _batched(model: nn.Module, inputs: Tensor, batch: int, call: Callable[[Tensor], Tensor]) -> Tensor:
    first = next(model.parameters())
    with evaluating(model), torch.no_grad():
        return torch.cat([call(part.to(first.device, first.dtype)).to(inputs) for part in inputs.split(batch)])

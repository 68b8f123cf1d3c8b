"""Recipe of diffusion models: U-Nets on pixels or latents, with classes or without, new or from a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.runs.errors import UsageError
from common.scoped import seeded
from gen_tickets import ddpm
from gen_tickets._steps import Trainer
from gen_tickets.config import Find
from gen_tickets.data import Images, as_floats
from gen_tickets.ddpm_tickets import depths
from gen_tickets.denoising import Denoising
from gen_tickets.models import UNETS
from gen_tickets.models import ddpm as unet_of
from gen_tickets.networks import Network
from gen_tickets.pipelines import config_of, load_pipeline
from gen_tickets.presets import set_to
from gen_tickets.recipes import Recipe

__all__ = ["bind", "task_of"]

_JUDGED = 2000  # test images of the loss
_SCORED = 128  # training images a batch of criteria, or four batches of the training if those are fewer


def bind(config: Find, images: Images, seed: int, teacher: Mapping[str, Tensor] | None = None) -> Recipe:
    """See `gen_tickets.recipes.bind`; images of a latent model are encoded first."""
    del teacher  # there is nothing to distil from here
    network, model = _network(config, images, seed)
    train, test = (task_of(network, images, split) for split in ("train", "test"))
    how = config.training
    scored = min(_SCORED, 4 * set_to(how.batch))
    settings = ddpm.Settings(
        batch=set_to(how.batch),
        lr=set_to(how.lr),
        warmup=min(50, set_to(how.steps) // 10),
        decay=set_to(how.average),
        precision=how.precision,
    )
    make = partial(ddpm.trainer, train, settings, seed)
    return Recipe(
        config=config,
        network=network,
        model=model,
        make_trainer=make,
        sampled=_averages,
        losses=lambda judged: {"loss": test.evaluate(judged)},
        objective=train.objective(4, scored, seed),
        depths=depths(model),
        parts={"task": train, "settings": settings, "scored": scored},
    )


def _network(config: Find, images: Images, seed: int) -> tuple[Network, nn.Module]:
    classes = images.classes if config.conditional else None
    if config.conditional and classes is None:
        raise UsageError(f"{images.name} has no labels, which --conditional needs; leave it out, or give labelled data")
    if config.from_ and (config.autoencoder or config.conditional):
        raise UsageError("--from brings a whole model; leave out --autoencoder and --conditional")
    if config.from_:
        return _from_pipeline(config.from_, images)
    if config.autoencoder:
        return _latent(config, images, seed, classes)
    network = Network("ddpm", set_to(config.size), images.shape, classes)
    return network, network.initial(seed)


def _from_pipeline(folder: str, images: Images) -> tuple[Network, nn.Module]:
    unet, scheduler = load_pipeline(folder)
    config = config_of(unet)
    classes = config.get("num_class_embeds")
    network = Network("ddpm", "own", images.shape, classes, config, config_of(scheduler))
    if network.noise_shape() != images.shape:
        raise ValueError(
            f"{folder} makes images of shape {network.noise_shape()}; found {images.shape} in {images.name}. Choose "
            "other data, or resize them (--image-size)"
        )
    return network, unet


def _latent(config: Find, images: Images, seed: int, classes: int | None) -> tuple[Network, nn.Module]:
    """A U-Net for latents, of the suite's widths and as deep as the latents can be halved."""
    channels, height, width = _encoded(str(config.autoencoder), as_floats(images.train[:1])).shape[1:]
    widths = UNETS[config.size if config.size in UNETS else "tiny"]
    levels = min(len(widths), (height & -height).bit_length())
    with seeded(seed):
        unet: Any = unet_of((channels, height, width), widths[:levels], attention=(levels - 1,), classes=classes)
    folder = str(Path(str(config.autoencoder)).resolve())  # a ticket may be opened from elsewhere
    network = Network("ddpm", "own", images.shape, classes, config_of(unet), None, folder)
    return network, unet


def _encoded(folder: str, images: Tensor) -> Tensor:
    from gen_tickets.latents import encode, load_autoencoder

    return encode(load_autoencoder(folder), images)


def task_of(network: Network, images: Images, split: str) -> Denoising:
    """The noise prediction of a network on the `train` images, or on the first 2000 `test` ones."""
    shown, labels = images.train, images.labels_train
    if split == "test":
        shown = images.test[:_JUDGED]
        labels = None if images.labels_test is None else images.labels_test[:_JUDGED]
    floats = as_floats(shown)
    if network.autoencoder:
        floats = _encoded(network.autoencoder, floats)
    scheduler = None
    if network.scheduler is not None:
        from diffusers import DDPMScheduler

        scheduler = DDPMScheduler.from_config(dict(network.scheduler))
    return Denoising(floats, labels if network.classes is not None else None, scheduler)


@torch.no_grad()
def _averages(model: nn.Module, train: Trainer) -> Mapping[str, Tensor]:
    return ddpm.averaged(model, train).state_dict()

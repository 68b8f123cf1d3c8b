"""Early birds: they stop on settled masks, and what they drop is removed for good."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from common.apply import masked
from common.sparse.slim import slim
from gen_tickets.early_bird import channel_masks, early_bird
from gen_tickets.gan import DCGAN, trainer
from gen_tickets.gan_models import GAN
from gen_tickets.models import build

DIGITS = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
QUICK = replace(DCGAN, batch=16, generator_batch=16)


def made() -> GAN:
    torch.manual_seed(0)
    gan = build("dcgan", "tiny")
    assert isinstance(gan, GAN)
    return gan


def still(model: nn.Module, start: int, stop: int) -> Mapping[str, float]:
    return {}


def reshuffle(model: nn.Module, start: int, stop: int) -> Mapping[str, float]:
    torch.manual_seed(start)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight)
    return {}


def test_early_bird_stops_on_constant_masks_and_not_on_changing_ones() -> None:
    found = early_bird(made(), still, density=0.5, steps=3, epochs=9)
    assert found.epoch == 5
    assert found.distances == [math.inf] * 4 + [0.0]
    never = early_bird(made(), reshuffle, density=0.5, steps=3, epochs=9)
    assert never.epoch is None
    assert min(never.distances) > 0.1
    assert len(never.distances) == 9


def test_an_early_bird_is_slimmed_for_good() -> None:
    gan = made()
    found = early_bird(gan, trainer(DIGITS, QUICK), density=0.5, steps=2, epochs=6, part="generator", threshold=0.2)
    assert found.epoch in (5, 6)
    assert found.masks.distance(channel_masks(gan.generator, 0.5)) == 0
    assert sum(int(mask.sum()) for name, mask in found.masks.items() if name.endswith("weight")) == 72  # of 96 + 48
    latents = torch.randn(4, gan.latent)
    with masked(gan.generator, found.masks):
        expected = gan.generator.eval()(latents)
    small = slim(gan.generator, found.masks, (latents,))
    assert small.report.parameters_after < 0.45 * small.report.parameters_before
    torch.testing.assert_close(small.model(latents), expected)
    slimmed = GAN(small.model, gan.discriminator)  # type: ignore[arg-type]
    assert trainer(DIGITS, QUICK)(slimmed, 0, 2).keys() == {"discriminator", "generator"}


def test_every_layer_keeps_a_channel() -> None:
    gan = made()
    norms = [module for module in gan.generator.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        norms[0].weight.fill_(1e-6)
    masks = channel_masks(gan.generator, 0.1)
    assert [int(mask.sum()) for name, mask in masks.items() if name.endswith("weight")] == [1, 13]


def test_impossible_requests_say_what_was_found_and_expected() -> None:
    with pytest.raises(ValueError, match="found no BatchNorm in this Linear"):
        channel_masks(nn.Linear(1, 1), 0.5)
    with pytest.raises(ValueError, match="fewer than the 2 layers"):
        channel_masks(made().generator, 0.001)

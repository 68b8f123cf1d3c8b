"""Small trainings, a loop that is interrupted, and when two trainings are the same; for the tests beside this file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from gen_tickets import ddpm, gan, gfmn
from gen_tickets._steps import Trainer
from gen_tickets.denoising import Denoising
from gen_tickets.models import build
from gen_tickets.models import ddpm as unet

DIGITS = torch.tensor(load_digits().images[:256], dtype=torch.float32)[:, None] / 8 - 1
QUICK = ddpm.Settings(batch=4, lr=1e-3, decay=0.9, warmup=20)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return unet((1, 8, 8), (8,), attention=(), dropout=0.1)


def made(family: str) -> tuple[nn.Module, Trainer]:
    if family == "ddpm":
        return network(), ddpm.trainer(Denoising(DIGITS), QUICK)
    torch.manual_seed(0)
    if family == "strong":
        pixels: Any = lambda images: [images]  # noqa: E731
        settings = gfmn.Settings(batch=8, lr=1e-2)
        return build("gfmn", "tiny"), gfmn.strong_trainer(gfmn.moments(pixels, DIGITS), pixels, 0.3, settings)
    settings = replace(gan.SNGAN, batch=4, generator_batch=4, critic_steps=2)
    return build(family, "tiny"), gan.trainer(DIGITS, settings)


class Until:
    """Runs the steps, counts them, and is interrupted after so many."""

    def __init__(self, most: int = 10**6) -> None:
        self.most, self.done = most, 0

    def __call__(self, model: nn.Module, steps: Iterator[Mapping[str, float]], count: int) -> None:
        for _ in steps:
            self.done += 1
            if self.done == self.most:
                raise KeyboardInterrupt


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def same(one: tuple[nn.Module, Trainer], two: tuple[nn.Module, Trainer]) -> bool:
    """Whether weights, statistics, moments and averages are equal."""
    states = one[1].kept, two[1].kept
    alike = states[0].keys() == states[1].keys() and all(equal(states[0][step], states[1][step]) for step in states[0])
    return alike and equal(one[0].state_dict(), two[0].state_dict()) and equal(one[1].carried, two[1].carried)

"""Training of diffusion models: divergence, and one clear line for every mistake."""

from __future__ import annotations

import math
from typing import Any

import diffusers
import pytest
import torch
from torch import nn

from common.runs.errors import DivergedError
from gen_tickets.ddpm import Settings, averaged, trainer
from gen_tickets.ddpm_tickets import by_depth_rounds
from gen_tickets.denoising import Denoising
from gen_tickets.ema import average
from gen_tickets.latents import encode
from gen_tickets.models import ddpm

QUICK = Settings(batch=4, lr=1e-3)
IMAGES = torch.linspace(-1, 1, 8 * 64).reshape(8, 1, 8, 8)
LABELS = torch.arange(8)


def unet(**more: Any) -> nn.Module:
    torch.manual_seed(0)
    return ddpm((1, 8, 8), (8, 16), attention=(1,), **more)


def test_divergence_names_step_and_loss_and_keeps_the_last_good_weights() -> None:
    model, train = unet(), trainer(Denoising(IMAGES), Settings(batch=4, lr=1e30))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(DivergedError, match=r"diverged at step 1: found .*'loss': (nan|inf).*before step 0"):
        train(model, 0, 9)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not train.kept
    with pytest.raises(ValueError, match="has not trained yet"):
        averaged(model, train)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(DivergedError, match=r"diverged at step 4: found .*'loss': nan.*before step 4"):
        trainer(Denoising(IMAGES))(model, 4, 9)


def test_schedulers_for_training_are_taken_and_no_others() -> None:
    for name in ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler"):
        task = Denoising(IMAGES, scheduler=getattr(diffusers, name)(beta_schedule="squaredcos_cap_v2"))
        assert trainer(task, QUICK)(unet(), 0, 1)["loss"] > 0
    for scheduler, text in [
        (diffusers.EulerDiscreteScheduler(), "EulerDiscreteScheduler, whose add_noise does not follow"),
        (diffusers.DPMSolverMultistepScheduler(), r"Train with DDPMScheduler\.from_config"),
        (diffusers.FlowMatchEulerDiscreteScheduler(), "without add_noise or alphas_cumprod"),
        (diffusers.DDPMScheduler(prediction_type="v_prediction"), "expected 'epsilon'"),
    ]:
        with pytest.raises(ValueError, match=text):
            Denoising(IMAGES, scheduler=scheduler)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: Denoising(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)), TypeError, "found images of torch.uint8"),
        (lambda: Denoising(torch.full((2, 1, 8, 8), 255.0)), ValueError, r"from 255 to 255; expected about \[-1, 1\]"),
        (lambda: Denoising(torch.zeros(2, 8, 8)), ValueError, r"shape \(2, 8, 8\)"),
        (lambda: Denoising(IMAGES, LABELS[:3]), ValueError, r"labels of shape \(3,\)"),
        (lambda: Denoising(IMAGES, LABELS.float()), TypeError, "labels of torch.float32"),
        (lambda: trainer(Denoising(IMAGES, LABELS))(unet(), 0, 1), ValueError, "the model knows none"),
        (lambda: trainer(Denoising(IMAGES))(unet(classes=10), 0, 1), ValueError, "expects them, from 0 to 9"),
        (lambda: trainer(Denoising(IMAGES, LABELS))(unet(classes=5), 0, 1), ValueError, "knows 0 to 4"),
        (lambda: trainer(Denoising(IMAGES.repeat(1, 3, 1, 1)))(unet(), 0, 1), ValueError, "found images of 3 channels"),
        (lambda: Settings(batch=0), ValueError, "batch=0; expected 1 or more"),
        (lambda: average(nn.Linear(1, 1), 1.0), ValueError, "decay of 1.0"),
        (lambda: encode(nn.Linear(1, 1), IMAGES), TypeError, "Pass diffusers' AutoencoderKL"),
        (lambda: by_depth_rounds(nn.Linear(1, 1)), TypeError, "expected a U-Net with down_blocks"),
        (lambda: by_depth_rounds(unet(), -1), ValueError, "found -1 rounds"),
    ],
)
def test_mistakes_get_one_clear_line(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()

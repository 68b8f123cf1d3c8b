"""Training of diffusion models: exact steps, moments and averages that are rewound and masked, classes and latents."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

from common.apply import masked
from common.masks import Masks, prunable
from common.search import Rewind, tickets
from gen_tickets.ddpm import Settings, averaged, trainer
from gen_tickets.denoising import Batch, Denoising
from gen_tickets.draw import Sampler, denoise
from gen_tickets.ema import average
from gen_tickets.latents import decode, encode
from gen_tickets.models import build, ddpm

QUICK = Settings(batch=16, lr=1e-3, decay=0.9)
DIGITS = load_digits()
IMAGES = torch.tensor(DIGITS.images[:256], dtype=torch.float32)[:, None] / 8 - 1
LABELS = torch.tensor(DIGITS.target[:256])


def unet(seed: int = 0, **more: Any) -> nn.Module:
    torch.manual_seed(seed)
    return ddpm((1, 8, 8), (8, 16), attention=(1,), **more)


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def half(model: nn.Module) -> Masks:
    """Every other entry of each prunable tensor."""
    return Masks({n: torch.arange(p.numel()).reshape(p.shape) % 2 == 0 for n, p in prunable(model).items()})


def test_the_loss_is_the_error_of_the_predicted_noise() -> None:
    class Nothing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen, self.scale = [], nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor, t: Tensor) -> Any:
            self.seen.append(x)
            return SimpleNamespace(sample=x * self.scale)

    model = Nothing()
    batch = Batch(torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[[3.0, -1.0]]]]), torch.tensor([499]), None)
    assert Denoising(IMAGES).loss(model, batch).item() == pytest.approx((9 + 1) / 2)
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)[499].item()
    wanted = [math.sqrt(kept) * 0.5 + math.sqrt(1 - kept) * e for e in (3.0, -1.0)]
    assert model.seen[0].flatten().tolist() == pytest.approx(wanted, rel=1e-5)


def test_training_learns() -> None:
    torch.manual_seed(0)
    model, task = build("ddpm", "tiny"), Denoising(IMAGES)
    before = task.evaluate(model)
    settings = Settings(batch=64, lr=2e-3, decay=0.95)
    train = trainer(task, settings, measure=lambda net: {"mean": task.evaluate(net)})
    found = train(model, 0, 80)
    assert before > 0.9
    assert task.evaluate(model) < 0.5 * before
    assert task.evaluate(averaged(model, train)) == found["mean"] < 0.5 * before
    assert found["gradient"] > 0


@pytest.mark.parametrize("more", [{}, {"warmup": 15, "weight_decay": 0.1}])
def test_steps_in_two_parts_are_the_same_steps(more: dict[str, Any]) -> None:
    settings = Settings(batch=8, lr=1e-3, decay=0.9, **more)
    whole, parts = unet(dropout=0.1), unet(dropout=0.1)
    one, two = (trainer(Denoising(IMAGES), settings, seed=3) for _ in range(2))
    one(whole, 0, 20)
    two(parts, 0, 10)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    two(parts, 10, 20)
    assert torch.equal(torch.get_rng_state(), state)
    assert equal(parts.state_dict(), whole.state_dict())
    assert equal(two.carried, one.carried)
    assert equal(two.kept[20], one.kept[20])
    assert int(one.carried["updates"]) == 20
    other = unet(dropout=0.1)
    trainer(Denoising(IMAGES), settings, seed=4)(other, 0, 20)
    assert not equal(other.state_dict(), whole.state_dict())


def test_the_learning_rate_rises_with_the_step() -> None:
    """Adam's first update of an entry is the learning rate itself."""
    train = trainer(Denoising(IMAGES), Settings(batch=8, lr=1e-3, warmup=4))
    for start, rate in ((0, 2.5e-4), (1, 5e-4), (3, 1e-3), (9, 1e-3)):
        model, before = unet(), unet()
        train(model, start, start + 1)
        change = (model.conv_out.weight - before.conv_out.weight).abs()
        assert change.max().item() == pytest.approx(rate, rel=1e-2)


def test_states_go_on_in_another_process(tmp_path: Path) -> None:
    model, again = unet(), unet()
    first = trainer(Denoising(IMAGES), QUICK)
    first(model, 0, 4)
    again.load_state_dict(model.state_dict())
    save_file(first.kept[4], tmp_path / "state.safetensors")
    second = trainer(Denoising(IMAGES), QUICK)
    second.kept[4] = load_file(tmp_path / "state.safetensors")
    first(model, 4, 8)
    second(again, 4, 8)
    assert equal(first.kept[8], second.kept[8])


def test_a_search_rewinds_moments_and_average_with_the_weights() -> None:
    """Its dense round is an unbroken training; its last round starts from the masked state of step 3."""
    task, model, alone = Denoising(IMAGES), unet(), unet()
    train = trainer(task, QUICK)
    found = list(tickets(model, train, [1.0, 0.5, 0.2], steps=9, rewind=Rewind.step(3)))
    assert [round(ticket.density, 3) for ticket in found] == [1.0, 0.5, 0.2]
    reference = trainer(task, QUICK)
    reference(alone, 0, 3)
    at_three = reference.kept[3]
    reference(alone, 3, 9)
    assert equal(found[0].trained or {}, alone.state_dict())

    masks, last = found[2].masks, train.kept[9]
    number = {name: j for j, (name, _) in enumerate(model.named_parameters())}
    for name, mask in masks.items():
        moments = [f"optimizer.0.{number[name]}.{key}" for key in ("exp_avg", "exp_avg_sq")]
        assert int(last[f"optimizer.0.{number[name]}.step"]) == int(last["carried.updates"]) == 9
        for key in (f"model.{name}", f"carried.{name}", *moments):
            assert not bool(last[key][~mask].any()), key
            assert bool(last[key][mask].any()) or not mask.any(), key
    again = unet(seed=5)
    again.load_state_dict({n: at_three[f"model.{n}"] for n in again.state_dict()})
    with masked(again, masks):
        reference(again, 3, 9)
    assert equal(again.state_dict(), model.state_dict())
    assert equal(reference.carried, train.carried)


def test_other_weights_start_with_empty_moments() -> None:
    train = trainer(Denoising(IMAGES), QUICK)
    train(unet(), 0, 3)
    train(unet(seed=1), 3, 5)
    assert {int(v) for name, v in train.kept[5].items() if name.endswith(".step")} == {2}
    assert int(train.carried["updates"]) == 2


def test_an_average_follows_its_rule_and_forgets_what_is_zero() -> None:
    model = nn.Linear(2, 1, bias=False)
    mean = average(model, 0.5)
    for weights in ([1.0, 1.0], [2.0, 3.0], [4.0, 0.0], [4.0, 0.0]):
        model.weight.data.copy_(torch.tensor([weights]))
        mean.update_parameters(model)
    first = 1.0
    for count, weight in ((1, 2.0), (2, 4.0), (3, 4.0)):
        decay = min(0.5, (1 + count) / (10 + count))
        first = decay * first + (1 - decay) * weight
    assert mean.module.weight.tolist() == [[pytest.approx(first), 0.0]]


def test_the_average_of_a_masked_training_draws_samples() -> None:
    model, train = unet(), trainer(Denoising(IMAGES), QUICK)
    masks = half(model)
    with masked(model, masks):
        train(model, 0, 3)
    mean = averaged(model, train)
    assert all(not bool(mean.get_parameter(name)[~mask].any()) for name, mask in masks.items())
    assert not equal(mean.state_dict(), model.state_dict())
    with torch.no_grad():
        images = denoise(mean, torch.randn(2, 1, 8, 8), Sampler("ddim", 3))
    assert bool(images.isfinite().all())


def test_classes_and_latents_train() -> None:
    task = Denoising(IMAGES, LABELS)
    model = build("ddpm", "tiny", classes=10)
    before = task.evaluate(model)
    trainer(task, Settings(batch=32, lr=2e-3))(model, 0, 30)
    assert task.evaluate(model) < 0.8 * before
    embedding = model.class_embedding.weight.detach().clone()
    trainer(task, QUICK)(model, 0, 2)
    assert not torch.equal(model.class_embedding.weight, embedding)

    torch.manual_seed(0)
    coder = diffusers.AutoencoderKL(
        in_channels=1, out_channels=1, latent_channels=2, sample_size=8, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    held = {name: value.clone() for name, value in coder.state_dict().items()}
    latents = encode(coder, IMAGES, batch=100)
    assert latents.shape == (256, 2, 4, 4)
    with torch.no_grad():
        wanted = coder.encode(IMAGES[:3]).latent_dist.mean
        assert torch.allclose(latents[:3], wanted * coder.config.scaling_factor, atol=1e-5)
        assert torch.allclose(decode(coder, latents[:3]), coder.decode(wanted).sample, atol=1e-4)
    inner = ddpm((2, 4, 4), (8, 16), attention=())
    task = Denoising(latents)
    before = task.evaluate(inner)
    trainer(task, Settings(batch=32, lr=2e-3))(inner, 0, 30)
    assert task.evaluate(inner) < 0.8 * before
    assert equal(coder.state_dict(), held)
    assert coder.training

"""Trainings driven by lightning: the plain loop's result to the bit, in silence, and what happens when one stops."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from common.masks import Masks
from common.runs.errors import DivergedError
from common.search import Rewind, tickets
from gen_tickets import ddpm, gan, gfmn, vae
from gen_tickets._steps import Trainer
from gen_tickets.denoising import Denoising
from gen_tickets.lightning import Lightning
from gen_tickets.models import build
from gen_tickets.models import ddpm as unet

DIGITS = torch.tensor(load_digits().images[:256], dtype=torch.float32)[:, None] / 8 - 1
QUICK = ddpm.Settings(batch=8, lr=1e-3, decay=0.9)
CPU = Lightning(accelerator="cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    return unet((1, 8, 8), (8, 16), attention=(), dropout=0.1)


def pixels(images: Tensor) -> list[Tensor]:
    return [images]


def made(family: str) -> tuple[nn.Module, Trainer]:
    torch.manual_seed(0)
    if family == "ddpm":
        return network(), ddpm.trainer(Denoising(DIGITS), QUICK, measure=lambda net: {"first": first(net)})
    model = build(family, "tiny")
    if family == "vae":
        return model, vae.trainer(DIGITS, vae.Settings(batch=8))
    if family == "gfmn":
        return model, gfmn.trainer(gfmn.moments(pixels, DIGITS), pixels, gfmn.Settings(batch=8))
    settings = replace(gan.SNGAN, batch=8, generator_batch=8, critic_steps=2)
    return model, gan.trainer(DIGITS, settings, measure=lambda net: {"first": first(net)})


def first(network: nn.Module) -> float:
    return float(next(network.parameters()).sum())


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("family", ["ddpm", "sngan", "vae", "gfmn"])
def test_lightning_finds_what_the_plain_loop_finds(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found: list[tuple[Masks, Mapping[str, Any], dict[str, Tensor], dict[str, Tensor]]] = []
    for drive in (None, CPU):
        model, train = made(family)
        train.drive = drive or train.drive
        *_, last = tickets(model, train, [1.0, 0.5], steps=4, rewind=Rewind.step(2))
        found.append((last.masks, last.metrics, last.trained or {}, train.kept[4]))
        assert model.training
    assert found[0][0].density == pytest.approx(0.5, abs=1e-3)
    assert found[0][1] == found[1][1]
    assert all(equal(found[0][i], found[1][i]) for i in (0, 2, 3))
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("family", ["ddpm", "sngan"])
def test_mixed_precision_keeps_weights_and_moments_in_float32(family: str) -> None:
    state, losses = {}, {}
    for precision in ("32-true", "bf16-mixed"):
        model, train = made(family)
        train.drive = Lightning(accelerator="cpu", precision=precision)
        losses[precision] = train(model, 0, 3)
        state[precision] = train.kept[3]
    exact, mixed = state.values()
    assert {value.dtype for value in mixed.values()} == {value.dtype for value in exact.values()}
    assert not equal(exact, mixed)
    name = "loss" if family == "ddpm" else "discriminator"
    assert losses["bf16-mixed"][name] == pytest.approx(losses["32-true"][name], rel=0.05)


def test_other_precisions_are_refused() -> None:
    with pytest.raises(ValueError, match="found the precision '16-mixed'; expected '32-true' or 'bf16-mixed'"):
        Lightning(precision="16-mixed")  # type: ignore[arg-type]


def watching(seen: list[dict[str, float]], stop: int | None = None, error: type[BaseException] | None = None) -> Any:
    """A callback that keeps the losses of every step, and may stop the training after one or fail there."""
    import lightning

    class Watching(lightning.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            seen.append({name: float(value) for name, value in trainer.callback_metrics.items()})
            trainer.should_stop = len(seen) == stop
            if len(seen) == stop and error is not None:
                raise error

    return Watching()


def test_callbacks_see_every_step() -> None:
    seen: list[dict[str, float]] = []
    model, train = made("ddpm")
    train.drive = Lightning(accelerator="cpu", callbacks=[watching(seen)])
    found = train(model, 0, 3)
    assert [sorted(step) for step in seen] == [["gradient", "loss"]] * 3
    assert seen[-1]["loss"] == found["loss"]


def test_a_training_that_is_stopped_early_is_no_result() -> None:
    model, train = made("ddpm")
    train.drive = Lightning(accelerator="cpu", callbacks=[watching([], stop=2)])
    with pytest.raises(RuntimeError, match=r"stopped before step 9 by a Lightning.*Remove the callback"):
        train(model, 0, 9)
    assert not train.kept


def test_an_interrupt_stays_one() -> None:
    handler = signal.getsignal(signal.SIGINT)
    model, train = made("ddpm")
    train.drive = Lightning(accelerator="cpu", callbacks=[watching([], stop=2, error=KeyboardInterrupt)])
    with pytest.raises(KeyboardInterrupt):
        train(model, 0, 9)
    assert signal.getsignal(signal.SIGINT) is handler
    model, train = made("ddpm")
    train.drive = Lightning(accelerator="cpu", callbacks=[watching([], stop=2, error=SystemExit)])
    with pytest.raises(SystemExit):
        train(model, 0, 9)


def test_divergence_keeps_the_last_good_weights() -> None:
    model, before = network(), network()
    train = ddpm.trainer(Denoising(DIGITS), replace(QUICK, lr=1e30))
    train.drive = CPU
    state = torch.get_rng_state()
    with pytest.raises(DivergedError, match=r"diverged at step 1.*before step 0"):
        train(model, 0, 9)
    assert equal(model.state_dict(), before.state_dict())
    assert torch.equal(torch.get_rng_state(), state)

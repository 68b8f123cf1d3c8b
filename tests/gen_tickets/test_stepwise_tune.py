"""Fine-tuning of a ticket on its own intervals: masks, timesteps, targets, averages, checkpoints and mistakes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from interrupted import Until, equal
from sklearn.datasets import load_digits
from torch import Tensor, nn

from common.allocate import prune
from common.masks import prunable
from common.rewind import snapshot
from common.scores import magnitude
from common.ticket import Ticket, TicketError
from gen_tickets import ddpm
from gen_tickets._checkpoint import Checkpoints
from gen_tickets.ddpm import Settings, averaged
from gen_tickets.denoising import Batch, Denoising
from gen_tickets.models import ddpm as unet
from gen_tickets.schedule import ScheduleError
from gen_tickets.stepwise.curves import Curve
from gen_tickets.stepwise.tune import Tuned, Tuning, trainer, tune

IMAGES = torch.tensor(load_digits().images, dtype=torch.float32)[:512, None] / 8 - 1
TASK, HELD_OUT = Denoising(IMAGES[:256]), Denoising(IMAGES[256:])
NOISY = torch.arange(1000) >= 500
QUICK = Tuning(steps=6, settings=Settings(batch=8, lr=1e-3, decay=0.5))
CURVE = Curve(HELD_OUT, count=4)


@cache
def trained() -> tuple[nn.Module, Ticket]:
    """A dense network after a short training, and its largest weights as a ticket without training of its own."""
    torch.manual_seed(0)
    model = unet((1, 8, 8), (8,), attention=())
    ddpm.trainer(TASK, Settings(batch=32, lr=4e-3))(model, 0, 80)
    return model.requires_grad_(False), ticket_of(model, 0.3)


def ticket_of(model: nn.Module, density: float) -> Ticket:
    masks = prune(magnitude(model, prunable(model), None), density)
    state = snapshot(model)
    kept = {name: value * masks[name] if name in masks else value for name, value in state.items()}
    return Ticket(
        masks,
        {name: value / 2 for name, value in state.items()},
        {"network": {"size": "own"}},
        {"quality": 1.0},
        [0],
        trained=kept,
    )


def loaded(ticket: Ticket) -> nn.Module:
    model = copy.deepcopy(trained()[0]).requires_grad_(True)
    model.load_state_dict(ticket.trained or {})
    return model


class Seen(Denoising):
    """Notes the timesteps and the networks that predictions are asked of."""

    def __init__(self, images: Tensor) -> None:
        super().__init__(images)
        self.calls: list[tuple[nn.Module, bool, Tensor]] = []

    def predict(self, model: nn.Module, batch: Batch, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        self.calls.append((model, model.training, batch.timesteps))
        return super().predict(model, batch, weights)


def test_pruned_weights_stay_zero_and_nothing_given_changes() -> None:
    dense, ticket = trained()
    before, own = snapshot(dense), {name: value.clone() for name, value in (ticket.trained or {}).items()}
    made = tune(ticket, dense, TASK, NOISY, QUICK, CURVE).ticket
    assert equal(made.masks, ticket.masks)
    assert equal(dense.state_dict(), before)
    assert equal(ticket.trained or {}, own)
    assert equal(made.weights, own)  # where it began
    assert not dense.conv_in.weight.requires_grad
    for name, mask in made.masks.items():
        now = (made.trained or {})[name]
        assert not bool(now[~mask].any()), name
        assert not torch.equal(now[mask], own[name][mask]), name
    assert made.parent == ticket.digest != made.digest
    about = made.recipe["tune"]
    assert (about["steps"], about["timesteps"], about["noise"], about["distil"]) == ([0, 6], [[500, 999]], 1.0, 1.0)
    assert (about["call"], about["settings"]["lr"]) == ("gen_tickets.stepwise.tune.tune", 1e-3)
    assert made.recipe["network"] == {"size": "own"}
    assert "quality" not in made.metrics


def test_only_timesteps_of_the_interval_are_drawn() -> None:
    dense, ticket = trained()
    task = Seen(IMAGES[:256])
    chosen = torch.tensor([999, 17, 400, 18])
    tune(ticket, dense, task, chosen, replace(QUICK, steps=10), CURVE)
    assert torch.cat([timesteps for *_, timesteps in task.calls]).unique().tolist() == [17, 18, 400, 999]
    assert len(task.calls) == 20
    teachers = {id(model) for model, training, _ in task.calls if not training}
    assert len(teachers) == len({id(model) for model, *_ in task.calls}) - 1 == 1
    assert id(dense) not in teachers


def test_timesteps_are_drawn_evenly_and_the_rest_of_a_batch_stays() -> None:
    among = torch.tensor([3, 5, 8])
    some, every = TASK.batch(3000, 0, 7, among), TASK.batch(3000, 0, 7)
    assert torch.equal(some.images, every.images)
    assert torch.equal(some.noise, every.noise)
    values, counts = some.timesteps.unique(return_counts=True)
    assert values.tolist() == [3, 5, 8]
    assert (counts - 1000).abs().max() < 100


def test_the_loss_falls_on_the_interval() -> None:
    """Of a pruned network without any training, on images that it never sees; and it nears the dense prediction."""
    dense, ticket = trained()
    how = Tuning(steps=40, settings=Settings(batch=32, lr=2e-3, decay=0.9))
    curve = Curve(HELD_OUT, count=16)
    tuned = tune(ticket, dense, TASK, NOISY, how, curve)
    assert tuned.before == pytest.approx(curve(loaded(ticket)).tolist(), rel=1e-6)
    assert tuned.after == pytest.approx(curve(loaded(tuned.ticket)).tolist(), rel=1e-6)
    assert tuned.ticket.metrics["loss_after"] == list(tuned.after)
    assert all(after < 0.8 * before for before, after in zip(tuned.before[5:], tuned.after[5:], strict=True))

    def gap(model: nn.Module) -> float:
        batch = HELD_OUT.batch(128, 0, 0, torch.arange(500, 1000))
        with torch.no_grad():
            return float((HELD_OUT.predict(model, batch) - HELD_OUT.predict(dense, batch)).square().mean())

    assert gap(loaded(tuned.ticket)) < 0.5 * gap(loaded(ticket))


@pytest.mark.parametrize(("noise", "distil"), [(1.0, 1.0), (0.0, 2.0), (0.5, 0.0)])
def test_the_losses_are_those_against_noise_and_dense_prediction(noise: float, distil: float) -> None:
    dense, ticket = trained()
    how = replace(QUICK, steps=1, noise=noise, distil=distil, seed=5)
    found = trainer(TASK, dense, NOISY, how)(loaded(ticket), 0, 1)
    batch = TASK.batch(8, 5, 0, torch.arange(500, 1000))
    noisy = TASK.scheduler.add_noise(batch.images, batch.noise, batch.timesteps)
    with torch.no_grad():
        said, wanted = (net(noisy, batch.timesteps).sample for net in (loaded(ticket), dense))
    parts = {"noise": (said - batch.noise).square().mean().item(), "distil": (said - wanted).square().mean().item()}
    assert found["noise"] == pytest.approx(parts["noise"])
    assert found.get("distil", 0.0) == pytest.approx(parts["distil"] if distil else 0.0)
    assert found["loss"] == pytest.approx(noise * parts["noise"] + distil * parts["distil"])


def test_a_network_has_nothing_to_learn_from_itself() -> None:
    dense, _ = trained()
    still = replace(QUICK, steps=1, settings=replace(QUICK.settings, lr=0.0))
    assert trainer(TASK, dense, NOISY, still)(copy.deepcopy(dense).requires_grad_(True), 0, 1)["distil"] < 1e-9


def test_the_average_starts_at_the_trained_weights() -> None:
    dense, ticket = trained()
    model, train = loaded(ticket), trainer(TASK, dense, NOISY, replace(QUICK, steps=1))
    train(model, 0, 1)
    start, mean = loaded(ticket).state_dict(), averaged(model, train).state_dict()
    for name, value in model.state_dict().items():
        halfway = torch.where(value == 0, 0.0, (start[name] + value) / 2)
        assert torch.allclose(mean[name], halfway, atol=1e-7), name


def test_steps_follow_from_the_seed() -> None:
    dense, ticket = trained()

    def made(seed: int) -> Tuned:
        torch.manual_seed(torch.initial_seed() + 1)
        return tune(ticket, dense, TASK, NOISY, replace(QUICK, steps=3, seed=seed), CURVE)

    one, again, other = made(0), made(0), made(1)
    assert equal(one.ticket.trained or {}, again.ticket.trained or {})
    assert one.after == again.after
    assert not equal(one.ticket.trained or {}, other.ticket.trained or {})
    assert (one.ticket.seeds, other.ticket.seeds) == ([0], [0, 1])


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    dense, ticket = trained()
    said: list[str] = []
    kept = Checkpoints(tmp_path, steps=4, about={"data": "digits"}, say=said.append)
    with pytest.raises(KeyboardInterrupt):
        tune(ticket, dense, TASK, NOISY, QUICK, CURVE, checkpoints=kept, drive=Until(5))
    count = Until()
    tune(ticket, dense, TASK, ~NOISY, QUICK, CURVE, checkpoints=kept, drive=count)
    assert count.done == 6
    assert "tune.timesteps.0.0 (500, here 0)" in said[0]
    count = Until()
    resumed = tune(ticket, dense, TASK, NOISY, QUICK, CURVE, checkpoints=kept, drive=count)
    assert count.done == 2
    assert said[1].endswith("step-000000004: training goes on at step 4")
    whole = tune(ticket, dense, TASK, NOISY, QUICK, CURVE)
    assert equal(resumed.ticket.trained or {}, whole.ticket.trained or {})
    assert (resumed.before, resumed.after) == (whole.before, whole.after)
    assert resumed.ticket.metrics == whole.ticket.metrics


def test_mistakes_are_refused() -> None:
    dense, ticket = trained()
    for wrong, text in (
        (torch.zeros(1000, dtype=torch.bool), "found timesteps to train on: none; expected some of 0 to 999"),
        (torch.tensor([3, 1000]), "from 3 to 1000; expected some of 0 to 999"),
        (torch.tensor([0.5]), "torch.float32 from 0.5 to 0.5; expected"),
        (torch.ones(10, dtype=torch.bool), r"torch.bool of shape \(10,\); expected bool \(1000,\), or numbers"),
    ):
        with pytest.raises(ScheduleError, match=text):
            tune(ticket, dense, TASK, wrong, QUICK, CURVE)
    with pytest.raises(ScheduleError, match="without trained weights; expected a ticket as gen-tickets find leaves it"):
        tune(replace(ticket, trained=None), dense, TASK, NOISY, QUICK, CURVE)
    with pytest.raises(TicketError, match="a ticket for another model"):
        tune(ticket, unet((1, 8, 8), (16,), attention=()), TASK, NOISY, QUICK, CURVE)
    with pytest.raises(ValueError, match="expected 0 or more, one of them above"):
        Tuning(noise=0.0, distil=0.0)
    with pytest.raises(ValueError, match="expected 0 or more, one of them above"):
        Tuning(noise=-1.0)

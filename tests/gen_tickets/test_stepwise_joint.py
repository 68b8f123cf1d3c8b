"""Dense network and tickets with shared weights: their gradient, what they have in common, and the guard."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from interrupted import Until, equal
from sklearn.datasets import load_digits
from torch import Tensor, nn

from common.allocate import prune
from common.masks import Masks, prunable
from common.rewind import snapshot
from common.scores import magnitude
from common.ticket import Ticket, TicketError
from gen_tickets import ddpm
from gen_tickets._checkpoint import Checkpoints
from gen_tickets.ddpm import Settings
from gen_tickets.denoising import Denoising
from gen_tickets.models import ddpm as unet
from gen_tickets.schedule import ScheduleError
from gen_tickets.stepwise._shared import losses
from gen_tickets.stepwise.curves import Curve
from gen_tickets.stepwise.joint import Joining, Joint, joint

IMAGES = torch.tensor(load_digits().images, dtype=torch.float32)[:512, None] / 8 - 1
TASK, HELD_OUT = Denoising(IMAGES[:256]), Denoising(IMAGES[256:])
CURVE = Curve(HELD_OUT, 3 - torch.arange(1000) // 250, count=4)
NAMES = ["small", "large", "dense", "dense"]
QUICK = Joining(steps=6, settings=Settings(batch=8, lr=1e-3, decay=0.5), every=2, rise=None)
HARMFUL = replace(
    QUICK, steps=40, settings=Settings(batch=16, lr=2.0, warmup=2000, decay=0.8), every=3, rise=0.01, patience=1
)


@cache
def trained() -> tuple[nn.Module, Ticket, dict[str, Ticket]]:
    """A dense network after a short training, as a ticket too, and two nested tickets of its largest weights."""
    torch.manual_seed(0)
    model = unet((1, 8, 8), (8,), attention=())
    initial = snapshot(model)
    ddpm.trainer(TASK, Settings(batch=32, lr=4e-3))(model, 0, 80)
    weights, scores = snapshot(model), magnitude(model, prunable(model), None)
    tickets = {
        name: Ticket(prune(scores, density), initial, {"network": name}, {"quality": 1.0}, [0], trained=weights)
        for name, density in (("large", 0.5), ("small", 0.2))
    }
    return model, Ticket(Masks.dense(prunable(model)), initial, trained=weights), tickets


def made(how: Joining, names: list[str] = NAMES, **more: object) -> Joint:
    model, dense, tickets = trained()
    return joint(dense, tickets, model, TASK, names, how, CURVE, **more)  # type: ignore[arg-type]


def holding(weights: dict[str, Tensor] | None, masks: Masks | None = None) -> nn.Module:
    """The network with such weights, pruned by masks."""
    model = copy.deepcopy(trained()[0])
    model.load_state_dict(weights or {})
    for name, mask in (masks or {}).items():
        model.get_parameter(name).data[~mask] = 0.0
    return model


def test_the_gradient_is_that_of_the_written_out_sum() -> None:
    """Image by image, each ticket a network of its own, whose gradients fall on the weights it keeps."""
    model, _, tickets = trained()
    masks = [ticket.masks for ticket in tickets.values()]
    batch, who = TASK.batch(5, 0, 0), torch.tensor([2, 0, 1, 2, 0])
    a, b, c = 0.7, 1.1, 0.3
    shared = copy.deepcopy(model)
    found = losses(TASK, shared, batch, masks, who)
    (a * found["dense"] + b * found["ticket"] + c * found["distil"]).backward()

    nets = [holding(model.state_dict()), *(holding(model.state_dict(), mask) for mask in masks)]
    sums = {"dense": 0.0, "ticket": 0.0, "distil": 0.0}
    for n, number in enumerate(who.tolist()):
        images, noise, timesteps = (value[n : n + 1] for value in batch[:3])
        noisy = TASK.scheduler.add_noise(images, noise, timesteps)
        said = nets[0](noisy, timesteps).sample
        terms = {"dense": (a, said - noise)}
        if number:
            other = nets[number](noisy, timesteps).sample
            terms |= {"ticket": (b, other - noise), "distil": (c, other - said.detach())}
        for name, (weight, error) in terms.items():
            term = error.square().mean() / len(who)
            sums[name] += term.item()
            (weight * term).backward(retain_graph=True)
    assert {name: value.item() for name, value in found.items()} == pytest.approx(sums)
    for name, param in shared.named_parameters():
        wanted = nets[0].get_parameter(name).grad.clone()
        for net, mask in zip(nets[1:], masks, strict=True):
            wanted += net.get_parameter(name).grad * mask.get(name, torch.ones(()))
        assert torch.allclose(param.grad, wanted, rtol=1e-4, atol=1e-6), name


def test_where_no_ticket_is_scheduled_only_the_dense_network_learns() -> None:
    model, _, tickets = trained()
    shared, alone, batch = copy.deepcopy(model), copy.deepcopy(model), TASK.batch(4, 0, 0)
    found = losses(TASK, shared, batch, [tickets["small"].masks], torch.zeros(4, dtype=torch.long))
    sum(found.values(), torch.zeros(())).backward()
    TASK.loss(alone, batch).backward()
    assert (found["ticket"].item(), found["distil"].item()) == (0.0, 0.0)
    assert all(torch.equal(p.grad, alone.get_parameter(n).grad) for n, p in shared.named_parameters())


def test_tickets_are_nested_parts_of_the_dense_weights() -> None:
    model, dense, tickets = trained()
    before = snapshot(model)
    found = made(QUICK)
    whole = found.dense.trained or {}
    assert equal(model.state_dict(), before)
    assert found.dense.density == 1.0
    assert found.dense.parent == dense.digest
    assert not equal(whole, before)
    for name, ticket in found.tickets.items():
        assert equal(ticket.masks, tickets[name].masks)
        assert ticket.parent == tickets[name].digest != ticket.digest
        assert equal(ticket.weights, dense.trained or {})
        assert ticket.recipe["network"] == name
        for key, value in (ticket.trained or {}).items():
            kept = ticket.masks.get(key, torch.ones_like(value, dtype=torch.bool))
            assert torch.equal(value[kept], whole[key][kept]), key
            assert not bool(value[~kept].any() or value[~kept].signbit().any()), key
    small, large = (found.tickets[name].trained or {} for name in ("small", "large"))
    assert all(bool(((small[key] == large[key]) | (small[key] == 0)).all()) for key in small)
    about = found.dense.recipe["joint"]
    assert about["names"] == NAMES
    assert about["timesteps"] == [[[750, 999]], [[500, 749]], [[250, 499]], [[0, 249]]]
    assert (about["steps"], about["ticket"], about["stopped"]) == ([0, 6], 1.0, None)


def test_the_history_is_what_the_networks_show() -> None:
    _, start, tickets = trained()
    found = made(replace(QUICK, steps=5))
    assert [check.step for check in found.history] == [0, 2, 4, 5]
    ends = (start, tickets), (found.dense, found.tickets)
    for check, (whole, parts) in zip((found.history[0], found.history[-1]), ends, strict=True):
        dense = CURVE(holding(whole.trained)).tolist()
        assert check.dense == pytest.approx(dense, rel=1e-6)
        large, small = (CURVE(holding(whole.trained, one.masks)).tolist() for one in parts.values())
        assert check.scheduled == pytest.approx([small[0], large[1], *dense[2:]], rel=1e-6)
    last = found.history[-1]
    metrics = found.tickets["small"].metrics
    assert (metrics["loss_after"], metrics["ticket_after"]) == (list(last.dense), list(last.scheduled))
    assert (metrics["loss_before"], "quality" in metrics) == (list(found.history[0].dense), False)


def test_tickets_get_better_and_the_dense_network_no_worse() -> None:
    how = Joining(steps=40, settings=Settings(batch=32, lr=1e-3, warmup=10, decay=0.9), every=20)
    found = made(how)
    assert found.stopped is None
    first, last = found.history[0], found.history[-1]
    assert all(now < 0.8 * then for now, then in zip(last.scheduled[:2], first.scheduled[:2], strict=True))
    assert all(now <= 1.01 * then for now, then in zip(last.dense, first.dense, strict=True))


def test_the_guard_stops_and_goes_back_to_the_last_good_average() -> None:
    """With a learning rate that rises until it does harm."""
    how, found = HARMFUL, made(HARMFUL)
    *good, last = found.history
    assert 1 < len(good) < 13
    start = found.history[0].dense
    assert all(now <= 1.01 * then for check in good for now, then in zip(check.dense, start, strict=True))
    worst = max(range(4), key=lambda k: last.dense[k] / start[k])
    assert last.dense[worst] > 1.01 * start[worst]
    assert found.stopped is not None
    assert found.stopped.startswith(
        f"at step {last.step} the dense loss in interval {worst} was {last.dense[worst]:.4g}"
    )
    assert f"the average of step {good[-1].step}, the last good one" in found.stopped
    shorter = made(replace(how, steps=good[-1].step))
    assert shorter.stopped is None
    assert equal(found.dense.trained or {}, shorter.dense.trained or {})
    assert found.dense.metrics == shorter.dense.metrics
    assert found.tickets["small"].recipe["joint"]["stopped"] == found.stopped
    free = made(replace(how, steps=last.step, rise=None))
    assert free.stopped is None
    assert free.history == found.history


def test_a_rise_at_the_first_check_leaves_the_start() -> None:
    found = made(replace(QUICK, settings=Settings(batch=8, lr=1.0, decay=0.0), every=1, rise=0.01, patience=1))
    assert [check.step for check in found.history] == [0, 1]
    assert equal(found.dense.trained or {}, trained()[1].trained or {})
    assert found.dense.metrics["loss_after"] == list(found.history[0].dense)


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """The last good average and the history go on, too."""
    how, said, whole = HARMFUL, list[str](), made(HARMFUL)
    assert whole.history[-1].step >= 9
    kept = Checkpoints(tmp_path, steps=4, say=said.append)
    with pytest.raises(KeyboardInterrupt):
        made(how, checkpoints=kept, drive=Until(8))
    resumed = made(how, checkpoints=kept)
    assert said == [said[0]]
    assert said[0].endswith("step-000000008: training goes on at step 8")
    assert (resumed.history, resumed.stopped) == (whole.history, whole.stopped)
    assert equal(resumed.dense.trained or {}, whole.dense.trained or {})
    other = ["small", "small", "dense", "skip"]
    made(replace(QUICK, steps=2), other, checkpoints=kept)
    assert "found checkpoints of other trainings only" in said[1]


def test_steps_follow_from_the_seed() -> None:
    one, again, other = (made(replace(QUICK, steps=2, seed=seed)) for seed in (0, 0, 1))
    assert equal(one.dense.trained or {}, again.dense.trained or {})
    assert one.history == again.history
    assert not equal(one.dense.trained or {}, other.dense.trained or {})


def test_mistakes_are_refused() -> None:
    model, dense, tickets = trained()
    for names, text in (
        (["small", "dense"], "found 2 names for 4 intervals; expected one each"),
        (["small", "tiny", "dense", "dense"], "found a network 'tiny'; expected one of dense, skip, large, small"),
        (["dense", "dense", "skip", "dense"], "found no ticket in any interval; expected at least one"),
    ):
        with pytest.raises(ScheduleError, match=text):
            made(QUICK, names)
    with pytest.raises(ScheduleError, match=r"found a ticket of density 0.2 as the dense one; expected density 1"):
        joint(tickets["small"], tickets, model, TASK, NAMES, QUICK, CURVE)
    other = unet((1, 8, 8), (16,), attention=())
    strange = Ticket(Masks.dense(prunable(other)), snapshot(other))
    with pytest.raises(TicketError, match="a ticket for another model"):
        joint(dense, {**tickets, "strange": strange}, model, TASK, NAMES, QUICK, CURVE)
    with pytest.raises(ValueError, match="a rise of -1; expected"):
        Joining(rise=-1)

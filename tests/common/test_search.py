"""The generator against iterative magnitude pruning written out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.masks import Masks
from common.search import Rewind, tickets
from common.study.controls import inverted
from common.ticket import Ticket, TicketError

STEPS = 6
State = dict[str, Tensor]
LADDER = [1.0, 0.6, 0.3, 0.1]


def network() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def train(model: nn.Module, start: int, stop: int) -> dict[str, float]:
    """Momentum and a schedule, so that where training resumes matters; batches follow from the step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss = torch.tensor(0.0)
    for step in range(start, stop):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / STEPS)
        generator = torch.Generator().manual_seed(step)
        inputs, labels = torch.randn(16, 6, generator=generator), torch.randint(0, 3, (16,), generator=generator)
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
    return {"loss": float(loss.detach()), "from": start}


def train_by_hand(model: nn.Module, masks: Mapping[str, Tensor], start: int, stop: int) -> State:
    """The same training with the pruned gradients and weights multiplied by zero in plain sight."""
    params = dict(model.named_parameters())
    velocity = {name: torch.zeros_like(p) for name, p in params.items()}
    with torch.no_grad():
        for name, mask in masks.items():
            params[name].mul_(mask)
    for step in range(start, stop):
        generator = torch.Generator().manual_seed(step)
        inputs, labels = torch.randn(16, 6, generator=generator), torch.randint(0, 3, (16,), generator=generator)
        loss = functional.cross_entropy(model(inputs), labels)
        grads = dict(zip(params, torch.autograd.grad(loss, list(params.values())), strict=True))
        with torch.no_grad():
            for name, p in params.items():
                grad = grads[name] * masks[name] if name in masks else grads[name]
                velocity[name].mul_(0.9).add_(grad)
                p.add_(velocity[name], alpha=-0.1 * (1 - step / STEPS))
    return {name: value.clone() for name, value in model.state_dict().items()}


def largest(state: State, kept: int, alive: Mapping[str, Tensor]) -> Masks:
    """Global magnitude pruning by sorting a Python list."""
    entries = [
        (-abs(value), name, i)
        for name in alive
        for i, value in enumerate(state[name].flatten().tolist())
        if bool(alive[name].flatten()[i])
    ]
    masks = {name: torch.zeros_like(mask).flatten() for name, mask in alive.items()}
    for _, name, i in sorted(entries)[:kept]:
        masks[name][i] = True
    return Masks({name: mask.reshape(alive[name].shape) for name, mask in masks.items()})


def by_hand(rewind_to: int | None, resume: int) -> list[tuple[Masks, State]]:
    model = network()
    names = ["0.weight", "3.weight"]
    masks = Masks({name: torch.ones_like(model.state_dict()[name], dtype=torch.bool) for name in names})
    point = train_by_hand(model, {}, 0, rewind_to or 0)
    trained = train_by_hand(model, {}, rewind_to or 0, STEPS)
    rounds = [(masks, trained)]
    for density in LADDER[1:]:
        masks = largest(trained, round(density * 72), masks)
        model.load_state_dict(trained if rewind_to is None else point)
        trained = train_by_hand(model, masks, resume, STEPS)
        rounds.append((masks, trained))
    return rounds


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("rewind", "to", "resume"),
    [
        (Rewind.initial(), 0, 0),
        (Rewind.step(2), 2, 2),
        (Rewind(weights=2, start=0), 2, 0),
        (Rewind.learning_rate(), None, 0),
        (Rewind.learning_rate(1), None, 1),
        (Rewind.fine_tune(2), None, 4),
    ],
    ids=str,
)
def test_equals_the_loop_written_by_hand(rewind: Rewind, to: int | None, resume: int) -> None:
    model = network()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    found = list(tickets(model, train, LADDER, steps=STEPS, rewind=rewind))
    for ticket, (masks, trained) in zip(found, by_hand(to, resume), strict=True):
        assert same(ticket.masks, masks)
        assert same(ticket.trained or {}, trained)
    assert [t.metrics["from"] for t in found] == [to or 0, resume, resume, resume]
    if to == 0:
        assert all(same(ticket.weights, start) for ticket in found)


def test_every_round_meets_its_budget_within_the_last() -> None:
    found = list(tickets(network(), train, LADDER, steps=STEPS))
    assert [ticket.masks.kept for ticket in found] == [72, 43, 22, 7]
    for wide, narrow in pairwise(found):
        assert all(not bool((narrow.masks[n] & ~wide.masks[n]).any()) for n in narrow.masks)
        assert narrow.parent == wide.digest
    assert found[0].parent is None


def test_the_model_is_trained_at_the_yield_and_repaired_after_it() -> None:
    calm, model, repaired = list(tickets(network(), train, LADDER, steps=STEPS)), network(), []
    for ticket in tickets(model, train, LADDER, steps=STEPS):
        assert ticket.trained is not None
        assert same(dict(model.state_dict()), ticket.trained)
        inverted(ticket).apply(model)
        train(model, 0, 2)
        repaired.append(ticket)
    assert all(same(a.trained or {}, b.trained or {}) for a, b in zip(calm, repaired, strict=True))


def test_closing_the_generator_leaves_a_plain_model() -> None:
    model = network()
    search = tickets(model, train, LADDER, steps=STEPS)
    next(search)
    ticket = next(search)
    search.close()
    assert same(dict(model.state_dict()), ticket.trained or {})
    with torch.no_grad():
        model.get_parameter("0.weight").fill_(1.0)
    train(model, 0, 1)
    assert bool((model.get_parameter("0.weight") != 0).all())


@pytest.mark.parametrize("rewind", [Rewind.initial(), Rewind.step(2), Rewind.fine_tune(3)], ids=str)
def test_a_saved_search_goes_on_bit_for_bit(tmp_path: Path, rewind: Rewind) -> None:
    whole = list(tickets(network(), train, LADDER, steps=STEPS, rewind=rewind))
    search = tickets(network(), train, LADDER, steps=STEPS, rewind=rewind)
    next(search)
    folder = next(search).save(tmp_path)
    rest = list(tickets(network(), train, LADDER[2:], steps=STEPS, rewind=rewind, start=Ticket.load(folder)))
    for again, once in zip(rest, whole[2:], strict=True):
        assert same(again.masks, once.masks)
        assert same(again.trained or {}, once.trained or {})
        assert (again.digest, again.parent, again.metrics) == (once.digest, once.parent, once.metrics)
        assert again.recipe == once.recipe


def test_groups_are_pruned_on_their_own() -> None:
    first, second = tickets(network(), train, [{"0.*": 0.5, "3.*": 1.0}, {"0.*": 0.25, "3.*": 0.5}], steps=STEPS)
    assert first.masks.counts() == {"0.weight": (24, 48), "3.weight": (24, 24)}
    assert second.masks.counts() == {"0.weight": (12, 48), "3.weight": (12, 24)}


def test_a_criterion_that_trains_leaves_no_trace() -> None:
    def meddle(model: nn.Module, params: Mapping[str, Tensor], objective: object) -> dict[str, Tensor]:
        scores = {name: p.detach().abs().clone() for name, p in params.items()}
        train(model, 0, 3)
        return scores

    plain = list(tickets(network(), train, LADDER, steps=STEPS, rewind=Rewind.fine_tune(2)))
    meddled = list(tickets(network(), train, LADDER, steps=STEPS, rewind=Rewind.fine_tune(2), score=meddle))
    assert all(same(a.trained or {}, b.trained or {}) for a, b in zip(plain, meddled, strict=True))


def test_the_recipe_says_how() -> None:
    (ticket,) = tickets(network(), train, [0.5], steps=STEPS, rewind=Rewind.step(2))
    assert ticket.recipe["score"] == {"call": "common.scores.magnitude", "arguments": {}}
    assert ticket.recipe["rewind"] == {"weights": 2, "start": 2}
    assert (ticket.recipe["density"], ticket.recipe["round"], ticket.recipe["steps"]) == (0.5, 0, STEPS)
    assert any("Linear Mode Connectivity" in reference for reference in ticket.references)


def rejecting(model: nn.Module, start: int, stop: int) -> float:
    train(model, start, stop)
    return 0.5


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: list(tickets(network(), train, [0.5, 0.6], steps=STEPS)), ValueError, r"rises from 0\.5 to 0\.6"),
        (lambda: list(tickets(network(), train, [1.5], steps=STEPS)), ValueError, r"density of 1\.5; expected"),
        (lambda: list(tickets(network(), train, [{"x*": 0.5}], steps=STEPS)), KeyError, r"'x\*'.*nearest is '"),
        (lambda: list(tickets(network(), train, [{"*": 0.5, "0*": 0.5}], steps=STEPS)), ValueError, "disjoint"),
        (lambda: list(tickets(network(), rejecting, [1.0], steps=STEPS)), TypeError, "train returned a float"),  # type: ignore[arg-type]
        (lambda: tickets(network(), train, [1.0], steps=STEPS, rewind=Rewind.step(6)), ValueError, "does not fit"),
        (lambda: tickets(network(), train, [1.0], steps=2, rewind=Rewind.fine_tune(3)), ValueError, "does not fit"),
        (lambda: Rewind.step(-1), ValueError, r"Rewind\.weights is -1"),
    ],
)
def test_mistakes_are_named(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_start_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    (ticket,) = tickets(network(), train, [0.5], steps=STEPS)
    with pytest.raises(TicketError, match="same rewind"):
        list(tickets(network(), train, [0.2], steps=STEPS, rewind=Rewind.step(1), start=ticket))
    bare = Ticket.load(ticket.save(tmp_path, trained=False))
    with pytest.raises(TicketError, match="trained=True"):
        list(tickets(network(), train, [0.2], steps=STEPS, start=bare))
    with pytest.raises(ValueError, match="rises"):
        list(tickets(network(), train, [0.7], steps=STEPS, start=ticket))

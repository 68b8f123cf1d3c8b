"""A tensor with two names is one tensor: in every control, on disk, and in the model that a ticket is applied to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from common.masks import Masks, prunable
from common.rewind import Rewind, snapshot
from common.search import tickets
from common.study import controls
from common.ticket import Ticket

State = dict[str, Tensor]


class Language(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.emb = nn.Embedding(6, 5)
        self.out = nn.Linear(5, 6)
        self.out.weight = self.emb.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.emb(x))


MASK = torch.rand(6, 5, generator=torch.Generator().manual_seed(1)) < 0.5
FRESH = snapshot(Language(7))


def of(state: State, name: str = "emb.weight") -> Ticket:
    return Ticket(Masks({name: MASK}), state, trained={n: w + 1 for n, w in state.items()})


def copies(model: nn.Module) -> State:
    """A state that no longer knows which names are one tensor."""
    return {name: value.clone() for name, value in model.state_dict().items()}


STATES: dict[str, Callable[[], State]] = {
    "the model's own": lambda: dict(Language().state_dict()),
    "copies": lambda: copies(Language()),
}
CHANGES: dict[str, Callable[[Ticket], Ticket]] = {
    "shuffled_weights": lambda t: controls.shuffled_weights(t, 3),
    "signs_only": lambda t: controls.signs_only(t, FRESH),
    "constant_sign": lambda t: controls.constant_sign(t),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("masked", ["emb.weight", "out.weight"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_control_reaches_the_model_under_both_names(state: str, masked: str, change: str) -> None:
    ticket = of(STATES[state](), masked)
    control, model = CHANGES[change](ticket), Language(9)
    control.apply(model)
    assert model.out.weight is model.emb.weight
    assert torch.equal(model.emb.weight, torch.where(MASK, control.weights[masked], 0.0))
    assert not torch.equal(model.emb.weight[MASK], ticket.weights[masked][MASK])
    if state == "the model's own":
        assert torch.equal(control.weights["emb.weight"], control.weights["out.weight"])


@pytest.mark.parametrize("masked", ["emb.weight", "out.weight"])
@pytest.mark.parametrize("dense", [False, True])
def test_a_shared_tensor_is_stored_once_and_comes_back_under_both_names(
    tmp_path: Path, masked: str, dense: bool
) -> None:
    ticket = of(dict(Language().state_dict()), masked)
    other = ({"emb.weight", "out.weight"} - {masked}).pop()
    assert ticket.tied == {other: masked}
    loaded = Ticket.load(ticket.save(tmp_path, dense_weights=dense))
    for file in ("ticket.safetensors", "trained.safetensors"):
        stored = {name for name in load_file(tmp_path / file) if name.startswith("weight/")}
        assert stored == {f"weight/{masked}", "weight/out.bias"}
    wanted = ticket.weights[masked] if dense else ticket.weights[masked].where(MASK, torch.zeros(()))
    assert loaded.trained is not None
    for state, expected in ((loaded.weights, wanted), (loaded.trained, ticket.weights[masked] + 1)):
        assert list(state) == ["emb.weight", "out.weight", "out.bias"]
        assert state[masked] is state[other]
        assert torch.equal(state[masked][MASK], expected[MASK])
    assert torch.equal(loaded.weights[other], wanted)
    assert (loaded.digest, loaded.tied) == (ticket.digest, ticket.tied)


def test_copies_on_another_device_or_type_keep_the_tie_and_the_digest() -> None:
    ticket = of(dict(Language().state_dict()))
    moved = replace(ticket, weights={n: w.detach().clone() for n, w in ticket.weights.items()})
    assert moved.digest == ticket.digest
    assert moved.weights["out.weight"] is moved.weights["emb.weight"]
    assert controls.reinitialised(ticket, FRESH).tied == ticket.tied


@pytest.mark.parametrize("rewind", [Rewind.initial(), Rewind.fine_tune(1)], ids=str)
def test_a_search_over_a_tied_model_knows_the_tie(tmp_path: Path, rewind: Rewind) -> None:
    def train(model: nn.Module, start: int, stop: int) -> dict[str, float]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(start, stop):
            optimizer.zero_grad()
            model(torch.arange(6)).square().mean().backward()
            optimizer.step()
        return {}

    assert list(prunable(Language())) == ["emb.weight"]
    first, second = tickets(Language(), train, [1.0, 0.5], steps=2, rewind=rewind)
    for ticket in (first, second, Ticket.load(second.save(tmp_path))):
        assert ticket.tied == {"out.weight": "emb.weight"}
        assert ticket.weights["out.weight"] is ticket.weights["emb.weight"]


def test_equal_values_views_and_masked_names_are_no_ties() -> None:
    weight = torch.ones(4)
    assert Ticket(Masks({}), {"a": torch.ones(4), "b": torch.ones(4)}).tied == {}
    assert Ticket(Masks({}), {"a": weight, "b": weight[:2], "c": weight[2:]}).tied == {}
    assert Ticket(Masks({}), {"a": torch.empty(0), "b": torch.empty(0)}).tied == {}
    two = Ticket(Masks({"a": weight.bool(), "b": ~weight.bool()}), {"a": weight, "b": weight})
    assert two.tied == {}


def test_a_ticket_of_an_earlier_release_without_ties_still_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket, body = of(copies(Language())), Ticket._body
    old = lambda self, dense: {k: v for k, v in body(self, dense).items() if k not in ("tied", "whole")}  # noqa: E731
    monkeypatch.setattr(Ticket, "_body", old)
    loaded = Ticket.load(ticket.save(tmp_path))
    assert (loaded.digest, loaded.tied, loaded.whole) == (ticket.digest, {}, False)


def test_a_snapshot_keeps_shared_tensors_shared() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    found = snapshot(model)
    assert found["0.weight"] is found["1.weight"]
    assert found["0.weight"].data_ptr() != model[0].weight.data_ptr()
    assert found["0.bias"] is not found["1.bias"]

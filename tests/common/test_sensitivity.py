"""A sensitivity scan measures what it says and leaves no trace, and a search prunes by what was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from common.masks import prunable
from common.recipe import describe, references
from common.rewind import snapshot
from common.search import tickets
from common.sensitivity import Sensitivity, by_damage, scan
from common.structure import channels, n_of_m

WEIGHTS = {"a": [4.0, 3.0, 2.0, 1.0], "b": [8.0, 6.0, -4.0, 2.0], "c": [9.0, 9.0, 9.0, 9.0]}
PARTS = {"a": 1.0, "b": 1.0, "c": 0.0}


class Lines(nn.Module):
    """Three linear maps, of which the damage sees the outputs at the unit vectors; those of c do not count."""

    def __init__(self) -> None:
        super().__init__()
        for name, row in WEIGHTS.items():
            line = nn.Linear(4, 1, bias=False)
            line.weight.data.copy_(torch.tensor([row]))
            self.add_module(name, line)
        self.norm = nn.BatchNorm1d(1)

    def damage(self) -> float:
        """The squared error against the dense outputs: the sum of the squares of what was pruned."""
        errors = {n: self.get_submodule(n)(torch.eye(4)).flatten() - torch.tensor(WEIGHTS[n]) for n in PARTS}
        return sum(weight * float(errors[name].square().sum()) for name, weight in PARTS.items())


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[n].numpy().tobytes() == b[n].numpy().tobytes() for n in a)


def flat(groups: Mapping[str, int]) -> dict[str, Tensor]:
    return {name: torch.ones(count) for name, count in groups.items()}


def test_the_damages_of_a_linear_model_are_sums_of_squares() -> None:
    model = Lines()
    found = scan(model, prunable(model), Lines.damage, densities=(0.25, 0.5, 0.75, 0.5))
    assert found.densities == (0.75, 0.5, 0.25)
    assert found.dense == 0.0
    assert found.groups == {"a.weight": 4, "b.weight": 4, "c.weight": 4}
    assert found.damages == {"a.weight": (1.0, 5.0, 14.0), "b.weight": (4.0, 20.0, 56.0), "c.weight": (0.0, 0.0, 0.0)}
    assert found.table()["b.weight"] == {0.75: 4.0, 0.5: 20.0, 0.25: 56.0}
    assert Sensitivity.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_the_tensor_without_damage_is_pruned_first_and_the_sensitive_one_last() -> None:
    model = Lines()
    allocate = scan(model, prunable(model), Lines.damage, densities=(0.75, 0.5, 0.25)).allocation()
    scores = flat({"a.weight": 4, "b.weight": 4, "c.weight": 4})
    found = [tuple(allocate(scores, k / 12).values()) for k in range(12, 2, -1)]
    assert found[:4] == [(4, 4, 4), (4, 4, 3), (4, 4, 2), (4, 4, 1)]
    assert found[4] == (3, 4, 1)  # the last entry costs 1 of a and 4 of b
    assert found[6:] == [(2, 3, 1), (1, 3, 1), (1, 2, 1), (1, 1, 1)]  # then 4 of a; 9 of a, 16 of b, as 36 is too much
    with pytest.raises(ValueError, match="3 groups at least; found a budget of 1"):
        allocate(scores, 0.1)


def test_one_structure_scans_whole_channels() -> None:
    line = nn.Linear(2, 2, bias=False)
    line.weight.data.copy_(torch.tensor([[1.0, 1.0], [3.0, 0.5]]))
    found = scan(line, prunable(line), lambda m: -m.weight.sum().item(), structure=channels(), densities=(0.5,))
    assert (found.groups, found.damages) == ({"weight": 2}, {"weight": (-3.5,)})
    assert found.dense == -5.5
    mixed = scan(line, prunable(line), lambda m: -m.weight.sum().item(), structure={}, densities=(0.5,))
    assert mixed.damages == {"weight": (-4.0,)}
    with pytest.raises(ValueError, match=r"can only keep 0\.5"):
        scan(line, prunable(line), lambda m: 0.0, structure=n_of_m(1, 2), densities=(0.25,))


def test_only_the_tensors_asked_for_are_touched_one_at_a_time() -> None:
    model, seen = Lines(), list[dict[str, int]]()

    def watched(inside: nn.Module) -> float:
        seen.append({n: int((p == 0).sum()) for n, p in prunable(inside).items()})
        assert not torch.is_grad_enabled()
        return 0.0

    scan(model, {"a.weight": model.a.weight, "c.weight": model.c.weight}, watched, densities=(0.5, 0.01))
    rest = {"b.weight": 0}
    assert seen[0] == {"a.weight": 0, "c.weight": 0, **rest}
    assert seen[1:3] == [{"a.weight": 2, "c.weight": 0, **rest}, {"a.weight": 3, "c.weight": 0, **rest}]
    assert seen[3:] == [{"a.weight": 0, "c.weight": 2, **rest}, {"a.weight": 0, "c.weight": 3, **rest}]


@pytest.mark.parametrize("fails_at", [0, 1, 3, None])
def test_the_model_is_put_back_bit_for_bit_whatever_happens(fails_at: int | None) -> None:
    model = Lines()
    model.a.weight.data[0, 0] = -0.0
    before, calls = snapshot(model), list[int]()
    kept = {name: param.data_ptr() for name, param in model.named_parameters()}
    model.b.weight.grad = torch.ones(1, 4)

    def trains(inside: nn.Module) -> float:
        """Moves weights and statistics, changes modes, and may fail."""
        inside.train().norm(torch.randn(8, 1))
        for param in inside.parameters():
            param.add_(1.0)
            param.requires_grad_(False)
        calls.append(len(calls))
        if calls[-1] == fails_at:
            raise KeyboardInterrupt
        return 1.0

    model.eval()
    if fails_at is None:
        scan(model, prunable(model), trains)
    else:
        with pytest.raises(KeyboardInterrupt):
            scan(model, prunable(model), trains)
    assert same(snapshot(model), before)
    assert kept == {name: param.data_ptr() for name, param in model.named_parameters()}
    assert not any(module.training for module in model.modules())
    assert all(param.requires_grad for param in model.parameters())
    assert torch.equal(model.b.weight.grad, torch.ones(1, 4))


def test_another_criterion_may_need_gradients_or_train() -> None:
    model, before = Lines(), snapshot(Lines())

    def trains(inside: nn.Module, params: Mapping[str, Tensor], objective: object) -> dict[str, Tensor]:
        params["a.weight"].sum().backward()
        with torch.no_grad():
            params["a.weight"].fill_(7.0)
        return {"a.weight": torch.tensor([[0.0, 1.0, 2.0, 3.0]])}

    found = scan(model, {"a.weight": model.a.weight}, Lines.damage, densities=(0.75,), score=trains)
    assert found.damages == {"a.weight": (16.0,)}  # the first entry went, not the smallest
    assert same({"a.weight": model.a.weight.detach()}, {"a.weight": before["a.weight"]})
    assert model.a.weight.grad is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_damage_that_is_not_finite_names_the_tensor_and_the_density(bad: float) -> None:
    model, before = Lines(), snapshot(Lines())
    with pytest.raises(ValueError, match=rf"'b\.weight' at a density of 0\.2 is {bad}; expected a finite"):
        scan(model, prunable(model), lambda m: bad if int((m.b.weight == 0).sum()) == 3 else 1.0)
    assert same({n: before[n] for n in prunable(model)}, {n: p.detach() for n, p in prunable(model).items()})
    with pytest.raises(ValueError, match="of the dense network is nan"):
        scan(model, prunable(model), lambda m: math.nan)
    with pytest.raises(TypeError, match="of the dense network is a dict; expected one number"):
        scan(model, prunable(model), lambda m: {"loss": 1.0})  # type: ignore[arg-type, return-value]


def test_impossible_scans_and_allocations_are_refused() -> None:
    model = Lines()
    for params, densities, message in [
        ({}, (0.5,), "found 0 tensors and 1 densities"),
        (prunable(model), (), "found 3 tensors and 0 densities"),
        (prunable(model), (0.5, 1.0), r"found a density of 1\.0; expected shares to keep in \(0, 1\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            scan(model, params, Lines.damage, densities=densities)
    with pytest.raises(ValueError, match="found 2 names, 2 numbers of groups and 3 rises"):
        by_damage(["a", "b"], [4, 4], [0.5], [0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match=r"found a floor of 1\.5"):
        Sensitivity((0.5,), 0.0, {"a": 4}, {"a": (1.0,)}).allocation(floor=1.5)
    allocate = by_damage(["a.weight", "b.weight"], [4, 4], [0.5], [1.0, 2.0])
    with pytest.raises(KeyError, match=r"'b\.weigth' was not scanned; the nearest that was is 'b\.weight'"):
        allocate({"b.weigth": torch.ones(4)}, 0.5)
    with pytest.raises(ValueError, match=r"found 6 groups of 'a\.weight'; the scan had 4"):
        allocate({"a.weight": torch.ones(6)}, 0.5)


def test_a_search_prunes_by_it_over_rounds_and_its_recipe_says_how() -> None:
    model = nn.Sequential(nn.Linear(8, 16, bias=False), nn.Linear(16, 4, bias=False))

    def train(inside: nn.Module, start: int, stop: int) -> dict[str, float]:
        optimizer = torch.optim.SGD(inside.parameters(), lr=0.1)
        for _ in range(start, stop):
            optimizer.zero_grad()
            (inside(torch.eye(8)) - torch.eye(8)[:, :4]).square().sum().backward()
            optimizer.step()
        return {}

    found = scan(model, prunable(model), lambda m: m(torch.eye(8)).square().sum().item())
    allocate = found.allocation(floor=0.01)
    rounds = list(tickets(model, train, [1.0, 0.6, 0.36, 0.1], steps=2, allocate=allocate))
    assert [ticket.masks.kept for ticket in rounds] == [192, 115, 69, 19]
    for ticket, density in zip(rounds[1:], [0.6, 0.36, 0.1], strict=True):
        kept = {name: count for name, (count, _) in ticket.masks.counts().items()}
        assert kept == allocate({n: torch.ones_like(m) * 1.0 for n, m in ticket.masks.items()}, density)
    recipe = json.loads(json.dumps(rounds[-1].recipe["allocate"]))
    assert recipe["call"] == "common.sensitivity.by_damage"
    again = by_damage(**recipe["arguments"])
    assert again(flat(found.groups), 0.3) == allocate(flat(found.groups), 0.3)
    assert describe(again) == recipe
    assert references(allocate)[0].startswith("Han et al., Learning both Weights")

"""Which schedule a search chooses, on tables that are made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from common.runs.progress import Console
from gen_tickets._config_schedule import Schedule
from gen_tickets._intervals import expanded
from gen_tickets.draw import Sampler
from gen_tickets.networks import Network
from gen_tickets.schedule import ScheduleError
from gen_tickets.stepwise import harms
from gen_tickets.stepwise.bench import Bench
from gen_tickets.stepwise.damage import Whole
from gen_tickets.stepwise.harms import FINAL, LOOK, SWAP, Harms, noises
from gen_tickets.stepwise.search import search

NAMES = ["dense", "small", "dense/2", "small/2", "skip"]
COSTS = np.array([[2.0, 1.0, 1.0, 0.5, 0.0]] * 4)
DAMAGE = np.array([[0.0, 1.0, 2.0, 3.0, np.inf]] + [[0.0, 1.0, 2.0, 3.0, 2.5]] * 3)
EVEN = (2, 2, 2, 2)


def added(chosen: tuple[int, ...], look: str = LOOK) -> Whole:
    """As single swaps say, in every look."""
    harm = float(DAMAGE[range(4), chosen].sum())
    return Whole(harm, harm)


def bench(costs: np.ndarray = COSTS, joint: Any = added, names: list[str] = NAMES, **settings: Any) -> Bench:
    """What a search asks of a bench."""
    return cast(
        Bench,
        SimpleNamespace(
            config=Schedule(["run"], **settings), costs=costs, names=names, tried=str, console=Console(quiet=True),
            harms=SimpleNamespace(swaps=DAMAGE[:, : len(names)], whole=joint), stage="search",
            calls={"dense": 1.0, "small": 0.5}, measured=({}, {"engine": "sparse"}),
        ),
    )  # fmt: skip


def test_drift_decides_and_one_choice_everywhere_is_looked_at() -> None:
    """Rests at an even pace: of great damage, swap by swap and as a whole, and of no drift."""

    def joint(chosen: tuple[int, ...], look: str = LOOK) -> Whole:
        return Whole(9.0, 0.1) if chosen == EVEN else added(chosen)

    found = search(bench(joint=joint, budget=0.5))
    assert found.chosen.assignment == EVEN
    assert EVEN not in [one.assignment for one in found.front]
    assert (found.predicted, found.chosen.damage, found.looked[EVEN].drift) == (8.0, 9.0, 0.1)
    assert min(whole.damage for whole in found.looked.values()) < 9.0
    plain = search(bench(budget=0.5))
    assert plain.chosen.assignment == (1, 1, 1, 1)
    assert plain.chosen.damage == min(whole.damage for whole in plain.looked.values())


def test_what_anybody_would_try_is_looked_at() -> None:
    """Dense and small in turn, which the front passes over as no better than one after the other."""
    turn = (1, 0, 1, 0)
    found = search(bench(joint=lambda one, *_: Whole(9.0, 0.1) if one == turn else added(one), budget=0.75))
    assert found.chosen.assignment == turn
    assert turn not in [one.assignment for one in found.front]


def test_nothing_dearer_than_the_budget_is_looked_at() -> None:
    found = search(bench(budget=0.45))
    assert all(COSTS[range(4), one].sum() <= 0.45 * 8 for one in found.looked)


@pytest.mark.parametrize("looks", [1, 5])
def test_without_skipping_every_interval_calls_a_network(looks: int) -> None:
    """The second and the fourth interval hold no step that a pace of two takes."""
    costs = COSTS.copy()
    costs[1::2, 2:4] = 0.0
    found = search(bench(costs=costs[:, :-1], names=NAMES[:-1], budget=0.5, skip=False, looks=looks))
    assert all(costs[range(4), one].min() > 0 for one in found.looked)
    with pytest.raises(ScheduleError, match=r"expected 0\.37"):
        search(bench(costs=costs[:, :-1], names=NAMES[:-1], budget=0.3, skip=False))


def test_densities_never_fall_where_they_may_not() -> None:
    found = search(bench(costs=COSTS[:, :2], names=NAMES[:2], budget=0.8, skip=False, monotone=True, looks=9))
    assert len(found.looked) > 2
    assert any(len(set(one)) > 1 for one in found.looked)
    assert all(list(one) == sorted(one, reverse=True) for one in found.looked)


@pytest.mark.parametrize("finalists", [1, 2, 3, 99])
def test_the_best_are_looked_at_again(finalists: int) -> None:
    """The first look has them in one order, the second in the other one."""
    asked: list[tuple[int, ...]] = []

    def joint(chosen: tuple[int, ...], look: str = LOOK) -> Whole:
        harm = added(chosen).drift
        asked.extend([chosen] * (look == FINAL))
        return Whole(-harm, -harm) if look == FINAL else Whole(harm, harm)

    found = search(bench(joint=joint, budget=0.5, finalists=finalists))
    inside = {one: did for one, did in found.looked.items() if COSTS[range(4), one].sum() <= 4}
    ranked = sorted(inside, key=lambda one: (inside[one].drift, one))
    again = ranked[:finalists] if finalists > 1 else []
    assert asked == list(found.finals) == again
    if not again:
        assert (found.chosen.assignment, found.whole) == (ranked[0], inside[ranked[0]])
        return
    assert inside[found.chosen.assignment].drift == max(inside[one].drift for one in again)
    assert found.whole.drift == -inside[found.chosen.assignment].drift
    assert found.chosen.damage == found.whole.damage


def test_whole_schedules_are_looked_at_from_noises_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network("ddpm", "tiny", (1, 8, 8))
    asked: list[tuple[torch.Tensor, int]] = []
    config = Schedule(["run"], noises=5)
    monkeypatch.setattr(harms, "Trajectories", lambda *given, seed, **_: asked.append((given[2], seed)))
    fake = Harms(cast(Bench, SimpleNamespace(
        config=config, family=SimpleNamespace(network=network), forms={}, sampler=None, grid=None, names=NAMES
    )))  # fmt: skip
    monkeypatch.setattr(fake, "_measured", lambda _: None)
    for measured in ("_single", "_several", "_many"):
        getattr(fake, measured)
    assert [len(drawn) for drawn, _ in asked] == [5, 10, 40] == [noises(what, 5) for what in (SWAP, LOOK, FINAL)]
    every = torch.cat([*(drawn for drawn, _ in asked), network.noise(20, config.first_seed)])
    assert len(every.flatten(1).unique(dim=0)) == 75
    added_by = {seed for _, seed in asked}  # of what a stochastic scheduler adds
    assert len(added_by) == 3
    assert not added_by & set(range(config.first_seed, config.first_seed + 1000))


@pytest.mark.parametrize(("calls", "at"), [(6, [0, 1, 2, 3, 4, 5]), (4, [0, 1, 3, 4]), (3, [0, 2, 4]), (1, [0])])
def test_thinned_calls_the_dense_network_evenly_from_the_first_step_on(calls: int, at: list[int]) -> None:
    fake = SimpleNamespace(sampler=Sampler("ddim", 6), _tried=lambda stretches, sampler: stretches)
    found = expanded(Bench.thinned(cast(Bench, fake), calls))  # type: ignore[arg-type]
    assert [step for step, name in enumerate(found) if name == "dense"] == at
    assert {found[step] for step in set(range(6)) - set(at)} <= {"skip"}

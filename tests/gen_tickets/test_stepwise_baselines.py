"""Schedules without a search: what they look like, that they fit a budget, and that they use it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_tickets.schedule import ScheduleError
from gen_tickets.stepwise._repair import Repair
from gen_tickets.stepwise.baselines import BASELINES, baselines

NAMES = ["dense", "kept-50%", "kept-10%", "skip"]
MIXED = ("small-to-large", "large-to-small", "interleaved")


def share(costs: np.ndarray, chosen: tuple[int, ...]) -> float:
    return float(costs[np.arange(len(costs)), chosen].sum() / costs[:, 0].sum())


@st.composite
def tables(draw: st.DrawFn) -> np.ndarray:
    """(K, 4), every row another cost; now and then a ticket is slower than the dense network; skip costs nothing."""
    rows = draw(st.integers(1, 9))
    cells = draw(st.lists(st.floats(0.01, 1.2), min_size=2 * rows, max_size=2 * rows))
    steps = draw(st.lists(st.floats(0.5, 2.0), min_size=rows, max_size=rows))
    return np.column_stack([np.ones(rows), np.reshape(cells, (rows, 2)), np.zeros(rows)]) * np.array(steps)[:, None]


@given(tables(), st.floats(0.02, 1.0), st.integers(0, 2**32))
def test_none_is_over_budget_and_none_could_take_more(costs: np.ndarray, budget: float, seed: int) -> None:
    found = baselines(costs, budget, NAMES, seed=seed)
    count = len(costs)
    assert list(found) == [name for name in BASELINES if name in found]
    assert found["dense"] == (0,) * count
    assert all(share(costs, found[name]) <= budget + 1e-8 for name in found if name != "dense")
    shapes = {name: every(name, count) for name in MIXED}
    for name, kind in shapes.items():
        used = found[name].count(0) if name in found else -1
        assert name not in found or found[name] == kind[used]
        assert all(share(costs, chosen) > budget for chosen in kind[used + 1 :])
    uniform = found["uniform"][0] if "uniform" in found else 3
    assert all(share(costs, (choice,) * count) > budget for choice in range(uniform))
    assert ("ticket" in found) == (share(costs, (2,) * count) <= budget + 1e-9)


def every(name: str, count: int) -> list[tuple[int, ...]]:
    """A mix of the dense network and the sparsest ticket, for each number of dense rows."""
    if name == "interleaved":
        marks = [np.floor(np.arange(count + 1) * dense / count + 1e-12) for dense in range(count + 1)]
        return [tuple(0 if rise else 2 for rise in np.diff(mark)) for mark in marks]
    halves = [((2,) * (count - dense), (0,) * dense) for dense in range(count + 1)]
    return [small + large if name == "small-to-large" else large + small for small, large in halves]


@given(tables(), st.floats(0.02, 1.0), st.integers(0, 2**32))
def test_chance_leaves_nothing_that_one_change_could_take(costs: np.ndarray, budget: float, seed: int) -> None:
    found = baselines(costs, budget, NAMES, seed=seed).get("random")
    least = np.minimum(costs[:, 0], costs.min(axis=1)).sum() - costs[0].min() + costs[0, :3].min()
    if found is None:
        assert least > (budget - 1e-8) * costs[:, 0].sum()
        return
    assert found[0] != 3
    assert all(costs[row, choice] <= costs[row, 0] for row, choice in enumerate(found))
    left = (budget - share(costs, found)) * costs[:, 0].sum()
    for row, choice in enumerate(found):
        options = [other for other in range(3 if row == 0 else 4) if costs[row, other] <= costs[row, 0]]
        rises = [costs[row, other] - costs[row, choice] for other in options]
        assert not any(1e-8 < rise < left - 1e-8 for rise in rises)


def test_three_of_four_quarters() -> None:
    found = baselines(np.array([[1.0, 0.5]] * 4), 0.75, ["dense", "kept-50%"])
    assert found["ticket"] == found["uniform"] == (1, 1, 1, 1)
    assert found["small-to-large"] == (1, 1, 0, 0)
    assert found["large-to-small"] == (0, 0, 1, 1)
    assert found["interleaved"] == (1, 0, 1, 0)
    assert found["random"].count(0) == 2


def test_single_steps_of_a_sampler_meet_a_budget_to_the_step() -> None:
    """A half of 50 steps: 18 x 1 + 32 x 0.2 = 24.4 of 25, and one more would be 25.2."""
    found = baselines(np.array([[1.0, 0.55, 0.2]] * 50), 0.5, NAMES[:3])
    assert found["small-to-large"] == (2,) * 32 + (0,) * 18
    assert found["large-to-small"] == (0,) * 18 + (2,) * 32
    gaps = np.diff(np.flatnonzero(np.array(found["interleaved"]) == 0))
    assert (found["interleaved"].count(0), set(gaps.tolist())) == (18, {2, 3})
    assert found["uniform"] == (2,) * 50
    other = baselines(np.array([[1.0, 0.55, 0.2]] * 50), 0.6, NAMES[:3], ticket="kept-50%")
    assert other["small-to-large"] == (1,) * 45 + (0,) * 5
    assert other["uniform"] == (1,) * 50


@pytest.mark.parametrize("count", range(2, 60, 3))
def test_so_many_parts_pay_for_so_many_rows(count: int) -> None:
    """Sevenths and the like are no whole units: rounding takes no row away."""
    for dense in range(1, count + 1):
        found = baselines(np.array([[0.1, 0.0]] * count), dense / count, ["dense", "kept-10%"])
        assert [found[name].count(0) for name in MIXED] == [dense] * 3


def test_the_whole_budget_is_the_dense_network() -> None:
    found = baselines(np.array([[0.1, 0.03]] * 10), 1.0, ["dense", "kept-10%"])
    assert all(chosen == (0,) * 10 for name, chosen in found.items() if name != "ticket")


def test_chance_depends_on_the_seed_alone_and_uses_every_choice() -> None:
    costs = np.array([[1.0, 0.5, 0.2, 0.0]] * 10)
    drawn = [baselines(costs, 0.5, NAMES, seed=seed)["random"] for seed in range(20)]
    assert drawn[3] == baselines(costs, 0.5, NAMES, seed=3)["random"]
    assert len(set(drawn)) == 20
    assert {choice for chosen in drawn for choice in chosen} == {0, 1, 2, 3}
    assert all(0.45 < share(costs, chosen) <= 0.5 + 1e-9 for chosen in drawn)


def test_what_cannot_be_paid_is_left_out() -> None:
    costs = np.array([[1.0, 0.5, 0.2, 0.0]] * 10)
    assert list(baselines(costs, 0.1, NAMES)) == ["dense", "random"]
    assert list(baselines(costs[:, :3], 0.1, NAMES[:3])) == ["dense"]
    assert list(baselines(costs, 0.2, NAMES)) == list(BASELINES)


@pytest.mark.parametrize("seed", range(20))
def test_repair_keeps_what_is_allowed_and_the_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prices = np.sort(rng.integers(1, 100, (6, 4)))[:, ::-1]
    allowed = rng.random((6, 4)) < 0.7
    allowed[:, 0] = True
    most = int(prices[:, 0].sum() * 0.9)
    found = Repair(prices, allowed, 0, most, rising=True)(rng.integers(0, 4, 6).tolist(), rng)
    if found is not None:
        rows = np.arange(6)
        assert prices[rows, found].sum() <= most
        assert allowed[rows, found].all()
        assert list(found) == sorted(found, reverse=True)


def test_repair_lets_be_what_fits_and_says_when_nothing_does() -> None:
    prices, rng = np.array([[10, 5]] * 4), np.random.default_rng(0)
    assert Repair(prices, prices > 0, 20, 30)([0, 1, 1, 0], rng) == (0, 1, 1, 0)
    assert Repair(prices, prices > 0, 0, 19)([0, 1, 1, 0], rng) is None
    assert Repair(prices, prices > 5, 0, 39)([0, 1, 1, 0], rng) is None


@pytest.mark.parametrize(
    ("budget", "names", "ticket", "words"),
    [
        (0.0, NAMES, None, r"a budget of 0; expected a share of the dense cost, in \(0, 1\]"),
        (2.0, NAMES, None, "a budget of 2;"),
        (0.5, NAMES[:3], None, "3 names for 4 columns of costs"),
        (0.5, ["dense", "skip", "skip", "skip"], None, "no ticket"),
        (0.5, NAMES, "kept-30%", "a ticket 'kept-30%'; expected one of kept-50%, kept-10%"),
        (0.5, NAMES, "dense", "a ticket 'dense'"),
    ],
)
def test_mistakes_are_refused(budget: float, names: list[str], ticket: str | None, words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        baselines(np.array([[1.0, 0.5, 0.2, 0.0]] * 3), budget, names, ticket=ticket)

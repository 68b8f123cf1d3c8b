"""The exact front of schedules, against every assignment there is."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_tickets.schedule import ScheduleError
from gen_tickets.stepwise.solve import Point, best, front, point

INF = np.inf


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Small whole numbers, so that sums are exact and ties many; some choices not allowed, some free."""
    intervals, choices = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    cells = intervals * (choices - 1)
    harms = draw(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, 7.0, INF]), min_size=cells, max_size=cells))
    prices = draw(st.lists(st.integers(0, 9), min_size=cells, max_size=cells))
    dense = draw(st.lists(st.integers(1, 9), min_size=intervals, max_size=intervals))
    damage = np.concatenate([np.zeros((intervals, 1)), np.reshape(harms, (intervals, choices - 1))], axis=1)
    costs = np.concatenate([np.reshape(dense, (-1, 1)), np.reshape(prices, (intervals, choices - 1))], axis=1)
    return damage, costs.astype(float)


def everything(damage: np.ndarray, costs: np.ndarray, rising: bool) -> list[tuple[float, float, tuple[int, ...]]]:
    """The front by its definition: all assignments, then all pairs; of equals the first assignment."""
    intervals, choices = damage.shape
    known: dict[tuple[float, float], tuple[int, ...]] = {}
    for chosen in product(range(choices), repeat=intervals):
        if rising and any(right > left for left, right in pairwise(chosen)):
            continue
        cost = sum(costs[place, choice] for place, choice in enumerate(chosen))
        harm = sum(damage[place, choice] for place, choice in enumerate(chosen))
        if harm < INF:
            known.setdefault((cost, harm), chosen)
    beaten = {one for one in known for other in known if one != other and other[0] <= one[0] and other[1] <= one[1]}
    return sorted((cost, harm, chosen) for (cost, harm), chosen in known.items() if (cost, harm) not in beaten)


@given(tables())
@pytest.mark.parametrize("monotone", [None, "rising"])
def test_the_front_is_that_of_all_assignments(monotone: str | None, both: tuple[np.ndarray, np.ndarray]) -> None:
    damage, costs = both
    expected = everything(damage, costs, monotone == "rising")
    found = front(damage, costs, monotone=monotone)  # type: ignore[arg-type]
    assert [one.assignment for one in found] == [chosen for *_, chosen in expected]
    assert [one.damage for one in found] == [harm for _, harm, _ in expected]
    np.testing.assert_allclose([one.cost * costs[:, 0].sum() for one in found], [cost for cost, *_ in expected])
    assert found == [point(one.assignment, damage, costs) for one in found]


@pytest.mark.parametrize("seed", range(3))
def test_the_front_of_measured_times_is_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    damage, costs = rng.lognormal(0, 2, (5, 4)), 0.01 * rng.uniform(0.1, 1, (5, 4))
    damage[:, 0], damage[0, 3] = 0, INF
    for monotone in (None, "rising"):
        expected = everything(damage, costs, monotone == "rising")
        found = front(damage, costs, monotone=monotone)  # type: ignore[arg-type]
        assert [one.assignment for one in found] == [chosen for *_, chosen in expected]
        np.testing.assert_allclose([one.damage for one in found], [harm for _, harm, _ in expected])


@given(tables(), st.floats(0.01, 1.0))
def test_the_best_for_a_budget_is_that_of_all_assignments(both: tuple[np.ndarray, np.ndarray], budget: float) -> None:
    damage, costs = both
    pays = budget * costs[:, 0].sum() + 1e-9
    payable = [(harm, cost) for cost, harm, _ in everything(damage, costs, False) if cost <= pays]
    if not payable:
        with pytest.raises(ScheduleError, match="the cheapest schedule"):
            best(front(damage, costs), budget)
        return
    found = best(front(damage, costs), budget)
    assert (found.damage, pytest.approx(found.cost * costs[:, 0].sum())) == min(payable)


def test_half_of_ten_equal_steps_is_half() -> None:
    """0.1 ten times is a little less than 1 in floating point, five of them a little more than half of that."""
    damage, costs = np.array([[0.0, 1.0]] * 10), np.array([[0.1, 0.0]] * 10)
    assert 5 * 0.1 / sum([0.1] * 10) > 0.5
    found = best(front(damage, costs), 0.5)
    assert (found.damage, found.cost, found.assignment) == (5.0, 0.5, (0,) * 5 + (1,) * 5)
    assert len(front(damage, costs)) == 11


def test_nothing_is_skipped_first_and_never_where_density_rises() -> None:
    damage = np.array([[0.0, 1.0, INF], [0.0, 1.0, 2.0]])
    costs = np.array([[1.0, 0.5, 0.0]] * 2)
    assert front(damage, costs)[0] == Point((1, 2), 0.25, 3.0)
    assert front(damage, costs, monotone="rising")[0] == Point((1, 1), 0.5, 2.0)


def test_a_slower_ticket_is_never_chosen() -> None:
    found = front(np.array([[0.0, 1.0]] * 2), np.array([[1.0, 1.5], [1.0, 0.5]]))
    assert [one.assignment for one in found] == [(0, 1), (0, 0)]


@pytest.mark.parametrize(("monotone", "limit"), [(None, 40), ("rising", 12)])
def test_long_lists_are_thinned_aloud_and_within_what_is_said(monotone: str | None, limit: int) -> None:
    rng = np.random.default_rng(0)
    damage, costs = np.sort(rng.lognormal(0, 1, (16, 4))), -np.sort(-rng.uniform(0.1, 1, (16, 4)))
    damage[:, 0] = 0
    exact = front(damage, costs, monotone=monotone)  # type: ignore[arg-type]
    with pytest.warns(RuntimeWarning, match=f"more than {limit} schedules") as said:
        rough = front(damage, costs, monotone=monotone, limit=limit)  # type: ignore[arg-type]
    slack = float(str(said[0].message).split("up to ")[1].split()[0])
    assert said[0].filename == __file__
    assert len(rough) <= limit + 2 < len(exact)
    assert rough[0].cost == exact[0].cost
    assert rough[-1].damage == 0
    assert slack < 0.5
    for one in exact:
        assert any(other.cost <= one.cost + 1.05 * slack and other.damage <= one.damage + 1e-9 for other in rough)


def test_fifty_steps_and_six_choices_need_no_thinning() -> None:
    rng = np.random.default_rng(0)
    damage = np.sort(rng.lognormal(0, 1, (50, 6)), axis=1)
    damage[:, 0], damage[0, 5] = 0, INF
    found = front(damage, np.array([[1.0, 0.8, 0.55, 0.4, 0.3, 0.0]] * 50))
    assert found[-1] == Point((0,) * 50, 1.0, 0.0)
    assert all(b.cost > a.cost and b.damage < a.damage for a, b in pairwise(found))


@pytest.mark.parametrize("budget", [0.0, -0.1, 1.1, 50.0, float("nan")])
def test_a_budget_that_is_no_share_is_refused(budget: float) -> None:
    with pytest.raises(ScheduleError, match=r"found a budget of .*; expected a share of the dense cost, in \(0, 1\]"):
        best([Point((0,), 1.0, 0.0)], budget)


def test_a_budget_below_the_cheapest_names_both() -> None:
    found = front(np.array([[0.0, 1.0]] * 3), np.array([[1.0, 0.26]] * 3))
    with pytest.raises(ScheduleError, match=r"budget of 0\.25 of the dense cost; expected 0\.26 or more, what the ch"):
        best(found, 0.25)
    assert best(found, 0.26).assignment == (1, 1, 1)


ONES = [[1.0, 0.5]] * 2


@pytest.mark.parametrize(
    ("damage", "costs", "words"),
    [
        ([[0.0, 1.0]], ONES, r"damages of shape \(1, 2\) and costs of shape \(2, 2\)"),
        ([0.0, 1.0], [1.0, 0.5], r"costs of shape \(2,\); expected \(intervals, choices\)"),
        ([[0.0, np.nan], [0.0, 1.0]], ONES, "a damage of nan by choice 1 in interval 0"),
        ([[0.0, 1.0], [0.0, -INF]], ONES, "a damage of -inf by choice 1 in interval 1"),
        ([[0.0, 1.0], [0.3, 1.0]], ONES, "a damage of 0.3 by the dense network in interval 1; expected 0"),
        ([[0.0, 1.0]] * 2, [[1.0, -0.5]] * 2, "costs from -0.5 to 1"),
        ([[0.0, 1.0]] * 2, [[1.0, np.nan]] * 2, "costs from nan"),
        ([[0.0, 1.0]] * 2, [[0.0, 0.5]] * 2, "0 of the dense network"),
        ([[0.0, 1.0]] * 2, [[1.0, 1e9]] * 2, "a millionth of all"),
        (np.zeros((0, 2)), np.zeros((0, 2)), r"costs of shape \(0, 2\)"),
    ],
)
def test_tables_that_are_none_are_refused(damage: object, costs: object, words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        front(np.array(damage), np.array(costs))


def test_other_mistakes_are_refused() -> None:
    damage, costs = np.array([[0.0, 1.0]] * 2), np.array(ONES)
    with pytest.raises(ScheduleError, match="monotone='falling'; expected None or 'rising'"):
        front(damage, costs, monotone="falling")  # type: ignore[arg-type]
    with pytest.raises(ScheduleError, match="a limit of 0"):
        front(damage, costs, limit=0)
    for wrong in ([1], [0, 2], [0, -1], [0, 1, 0]):
        with pytest.raises(ScheduleError, match="expected 2 numbers from 0 to 1"):
            point(wrong, damage, costs)

"""Refinement by NSGA-II: what it finds, what it never does twice, and how it goes on."""

import logging
import sys
from collections import Counter
from itertools import product

import numpy as np
import pytest

from common.runs.errors import UsageError
from gen_tickets.schedule import ScheduleError
from gen_tickets.stepwise.baselines import baselines
from gen_tickets.stepwise.refine import Refined, Settings, refine
from gen_tickets.stepwise.solve import best, front

COSTS = np.array([[1.0, 0.5, 0.2]] * 6)
DAMAGE = np.array([[0.0, 1.0, 2.0]] * 3 + [[0.0, 1.1, 2.1]] * 3)
SEEDS = [one.assignment for one in front(DAMAGE, COSTS)]
Assignment = tuple[int, ...]


def joint(chosen: Assignment) -> float:
    """The sum, and twice the product of neighbours: tickets are better apart, which no sum can see."""
    harms = DAMAGE[range(6), chosen]
    return float(harms.sum() + 2 * (harms[1:] * harms[:-1]).sum())


class Counted:
    """A judge that remembers whom it judged, and breaks down after so many."""

    def __init__(self, most: int = 10**6) -> None:
        self.asked: list[Assignment] = []
        self.most = most

    def __call__(self, chosen: Assignment) -> float:
        if len(self.asked) == self.most:
            raise KeyboardInterrupt
        self.asked.append(chosen)
        return joint(chosen)


def share(chosen: Assignment) -> float:
    return float(COSTS[range(6), chosen].sum() / 6)


EVERY = {chosen: joint(chosen) for chosen in product(range(3), repeat=6)}


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_the_best_as_a_whole_which_the_front_of_sums_is_not(seed: int) -> None:
    known = min((harm, chosen) for chosen, harm in EVERY.items() if share(chosen) <= 0.6 + 1e-9)
    assert known == (6.1, (2, 0, 2, 0, 0, 2))
    assert min(joint(one) for one in SEEDS if share(one) <= 0.6 + 1e-9) > 10
    found = refine(SEEDS, COSTS, joint, settings=Settings(trials=80, population=12, within=(0.5, 0.6), seed=seed))
    assert best(found.points, 0.6).assignment == (2, 0, 2, 0, 0, 2)
    assert len(found.evaluations) <= 80


def pairs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Damages of 10 intervals by 2 tickets, and how much those of each two intervals add to one another."""
    rng = np.random.default_rng(seed)
    damage = np.sort(rng.lognormal(0, 1, (10, 3)))
    damage[:, 0] = 0
    return damage, np.triu(rng.uniform(0, 1, (10, 10)), 1)


def test_it_learns_from_what_it_has_seen() -> None:
    """From the dense network alone 300 of 59,049 schedules are looked at; 300 that chance fits to the budget lose."""
    costs, found, chance = np.array([[1.0, 0.5, 0.2]] * 10), 0.0, 0.0
    for seed in (2, 3):
        damage, both = pairs(seed)

        def judge(chosen: Assignment, damage: np.ndarray = damage, both: np.ndarray = both) -> float:
            roots = np.sqrt(damage[range(10), chosen])
            return float((roots**2).sum() + roots @ both @ roots)

        settings = Settings(trials=300, population=16, within=(0.47, 0.5), seed=seed)
        found += best(refine([(0,) * 10], costs, judge, settings=settings).points, 0.5).damage
        drawn = (baselines(costs, 0.5, ["dense", "a", "b"], seed=draw)["random"] for draw in range(300))
        chance += min(map(judge, drawn))
    assert found < 0.95 * chance


def test_the_whole_front_comes_near_the_true_one() -> None:
    """200 of 729 schedules are looked at; no point of the true front has more than 15 % less damage."""
    found = refine(SEEDS, COSTS, joint, settings=Settings(trials=200))
    for one, harm in EVERY.items():
        assert best(found.points, min(1.0, share(one) + 1e-9)).damage <= 1.15 * harm
    assert len(found.evaluations) == 200


def test_points_are_those_that_no_evaluation_beats() -> None:
    found = refine(SEEDS, COSTS, joint, settings=Settings(trials=60))
    assert all(one.damage == found.evaluations[one.assignment] == joint(one.assignment) for one in found.points)
    for chosen, harm in found.evaluations.items():
        assert any(one.cost <= share(chosen) + 1e-9 and one.damage <= harm for one in found.points)
    costs, harms = [one.cost for one in found.points], [one.damage for one in found.points]
    assert costs == sorted(set(costs))
    assert harms == sorted(set(harms), reverse=True)


def test_none_is_asked_twice_and_all_cost_what_is_wanted() -> None:
    judge = Counted()
    found = refine(SEEDS, COSTS, judge, settings=Settings(trials=120, population=10, within=(0.45, 0.6)))
    assert max(Counter(judge.asked).values()) == 1
    assert list(found.evaluations) == judge.asked
    assert len(judge.asked) == 120
    assert all(0.45 - 1e-9 <= share(one) <= 0.6 + 1e-9 for one in judge.asked)


def test_seeds_come_first_evenly_spread_with_both_ends() -> None:
    judge = Counted()
    refine(SEEDS, COSTS, judge, settings=Settings(trials=6, population=6))
    assert len(SEEDS) > 6
    assert (judge.asked[0], judge.asked[-1]) == (SEEDS[0], SEEDS[-1])
    assert set(judge.asked) < set(SEEDS)
    inside, judge = [one for one in SEEDS if 0.4 <= share(one) <= 0.6], Counted()
    refine(SEEDS, COSTS, judge, settings=Settings(trials=3, population=3, within=(0.4, 0.6)))
    assert (judge.asked[0], judge.asked[-1]) == (inside[0], inside[-1])


def test_a_seed_decides() -> None:
    one, same, other = (refine(SEEDS[:3], COSTS, joint, settings=Settings(trials=50, seed=seed)) for seed in (7, 7, 8))
    assert list(one.evaluations.items()) == list(same.evaluations.items())
    assert one == same
    assert list(one.evaluations) != list(other.evaluations)


@pytest.mark.parametrize("done", [1, 10, 47])
def test_a_search_that_was_broken_off_goes_on_as_if_it_had_not_been(done: int) -> None:
    settings = Settings(trials=60, population=10)
    whole, broken, rest = Counted(), Counted(most=done), Counted()
    expected = refine(SEEDS, COSTS, whole, settings=settings)
    with pytest.raises(KeyboardInterrupt):
        refine(SEEDS, COSTS, broken, settings=settings)
    known = {one: joint(one) for one in broken.asked}
    found = refine(SEEDS, COSTS, rest, known=known, settings=settings)
    assert broken.asked + rest.asked == whole.asked
    assert found == expected
    assert list(found.evaluations) == list(expected.evaluations)


def test_what_is_known_counts_even_where_the_search_does_not_come() -> None:
    known = {(2, 2, 2, 2, 2, 2): -5.0}
    found = refine(SEEDS, COSTS, joint, known=known, settings=Settings(trials=10, population=5, within=(0.5, 0.9)))
    assert found.points[0].assignment == (2,) * 6
    assert found.evaluations[(2,) * 6] == -5.0
    assert list(found.evaluations)[-1] == (2,) * 6


def test_it_stops_when_there_is_nothing_new() -> None:
    judge = Counted()
    found = refine([], COSTS, judge, settings=Settings(trials=10**6, within=(0.0, 0.2)))
    assert judge.asked == [(2,) * 6]
    assert isinstance(found, Refined)
    only = refine([(0,)], np.array([[1.0]]), lambda _: 0.0)
    assert only.evaluations == {(0,): 0.0}


def test_what_is_not_allowed_is_not_tried_and_the_order_is_kept() -> None:
    costs = np.array([[1.0, 0.5, 0.2, 0.0]] * 6)
    allowed = np.ones((6, 4), bool)
    allowed[0, 3] = False
    found = refine([(0,) * 6, (2, 3, 3, 3, 3, 3)], costs, lambda one: float(sum(one)), allowed=allowed,
                   settings=Settings(trials=80))  # fmt: skip
    assert all(one[0] != 3 for one in found.evaluations)
    assert any(3 in one for one in found.evaluations)
    rising = refine([(0,) * 6], costs, lambda one: float(sum(one)), allowed=allowed,
                    settings=Settings(trials=40, monotone="rising"))  # fmt: skip
    assert all(list(one) == sorted(one, reverse=True) for one in rising.evaluations)
    assert 24 < len(rising.evaluations) <= 28  # falling sequences of 6 of 3 choices: skip may not begin one


def test_useless_schedules_are_no_points() -> None:
    found = refine(SEEDS, COSTS, lambda one: np.inf if one[0] else joint(one), settings=Settings(trials=40))
    assert any(harm == np.inf for harm in found.evaluations.values())
    assert all(one.assignment[0] == 0 for one in found.points)


def test_it_neither_talks_nor_leaves_optuna_changed(capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    refine(SEEDS, COSTS, joint, settings=Settings(trials=5))
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before == logging.INFO


def test_without_optuna_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'lottery-tickets\[sweep\]'"):
        refine(SEEDS, COSTS, joint)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(trials=0), "0 trials, 24 in a generation; expected 1 and 2 or more"),
        (Settings(population=1), "1 in a generation"),
        (Settings(within=(0.5, 1.5)), "a budget of 1.5"),
        (Settings(within=(0.6, 0.5)), "costs within 0.6 and 0.5"),
        (
            Settings(within=(0.0, 0.1)),
            "costs 0 to 0.1 of the dense network; expected bounds that some keep; .* cost 0.2",
        ),
        (Settings(monotone="falling"), "monotone='falling'"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_are_none_are_refused(settings: Settings, words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        refine(SEEDS, COSTS, joint, settings=settings)


def test_other_mistakes_are_refused() -> None:
    with pytest.raises(ScheduleError, match="damage of nan by the schedule"):
        refine(SEEDS, COSTS, lambda _: float("nan"))
    with pytest.raises(ScheduleError, match="damage of nan by the schedule"):
        refine(SEEDS, COSTS, joint, known={(0,) * 6: float("nan")})
    for wrong in ([(0,) * 5], [(0,) * 5 + (3,)]):
        with pytest.raises(ScheduleError, match="expected 6 numbers from 0 to 2"):
            refine(wrong, COSTS, joint)
        with pytest.raises(ScheduleError, match="expected 6 numbers from 0 to 2"):
            refine(SEEDS, COSTS, joint, known={wrong[0]: 1.0})
    with pytest.raises(ScheduleError, match=r"a table of what is allowed of shape \(2, 2\)"):
        refine(SEEDS, COSTS, joint, allowed=np.ones((2, 2), bool))

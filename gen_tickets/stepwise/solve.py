r"""Which choice for which interval: every best schedule between the dense cost and the cheapest, exactly.

With the damage $S_{ik}$ and the cost $c_{ik}$ of choice $k$ in interval $i$, a budget $B$ asks for

$$\min_{k_1, \dots, k_K} \sum_i S_{i k_i} \quad \text{such that} \quad \sum_i c_{i k_i} \le B \sum_i c_{i0},$$

a multiple-choice knapsack. Interval by interval, from noise to image, all beginnings are kept that no other beats in
both sums; what is left at the end is the answer to every budget at once, and no budget is cut into bins. Costs are
counted in units of 1e-12 of the dense cost, so that schedules of equal cost are seen to be equal.

References:
    Nemhauser and Ullmann, Discrete Dynamic Programming and Capital Allocation, Management Science 1969.
    Kellerer, Pferschy and Pisinger, Knapsack Problems, Springer 2004, chapter 11.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple

import numpy as np

from gen_tickets._intervals import refuse
from gen_tickets.stepwise._tables import ROUNDING, checked, in_range

__all__ = ["LIMIT", "Monotone", "Point", "best", "front", "point"]

Monotone = Literal["rising"]

LIMIT = 100_000


@dataclass(frozen=True)
class Point:
    """A schedule of a front.

    Attributes:
        assignment: number of the choice in every interval, from noise to image.
        cost: share of the dense network's.
        damage: the sum of the table, or what was measured of the schedule as a whole.
    """

    assignment: tuple[int, ...]
    cost: float
    damage: float


class _List(NamedTuple):
    """Beginnings of schedules, by rising cost: who they are, what they cost and damage."""

    key: np.ndarray
    cost: np.ndarray
    damage: np.ndarray

    def take(self, which: np.ndarray) -> _List:
        return _List(*(field[which] for field in self))


def front(
    damage: np.ndarray, costs: np.ndarray, *, monotone: Monotone | None = None, limit: int = LIMIT
) -> list[Point]:
    """All schedules that no other beats in cost and damage, by rising cost; of equals the first in order of choices.

    Args:
        damage: (K, M), the first column zero; inf where a choice is not allowed.
        costs: (K, M) of one image in each interval, in seconds or MACs; the first column is the dense network's.
        monotone: `rising` looks only at schedules whose density never falls from noise to image: the numbers of their
            choices never rise. `skip` counts as the sparsest, so that, not allowed at the beginning, it is never used.
        limit: beginnings that are kept at most. Where there are more, only the least damage in each of `limit` equal
            stretches of cost stays, and a warning says how much more than necessary a schedule may cost.

    Raises:
        ScheduleError: tables that do not fit together, are not finite where they should be, or have a damage of the
            dense network.

    Warns:
        RuntimeWarning: lists were thinned.

    >>> damage = np.array([[0.0, 1.0], [0.0, 4.0], [0.0, 2.0]])
    >>> costs = np.array([[1.0, 0.5]] * 3)
    >>> for found in front(damage, costs):
    ...     print(found.assignment, round(found.cost, 3), found.damage)
    (1, 1, 1) 0.5 7.0
    (1, 0, 1) 0.667 3.0
    (1, 0, 0) 0.833 1.0
    (0, 0, 0) 1.0 0.0
    >>> [found.assignment for found in front(damage, costs, monotone="rising")]
    [(1, 1, 1), (1, 1, 0), (1, 0, 0), (0, 0, 0)]
    """
    table, prices = checked(damage, costs)
    if monotone not in (None, "rising"):
        refuse(f"monotone={monotone!r}", "None or 'rising'", "Correct it.")
    if limit < 1:
        refuse(f"a limit of {limit}", "1 or more", "Raise it.")
    count, history, slack = table.shape[1], list[np.ndarray](), 0
    kept = [_List(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1))]
    for harm, price in zip(table, prices, strict=True):
        before = kept * (count // len(kept))
        made = [_extended(one, choice, count, price, harm) for choice, one in enumerate(before)]
        kept = _by_last(made) if monotone else [_undominated(*made)]
        kept, width = _thinned(kept, limit)
        kept, keys = _numbered(kept)
        history.append(keys)
        slack += width
    dense = int(prices[:, 0].sum())
    if slack:
        _warn(slack / dense, limit)
    return _points(kept[0], history, count, dense)


def best(points: Sequence[Point], budget: float) -> Point:
    """The least damage that a budget pays, and of equals the cheapest.

    Args:
        points: of a front.
        budget: share of the dense cost, in (0, 1].

    Raises:
        ScheduleError: the budget is outside, or below the cheapest schedule.

    >>> best([Point((1, 1), 0.5, 3.0), Point((1, 0), 0.75, 1.0), Point((0, 0), 1.0, 0.0)], 0.8).assignment
    (1, 0)
    """
    in_range(budget)
    payable = [one for one in points if one.cost <= budget + ROUNDING]
    if not payable:
        least = math.ceil(1e4 * min((one.cost for one in points), default=1.0) - 1e-5) / 1e4
        refuse(f"a budget of {budget:g} of the dense cost", f"{least:g} or more, what the cheapest schedule costs",
               "Raise the budget, or add a sparser ticket.")  # fmt: skip
    return min(payable, key=lambda one: (one.damage, one.cost))


def point(assignment: Sequence[int], damage: np.ndarray, costs: np.ndarray) -> Point:
    """What the tables say of a schedule, say of a baseline.

    Args:
        assignment: K numbers of choices.
        damage, costs: (K, M), see `front`.

    Raises:
        ScheduleError: the tables do not fit together, or the schedule not to them.

    >>> point([1, 0], np.array([[0.0, 1.0], [0.0, 4.0]]), np.array([[1.0, 0.5]] * 2))
    Point(assignment=(1, 0), cost=0.75, damage=1.0)
    """
    table, prices = checked(damage, costs)
    rows, chosen = np.arange(len(table)), np.asarray(assignment, np.int64)
    if chosen.shape != rows.shape or not ((chosen >= 0) & (chosen < table.shape[1])).all():
        refuse(f"the schedule {tuple(chosen.tolist())}", f"{len(table)} numbers from 0 to {table.shape[1] - 1}",
               "Give one choice for every interval of the tables.")  # fmt: skip
    cost = int(prices[rows, chosen].sum()) / int(prices[:, 0].sum())
    return Point(tuple(chosen.tolist()), cost, float(table[rows, chosen].sum()))


def _extended(lists: _List, choice: int, count: int, price: np.ndarray, harm: np.ndarray) -> _List:
    """All beginnings with one more choice; where it is not allowed their damage is inf, which beats nothing."""
    return _List(lists.key * count + choice, lists.cost + price[choice], lists.damage + harm[choice])


def _undominated(*lists: _List) -> _List:
    """Those that no other beats, by rising cost and falling damage."""
    joint = _List(*(np.concatenate(fields) for fields in zip(*lists, strict=True)))
    joint = joint.take(np.lexsort((joint.key, joint.damage, joint.cost)))
    least = np.minimum.accumulate(np.concatenate([[np.inf], joint.damage]))[:-1]
    return joint.take(joint.damage < least)


def _by_last(made: Sequence[_List]) -> list[_List]:
    """For every choice, the best beginnings that end with it or a sparser one: those that it may follow."""
    none = made[0].take(np.zeros(0, np.int64))
    return list(accumulate(reversed(made), _undominated, initial=none))[:0:-1]


def _thinned(lists: Sequence[_List], limit: int) -> tuple[list[_List], int]:
    """Lists of about `limit`, and by how much a cost may have risen: the cheapest stays, then one in each stretch."""
    kept, widths = list[_List](), [0]
    for one in lists:
        if len(one.cost) > limit:
            widths.append(-(int(one.cost[0] - one.cost[-1]) // limit))
            stretch = (one.cost - one.cost[0]) // widths[-1]
            last = np.append(stretch[1:] != stretch[:-1], True)
            last[0] = True
            one = one.take(last)
        kept.append(one)
    return kept, max(widths)


def _numbered(lists: Sequence[_List]) -> tuple[list[_List], np.ndarray]:
    """Lists whose keys are numbers in the order of choices, and the keys that the numbers stand for."""
    keys = np.unique(np.concatenate([one.key for one in lists]))
    return [one._replace(key=np.searchsorted(keys, one.key)) for one in lists], keys


def _points(last: _List, history: Sequence[np.ndarray], count: int, dense: int) -> list[Point]:
    chosen, number = np.empty((len(last.key), len(history)), np.int64), last.key
    for place in reversed(range(len(history))):
        number, chosen[:, place] = np.divmod(history[place][number], count)
    rows = zip(chosen.tolist(), last.cost.tolist(), last.damage.tolist(), strict=True)
    return [Point(tuple(choices), cost / dense, damage) for choices, cost, damage in rows]


def _warn(slack: float, limit: int) -> None:
    warnings.warn(
        f"found more than {limit:,} schedules that no other beats; kept one in each of as many stretches of cost: a "
        f"schedule of the front may cost up to {slack:.2g} of the dense cost more than its damage needs. Raise the "
        "limit, or take fewer intervals or tickets.",
        RuntimeWarning,
        stacklevel=3,
    )

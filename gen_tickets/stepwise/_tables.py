"""Tables of damages and costs: what they must be, and costs as whole numbers, so that budgets are met to the last."""

from __future__ import annotations

import numpy as np

from gen_tickets._intervals import refuse

__all__ = ["ROUNDING", "allowance", "checked", "in_range", "units"]

ROUNDING = 1e-9
_UNITS = 10**12


def units(costs: np.ndarray) -> np.ndarray:
    """Costs (K, M) in whole units of 1e-12 of the dense cost, in which sums are exact.

    Raises:
        ScheduleError: not a table, or costs that are negative, not finite, or a million times the dense network's.

    >>> units(np.array([[0.1, 0.05]] * 10))[:2].tolist()
    [[100000000000, 50000000000], [100000000000, 50000000000]]
    """
    table = np.asarray(costs, float)
    if table.ndim != 2 or not table.size:
        refuse(f"costs of shape {table.shape}", "(intervals, choices)", "Measure every choice in every interval.")
    dense = table[:, 0].sum()
    if not (np.isfinite(table).all() and (table >= 0).all() and 1e6 * dense >= table.sum() > 0):
        refuse(f"costs from {table.min():g} to {table.max():g}, {dense:g} of the dense network",
               "finite costs, none negative, the dense network's at least a millionth of all", "Measure them again."
               )  # fmt: skip
    return np.rint(table / dense * _UNITS).astype(np.int64)


def allowance(budget: float, prices: np.ndarray) -> int:
    """What a share of the dense cost pays, in the units of a table; a billionth is given for rounding.

    Raises:
        ScheduleError: the budget is not in (0, 1].

    >>> allowance(0.5, units(np.array([[0.1, 0.05]] * 10)))
    500000001000
    """
    in_range(budget)
    return int((budget + ROUNDING) * int(prices[:, 0].sum()))


def in_range(budget: float) -> None:
    """Raise a `ScheduleError` for a budget that is no share of the dense cost in (0, 1]."""
    if not 0 < budget <= 1:
        refuse(f"a budget of {budget:g}", "a share of the dense cost, in (0, 1]", "1 pays for the dense network.")


def checked(damage: np.ndarray, costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Damages (K, M) and costs in `units`; raises a `ScheduleError` where they are none or do not fit together."""
    table, prices = np.asarray(damage, float), units(costs)
    if table.shape != prices.shape:
        refuse(f"damages of shape {table.shape} and costs of shape {prices.shape}", "(intervals, choices) of both",
               "Make both tables of one grid and one family.")  # fmt: skip
    if np.isnan(table).any() or (table == -np.inf).any():
        place, choice = np.argwhere(np.isnan(table) | (table == -np.inf))[0]
        refuse(f"a damage of {table[place, choice]} by choice {choice} in interval {place}", "a number, or inf where "
               "it is not allowed", "Check the images of that swap.")  # fmt: skip
    if table[:, 0].any():
        place = int(np.flatnonzero(table[:, 0])[0])
        refuse(f"a damage of {table[place, 0]:g} by the dense network in interval {place}", "0",
               "The first column is what the others are compared with.")  # fmt: skip
    return table, prices

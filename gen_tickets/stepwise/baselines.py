r"""What anybody would try: the schedules that a found one has to beat at the same budget.

T-Stitch draws the early, noisy steps with a small network and the rest with a large one; the other order, and both in
turn, are its controls. OMS-DPM and DDSM compare with one network for all steps, and every search with chance. Each
takes as much of the budget as it can and never more. Rows of the cost table are intervals, or a sampler's single steps.

References:
    Pan et al., T-Stitch: Accelerating Sampling in Pre-Trained Diffusion Models with Trajectory Stitching, ICLR 2025.
    Yang et al., Denoising Diffusion Step-aware Models, ICLR 2024.
    Jiang, Hui, Liu and Yan, Successfully Applying Lottery Ticket Hypothesis to Diffusion Model, 2023.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gen_tickets._intervals import SKIP, paced, refuse
from gen_tickets.stepwise._repair import Repair
from gen_tickets.stepwise._tables import allowance, units

__all__ = ["BASELINES", "baselines", "by_ticket"]

BASELINES = ("dense", "ticket", "small-to-large", "large-to-small", "interleaved", "uniform", "random")


def baselines(
    costs: np.ndarray, budget: float, names: Sequence[str], *, ticket: str | None = None, seed: int = 0
) -> dict[str, tuple[int, ...]]:
    """The schedules that are tried without a search; those that even their cheapest form cannot pay are left out.

    `dense` is the dense network everywhere, whatever the budget, and `ticket` the ticket everywhere. Three mix the
    two, with as many rows of the dense network as the budget pays: `small-to-large` has them last, `large-to-small`
    first, `interleaved` evenly between. `uniform` is the first network that can do all of it, `random` any choices,
    then changed one by one at random until no change takes more of the budget.

    Args:
        costs: (K, M) of one image in each row, in seconds or MACs; the first column is the dense network's.
        budget: share of the dense cost, in (0, 1].
        names: of the M choices, densest first; `skip` is for `random` alone, and never in the first row.
        ticket: the one that is mixed with the dense network; the sparsest by default.
        seed: of `random`, which takes no ticket that is slower than the dense network.

    Returns:
        Name, in the order of `BASELINES`, to the number of the choice in every row.

    Raises:
        ScheduleError: the budget is outside, names do not fit the costs, or there is no such ticket.

    >>> found = baselines(np.array([[1.0, 0.6, 0.2]] * 5), 0.7, ["dense", "kept-50%", "kept-10%"])
    >>> for name in ("small-to-large", "large-to-small", "interleaved", "uniform"):
    ...     print(f"{name:15}", found[name])
    small-to-large  (2, 2, 0, 0, 0)
    large-to-small  (0, 0, 0, 2, 2)
    interleaved     (2, 0, 2, 0, 0)
    uniform         (1, 1, 1, 1, 1)
    """
    prices = units(costs)
    rows, most = np.arange(len(prices)), allowance(budget, prices)
    small = _small(prices.shape[1], names, ticket)
    found = {"dense": (0,) * len(rows)}
    for name in BASELINES[1:-1]:
        for chosen in _tried(name, len(rows), small, names):
            if prices[rows, chosen].sum() <= most:
                found[name] = tuple(chosen.tolist())
                break
    drawn = _random(prices, most, names, np.random.default_rng(seed))
    return found if drawn is None else found | {"random": drawn}


def by_ticket(costs: np.ndarray, budget: float, names: Sequence[str]) -> list[dict[str, tuple[int, ...]]]:
    """`baselines` with every ticket in turn, the sparsest last; choices that rest are left out.

    Args:
        costs: (K, M) of one image in each row.
        budget: share of the dense cost, in (0, 1].
        names: of the M choices, networks first, densest first.

    Returns:
        A ticket each, as `baselines` does, numbers being those of all M choices.

    Raises:
        ScheduleError: see `baselines`.

    >>> found = by_ticket(np.array([[1.0, 0.2, 0.5, 0.1]] * 2), 0.6, ["dense", "kept-10", "dense/2", "kept-10/2"])
    >>> found[0]["small-to-large"]
    (1, 0)
    """
    plain = [number for number, name in enumerate(names) if paced(name)[1] == 1]  # of `random`, too
    kept = [names[number] for number in plain]
    tickets = [name for name in kept[1:] if name != SKIP]
    return [
        {label: tuple(plain[choice] for choice in some) for label, some in found.items()}
        for found in (baselines(costs[:, plain], budget, kept, ticket=ticket) for ticket in tickets)
    ]


def _small(count: int, names: Sequence[str], ticket: str | None) -> int:
    tickets = [name for name in names[1:] if name != SKIP]
    if len(names) != count:
        refuse(f"{len(names)} names for {count} columns of costs", "one for each", "Give the names of the family.")
    if not tickets:
        refuse("no ticket", "one at least beside the dense network", "Add one.")
    if ticket is not None and ticket not in tickets:
        refuse(f"a ticket {ticket!r}", f"one of {', '.join(tickets)}", "Correct the name.")
    return list(names).index(ticket or tickets[-1])


def _tried(name: str, count: int, small: int, names: Sequence[str]) -> Iterator[np.ndarray]:
    """Schedules of a kind, that which takes most first."""
    rows = np.arange(count)
    if name == "ticket":
        yield np.full(count, small)
    elif name == "uniform":
        yield from (np.full(count, choice) for choice, network in enumerate(names) if network != SKIP)
    else:
        for dense in range(count, -1, -1):
            large = {
                "small-to-large": rows >= count - dense,
                "large-to-small": rows < dense,
                "interleaved": (rows + 1) * dense // count > rows * dense // count,
            }[name]
            yield np.where(large, 0, small)


def _random(prices: np.ndarray, most: int, names: Sequence[str], rng: np.random.Generator) -> tuple[int, ...] | None:
    allowed = prices <= prices[:, :1]
    allowed[0, [name == SKIP for name in names]] = False
    drawn = [int(rng.choice(np.flatnonzero(row))) for row in allowed]
    return Repair(prices, allowed, most, most)(drawn, rng)

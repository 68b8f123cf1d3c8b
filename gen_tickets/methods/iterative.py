"""Iterative magnitude pruning with rewinding, one function an allocation, and its one-shot form.

References:
    Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis, ICML 2020.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from common import allocate
from common.allocate import Allocation
from common.rewind import restore
from common.runs.errors import UsageError
from common.scores import Objective, Scorer, magnitude
from common.scores import lamp as lamp_scores
from common.search import tickets
from gen_tickets.denoising import evaluating
from gen_tickets.methods import Found, Search

__all__ = ["by_depth", "erk", "global_", "lamp", "one_shot", "sensitivity", "uniform"]

_P, _Q, _FLOOR = 20.0, 1.0, 0.002  # Jiang et al.'s rates, and a floor that theirs lack


def global_(search: Search) -> Iterator[Found]:
    """One threshold for all tensors."""
    return _rounds(search, allocate.global_)


def uniform(search: Search) -> Iterator[Found]:
    """The same share of every tensor."""
    return _rounds(search, allocate.uniform)


def erk(search: Search) -> Iterator[Found]:
    """Shares by the tensors' shapes (Evci et al., Rigging the Lottery, ICML 2020)."""
    return _rounds(search, allocate.erk)


def lamp(search: Search) -> Iterator[Found]:
    """One threshold for layer-adaptive scores (Lee et al., Layer-Adaptive Sparsity, ICLR 2021)."""
    return _rounds(search, allocate.global_, _lamp)


def by_depth(search: Search) -> Iterator[Found]:
    """Deeper blocks lose more in every round, at 20 and one more per cent a block (Jiang et al., 2023)."""
    return _rounds(search, allocate.by_depth(_P, _Q, _FLOOR, search.recipe.depths))


def sensitivity(search: Search) -> Iterator[Found]:
    """Shares by a scan of the dense model that prunes one tensor at a time and measures the loss."""
    from common.sensitivity import scan

    recipe = search.recipe
    if recipe.objective is None:
        raise UsageError(f"found no loss to scan {recipe.network} by; choose another method than sensitivity")
    restore(recipe.model, search.dense.trained or {})
    found = scan(recipe.model, recipe.params, partial(_damage, recipe.objective))
    return _rounds(search, found.allocation(floor=_FLOOR))


def one_shot(search: Search) -> Iterator[Found]:
    """Each density straight from the dense model, by one threshold, with the same rewinding."""
    for density in search.densities:
        yield from _rounds(replace(search, densities=[density], last=search.dense), allocate.global_)


def _rounds(search: Search, allocation: Allocation, score: Scorer = magnitude) -> Iterator[Found]:
    recipe = search.recipe
    for ticket in tickets(
        recipe.model,
        recipe.train,
        search.densities,
        steps=recipe.steps,
        score=score,
        allocate=allocation,
        rewind=recipe.rewind,
        params=recipe.params,
        start=search.last,
    ):
        yield Found(ticket, recipe.sampled(recipe.model, recipe.train))


def _lamp(model: nn.Module, params: Mapping[str, Tensor], objective: Objective | None = None) -> dict[str, Tensor]:
    """Layer-adaptive magnitudes."""
    return lamp_scores(magnitude(model, params, objective))


_lamp.reference = "Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, ICLR 2021"  # type: ignore[attr-defined]


def _damage(objective: Objective, model: nn.Module) -> float:
    with evaluating(model), torch.no_grad():
        losses = [float(loss) for loss in objective(model)]
    return sum(losses) / len(losses)

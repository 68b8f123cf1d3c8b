"""A ticket by training a model under masks that a method has chosen itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from common.apply import Guard, masked
from common.masks import Masks, agree_across_ranks
from common.recipe import describe, references
from common.rewind import restore, snapshot
from common.ticket import Ticket
from gen_tickets.methods import Found, Search

__all__ = ["trained_under"]


def trained_under(
    search: Search,
    masks: Masks,
    weights: Mapping[str, Tensor],
    span: tuple[int, int],
    *,
    by: Callable[..., Any],
    about: Mapping[str, Any],
    block: AbstractContextManager[Guard] | None = None,
) -> Found:
    """Load weights, train under masks, and say how it was done.

    Args:
        search: whose model is trained, by a trainer that remembers nothing.
        masks: to begin with.
        weights: the state_dict to begin with, which the ticket keeps.
        span: the steps [start, stop).
        by: what chose the masks, for the ticket's recipe and references.
        about: more for the recipe, plain json.
        block: to train in, instead of `masked`: masks that move.
    """
    recipe = search.recipe
    train = recipe.make_trainer()
    train.drive = recipe.train.drive
    train.checkpoints = recipe.train.checkpoints if block is None else None  # they do not hold masks that move
    restore(recipe.model, dict(weights))
    recipe.model.zero_grad(set_to_none=True)
    agree_across_ranks(masks)
    with block or masked(recipe.model, masks) as guard:
        metrics = dict(train(recipe.model, *span))
        kept = Masks(guard.masks)
    plain = {"search": describe(by), "steps": list(span), "density": kept.density, **about}
    ticket = Ticket(
        kept, dict(weights), plain, metrics, references=references(by), trained=snapshot(recipe.model), whole=True
    )
    return Found(ticket, recipe.sampled(recipe.model, train))

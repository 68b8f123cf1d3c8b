"""Strong tickets: a share of untrained weights that makes images as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from common.rewind import snapshot
from common.scoped import seeded
from gen_tickets import gfmn
from gen_tickets.gan_models import signed_constant_
from gen_tickets.methods import Found, Search

__all__ = ["strong", "strong_global"]

_FASTER = 10.0  # learning rate of scores, in those of weights


def strong(search: Search) -> Iterator[Found]:
    """The best share of every tensor by learned scores."""
    return _chosen(search, across=False)


def strong_global(search: Search) -> Iterator[Found]:
    """The best share of all weights together, by one threshold that follows the scores."""
    return _chosen(search, across=True)


def _chosen(search: Search, *, across: bool) -> Iterator[Found]:
    """Edge-popup on signed constants that are drawn for the density.

    References:
        Yeo et al., Can We Find Strong Lottery Tickets in Generative Models?, AAAI 2023.
    """
    recipe, parts = search.recipe, search.recipe.parts
    settings = replace(parts["settings"], lr=_FASTER * parts["settings"].lr)
    for density in search.densities:
        with seeded(search.seed):
            model = recipe.network.build()
            signed_constant_(model, density)
        ticket = gfmn.strong_ticket(
            model,
            parts["real"],
            parts["extractor"],
            density=density,
            steps=recipe.steps,
            settings=settings,
            seed=search.seed,
            across=across,
        )
        ticket.apply(model)
        yield Found(ticket, snapshot(model))

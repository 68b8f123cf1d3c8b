"""How tickets are found, by name; a method is a function `(Search) -> Iterator[Found]`, one a density.

To add one, write such a function and add a line to `METHODS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from common.runs.errors import UsageError
from common.runs.options import did_you_mean
from common.ticket import Ticket
from gen_tickets.recipes import Recipe

__all__ = ["METHODS", "Found", "Search", "check_method", "find"]

METHODS = {
    "global": "iterative:global_", "uniform": "iterative:uniform", "erk": "iterative:erk", "lamp": "iterative:lamp",
    "by-depth": "iterative:by_depth", "sensitivity": "iterative:sensitivity", "one-shot": "iterative:one_shot",
    "diff-pruning": "channels:diff_pruning", "early-bird": "channels:early_bird",
    "static": "from_scratch:static", "set": "from_scratch:set_", "rigl": "from_scratch:rigl",
    "gradual": "from_scratch:gradual", "sr-ste": "from_scratch:sr_ste", "strong": "strong:strong",
    "strong-global": "strong:strong_global",
}  # fmt: skip
"""Name to `file here:function`."""

_ONLY = {
    "diff-pruning": ("ddpm",), "sr-ste": ("ddpm",), "strong": ("gfmn",), "strong-global": ("gfmn",),
    "early-bird": ("dcgan", "wgan", "sngan", "vae", "beta-vae", "autoencoder", "gfmn"),
}  # fmt: skip


@dataclass(frozen=True)
class Search:
    """What a method is given.

    Attributes:
        recipe: the model and its training. The model is trained in place; at a yield it holds the ticket's weights.
        densities: share of `recipe.params` to keep, never rising: those that are still to be found.
        dense: the trained dense model, as a ticket that keeps everything.
        last: the ticket of the density before, or the dense one.
        initial: state_dict of the model before any training.
        seed: of whatever a method draws.
    """

    recipe: Recipe
    densities: Sequence[float]
    dense: Ticket
    last: Ticket
    initial: Mapping[str, Tensor]
    seed: int


class Found(NamedTuple):
    """A ticket with its own trained weights, and the state_dict that images are drawn from, averages in place."""

    ticket: Ticket
    sampled: Mapping[str, Tensor]


def find(method: str, search: Search) -> Iterator[Found]:
    """Tickets of a method, a density each."""
    module, _, name = METHODS[method].partition(":")
    found: Iterator[Found] = getattr(importlib.import_module(f"gen_tickets.methods.{module}"), name)(search)
    return found


def check_method(method: str, family: str) -> None:
    """Refuse a method that there is none of, or none for this family.

    Raises:
        UsageError: naming those that there are.
    """
    if method not in METHODS:
        raise UsageError(f"unknown method {method!r}.{did_you_mean(method, METHODS)} Known: {', '.join(METHODS)}")
    families = _ONLY.get(method)
    if families is not None and family not in families:
        raise UsageError(f"the method {method} is for {', '.join(families)}; found {family}. Choose another method")

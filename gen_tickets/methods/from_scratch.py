"""Sparse training from scratch: a fixed random mask, masks that move, and N:M learned while training.

Every density is a training of its own from the initial weights, as long as the dense one; shares of tensors are ERK's
where a method does not choose them.

References:
    Oliveira et al., Sparse-to-Sparse Training of Diffusion Models, TMLR 2025.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from common import dynamic
from common.allocate import erk, prune, uniform
from common.apply import gated
from common.dynamic import Update, moving
from common.masks import Masks
from common.rewind import restore, snapshot
from common.runs.errors import UsageError
from common.scores import magnitude, random
from common.structure import n_of_m
from gen_tickets import ddpm
from gen_tickets._controls import TWO_OF_FOUR
from gen_tickets.methods import Found, Search
from gen_tickets.methods._train import trained_under
from gen_tickets.nm import NofM
from gen_tickets.presets import set_to

__all__ = ["gradual", "rigl", "set_", "sr_ste", "static"]

_MOVES, _UNTIL = 20, 0.75  # updates of the masks, and the share of the training in which they happen


def static(search: Search) -> Iterator[Found]:
    """A random mask that stays."""
    for density in search.densities:
        masks = _drawn(search, density)
        span = 0, search.recipe.steps
        yield trained_under(search, masks, search.initial, span, by=static, about={"allocate": "erk"})


def set_(search: Search) -> Iterator[Found]:
    """SET: the smallest weights go, random ones come (Mocanu et al., Nature Communications 2018)."""
    return _moving(search, dynamic.set_(0.3, seed=search.seed, end=_end(search)))


def rigl(search: Search) -> Iterator[Found]:
    """RigL: the smallest weights go, those of the largest gradients come (Evci et al., ICML 2020)."""
    return _moving(search, dynamic.rigl(0.3, end=_end(search)))


def gradual(search: Search) -> Iterator[Found]:
    """Gradual magnitude pruning, every tensor to the same share (Zhu and Gupta, ICLR workshop 2018)."""
    for density in search.densities:
        update = dynamic.gradual(1.0, density, begin=0, end=_end(search))
        yield _moved(search, Masks.dense(search.recipe.params), update)


def sr_ste(search: Search) -> Iterator[Found]:
    """2:4 by SR-STE for three quarters of the training, and under the mask that it leads to for the rest.

    Tensors whose rows are no multiple of four stay dense.

    Raises:
        UsageError: another density than a half.
    """
    recipe = search.recipe
    for density in search.densities:
        if density != 0.5:
            raise UsageError(f"sr-ste keeps 2 of every 4 weights; found a density of {density}. Set --densities 0.5")
        rows = {name: p for name, p in recipe.params.items() if p.flatten(1).shape[1] % 4 == 0}
        until = max(1, round(_UNTIL * recipe.steps))
        restore(recipe.model, dict(search.initial))
        with gated(recipe.model, Masks.dense(rows), partial(NofM, n=2, m=4)) as gates:
            train = ddpm.trainer(recipe.parts["task"], recipe.parts["settings"], search.seed, penalty=gates.penalty)
            train(recipe.model, 0, until)
        chosen = prune(magnitude(recipe.model, rows, None), 0.5, structure=n_of_m(2, 4), allocate=uniform)
        masks = Masks({**Masks.dense(recipe.params), **chosen})
        span = until, recipe.steps
        about = {"structure": TWO_OF_FOUR, "gated_steps": until}
        yield trained_under(search, masks, snapshot(recipe.model), span, by=NofM, about=about)


def _drawn(search: Search, density: float) -> Masks:
    """Random masks with the shares of ERK."""
    scores = random(search.seed)(search.recipe.model, search.recipe.params, None)
    return prune(scores, density, allocate=erk)


def _moving(search: Search, update: Update) -> Iterator[Found]:
    for density in search.densities:
        yield _moved(search, _drawn(search, density), update)


def _moved(search: Search, masks: Masks, update: Update) -> Found:
    recipe, end = search.recipe, _end(search)
    every = max(1, end // _MOVES)
    block = moving(recipe.model, masks, update, every=every, stop=end)
    about = {"every": every, "until": end}
    return trained_under(search, masks, search.initial, (0, recipe.steps), by=update, about=about, block=block)


def _end(search: Search) -> int:
    """The step of the last move: a multiple of the steps between two.

    A discriminator has several steps of its optimizer in a step of the training, and these are what `moving` counts.
    """
    recipe, turns = search.recipe, 1
    if any(name.startswith("discriminator.") for name in recipe.params):
        turns = set_to(recipe.config.adversarial.critic_steps)
    until = max(1, round(_UNTIL * recipe.steps * turns))
    return until - until % max(1, until // _MOVES)

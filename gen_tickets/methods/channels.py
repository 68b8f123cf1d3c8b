"""Whole channels: by importance over the timesteps, or by BatchNorm's scales as soon as they have settled.

`common.sparse.slim` removes them for good, as `--engine slim` of `gen-tickets sample`, `fid` and `schedule` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from common.masks import Masks
from common.rewind import restore
from common.runs.errors import UsageError
from gen_tickets import ddpm_tickets, inner
from gen_tickets._controls import INNER, NORMS
from gen_tickets.early_bird import early_bird as emerge
from gen_tickets.methods import Found, Search
from gen_tickets.methods._train import trained_under
from gen_tickets.recipes import Recipe

__all__ = ["diff_pruning", "early_bird", "inner_blocks", "watched"]

_EPOCHS = 20  # in which a ticket may emerge, a share of the training each


def diff_pruning(search: Search) -> Iterator[Found]:
    """Inner channels of residual blocks by Taylor scores over the timesteps, one shot, then as much training again.

    Published code prunes every channel that a dependency graph allows; here it is those that only their own block
    reads, in whole normalisation groups, see `gen_tickets.inner`: what remains computes the same as a smaller network.
    Blocks lose the same share, everything else stays.

    Raises:
        UsageError: the density is below what stays.

    References:
        Fang et al., Structural Pruning for Diffusion Models, NeurIPS 2023.
    """
    recipe = search.recipe
    among = inner_blocks(recipe, min(search.densities))
    weights = dict(search.dense.trained or {})
    about = {"structure": INNER, "blocks": {block.name: [block.channels, block.groups] for block in among}}
    score = ddpm_tickets.diff_pruning(recipe.parts["task"], size=recipe.parts["scored"], seed=search.seed)
    restore(recipe.model, weights)
    scores = inner.pooled(score(recipe.model, recipe.params, None), among)
    for density in search.densities:
        masks = inner.masks(recipe.params, among, inner.best(scores, recipe.params, among, density))
        yield trained_under(search, masks, weights, (recipe.steps, 2 * recipe.steps), by=score, about=about)


def inner_blocks(recipe: Recipe, density: float) -> list[inner.Block]:
    """The residual blocks that can lose channels.

    Raises:
        UsageError: there are none, or what stays of the weights is more than the density.
    """
    among = inner.blocks(recipe.model)
    if not among:
        raise UsageError("diff-pruning takes inner channels of residual blocks, of which this model has none")
    floor = math.ceil(1e4 * inner.least(recipe.params, among)) / 1e4
    if density < floor:
        raise UsageError(
            f"diff-pruning takes inner channels of residual blocks, and leaves {floor:.2%} of the weights of this "
            f"model alone; found a density of {density:g}. Set at least {floor:g}"
        )
    return among


def watched(recipe: Recipe) -> str:
    """The submodule whose channels an early bird draws: the part that is pruned, an empty text for all of the model."""
    part = recipe.config.part
    return "" if part in (None, "all") else str(part)


def early_bird(search: Search) -> Iterator[Found]:
    """Channels of the largest BatchNorm scales, from the epoch at which they have settled; the density is theirs.

    The recipe says when the ticket emerged; the last epoch counts where it did not.

    References:
        You et al., Drawing Early-Bird Tickets, ICLR 2020.
        Kalibhat et al., Winning Lottery Tickets in Deep Generative Models, AAAI 2021.
    """
    recipe = search.recipe
    epoch, part = max(1, recipe.steps // _EPOCHS), watched(recipe)
    epochs = min(_EPOCHS - 1, (recipe.steps - 1) // epoch)  # some training is left for the ticket
    for density in search.densities:
        restore(recipe.model, dict(search.initial))
        train = recipe.make_trainer()
        train.drive = recipe.train.drive
        found = emerge(recipe.model, train, density=density, steps=epoch, epochs=epochs, part=part)
        prefix = f"{part}." if part else ""
        masks = Masks({f"{prefix}{name}": mask for name, mask in found.masks.items()})
        start = epoch * (found.epoch or epochs)
        about = {"structure": NORMS, "epoch": found.epoch, "steps_an_epoch": epoch, "distances": found.distances}
        weights = {name: value.clone() for name, value in recipe.model.state_dict().items()}
        yield trained_under(search, masks, weights, (start, recipe.steps), by=emerge, about=about)

"""Whole channels: by importance over the timesteps, or by BatchNorm's scales as soon as they have settled.

`common.sparse.slim` removes such channels for good, as `gen-tickets sample --engine slim` does.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from common.allocate import prune, uniform
from common.masks import Masks
from common.rewind import restore
from common.runs.errors import UsageError
from common.structure import channels
from gen_tickets import ddpm_tickets
from gen_tickets._controls import NORMS
from gen_tickets.early_bird import early_bird as emerge
from gen_tickets.methods import Found, Search
from gen_tickets.methods._train import trained_under
from gen_tickets.recipes import Recipe

__all__ = ["diff_pruning", "early_bird", "share_of_channels", "watched"]

_EPOCHS = 20  # in which a ticket may emerge, a share of the training each


def diff_pruning(search: Search) -> Iterator[Found]:
    """Output channels of convolutions by Taylor scores over the timesteps, one shot, then as much training again.

    Convolutions lose the same share of channels, but for the last one, which keeps all, as linear layers do.

    Raises:
        UsageError: the density is below what these keep.

    References:
        Fang et al., Structural Pruning for Diffusion Models, NeurIPS 2023.
    """
    recipe = search.recipe
    convs = _convs(recipe)
    score = ddpm_tickets.diff_pruning(recipe.parts["task"], size=recipe.parts["scored"], seed=search.seed)
    for density in search.densities:
        share = share_of_channels(recipe, density)
        restore(recipe.model, search.dense.trained or {})
        found = prune(score(recipe.model, convs, None), share, allocate=uniform, structure=channels())
        masks = Masks({**Masks.dense(recipe.params), **found})
        span = recipe.steps, 2 * recipe.steps
        weights = search.dense.trained or {}
        yield trained_under(search, masks, weights, span, by=score, about={"structure": "channels", "share": share})


def share_of_channels(recipe: Recipe, density: float) -> float:
    """The share of channels that convolutions keep for a density of all weights.

    Raises:
        UsageError: what stays dense is more than that.
    """
    total, free = (sum(p.numel() for p in named.values()) for named in (recipe.params, _convs(recipe)))
    share = (density * total - (total - free)) / max(1, free)
    if not share > 0:
        raise UsageError(
            f"diff-pruning leaves linear layers alone, {1 - free / total:.1%} of the weights; found a density of "
            f"{density:g}. Set it above that"
        )
    return share


def _convs(recipe: Recipe) -> dict[str, nn.Parameter]:
    return {name: p for name, p in recipe.params.items() if p.dim() == 4 and name != "conv_out.weight"}


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

"""What a method cannot do with a network, told before anything is trained; the methods themselves say the same."""

from __future__ import annotations

from collections.abc import Sequence

from common.runs.errors import UsageError
from gen_tickets.early_bird import channel_masks
from gen_tickets.methods.channels import inner_blocks, watched
from gen_tickets.recipes import Recipe

__all__ = ["check_search"]

_HALF = 0.5
_BOTH = {"generator", "discriminator"}


def check_search(method: str, recipe: Recipe, densities: Sequence[float]) -> None:
    """Refuse what a method has no way to do.

    Args:
        method: a key of `gen_tickets.methods.METHODS`.
        recipe: with the initial weights.
        densities: that are asked for.

    Raises:
        UsageError: naming what was found and what to set instead.
    """
    if method == "sensitivity" and recipe.objective is None:
        raise UsageError(f"found no loss to scan {recipe.network} by; choose another method than sensitivity")
    if method == "sr-ste" and set(densities) != {_HALF}:
        found = ", ".join(f"{density:g}" for density in densities)
        raise UsageError(f"sr-ste keeps 2 of every 4 weights; found densities of {found}. Set --densities 0.5")
    if method == "diff-pruning":
        inner_blocks(recipe, min(densities))
    if method == "rigl" and {name.split(".")[0] for name in recipe.params} == _BOTH:
        raise UsageError(
            "rigl grows by gradients of one step, and a GAN's two networks are stepped in turns; found --part all. "
            "Say --part generator or discriminator, or choose the method set"
        )
    if method == "early-bird":
        try:
            channel_masks(recipe.model.get_submodule(watched(recipe)), min(densities))
        except ValueError as error:
            raise UsageError(f"early-bird, --part {recipe.config.part}: {error}") from None

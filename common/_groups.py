"""What `prune` checks and prepares: scores that can be ranked, in groups, and counts that fit them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from common.masks import closest
from common.structure import Structure, entries

__all__ = ["Group", "check_counts", "grouped"]


class Group(NamedTuple):
    """A tensor's group scores, the way back to a mask of its entries, and the only density that its structure meets."""

    scores: Tensor
    expand: Callable[[Tensor], Tensor]
    density: float | None


def grouped(
    scores: Mapping[str, Tensor],
    density: float,
    structure: Structure | Mapping[str, Structure],
    within: Mapping[str, Tensor] | None,
) -> dict[str, Group]:
    """Every tensor's groups, with scores of -inf for what is dead; raises as `prune` does."""
    if isinstance(structure, Mapping):
        for name in structure:
            if name not in scores:
                raise KeyError(f"structure names {name!r}, which has no scores; the nearest is {closest(name, scores)}")
    groups = {}
    for name, score in scores.items():
        how = structure.get(name, entries) if isinstance(structure, Mapping) else structure
        meets = getattr(how, "density", None)
        if meets is not None and not math.isclose(meets, density, rel_tol=1e-9):
            raise ValueError(
                f"the structure of {name!r} can only keep {meets:g} of the entries; found a density of {density}. "
                f"Ask for {meets:g}, or prune this tensor in a call of its own."
            )
        groups[name] = Group(*how(_ranked(name, score, within)), meets)
    return groups


def _ranked(name: str, score: Tensor, within: Mapping[str, Tensor] | None) -> Tensor:
    """The scores as floating point numbers, -inf where dead."""
    if not isinstance(score, Tensor) or score.dtype.is_complex:
        found = score.dtype if isinstance(score, Tensor) else type(score).__name__
        raise TypeError(f"the scores of {name!r} must be a tensor of real numbers; found {found}")
    if not score.numel():
        raise ValueError(f"the scores of {name!r} are empty, of shape {tuple(score.shape)}; leave this tensor out")
    score = score.detach()
    if not score.is_floating_point():
        score = score.to(torch.float32 if score.dtype == torch.bool else torch.float64)
    if within is not None:
        if name not in within:
            raise KeyError(f"within holds no mask of {name!r}; the nearest is {closest(name, within)}")
        mask = within[name]
        if mask.shape != score.shape:
            raise ValueError(
                f"the mask of {name!r} in within has shape {tuple(mask.shape)}; expected {tuple(score.shape)}"
            )
        score = score.masked_fill(~mask.to(score.device, torch.bool), -torch.inf)
    if bool(score.max().isnan()):
        raise ValueError(
            f"{int(score.isnan().sum())} of {score.numel()} scores of {name!r} are NaN, which have no order; look for "
            "a diverged training or an infinite loss"
        )
    return score


def check_counts(
    counts: Mapping[str, int],
    living: Mapping[str, int],
    whole: int,
    fixed: Mapping[str, int] | None = None,
) -> None:
    """Raise a ValueError unless an allocation's counts fit the groups, add up, and respect fixed ones."""
    if counts.keys() != living.keys():
        raise ValueError(f"the allocation's names differ from the scores': {sorted(counts.keys() ^ living.keys())}")
    for name, count in counts.items():
        if not 0 <= count <= living[name]:
            raise ValueError(f"the allocation keeps {count} groups of {name!r}; expected 0 to the {living[name]} alive")
        expected = (fixed or {}).get(name, count)
        if count != expected:
            raise ValueError(
                f"the structure of {name!r} keeps {expected} entries; the allocation gives it {count}. Prune this "
                "tensor in a call of its own."
            )
    if sum(counts.values()) != whole:
        raise ValueError(f"the allocation's counts sum to {sum(counts.values())}; the density asks for {whole}")

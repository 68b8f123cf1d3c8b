"""The pieces that controls are made of: other weights for the kept entries, other entries for the same counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.masks import Masks
from common.ticket import Ticket, TicketError

if TYPE_CHECKING:
    from common.structure import Structure

__all__ = ["dense_weights", "fresh_weights", "group_ids", "random_masks", "with_kept"]


def fresh_weights(ticket: Ticket, fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A fresh state_dict's tensors under the ticket's names, copied.

    Raises:
        TicketError: a tensor is missing or has another shape.

    >>> ticket = Ticket(Masks({"w": torch.tensor([True])}), {"w": torch.tensor([3.0])})
    >>> fresh_weights(ticket, {"w": torch.tensor([5.0])})
    {'w': tensor([5.])}
    """
    for name, weight in ticket.weights.items():
        found = tuple(fresh[name].shape) if name in fresh else "nothing"
        if found != tuple(weight.shape):
            raise TicketError(
                f"the fresh weights of {name!r}: found {found}, expected the shape {tuple(weight.shape)}. Pass the "
                "whole state_dict of a newly built model of the same kind."
            )
    return {name: fresh[name].detach().clone() for name in ticket.weights}


def dense_weights(ticket: Ticket, wanted_by: str) -> dict[str, Tensor]:
    """The ticket's weights, if its pruned entries still hold theirs.

    They do not after a plain save and load, nor where a search kept trained weights, which `Ticket.whole` tells; zeros
    then are clearly more frequent among the pruned entries than among the kept ones. A whole ticket may hold zeros, as
    some initialisations do, unless every pruned entry of the tensors that are not zero throughout is zero.

    Raises:
        TicketError: they are gone.

    >>> len(dense_weights(Ticket(Masks({"w": torch.tensor([True, False])}), {"w": torch.ones(2)}), "inverted"))
    1
    """
    pruned = pruned_zeros = kept = kept_zeros = 0
    for name, mask in ticket.masks.items():
        zero = ticket.weights[name] == 0
        if ticket.whole and bool(zero.all()):
            continue
        on = mask.to(zero.device)
        kept, pruned = kept + int(on.sum()), pruned + int((~on).sum())
        kept_zeros, pruned_zeros = kept_zeros + int((zero & on).sum()), pruned_zeros + int((zero & ~on).sum())
    gone = pruned_zeros == pruned if ticket.whole else pruned_zeros / max(pruned, 1) > 0.01 + kept_zeros / max(kept, 1)
    if pruned and gone:
        raise TicketError(
            f"{wanted_by} needs the rewound weights of the pruned entries; found {pruned_zeros} of {pruned} zero, as "
            "after a plain save. Save with dense_weights=True, or pass the state_dict of a model as fresh where "
            "the control takes one."
        )
    return ticket.weights


def with_kept(ticket: Ticket, change: Callable[[str, Tensor], Tensor]) -> dict[str, Tensor]:
    """The ticket's weights with the kept values of every masked tensor replaced.

    Args:
        ticket: any ticket; its tensors are not touched.
        change: from a name and its kept values (k,) to new values (k,), or to one value for all.

    >>> ticket = Ticket(Masks({"w": torch.tensor([True, False])}), {"w": torch.ones(2)})
    >>> with_kept(ticket, lambda name, kept: 5 * kept)
    {'w': tensor([5., 1.])}
    """
    weights = dict(ticket.weights)
    for name, mask in ticket.masks.items():  # names tied to these follow in the new ticket
        weight = weights[name].detach().clone()
        on = mask.to(weight.device)
        weight[on] = change(name, weight[on]).to(weight.dtype)
        weights[name] = weight
    return weights


def random_masks(masks: Masks, seed: int, structures: Mapping[str, Structure | Tensor]) -> Masks:
    """Masks with as many kept entries in every tensor, drawn at random within a structure.

    Args:
        masks: the masks to match.
        seed: the same seed gives the same masks on every device.
        structures: name to a structure, or to a long tensor of the mask's shape with one number a group; a tensor
            without either has single entries. Numbers of the mask's last dimensions alone, (E,) of (depth, E) say,
            move a group with its mask in every row.

    Raises:
        TicketError: a mask does not have its structure (it keeps a part of a group, say).

    >>> random_masks(Masks({"w": torch.arange(6) < 2}), 0, {}).counts()
    {'w': (2, 6)}
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = Masks()
    for name, mask in masks.items():
        structure, on = structures.get(name), mask.cpu()
        if structure is None:
            new = on.reshape(-1)[torch.randperm(on.numel(), generator=generator)].reshape(on.shape)
        elif isinstance(structure, Tensor):
            new = _permuted_groups(name, on, structure.cpu(), generator)
        elif hasattr(structure, "density"):
            new = _ranked(name, on, structure, generator)
        else:
            new = _permuted_groups(name, on, group_ids(on, structure), generator)
        drawn[name] = new.to(mask.device)
    return drawn


def group_ids(mask: Tensor, structure: Structure) -> Tensor:
    """The number of the group that each entry belongs to, read off a structure by expanding the bits of the numbers.

    >>> group_ids(torch.ones(2, 2, dtype=torch.bool), lambda x: (x.sum(1), lambda g: g[:, None].expand(2, 2)))
    tensor([[0, 0],
            [1, 1]])
    """
    scores, expand = structure(torch.zeros(mask.shape))
    numbers = torch.arange(scores.numel()).reshape(scores.shape)
    ids = torch.zeros(mask.shape, dtype=torch.long)
    for bit in range(max(1, (scores.numel() - 1).bit_length())):
        ids += expand(((numbers >> bit) & 1).bool()).long() << bit
    return ids


def _ranked(name: str, mask: Tensor, structure: Structure, generator: torch.Generator) -> Tensor:
    """For n of m, whose group scores are ranks: keep the same ranks of random scores."""
    kept = int(mask.sum())
    ranks, expand = structure(torch.rand(mask.shape, generator=generator))
    new = ranks >= (ranks.reshape(-1).topk(kept).values.min() if kept else torch.inf)
    if int(new.sum()) != kept:
        raise TicketError(
            f"the mask of {name!r} keeps {kept} of {mask.numel()} entries; expected as many in every run of m. Pass "
            "the structure that the ticket was pruned with."
        )
    return expand(new)


def _permuted_groups(name: str, mask: Tensor, ids: Tensor, generator: torch.Generator) -> Tensor:
    lead = mask.dim() - ids.dim()
    if ids.shape != mask.shape[lead:] or (lead and not ids.dim()):
        found, expected = tuple(ids.shape), tuple(mask.shape)
        raise TicketError(
            f"the groups of {name!r}: found shape {found}, expected the mask's {expected} or that of its last "
            "dimensions. Number entries."
        )
    numbers, index, sizes = torch.unique(ids.reshape(-1), return_inverse=True, return_counts=True)
    rows = mask.reshape(mask.shape[:lead].numel(), ids.numel())
    kept = numbers.new_zeros(len(rows), len(numbers)).index_add_(1, index, rows.long())
    split = int(((kept != 0) & (kept != sizes)).any(0).sum())
    if split:
        raise TicketError(
            f"the mask of {name!r} keeps a part of {split} groups; expected each to be kept or pruned as one. Pass the "
            "structure that the ticket was pruned with."
        )
    alive = kept > 0
    for size in sizes.unique():
        members = (sizes == size).nonzero().reshape(-1)
        alive[:, members] = alive[:, members[torch.randperm(members.numel(), generator=generator)]]
    return alive[:, index].reshape(mask.shape)

"""Controls: the tickets that a winning ticket has to beat, as functions from a ticket to a ticket.

Each changes one thing (the weights, their order, their signs, the mask) and keeps the rest, among it how many entries
every tensor keeps; the masks of `inverted` are the one exception. A control has no metrics until it is trained, names
the original as its parent and notes itself and its seed in the recipe.

References:
    Frankle and Carbin, The Lottery Ticket Hypothesis, ICLR 2019 (re-initialisation, random tickets).
    Zhou et al., Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask, NeurIPS 2019 (signs, constants).
    Frankle et al., Pruning Neural Networks at Initialization: Why Are We Missing the Mark?, ICLR 2021 (shuffles).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from common.masks import Masks
from common.study.variants import dense_weights, fresh_weights, random_masks, with_kept
from common.ticket import Ticket

if TYPE_CHECKING:
    from common.structure import Structure

__all__ = [
    "constant_sign",
    "inverted",
    "random_ticket",
    "reinitialised",
    "shuffled_masks",
    "shuffled_weights",
    "signs_only",
]

LTH = "Frankle and Carbin, The Lottery Ticket Hypothesis, ICLR 2019"
ZHOU = "Zhou et al., Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask, NeurIPS 2019"
MISSING = "Frankle et al., Pruning Neural Networks at Initialization: Why Are We Missing the Mark?, ICLR 2021"


def reinitialised(ticket: Ticket, fresh: Mapping[str, Tensor]) -> Ticket:
    """The same masks on another initialisation: is it the structure alone that wins?

    Args:
        ticket: any ticket.
        fresh: the whole state_dict of a newly built model.

    Raises:
        TicketError: a tensor of the ticket is missing from the fresh state, or has another shape.

    References:
        Frankle and Carbin, The Lottery Ticket Hypothesis, ICLR 2019.

    >>> ticket = Ticket(Masks({"w": torch.tensor([True, False])}), {"w": torch.tensor([3.0, 4.0])})
    >>> reinitialised(ticket, {"w": torch.tensor([5.0, 6.0])}).weights
    {'w': tensor([5., 6.])}
    """
    return _control(ticket, "reinitialised", LTH, weights=fresh_weights(ticket, fresh), whole=True)


def shuffled_masks(ticket: Ticket, seed: int, fresh: Mapping[str, Tensor] | None = None) -> Ticket:
    """The same weights with every mask's entries in random order: does it matter which entries of a tensor are kept?

    Args:
        ticket: one with its dense rewound weights.
        seed: of the shuffle.
        fresh: weights to use instead of the ticket's own.

    Raises:
        TicketError: the weights of the pruned entries are gone, as after a plain save and load.

    References:
        Frankle et al., Pruning Neural Networks at Initialization: Why Are We Missing the Mark?, ICLR 2021.

    >>> ticket = Ticket(Masks({"w": torch.arange(8) < 4}), {"w": torch.arange(1.0, 9.0)})
    >>> shuffled_masks(ticket, seed=0).masks.counts()
    {'w': (4, 8)}
    """
    weights = dense_weights(ticket, "shuffled_masks") if fresh is None else fresh_weights(ticket, fresh)
    masks, whole = random_masks(ticket.masks, seed, {}), fresh is not None
    return _control(ticket, "shuffled_masks", MISSING, seed=seed, masks=masks, weights=weights, whole=whole)


def random_ticket(
    ticket: Ticket,
    seed: int,
    fresh: Mapping[str, Tensor] | None = None,
    structure: Structure | Mapping[str, Structure] | None = None,
    groups: Mapping[str, Tensor] | None = None,
) -> Ticket:
    """Random masks of the same structure that keep as many entries of every tensor: is searching worth it?

    Args:
        ticket: any ticket; without fresh weights, one with its dense rewound weights.
        seed: of the masks.
        fresh: the whole state_dict of a newly built model; None keeps the ticket's own weights.
        structure: what lives or dies as one (channels, blocks, n of m, tied edge pairs); one for all tensors or one a
            name; None for single entries. Groups change places with groups of their size, so counts stay exact.
        groups: instead of a structure, name to a long tensor of the mask's shape: entries with one number are a group.
            Numbers of its last dimensions alone, (E,) of (depth, E) say, move a group with its mask in every row.

    Raises:
        TicketError: the weights are gone, or the ticket's masks split a group.

    References:
        Frankle and Carbin, The Lottery Ticket Hypothesis, ICLR 2019.

    >>> ticket = Ticket(Masks({"e": torch.tensor([True, True, False, False])}), {"e": torch.ones(4)})
    >>> random_ticket(ticket, seed=1, groups={"e": torch.tensor([0, 0, 1, 1])}).masks.counts()
    {'e': (2, 4)}
    """
    shared = (
        {}
        if structure is None
        else structure
        if isinstance(structure, Mapping)
        else dict.fromkeys(ticket.masks, structure)
    )
    masks = random_masks(ticket.masks, seed, {**shared, **(groups or {})})
    weights = dense_weights(ticket, "random_ticket") if fresh is None else fresh_weights(ticket, fresh)
    whole = fresh is not None
    return _control(ticket, "random_ticket", LTH, seed=seed, masks=masks, weights=weights, whole=whole)


def shuffled_weights(ticket: Ticket, seed: int) -> Ticket:
    """The same masks with the kept weights of every masked tensor in random order.

    Args:
        ticket: any ticket.
        seed: of the shuffle.

    References:
        Zhou et al., Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask, NeurIPS 2019.

    >>> ticket = Ticket(Masks({"w": torch.tensor([True, True, False])}), {"w": torch.tensor([3.0, 4.0, 5.0])})
    >>> sorted(shuffled_weights(ticket, seed=1).weights["w"][:2].tolist())
    [3.0, 4.0]
    """
    generator = torch.Generator().manual_seed(seed)

    def shuffle(_: str, kept: Tensor) -> Tensor:
        return kept[torch.randperm(kept.numel(), generator=generator).to(kept.device)]

    return _control(ticket, "shuffled_weights", ZHOU, seed=seed, weights=with_kept(ticket, shuffle))


def signs_only(ticket: Ticket, fresh: Mapping[str, Tensor]) -> Ticket:
    """Fresh magnitudes under the old signs: w' = sign(w) |w_fresh| at every kept entry.

    Args:
        ticket: any ticket; its other tensors stay.
        fresh: the whole state_dict of a newly built model.

    Raises:
        TicketError: a tensor of the ticket is missing from the fresh state, or has another shape.

    References:
        Zhou et al., Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask, NeurIPS 2019.

    >>> ticket = Ticket(Masks({"w": torch.tensor([True, True])}), {"w": torch.tensor([-3.0, 4.0])})
    >>> signs_only(ticket, {"w": torch.tensor([0.5, -0.25])}).weights
    {'w': tensor([-0.5000,  0.2500])}
    """
    state = fresh_weights(ticket, fresh)

    def sign(name: str, kept: Tensor) -> Tensor:
        magnitudes = state[name].to(kept.device)[ticket.masks[name].to(kept.device)]
        return torch.copysign(magnitudes, kept)

    return _control(ticket, "signs_only", ZHOU, weights=with_kept(ticket, sign))


def constant_sign(ticket: Ticket, fresh: Mapping[str, Tensor] | None = None) -> Ticket:
    """One magnitude a tensor under the old signs: w' = sign(w) s, s the deviation of the tensor's initial weights.

    Initial weights have mean zero, so s is their root mean square, over all entries.

    Args:
        ticket: one with its dense rewound weights.
        fresh: a freshly built model's state_dict to take s from instead, as after a plain save and load.

    Raises:
        TicketError: neither dense nor fresh weights are there.

    References:
        Zhou et al., Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask, NeurIPS 2019.

    >>> ticket = Ticket(Masks({"w": torch.tensor([True, True, False])}), {"w": torch.tensor([-2.0, 2.0, 1.0])})
    >>> constant_sign(ticket).weights
    {'w': tensor([-1.7321,  1.7321,  1.0000])}
    """
    state = dense_weights(ticket, "constant_sign") if fresh is None else fresh_weights(ticket, fresh)

    def constant(name: str, kept: Tensor) -> Tensor:
        return torch.copysign(state[name].to(kept).square().mean().sqrt(), kept)

    return _control(ticket, "constant_sign", ZHOU, weights=with_kept(ticket, constant))


def inverted(ticket: Ticket) -> Ticket:
    """The complement: exactly the entries that the ticket pruned, at their rewound weights.

    Args:
        ticket: one with its dense rewound weights.

    Raises:
        TicketError: the weights of the pruned entries are gone, as after a plain save and load.

    References:
        Frankle et al., Pruning Neural Networks at Initialization: Why Are We Missing the Mark?, ICLR 2021 (which
        inverts the scores at the same density).

    >>> ticket = Ticket(Masks({"w": torch.tensor([True, False])}), {"w": torch.tensor([3.0, 4.0])})
    >>> inverted(ticket).masks
    {'w': tensor([False,  True])}
    """
    return _control(ticket, "inverted", MISSING, masks=~ticket.masks, weights=dense_weights(ticket, "inverted"))


def _control(
    ticket: Ticket,
    name: str,
    reference: str,
    *,
    seed: int | None = None,
    masks: Masks | None = None,
    weights: dict[str, Tensor],
    whole: bool = False,
) -> Ticket:
    note: dict[str, Any] = {
        "call": f"common.study.controls.{name}",
        "arguments": {} if seed is None else {"seed": seed},
    }
    return replace(
        ticket,
        masks=ticket.masks if masks is None else masks,
        weights=weights,
        recipe=ticket.recipe | {"controls": [*ticket.recipe.get("controls", []), note]},
        metrics={},
        seeds=ticket.seeds if seed is None else [*ticket.seeds, seed],
        parent=ticket.digest,
        references=list(dict.fromkeys([*ticket.references, reference])),
        trained=None,
        whole=ticket.whole or whole,
    )

"""Random tickets of the structure that a method prunes by: entries, inner channels, two of four, scales with shifts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from common.masks import Masks
from common.structure import n_of_m
from common.study.controls import random_ticket
from common.ticket import Ticket
from common.ticket_file import TicketError
from gen_tickets.inner import Block, kept_of, masks, shuffled

__all__ = ["INNER", "NORMS", "TWO_OF_FOUR", "random_like"]

INNER, NORMS, TWO_OF_FOUR = "inner channels", "batchnorm", "2:4"


def random_like(ticket: Ticket, seed: int, fresh: Mapping[str, Tensor] | None = None) -> Ticket:
    """A random ticket that prunes what the given one prunes, as its recipe's `structure` says.

    Args:
        ticket: of a search; tensors that it keeps whole stay whole.
        seed: of the masks.
        fresh: the whole state_dict to begin with; None keeps the ticket's own weights.

    Raises:
        TicketError: the recipe names a structure that there is none of.

    >>> import torch
    >>> on = torch.tensor([True, False, True, False])
    >>> weights = {"0.weight": torch.ones(4), "0.bias": torch.ones(4)}
    >>> bird = Ticket(Masks({"0.weight": on, "0.bias": on}), weights, recipe={"structure": "batchnorm"})
    >>> drawn = random_like(bird, 1).masks
    >>> drawn.counts()["0.bias"], torch.equal(drawn["0.weight"], drawn["0.bias"])
    ((2, 4), True)
    """
    named = ticket.recipe.get("structure")
    if isinstance(named, str) and named not in (INNER, NORMS, TWO_OF_FOUR):
        raise TicketError(
            f"found a ticket of the structure {named!r}; expected one of {INNER}, {NORMS}, {TWO_OF_FOUR}. It "
            "was made by another version: find it again with --fresh"
        )
    sparse = [name for name, mask in ticket.masks.items() if not bool(mask.all())]
    structure = dict.fromkeys(sparse, n_of_m(2, 4)) if named == TWO_OF_FOUR else None
    drawn = random_ticket(ticket, seed, fresh, structure)
    if named == INNER:
        among = [Block(name, *sizes) for name, sizes in ticket.recipe["blocks"].items()]
        return replace(drawn, masks=masks(ticket.masks, among, shuffled(kept_of(ticket.masks, among), seed)))
    if named == NORMS:  # a channel goes with its scale and its shift, or stays with both
        both = {
            name: drawn.masks.get(f"{name.removesuffix('.bias')}.weight", mask) for name, mask in drawn.masks.items()
        }
        return replace(drawn, masks=Masks(both))
    return drawn

"""Whether a ticket still has its pruned weights: by where it comes from, not by how many zeros it holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from common.masks import Masks
from common.search import Rewind, tickets
from common.study import controls
from common.study.variants import dense_weights
from common.ticket import Ticket, TicketError

State = dict[str, Tensor]


def some_zero() -> Ticket:
    """A tensor as drawn, one initialised to zero, and one with a row of zeros that are pruned."""
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(20, 20, generator=generator) for name in ("drawn", "zero", "row")}
    weights["zero"].zero_()
    weights["row"][0] = 0
    masks = Masks({name: torch.rand(20, 20, generator=generator) < 0.3 for name in weights})
    masks["row"][0] = False
    return Ticket(masks, weights)


def test_a_ticket_that_was_never_saved_may_hold_zeros(tmp_path: Path) -> None:
    ticket = some_zero()
    assert dense_weights(ticket, "inverted") is ticket.weights
    for again in (ticket, Ticket.load(ticket.save(tmp_path, dense_weights=True))):
        assert again.whole
        assert controls.inverted(again).masks.kept == ticket.masks.total - ticket.masks.kept
        assert controls.shuffled_masks(again, 0).whole


def test_a_plainly_saved_ticket_is_refused_however_it_is_saved_again(tmp_path: Path) -> None:
    once = Ticket.load(some_zero().save(tmp_path / "once"))
    twice = Ticket.load(once.save(tmp_path / "twice", dense_weights=True))
    for compact in (once, twice, controls.shuffled_weights(once, 1)):
        assert not compact.whole
        with pytest.raises(TicketError, match=r"inverted needs the rewound weights.*found (\d+) of \1 zero"):
            controls.inverted(compact)
    fresh = {name: torch.randn(20, 20) for name in once.weights}
    for control in (
        controls.reinitialised(once, fresh),
        controls.shuffled_masks(once, 0, fresh),
        controls.random_ticket(once, 0, fresh),
    ):
        assert control.whole
        assert torch.equal(controls.inverted(control).weights["drawn"], fresh["drawn"])


def test_weights_of_a_pruned_model_are_refused_without_having_been_saved() -> None:
    ticket = some_zero()
    pruned = {name: w.masked_fill(~ticket.masks[name], 0) for name, w in ticket.weights.items()}
    with pytest.raises(TicketError, match="dense_weights=True"):
        controls.inverted(replace(ticket, weights=pruned))


def test_a_ticket_without_pruned_entries_is_whole_on_disk(tmp_path: Path) -> None:
    dense = Ticket(Masks({"w": torch.ones(2)}), {"w": torch.zeros(2)})
    assert Ticket.load(dense.save(tmp_path)).whole


def test_trained_weights_that_a_search_kept_are_refused_from_the_second_pruning_on() -> None:
    torch.manual_seed(0)
    model = nn.Linear(8, 8, bias=False)
    first, second, third = tickets(model, lambda *_: {}, [1.0, 0.5, 0.25], steps=1, rewind=Rewind.learning_rate())
    assert controls.inverted(first).masks.kept == 0
    assert controls.inverted(second).masks.kept == 32
    with pytest.raises(TicketError, match="found 32 of 48 zero"):
        controls.inverted(third)

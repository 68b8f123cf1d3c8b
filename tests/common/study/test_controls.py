"""Controls change what they say and nothing else; literal tensors, and counts for any mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.masks import Masks
from common.structure import blocks, channels, n_of_m
from common.study import controls
from common.ticket import Ticket, TicketError

MASK = torch.tensor([[True, True, False], [False, True, False]])
WEIGHT = torch.tensor([[-1.0, 2.0, -3.0], [4.0, -5.0, 6.0]])
FRESH = {"w": torch.tensor([[0.1, -0.2, 0.3], [0.4, 0.5, 0.6]]), "b": torch.tensor([9.0])}


def ticket() -> Ticket:
    weights = {"w": WEIGHT.clone(), "b": torch.tensor([7.0])}
    return Ticket(
        Masks({"w": MASK}), weights, {"steps": 5}, {"accuracy": 0.9}, [1], references=["A"], trained=dict(weights)
    )


def large(seed: int, density: float) -> Ticket:
    generator = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(12, 11, generator=generator) for name in ("a", "b")}
    return Ticket(Masks({n: torch.rand(12, 11, generator=generator) < density for n in weights}), weights)


EVERY: dict[str, Callable[[Ticket], Ticket]] = {
    "reinitialised": lambda t: controls.reinitialised(t, FRESH),
    "shuffled_masks": lambda t: controls.shuffled_masks(t, 4),
    "shuffled_weights": lambda t: controls.shuffled_weights(t, 4),
    "signs_only": lambda t: controls.signs_only(t, FRESH),
    "constant_sign": lambda t: controls.constant_sign(t),
    "random_ticket": lambda t: controls.random_ticket(t, 4),
    "inverted": lambda t: controls.inverted(t),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_control_says_where_it_comes_from_and_changes_no_input(name: str) -> None:
    original, untouched = ticket(), ticket()
    control = EVERY[name](original)
    assert control.parent == original.digest == untouched.digest
    assert control.recipe["steps"] == 5
    (note,) = control.recipe["controls"]
    assert note["call"] == f"common.study.controls.{name}"
    assert control.seeds == ([1, 4] if "seed" in note["arguments"] else [1])
    assert (control.metrics, control.trained) == ({}, None)
    assert control.references[0] == "A"
    assert len(control.references) == 2
    assert torch.equal(original.weights["w"], WEIGHT)
    assert torch.equal(original.masks["w"], MASK)


def test_literal_weights() -> None:
    assert controls.reinitialised(ticket(), FRESH).weights["b"].tolist() == [9.0]
    signs = controls.signs_only(ticket(), FRESH).weights
    torch.testing.assert_close(signs["w"], torch.tensor([[-0.1, 0.2, -3.0], [4.0, -0.5, 6.0]]))
    assert signs["b"].tolist() == [7.0]
    size = (91 / 6) ** 0.5  # the root mean square of 1..6
    constant = controls.constant_sign(ticket()).weights["w"]
    torch.testing.assert_close(constant, torch.tensor([[-size, size, -3.0], [4.0, -size, 6.0]]))
    assert controls.inverted(ticket()).masks["w"].tolist() == [[False, False, True], [True, False, True]]
    assert torch.equal(controls.inverted(ticket()).weights["w"], WEIGHT)


def test_shuffled_weights_keep_their_values_and_places() -> None:
    original = large(0, 0.5)
    shuffled = controls.shuffled_weights(original, 3)
    for name, mask in original.masks.items():
        before, after = original.weights[name], shuffled.weights[name]
        assert torch.equal(before[~mask], after[~mask])
        assert not torch.equal(before[mask], after[mask])
        assert torch.equal(before[mask].sort().values, after[mask].sort().values)
        assert shuffled.masks[name] is mask


@given(seed=st.integers(0, 50), density=st.floats(0.1, 0.9))
def test_random_masks_change_and_keep_the_counts_of_every_tensor(seed: int, density: float) -> None:
    original = large(seed, density)
    for make in (controls.shuffled_masks, controls.random_ticket):
        control = make(original, seed)
        assert control.masks.counts() == original.masks.counts()
        assert control.masks.distance(original.masks) > 0
        assert control.masks.distance(make(original, seed).masks) == 0
        assert control.masks.distance(make(original, seed + 1).masks) > 0
        assert all(control.weights[n] is w for n, w in original.weights.items())


@given(seed=st.integers(0, 50), data=st.data())
def test_edge_pairs_live_and_die_together(seed: int, data: st.DataObject) -> None:
    ids = torch.tensor(data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=20)))
    alive = torch.tensor(data.draw(st.lists(st.booleans(), min_size=7, max_size=7)))
    original = Ticket(Masks({"edges": alive[ids]}), {"edges": torch.ones(len(ids))})
    mask = controls.random_ticket(original, seed, groups={"edges": ids}).masks["edges"]
    assert int(mask.sum()) == original.masks.kept
    assert all(len(set(mask[ids == group].tolist())) == 1 for group in ids.unique())


def test_groups_of_the_last_dimension_move_with_all_that_the_first_ones_hold() -> None:
    ids = torch.tensor([0, 0, 1, 1, 2, 2, 3])
    mask = torch.tensor([[True, True, True, True, False, False, True], [False, False, True, True, False, False, False]])
    original = Ticket(Masks({"edges": mask}), {"edges": torch.ones(2, 7)})
    found = set()
    for seed in range(20):
        drawn = controls.random_ticket(original, seed, groups={"edges": ids}).masks["edges"]
        assert drawn[:, 6].tolist() == [True, False]  # alone of its size
        columns = [tuple(drawn[:, place].tolist()) for place in range(6)]
        assert columns[::2] == columns[1::2]
        assert sorted(columns[::2]) == [(False, False), (True, False), (True, True)]
        found.add(tuple(columns))
    assert len(found) == 6
    whole = torch.tensor(True)  # a tensor without dimensions is a group of one
    one = Ticket(Masks({"e": whole}), {"e": torch.tensor(1.0)})
    assert controls.random_ticket(one, 0, groups={"e": torch.tensor(0)}).masks["e"] == whole
    with pytest.raises(TicketError, match=r"found shape \(\), expected the mask's \(2, 7\)"):
        controls.random_ticket(original, 0, groups={"edges": torch.tensor(0)})
    half = torch.tensor([[True, False]])
    with pytest.raises(TicketError, match="keeps a part of 1 groups"):
        controls.random_ticket(Ticket(Masks({"e": half}), {"e": torch.ones(1, 2)}), 0, groups={"e": ids[:2]})


def test_channels_and_blocks_move_as_one() -> None:
    mask = (torch.arange(9) < 3)[:, None].expand(9, 4)
    original = Ticket(Masks({"w": mask}), {"w": torch.ones(9, 4)})
    for structure in (channels(), {"w": channels()}, blocks(1, 4)):
        drawn = controls.random_ticket(original, 1, structure=structure).masks["w"]
        assert sorted(drawn.sum(1).tolist()) == [0, 0, 0, 0, 0, 0, 4, 4, 4]
        assert not torch.equal(drawn, mask)


def test_two_of_four_stays_two_of_four() -> None:
    mask = torch.tensor([True, True, False, False]).repeat(6, 3)
    original = Ticket(Masks({"w": mask}), {"w": torch.ones(6, 12)})
    drawn = controls.random_ticket(original, 1, structure=n_of_m(2, 4)).masks["w"]
    assert drawn.reshape(-1, 4).sum(1).tolist() == [2] * 18
    assert not torch.equal(drawn, mask)
    mask[0, 0] = False
    with pytest.raises(TicketError, match="keeps 35 of 72 entries"):
        controls.random_ticket(replace(original, masks=Masks({"w": mask})), 1, structure=n_of_m(2, 4))


def test_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TicketError, match="keeps a part of 2 groups"):
        controls.random_ticket(ticket(), 0, structure=channels())
    with pytest.raises(TicketError, match=r"found shape \(2,\), expected the mask's \(2, 3\)"):
        controls.random_ticket(ticket(), 0, groups={"w": torch.tensor([0, 1])})


def test_fresh_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TicketError, match=r"'b': found nothing, expected the shape \(1,\)"):
        controls.reinitialised(ticket(), {"w": WEIGHT})
    with pytest.raises(TicketError, match=r"'w': found \(3, 2\), expected the shape \(2, 3\)"):
        controls.signs_only(ticket(), FRESH | {"w": WEIGHT.T})


@pytest.mark.parametrize("name", ["inverted", "shuffled_masks", "random_ticket", "constant_sign"])
def test_a_plainly_reloaded_ticket_has_lost_its_pruned_weights(tmp_path: Path, name: str) -> None:
    compact = Ticket.load(ticket().save(tmp_path / "compact"))
    with pytest.raises(TicketError, match=f"{name} needs .* found 3 of 3 zero.*dense_weights=True"):
        EVERY[name](compact)
    whole = Ticket.load(ticket().save(tmp_path / "whole", dense_weights=True))
    assert EVERY[name](whole).digest == EVERY[name](ticket()).digest


def test_fresh_weights_replace_lost_ones(tmp_path: Path) -> None:
    compact = Ticket.load(ticket().save(tmp_path))
    for control in (controls.random_ticket(compact, 2, FRESH), controls.shuffled_masks(compact, 2, FRESH)):
        assert torch.equal(control.weights["w"], FRESH["w"])
        assert control.masks.kept == 3
    size = float(FRESH["w"].square().mean().sqrt())
    constant = controls.constant_sign(compact, FRESH).weights["w"]
    torch.testing.assert_close(constant, torch.tensor([[-size, size, 0.0], [0.0, -size, 0.0]]))


def test_controls_compose() -> None:
    both = controls.shuffled_weights(controls.reinitialised(ticket(), FRESH), 2)
    assert [note["call"].rsplit(".")[-1] for note in both.recipe["controls"]] == ["reinitialised", "shuffled_weights"]
    assert both.parent == controls.reinitialised(ticket(), FRESH).digest


def test_weights_that_are_zero_everywhere_are_not_taken_for_lost() -> None:
    zero = replace(ticket(), weights={"w": torch.zeros(2, 3), "b": torch.zeros(1)})
    assert controls.inverted(zero).masks.kept == 3


def test_every_control_is_listed_here() -> None:
    assert sorted(EVERY) == sorted(controls.__all__)

"""What a search carries from round to round: bounds of groups, structures, and agreement between processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from common.masks import Masks
from common.search import Density, Rewind, tickets
from common.structure import channels
from common.ticket import Ticket


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))


def train(model: nn.Module, start: int, stop: int) -> dict[str, float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(start, stop):
        optimizer.zero_grad()
        model(torch.eye(4)).square().mean().backward()
        optimizer.step()
    return {}


ROUNDS: list[Density] = [{"0.*": 0.5}, {"2.*": 0.5}, {"0.*": 1.0}]
RISES = r"density of 0\.weight rises from 0\.5 to 1\.0"


def test_groups_of_earlier_rounds_bind_a_search_that_goes_on(tmp_path: Path) -> None:
    whole = tickets(network(), train, ROUNDS, steps=2)
    found = [next(whole), next(whole)]
    with pytest.raises(ValueError, match=RISES):
        next(whole)
    assert found[1].recipe["density"] == {"2.*": 0.5}
    for start in (found[1], Ticket.load(found[1].save(tmp_path))):
        with pytest.raises(ValueError, match=RISES):
            list(tickets(network(), train, ROUNDS[2:], steps=2, start=start))
        (third,) = tickets(network(), train, [{"0.*": 0.5, "2.*": 0.25}], steps=2, start=start)
        assert third.masks.counts() == {"0.weight": (8, 16), "2.weight": (4, 16)}
        (third,) = tickets(network(), train, [0.5], steps=2, start=start)
        assert third.masks.counts() == {"0.weight": (8, 16), "2.weight": (8, 16)}
        with pytest.raises(ValueError, match=r"rises from 0\.5 to 0\.6"):
            list(tickets(network(), train, [0.6], steps=2, start=third))


def test_the_structure_of_a_search_is_the_structure_of_its_masks() -> None:
    (rows,) = tickets(network(), train, [0.5], steps=2, structure=channels())
    for mask in rows.masks.values():
        assert all(len(set(row)) == 1 for row in mask.tolist())
    assert rows.masks.kept == 16
    (mixed,) = tickets(network(), train, [{"0.*": 0.5, "2.*": 0.5}], steps=2, structure={"0.weight": channels()})
    assert mixed.masks["0.weight"].all(1).sum() == 2
    assert bool((mixed.masks["2.weight"].any(1) & ~mixed.masks["2.weight"].all(1)).any())


def test_every_round_checks_that_the_ranks_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []

    def refuse(masks: Masks) -> None:
        checked.append(masks.kept)
        if masks.kept == 8:
            raise RuntimeError("the ranks hold different masks")

    monkeypatch.setattr("common.search.agree_across_ranks", refuse)
    search = tickets(network(), train, [1.0, 0.5, 0.25], steps=2)
    assert [next(search).masks.kept, next(search).masks.kept] == [32, 16]
    with pytest.raises(RuntimeError, match="different masks"):
        next(search)
    assert checked == [16, 8]


@pytest.mark.parametrize(
    ("rewind", "whole"), [(Rewind.initial(), [True] * 3), (Rewind.learning_rate(), [True, True, False])], ids=str
)
def test_a_ticket_knows_whether_its_pruned_weights_are_there(rewind: Rewind, whole: list[bool]) -> None:
    assert [t.whole for t in tickets(network(), train, [1.0, 0.5, 0.25], steps=2, rewind=rewind)] == whole


@pytest.mark.filterwarnings("ignore:Initializing zero-element:UserWarning")
def test_a_model_with_empty_tensors_can_be_searched() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 0))
    (ticket,) = tickets(model, lambda *_: {}, [0.5], steps=1)
    assert ticket.masks.counts() == {"0.weight": (6, 12)}

"""Transfer puts every mask where it belongs, starts from the model's weights, and names what does not fit."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from common.masks import Masks
from common.rewind import snapshot
from common.study.controls import random_ticket
from common.study.transfer import transfer
from common.ticket import Ticket, TicketError

ENCODER = torch.tensor([[True, False]])
DECODER = torch.tensor([[True], [False], [True]])


class Pair(nn.Module):
    """Two parts of any names; the second is a linear layer and a normalisation."""

    def __init__(self, first: str, second: str, outputs: int = 3) -> None:
        super().__init__()
        self.add_module(first, nn.Linear(2, 1))
        self.add_module(second, nn.Sequential(nn.Linear(1, outputs), nn.BatchNorm1d(outputs)))


def vae(outputs: int = 3, seed: int = 0) -> Pair:
    torch.manual_seed(seed)
    return Pair("encoder", "decoder", outputs)


def gan(outputs: int = 3, seed: int = 1) -> Pair:
    torch.manual_seed(seed)
    return Pair("discriminator", "generator", outputs)


def found() -> Ticket:
    masks = Masks({"encoder.weight": ENCODER, "decoder.0.weight": DECODER})
    return Ticket(
        masks, snapshot(vae()), {"find": "a VAE"}, {"loss": 1.0}, [7], references=["A"], trained=snapshot(vae())
    )


def test_masks_land_in_the_other_part_and_the_rest_is_dense() -> None:
    model = gan()
    moved = transfer(found(), model, source="decoder", target="generator")
    assert list(moved.masks) == ["generator.0.weight"]
    assert torch.equal(moved.masks["generator.0.weight"], DECODER)
    assert all(torch.equal(value, moved.weights[name]) for name, value in model.state_dict().items())
    moved.apply(model)
    assert model.generator[0].weight.flatten().ne(0).tolist() == [True, False, True]
    assert int((model.discriminator.weight == 0).sum()) == 0


def test_there_and_back_are_the_same_masks() -> None:
    there = transfer(found(), gan(), source="decoder", target="generator")
    back = transfer(there, vae(), source="generator", target="decoder")
    assert list(back.masks) == ["decoder.0.weight"]
    assert torch.equal(back.masks["decoder.0.weight"], DECODER)
    assert back.parent == there.digest


def test_where_a_ticket_comes_from_is_kept(tmp_path: Path) -> None:
    original = found()
    moved = transfer(original, gan(), source="decoder", target="generator")
    assert (moved.parent, moved.seeds, moved.metrics, moved.trained) == (original.digest, [7], {}, None)
    assert moved.recipe["source"] == {"find": "a VAE"}
    assert moved.recipe["transfer"]["call"] == "common.study.transfer.transfer"
    assert moved.recipe["transfer"]["arguments"]["target"] == "generator"
    assert [reference.split(",")[0] for reference in moved.references] == ["A", "Kalibhat et al."]
    assert transfer(original, vae(seed=5)).references[1].startswith("Morcos et al., One Ticket to Win Them All")
    again = Ticket.load(moved.save(tmp_path))
    assert (again.digest, again.recipe) == (moved.digest, moved.recipe)
    again.verify(gan())


def test_neither_ticket_nor_model_changes_and_the_result_holds_copies() -> None:
    original, model = found(), gan()
    before, state = original.digest, copy.deepcopy(model.state_dict())
    moved = transfer(original, model, source="decoder", target="generator", weights=True)
    moved.weights["generator.0.weight"].fill_(9.0)
    moved.weights["discriminator.weight"].fill_(9.0)
    assert found().digest == before
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(original.weights["decoder.0.weight"], vae().state_dict()["decoder.0.weight"])


def test_weights_and_statistics_of_the_part_come_along_if_asked_for() -> None:
    original, model = found(), gan()
    original.weights["decoder.1.running_mean"].fill_(5.0)
    moved = transfer(original, model, source="decoder", target="generator", weights=True)
    for name, value in moved.weights.items():
        part, _, rest = name.partition(".")
        expected = original.weights[f"decoder.{rest}"] if part == "generator" else model.state_dict()[name]
        assert torch.equal(value, expected), name
    assert moved.whole
    assert not transfer(Ticket(original.masks, original.weights, whole=False), vae(), weights=True).whole
    assert transfer(Ticket(original.masks, original.weights, whole=False), vae(seed=3)).whole


def test_a_whole_ticket_goes_to_a_model_of_its_own_kind() -> None:
    moved = transfer(found(), vae(seed=5))
    assert moved.masks.digests() == found().masks.digests()
    assert torch.equal(moved.weights["encoder.weight"], vae(seed=5).encoder.weight)
    part = transfer(found(), vae(seed=5), source="decoder")
    assert list(part.masks) == ["decoder.0.weight"]


def test_what_does_not_fit_is_named_in_one_error() -> None:
    with pytest.raises(TicketError) as error:
        transfer(found(), vae(outputs=4))
    assert (
        "1 of 2 tensors do not fit: decoder.0.weight (3, 1) in the ticket, decoder.0.weight (4, 1) in the model"
        in str(error.value)
    )
    assert "skip_mismatched=True" in str(error.value)
    with pytest.raises(TicketError, match=r"6 of 9 tensors do not fit: .*decoder\.1\.bias \(3,\) .*; and 1 more\. "):
        transfer(found(), vae(outputs=4), weights=True)
    with pytest.raises(TicketError, match=r"1 of 1 .*critic\.0\.weight missing in the model\. .*name the right parts"):
        transfer(found(), gan(), source="decoder", target="critic", skip_mismatched=True)
    with pytest.raises(
        TicketError, match="no mask in the part 'generator' of the ticket; it has masks in encoder, dec"
    ):
        transfer(found(), gan(), source="generator", target="decoder")


@pytest.mark.parametrize("weights", [False, True])
def test_what_does_not_fit_can_stay_dense(weights: bool) -> None:
    model = vae(outputs=4, seed=5)
    moved = transfer(found(), model, weights=weights, skip_mismatched=True)
    assert list(moved.masks) == ["encoder.weight"]
    assert moved.recipe["transfer"]["left_dense"] == ["decoder.0.weight"]
    moved.verify(model)
    assert torch.equal(moved.weights["decoder.0.weight"], model.decoder[0].weight)
    assert torch.equal(moved.weights["encoder.weight"], (vae() if weights else model).encoder.weight)


def test_a_tied_tensor_keeps_one_value() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    source = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False)})
    ticket = Ticket(Masks({"a.weight": torch.eye(2).bool()}), snapshot(source))
    moved = transfer(ticket, model, weights=True)
    assert moved.tied == {"b.weight": "a.weight"}
    assert torch.equal(moved.weights["b.weight"], source["a"].weight)


def test_controls_of_a_transferred_ticket_keep_its_counts_and_its_weights() -> None:
    moved = transfer(found(), gan(), source="decoder", target="generator")
    random = random_ticket(moved, seed=3)
    assert random.masks.counts() == moved.masks.counts()
    assert torch.equal(random.weights["generator.0.weight"], gan().generator[0].weight)
    assert random.recipe["transfer"] == moved.recipe["transfer"]


def test_types_follow_the_model() -> None:
    moved = transfer(found(), gan().double(), source="decoder", target="generator", weights=True)
    assert moved.weights["generator.0.weight"].dtype is torch.float64
    moved.verify(gan().double())

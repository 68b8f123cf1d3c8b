"""Inner channels of residual blocks leave for good, as large a share of each block, and nothing else changes."""

from __future__ import annotations

import diffusers
import pytest
import torch
from torch import nn

from common.masks import Masks
from common.sparse.slim import slim
from common.ticket import Ticket
from common.ticket_file import TicketError
from gen_tickets import inner
from gen_tickets._controls import INNER, random_like
from gen_tickets.inner import Block
from gen_tickets.models import build
from gen_tickets.networks import Network

INPUTS = Network("ddpm", "tiny", (1, 8, 8)).inputs(3)


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.dim() in (2, 4)}


def pruned(model: nn.Module, density: float) -> Masks:
    among, params = inner.blocks(model), weights(model)
    scores = inner.pooled({name: p.abs() for name, p in params.items()}, among)
    return inner.masks(params, among, inner.best(scores, params, among, density))


def unet() -> nn.Module:
    """With biases and shifts that are not zero."""
    torch.manual_seed(0)
    model = build("ddpm", "tiny").eval()
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("density", [0.9, 0.6])
def test_a_slimmed_unet_has_lost_what_the_masks_prune_and_computes_the_same(density: float) -> None:
    model = unet()
    masks = pruned(model, density)
    assert masks.density == pytest.approx(density, abs=0.01)
    small = slim(model, masks, INPUTS)
    gone = small.report.parameters_before - small.report.parameters_after
    assert masks.total - masks.kept <= gone <= 1.05 * (masks.total - masks.kept)  # with biases and normalisations
    assert small.report.macs_after < small.report.macs_before
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
        assert torch.allclose(model(*INPUTS).sample, small.model(*INPUTS).sample, atol=1e-5)


def test_groups_are_scored_by_the_sum_over_all_that_goes_with_them() -> None:
    shapes = {"b.conv1.weight": torch.rand(6, 2, 3, 3), "b.conv2.weight": torch.rand(5, 6, 3, 3),
              "b.time_emb_proj.weight": torch.rand(12, 4), "outside": torch.rand(7, 7)}  # fmt: skip
    found = inner.pooled(shapes, [Block("b", 6, 3)])["b"]
    first, second, time, _ = shapes.values()  # a scale and a shift of six channels each
    by_hand = first[2:4].sum() + second[:, 2:4].sum() + time[2:4].sum() + time[8:10].sum()
    assert found[1] == pytest.approx(float(by_hand), rel=1e-5)
    assert float(found.sum()) == pytest.approx(float(first.sum() + second.sum() + time.sum()), rel=1e-5)
    masks = inner.masks(shapes, [Block("b", 6, 3)], {"b": torch.tensor([True, False, True])})
    assert masks["b.time_emb_proj.weight"].all(1).int().tolist() == [1, 1, 0, 0, 1, 1] * 2
    assert bool(masks["outside"].all())
    assert inner.kept_of(masks, [Block("b", 6, 3)])["b"].tolist() == [True, False, True]


def test_blocks_keep_equal_shares_of_their_best_groups_and_never_none() -> None:
    among = [Block("a", 4, 4), Block("b", 8, 4)]
    shapes = {"a.conv1.weight": torch.ones(4, 1, 1, 1), "b.conv1.weight": torch.ones(8, 1, 1, 1)}
    scores = {"a": torch.tensor([1.0, 9.0, 3.0, 2.0]), "b": torch.tensor([0.4, 0.3, 0.2, 0.1])}
    half = inner.best(scores, shapes, among, 0.5)
    assert {name: alive.int().tolist() for name, alive in half.items()} == {"a": [0, 1, 1, 0], "b": [1, 1, 0, 0]}
    assert inner.least(shapes, among) == pytest.approx(0.25)
    assert [int(alive.sum()) for alive in inner.best(scores, shapes, among, 0.01).values()] == [1, 1]
    assert all(bool(alive.all()) for alive in inner.best(scores, shapes, among, 1.0).values())


def test_a_random_ticket_has_as_many_groups_of_every_block_and_slims_as_well() -> None:
    model = unet()
    masks = pruned(model, 0.6)
    recipe = {"structure": INNER, "blocks": {one.name: [one.channels, one.groups] for one in inner.blocks(model)}}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = random_like(Ticket(masks, state, recipe=recipe), 1).masks
    assert drawn.counts() == masks.counts()
    assert any(not torch.equal(drawn[name], mask) for name, mask in masks.items())
    after = [slim(model, one, INPUTS).report.parameters_after for one in (masks, drawn)]
    assert after[0] == after[1]


def test_a_random_ticket_of_an_unknown_structure_is_refused() -> None:
    on = torch.ones(2, 2, dtype=torch.bool)
    with pytest.raises(TicketError, match="structure 'channels'; expected one of inner channels"):
        random_like(Ticket(Masks({"w": on}), {"w": torch.ones(2, 2)}, recipe={"structure": "channels"}), 0)


def test_scale_and_shift_of_the_time_embedding_go_with_their_channels() -> None:
    model = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16), norm_num_groups=4,
        layers_per_block=1, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
        resnet_time_scale_shift="scale_shift",
    ).eval()  # fmt: skip
    masks = pruned(model, 0.6)
    rows = masks["down_blocks.0.resnets.0.time_emb_proj.weight"].any(1)
    assert torch.equal(rows[:8], rows[8:])
    assert torch.equal(rows[:8], masks["down_blocks.0.resnets.0.conv2.weight"].any(-1).any(-1).any(0))

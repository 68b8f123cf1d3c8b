"""Projection onto the L0 ball: how many weights stay after every step, which may return, and no layer lost for good."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from common.project import Projection, projected


def network(first: float) -> nn.Sequential:
    """Two layers of 400 and 200 weights; the first one's are so many times as large as usual."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 20, bias=False), nn.Tanh(), nn.Linear(20, 10, bias=False))
    with torch.no_grad():
        model[0].weight.mul_(first)
    return model


def trained(first: float, density: float, least: float, steps: int = 60) -> tuple[nn.Sequential, Projection, Tensor]:
    """A network after so many steps, and how many weights of each layer there were after each."""
    model = network(first)
    x = torch.randn(64, 20, generator=torch.Generator().manual_seed(1))
    y, counts = x[:, :10].tanh(), []
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with projected(model, density, least=least) as projection:
        for _ in range(steps):
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()
            counts.append([int(p.count_nonzero()) for p in model.parameters()])
        return model, projection, torch.tensor(counts)


def test_after_every_step_so_many_weights_are_left_and_some_return() -> None:
    model, projection, counts = trained(1.0, 0.2, 0.0)
    assert projection.kept == 120
    assert (counts.sum(1) == 120).all()
    before = {name: p.detach().clone() for name, p in network(1.0).named_parameters()}
    first = torch.cat([p.abs().flatten() for p in before.values()])
    now = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert not torch.equal(first >= first.topk(120).values[-1], now != 0)
    assert projection.masks.kept == 120
    assert all(torch.equal(projection.masks[name], p != 0) for name, p in model.named_parameters())


def test_a_layer_of_small_weights_is_lost_unless_every_layer_keeps_some() -> None:
    _, _, lost = trained(0.01, 0.2, 0.0)
    assert (lost[:, 0] == 0).all()
    model, projection, counts = trained(0.01, 0.2, 0.1)
    assert (counts.sum(1) == 120).all()
    assert counts[0].tolist() == [8, 112]  # a tenth of its even share of 80
    assert counts.amin(0)[0] == 8
    assert model[0].weight.abs().max() > 0.05
    assert projection.masks.kept == 120


def test_nothing_changes_where_no_layer_falls_short() -> None:
    one, other = (trained(1.0, 0.2, least)[0].state_dict() for least in (0.0, 0.1))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("density", "least"), [(0.0, 0.0), (1.5, 0.0), (1e-6, 0.0), (0.5, -0.1), (0.5, 2.0)])
def test_shares_out_of_range_are_refused(density: float, least: float) -> None:
    with pytest.raises(ValueError, match=r"density is|least is"), projected(network(1.0), density, least=least):
        pytest.fail("the block ran")

"""What stands before a layer is done on the way into it: normalisation, activation, doubling, padding."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from common.sparse.convert import convert

NORMS = {
    "batch": lambda: nn.BatchNorm2d(6),
    "plain batch": lambda: nn.BatchNorm2d(6, affine=False),
    "group": lambda: nn.GroupNorm(3, 6),
}
ACTIVATIONS = {
    "none": nn.Identity, "relu": nn.ReLU, "leaky": lambda: nn.LeakyReLU(0.3), "silu": nn.SiLU,
}  # fmt: skip


class Block(nn.Module):
    """A layer whose input is normalised, activated, doubled and padded, and also goes around it."""

    def __init__(self, norm: str, activation: str, *, double: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.norm, self.activation, self.double = NORMS[norm](), ACTIVATIONS[activation](), double
        self.conv = nn.Conv2d(6, 4, 3)
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z = self.activation(self.norm(y))
        z = nn.functional.interpolate(z, scale_factor=2) if self.double else z
        around = torch.sigmoid(self.up(y)[:, :4]).flatten(2).mean(2)
        return torch.sigmoid(self.conv(nn.functional.pad(z, (0, 1, 2, 1)))).flatten(2).mean(2) + around


@pytest.mark.parametrize(("norm", "activation"), list(itertools.product(NORMS, ACTIVATIONS)))
@torch.no_grad()
def test_it_computes_the_same_and_disappears(norm: str, activation: str) -> None:
    for double in (False, True):
        torch.manual_seed(0)
        model = Block(norm, activation, double=double).eval()
        for name, tensor in model.state_dict().items():
            if name.startswith("norm") and tensor.is_floating_point():
                tensor.uniform_(0.5, 2.0)
        sparse = convert(model, {"conv.weight": torch.rand_like(model.conv.weight) < 0.5}, (torch.ones(2, 2, 5, 7),))
        model.conv.weight.copy_(sparse.weight("conv.weight"))
        left = {
            name for name in sparse.unknown if "norm" in name or "relu" in name or "silu" in name or "upsample" in name
        }
        assert left == set()
        assert sum(step.op == "sparse.norm" for step in sparse._program.steps) == 0
        for batch in (1, 16, 30):
            x = torch.randn(batch, 2, 5, 7)
            torch.testing.assert_close(sparse(x), model(x), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_nan_and_infinity_pass_a_folded_activation() -> None:
    model = nn.Sequential(nn.ReflectionPad2d(1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 1)).eval()
    masks = {"3.weight": torch.tensor([True, False]).view(1, 2, 1, 1)}
    sparse = convert(model, masks, (torch.ones(2, 2, 4, 4),))
    x = torch.randn(16, 2, 4, 4)
    x[0, 0, 2, 2], x[1, 0, 2, 2], x[2, 0, 2, 2], x[3, 1, 2, 2] = torch.nan, torch.inf, -torch.inf, torch.nan
    model[3].weight[0, 1] = 0
    expected = model(x.where(torch.tensor([True, False]).view(1, 2, 1, 1), 0.0))  # what was pruned is not read
    torch.testing.assert_close(sparse(x), expected, equal_nan=True)
    assert int(expected.isnan().sum()) == 4  # with its mirror images


@torch.no_grad()
def test_groups_of_one_value_and_single_images() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.GroupNorm(2, 2), nn.SiLU(), nn.Conv2d(2, 2, 1)).eval()
    x = torch.randn(3, 2, 1, 1)
    torch.testing.assert_close(convert(model, None, (x,), backend="sparse")(x), model(x))


@torch.no_grad()
def test_a_first_value_far_from_the_rest_does_not_spoil_the_variance() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.GroupNorm(1, 4), nn.Conv2d(4, 1, 1)).eval()
    sparse = convert(model, None, (torch.ones(2, 1, 32, 32),), backend="sparse")
    x = torch.randn(16, 1, 32, 32)
    x[:, :, 0, 0] = 100.0
    torch.testing.assert_close(sparse(x), model(x), atol=2e-5, rtol=1e-5)

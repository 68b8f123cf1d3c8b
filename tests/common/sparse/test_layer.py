"""Sparse layers against torch, on shapes drawn at random and in registers of every width."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.sparse.convert import convert
from common.sparse.layer import Layer, Where, plane_of
from common.sparse.layout import Plane
from common.sparse.machine import Machine, host
from common.sparse.memory import over
from common.sparse.norm import Norm
from common.sparse.team import Team
from common.sparse.weights import Kept

WIDTHS = [lanes for lanes in (16, 8, 4) if lanes <= host().lanes]


def machine(lanes: int) -> Machine:
    return host().narrowed(lanes)


def place(where: Where, shape: tuple[int, ...]) -> Tensor:
    plane = Plane(shape[2], shape[3], shape[0])
    return over(where.pool.take(shape[1] * plane.size // 4), shape[0], shape[1], plane).fill_(float("nan"))


def drawn(rng: random.Random) -> tuple[Tensor, Tensor, dict[str, Any], Tensor]:
    """A layer's input, weight, options and the output of torch, without bias."""
    images, groups = rng.choice([1, 16]), rng.choice([1, 1, 2])
    inputs, outputs = groups * rng.randint(1, 5), groups * rng.randint(1, 5)
    kernel, stride = [rng.randint(1, 4) for _ in "ab"], [rng.randint(1, 3) for _ in "ab"]
    padding = [rng.randint(0, k - 1) for k in kernel]
    x = torch.randn(images, inputs, rng.randint(1, 20), rng.randint(1, 40))
    density = rng.choice([0.0, 0.1, 0.5, 1.0])
    if rng.random() < 0.4:
        extra = [rng.randint(0, s - 1) for s in stride]
        weight = torch.randn(inputs, outputs // groups, *kernel)
        weight *= torch.rand_like(weight) < density
        options = {"stride": stride, "padding": padding, "extra": extra, "groups": groups, "transposed": True}
        return x, weight, options, functional.conv_transpose2d(x, weight, None, stride, padding, extra, groups)
    dilation = [rng.randint(1, 2) for _ in "ab"]
    weight = torch.randn(outputs, inputs // groups, *kernel)
    weight *= torch.rand_like(weight) < density
    sides = [padding[0], padding[0], padding[1], padding[1]]
    options = {"stride": stride, "padding": sides, "dilation": dilation, "groups": groups}
    return x, weight, options, functional.conv2d(x, weight, None, stride, padding, dilation, groups)


@pytest.mark.parametrize("lanes", WIDTHS)
@pytest.mark.parametrize("threads", [1, 3])
def test_any_layer_equals_torch(lanes: int, threads: int) -> None:
    rng, where, cases = random.Random(lanes + threads), Where(machine(lanes), Team(threads)), 0
    torch.manual_seed(lanes)
    while cases < 60:
        try:
            x, weight, options, expected = drawn(rng)
        except RuntimeError:
            continue  # a kernel larger than its input
        if not expected.numel():
            continue
        layer = Layer(Kept.of(weight), options)
        assert layer.size(*x.shape[2:]) == tuple(expected.shape[2:])
        bias = torch.randn(layer.channels)
        residual = torch.randn_like(expected) if rng.random() < 0.3 else None
        found = place(where, tuple(expected.shape))
        layer.run(x, found, bias[:, None], residual, None, where)
        expected = expected + bias[:, None, None] + (0 if residual is None else residual)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4, msg=f"{options}, {x.shape}, {weight.shape}")
        cases += 1


def test_threads_change_nothing() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(16, 8, 12, 12), torch.randn(6, 8, 3, 3) * (torch.rand(6, 8, 3, 3) < 0.3)
    options = {"stride": [1, 1], "padding": [1, 1, 1, 1], "dilation": [1, 1], "groups": 1}
    found = []
    for threads in (1, 2, 3, 4):
        where = Where(host(), Team(threads))
        found.append(place(where, (16, 6, 12, 12)))
        Layer(Kept.of(weight), options).run(x, found[-1], torch.zeros(6, 1), None, None, where)
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("images", [1, 16])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_passes_surviving_weights_only(images: int, value: float) -> None:
    x = torch.ones(images, 2, 4, 4)
    x[:, 1] = value
    weight = torch.tensor([[1.0, 0.0], [1.0, 1.0]])[..., None, None]
    where = Where(host(), Team(1))
    found = place(where, (images, 2, 4, 4))
    options = {"stride": [1, 1], "padding": [0, 0, 0, 0], "dilation": [1, 1], "groups": 1}
    Layer(Kept.of(weight), options).run(x, found, torch.zeros(2, 1), None, None, where)
    assert bool((found[:, 0] == 1).all())
    torch.testing.assert_close(found[:, 1], x[:, 0] + x[:, 1], equal_nan=True)


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize(("channels", "groups", "size"), [(8, 4, (5, 7)), (6, 3, (1, 1)), (32, 32, (8, 8))])
def test_a_normalisation_before_a_layer(silu: bool, channels: int, groups: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    where = Where(host(), Team(2))
    x = place(where, (16, channels, *size)).copy_(torch.randn(16, channels, *size) * 3 + 20)
    norm = Norm(torch.randn(channels), torch.randn(channels), groups, 1e-5, silu)
    weight = torch.randn(4, channels, 3, 3) * (torch.rand(4, channels, 3, 3) < 0.4)
    found = place(where, (16, 4, *size))
    options = {"stride": [1, 1], "padding": [1, 1, 1, 1], "dilation": [1, 1], "groups": 1}
    Layer(Kept.of(weight), options).run(x, found, torch.zeros(4, 1), None, norm, where)
    expected = functional.group_norm(x.double(), groups, norm.scale.double(), norm.shift.double(), 1e-5)
    expected = functional.conv2d(functional.silu(expected) if silu else expected, weight.double(), padding=1)
    torch.testing.assert_close(found.double(), expected, atol=2e-4, rtol=1e-4)


def test_planes_are_recognised_and_other_layouts_are_not() -> None:
    where = Where(host(), Team(1))
    assert plane_of(place(where, (16, 3, 8, 8))) == Plane(8, 8, 16, spacing=8 * 8 * 16 * 4 + 512)
    assert plane_of(torch.zeros(16, 3, 8, 8)) is None
    assert plane_of(torch.zeros(1, 3, 8, 8)) == Plane(8, 8, 1, spacing=256)
    assert plane_of(torch.zeros(1, 3, 8, 8).transpose(2, 3)) is None


@torch.no_grad()
def test_layers_of_one_network_do_not_write_into_each_others_margins() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 3, stride=2, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.conv(x).flatten(1), self.conv(x[..., :-1]).flatten(1)], 1)

    torch.manual_seed(0)
    model = Twice().eval()
    sparse = convert(model, None, (torch.zeros(2, 2, 6, 8),), backend="sparse")
    for batch in (1, 16, 1):
        x = torch.randn(batch, 2, 6, 8)
        torch.testing.assert_close(sparse(x), model(x), atol=1e-5, rtol=1e-5)

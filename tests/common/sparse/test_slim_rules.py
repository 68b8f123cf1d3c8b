"""`slim` at operations that stack, take apart and transpose: what goes, worked out by hand, and equality again."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from test_slim import Net, checked, kept, scattered, shaken, without
from torch import Tensor, nn

NODES = torch.linspace(-2, 2, 5 * 3).sin().reshape(5, 3)

CASES: dict[str, tuple[nn.Module, dict[str, Any], dict[str, list[int]]]] = {
    "stacked and interleaved, an index goes from both parts or from none": (  # a0 b0 a1 b1 a2 b2
        Net(lambda m, x: m.c(torch.stack([m.a(x), m.b(x)], 2).flatten(1)),
            a=nn.Linear(3, 3), b=nn.Linear(3, 3), c=nn.Linear(6, 2)),
        {"c.weight": (1, [0, 1, 3])}, {"a.weight": [1, 2], "b.weight": [1, 2]},
    ),
    "the largest of stacked layers, as values and places": (
        Net(lambda m, x: m.c(torch.stack([m.a(x), m.b(x)], -1).max(-1)[0]),
            a=nn.Linear(3, 4), b=nn.Linear(3, 4), c=nn.Linear(4, 2)),
        {"c.weight": (1, [0, 3])}, {"a.weight": [1, 2], "b.weight": [1, 2]},
    ),
    "constants are stacked and taken apart": (  # both parts of index 1 are constants, of index 2 only one
        Net(lambda m, x: m.d(m.c(sum(torch.stack([m.a(x), m.b(x)]).unbind()))),
            a=nn.Linear(3, 4), b=nn.Linear(3, 4), c=nn.Linear(4, 3), d=nn.Linear(3, 2)),
        {"a.weight": (0, [1]), "b.weight": (0, [1, 2]), "d.weight": (1, [0])},
        {"a.weight": [0, 2, 3], "b.weight": [0, 2, 3], "c.weight": [1, 2]},
    ),
    "parts taken from one layer lose the same indices": (
        Net(lambda m, x: m.b(torch.mul(*(y := m.a(x).unflatten(1, (3, -1)).unbind(1))[:2]) + y[2]),
            a=nn.Linear(3, 12), b=nn.Linear(4, 2)),
        {"b.weight": (1, [1, 2])}, {"a.weight": [0, 3, 4, 7, 8, 11]},
    ),
    "what is taken apart by its own index stays": (
        Net(lambda m, x: torch.stack(m.b(m.a(x)).unbind(1)[:1]), a=nn.Linear(3, 4), b=nn.Linear(4, 2)),
        {"a.weight": (0, [2]), "b.weight": (1, [3])}, {"a.weight": [0, 1], "b.weight": [0, 1]},
    ),
    "channels last and first again": (
        Net(lambda m, x: m.b(m.a(x[:, :, None, None].movedim(1, -1)).moveaxis((3, 1), (1, 3))).flatten(1),
            a=nn.Linear(3, 4), b=nn.Conv2d(4, 2, 1)),
        {"b.weight": (1, [0, 2])}, {"a.weight": [1, 3]},
    ),
    "joined under another name": (
        Net(lambda m, x: m.b(torch.concat([m.a(x), torch.concatenate([x, x], 1)], 1)),
            a=nn.Linear(3, 2), b=nn.Linear(8, 2)),
        {"b.weight": (1, [1, 2])}, {"a.weight": [0]},
    ),
    "the larger of two layers": (
        Net(lambda m, x: m.c(torch.max(m.a(x), m.b(x)) - x.min()), a=nn.Linear(3, 3), b=nn.Linear(3, 3),
            c=nn.Linear(3, 2)),
        {"c.weight": (1, [1])}, {"a.weight": [0, 2], "b.weight": [0, 2]},
    ),
    "a view that is written to changes what it shows": (  # the bias of 2 is below zero
        Net(lambda m, x: (y := m.a(x), y.T.relu_(), m.b(y))[-1], a=nn.Linear(3, 4), b=nn.Linear(4, 2)),
        {"a.weight": (0, [2]), "b.weight": (1, [3])}, {"b.weight": [0, 1]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_goes(case: str) -> None:
    net, pruned, rows = CASES[case]
    small = checked(shaken(net), without(net, pruned), (NODES,))
    assert {name: kept(small, name) for name in rows} == rows
    assert small.report.pinned == ()


TRANSPOSED: dict[str, Callable[[Tensor], Tensor]] = {
    "T": lambda x: x.T, "t": lambda x: x.t(), "mT": lambda x: x.mT, "H": lambda x: x.H, "mH": lambda x: x.mH,
    "adjoint": lambda x: x.adjoint(), "swapaxes": lambda x: x.swapaxes(0, -1), "swapdims": lambda x: x.swapdims(1, 0),
    "transpose": lambda x: x.transpose(-1, -2), "permute": lambda x: x.permute(1, -2),
    "movedim": lambda x: x.movedim(0, 1), "moveaxis": lambda x: x.moveaxis((0, 1), (-1, 0)),
}  # fmt: skip


@pytest.mark.parametrize("way", TRANSPOSED)
def test_units_survive_every_way_to_transpose(way: str) -> None:
    turn = TRANSPOSED[way]
    net = shaken(Net(lambda m, x: m.b(turn(turn(m.a(x)) * torch.arange(5.0))), a=nn.Linear(3, 4), b=nn.Linear(4, 2)))
    small = checked(net, without(net, {"b.weight": (1, [0, 3])}), (NODES,))
    assert (kept(small, "a.weight"), small.report.pinned) == ([1, 2], ())


def parts(dim: int, m: Any, x: Tensor) -> Tensor:
    a, b = torch.stack([m.f(x), x], dim).movedim(dim, 0).unbind()
    return x + torch.max(a, b.relu())


def interleaved(m: Any, x: Tensor) -> Tensor:
    return torch.stack([x, m.f(x)], -1).flatten(1)


def crossed(m: Any, x: Tensor) -> Tensor:
    query, key, value = m.f(x).unflatten(1, (3, -1)).swapaxes(0, 1).unbind()
    return x + (query.T @ key).softmax(-1).mul(0.1).matmul(value.T).T


def random_net(draw: random.Random) -> nn.Module:
    blocks, c = [nn.Linear(3, 6)], 6
    for _ in range(draw.randint(2, 5)):
        blocks.append(nn.Sequential(nn.Linear(c, c, bias=draw.random() < 0.5), draw.choice([nn.ReLU(), nn.Tanh()])))
        run, grown, wide = draw.choice([(partial(parts, draw.choice([0, 1, -1])), 1, 1), (interleaved, 2, 1),
                                        (crossed, 1, 3)])  # fmt: skip
        blocks.append(Net(run, f=nn.Linear(c, c * wide)))
        c *= grown
    return nn.Sequential(*blocks, nn.Linear(c, 2))


@pytest.mark.parametrize("seed", range(20))
def test_random_nets_with_random_unit_masks(seed: int) -> None:
    net = shaken(random_net(draw := random.Random(seed)), seed)
    small = checked(net, scattered(net, draw.choice([0.2, 0.4, 0.6]), f"{len(net) - 1}."), (NODES,))
    assert small.report.pinned == ()

"""A penalty that grows: literal strengths and gradients, any optimizer, nothing inside the mask."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from common.growing import growing

KEPT = torch.tensor([[True, False, False]])


def line(*values: float) -> nn.Linear:
    model = nn.Linear(len(values), 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([values]))
    return model


def step(model: nn.Module, optimizer: torch.optim.Optimizer, slope: float = 0.0) -> None:
    optimizer.zero_grad()
    (slope * model.weight).sum().backward()
    optimizer.step()


def test_the_strength_grows_by_a_step_every_so_many_steps_up_to_the_ceiling() -> None:
    model = line(0.0, 0.0, 0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with growing(model, {"weight": KEPT}, step=0.5, every=2, ceiling=1.25) as penalty:
        seen = [penalty.strength]
        for _ in range(7):
            step(model, optimizer)
            seen.append(penalty.strength)
    assert seen == [0.0, 0.5, 0.5, 1.0, 1.0, 1.25, 1.25, 1.25]
    assert penalty.steps == 7


def test_the_gradient_outside_the_mask_is_the_strength_times_the_weight() -> None:
    model = line(4.0, 4.0, -8.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with growing(model, {"weight": KEPT}, step=0.25, every=1) as penalty:
        step(model, optimizer, slope=1.0)
        assert model.weight.tolist() == [[3.0, 4 - 1 - 0.25 * 4, -8 - 1 + 0.25 * 8]]
        assert model.weight.grad.tolist() == [[1.0, 2.0, -1.0]]
        step(model, optimizer, slope=1.0)
        assert model.weight.tolist() == [[2.0, 2 - 1 - 0.5 * 2, -7 - 1 + 0.5 * 7]]
        assert penalty.left == 4.5
    step(model, optimizer)
    assert model.weight.tolist() == [[2.0, 0.0, -4.5]]  # outside the block nothing is penalised


def lbfgs(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.LBFGS(parameters, lr=0.5, line_search_fn="strong_wolfe")


class Nested(torch.optim.SGD):
    """A step that calls the step of its base class, which has hooks of its own once that class was built."""

    def __init__(self, parameters: list[Tensor]) -> None:
        torch.optim.SGD(parameters)
        super().__init__(parameters, lr=0.05, momentum=0.9)

    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        return super().step(closure)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "nested": Nested,
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "lbfgs": lbfgs,
}


@pytest.mark.parametrize(
    ("name", "by_closure"), [(name, by) for name in OPTIMIZERS for by in (True, False) if by or name != "lbfgs"]
)
def test_any_optimizer_does_as_if_the_penalty_were_in_the_loss(name: str, by_closure: bool) -> None:
    """The oracle adds lambda/2 times the squares outside to the loss itself."""
    ends = []
    for oracle in (False, True):
        model = line(0.5, 1.0, -2.0)
        optimizer = OPTIMIZERS[name](list(model.parameters()))
        with growing(model, {"weight": KEPT if not oracle else torch.ones_like(KEPT)}, step=0.1, every=3) as penalty:
            for number in range(1, 13):
                strength = 0.1 * math.ceil(number / 3)

                def closure(model=model, optimizer=optimizer, strength=strength, oracle=oracle) -> Tensor:
                    optimizer.zero_grad()
                    loss = (model.weight.sum() - 1).square()
                    if oracle:
                        loss = loss + strength / 2 * model.weight[~KEPT].square().sum()
                    loss.backward()
                    return loss

                if by_closure:
                    optimizer.step(closure)
                else:
                    closure()
                    optimizer.step()
        assert penalty.steps == 12
        ends.append(model.weight.detach().clone())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-4, atol=1e-6)


def test_weights_outside_fade_and_those_inside_take_over() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    x[:, 2:] = x[:, :2]  # the last two inputs repeat the first two
    y = x[:, :2].sum(1, keepdim=True)
    model, kept = nn.Linear(4, 1, bias=False), torch.tensor([[True, True, False, False]])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    with growing(model, {"weight": kept}, step=0.02, every=1) as penalty:
        for _ in range(400):
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()
        assert penalty.left < 1e-2
    torch.testing.assert_close(model.weight.detach(), torch.tensor([[1.0, 1.0, 0.0, 0.0]]), atol=0.02, rtol=0)


def test_a_parameter_without_a_gradient_fades_too() -> None:
    model = nn.Sequential(line(2.0), line(2.0))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    masks = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    with growing(model, masks, step=0.5, every=1):
        step(model[0], optimizer)
    assert [p.item() for p in model.parameters()] == [1.0, 1.0]


def test_strangers_are_left_alone_and_each_optimizer_counts_for_itself() -> None:
    model, other = nn.Sequential(line(1.0), line(1.0)), line(1.0)
    first, second, stranger = (torch.optim.SGD(m.parameters(), lr=1.0) for m in (model[0], model[1], other))
    masks = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    with growing(model, masks, step=0.5, every=1):
        step(model[0], first)
        step(model[0], first)
        step(model[1], second)
        step(other, stranger)
    assert [m.weight.item() for m in (model[0], model[1], other)] == [0.0, 0.5, 1.0]


def test_what_cannot_be_met_is_refused() -> None:
    model = line(1.0, 1.0, 1.0)
    with (
        pytest.raises(ValueError, match="found 0, 1 and 1, expected a positive step"),
        growing(model, {}, step=0, every=1, ceiling=1),
    ):
        pass
    with pytest.raises(ValueError, match="not above the ceiling"), growing(model, {}, step=2.0, ceiling=1.0):
        pass
    with pytest.raises(KeyError, match="no parameter 'wight'"), growing(model, {"wight": KEPT}):
        pass
    with pytest.raises(RuntimeError, match="no optimizer stepped weight"), growing(model, {"weight": KEPT}):
        pass
    table = nn.Embedding(3, 1, sparse=True)
    optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
    table(torch.tensor([0])).sum().backward()
    with pytest.raises(TypeError, match="sparse=False"), growing(table, {"weight": KEPT.T}):
        optimizer.step()

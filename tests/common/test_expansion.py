"""The Taylor expansion of a loss along its weights: polynomials by hand, double backward passes as the oracle."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from common.scores import expansion, taylor


def weights(*values: float) -> nn.Linear:
    model = nn.Linear(len(values), 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([values]))
    return model


def cubic(model: nn.Module) -> list[Tensor]:
    """a^3 - 5 b + a c^2 for the weights a, b, c."""
    a, b, c = model.get_parameter("weight")[0]
    return [a**3 - 5 * b + a * c**2]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (1, [2 * (12 + 9), 5 * 4, 3 * 12]),
        (2, [42 - 2 * (24 + 18) / 2, 20, 36 - 3 * (12 + 12) / 2]),  # minus half of w Hw
        (3, [0 + 2 * (24 + 18) / 6, 20, 0 + 3 * 24 / 6]),  # plus a sixth of w grad(w'Hw), where all that is left is L
    ],
)
def test_a_cubic_at_2_4_3_by_hand(order: int, expected: list[float]) -> None:
    model = weights(2.0, 4.0, 3.0)
    found = expansion(order)(model, {"weight": model.weight}, cubic)["weight"][0]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    if order == 3:  # signed, the shares add up to the loss: 14 - 20 + 12
        assert float(found[0] - found[1] + found[2]) == pytest.approx(cubic(model)[0].item())


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def objective(model: nn.Module) -> list[Tensor]:
    x = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(6, 4)
    return [nn.functional.cross_entropy(model(x), torch.arange(6) % 3)]


@pytest.mark.parametrize("order", [2, 3])
def test_differences_are_what_repeated_backward_passes_give(order: int) -> None:
    model = network()
    params = dict(model.named_parameters())
    values = list(params.values())
    fixed = [p.detach().clone() for p in values]
    first = torch.autograd.grad(objective(model)[0], values, create_graph=True)
    second = torch.autograd.grad(
        sum((g * w).sum() for g, w in zip(first, fixed, strict=True)), values, create_graph=True
    )
    third = torch.autograd.grad(sum((h * w).sum() for h, w in zip(second, fixed, strict=True)), values)
    found = expansion(order, reach=1e-3)(model, params, objective)
    for (name, p), g, h, t in zip(params.items(), first, second, third, strict=True):
        wanted = p * (g - h / 2 + (t / 6 if order == 3 else 0))
        torch.testing.assert_close(found[name], wanted.abs().detach(), rtol=1e-3, atol=1e-6)


def test_the_first_order_is_taylor() -> None:
    model = network()
    params = dict(model.named_parameters())
    one, other = expansion(1)(model, params, objective), taylor(model, params, objective)
    assert all(torch.equal(one[name], other[name]) for name in params)


def test_weights_come_back_to_the_bit_even_if_the_objective_fails() -> None:
    model = network()
    before, calls = {n: p.detach().clone() for n, p in model.named_parameters()}, []

    def failing(m: nn.Module) -> list[Tensor]:
        calls.append(m)
        if len(calls) == 2:
            raise RuntimeError("out of data")
        return objective(m)

    with pytest.raises(RuntimeError, match="out of data"):
        expansion(2)(model, dict(model.named_parameters()), failing)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"found 4 and 0\.1"):
        expansion(4)
    with pytest.raises(ValueError, match="found 2 and 1"):
        expansion(2, reach=1)

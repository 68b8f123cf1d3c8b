"""`gated`: the effective weights inside, everything as it was outside."""

from __future__ import annotations

import pickle
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from common.apply import Gates, gated
from common.gates import HardConcrete, Sigmoid, Soft, Step, TopK
from common.masks import Masks, prunable

KINDS = {
    "Soft": Soft,
    "TopK": partial(TopK, density=0.25),
    "Sigmoid": Sigmoid,
    "HardConcrete": HardConcrete,
    "Step": Step,
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def half(model: nn.Module) -> Masks:
    return Masks({n: (torch.arange(p.numel()) % 2 == 0).reshape(p.shape) for n, p in prunable(model).items()})


class Edges(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(3, 3, bias=False)
        self.decode = nn.Linear(3, 3, bias=False)
        self.decode.weight = self.encode.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decode(self.encode(x))


def test_the_model_computes_with_weight_times_mask_times_value() -> None:
    model = nn.Linear(3, 1, bias=False)
    model.weight.data = torch.tensor([[2.0, 3.0, 5.0]])
    draw = torch.tensor([[0.0, 0.5, 1.0]])
    masks = {"weight": torch.tensor([[True, False, True]])}
    with gated(model, masks, partial(Soft, noise=0.5, uniform=draw)) as gates:
        assert model(torch.ones(1, 3)).item() == 2 * 0.5 + 5 * 1.5
        assert isinstance(gates, Gates)
        assert gates.scores()["weight"].tolist() == [[0.5, 0.0, 1.5]]
    assert model(torch.ones(1, 3)).item() == 10


@pytest.mark.parametrize("kind", list(KINDS))
def test_weights_and_gates_train_together_and_the_weights_stay(kind: str) -> None:
    model, inputs = network(), torch.randn(16, 1, 4, 4)
    masks, before = half(model), {n: p.detach().clone() for n, p in model.named_parameters()}
    params = dict(model.named_parameters())
    with gated(model, masks, KINDS[kind]) as gates:
        learned = [p.detach().clone() for p in gates.parameters()]
        optimizer = torch.optim.SGD([*params.values(), *gates.parameters()], lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            (model(inputs).square().sum() + gates.penalty()).backward()
            optimizer.step()
        assert any(not torch.equal(a, b) for a, b in zip(learned, gates.parameters(), strict=True))
    assert {n: id(p) for n, p in model.named_parameters()} == {n: id(p) for n, p in params.items()}
    for name, mask in masks.items():
        moved = params[name].detach() != before[name]
        assert moved.any(), name
        assert not moved[~mask].any(), name


def test_defect_8_keys_order_class_and_pickling_are_restored() -> None:
    model = network()
    keys, kind = list(model.state_dict()), [type(m) for m in model.modules()]
    with gated(model, half(model), Soft):
        assert list(model.state_dict()) != keys
        assert parametrize.is_parametrized(model[0])
    assert list(model.state_dict()) == keys
    assert [n for n, _ in model[0].named_parameters()] == ["weight", "bias"]
    assert [type(m) for m in model.modules()] == kind
    assert "parametrizations" not in dict(model[0].named_children())
    assert list(pickle.loads(pickle.dumps(model)).state_dict()) == keys  # noqa: S301


def test_everything_is_restored_after_an_exception() -> None:
    model = network()
    keys = list(model.state_dict())
    with pytest.raises(ZeroDivisionError), gated(model, half(model), Soft):
        raise ZeroDivisionError
    assert list(model.state_dict()) == keys
    assert not parametrize.is_parametrized(model[0])


def test_a_gate_that_fails_to_build_leaves_no_trace() -> None:
    model = network()
    makers = {"0.weight": Soft, "3.weight": partial(TopK, density=0.9)}
    with pytest.raises(ValueError, match=r"density is 0\.9"), gated(model, half(model), makers):
        pass
    assert not any(parametrize.is_parametrized(m) for m in model.modules())


def test_a_frozen_vector_stays_frozen_while_its_gate_learns() -> None:
    model = Edges()
    with gated(model, {"weight": torch.tensor([True, True, False, True])}, Soft) as gates:
        (model(torch.arange(4.0)).sum()).backward()
        assert next(gates.parameters()).grad.tolist() == [0.0, 1.0, 0.0, 3.0]
        assert not any(p.requires_grad for n, p in model.named_parameters() if n.endswith("original"))
    assert not model.weight.requires_grad
    assert model.weight.grad is None
    assert model.weight.tolist() == [1.0] * 4


def test_a_shared_tensor_is_gated_wherever_it_is_used() -> None:
    model = Tied()
    model.encode.weight.data = torch.eye(3)
    with gated(model, {"encode.weight": torch.eye(3).bool()}, partial(Soft, noise=0.0)) as gates:
        gates["encode.weight"].value.data *= 2
        assert model(torch.ones(1, 3)).tolist() == [[4.0, 4.0, 4.0]]
    assert model.decode.weight is model.encode.weight


def test_a_parameter_under_another_parametrization_can_be_gated() -> None:
    model = spectral_norm(nn.Linear(3, 2))
    name = "parametrizations.weight.original"
    keys = list(model.state_dict())
    with gated(model, {name: torch.tensor([[True, False, True], [True, True, False]])}, partial(Soft, noise=0.0)):
        weight = model.weight.detach()
        assert weight[0, 1] == 0
        assert weight[1, 2] == 0
    assert list(model.state_dict()) == keys
    assert model.weight[0, 1] != 0


def test_modes_reach_the_gates() -> None:
    model = nn.Linear(2, 1, bias=False).eval()
    with gated(model, {"weight": torch.ones(1, 2).bool()}, Sigmoid) as gates:
        assert not gates["weight"].training
        assert not model(torch.ones(1, 2)).any()  # s = 0 is closed
        model.train()
        assert torch.equal(model.weight, model.parametrizations.weight.original / 2)


def test_each_forward_evaluates_a_gate_once() -> None:
    calls = []

    class Counted(Soft):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return super().forward(weight)

    model = nn.Linear(2, 1)
    with gated(model, {"weight": torch.ones(1, 2).bool()}, Counted):
        assert calls == []
        model(torch.ones(1, 2))
    assert len(calls) == 1


def test_gates_work_under_func_transforms_and_compile() -> None:
    model, inputs = nn.Linear(3, 1), torch.randn(5, 3)
    for kind in (Soft, Step, Sigmoid):
        with gated(model, {"weight": torch.tensor([[True, False, True]])}, kind):
            params = dict(model.named_parameters())

            def loss(params: dict[str, torch.Tensor], row: torch.Tensor) -> torch.Tensor:
                return torch.func.functional_call(model, params, (row,)).sum()

            rows = torch.func.vmap(torch.func.grad(loss), (None, 0))(params, inputs)
            whole = torch.func.grad(loss)(params, inputs)
            assert all(torch.allclose(rows[n].sum(0), whole[n], atol=1e-5) for n in whole)
            compiled = torch.compile(model, backend="eager")
            assert torch.equal(compiled(inputs), model(inputs))
        torch.compiler.reset()


def test_errors_name_what_is_wrong() -> None:
    model = network()
    with pytest.raises(KeyError, match=r"no parameter '0\.weigth'; the nearest is '0\.weight'"):
        gated(model, {"0.weigth": torch.ones(1)}, Soft).__enter__()
    with pytest.raises(ValueError, match=r"mask of '0.weight' has shape \(1,\), the parameter \(2, 1, 3, 3\)"):
        gated(model, {"0.weight": torch.ones(1)}, Soft).__enter__()
    with pytest.raises(KeyError, match=r"masks name '3\.weight', which has no gate"):
        gated(model, half(model), {"0.weight": Soft}).__enter__()
    with gated(model, half(model), Soft) as gates, pytest.raises(KeyError, match="no gate on 'x'"):
        gates["x"]

"""What `masked` refuses, and the ways of training that it works under."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from common.apply import masked

KEEP = torch.tensor([[True, False, True], [False, True, True]])


def network() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.randn(4, 3)).square().sum().backward()
    optimizer.step()


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def train_a_copy(model: nn.Module) -> None:
    with masked(model, {"weight": KEEP}):
        trained = copy.deepcopy(model)
        step(trained, sgd(trained))


def test_defect_9_training_a_copy_is_caught() -> None:
    model = network()
    with pytest.raises(RuntimeError, match=r"a copy of the model was trained \(deepcopy\?\): SGD"):
        train_a_copy(model)


def test_another_model_may_train_inside_the_block() -> None:
    model, other = network(), nn.Linear(3, 5)
    with masked(model, {"weight": KEEP}):
        step(other, sgd(other))
    twin = network()
    with masked(model, {"weight": KEEP}) as guard:
        step(twin, sgd(twin))
        step(model, sgd(model))  # both halves train: no copy
    assert guard.steps == 1


def test_an_average_made_inside_stays_zero() -> None:
    model = network()
    with masked(model, {"weight": KEEP}):
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
        optimizer = sgd(model)
        for _ in range(3):
            step(model, optimizer)
            average.update_parameters(model)
    assert torch.equal(average.module.weight != 0, KEEP)


def test_an_edit_inside_the_block_is_named() -> None:
    model = network()
    with pytest.raises(RuntimeError, match=r"2 pruned entries of 'weight' are not zero.*load_state_dict"):
        with masked(model, {"weight": KEEP}):
            model.load_state_dict(network().state_dict())


def test_a_nan_at_a_pruned_entry_is_no_zero() -> None:
    model = network()
    with pytest.raises(RuntimeError, match="1 pruned entries of 'weight'"):
        with masked(model, {"weight": KEEP}):
            model.weight.data[0, 1] = torch.nan


def test_a_replaced_parameter_is_named() -> None:
    model = network()
    with pytest.raises(RuntimeError, match="'weight' was replaced inside the block"):
        with masked(model, {"weight": KEEP}):
            model.weight = nn.Parameter(torch.zeros(2, 3))


def fill_and_fail(model: nn.Linear) -> None:
    model.weight.data.fill_(1.0)
    raise ZeroDivisionError


def test_an_exception_inside_passes_and_removes_the_hooks() -> None:
    model = network()
    with pytest.raises(ZeroDivisionError), masked(model, {"weight": KEEP}):
        fill_and_fail(model)
    step(model, sgd(model))
    assert torch.count_nonzero(model.weight) == 6
    assert not model.weight._backward_hooks


def test_names_shapes_and_aliases_are_checked() -> None:
    with pytest.raises(KeyError, match="no parameter 'wieght'; the nearest is 'weight'"):
        masked(network(), {"wieght": KEEP}).__enter__()
    with pytest.raises(ValueError, match=r"mask of 'weight' has shape \(3, 2\), the parameter \(2, 3\)"):
        masked(network(), {"weight": KEEP.T}).__enter__()
    model = nn.Sequential(network(), network())
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match=r"'0\.weight' and '1\.weight' are one shared tensor"):
        masked(model, {"0.weight": KEEP, "1.weight": ~KEEP}).__enter__()
    with masked(model, {"0.weight": KEEP, "1.weight": KEEP}) as guard:
        assert list(guard.masks) == ["0.weight"]
        with pytest.raises(KeyError, match=r"'0\.bias' is not guarded"):
            guard.update({"0.bias": torch.ones(2)})
    with masked(model, {"1.weight": KEEP}):
        assert torch.equal(model[0].weight != 0, KEEP)


def test_gradients_accumulate_over_micro_batches() -> None:
    whole, parts, x = network(), network(), torch.randn(4, 3)
    with masked(whole, {"weight": KEEP}), masked(parts, {"weight": KEEP}):
        whole(x).square().sum().backward()
        for row in x.split(1):
            parts(row).square().sum().backward()
        assert whole.weight.grad is not None
        assert parts.weight.grad is not None
        assert torch.allclose(whole.weight.grad, parts.weight.grad, atol=1e-5)
        assert not parts.weight.grad[~KEEP].any()


def test_func_transforms_see_the_masked_model_and_their_steps_stay_masked() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs = torch.randn(5, 3)

    def loss(params: dict[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(model, params, (row,)).square().sum()

    with masked(model, {"weight": KEEP}):
        params: dict[str, Tensor] = dict(model.named_parameters())
        rows = torch.func.vmap(torch.func.grad(loss), (None, 0))(params, inputs)
        for name, param in model.named_parameters():
            param.grad = rows[name].mean(0)  # not through backward: only the step's hook can mask it
        optimizer.step()
        assert torch.equal(model.weight != 0, KEEP)


def test_second_order_gradients_pass_through_the_mask() -> None:
    model = network()
    with masked(model, {"weight": KEEP}):
        (first,) = torch.autograd.grad(model(torch.ones(1, 3)).pow(3).sum(), model.weight, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), model.weight)
    assert not first[~KEEP].any()
    assert second[KEEP].any()
    assert not second[~KEEP].any()


@pytest.mark.parametrize("scaled", [False, True])
def test_automatic_mixed_precision(scaled: bool) -> None:
    model = network()
    optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu", enabled=scaled)
    with masked(model, {"weight": KEEP}) as guard:
        for _ in range(2):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(torch.randn(4, 3)).square().mean()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    assert guard.steps == 2
    assert torch.equal(model.weight != 0, KEEP)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.complex64])
def test_other_types_of_weights(dtype: torch.dtype) -> None:
    model = network()
    with masked(model, {"weight": KEEP}):
        for param in model.parameters():  # as a trainer that casts the model inside the block
            param.data = param.data.to(dtype)
        optimizer = sgd(model)
        (model.weight * model.weight).abs().sum().backward()
        optimizer.step()
    assert torch.equal(model.weight != 0, KEEP)


def test_compiled_models_train_masked() -> None:
    model = network()
    with masked(model, {"weight": KEEP}) as guard:
        compiled = torch.compile(model, backend="eager")
        optimizer = sgd(model)
        for _ in range(2):
            step(compiled, optimizer)
    torch.compiler.reset()
    assert guard.steps == 2
    assert torch.equal(model.weight != 0, KEEP)


def test_sparse_gradients_of_an_embedding() -> None:
    model = nn.Embedding(2, 3, sparse=True)
    model.weight.data.fill_(1.0)
    with masked(model, {"weight": KEEP}):
        model(torch.tensor([1, 1])).sum().backward()
        assert model.weight.grad is not None
        assert model.weight.grad.to_dense().tolist() == [[0.0, 0.0, 0.0], [0.0, 2.0, 2.0]]
        sgd(model).step()
    assert model.weight[1].tolist() == pytest.approx([0.0, 0.8, 0.8])


def test_channels_last_weights() -> None:
    model = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    mask = torch.rand(model.weight.shape) < 0.5
    with masked(model, {"weight": mask}):
        optimizer = sgd(model)
        model(torch.randn(2, 2, 4, 4)).square().sum().backward()
        optimizer.step()
    assert torch.equal(model.weight != 0, mask)

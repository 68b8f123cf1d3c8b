"""What counts as a step of a masked model: several optimizers, steps within steps, copies, gradients set by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from common.apply import masked
from common.dynamic import moving, rigl
from common.masks import Masks
from common.scores import gradient

KEEP = torch.tensor([[True, False, True], [False, True, True]])
INPUT = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 4.0]])


def pair() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 3))


MASKS = Masks({"0.weight": KEEP, "1.weight": KEEP.t().contiguous()})


class Clipped(torch.optim.SGD):
    """A subclass whose step calls its base's, as wrappers do."""

    def step(self, closure: None = None) -> None:
        super().step(closure)


def sgd(*modules: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for module in modules for p in module.parameters()], lr=0.1)


@pytest.mark.parametrize("nested", [False, True])
def test_an_iteration_is_one_step_however_many_optimizers_make_it(nested: bool) -> None:
    model = pair()
    optimizers = [Clipped(model.parameters(), lr=0.1)] if nested else [sgd(model[0]), sgd(model[1])]
    seen: list[dict[str, Tensor]] = []

    def record(step: int, weights: object, gradients: dict[str, Tensor], masks: Masks) -> Masks:
        seen.append({name: gradients[name].clone() for name in MASKS})
        return masks

    with moving(model, MASKS, record, every=2, stop=100) as guard:
        for iteration in range(1, 5):
            for optimizer in optimizers:
                optimizer.zero_grad()
            model(INPUT).square().sum().backward()
            for optimizer in optimizers:
                optimizer.step()
            assert guard.steps == iteration
    assert len(seen) == 2
    assert all(bool(gradient[~MASKS[name]].any()) for found in seen for name, gradient in found.items())


def test_an_update_without_a_gradient_is_an_error_and_not_a_growth_of_low_indices() -> None:
    model = pair()
    unused = nn.Linear(3, 2)
    model.add_module("unused", unused)
    optimizer = sgd(model)
    with moving(model, MASKS | Masks({"unused.weight": KEEP}), rigl(0.5, end=9), every=1, stop=9):
        model[1](model[0](INPUT)).sum().backward()
        with pytest.raises(ValueError, match=r"found no gradient of 'unused\.weight' at this step.*leave it out"):
            optimizer.step()


def test_gradients_set_by_hand_are_masked_and_moments_stay_dead() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    with masked(model, {"weight": KEEP}):
        for _ in range(3):
            model.weight.grad = torch.ones(2, 3)
            optimizer.step()
    assert not optimizer.state[model.weight]["exp_avg"][~KEEP].any()
    assert bool(optimizer.state[model.weight]["exp_avg"][KEEP].all())


def test_a_parameter_unfrozen_inside_the_block_is_watched_from_its_first_step_on() -> None:
    model = nn.Linear(3, 2)
    model.weight.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with masked(model, {"weight": KEEP}, dense_gradients=True) as guard:
        model.weight.requires_grad_(True)
        for _ in range(2):
            optimizer.zero_grad()
            model(INPUT).square().sum().backward()
            collected = guard.dense_gradients
            optimizer.step()
            assert not model.weight.grad[~KEEP].any()
        assert bool(collected["weight"][~KEEP].any())
    assert not optimizer.state[model.weight]["momentum_buffer"][~KEEP].any()


def test_a_state_of_lbfgs_loaded_inside_the_block_is_cleaned() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=3)
    pruned: list[int] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = model(INPUT).square().sum() + model.weight.sin().sum()
        loss.backward()
        pruned.append(int(torch.count_nonzero(model.weight[~KEEP])))
        return loss

    optimizer.step(closure)
    warm = copy.deepcopy(optimizer.state_dict())
    with masked(model, {"weight": KEEP}):
        pruned.clear()
        optimizer.step(closure)
        optimizer.load_state_dict(warm)
        optimizer.step(closure)
    assert set(pruned) == {0}


def test_a_skipped_step_leaves_no_gradient_behind() -> None:
    model = nn.Linear(3, 2)
    optimizer = sgd(model)
    with masked(model, {"weight": KEEP}, dense_gradients=True) as guard:
        (model(INPUT) * torch.inf).sum().backward()  # a gradient scaler would skip this step
        optimizer.zero_grad(set_to_none=False)
        model(INPUT).sum().backward()
        assert bool(guard.dense_gradients["weight"].isfinite().all())


def test_scores_inside_the_block_see_pruned_entries_and_leave_no_trace() -> None:
    model = nn.Linear(3, 2)
    with masked(model, {"weight": KEEP}, dense_gradients=True) as guard:
        found = gradient(model, {"weight": model.weight}, lambda m: [m(INPUT).square().sum()])
        assert bool(found["weight"][~KEEP].any())
        assert guard.dense_gradients == {}


def train(model: nn.Module, *optimizers: torch.optim.Optimizer) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad()
    model(INPUT).square().sum().backward()
    for optimizer in optimizers:
        optimizer.step()


def two_optimizers(model: nn.Sequential, trained: nn.Sequential) -> None:
    train(trained, sgd(trained[0]), sgd(trained[1]))


def with_a_head(model: nn.Sequential, trained: nn.Sequential) -> None:
    whole = nn.Sequential(trained, nn.Linear(3, 1))
    train(whole, sgd(whole))


def frozen_in_part(model: nn.Sequential, trained: nn.Sequential) -> None:
    trained[0].requires_grad_(False)
    train(trained, sgd(trained[1]))


def after_the_model_itself(model: nn.Sequential, trained: nn.Sequential) -> None:
    train(model, sgd(model))
    train(trained, sgd(trained))


@pytest.mark.parametrize("how", [two_optimizers, with_a_head, frozen_in_part, after_the_model_itself])
def test_training_a_copy_is_caught(how: Callable[[nn.Sequential, nn.Sequential], None]) -> None:
    model = pair()
    with pytest.raises(RuntimeError, match="a copy of the model was trained"), masked(model, MASKS):
        how(model, copy.deepcopy(model))


def test_a_teacher_of_the_same_shape_is_no_copy() -> None:
    model, teacher = pair(), pair()
    with masked(model, MASKS):
        train(teacher, sgd(teacher))
        assert not torch.equal(teacher[0].weight, pair()[0].weight)

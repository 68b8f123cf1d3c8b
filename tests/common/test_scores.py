"""Criteria against gradients worked out by hand and by finite differences, and the traces they must not leave."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from common import scores
from common.allocate import prune
from common.masks import Masks, prunable
from common.scores import Scorer

INPUTS = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([[0, 1, 2, 0, 1], [1, 1, 0, 2, 2], [0, 2, 2, 1, 0]])


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Tanh(), nn.Linear(6, 3))


def objective(model: nn.Module) -> Iterator[Tensor]:
    for inputs, labels in zip(INPUTS, LABELS, strict=True):
        yield functional.cross_entropy(model(inputs), labels)


def initial() -> dict[str, Tensor]:
    return {name: p.detach() / 2 for name, p in network().named_parameters()}


EVERY: dict[str, Scorer] = {
    "magnitude": scores.magnitude,
    "random": scores.random(3),
    "movement": scores.movement(initial()),
    "magnitude_increase": scores.magnitude_increase(initial()),
    "gradient": scores.gradient,
    "snip": scores.snip,
    "taylor": scores.taylor,
    "expansion": scores.expansion(3),
    "grasp": scores.grasp,
    "fisher": scores.fisher,
    "synflow": scores.synflow((INPUTS[0],)),
}
BY_LOSS = ["gradient", "snip", "taylor", "expansion", "grasp", "fisher"]


@pytest.mark.parametrize("name", EVERY)
def test_scores_have_the_shapes_and_no_gradient(name: str) -> None:
    model = network()
    params = prunable(model)
    found = EVERY[name](model, params, objective)
    assert list(found) == list(params)
    for key, score in found.items():
        assert (score.shape, score.requires_grad) == (params[key].shape, False)
        assert score.isfinite().all()
        assert score.unique().numel() > 1
    assert prune(found, 0.3).kept == round(0.3 * 42)
    assert isinstance(EVERY[name].reference, str)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(name: str, training: bool) -> None:
    model = network().train(training)
    model[3].train(not training)
    for p in model.parameters():
        p.grad = torch.full_like(p, 7.0)
    with torch.no_grad():
        model.get_parameter("0.weight")[0, 0] = -0.0
    model.get_parameter("4.weight").requires_grad_(False)
    before, objects = copy.deepcopy(model.state_dict()), list(model.parameters())
    EVERY[name](model, prunable(model), objective)
    after = model.state_dict()
    assert [(k, v.numpy().tobytes()) for k, v in after.items()] == [(k, v.numpy().tobytes()) for k, v in before.items()]
    assert all(p is q for p, q in zip(model.parameters(), objects, strict=True))
    assert all(p.grad is not None and bool((p.grad == 7).all()) for p in model.parameters())
    assert [m.training for m in model] == [training, training, training, not training, training]
    assert [p.requires_grad for p in model.parameters()] == [True] * 4 + [False, True]


def test_a_model_is_put_back_even_if_the_objective_fails() -> None:
    def failing(model: nn.Module) -> Iterator[Tensor]:
        model.eval()
        yield model(INPUTS[0]).sum()
        raise RuntimeError("out of data")

    model = network()
    with pytest.raises(RuntimeError, match="out of data"):
        scores.snip(model, prunable(model), failing)
    assert model.training


def two_batches(model: nn.Module) -> list[Tensor]:
    """Losses of w = (2, -1) with the gradients (3, 1) and (-1, 1)."""
    weight = model.get_parameter("weight")
    return [(weight * torch.tensor([[3.0, 1.0]])).sum(), (weight * torch.tensor([[-1.0, 1.0]])).sum()]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gradient", [1.0, 1.0]),  # |(3 - 1) / 2|, |(1 + 1) / 2|
        ("snip", [4.0, 1.0]),  # (6 + 2) / 2
        ("taylor", [2.0, 1.0]),  # |(6 - 2) / 2|
        ("fisher", [10.0, 0.5]),  # 4 / 2 * (9 + 1) / 2
        ("grasp", [0.0, 0.0]),  # linear: no curvature
    ],
)
def test_two_batches_by_hand(name: str, expected: list[float]) -> None:
    model = nn.Linear(2, 1, bias=False)
    model.weight.data = torch.tensor([[2.0, -1.0]])
    assert EVERY[name](model, {"weight": model.weight}, two_batches)["weight"].tolist() == [expected]


def test_grasp_is_the_drop_of_the_squared_gradient_by_finite_differences() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    params = dict(model.named_parameters())

    def losses(m: nn.Module) -> Iterator[Tensor]:
        for inputs, labels in zip(INPUTS, LABELS, strict=True):
            yield functional.cross_entropy(m(inputs.double()), labels)

    def flow() -> float:
        mean = torch.stack(list(losses(model))).mean()
        return sum(float(g.square().sum()) for g in torch.autograd.grad(mean, list(params.values())))

    found = scores.grasp(model, params, losses)
    for name, i in (("0.weight", 5), ("2.weight", 2), ("0.bias", 1)):
        flat, step = params[name].data.view(-1), 1e-6
        weight = float(flat[i])
        flat[i] = weight * (1 + step)
        more = flow()
        flat[i] = weight * (1 - step)
        less = flow()
        flat[i] = weight
        assert (more - less) / (4 * step) == pytest.approx(float(found[name].flatten()[i]), rel=1e-4)


@pytest.mark.parametrize("name", BY_LOSS)
def test_an_objective_that_cannot_score_is_refused(name: str) -> None:
    model, score = network(), EVERY[name]
    params = prunable(model)
    with pytest.raises(ValueError, match=f"{name} needs an objective"):
        score(model, params, None)
    with pytest.raises(ValueError, match="yielded no loss"):
        score(model, params, lambda m: [])
    with pytest.raises(TypeError, match=r"one scalar loss a batch; found shape \(5, 3\)"):
        score(model, params, lambda m: [m(INPUTS[0])])
    with pytest.raises(TypeError, match="found float"):
        score(model, params, lambda m: [1.0])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="carries no gradient"):
        score(model, params, lambda m: [m(INPUTS[0]).sum().detach()])
    with pytest.raises(ValueError, match=r"no loss depends on 4\.weight"):
        score(model, params, lambda m: [m.get_submodule("0")(INPUTS[0]).sum()])


def test_a_parameter_may_miss_some_batches() -> None:
    model = network()
    found = scores.gradient(
        model, prunable(model), lambda m: [m.get_submodule("0")(INPUTS[0]).sum(), m(INPUTS[1])[:, 0].sum()]
    )
    assert bool((found["4.weight"] != 0).any())


def test_lamp_literally() -> None:
    found = scores.lamp({"w": torch.tensor([[3.0, 0.0], [1.0, 2.0]]), "v": torch.tensor([1.0, -torch.inf, 1.0])})
    assert found["w"].flatten().tolist() == pytest.approx([1.0, 0.0, 1 / 14, 4 / 13])
    assert found["v"].tolist() == [1.0, -torch.inf, 0.5]
    for wrong in (-1.0, torch.nan, torch.inf):
        with pytest.raises(ValueError, match="lamp needs finite scores of at least 0"):
            scores.lamp({"w": torch.tensor([1.0, wrong])})


@given(st.lists(st.integers(0, 6), min_size=1, max_size=20))
def test_lamp_is_its_definition_with_ties_by_index(values: list[int]) -> None:
    found = scores.lamp({"w": torch.tensor(values, dtype=torch.float32)})["w"].tolist()
    for u, value in enumerate(values):
        rest = [v for i, v in enumerate(values) if v > value or (v == value and i <= u)]
        expected = value**2 / sum(v**2 for v in rest) if value else 0.0
        assert found[u] == pytest.approx(expected)


def test_lamp_ignores_a_tensors_scale_and_keeps_one_of_each() -> None:
    weights = {"a": torch.rand(20) + 0.1, "b": 1e-20 * (torch.rand(20) + 0.1)}
    found = scores.lamp(weights)
    assert found["b"].tolist() == pytest.approx(scores.lamp({"b": 1e20 * weights["b"]})["b"].tolist(), rel=1e-4)
    assert all(kept >= 1 for kept, _ in prune(found, 0.05).counts().values())


def test_random_scores_follow_from_seed_and_name_alone() -> None:
    model, params = nn.Module(), {"a": torch.zeros(4, 3), "b": torch.zeros(4, 3)}
    found = scores.random(1)(model, params, None)
    assert torch.equal(found["b"], scores.random(1)(model, {"b": params["b"]}, None)["b"])
    assert not torch.equal(found["a"], found["b"])
    assert not torch.equal(found["a"], scores.random(2)(model, params, None)["a"])
    many = scores.random(0)(model, {"w": torch.zeros(20_000)}, None)["w"].numpy()
    assert np.quantile(many, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.02)


@pytest.mark.parametrize("criterion", [scores.movement, scores.magnitude_increase])
def test_initial_weights_that_do_not_fit_are_refused(criterion: object) -> None:
    params = {"w": torch.zeros(2)}
    with pytest.raises(KeyError, match="lack 'w'; the nearest is 'v'"):
        criterion({"v": torch.zeros(2)})(nn.Module(), params)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"'w' have shape \(3,\); expected \(2,\)"):
        criterion({"w": torch.zeros(3)})(nn.Module(), params)  # type: ignore[operator]


def test_masks_from_scores_are_masks() -> None:
    model = network()
    assert isinstance(prune(scores.snip(model, prunable(model), objective), 0.5), Masks)

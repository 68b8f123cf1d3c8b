"""`masked`: pruned entries are exactly zero under every optimizer, kept ones train as if the others never existed."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from common.apply import masked
from common.masks import Masks, prunable

Make = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Make] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.1, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05, weight_decay=0.1),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.05, weight_decay=0.1),
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.5, max_iter=4),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.BatchNorm1d(6), nn.Linear(6, 2))


def random_masks(model: nn.Module, seed: int = 1) -> Masks:
    generator = torch.Generator().manual_seed(seed)
    return Masks({n: torch.rand(p.shape, generator=generator) < 0.4 for n, p in prunable(model).items()})


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 2) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x, y = torch.randn(8, 4, generator=generator), torch.randn(8, 2, generator=generator)

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad()
            loss = (model(x) - y).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)


def assert_zero(model: nn.Module, masks: Masks) -> None:
    params = dict(model.named_parameters(remove_duplicate=False))
    for name, mask in masks.items():
        assert torch.count_nonzero(params[name][~mask]) == 0, name
        assert torch.count_nonzero(params[name][mask]) > 0, name


@pytest.mark.parametrize("name", list(OPTIMIZERS))
@pytest.mark.parametrize("warm", [0, 3])
def test_pruned_entries_and_their_optimizer_state_are_zero(name: str, warm: int) -> None:
    model = network()
    masks, optimizer = random_masks(model), OPTIMIZERS[name](model.parameters())
    train(model, optimizer, warm)
    with masked(model, masks) as guard:
        for step in range(3):
            train(model, optimizer, 1, seed=step)
            assert_zero(model, masks)
    assert guard.steps == 3
    for key, mask in masks.items():
        param = model.get_parameter(key)
        states = [v for v in optimizer.state[param].values() if isinstance(v, Tensor) and v.shape == param.shape]
        assert name == "LBFGS" or states
        assert all(torch.count_nonzero(v[~mask]) == 0 for v in states)


def test_flat_state_of_a_warm_lbfgs_is_cleaned_before_it_moves() -> None:
    model = network()
    masks = random_masks(model)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    train(model, optimizer, 2)
    flat_mask = torch.cat([masks.get(n, torch.ones_like(p).bool()).reshape(-1) for n, p in model.named_parameters()])
    seen: list[int] = []

    class Watch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(sum(int(torch.count_nonzero(model.get_parameter(n)[~m])) for n, m in masks.items()))
            return model(x)

    with masked(model, masks):
        train(Watch(), optimizer, 2)
    state = optimizer.state[next(model.parameters())]
    assert len(seen) > 4
    assert set(seen) == {0}  # also between the inner iterations
    assert all(not d[~flat_mask].any() for d in (*state["old_dirs"], *state["old_stps"], state["d"]))


def test_kept_entries_follow_sgd_computed_by_hand() -> None:
    model = nn.Linear(3, 1, bias=False)
    model.weight.data = torch.tensor([[1.0, -2.0, 3.0]])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    x = torch.tensor([[1.0, 2.0, -1.0]])
    w, v = [1.0, 3.0], [0.0, 0.0]
    with masked(model, {"weight": torch.tensor([[True, False, True]])}):
        for _ in range(4):
            optimizer.zero_grad()
            (model(x).squeeze() ** 2 / 2).backward()
            optimizer.step()
            error = w[0] - w[1]
            v = [0.5 * v[0] + error, 0.5 * v[1] - error]
            w = [w[0] - 0.1 * v[0], w[1] - 0.1 * v[1]]
            assert torch.allclose(model.weight, torch.tensor([[w[0], 0.0, w[1]]]))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam"])
def test_kept_entries_train_as_in_a_model_without_the_others(name: str) -> None:
    """Input columns pruned whole equal a narrower layer: an oracle that needs no mask."""
    torch.manual_seed(0)
    wide, narrow = nn.Linear(4, 2), nn.Linear(2, 2)
    narrow.weight.data, narrow.bias.data = wide.weight.data[:, [0, 2]].clone(), wide.bias.data.clone()
    keep = torch.tensor([True, False, True, False]).expand(2, 4)
    ours, theirs = OPTIMIZERS[name](wide.parameters()), OPTIMIZERS[name](narrow.parameters())
    with masked(wide, {"weight": keep}):
        train(wide, ours, 5)
    pick = nn.Sequential(Columns(), narrow)
    train(pick, theirs, 5)
    assert torch.allclose(wide.weight[:, [0, 2]], narrow.weight, atol=1e-6)
    assert torch.allclose(wide.bias, narrow.bias, atol=1e-6)


class Columns(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, [0, 2]]


@given(st.integers(0, 2**12 - 1), st.sampled_from(["SGD", "Adam", "RMSprop"]), st.booleans())
def test_any_mask_holds_exactly(bits: int, name: str, double: bool) -> None:
    model = nn.Linear(4, 3).to(torch.float64 if double else torch.float32)
    mask = torch.tensor([bool(bits >> i & 1) for i in range(12)]).reshape(3, 4)
    optimizer = OPTIMIZERS[name](model.parameters())
    with masked(model, {"weight": mask}):
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.randn(2, 4, dtype=model.weight.dtype)).square().sum().backward()
            optimizer.step()
    assert torch.equal(model.weight != 0, mask)


def test_norms_and_biases_are_untouched_by_default() -> None:
    model = network()
    masks = random_masks(model)
    before = copy.deepcopy(model.state_dict())
    with masked(model, masks):
        pass
    after = model.state_dict()
    assert sorted(masks) == ["0.weight", "4.weight"]
    assert all(torch.equal(before[n], after[n]) for n in before if n not in masks)
    assert all(torch.equal(after[n], before[n] * masks[n]) for n in masks)


@pytest.mark.parametrize("poison", [torch.inf, -torch.inf, torch.nan, -1.0])
def test_gradients_are_exactly_zero_even_where_the_dense_one_is_not_finite(poison: float) -> None:
    model = nn.Linear(2, 1, bias=False)
    model.weight.data = torch.tensor([[1.0, poison]])
    with masked(model, {"weight": torch.tensor([[True, False]])}) as guard:
        (model.weight * torch.tensor([[2.0, poison]])).sum().backward()
        assert model.weight.grad is not None
        assert model.weight.grad.tolist() == [[2.0, 0.0]]
        assert not torch.signbit(torch.stack([model.weight.detach(), model.weight.grad])).any()  # +0.0, never -0.0
        assert guard.dense_gradients == {}


def test_a_gradient_already_there_is_masked_on_entry() -> None:
    model = nn.Linear(2, 1, bias=False)
    model.weight.grad = torch.ones(1, 2)
    with masked(model, {"weight": torch.tensor([[True, False]])}):
        assert model.weight.grad.tolist() == [[1.0, 0.0]]


def test_dense_gradients_accumulate_until_the_step() -> None:
    model = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen: list[list[float]] = []
    with masked(model, {"weight": torch.tensor([[True, False]])}, dense_gradients=True) as guard:
        guard.after_step(lambda g: seen.append(g.dense_gradients["weight"].flatten().tolist()))
        for row in ([[1.0, 2.0]], [[10.0, 20.0]]):
            model(torch.tensor(row)).sum().backward()
        assert model.weight.grad is not None
        assert model.weight.grad.tolist() == [[11.0, 0.0]]
        optimizer.step()
        assert guard.dense_gradients == {}
        optimizer.zero_grad()
        model(torch.tensor([[3.0, torch.inf]])).sum().backward()  # a step that a gradient scaler would skip
        optimizer.zero_grad()
        model(torch.tensor([[3.0, 4.0]])).sum().backward()
        optimizer.step()
    assert seen == [[11.0, 22.0], [3.0, 4.0]]


def test_update_changes_masks_and_grown_weights_start_from_zero() -> None:
    model = nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    inputs = torch.ones(2, 3)

    def step() -> None:
        optimizer.zero_grad()
        model(inputs).sum().backward()
        optimizer.step()

    with masked(model, {"weight": torch.tensor([[True, True, False]])}) as guard:
        step()
        guard.update({"weight": torch.tensor([[True, False, True]])})
        assert guard.masks["weight"].tolist() == [[True, False, True]]
        assert model.weight[0, 1:].tolist() == [0.0, 0.0]
        step()
        assert model.weight[0, 1] == 0
        assert model.weight[0, 2] != 0
        assert optimizer.state[model.weight]["exp_avg"][0, 1] == 0
        with pytest.raises(ValueError, match="shape"):
            guard.update({"weight": torch.ones(3)})


def test_defect_1_keys_objects_order_and_hooks_are_untouched() -> None:
    model = network()
    keys, params = list(model.state_dict()), dict(model.named_parameters())
    with masked(model, random_masks(model)):
        assert list(model.state_dict()) == keys
        copied, loaded = copy.deepcopy(model), pickle.loads(pickle.dumps(model))  # noqa: S301
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        train(model, optimizer, 1)
        stale = model[0].weight
    for other in (model, copied, loaded):
        assert list(other.state_dict()) == keys
    assert stale is params["0.weight"]
    assert list(dict(model.named_parameters()).items()) == list(params.items())
    train(model, optimizer, 1)
    assert torch.count_nonzero(model[0].weight) == 24  # the block's end is the masks' end


def test_evaluation_alone_and_a_frozen_vector_are_fine() -> None:
    model = nn.Linear(2, 1)
    edges = nn.ParameterDict({"edges": nn.Parameter(torch.ones(3), requires_grad=False)})
    with masked(model, {"weight": torch.ones(1, 2)}), masked(edges, {"edges": torch.tensor([1, 0, 1])}):
        model(torch.ones(1, 2))
    assert edges["edges"].tolist() == [1.0, 0.0, 1.0]
    assert not edges["edges"].requires_grad

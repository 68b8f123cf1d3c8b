"""Moving masks: exact counts, literal drops and growths, and the cubic."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from common.dynamic import Update, drop_and_grow, gradual, moving, rigl, set_
from common.masks import Masks

WEIGHT = torch.tensor([[4.0, -1.0, 0.0], [2.0, 0.0, -3.0]])
KEPT = torch.tensor([[True, True, False], [True, False, True]])


def bits(text: str) -> Tensor:
    return torch.tensor([[c == "1" for c in row] for row in text.split()])


def test_the_smallest_weights_drop_and_the_best_entries_grow() -> None:
    growth = torch.tensor([[9.0, 0.0, 2.0], [9.0, 1.0, 9.0]])
    assert torch.equal(drop_and_grow(WEIGHT, KEPT, growth, 0), KEPT)
    assert torch.equal(drop_and_grow(WEIGHT, KEPT, growth, 1), bits("101 101"))
    assert torch.equal(drop_and_grow(WEIGHT, KEPT, growth, 2), bits("101 101"))  # 2.0 dropped, and grew again
    with pytest.raises(ValueError, match="count is 5; it must lie between 0 and the 4 kept"):
        drop_and_grow(WEIGHT, KEPT, growth, 5)


@given(st.integers(0, 2**12 - 1), st.floats(0, 1), st.integers(0, 9))
def test_counts_never_change(mask_bits: int, fraction: float, seed: int) -> None:
    mask = torch.tensor([bool(mask_bits >> i & 1) for i in range(12)])
    generator = torch.Generator().manual_seed(seed)
    weights = {"w": torch.randint(-2, 3, (12,), generator=generator).float() * mask}  # many ties
    gradients = {"w": torch.randint(-2, 3, (12,), generator=generator).float()}
    for update in (rigl(fraction, end=10), set_(fraction, seed=seed)):
        for step in (1, 5, 10):
            assert update(step, weights, gradients, Masks({"w": mask}))["w"].sum() == mask.sum()


def test_rigl_moves_the_cosine_share_and_grows_by_gradient() -> None:
    weights = {"w": torch.arange(1.0, 101.0)}
    masks = Masks({"w": torch.arange(100) < 50})
    gradients = {"w": -torch.arange(100.0)}
    for step, share in ((1, 0.3 / 2 * (1 + math.cos(math.pi / 10))), (5, 0.15), (10, 0.0), (11, 0.0)):
        moved = rigl(0.3, end=10)(step, weights, gradients, masks)["w"]
        count = round(50 * share)
        assert moved.nonzero().flatten().tolist() == [*range(count, 50), *range(100 - count, 100)]


def test_set_is_repeatable_and_depends_on_seed_step_and_name() -> None:
    def grown(seed: int, step: int, name: str = "w") -> list[int]:
        weights, masks = {name: torch.arange(1.0, 101.0)}, Masks({name: torch.arange(100) < 50})
        return set_(0.4, seed=seed)(step, weights, {}, masks)[name].nonzero().flatten().tolist()

    assert grown(0, 1) == grown(0, 1)
    assert grown(0, 1)[:20] != list(range(20))
    assert len({tuple(grown(*key)) for key in ((0, 1), (1, 1), (0, 2), (0, 1, "v"))}) == 4
    weights, masks = {"w": torch.ones(4)}, Masks({"w": torch.tensor([1, 1, 0, 0])})
    assert torch.equal(set_(1.0, end=3)(4, weights, {}, masks)["w"], masks["w"])


def test_gradual_follows_the_cubic_and_is_nested() -> None:
    weights = {"w": torch.arange(1.0, 101.0)}
    masks, update, kept = Masks.dense(weights), gradual(0.8, 0.2, begin=2, end=10), []
    for step in range(0, 13, 2):
        new = update(step, weights, {}, masks)
        assert not (new["w"] & ~masks["w"]).any()
        masks = new
        kept.append(masks.kept)
    assert kept == [100, 80, *(round(20 + 60 * (1 - (t - 2) / 8) ** 3) for t in (4, 6, 8)), 20, 20]
    assert masks["w"].nonzero().flatten().tolist() == list(range(80, 100))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rigl(1.5, end=3), r"fraction is 1\.5"),
        (lambda: rigl(0.5, end=0), "end is 0"),
        (lambda: set_(-0.1), r"fraction is -0\.1"),
        (lambda: gradual(0.2, 0.8, begin=0, end=1), r"found 0\.2 to 0\.8"),
        (lambda: gradual(1.0, 0.5, begin=3, end=3), "over steps 3 to 3"),
        (lambda: gradual(1.1, 0.5, begin=0, end=3), r"start_density is 1\.1"),
    ],
)
def test_arguments_are_checked(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def train(update: Update, *, every: int, stop: int, steps: int) -> tuple[nn.Linear, list[Tensor]]:
    torch.manual_seed(0)
    model = nn.Linear(8, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    history = [torch.arange(32).reshape(4, 8) % 2 == 0]
    with moving(model, {"weight": history[0]}, update, every=every, stop=stop) as guard:
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.randn(16, 8)).square().sum().backward()
            optimizer.step()
            history.append(guard.masks["weight"])
            assert not model.weight[~history[-1]].any()
    return model, history


@pytest.mark.parametrize("update", [rigl(0.5, end=20), set_(0.5)])
def test_masks_move_at_every_nth_step_until_the_stop(update: Update) -> None:
    model, history = train(update, every=2, stop=4, steps=7)
    changed = [not torch.equal(a, b) for a, b in pairwise(history)]
    assert changed == [False, True, False, True, False, False, False]
    assert {int(mask.sum()) for mask in history} == {16}
    assert torch.equal(model.weight != 0, history[-1])


def test_the_update_sees_weights_dense_gradients_and_masks_at_its_steps_only() -> None:
    calls: list[int] = []

    def watch(step: int, weights: dict[str, Tensor], gradients: dict[str, Tensor], masks: Masks) -> Masks:
        calls.append(step)
        mask = masks["weight"]
        assert not weights["weight"][~mask].any()
        assert gradients["weight"][~mask].all()
        return masks

    train(watch, every=3, stop=6, steps=10)  # type: ignore[arg-type]
    assert calls == [3, 6]


def test_grown_weights_start_from_zero_without_momentum() -> None:
    model = nn.Linear(4, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    first, second = torch.tensor([[True, True, False, False]]), torch.tensor([[True, False, True, False]])
    with moving(model, {"weight": first}, lambda *_: Masks({"weight": second}), every=2, stop=2) as guard:
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.ones(1, 4)).sum().backward()
            optimizer.step()
        assert torch.equal(guard.masks["weight"], second)
        assert model.weight[0, 1:].tolist() == [0.0, 0.0, 0.0]
        optimizer.zero_grad()
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        assert torch.allclose(model.weight[0, 1:], torch.tensor([0.0, -0.1, 0.0]))
        assert optimizer.state[model.weight]["momentum_buffer"][0, 1:].tolist() == [0.0, 1.0, 0.0]


def test_every_must_be_positive() -> None:
    with pytest.raises(ValueError, match="every is 0"):
        moving(nn.Linear(2, 1), {}, set_(), every=0, stop=1).__enter__()

"""Every gate against its definition on literal arrays, and its gradient against finite differences or the paper."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from common.apply_gates import gated
from common.gates import Gate, HardConcrete, Sigmoid, Soft, Step, TopK

MASK = torch.tensor([[True, False, True], [True, True, False]])
ONES = torch.ones(2, 3)
KINDS: dict[str, Callable[[Tensor, Tensor], Gate]] = {
    "Soft": Soft,
    "TopK": lambda weight, mask: TopK(weight, mask, density=0.5),
    "Sigmoid": Sigmoid,
    "HardConcrete": HardConcrete,
    "Step": Step,
}


@pytest.fixture(params=list(KINDS))
def make(request: pytest.FixtureRequest) -> Callable[[Tensor, Tensor], Gate]:
    return KINDS[request.param]


def test_a_gate_is_zero_outside_the_mask_and_learns_only_inside(make: Callable[[Tensor, Tensor], Gate]) -> None:
    weight = torch.linspace(-1, 1, 6).reshape(2, 3)
    gate = make(weight, MASK)
    multiplier = gate(weight)
    assert multiplier.shape == weight.shape
    assert multiplier[~MASK].tolist() == [0.0, 0.0]
    multiplier[~MASK].sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in gate.parameters())


def test_a_gate_scores_every_entry_and_states_its_source(make: Callable[[Tensor, Tensor], Gate]) -> None:
    gate = make(ONES, MASK)
    assert gate.scores().shape == ONES.shape
    assert not gate.scores().requires_grad
    assert gate.penalty().shape == ()
    assert "20" in gate.reference


def test_a_gate_refuses_a_mask_of_another_shape(make: Callable[[Tensor, Tensor], Gate]) -> None:
    with pytest.raises(ValueError, match=r"mask has shape \(3,\), the weight \(2, 3\)"):
        make(ONES, torch.ones(3, dtype=torch.bool))


def test_a_gate_follows_the_type_of_its_weight(make: Callable[[Tensor, Tensor], Gate]) -> None:
    gate = make(ONES.double(), MASK)
    assert gate(ONES.double()).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_gate_works_in_half_precision(make: Callable[[Tensor, Tensor], Gate], dtype: torch.dtype) -> None:
    model = torch.nn.Linear(4, 4).to(dtype)
    mask = torch.arange(16).reshape(4, 4) % 3 > 0
    with gated(model, {"weight": mask}, make) as gates:
        for training in (True, False):
            model.train(training)
            assert model.weight.dtype == dtype
            assert not bool(model.weight[~mask].any())
            loss = model(torch.ones(2, 4, dtype=dtype)).square().sum() + gates.penalty()
            loss.backward()
            assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in gates.parameters())
    large = torch.ones(300, 300, dtype=dtype)
    penalty = make(large, large.bool()).penalty()
    wide = make(large.float(), large.bool()).penalty()
    assert penalty.item() == pytest.approx(wide.item(), rel=0.01)


def test_a_gate_without_scores_and_penalty_is_refused() -> None:
    class Open(Gate):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return torch.ones_like(weight)

    with pytest.raises(TypeError, match=r"penalty.*scores"):
        Open(ONES, MASK)  # type: ignore[abstract]


def test_soft_starts_at_the_mask_plus_noise_in_the_half_width() -> None:
    uniform = torch.tensor([[0.0, 0.5, 0.5], [0.25, 0.75, 0.0]])
    gate = Soft(ONES, MASK, noise=0.1, uniform=uniform)
    assert torch.allclose(gate(ONES), torch.tensor([[0.9, 0.0, 1.0], [0.95, 1.05, 0.0]]))
    assert torch.equal(gate.scores(), gate(ONES).detach().abs())
    assert gate.penalty().item() == pytest.approx(3.9)


def test_soft_draws_from_its_generator() -> None:
    draws = [Soft(ONES, MASK, generator=torch.Generator().manual_seed(seed)).value for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert (draws[0][MASK] - 1).abs().max() <= 1e-5


def test_soft_refuses_two_sources_of_noise_and_a_wrong_draw() -> None:
    with pytest.raises(ValueError, match="both uniform and generator"):
        Soft(ONES, MASK, uniform=ONES, generator=torch.Generator())
    with pytest.raises(ValueError, match=r"uniform has shape \(3,\)"):
        Soft(ONES, MASK, uniform=torch.ones(3))


def test_top_k_keeps_the_largest_scores_inside_the_mask() -> None:
    gate = TopK(ONES, MASK, density=1 / 3)
    gate.score.data = torch.tensor([[0.1, 9.0, 0.3], [0.3, 0.3, 9.0]])
    assert gate(ONES).tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]  # ties to the lowest index
    assert gate.penalty().item() == 0.0


def test_top_k_passes_the_gradient_straight_through() -> None:
    gate = TopK(ONES, MASK, density=1 / 3)
    upstream = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    (gate(ONES) * upstream).sum().backward()
    assert gate.score.grad is not None
    assert torch.equal(gate.score.grad, upstream * MASK)


@pytest.mark.parametrize("density", [-0.1, 1.1, 0.9])
def test_top_k_refuses_a_density_that_the_mask_cannot_meet(density: float) -> None:
    with pytest.raises(ValueError, match=f"density is {density}.*at most the 4 of 6"):
        TopK(ONES, MASK, density=density)


@given(st.integers(0, 12), st.integers(0, 99))
def test_top_k_meets_its_density_exactly(count: int, seed: int) -> None:
    weight = torch.ones(3, 4)
    gate = TopK(weight, weight.bool(), density=count / 12, generator=torch.Generator().manual_seed(seed))
    assert gate(weight).sum().item() == count


def test_sigmoid_hardens_with_the_temperature() -> None:
    gate = Sigmoid(ONES, MASK, init=math.log(3), temperature=1.0)
    assert torch.allclose(gate(ONES), 0.75 * MASK)
    gate.temperature = 2.0
    assert torch.allclose(gate(ONES), 0.9 * MASK)
    assert gate.penalty().item() == pytest.approx(3.6)


def test_sigmoid_is_a_step_in_eval_mode_unless_told_otherwise() -> None:
    gate = Sigmoid(ONES, MASK)
    gate.score.data = torch.tensor([[0.1, 1.0, -0.1], [0.0, 2.0, 1.0]])
    gate.eval()
    assert gate(ONES).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    gate.hard = False
    assert torch.allclose(gate(ONES), torch.sigmoid(gate.score) * MASK)


def test_hard_concrete_in_eval_mode_is_the_clamped_stretched_sigmoid() -> None:
    gate = HardConcrete(torch.ones(3), torch.ones(3, dtype=torch.bool)).eval()
    gate.log_alpha.data = torch.tensor([-10.0, 0.0, 10.0])
    assert gate(torch.ones(3)).tolist() == [0.0, 0.5, 1.0]


def test_hard_concrete_penalty_is_the_share_of_open_gates_that_sampling_finds() -> None:
    weight = torch.ones(200_000)
    gate = HardConcrete(weight, weight.bool(), keep=0.3, generator=torch.Generator().manual_seed(0))
    open_gates = torch.count_nonzero(gate(weight)).item()
    assert open_gates / 200_000 == pytest.approx(gate.penalty().item() / 200_000, abs=0.005)


def test_hard_concrete_refuses_a_certain_gate() -> None:
    with pytest.raises(ValueError, match=r"keep is 1\.0"):
        HardConcrete(ONES, MASK, keep=1.0)


def test_step_compares_each_row_with_its_threshold() -> None:
    weight = torch.tensor([[0.1, -0.9, 0.5], [0.3, 0.2, -0.25]])
    gate = Step(weight, torch.ones(2, 3, dtype=torch.bool))
    assert gate(weight).tolist() == ONES.tolist()
    gate.threshold.data = torch.tensor([[0.5], [0.25]])
    assert gate(weight).tolist() == [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]
    assert torch.allclose(gate.scores(), torch.tensor([[-0.4, 0.4, 0.0], [0.05, -0.05, 0.0]]))
    assert gate.penalty().item() == pytest.approx(math.exp(-0.5) + math.exp(-0.25))


def test_step_takes_the_long_tailed_surrogate_backwards() -> None:
    weight = torch.tensor([0.0, -0.25, 0.5, 0.9, 1.5], requires_grad=True)
    gate = Step(weight, torch.ones(5, dtype=torch.bool))
    gate(weight).sum().backward()
    assert weight.grad is not None
    assert gate.threshold.grad is not None
    assert torch.allclose(weight.grad, torch.tensor([0.0, -1.0, 0.4, 0.4, 0.0]))  # sign(w) (2 - 4|w|), 0.4, 0.4, 0
    assert gate.threshold.grad.item() == pytest.approx(-(2.0 + 1.0 + 0.4 + 0.4))


def test_step_keeps_one_threshold_a_filter_and_one_a_vector() -> None:
    assert Step(torch.ones(4, 3, 2, 2), torch.ones(4, 3, 2, 2).bool()).threshold.shape == (4, 1, 1, 1)
    assert Step(torch.ones(4), torch.ones(4).bool()).threshold.shape == (1,)


def test_step_has_its_slope_to_the_last_digit_in_double_precision() -> None:
    weight = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    Step(weight, torch.tensor([True]))(weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [0.4]


def smooth(kind: str, value: Tensor) -> tuple[Tensor, Tensor]:
    gate = KINDS[kind](torch.ones_like(value), MASK)
    if isinstance(gate, HardConcrete):
        gate.generator = torch.Generator().manual_seed(0)
    name = next(iter(dict(gate.named_parameters())))
    penalty_of = torch.func.functional_call(_Penalty(gate), {f"gate.{name}": value}, (ONES,))
    return torch.func.functional_call(gate, {name: value}, (ONES.double(),)), penalty_of


class _Penalty(torch.nn.Module):
    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, _: Tensor) -> Tensor:
        return self.gate.penalty()


@pytest.mark.parametrize("kind", ["Soft", "Sigmoid", "HardConcrete"])
def test_smooth_gates_and_their_penalties_pass_a_gradient_check(kind: str) -> None:
    value = torch.tensor([[0.3, -0.2, 0.7], [0.4, 0.9, -0.5]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: smooth(kind, v), value)


def test_step_penalty_passes_a_gradient_check() -> None:
    gate = _Penalty(Step(ONES.double(), MASK))
    value = torch.tensor([[0.3], [-0.2]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: torch.func.functional_call(gate, {"gate.threshold": v}, (ONES,)), value)

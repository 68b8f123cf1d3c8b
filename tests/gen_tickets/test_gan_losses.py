"""Losses of GANs against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from gen_tickets.gan_losses import (
    HINGE,
    NON_SATURATING,
    WASSERSTEIN,
    Adversary,
    distillation,
    gradient_penalty,
    perturbed,
)

LITERAL = [
    (HINGE, (1.25, 1.5, -0.25)),
    (WASSERSTEIN, (-0.25, 0.25, -0.25)),
    (NON_SATURATING, ((math.log1p(math.e**1.5) + math.log1p(math.e**-2)) / 2,
                      (math.log1p(math.e**-1.5) + math.log1p(math.e**2)) / 2,
                      (math.log1p(math.e**1.5) + math.log1p(math.e**-2)) / 2)),
]  # fmt: skip


@pytest.mark.parametrize(("adversary", "expected"), LITERAL)
def test_losses_of_two_logits(adversary: Adversary, expected: tuple[float, float, float]) -> None:
    logits = torch.tensor([-1.5, 2.0])
    assert [term(logits).item() for term in adversary] == pytest.approx(expected)


def test_distillation_of_literal_probabilities() -> None:
    teacher = torch.tensor([0.75, 0.5]).logit()
    student = torch.tensor([0.5, 0.5]).logit().requires_grad_()
    expected = (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)) / 2
    loss = distillation(student, teacher)
    assert loss.item() == pytest.approx(expected)
    (slope,) = torch.autograd.grad(loss, student)
    assert slope.tolist() == pytest.approx([(0.5 - 0.75) / 2, 0.0])  # the student moves towards the teacher
    assert distillation(torch.tensor([-200.0]), torch.tensor([200.0])).item() == pytest.approx(200)


def test_the_gradient_penalty_of_a_linear_critic_is_known() -> None:
    real, fake = torch.randn(5, 1, 2, 2), torch.randn(5, 1, 2, 2)
    weight = torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    assert gradient_penalty(lambda x: (x * weight).sum((1, 2, 3)), real, fake).item() == pytest.approx(16.0)
    curved = gradient_penalty(
        lambda x: x.square().sum((1, 2, 3)) / 2, 3 * torch.ones_like(real), torch.zeros_like(fake)
    )
    assert 0 < curved.item() < 25  # the norm is 6 u, with u between


def test_a_perturbed_feature_is_one_step_up_the_loss() -> None:
    feature = torch.tensor([[2.0, -3.0, 0.0]], requires_grad=True)
    moved = perturbed(feature, lambda f: (f * torch.tensor([1.0, -5.0, 0.0])).sum(), 0.01)
    torch.testing.assert_close(moved, torch.tensor([[2.01, -3.01, 0.0]]))
    (slope,) = torch.autograd.grad((2 * moved).sum(), feature)
    assert slope.tolist() == [[2.0, 2.0, 2.0]]  # as if the step were a constant

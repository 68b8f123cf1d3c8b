"""Scores of edges from both ends: the factorised perceptron equals the plain one, with all its gradients."""

import pytest
import torch

from glt.adjacency import Pattern
from glt.features import Features
from glt.link_scores import Given, LinkScorer, link_scores

EDGES = torch.tensor([[0, 0, 1, 3, 2, 4], [1, 3, 2, 0, 4, 0]])


def sparse_rows(share: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 40, generator=generator, dtype=torch.float64)
    return x * (torch.rand(5, 40, generator=generator) < share)


@pytest.mark.parametrize("share", [0.04, 0.1, 1.0])  # sparse both ways, sparse forwards alone, dense
@pytest.mark.parametrize("hidden", [3, 64, 150])
def test_it_is_the_perceptron_of_both_ends(share: float, hidden: int) -> None:
    x = sparse_rows(share)
    torch.manual_seed(1)
    scorer, pattern = LinkScorer(40, hidden).double(), Pattern(EDGES, 5)
    first = torch.cat(list(scorer.first)).detach().requires_grad_()
    plain = torch.relu(torch.cat([x[EDGES[0]], x[EDGES[1]]], 1) @ first + scorer.bias) @ scorer.second + scorer.shift
    weight = torch.randn(6, dtype=torch.float64)
    others = [scorer.bias, scorer.second, scorer.shift]
    expected = torch.autograd.grad((plain * weight).sum(), [first, *others])
    found = scorer(Features(x), pattern)
    torch.testing.assert_close(found, plain)
    grads = torch.autograd.grad((found * weight).sum(), [scorer.first, *others])
    torch.testing.assert_close(torch.cat(list(grads[0])), expected[0])
    for one, other in zip(grads[1:], expected[1:], strict=True):
        torch.testing.assert_close(one, other)


def test_features_that_are_learned_get_their_gradient() -> None:
    torch.manual_seed(0)
    pattern = Pattern(EDGES, 5)
    shapes = ((5, 3), (2, 3, 4), (4,), (4,))
    parts = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda *p: link_scores(*p, pattern), parts)


def test_a_graph_without_edges_has_no_scores() -> None:
    scorer = LinkScorer(3, 4)
    found = scorer(torch.randn(2, 3), Pattern(EDGES[:, :0], 2))
    found.sum().backward()
    assert found.shape == (0,)
    assert scorer.first.grad is not None


def test_a_given_multiplier_stays_within_its_mask() -> None:
    gate = Given(torch.ones(3), torch.tensor([True, True, False]))
    assert gate(torch.ones(3)).tolist() == [1.0, 1.0, 0.0]
    value = torch.tensor([0.25, 0.5, 0.75], requires_grad=True)
    gate.value = value
    (grad,) = torch.autograd.grad(gate(torch.ones(3)).sum(), value)
    assert grad.tolist() == [1.0, 1.0, 0.0]
    assert gate.scores().tolist() == [0.25, 0.5, 0.0]
    assert gate.penalty().item() == 0.0

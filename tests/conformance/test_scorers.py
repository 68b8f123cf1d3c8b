"""What every criterion must do; a new one is one line in SCORERS."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from common import scores
from common.allocate import prune
from common.masks import prunable
from common.scores import Scorer

LABELS = torch.tensor([0, 1, 2, 0, 1])


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Tanh(), nn.Linear(6, 3))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


def network(make: Callable[[], nn.Module]) -> nn.Module:
    """In eval mode, so that dropout draws nothing and scores can be compared."""
    torch.manual_seed(1)
    return make().eval()


def inputs() -> Tensor:
    return torch.randn(5, 16, generator=torch.Generator().manual_seed(0))


def objective(model: nn.Module) -> Iterator[Tensor]:
    for scale in (1.0, 2.0):
        yield functional.cross_entropy(model(scale * inputs()), LABELS)


def halves(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() / 2 for name, p in model.named_parameters()}


SCORERS: dict[str, Callable[[nn.Module], Scorer]] = {
    "magnitude": lambda _: scores.magnitude,
    "random": lambda _: scores.random(3),
    "movement": lambda model: scores.movement(halves(model)),
    "magnitude_increase": lambda model: scores.magnitude_increase(halves(model)),
    "gradient": lambda _: scores.gradient,
    "snip": lambda _: scores.snip,
    "taylor": lambda _: scores.taylor,
    "expansion": lambda _: scores.expansion(3),
    "grasp": lambda _: scores.grasp,
    "fisher": lambda _: scores.fisher,
    "synflow": lambda _: scores.synflow((inputs(),)),
}
NOT_SCORERS = {"lamp", "synflow_masks"}  # scores to scores, and a whole search
every = pytest.mark.parametrize("criterion", SCORERS)
networks = pytest.mark.parametrize("make", [dense, convolutional])


def complaints(scorer: Scorer, model: nn.Module) -> list[str]:
    """What is wrong with a criterion's scores of a model."""
    params = prunable(model)
    before = {name: p.detach().clone() for name, p in model.state_dict().items()}
    with torch.no_grad():
        found = scorer(model, params, objective)
    if list(found) != list(params):
        return [f"scores {list(found)}, expected {list(params)}"]
    wrong = [f"{n}: shape {tuple(s.shape)}" for n, s in found.items() if s.shape != params[n].shape]
    wrong += [f"{n}: type {s.dtype}" for n, s in found.items() if not s.is_floating_point()]
    wrong += [f"{n}: not finite" for n, s in found.items() if not s.isfinite().all()]
    wrong += [f"{n}: carries a gradient" for n, s in found.items() if s.requires_grad]
    for score in found.values():
        score.detach().fill_(7.0)
    wrong += [f"{n}: changed" for n, p in model.state_dict().items() if not torch.equal(p, before[n])]
    reference = str(getattr(scorer, "reference", ""))
    return wrong if re.search(r"\w, .*\b(19|20)\d\d$", reference) else [*wrong, f"reference {reference!r}"]


@every
@networks
def test_scores_fit_the_parameters_and_leave_the_model_alone(criterion: str, make: Callable[[], nn.Module]) -> None:
    model = network(make)
    assert complaints(SCORERS[criterion](model), model) == []


@every
@networks
def test_the_same_scores_again_in_whatever_order_the_parameters_come(
    criterion: str, make: Callable[[], nn.Module]
) -> None:
    model = network(make)
    scorer, params = SCORERS[criterion](model), prunable(model)
    first = scorer(model, params, objective)
    turned = scorer(model, dict(reversed(params.items())), objective)
    assert list(turned) == list(reversed(first))
    for name, score in first.items():
        assert torch.equal(score, scorer(model, params, objective)[name])
        torch.testing.assert_close(turned[name], score)


@every
@networks
def test_some_parameters_may_be_left_out(criterion: str, make: Callable[[], nn.Module]) -> None:
    model = network(make)
    last = dict([list(prunable(model).items())[-1]])
    assert list(SCORERS[criterion](model)(model, last, objective)) == list(last)


@every
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
def test_scores_prune_to_the_entry(criterion: str, density: float) -> None:
    model = network(dense)
    masks = prune(SCORERS[criterion](model)(model, prunable(model), objective), density)
    assert masks.kept == round(density * 114)


def test_every_criterion_of_the_module_is_held_to_this() -> None:
    public = {name: getattr(scores, name) for name in scores.__all__}
    functions = {name for name, value in public.items() if inspect.isfunction(value)}
    assert functions == SCORERS.keys() | NOT_SCORERS
    assert {name for name in functions if not getattr(public[name], "reference", "")} == set()


OFFENDERS: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "expected": lambda params: {"another": torch.zeros(1)},
    "shape": lambda params: {n: p.detach().clone().flatten() for n, p in params.items()},
    "type": lambda params: {n: p > 0 for n, p in params.items()},
    "not finite": lambda params: {n: p.detach() / 0 for n, p in params.items()},
    "carries a gradient": lambda params: {n: torch.ones_like(p, requires_grad=True) for n, p in params.items()},
    "changed": lambda params: {n: p.detach() for n, p in params.items()},
    "reference": lambda params: {n: p.detach().clone() for n, p in params.items()},
}


@pytest.mark.parametrize("word", OFFENDERS)
def test_an_offending_criterion_is_noticed(word: str) -> None:
    def offender(model: nn.Module, params: dict[str, Tensor], objective: object = None) -> dict[str, Tensor]:
        return OFFENDERS[word](params)

    if word != "reference":
        offender.reference = "Euclid, Elements, 2026"  # type: ignore[attr-defined]
    found = complaints(offender, network(dense))  # type: ignore[arg-type]
    assert found
    assert all(word in complaint for complaint in found)

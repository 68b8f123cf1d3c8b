# ruff: noqa: ARG001 - criteria share one signature
"""Criteria: which weights matter, as one function each.

Every criterion is a function `(model, params, objective=None) -> {name: scores}`: scores have the parameters' shapes
and carry no gradient, the larger ones survive, and the model is left as it was. One that needs more (a seed, the
initial weights, inputs) is made by a function that takes it. `.reference` names the paper.

Those that need the gradients of a loss are in `common.saliency`, synaptic flow in `common.synflow`; all are here, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from common._scorer import Objective, Scorer, cite
from common.masks import closest
from common.saliency import expansion, fisher, gradient, grasp, snip, taylor
from common.synflow import synflow, synflow_masks

__all__ = [
    "Objective",
    "Scorer",
    "expansion",
    "fisher",
    "gradient",
    "grasp",
    "lamp",
    "magnitude",
    "magnitude_increase",
    "movement",
    "random",
    "snip",
    "synflow",
    "synflow_masks",
    "taylor",
]

HAN = "Han et al., Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015"
LTH = "Frankle and Carbin, The Lottery Ticket Hypothesis, ICLR 2019"
ZHOU = "Zhou et al., Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask, NeurIPS 2019"
LAMP = "Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, ICLR 2021"


@cite(HAN)
def magnitude(model: nn.Module, params: Mapping[str, Tensor], objective: Objective | None = None) -> dict[str, Tensor]:
    r"""The weight's size: $|w|$.

    Args:
        model: is not looked at.
        params: name to parameter of any shape.
        objective: is not looked at.

    References:
        Han et al., Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015.

    >>> magnitude(nn.Module(), {"w": torch.tensor([-2.0, 1.0])})
    {'w': tensor([2., 1.])}
    """
    return {name: p.detach().abs() for name, p in params.items()}


@cite(LTH)
def random(seed: int) -> Scorer:
    """Uniform random scores in [0, 1): the random tickets of Frankle and Carbin.

    A tensor's scores depend on the seed, its name and its shape, not on the device or the other tensors.

    References:
        Frankle and Carbin, The Lottery Ticket Hypothesis, ICLR 2019.

    >>> params = {"w": torch.zeros(3)}
    >>> torch.equal(random(1)(nn.Module(), params)["w"], random(1)(nn.Module(), params)["w"])
    True
    """

    @cite(LTH)
    def score(model: nn.Module, params: Mapping[str, Tensor], objective: Objective | None = None) -> dict[str, Tensor]:
        return {name: _uniform(f"{seed}:{name}", p) for name, p in params.items()}

    return score


@cite(ZHOU)
def movement(initial: Mapping[str, Tensor]) -> Scorer:
    r"""How far a weight has moved since initialisation: $|w - w_0|$.

    Args:
        initial: name to initial weights, of the parameters' shapes; a whole state_dict will do. It is kept by
            reference: pass clones if training goes on in place.

    Raises:
        KeyError, ValueError: in the scorer, if a name is missing from `initial` or has another shape there.

    References:
        Zhou et al., Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask, NeurIPS 2019.

    >>> movement({"w": torch.tensor([1.0, 1.0])})(nn.Module(), {"w": torch.tensor([-2.0, 1.0])})
    {'w': tensor([3., 0.])}
    """

    @cite(ZHOU)
    def score(model: nn.Module, params: Mapping[str, Tensor], objective: Objective | None = None) -> dict[str, Tensor]:
        return {name: (p.detach() - _before(initial, name, p)).abs() for name, p in params.items()}

    return score


@cite(ZHOU)
def magnitude_increase(initial: Mapping[str, Tensor]) -> Scorer:
    r"""How much a weight has grown since initialisation: $|w| - |w_0|$, which may be negative.

    Args, Raises: as `movement`.

    References:
        Zhou et al., Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask, NeurIPS 2019.

    >>> magnitude_increase({"w": torch.tensor([1.0, 1.0])})(nn.Module(), {"w": torch.tensor([-2.0, 0.5])})
    {'w': tensor([ 1.0000, -0.5000])}
    """

    @cite(ZHOU)
    def score(model: nn.Module, params: Mapping[str, Tensor], objective: Objective | None = None) -> dict[str, Tensor]:
        return {name: p.detach().abs() - _before(initial, name, p).abs() for name, p in params.items()}

    return score


@cite(LAMP)
def lamp(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    r"""Rescale magnitudes so that one global threshold suits all tensors: $s_u^2 / \sum_{v: s_v \ge s_u} s_v^2$.

    The sum runs within the tensor; of equal entries the lowest index counts as the largest. The best of every tensor
    scores 1, so none is pruned away while another keeps more than one entry. To use it as a criterion:
    `lambda model, params, objective=None: lamp(magnitude(model, params))`.

    Args:
        scores: name to scores of any shape, not negative; -inf marks dead entries and stays.

    Returns:
        Name to scores of the same shape in double precision.

    Raises:
        ValueError: a score is negative, NaN or infinite.

    References:
        Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, ICLR 2021.

    >>> lamp({"w": torch.tensor([1.0, 2.0, 2.0])})["w"].tolist()
    [0.1111111111111111, 1.0, 0.5]
    """
    return {name: _lamp(name, score.detach()) for name, score in scores.items()}


def _lamp(name: str, score: Tensor) -> Tensor:
    dead = score.isneginf()
    flat = score.double().masked_fill(dead, 0.0).reshape(-1)
    if not bool(((flat >= 0) & flat.isfinite()).all()):
        raise ValueError(
            f"lamp needs finite scores of at least 0, such as magnitudes; those of {name!r} reach from "
            f"{flat.min().item()} to {flat.max().item()}"
        )
    values, order = flat.sort(descending=True, stable=True)
    square = (values / values[:1].clamp(min=torch.finfo(torch.float64).tiny)).square()
    ranked = square / square.cumsum(0).clamp(min=torch.finfo(torch.float64).tiny)
    return torch.empty_like(flat).scatter_(0, order, ranked).reshape(score.shape).masked_fill(dead, -torch.inf)


def _uniform(key: str, like: Tensor) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
    return torch.rand(like.shape, generator=torch.Generator().manual_seed(seed)).to(like.device)


def _before(initial: Mapping[str, Tensor], name: str, now: Tensor) -> Tensor:
    if name not in initial:
        raise KeyError(f"the initial weights lack {name!r}; the nearest is {closest(name, initial)}")
    if initial[name].shape != now.shape:
        found, expected = tuple(initial[name].shape), tuple(now.shape)
        raise ValueError(f"the initial weights of {name!r} have shape {found}; expected {expected}, as the parameter")
    return initial[name].detach().to(now.device)

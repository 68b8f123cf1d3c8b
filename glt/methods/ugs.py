r"""UGS, unified GNN sparsification (Chen et al., "A Unified Lottery Ticket Hypothesis for GNNs", ICML 2021).

A round trains weights and soft masks together from the rewound weights,
$\min\; CE(f(\{m_g \odot A, X\}, m_\theta \odot W)) + \lambda_g \|m_g\|_1 + \lambda_\theta \|m_\theta\|_1$,
and scores every live edge and weight by its mask's size. The ladder, the exact counts and the rewinding are the
engine's. Where the published code departs from its paper, `glt.config.UGS` names the choice and defaults to the code.

The L1 term pushes soft masks below zero, and with them, at the published settings after some 100 to 130 epochs on Cora
and CiteSeer, the degree of a node, whose inverse square root is then not a number. The published code goes on with
networks of NaN, none of which can be its best. Here a round ends at the first epoch that is not finite.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from common.apply import gated
from common.gates import Soft
from common.masks import Masks
from common.scoped import seeded
from glt.config import Training
from glt.method_settings import UGS
from glt.methods.search import Choice, Round, Search, diverged_at_once
from glt.models import EDGES, GraphModel
from glt.tasks import Task
from glt.training import adam

__all__ = ["REFERENCE", "train_masks", "ugs"]

REFERENCE = "Chen et al., A Unified Lottery Ticket Hypothesis for Graph Neural Networks, ICML 2021"


def train_masks(model: GraphModel, masks: Masks, task: Task, training: Training, ugs: UGS, seed: int) -> Round:
    """Train masks and weights together, from the model's weights, and score by the masks' sizes.

    Args:
        model: holds the rewound weights; its weights are trained in place.
        masks: what is still alive and is to be scored.
        task: objective and metric; only its validation nodes choose the epoch.
        training: learning rate and weight decay.
        ugs: the method's settings, filled by `glt.config.preset`.
        seed: of noise and dropout; the published code sets the same one in every round.

    Raises:
        DivergedError: not even the first epoch is finite.
    """
    result = Round()
    with seeded(seed):
        uniform = _noise(model, masks, exact=ugs.exact_rng)
        gates = {name: partial(Soft, noise=ugs.noise, uniform=uniform[name]) for name in masks}
        with gated(model, masks, gates) as soft:
            values = {name: cast(Soft, soft[name]).value for name in masks}
            l1 = {n: _set(ugs.l1_edges if n == EDGES else ugs.l1_weights) for n in masks}
            optimizer = _optimizer(model, values, training, decay_masks=ugs.decay_masks)
            for epoch in range(1, ugs.epochs + 1):
                _step(model, task, optimizer, values, l1, in_loss=ugs.l1 == "loss")
                accuracy = task.evaluate(model)
                if not math.isfinite(accuracy["val"]):
                    break
                if result.note(accuracy) or ugs.mask_at == "last":
                    result.epoch = epoch
                    result.scores = {name: score.clone() for name, score in soft.scores().items()}
    if not result.history:
        raise diverged_at_once("--training.lr", training.lr)
    return result


def ugs(search: Search) -> Iterator[Choice]:
    """One round of mask training a density, each from the initial weights under the masks of the round before.

    References:
        Chen et al., A Unified Lottery Ticket Hypothesis for Graph Neural Networks, ICML 2021.
    """
    config = search.config
    return search.rounds(
        lambda model, live: train_masks(model, live, search.task, config.training, config.ugs, search.seed)
    )


ugs.reference = REFERENCE  # type: ignore[attr-defined]


def _noise(model: GraphModel, masks: Masks, *, exact: bool) -> dict[str, Tensor]:
    uniform = {}
    for name, mask in masks.items():
        if exact and name == EDGES:
            source, target = model.edges.edge_index
            nodes = model.edges.num_nodes
            uniform[name] = torch.rand(nodes, nodes)[source.cpu(), target.cpu()].to(mask.device)
        else:
            uniform[name] = torch.rand(mask.shape).to(mask.device)
    return uniform


def _set(value: float | None) -> float:
    if value is None:
        raise ValueError("ugs.l1_edges and ugs.l1_weights are not set; call glt.config.preset() first")
    return value


def _optimizer(
    model: nn.Module, values: Mapping[str, Tensor], training: Training, *, decay_masks: bool
) -> torch.optim.Optimizer:
    soft = {id(v) for v in values.values()}
    weights = [p for p in model.parameters() if p.requires_grad and id(p) not in soft]
    decay = {} if decay_masks else {"weight_decay": 0.0}
    return adam([{"params": list(values.values()), **decay}, {"params": weights}], training)


def _step(
    model: nn.Module,
    task: Task,
    optimizer: torch.optim.Optimizer,
    values: Mapping[str, Tensor],
    l1: Mapping[str, float],
    *,
    in_loss: bool,
) -> None:
    model.train()
    optimizer.zero_grad()
    loss = task.loss(model)
    if in_loss:
        loss = loss + sum(l1[name] * value.abs().sum() for name, value in values.items())
    loss.backward()  # type: ignore[no-untyped-call]
    if not in_loss:
        for name, value in values.items():
            if value.grad is not None:
                value.grad.add_(value.detach().sign(), alpha=l1[name])
    optimizer.step()

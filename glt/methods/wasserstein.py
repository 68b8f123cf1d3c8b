r"""WD-GLT (Hui et al., "Rethinking Graph Lottery Tickets: Graph Sparsity Matters", ICLR 2023): all nodes have a say.

Cross-entropy on few labelled nodes reaches few edges. So the distances between what the network says of the nodes that
it puts in a class and of all others are added, $L = CE - \lambda \sum_c W(Z_c, Z_{\bar c})$ with softmax outputs Z. A
round plays a min-max game: weights and their soft masks descend on L by Adam, the soft mask of the edges ascends by
plain steps projected onto [0, 1], $m_g \leftarrow \Pi_{[0,1]}(m_g + \eta \nabla_{m_g} L)$. Then the lowest masks go, as
in UGS, without L1 terms. The graph is thus pruned against the network, which must bear the loss of its edges.

Reimplemented from the paper, not validated against the authors' code, of which none is public. Descent and ascent take
one gradient each, at the same point: the paper's correction for how the edges' step depends on the weights is left out.
A distance is over at most `nodes` nodes on either side, drawn anew in every epoch, so that memory is bounded (19,717
nodes of PubMed would need 2 x 10^8 costs), and its gradient holds the transport plan constant. Masks of edges that
both end at 1 rank by the noise that they started with. In inductive mode only the nodes count that training may see.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from common.apply import gated
from common.gates import Soft
from common.masks import Masks
from common.scoped import seeded
from glt.config import Training
from glt.method_settings import Wasserstein
from glt.methods.search import Choice, Round, Search, diverged_at_once
from glt.models import EDGES, GraphModel
from glt.sinkhorn import transport
from glt.tasks import NodeClassification, Teacher, node_task
from glt.training import adam

__all__ = ["separation", "train_masks", "wasserstein"]

_BELOW = 1e-9  # of the noise between masks that are equal to the last bit


def separation(logits: Tensor, settings: Wasserstein) -> Tensor:
    r"""$\sum_c W(Z_c, Z_{\bar c})$ of the outputs of the nodes predicted c and of all others.

    A class without nodes, or with all of them, adds nothing. Where there are more than `settings.nodes` nodes on a
    side, that many are drawn from torch's stream.

    Args:
        logits: (N, classes).
        settings: blur, iterations, nodes.

    >>> apart = torch.tensor([[50.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    >>> round(float(separation(apart, Wasserstein())), 3)  # twice the squared distance of (1, 0) and (0, 1)
    4.0
    """
    outputs, predicted = logits.softmax(1), logits.argmax(1)
    total = logits.new_zeros(())
    for label in predicted.unique().tolist():
        sides = [(predicted == label).nonzero().squeeze(1), (predicted != label).nonzero().squeeze(1)]
        if not sides[1].numel():
            continue
        one, rest = (outputs[_drawn(side, settings.nodes)] for side in sides)
        total = total + transport(one, rest, blur=settings.blur, iterations=settings.iterations)
    return total


def wasserstein(search: Search) -> Iterator[Choice]:
    """One round of min-max training a density, each from the initial weights under the masks of the round before.

    References:
        Hui, Yan, Ma and Ku, Rethinking Graph Lottery Tickets: Graph Sparsity Matters, ICLR 2023.
    """
    config, task = search.config, node_task(search.task, "--method wasserstein")
    return search.rounds(
        lambda model, live: train_masks(model, live, task, config.training, config.wasserstein, search.seed)
    )


wasserstein.reference = (  # type: ignore[attr-defined]
    "Hui et al., Rethinking Graph Lottery Tickets: Graph Sparsity Matters, ICLR 2023"
)


def train_masks(
    model: GraphModel, masks: Masks, task: NodeClassification, training: Training, settings: Wasserstein, seed: int
) -> Round:
    """Play a round: weights and their masks against the mask of the edges.

    Args:
        model: holds the rewound weights; its weights are trained in place.
        masks: what is still alive and is to be scored.
        task: objective and metric; only its validation nodes choose the epoch.
        training: learning rate and weight decay of the descent; masks do not decay.
        settings: of the method.
        seed: of noise, dropout and drawn nodes.

    Raises:
        DivergedError: not even the first epoch is finite.
    """
    result = Round()
    with seeded(seed):
        ties = {name: torch.rand(mask.shape).to(mask.device) for name, mask in masks.items()}
        gates = {name: partial(Soft, noise=settings.noise, uniform=uniform) for name, uniform in ties.items()}
        with gated(model, masks, gates) as soft:
            values = {name: cast(Soft, soft[name]).value for name in masks}
            edges = values.pop(EDGES, None)
            if edges is not None:
                edges.data.clamp_(0, 1)
            optimizer = _descent(model, values, edges, training)
            for epoch in range(1, settings.epochs + 1):
                _step(model, task, optimizer, edges, settings)
                accuracy = task.evaluate(model)
                if not math.isfinite(accuracy["val"]):
                    break
                if result.note(accuracy):
                    result.epoch = epoch
                    result.scores = {n: score.double() + _BELOW * ties[n] for n, score in soft.scores().items()}
    if not result.history:
        raise diverged_at_once("--training.lr", training.lr)
    return result


@dataclass(frozen=True)
class _Apart(Teacher):
    """In a teacher's place: what the loss adds for the logits of all nodes that training may see."""

    settings: Wasserstein = field(default_factory=Wasserstein)

    def loss(self, outputs: Tensor, rows: Tensor | None = None) -> Tensor:
        return -self.weight * separation(outputs if rows is None else outputs[rows], self.settings)


def _drawn(nodes: Tensor, most: int) -> Tensor:
    if nodes.numel() <= most:
        return nodes
    return nodes[torch.randperm(nodes.numel())[:most].to(nodes.device)]


def _descent(
    model: nn.Module, values: Mapping[str, Tensor], edges: Tensor | None, training: Training
) -> torch.optim.Optimizer:
    """What minimises: everything but the mask of the edges."""
    soft = {id(v) for v in (*values.values(), edges)}
    weights = [p for p in model.parameters() if p.requires_grad and id(p) not in soft]
    return adam([{"params": weights}, {"params": list(values.values()), "weight_decay": 0.0}], training)


def _step(
    model: GraphModel,
    task: NodeClassification,
    optimizer: torch.optim.Optimizer,
    edges: Tensor | None,
    settings: Wasserstein,
) -> None:
    """One descent of the weights and one ascent of the edges."""
    model.train()
    model.zero_grad()
    task.loss(model, _Apart(torch.empty(0), settings.weight, settings)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    if edges is not None and edges.grad is not None:
        with torch.no_grad():
            edges.add_(edges.grad, alpha=settings.step).clamp_(0, 1)

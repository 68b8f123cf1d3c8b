r"""AdaGLT (Zhang et al., "Graph Lottery Ticket Automated", ICLR 2024): thresholds learn what to keep, in one training.

A perceptron scores every edge by the raw features of its ends. In layer l an edge stays if its standardised score
passes the threshold $T(t^{(l)}_v) = \kappa (t^3 + \beta t)$ of the node v that it leads to, and if it stayed in the
layer before, so that masks only shrink with depth. A weight stays if its size passes the threshold of its row. All of
it trains at once, hard forwards and smooth backwards, under $\epsilon_1 \operatorname{mean}_l \sum_v e^{-t^{(l)}_v} +
\epsilon_2 \sum_r e^{-t_r}$, which pulls all thresholds up. Self-loops have no threshold.

Reimplemented from the paper and the description of its code, not validated against the authors' code. What differs:

- Targets are met to the edge and the weight, in one search a density. Of its epochs the one counts whose learned
  densities are nearest to the target, in steps of 2 points, and of those the one of best validation accuracy. There,
  edges rank by score minus threshold, taken as the lowest of a layer and those before it so that masks stay nested,
  and weights by size minus threshold, all layers together; as many as asked for stay.
- The two penalties were set by hand for every target. Here the published ones are where they start: after every epoch
  $\epsilon \leftarrow \epsilon\, e^{s (d - d^*)}$ with the learned density d, the target $d^*$ and s = `steering`; with
  0 they stay as they are, and on Cora weights stop at 44 % whatever the target.
- Edges and weights are searched together and the ticket is rewound to its initial weights. The released commands prune
  one or the other, and its retraining of GCNs draws new weights.
- The thresholds of weights act in every epoch, for gat too, where the released code keeps the first mask for good.
- A pruned edge is gone for gat too. As published, gat starts with most edges below their threshold and has no
  regulariser on edges, which went unnoticed while masked edges still passed messages; here it starts as the others do,
  two standard deviations below the mean, with the regulariser of gcn. Its edges are scored as those of the others.
- Where both directions of an edge share a fate, they share the mean of their scores and thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor, nn

from common.apply import gated
from common.apply_gates import Gates
from common.gates import Step
from common.masks import Masks, prunable
from common.scoped import seeded
from glt.edge_thresholds import EdgeThresholds
from glt.features import Features
from glt.link_scores import Given
from glt.method_settings import AdaGLT
from glt.methods.search import Choice, Search, diverged_at_once
from glt.models import EDGES, WEIGHTS, GraphModel
from glt.tasks import Task
from glt.training import trainer

__all__ = ["Found", "adaglt", "train"]

_NEAR, _DEAD = 0.02, 0.01


@dataclass
class Found:
    """What a search has: scores by name, the epoch they are from, its learned densities by group, its penalties."""

    scores: dict[str, Tensor] = field(default_factory=dict)
    epoch: int = 0
    learned: dict[str, float] = field(default_factory=dict)
    rank: tuple[int, float] = (1_000_000, 0.0)
    penalties: dict[str, float] = field(default_factory=dict)


def adaglt(search: Search) -> Iterator[Choice]:
    """The edges and weights that pass their thresholds by most, in one search a density.

    References:
        Zhang et al., Graph Lottery Ticket Automated, ICLR 2024.
    """
    model = search.build()
    everything = Masks.dense({EDGES: model.edges.weight, **prunable(model)})
    for number in range(len(search.densities)):
        found = train(search, number)
        about = {"epoch": found.epoch, "learned": found.learned}
        yield Choice(search.prune(number, found.scores, everything), about=about)


adaglt.reference = "Zhang et al., Graph Lottery Ticket Automated, ICLR 2024"  # type: ignore[attr-defined]


def train(search: Search, number: int) -> Found:
    """Train network, scores and thresholds together, and keep the best epoch for a density.

    Args:
        search: what the method is given; a group whose target is 1, and given edges, are not searched.
        number: which of its densities.

    Raises:
        DivergedError: not even the first epoch is finite.
    """
    settings, task, density = search.config.adaglt, search.task, search.densities[number]
    found = Found(penalties={EDGES: _set(settings, "edges_penalty"), WEIGHTS: _set(settings, "weights_penalty")})
    with seeded(search.seed):
        model = search.start(search.within(number, Masks()))
        _pretrain(search, model)
        edges = EdgeThresholds(model.edges, task.features.shape[1], settings, getattr(task, "seen", None))
        masks = {name: p for name, p in prunable(model).items() if name != EDGES and density[WEIGHTS] < 1}
        if search.edges is None and density[EDGES] < 1:
            masks[EDGES] = model.edges.weight
        with gated(model, Masks.dense(masks), {**dict.fromkeys(masks, Step), EDGES: Given}) as gates:
            optimizer = _optimizer(model, edges.to(task.device), settings)
            for epoch in range(int(_set(settings, "epochs")) + 1):
                scores = _scores(gates, edges, task.features)
                learned = _learned(scores, edges.among)
                if epoch and not _keep(found, scores, learned, task.evaluate(model)["val"], density, epoch):
                    break
                if epoch < int(_set(settings, "epochs")):
                    found.penalties = _steered(found.penalties, learned, density, settings.steering)
                    _step(model, task, gates, edges, found.penalties, optimizer)
    if not found.epoch:
        raise diverged_at_once("--adaglt.lr", settings.lr)
    return found


def _pretrain(search: Search, model: GraphModel) -> None:
    settings = search.config.adaglt
    if settings.pretrain:
        training = replace(search.config.training, lr=settings.lr, weight_decay=settings.weight_decay)
        trainer(search.task, training, search.seed)(model, 0, settings.pretrain)


def _optimizer(model: nn.Module, edges: EdgeThresholds, settings: AdaGLT) -> torch.optim.Optimizer:
    named = {id(p): (name, p) for part in (model, edges) for name, p in part.named_parameters() if p.requires_grad}
    thresholds = [p for name, p in named.values() if name.endswith("threshold")]
    others = [p for name, p in named.values() if not name.endswith("threshold")]
    decay = _set(settings, "weight_decay")
    groups = [{"params": thresholds, "weight_decay": 0.0}, {"params": others, "weight_decay": decay}]
    return torch.optim.Adam(groups, lr=_set(settings, "lr"), fused=True)


def _scores(gates: Gates, edges: EdgeThresholds, x: Features) -> dict[str, Tensor]:
    """Set the values of the edges as scores and thresholds stand; how far everything is above its threshold."""
    scores = {name: gate.scores() for name, gate in gates.items() if name != EDGES}
    if EDGES in gates:
        cast(Given, gates[EDGES]).value, margins = edges(x)
        scores[EDGES] = margins.detach().cummin(0).values
    return scores


def _learned(scores: Mapping[str, Tensor], among: Tensor) -> dict[str, float]:
    """What share of edges that may be seen, of all layers, and of weights passes its thresholds."""
    passing = {
        EDGES: [score[:, among] > 0 for name, score in scores.items() if name == EDGES],
        WEIGHTS: [(score >= 0).flatten() for name, score in scores.items() if name != EDGES],
    }
    return {group: float(torch.cat(parts).float().mean()) for group, parts in passing.items() if parts}


def _steered(
    penalties: Mapping[str, float], learned: Mapping[str, float], density: Mapping[str, float], rate: float
) -> dict[str, float]:
    """Penalties, larger where more than the target is kept."""
    return {n: p * math.exp(rate * (learned[n] - density[n])) if n in learned else p for n, p in penalties.items()}


def _keep(
    found: Found,
    scores: Mapping[str, Tensor],
    learned: Mapping[str, float],
    accuracy: float,
    density: Mapping[str, float],
    epoch: int,
) -> bool:
    """Take an epoch that is nearer to the target, by steps of 2 points, or as near and better; False if not finite."""
    if not math.isfinite(accuracy):
        return False
    far = max((abs(share - density[group]) for group, share in learned.items()), default=0.0)
    rank = (int(far / _NEAR), -accuracy)
    if rank < found.rank:
        found.scores = {name: score.clone() for name, score in scores.items()}
        found.epoch, found.learned, found.rank = epoch, dict(learned), rank
    return True


def _step(
    model: GraphModel,
    task: Task,
    gates: Gates,
    edges: EdgeThresholds,
    penalties: Mapping[str, float],
    optimizer: torch.optim.Optimizer,
) -> None:
    model.train()
    optimizer.zero_grad()
    loss = task.loss(model)
    if EDGES in gates:
        loss = loss + penalties[EDGES] * edges.penalty()
    steps = [cast(Step, gate) for name, gate in gates.items() if name != EDGES]
    for gate in steps:
        loss = loss + penalties[WEIGHTS] * gate.penalty()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    with torch.no_grad():
        for gate in steps:
            if float((gate.scores() >= 0).float().mean()) < _DEAD:  # dynamic sparse training revives a dead layer so
                gate.threshold.zero_()


def _set(settings: AdaGLT, name: str) -> float:
    value = getattr(settings, name)
    if value is None:
        raise ValueError(f"adaglt.{name} is not set; call glt.config.preset() first")
    return float(value)

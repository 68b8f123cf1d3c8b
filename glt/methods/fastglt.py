r"""FastGLT, one-shot pruning and then denoising (Yue et al., AAAI 2025).

Reimplemented from the paper and the description of its code, not validated against the authors' code. Edges get a
trained mask each beside the network. After some epochs of training everything is pruned at once: the smallest edge
masks, and the smallest weights of every tensor, the same share of each. While training goes on, every few epochs a
share of what is left is dropped by size and as much grows again; the share falls to zero on a cosine,
$\frac{\alpha}{2}(1 + \cos(\pi t / T))$. Weights grow by the size of their gradient, summed over these epochs, and from
zero; edges by that plus TEDDY's degree score, each as a share of its largest, and from the mean of the live masks. The
ticket starts from the initial weights.

Beside an L1 term the masks have two regularisers of which only the names are published. Here `variance` raises the
logarithm of their variance, so that sizes tell edges apart, and `diversity` lowers $\sum_i m_{ij}^2 / (\sum_i
m_{ij})^2$, averaged over nodes j, so that no node hangs on one neighbour. Masks stay at 0 or above: a degree could
otherwise turn negative. The published code prunes the graph or the weights in a run; here both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from common.allocate import prune, uniform
from common.apply import Guard, masked
from common.dynamic import drop_and_grow
from common.masks import Masks, prunable
from common.scoped import seeded
from common.scores import random as random_scores
from common.structure import Structure, entries
from glt.config import FastGLT
from glt.edges import Edges
from glt.methods._epoch import epoch
from glt.methods.baselines import degree_score
from glt.methods.search import Choice, Search
from glt.models import EDGES, WEIGHTS, GraphModel
from glt.training import adam

__all__ = ["Denoising", "denoised", "fastglt", "penalty"]

_NOISE = 1e-5
_FLOOR = 1e-4  # added to the variance, whose logarithm is steep where all masks are alike
_TINY = 1e-30  # below any mask that is not zero; what scores alike goes in random order


def fastglt(search: Search) -> Iterator[Choice]:
    """Prune once, then drop and grow until the end of one training; `about` counts what denoising has changed.

    References:
        Yue et al., Fast Track to Winning Tickets: Repowering One-Shot Pruning for Graph Neural Networks, AAAI 2025.
    """
    for number in range(len(search.densities)):
        with seeded(search.seed):
            choice = _find(search, number)
        yield choice


def denoised(size: Tensor, mask: Tensor, growth: Tensor, share: float, structure: Structure = entries) -> Tensor:
    """A mask with a share of its smallest live groups dropped and as many of the best ones grown.

    Args:
        size, growth: of the mask's shape; larger stays, larger grows.
        mask: bool.
        share: of the live groups, in [0, 1].
        structure: what lives or dies as one.

    >>> size, mask = torch.tensor([3.0, 1.0, 2.0, 0.0]), torch.tensor([True, True, True, False])
    >>> denoised(size, mask, torch.tensor([0.0, 1.0, 2.0, 5.0]), 0.4).tolist()
    [True, False, True, True]
    """
    pooled, expand = structure(size.masked_fill(~mask, -torch.inf))
    live = ~pooled.isneginf()
    grown, _ = structure(growth)
    return expand(drop_and_grow(pooled.masked_fill(~live, 0.0), live, grown, round(share * int(live.sum()))))


def penalty(edges: Edges, mask: Tensor, settings: FastGLT) -> Tensor:
    """The three regularisers of the live edge masks, a scalar with gradient.

    Args:
        edges: their weights are the masks.
        mask: (E,) bool, which are live.
        settings: their weights.
    """
    values = edges.weight[mask]
    target = edges.edge_index[1, mask]
    total = values.new_zeros(edges.num_nodes).index_add(0, target, values)
    squares = values.new_zeros(edges.num_nodes).index_add(0, target, values.square())
    fed = total.detach() > 0
    concentration = (squares[fed] / total[fed].square()).sum() / max(1, int(fed.sum()))
    spread = (values.var(correction=0) + _FLOOR).log()
    return settings.l1 * values.abs().sum() + settings.diversity * concentration - settings.variance * spread


def _find(search: Search, number: int) -> Choice:
    settings, learned = search.config.fastglt, search.edges is None
    given = search.within(number, Masks.dense({EDGES: search.build().edges.weight}))
    model = search.start(given)
    masks = Masks.dense({n: p for n, p in prunable(model).items() if n != EDGES})
    groups: list[dict[str, object]] = [{"params": list(model.net.parameters())}]
    if learned:
        weight = model.edges.weight.requires_grad_(True)
        with torch.no_grad():
            weight.mul_(1 + (2 * torch.rand_like(weight) - 1) * _NOISE)
        groups.append({"params": [weight], "weight_decay": 0.0})
        masks |= Masks.dense({EDGES: weight})
    optimizer = adam(groups, search.config.training)
    with masked(model, masks, dense_gradients=True) as guard:
        run = Denoising(search, model, optimizer, guard)
        for _ in range(settings.pretrain):
            run.train()
        first = run.prune(number)
        for done in range(1, settings.epochs + 1):
            run.train()
            if done % settings.every == 0:
                run.denoise(settings.fraction / 2 * (1 + math.cos(math.pi * done / settings.epochs)))
        masks = guard.masks
    changed = {n: int((masks[n] & ~first[n]).sum()) for n in masks}
    return Choice(Masks({**given, **masks}), about={"changed": changed})


class Denoising:
    """One training whose masks move, and the sizes of gradients summed since they last did.

    Args:
        search: settings and seed.
        model, optimizer: are trained.
        guard: of the model's masks, with dense gradients.
    """

    def __init__(self, search: Search, model: GraphModel, optimizer: torch.optim.Optimizer, guard: Guard) -> None:
        self.search, self.model, self.optimizer, self.guard = search, model, optimizer, guard
        self.structure: dict[str, Structure] = {EDGES: search.structure}
        degree = degree_score(model.edges.edge_index, model.edges.num_nodes)
        self.degree = degree / degree.max().clamp(min=_TINY)
        self.order = random_scores(search.seed)(model, guard.parameters, None)
        self.sums = {name: torch.zeros_like(p) for name, p in guard.parameters.items()}
        self.push = torch.zeros_like(model.edges.weight)
        guard.after_step(self.collect)

    def train(self) -> None:
        """One epoch; edge masks that would fall below zero end there."""
        weight = self.model.edges.weight
        if not weight.requires_grad:
            epoch(self.search, self.model, self.optimizer)
            return
        cost = penalty(self.model.edges, self.guard.masks[EDGES], self.search.config.fastglt)
        (self.push,) = torch.autograd.grad(cost, weight)
        epoch(self.search, self.model, self.optimizer, (self.push * weight).sum())
        with torch.no_grad():
            weight.clamp_(min=0)

    def collect(self, guard: Guard) -> None:
        """Add the sizes of the loss's gradients, of pruned entries too, without what the regularisers add."""
        for name, gradient in guard.dense_gradients.items():
            self.sums[name] += (gradient - self.push if name == EDGES else gradient).abs()

    def prune(self, number: int) -> Masks:
        """Prune everything at once, and start summing."""
        sizes = self.sizes()
        weights = {name: size for name, size in sizes.items() if name != EDGES}
        masks = prune(weights, self.search.densities[number][WEIGHTS], allocate=uniform)
        if EDGES in sizes:
            masks |= self.search.prune(number, {EDGES: sizes[EDGES]}, Masks.dense({EDGES: sizes[EDGES]}))
        self.put(masks)
        return masks

    def denoise(self, share: float) -> None:
        """Drop and grow this share of what is live, and start summing anew."""
        before, sizes = self.guard.masks, self.sizes()
        mean = float(self.model.edges.weight.detach()[before[EDGES]].mean()) if EDGES in before else 0.0
        moved = Masks()
        for name, mask in before.items():
            growth = self.sums[name]
            if name == EDGES:
                growth = growth / growth.max().clamp(min=_TINY) + self.degree
            moved[name] = denoised(sizes[name], mask, growth, share, self.structure.get(name, entries))
        self.put(moved)
        if EDGES in moved:
            with torch.no_grad():
                self.model.edges.weight[moved[EDGES] & ~before[EDGES]] = mean

    def put(self, masks: Masks) -> None:
        """New masks in force, sums at zero."""
        self.guard.update(masks)
        for total in self.sums.values():
            total.zero_()

    def sizes(self) -> dict[str, Tensor]:
        """The sizes of weights and edge masks; zeros in random order."""
        return {name: p.detach().abs() + _TINY * self.order[name] for name, p in self.guard.parameters.items()}


fastglt.reference = [  # type: ignore[attr-defined]
    "Yue et al., Fast Track to Winning Tickets, AAAI 2025",
    "Seo, Yun and Yang, TEDDY, ICLR 2024",
]

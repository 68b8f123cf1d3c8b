r"""Link prediction: a network encodes the nodes, an inner product decodes which pairs of them are joined."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from glt.features import Features
from glt.graph import Graph
from glt.tasks.pairs import Absent, split_links
from glt.tasks.protocol import Teacher, served
from glt.tasks.ranking import auc, hits

__all__ = ["LinkPrediction"]


class LinkPrediction:
    r"""Cross-entropy of $\sigma(z_i \cdot z_j)$ on the training edges and as many absent ones; AUC on held-out edges.

    Some edges are held out, in both directions, and the network sees the rest (`glt.tasks.message_edges`), which alone
    can be pruned. A pruned edge passes no message, and stays among the pairs that training asks for. Every loss of a
    model in training mode draws its absent pairs anew, from torch's own stream as dropout does, so that they follow
    from the training's seed; in evaluation mode they are always the same. Held-out edges may be drawn as absent there:
    training knows nothing of them. The absent pairs of validation and test are drawn once, and are no edge of any part.

    Args:
        graph: features and edges; its labels and its splits of nodes are not used.
        device: where the tensors go.
        val, test: shares of undirected edges to hold out; 5 % and 10 % are those of the published link prediction
            tickets.
        k: K of Hits@K, which `evaluate` gives beside the AUC.
        seed: of what is held out and of the absent pairs.

    Raises:
        UsageError: nothing would be left to train on, or there are too few absent pairs.

    References:
        Kipf and Welling, Variational Graph Auto-Encoders, 2016 (encoder, decoder, loss).
        Mavromatis and Karypis, Graph InfoClust, PAKDD 2021 (shares; the network of UGS's link prediction).
    """

    metric: str = "AUC"

    def __init__(
        self,
        graph: Graph,
        device: str | torch.device = "cpu",
        *,
        val: float = 0.05,
        test: float = 0.1,
        k: int = 20,
        seed: int = 0,
    ) -> None:
        nodes = graph.x.size(0)
        split = split_links(graph.edge_index, nodes, val=val, test=test, seed=seed)
        self.device, self.features, self.k = torch.device(device), Features(graph.x.to(device)), k
        self.seen: Tensor | None = None
        self._joined = split.train.to(device)
        self._absent = Absent(split.train, nodes)
        fixed = torch.Generator().manual_seed(seed)
        self._fixed = self._absent.drawn(split.train.size(1), fixed).to(device)
        apart = Absent(graph.edge_index, nodes).distinct(split.val.size(1) + split.test.size(1), seed + 1)
        apart = apart[:, torch.randperm(apart.size(1), generator=fixed)]
        parts = [split.val, apart[:, : split.val.size(1)], split.test, apart[:, split.val.size(1) :]]
        self._held_out, self._sizes = torch.cat(parts, 1).to(device), [part.size(1) for part in parts]

    def loss(self, model: nn.Module, teacher: Teacher | None = None) -> Tensor:
        """Mean binary cross-entropy over training edges and absent pairs; a teacher adds its divergence on these."""
        absent = self._absent.drawn(self._joined.size(1)).to(self.device) if model.training else self._fixed
        pairs = torch.cat([self._joined, absent], 1)
        logits = _scores(model(self.features), pairs)
        wanted = torch.zeros_like(logits)
        wanted[: self._joined.size(1)] = 1
        loss = nn.functional.binary_cross_entropy_with_logits(logits, wanted)
        if teacher is None:
            return loss
        known = Teacher(_two_classes(_scores(teacher.outputs, pairs)), teacher.weight)
        return loss + known.loss(_two_classes(logits))

    def outputs(self, model: nn.Module) -> Tensor:
        """Embeddings (N, width) of all nodes, without dropout."""
        with torch.no_grad():
            return self.node_outputs(model)

    def node_outputs(self, model: nn.Module) -> Tensor:
        """The same as `outputs`, with gradients where they are on."""
        return served(self, model)

    def objective(self, model: nn.Module) -> Iterator[Tensor]:
        """The engine's `Objective`: one full batch."""
        yield self.loss(model)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """AUC in [0, 1] on `val` and `test`, without dropout, and Hits@K as `val_hits@K` and `test_hits@K`.

        All are NaN where an embedding is not finite, so that a diverged network is never the best one.
        """
        embeddings = self.outputs(model)
        scores = _scores(embeddings, self._held_out)
        if not bool(embeddings.isfinite().all()):
            scores = torch.full_like(scores, float("nan"))
        val, val_absent, test, test_absent = scores.cpu().split(self._sizes)
        return {
            "val": auc(val, val_absent),
            "test": auc(test, test_absent),
            f"val_hits@{self.k}": hits(val, val_absent, self.k),
            f"test_hits@{self.k}": hits(test, test_absent, self.k),
        }


def _scores(embeddings: Tensor, pairs: Tensor) -> Tensor:
    """The inner product of each of (2, P) pairs: (P,)."""
    return (embeddings[pairs[0]] * embeddings[pairs[1]]).sum(1)


def _two_classes(logits: Tensor) -> Tensor:
    """The logits (P, 2) of a softmax that is the sigmoid of (P,) logits."""
    return torch.stack([torch.zeros_like(logits), logits], 1)

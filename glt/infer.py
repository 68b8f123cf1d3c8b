r"""Full-graph inference: a trained GCN and its ticket as the quickest chain of sparse and dense products.

Layer by layer over all nodes: pruned edges are dropped, $D^{-1/2}(A+I)D^{-1/2}$ is folded into the values of one CSR
matrix with int32 indices, dead units are removed, and every stage runs on the back-end that was quickest on it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from common.scoped import threads
from common.ticket import Ticket
from glt._infer_backends import Engine, Scratch, check_backend, engines, quickest
from glt._infer_matrix import Matrix, band, scales
from glt._infer_network import checked_threads, masked_parameters, slim_network
from glt._infer_plan import stages
from glt.edges import Edges
from glt.features import Features
from glt.models import GraphModel

__all__ = ["Inference", "propagation"]


class Inference:
    r"""A network and its graph, prepared to be asked for the logits of all nodes.

    The first call times the back-ends on the very products and keeps the quickest of each stage; equal to the model in
    eval mode to 1e-4. Later changes of the model go unnoticed.

    Shapes:
        - input: features (N, F), float32, or `Features` where many are zero
        - output: logits (N, classes)

    Args:
        model: a GCN joined to its graph, float32.
        ticket: a ticket or masks, under which the model's present weights are taken; None for the zeros already there.
        backend: of the sparse products: `scipy`, `torch` or `numba`; `auto` lets the clock choose.
        threads: how many; torch's present number if not given.

    Attributes:
        nonzeros: of the propagation matrix, self-loops included.
        units: live units at the input and after every layer.
        choices: what each stage runs on, in order, once it was called.

    Raises:
        TicketError: the ticket belongs to another model.
        TypeError: the network is no GCN, or normalises other than by batch; or each layer has edges of its own.
        UsageError: an unknown backend or one that is not installed, or fewer than one thread.
        ValueError: a mask without a parameter, or of another shape.

    >>> from glt.data import load
    >>> from glt.models import GCN
    >>> graph = load("digits")
    >>> model = GraphModel(GCN(64, 8, 10), Edges(graph.edge_index, 1797)).eval()
    >>> infer = Inference(model, {"net.convs.0.lin.weight": torch.arange(64) % 8 == torch.arange(8)[:, None]})
    >>> infer(graph.x).shape
    torch.Size([1797, 10])
    """

    def __init__(
        self,
        model: GraphModel,
        ticket: Ticket | Mapping[str, Tensor] | None = None,
        *,
        backend: str = "auto",
        threads: int | None = None,
    ) -> None:
        check_backend(backend)
        self.threads = checked_threads(threads)
        if isinstance(ticket, Ticket):
            ticket.verify(model, model.edges.fingerprint() if ticket.graph is not None else None)
        named = masked_parameters(model, ticket.masks if isinstance(ticket, Ticket) else ticket or {})
        self._slim, degree = slim_network(model.net, named)
        if named["edges.weight"].dim() != 1:
            raise TypeError(
                f"found edge weights {tuple(named['edges.weight'].shape)}; expected (E,), for all layers alike"
            )
        matrix = propagation(model.edges, named["edges.weight"], degree)
        self._matrix = Matrix.of(matrix)
        self.nodes, self.features = model.edges.num_nodes, self._slim.features
        self.nonzeros, self.units = int(matrix.nnz), self._slim.units
        self.choices: list[str] = []
        self._backend, self._scratch, self._lock = backend, Scratch(), threading.Lock()
        self._ready: dict[bool, list[tuple[str, Engine]]] = {}

    @torch.no_grad()
    def __call__(self, x: Tensor | Features) -> Tensor:
        """Logits of every node.

        Raises:
            ValueError: the features are not (N, F) float32 on the CPU.
        """
        dense = x.x if isinstance(x, Features) else x
        wanted = (self.nodes, self.features)
        if tuple(dense.shape) != wanted or dense.dtype != torch.float32 or dense.device.type != "cpu":
            raise ValueError(
                f"features must be {wanted} float32 on the CPU; found {tuple(dense.shape)} {dense.dtype} on "
                f"{dense.device}"
            )
        with self._lock, threads(self.threads):
            if isinstance(x, Features) and x.is_sparse:
                return self._run(x.linear(self._slim.first), multiplied=True)
            if self._slim.inputs.numel() < self.features:
                dense = dense[:, self._slim.inputs]
            return self._run(dense.detach().contiguous(), multiplied=False)

    def _run(self, x: Tensor, *, multiplied: bool) -> Tensor:
        if multiplied not in self._ready:
            x = self._calibrated(x, multiplied=multiplied)
        else:
            for _, engine in self._ready[multiplied]:
                x = engine(x, self._scratch, self._matrix)
        self.choices = [name for name, _ in self._ready[multiplied]]
        return x.clone()  # the scratch memory is written again by the next call

    def _calibrated(self, x: Tensor, *, multiplied: bool) -> Tensor:
        ready: list[tuple[str, Engine]] = []
        for stage in stages(self._slim.weights, self._slim.biases, multiplied=multiplied):
            candidates = engines(stage, self._backend, self.threads)
            name, x = quickest(candidates, x, self._scratch, self._matrix)
            ready.append((name, candidates[name]))
        self._ready[multiplied] = ready
        return x


def propagation(edges: Edges, weight: Tensor, degree: str = "in") -> Any:
    r"""$D^{-1/2}(A+I)D^{-1/2}$ of the live edges as a scipy CSR matrix: float32, int32 indices, sorted.

    Args:
        edges: the graph.
        weight: (E,) of its edges; zero is absent.
        degree: see `Adjacency.normalised`.

    Raises:
        ValueError: there are more edges than int32 can number.

    >>> propagation(Edges(torch.tensor([[0, 1], [1, 0]]), 2), torch.ones(2)).toarray().round(2).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    values = (weight + weight[edges.reverse]) / 2 if edges.symmetric else weight
    alive = values != 0
    source, target = edges.edge_index[:, alive].cpu().numpy()
    piece = (source, target, values[alive].cpu().numpy())
    scale = scales([piece], edges.num_nodes, degree)
    return band([piece], 0, edges.num_nodes, scale)

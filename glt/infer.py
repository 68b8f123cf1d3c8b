r"""Full-graph inference: a trained network and its ticket as the quickest chain of sparse and dense products.

Layer by layer over all nodes: pruned edges are dropped, $D^{-1/2}(A+I)D^{-1/2}$ or what else a layer propagates by is
folded into the values of one CSR matrix with int32 indices, dead units are removed, and every stage runs on the
back-end that was quickest on it. Attention and maxima go over the rows of the matrix, by torch or numba.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from common.scoped import threads
from common.ticket import Ticket
from glt._infer_backends import check_backend, engines, quickest
from glt._infer_matrix import Kind, Matrix, Piece, whole
from glt._infer_network import checked_threads, masked_parameters, steps_of
from glt._infer_plan import Plan, Stage, planned
from glt._infer_steps import Hop
from glt._infer_work import Engine, Scratch, Work
from glt.edges import Edges
from glt.features import Features
from glt.models import GraphModel

__all__ = ["Inference", "propagation"]


class Inference:
    r"""A network and its graph, prepared to be asked for the logits of all nodes.

    The first call times the back-ends on some rows of the very products and keeps the quickest of each stage; equal to
    the model in eval mode to 1e-4. Later changes of the model go unnoticed.

    Shapes:
        - input: features (N, F), float32, or `Features` where many are zero
        - output: logits (N, classes)

    Args:
        model: a network of `glt.models` joined to its graph, float32; each layer may have edges of its own.
        ticket: a ticket or masks, under which the model's present weights are taken; None for the zeros already there.
        backend: of the sparse products: `scipy`, `torch` or `numba`; `auto` lets the clock choose. scipy has no
            attention and no maximum, and numba no maximum over edges that are there in part: torch takes their place.
        threads: how many; torch's present number if not given.

    Attributes:
        nonzeros: of the propagation matrix, self-loops included where the network has them; of the fullest one where
            each layer has its own.
        units: live units at the input and after every layer; for residual networks also after the first linear map.
        choices: what each stage runs on, in order, once it was called: the name of a back-end, and what it computes
            where that is not the product.

    Raises:
        TicketError: the ticket belongs to another model.
        TypeError: a network that is not of `glt.models`, or one with another normalisation than by batch or by layer.
        UsageError: an unknown backend or one that is not installed, or fewer than one thread.
        ValueError: a mask without a parameter, or of another shape; edges of other layers than there are.

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
        self._program = steps_of(model.net, named)
        self._layered = named["edges.weight"].dim() == 2
        self._matrices = self._made(model.edges, named["edges.weight"])
        self.nodes, self.features = model.edges.num_nodes, self._program.features
        self.nonzeros = max(len(matrix.parts[1]) for matrix in self._matrices.values())
        self._plans: dict[bool, Plan] = {False: planned(self._program, sparse=False)}
        self.units = self._plans[False].units
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
            return self._run(dense.detach(), x if isinstance(x, Features) and x.is_sparse else None)

    def _run(self, x: Tensor, features: Features | None) -> Tensor:
        sparse = features is not None
        if sparse not in self._plans:
            self._plans[sparse] = planned(self._program, sparse=sparse)
        plan, ready = self._plans[sparse], self._ready.get(sparse, [])
        values = {0: (x if plan.inputs is None else x[:, plan.inputs]).contiguous()}
        for number, stage in enumerate(plan.stages):
            matrix = None if stage.hop is None else self._matrices[self._key(stage.hop)]
            work = Work(self._scratch, values, matrix, features=features)
            if number == len(ready):
                ready.append(self._chosen(stage, work))
            values[stage.makes] = ready[number][1](work)
            values = {value: kept for value, kept in values.items() if value not in stage.last}
        self._ready[sparse] = ready
        self.choices = [name for name, _ in ready if name]
        return values[plan.stages[-1].makes].clone()  # the scratch memory is written again by the next call

    def _made(self, edges: Edges, weight: Tensor) -> dict[tuple[Kind, int], Matrix]:
        """The matrices that some layer propagates by, those alike once."""
        hops = [step.op for step in self._program.steps if isinstance(step.op, Hop)]
        if self._layered and len(weight) != len(hops):
            raise ValueError(
                f"found edge weights {tuple(weight.shape)}; expected (E,), or ({len(hops)}, E) for each layer"
            )
        found: dict[tuple[Kind, int], Matrix] = {}
        for hop in hops:
            if self._key(hop) not in found:
                piece = _live(edges, weight[hop.layer] if self._layered else weight)
                found[self._key(hop)] = Matrix.of(whole(piece, edges.num_nodes, hop.kind))
        return found

    def _key(self, hop: Hop) -> tuple[Kind, int]:
        return hop.kind, hop.layer if self._layered else 0

    def _chosen(self, stage: Stage, work: Work) -> tuple[str, Engine]:
        soft = work.matrix is not None and work.matrix.soft
        candidates = engines(stage, self._backend, self.threads, soft=soft)
        name = quickest(candidates, work)
        return name, candidates[name]


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
    return whole(_live(edges, weight), edges.num_nodes, Kind("symmetric", degree))


def _live(edges: Edges, weight: Tensor) -> Piece:
    """Sources, targets and values of the edges that are there, from a weight (E,) each."""
    values = (weight + weight[edges.reverse]) / 2 if edges.symmetric else weight
    alive = values != 0
    source, target = edges.edge_index[:, alive].cpu().numpy()
    return source, target, values[alive].cpu().numpy()

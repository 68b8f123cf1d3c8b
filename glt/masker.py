"""A network that scores the edges of any graph with the same features, and the file that keeps it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from common.allocate import prune
from common.masks import Masks
from common.runs.errors import MissingData
from common.ticket import Ticket
from glt.convs import GCNConv
from glt.convs.parts import linear
from glt.edges import Edges
from glt.features import Features
from glt.link_scores import LinkScorer
from glt.models import EDGES

__all__ = ["Masker", "is_in", "load", "on_graph", "save"]

_FILE = "masker.safetensors"


class Masker(nn.Module):
    r"""An encoder of nodes and a perceptron of both ends of an edge, $s_{ij} = f(h_i \| h_j)$.

    The encoder is two graph convolutions on the live edges, or two linear maps, with ReLU between. Where both
    directions of an edge share a fate, they share the mean of their scores.

    Shapes:
        - input: features (N, channels), dense or `Features`, and the `Edges` of a graph of N nodes
        - output: (E,) in the order of `edges.weight`; the sigmoid of a score is the weight of its edge

    Args:
        channels: width of the features.
        hidden: of encoder and perceptron.
        encoder: "gcn" or "mlp".

    References:
        Sui et al., Inductive Lottery Ticket Learning for Graph Neural Networks, JCST 2023.

    >>> masker = Masker(3, hidden=4)
    >>> masker.scores(torch.ones(2, 3), Edges(torch.tensor([[0, 1], [1, 0]]), 2)).shape
    torch.Size([2])
    """

    def __init__(self, channels: int, hidden: int = 128, encoder: Literal["gcn", "mlp"] = "gcn") -> None:
        super().__init__()
        self.channels, self.hidden, self.encoder = channels, hidden, encoder
        widths = ((channels, hidden), (hidden, hidden))
        maps = (GCNConv(i, o, bias=True) if encoder == "gcn" else nn.Linear(i, o) for i, o in widths)
        self.maps = nn.ModuleList(maps)
        self.scorer = LinkScorer(hidden, hidden)

    def forward(self, x: Tensor | Features, edges: Edges) -> Tensor:
        """Scores of all edges, from an encoder that sees those which can be seen."""
        if x.shape != (edges.num_nodes, self.channels):
            raise ValueError(
                f"found features of shape {tuple(x.shape)}; expected ({edges.num_nodes}, {self.channels}), a row a "
                "node and as many columns as the masker was trained on"
            )
        adjacency = edges.layers()[0]
        hidden: Tensor | Features = x
        for number, part in enumerate(self.maps):
            hidden = torch.relu(hidden) if number and isinstance(hidden, Tensor) else hidden
            if isinstance(part, GCNConv):
                hidden = part(hidden, adjacency)
            elif isinstance(part, nn.Linear):
                hidden = linear(hidden, part.weight, part.bias)
        scores: Tensor = self.scorer(hidden, edges.pattern)
        return (scores + scores[edges.reverse]) / 2 if edges.symmetric else scores

    @torch.no_grad()
    def scores(self, features: Tensor | Features, edges: Edges) -> Tensor:
        """What ranks the edges of a graph, seen or not: (E,) in the order of `edges.weight`; larger survives."""
        return self(features, edges)


def save(masker: Masker, folder: str | Path) -> Path:
    """Keep a masker as `masker.safetensors` in a folder, such as that of a ticket.

    Returns:
        The file.
    """
    path = Path(folder) / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"channels": masker.channels, "hidden": masker.hidden, "encoder": masker.encoder}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in masker.state_dict().items()}
    safetensors.torch.save_file(tensors, path, metadata={"masker": json.dumps(shape)})
    return path


def is_in(folder: str | Path) -> bool:
    """Whether `save` kept a masker in a folder."""
    return (Path(folder) / _FILE).is_file()


def load(folder: str | Path) -> Masker:
    """The masker that `save` kept in a folder.

    Raises:
        MissingData: there is none.
        ValueError: the file is no masker.
    """
    path = Path(folder) / _FILE
    if not is_in(folder):
        raise MissingData(f"there is no {_FILE} in {folder}. Give the folder that glt.masker.save was given")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            shape = json.loads((file.metadata() or {}).get("masker", "null"))
        masker = Masker(**shape)
        masker.load_state_dict(safetensors.torch.load_file(path))
    except (safetensors.SafetensorError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: found no masker ({error}); expected what glt.masker.save wrote") from error
    return masker


def on_graph(ticket: Ticket, masker: Masker, x: Tensor, edges: Edges) -> Ticket:
    """A ticket on a graph that it was not found on: as large a share of its edges, those that a masker scores highest.

    Args:
        ticket: found with the masker; one mask of edges for all layers.
        masker: of the ticket.
        x: features (N, channels) of the graph's nodes.
        edges: of the graph.

    Returns:
        The same weights and their masks, edges and fingerprint of the graph.

    Raises:
        ValueError: the features are not as wide as those that the masker was trained on.

    References:
        Sui et al., Inductive Lottery Ticket Learning for Graph Neural Networks, JCST 2023.
    """
    scores, kept = masker.scores(x, edges), float(ticket.masks[EDGES].float().mean())
    mask = prune({EDGES: scores}, kept, structure={EDGES: edges.structure()})[EDGES]
    weight = {EDGES: torch.ones_like(edges.weight.detach())}
    trained = None if ticket.trained is None else {**ticket.trained, **weight}
    masks = Masks({**ticket.masks, EDGES: mask})
    return replace(
        ticket, masks=masks, weights={**ticket.weights, **weight}, trained=trained, graph=edges.fingerprint(),
        parent=ticket.digest, metrics={},
    )  # fmt: skip

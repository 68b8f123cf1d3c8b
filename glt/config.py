"""What a user may set, as dataclasses without heavy imports, so that `glt --help` answers at once.

A value of None means "as published for this data set and model" (`preset`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from common.runs.health import Doctor, Inspect
from glt.method_settings import UGS
from glt.methods import METHODS
from glt.presets import published

__all__ = ["UGS", "Doctor", "Eval", "Find", "Infer", "Inspect", "Network", "Speed", "Task", "Training", "preset"]


@dataclass(frozen=True)
class Network:
    """Widths and depth of the graph neural network; what a model does not have must stay unset."""

    hidden: int | None = None
    """Width of the hidden layers, of each head for gat; 512, 128 on digits and for deep models, 8 for gat; not sgc."""
    depth: int = 2
    """Number of graph convolutions, hops of sgc."""
    dropout: float | None = None
    """Probability of dropping a hidden unit while training; 0.5; not sgc."""
    heads: int | None = None
    """Attention heads of the hidden layers of gat; 8."""
    norm: Literal["none", "batch", "layer"] | None = None
    """Normalisation after a layer; none, batch for resgcn and deepergcn; not sgc."""
    aggregation: Literal["sum", "mean", "max"] | None = None
    """How gin and sage reduce a node's neighbours; mean, as UGS does."""


@dataclass(frozen=True)
class Training:
    """How dense network, tickets and controls are trained: Adam, full batch, the epoch of best validation accuracy."""

    epochs: int = 200
    """Epochs of every training."""
    lr: float | None = None
    """Learning rate; 8e-3 on Cora and digits, 1e-2 on CiteSeer and PubMed."""
    weight_decay: float | None = None
    """Weight decay; 8e-5 on Cora and digits, 5e-4 on CiteSeer and PubMed."""
    distil: float | None = None
    """Weight of distilling tickets and controls from the dense network; as published: 10 for teddy, 0 for others."""


@dataclass(frozen=True)
class Task:
    """What the network learns."""

    inductive: bool = False
    """Withhold test nodes and their edges from every training and every choice; they are seen in the test alone."""


@dataclass(frozen=True)
class Find:
    """Find a graph lottery ticket, check it against its controls, save it and write a report."""

    dataset: str = "digits"
    """digits or photo-grid (embedded), cora, citeseer, pubmed, rmat-SCALE, sbm-NODES, or the path of an .npz."""
    method: str = "ugs"
    """Search method: ugs, random, degree, dspar, magnitude or teddy."""
    model: str = "gcn"
    """Graph neural network: gcn, gat, gin, sage, sgc, resgcn or deepergcn."""
    edges_density: float | None = None
    """Share of edges to keep after the last round; 0.95 to the power of rounds if not given."""
    weights_density: float | None = None
    """Share of weights to keep after the last round; 0.8 to the power of rounds if not given."""
    rounds: int | None = None
    """Rounds of the ladder, in equal ratios; 20 as published, 8 on digits."""
    seeds: int = 3
    """How many seeds, each with its own initial weights; intervals are over them."""
    first_seed: int = 0
    """The first seed; the others count up."""
    symmetric: bool = True
    """Both directions of an undirected edge live or die together; false prunes them apart, as the published code."""
    network: Network = field(default_factory=Network)
    """The network."""
    training: Training = field(default_factory=Training)
    """Its training."""
    task: Task = field(default_factory=Task)
    """What it learns."""
    edges: Literal["chosen", "random"] = "chosen"
    """Keep the edges that the method chooses, or random ones under which it chooses the weights alone."""
    rungs: list[int] | None = None
    """Rounds whose tickets are trained and checked; all of them if not given."""
    ugs: UGS = field(default_factory=UGS)
    """The search of method ugs."""
    data_root: str | None = None
    """Folder of data sets, before GLT_DATA and the cache."""
    out: str = "runs"
    """Folder of run folders."""
    name: str | None = None
    """Name of the run folder; a hash of the settings if not given."""
    fresh: bool = False
    """Start over instead of continuing."""
    jobs: int | None = None
    """Seeds that run at once, each in a process; as many as cores if not given."""
    json: bool = False
    """Print one JSON object on standard output."""
    quiet: bool = False
    """No progress lines."""


@dataclass(frozen=True)
class Eval:
    """Retrain a ticket from its rewound weights, with dense, random and re-initialised controls."""

    ticket: str = ""
    """Folder of the ticket (ticket.json and ticket.safetensors)."""
    dataset: str | None = None
    """Where the ticket's data are, if no longer where it was found on them; they must be the same."""
    seeds: int = 3
    """Trainings a row; they differ in dropout and, for the controls, in the drawn masks and weights."""
    data_root: str | None = None
    """Folder of data sets, before GLT_DATA and the cache."""
    json: bool = False
    """Print one JSON object on standard output."""
    quiet: bool = False
    """No progress lines."""


@dataclass(frozen=True)
class Infer:
    """Predict every node's label with a ticket's network, as trained."""

    ticket: str = ""
    """Folder of the ticket (ticket.json and ticket.safetensors)."""
    dataset: str | None = None
    """Where the ticket's graph is, if no longer where it was found on it; features may be others. A folder of
    glt.mapped.write_graph is read in parts."""
    backend: Literal["auto", "scipy", "torch", "numba"] = "auto"
    """What computes the sparse products; auto lets the clock choose."""
    threads: int = 1
    """Threads."""
    memory: str | None = None
    """What may be in memory at once, as in 2GB, 512MB or 1.5GiB, beside Python and its libraries; the rest is on
    disk."""
    out: str | None = None
    """File for the predicted labels: .npy, or .npz with `prediction`. Temporary files lie beside it."""
    data_root: str | None = None
    """Folder of data sets, before GLT_DATA and the cache."""
    json: bool = False
    """Print one JSON object on standard output."""
    quiet: bool = False
    """No progress lines."""


@dataclass(frozen=True)
class Speed:
    """Time full-graph inference of a ticket beside the dense network."""

    ticket: str | None = None
    """Folder of a ticket; random masks of the given densities without one."""
    dataset: str | None = None
    """The graph; the ticket's own if not given, photo-grid without a ticket."""
    edges_density: float = 0.5
    """Share of edges to keep, when there is no ticket."""
    weights_density: float = 0.1
    """Share of weights to keep, when there is no ticket."""
    network: Network = field(default_factory=lambda: Network(hidden=256, depth=3))
    """The network, when there is no ticket."""
    backend: Literal["auto", "scipy", "torch", "numba"] = "auto"
    """What computes the sparse products of dense-csr and ticket; auto lets the clock choose for each."""
    threads: int = 1
    """Threads, of every engine."""
    repeats: int = 5
    """Rounds in which all engines take turns."""
    pyg: bool = True
    """Also time torch-geometric, which holds a message an edge: edges x width numbers at once."""
    seed: int = 0
    """Of weights and masks."""
    data_root: str | None = None
    """Folder of data sets, before GLT_DATA and the cache."""
    json: bool = False
    """Print one JSON object on standard output."""
    quiet: bool = False
    """No progress lines."""


def preset(config: Find) -> Find:
    """Fill every None with the value published for data set and model (see `glt.presets.published`).

    >>> preset(Find("pubmed")).training.lr, preset(Find(rounds=2)).edges_density
    (0.01, 0.9025)
    """
    values = published(config.dataset, config.model)

    def filled(part: object) -> dict[str, Any]:
        return {k: v for k, v in values.items() if hasattr(part, k) and getattr(part, k) is None}

    config = replace(
        config,
        network=replace(config.network, **filled(config.network)),
        training=replace(config.training, **filled(config.training), distil=_distil(config)),
        ugs=replace(config.ugs, **filled(config.ugs)),
        **filled(config),
    )
    rounds = config.rounds or 0
    if config.edges_density is None:
        config = replace(config, edges_density=0.95**rounds)
    if config.weights_density is None:
        config = replace(config, weights_density=0.8**rounds)
    return config


def _distil(config: Find) -> float:
    """The weight of distillation as set, or else as published."""
    published = METHODS[config.method].distil if config.method in METHODS else 0.0
    return published if config.training.distil is None else config.training.distil

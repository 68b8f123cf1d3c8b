"""What a user may set, as dataclasses without heavy imports, so that `glt --help` answers at once.

A value of None means "as published for this data set and model" (`preset`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from common.runs.health import Doctor
from glt._inspect_config import Inspect
from glt.method_settings import IGRP, UGS, AdaGLT, Default, Dual, EarlyBird, FastGLT, Inductive, Wasserstein
from glt.methods import METHODS
from glt.presets import published, searched
from glt.task_settings import Task

__all__ = [
    "UGS", "Doctor", "Eval", "Experiment", "Find", "Infer", "Inspect", "Network", "Speed", "Task", "Training", "preset",
]  # fmt: skip


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
    """Weight of distilling tickets and controls from the dense network; if not given, find does as published, 10 for
    teddy and 0 for others, and compare does not distil."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What every search has in common: data, network, training, densities, seeds, and where the results go."""

    dataset: str = field(default="digits", kw_only=False)
    """digits, motifs or photo-grid (embedded), cora, citeseer, pubmed, tu-mutag (and others of TU), ogbn-arxiv,
    ogbg-molhiv, rmat-SCALE, sbm-NODES, or the path of an .npz."""
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
    rungs: list[int] | None = None
    """Rounds whose tickets are trained and checked; all of them if not given."""
    default: Default = field(default_factory=Default)
    """The search of method default."""
    ugs: UGS = field(default_factory=UGS)
    """The search of method ugs."""
    earlybird: EarlyBird = field(default_factory=EarlyBird)
    """The search of method earlybird."""
    dual: Dual = field(default_factory=Dual)
    """The search of method dual."""
    fastglt: FastGLT = field(default_factory=FastGLT)
    """The search of method fastglt."""
    igrp: IGRP = field(default_factory=IGRP)
    """The search of method igrp."""
    adaglt: AdaGLT = field(default_factory=AdaGLT)
    """The search of method adaglt."""
    wasserstein: Wasserstein = field(default_factory=Wasserstein)
    """The search of method wasserstein."""
    inductive: Inductive = field(default_factory=Inductive)
    """The search of method inductive."""
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
class Find(Experiment):
    """Find a graph lottery ticket, check it against its controls, save it and write a report."""

    method: str = "ugs"
    """Search method: default (what this suite recommends), ugs, random, degree, dspar, magnitude, teddy, earlybird,
    dual, fastglt, igrp, adaglt, wasserstein or inductive."""
    edges: Literal["chosen", "random"] = "chosen"
    """Keep the edges that the method chooses, or random ones under which it chooses the weights alone."""


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
    model: str = "gcn"
    """Graph neural network, when there is no ticket: gcn, gat, gin, sage, sgc, resgcn or deepergcn."""
    network: Network = field(default_factory=lambda: Network(depth=3))
    """The network, when there is no ticket; 256 wide where hidden is not given, over all heads for gat."""
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
    values = published(config.dataset, config.model, config.task.kind)

    def filled(part: object, values: dict[str, object] = values) -> dict[str, Any]:
        return {k: v for k, v in values.items() if hasattr(part, k) and getattr(part, k) is None}

    about = config.dataset, config.model, config.network.depth
    searches = {name: getattr(config, name) for name in METHODS if hasattr(config, name)}
    config = replace(
        config,
        network=replace(config.network, **filled(config.network)),
        task=replace(config.task, **filled(config.task)) if config.task.kind == "graphs" else config.task,
        training=replace(config.training, **filled(config.training), distil=_distil(config)),
        **{n: replace(s, **filled(s, values | searched(n, *about))) for n, s in searches.items()},
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

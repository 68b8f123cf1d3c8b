"""What a user may set of each search method, as dataclasses without heavy imports; defaults are the published ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["IGRP", "UGS", "AdaGLT", "Default", "Dual", "EarlyBird", "FastGLT", "Inductive", "Wasserstein"]


@dataclass(frozen=True)
class UGS:
    """Search of UGS (Chen et al., ICML 2021); defaults are those of the published code."""

    epochs: int = 200
    """Epochs in which masks and weights train together."""
    l1_edges: float | None = None
    """L1 on the edge mask; 1e-2, on PubMed 1e-6."""
    l1_weights: float | None = None
    """L1 on the weight masks; 1e-2, on PubMed 1e-3."""
    l1: Literal["subgradient", "loss"] = "subgradient"
    """Add the L1 term's sub-gradient after the backward pass (published code) or the term to the loss (paper)."""
    decay_masks: bool = True
    """Let weight decay act on the masks too (published code; the paper has none)."""
    noise: float = 1e-5
    """Masks start at 1 plus uniform noise of this size."""
    mask_at: Literal["best", "last"] = "best"
    """Take the masks of the epoch of best validation accuracy (published code) or of the last epoch."""
    exact_rng: bool = False
    """Draw all noise in the published code's order, to repeat it digit by digit; needs nodes x nodes numbers once."""


@dataclass(frozen=True)
class AdaGLT:
    """Search of AdaGLT (Zhang et al., ICLR 2024)."""

    epochs: int | None = None
    """Epochs in which network, scores and thresholds train together; 400, on CiteSeer 600, gat 600, gin 500."""
    pretrain: int | None = None
    """Epochs of the network alone before that; 0, on CiteSeer 200, gat 50."""
    lr: float | None = None
    """Learning rate of everything in the search; 1e-2, gat and gin 1e-3."""
    weight_decay: float | None = None
    """Weight decay of network and scores, not of thresholds; 5e-4."""
    edges_penalty: float | None = None
    """Weight of the term that raises the thresholds of edges; 5e-5, on CiteSeer 9e-5, gin 2e-6, deep networks 2e-3."""
    weights_penalty: float | None = None
    """Weight of the term that raises the thresholds of weights; 1e-3, gin 2e-3."""
    steering: float = 0.05
    """How fast these two weights grow while more than the target is kept, and fall while less is; 0 as published."""
    coefficient: float | None = None
    """Kappa of an edge threshold kappa (t^3 + beta t); 0.005, on CiteSeer 0.01, gat 0.5, gin 0.2."""
    linear: float | None = None
    """Its beta; 20, gat 2, gin 5."""
    spread: float | None = None
    """Standard deviation of the scores that meet the thresholds; 0.1, gin 1."""
    hidden: int = 2048
    """Hidden units of the perceptron that scores edges."""


@dataclass(frozen=True)
class Wasserstein:
    """Search of WD-GLT (Hui et al., ICLR 2023)."""

    epochs: int = 200
    """Epochs of a round's mask training."""
    weight: float = 0.1
    """Weight of the Wasserstein distances in the loss."""
    blur: float = 1e-3
    """Weight of the entropy in a distance."""
    iterations: int = 10
    """Sinkhorn iterations of a distance."""
    step: float = 0.01
    """Step of the ascent on the edge mask."""
    nodes: int = 1024
    """At most so many nodes on each side of a distance, drawn anew in every epoch."""
    noise: float = 1e-5
    """Masks start at 1 plus uniform noise of this size; that of edges is clipped to 1."""


@dataclass(frozen=True)
class Inductive:
    """Search of ICPG (Sui et al., JCST 2023): a masker of edges that also prunes graphs it has never seen."""

    epochs: int = 100
    """Epochs of a round, in which masker and network train together."""
    lr: float = 5e-3
    """Learning rate of the network in the search."""
    masker_lr: float = 1e-3
    """Learning rate of the masker."""
    encoder: Literal["gcn", "mlp"] = "gcn"
    """What the masker knows a node by: two graph convolutions, or two linear maps that see no neighbour."""
    hidden: int = 128
    """Width of the masker."""
    mask_at: Literal["best", "last"] = "last"
    """Take masker and network of the round's last epoch, or of its best validation accuracy, the latest on ties: on
    small graphs that is before the masker has learned much."""


@dataclass(frozen=True)
class EarlyBird:
    """Search of GEBT (You et al., AAAI 2022)."""

    epochs: int = 100
    """Epochs after which the masks are drawn even if they have not settled."""
    edges_lr: float = 1e-3
    """Learning rate of the adjacency values."""
    rho: float = 1e-3
    """Weight of the mean squared distance between the adjacency and its sparse target."""
    window: int = 3
    """Masks that are compared, the newest included."""
    threshold: float = 0.1
    """Joint distance below which the masks have settled."""
    after: int = 5
    """Epochs in which no ticket is drawn."""


@dataclass(frozen=True)
class Dual:
    """Search of DGLT (Wang et al., ICLR 2023); the schedules are this suite's, none is published."""

    epochs: int = 200
    """Epochs in which the network becomes the ticket."""
    step: float = 0.1
    """What the L2 penalty on weights outside the ticket grows by."""
    every: int = 1
    """Epochs between two growths."""
    ceiling: float = 10.0
    """Where the penalty ends; with Adam it decides how small weights get, not how fast."""
    levels: int = 3
    """Levels of pooling, each of which condenses edges; clusters reach two nodes, then four, then eight."""
    aggregate: bool = True
    """Surviving edges take over the weight of the condensed ones."""


@dataclass(frozen=True)
class FastGLT:
    """Search of FastGLT (Yue et al., AAAI 2025)."""

    pretrain: int = 50
    """Epochs before the one-shot pruning."""
    epochs: int = 200
    """Epochs of denoising after it."""
    every: int = 10
    """Epochs between two rounds of dropping and growing; 3, 10 or 20."""
    fraction: float = 0.3
    """Share of the live entries that the first round moves; it falls to 0 on a cosine."""
    l1: float = 1e-4
    """L1 on the edge masks."""
    diversity: float = 0.1
    """Weight of the concentration of each node's incoming masks, which is made small."""
    variance: float = 0.1
    """Weight of the log-variance of the edge masks, which is made large."""


@dataclass(frozen=True)
class IGRP:
    """Search of IGRP (Harn et al., BigData 2022)."""

    order: Literal[1, 2, 3] = 1
    """Terms of the Taylor expansion that a score adds up."""
    top: int = 5
    """Epochs of best validation accuracy over which scores are averaged."""
    shots: int = 1
    """Trainings and prunings on the way to a density, in equal ratios."""
    budget: Literal["separate", "joint"] = "separate"
    """Keep so many edges and so many weights, or the best of both together, as many in all."""


@dataclass(frozen=True)
class Default:
    """Search of this suite's own method."""

    agreement: float = 0.3
    """Nodes join a star where the dense network's classes of node and hub agree with more than this probability."""
    need: float = 0.05
    """Need of a node that the dense network classifies as well without edges; 1 is that of one it does not."""
    draws: int = 100
    """Passes over the graph by which influence is estimated."""

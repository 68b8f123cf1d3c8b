"""Settings of `glt find` that cannot be met, refused before any work and before there is a folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import attrgetter

from common.masks import prunable
from common.runs.errors import UsageError
from common.runs.options import did_you_mean
from glt.config import Find
from glt.data import Graph
from glt.methods import METHODS
from glt.models import NETWORKS
from glt.tasks import check_settings
from glt.trial import build

__all__ = ["check", "check_counts"]

_SEEDS, _MOST = 2**32, 1_000_000
_NEEDS = "labels or logits of single nodes"

_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "edges_density": (lambda v: 0 < v <= 1, "is the share to keep and must lie in (0, 1]"),
    "weights_density": (lambda v: 0 < v <= 1, "is the share to keep and must lie in (0, 1]"),
    "rounds": (lambda v: v >= 1, "must be at least 1"),
    "seeds": (lambda v: 1 <= v <= _MOST, f"must be from 1 to {_MOST}"),
    "first_seed": (lambda v: 0 <= v < _SEEDS, f"must be from 0 to {_SEEDS - 1}"),
    "jobs": (lambda v: v >= 1, "must be at least 1"),
    "network.hidden": (lambda v: v >= 1, "must be at least 1"),
    "network.depth": (lambda v: v >= 1, "must be at least 1"),
    "network.dropout": (lambda v: 0 <= v < 1, "must lie in [0, 1)"),
    "training.epochs": (lambda v: v >= 1, "must be at least 1"),
    "training.lr": (lambda v: 0 < v < math.inf, "must be positive and finite"),
    "training.weight_decay": (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite"),
    "training.distil": (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite"),
    "ugs.epochs": (lambda v: v >= 1, "must be at least 1"),
    "ugs.l1_edges": (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite"),
    "ugs.l1_weights": (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite"),
    "ugs.noise": (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite"),
    "earlybird.epochs": (lambda v: v >= 1, "must be at least 1"),
    "earlybird.edges_lr": (lambda v: 0 < v < math.inf, "must be positive and finite"),
    "earlybird.rho": (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite"),
    "earlybird.window": (lambda v: v >= 2, "must be at least 2"),
    "earlybird.threshold": (lambda v: 0 <= v <= 1, "is a share and must lie in [0, 1]"),
    "earlybird.after": (lambda v: v >= 0, "must be at least 0"),
    "dual.epochs": (lambda v: v >= 1, "must be at least 1"),
    "dual.step": (lambda v: 0 < v < math.inf, "must be positive and finite"),
    "dual.every": (lambda v: v >= 1, "must be at least 1"),
    "dual.ceiling": (lambda v: 0 < v < math.inf, "must be positive and finite"),
    "dual.levels": (lambda v: v >= 1, "must be at least 1"),
    "fastglt.pretrain": (lambda v: v >= 1, "must be at least 1"),
    "fastglt.epochs": (lambda v: v >= 1, "must be at least 1"),
    "fastglt.every": (lambda v: v >= 1, "must be at least 1"),
    "fastglt.fraction": (lambda v: 0 <= v <= 1, "is a share and must lie in [0, 1]"),
    "fastglt.l1": (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite"),
    "fastglt.diversity": (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite"),
    "fastglt.variance": (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite"),
    "igrp.top": (lambda v: v >= 1, "must be at least 1"),
    "igrp.shots": (lambda v: v >= 1, "must be at least 1"),
    "adaglt.epochs": (lambda v: v >= 1, "must be at least 1"),
    "adaglt.pretrain": (lambda v: v >= 0, "must be at least 0"),
    "adaglt.lr": (lambda v: 0 < v < math.inf, "must be positive and finite"),
    "adaglt.weight_decay": (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite"),
    "adaglt.edges_penalty": (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite"),
    "adaglt.weights_penalty": (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite"),
    "adaglt.steering": (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite"),
    "adaglt.coefficient": (lambda v: 0 < v < math.inf, "must be positive and finite"),
    "adaglt.linear": (lambda v: 0 < v < math.inf, "must be positive and finite"),
    "adaglt.spread": (lambda v: 0 < v < math.inf, "must be positive and finite"),
    "adaglt.hidden": (lambda v: v >= 1, "must be at least 1"),
    "wasserstein.epochs": (lambda v: v >= 1, "must be at least 1"),
    "wasserstein.weight": (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite"),
    "wasserstein.blur": (lambda v: 0 < v < math.inf, "must be positive and finite"),
    "wasserstein.iterations": (lambda v: v >= 1, "must be at least 1"),
    "wasserstein.step": (lambda v: 0 < v < math.inf, "must be positive and finite"),
    "wasserstein.nodes": (lambda v: v >= 1, "must be at least 1"),
    "wasserstein.noise": (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite"),
    "inductive.epochs": (lambda v: v >= 1, "must be at least 1"),
    "inductive.lr": (lambda v: 0 < v < math.inf, "must be positive and finite"),
    "inductive.masker_lr": (lambda v: 0 < v < math.inf, "must be positive and finite"),
    "inductive.hidden": (lambda v: v >= 1, "must be at least 1"),
}


def check(config: Find) -> None:
    """Refuse a method or a model that there is none of, and numbers out of their range.

    Raises:
        UsageError: naming the setting, the value found and the range expected.
    """
    for what, value, known in (("method", config.method, METHODS), ("model", config.model, NETWORKS)):
        if value not in known:
            raise UsageError(f"unknown {what} {value!r}.{did_you_mean(value, known)} Known: {', '.join(known)}")
    for name, (fits, expected) in _RANGES.items():
        value = attrgetter(name)(config)
        if value is not None and not fits(value):
            raise UsageError(f"--{name.replace('_', '-')} {expected}; found {value}")
    check_settings(config.task)
    if config.task.kind not in METHODS[config.method].tasks:
        able = ", ".join(name for name, one in METHODS.items() if config.task.kind in one.tasks)
        raise UsageError(
            f"--method {config.method} cannot do --task.kind {config.task.kind}: it needs {_NEEDS}. Use one of {able}"
        )
    if config.rungs is not None and not all(1 <= k <= (config.rounds or 0) for k in config.rungs or [0]):
        raise UsageError(
            f"--rungs must be some of the rounds 1 to {config.rounds}; found {config.rungs}. Leave it out for all"
        )


def check_counts(config: Find, graph: Graph) -> None:
    """Refuse densities so low that not one edge or not one weight would be left.

    Raises:
        UsageError: naming the setting, the value found and the lowest that keeps one.
    """
    model = build(graph, config, config.first_seed)
    weights = sum(p.numel() for name, p in prunable(model).items() if name.startswith("net."))
    for group, total in (("edges", model.edges.count()["total"]), ("weights", weights)):
        density = getattr(config, f"{group}_density")
        if round(density * total) < 1:
            raise UsageError(
                f"--{group}-density {density:g} keeps none of {total:,} {group} in round {config.rounds}; expected at "
                f"least one, {1 / total:.2g} or more. Raise it, or set fewer --rounds where it follows from them"
            )

"""Settings of `glt find` that cannot be met, refused before any work and before there is a folder."""

from __future__ import annotations

from common.masks import prunable
from common.runs.errors import UsageError
from common.runs.options import did_you_mean
from common.runs.ranges import (
    AT_LEAST_ONE,
    FIRST_SEED,
    KEPT,
    NOT_NEGATIVE,
    POSITIVE,
    SEEDS,
    Range,
    at_least,
    check_ranges,
)
from glt.config import Find
from glt.data import Graph
from glt.methods import METHODS
from glt.models import NETWORKS
from glt.tasks import check_settings
from glt.trial import build

__all__ = ["check", "check_counts"]

_NEEDS = "labels or logits of single nodes"

_RANGES: dict[str, Range] = {
    "edges_density": KEPT,
    "weights_density": KEPT,
    "rounds": AT_LEAST_ONE,
    "seeds": SEEDS,
    "first_seed": FIRST_SEED,
    "jobs": AT_LEAST_ONE,
    "network.hidden": AT_LEAST_ONE,
    "network.depth": AT_LEAST_ONE,
    "network.dropout": (lambda v: 0 <= v < 1, "must lie in [0, 1)"),
    "training.epochs": AT_LEAST_ONE,
    "training.lr": POSITIVE,
    "training.weight_decay": NOT_NEGATIVE,
    "training.distil": NOT_NEGATIVE,
    "ugs.epochs": AT_LEAST_ONE,
    "ugs.l1_edges": NOT_NEGATIVE,
    "ugs.l1_weights": NOT_NEGATIVE,
    "ugs.noise": NOT_NEGATIVE,
    "earlybird.epochs": AT_LEAST_ONE,
    "earlybird.edges_lr": POSITIVE,
    "earlybird.rho": NOT_NEGATIVE,
    "earlybird.window": at_least(2),
    "earlybird.threshold": (lambda v: 0 <= v <= 1, "is a share and must lie in [0, 1]"),
    "earlybird.after": at_least(0),
    "dual.epochs": AT_LEAST_ONE,
    "dual.step": POSITIVE,
    "dual.every": AT_LEAST_ONE,
    "dual.ceiling": POSITIVE,
    "dual.levels": AT_LEAST_ONE,
    "fastglt.pretrain": AT_LEAST_ONE,
    "fastglt.epochs": AT_LEAST_ONE,
    "fastglt.every": AT_LEAST_ONE,
    "fastglt.fraction": (lambda v: 0 <= v <= 1, "is a share and must lie in [0, 1]"),
    "fastglt.l1": NOT_NEGATIVE,
    "fastglt.diversity": NOT_NEGATIVE,
    "fastglt.variance": NOT_NEGATIVE,
    "igrp.top": AT_LEAST_ONE,
    "igrp.shots": AT_LEAST_ONE,
    "adaglt.epochs": AT_LEAST_ONE,
    "adaglt.pretrain": at_least(0),
    "adaglt.lr": POSITIVE,
    "adaglt.weight_decay": NOT_NEGATIVE,
    "adaglt.edges_penalty": NOT_NEGATIVE,
    "adaglt.weights_penalty": NOT_NEGATIVE,
    "adaglt.steering": NOT_NEGATIVE,
    "adaglt.coefficient": POSITIVE,
    "adaglt.linear": POSITIVE,
    "adaglt.spread": POSITIVE,
    "adaglt.hidden": AT_LEAST_ONE,
    "wasserstein.epochs": AT_LEAST_ONE,
    "wasserstein.weight": NOT_NEGATIVE,
    "wasserstein.blur": POSITIVE,
    "wasserstein.iterations": AT_LEAST_ONE,
    "wasserstein.step": POSITIVE,
    "wasserstein.nodes": AT_LEAST_ONE,
    "wasserstein.noise": NOT_NEGATIVE,
    "inductive.epochs": AT_LEAST_ONE,
    "inductive.lr": POSITIVE,
    "inductive.masker_lr": POSITIVE,
    "inductive.hidden": AT_LEAST_ONE,
}


def check(config: Find) -> None:
    """Refuse a method or a model that there is none of, and numbers out of their range.

    Raises:
        UsageError: naming the setting, the value found and the range expected.
    """
    for what, value, known in (("method", config.method, METHODS), ("model", config.model, NETWORKS)):
        if value not in known:
            raise UsageError(f"unknown {what} {value!r}.{did_you_mean(value, known)} Known: {', '.join(known)}")
    check_ranges(config, _RANGES)
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

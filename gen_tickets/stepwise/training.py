"""Training for the schedule that a search has found: each ticket on its own stretch, or all with shared weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.ticket import Ticket
from gen_tickets._checkpoint import Checkpoints
from gen_tickets._config_schedule import Schedule
from gen_tickets._intervals import SKIP, paced
from gen_tickets.ddpm import Settings
from gen_tickets.denoising import Denoising
from gen_tickets.recipes.ddpm import task_of
from gen_tickets.stepwise.bench import Bench
from gen_tickets.stepwise.curves import Curve, numbers
from gen_tickets.stepwise.family import DENSE, Family, family
from gen_tickets.stepwise.joint import Joining, joint
from gen_tickets.stepwise.search import Found
from gen_tickets.stepwise.tried import short
from gen_tickets.stepwise.tune import Tuning, tune

__all__ = ["Curves", "trainable", "trained"]

Curves = tuple[Mapping[str, np.ndarray], Sequence[int]]
_BATCH, _DECAY, _CHECKS, _TENTH, _SECONDS = 64, 0.99, 10, 10, 300.0


def trainable(found: Found) -> bool:
    """Whether a ticket is scheduled at all."""
    return bool({paced(found.names[choice])[0] for choice in found.chosen.assignment} - {DENSE, SKIP})


def trained(bench: Bench, found: Found) -> tuple[Family, Curves, float]:
    """Train the networks of a schedule for it, as the settings say; what was trained before is read back.

    Losses are measured on every tenth training image, which this training does not see; the dense network has seen all
    of them.

    Args:
        bench: of the search.
        found: by it; a ticket is in its schedule.

    Returns:
        The family with the trained networks in place; network to held-out losses (checks, intervals of the grid) with
        the steps of the checks; and the seconds it took.
    """
    names = [paced(found.names[choice])[0] for choice in found.chosen.assignment]
    task, held_out = _split(task_of(bench.family.network, bench.images, "train"))
    curve = Curve(held_out, numbers(bench.grid.bounds, bench.levels))
    made, curves, took = (_tuned if bench.config.tune else _joint)(bench, names, task, curve)
    places = {name: member.folder for name, member in bench.family.members.items()} | made
    return family(list(places.values())), curves, took


def _tuned(bench: Bench, names: Sequence[str], task: Denoising, curve: Curve) -> tuple[dict[str, str], Curves, float]:
    """Every scheduled ticket, on the timesteps of its own intervals."""
    config, made, curves, took = bench.config, dict[str, str](), dict[str, np.ndarray](), 0.0
    how = Tuning(config.tune, _settings(config))
    for name in dict.fromkeys(names):
        if name in (DENSE, SKIP):
            continue
        where = [other == name for other in names]
        key = f"tune-{_how(config)}-{name}/{short(''.join(str(int(own)) for own in where))}"

        def train(name: str = name, where: Sequence[bool] = where, key: str = key) -> dict[str, Any]:
            ticket, dense = Ticket.load(bench.family.members[name].folder), bench.family.models[DENSE]
            timesteps = torch.tensor(where)[curve.bins]
            result = tune(ticket, dense, task, timesteps, how, curve, checkpoints=_checkpoints(bench, key))
            result.ticket.save(_folder(bench, key))
            return {"before": list(result.before), "after": list(result.after)}

        done = bench.once(key, train)
        made[name], took = str(_folder(bench, key)), took + done["took"]
        curves[name] = np.array([done["before"], done["after"]])
        before, after = curves[name][:, where].mean(axis=1)
        bench.console.line(f"{name}: loss on its stretch {before:.4g} before, {after:.4g} after {how.steps} steps")
    return made, (curves, [0, how.steps]), took


def _joint(bench: Bench, names: Sequence[str], task: Denoising, curve: Curve) -> tuple[dict[str, str], Curves, float]:
    """Dense network and scheduled tickets, with shared weights."""
    config, used = bench.config, [name for name in dict.fromkeys(names) if name not in (DENSE, SKIP)]
    order = [*bench.family.names, SKIP]
    key = f"train-{_how(config)}/{short('-'.join(str(order.index(one)) for one in names))}"

    def train() -> dict[str, Any]:
        how = Joining(config.joint, _settings(config), every=max(1, config.joint // _CHECKS))
        dense, *rest = (Ticket.load(bench.family.members[name].folder) for name in [DENSE, *used])
        tickets, model = dict(zip(used, rest, strict=True)), bench.family.models[DENSE]
        result = joint(dense, tickets, model, task, names, how, curve, checkpoints=_checkpoints(bench, key))
        for name, ticket in {DENSE: result.dense, **result.tickets}.items():
            ticket.save(_folder(bench, key) / name)
        return {"checks": [check._asdict() for check in result.history], "stopped": result.stopped}

    done = bench.once(key, train)
    if done["stopped"]:
        bench.console.warning(done["stopped"])
    curves = {what: np.array([check[what] for check in done["checks"]]) for what in ("dense", "scheduled")}
    made = {name: str(_folder(bench, key) / name) for name in [DENSE, *used]}
    return made, (curves, [check["step"] for check in done["checks"]]), done["took"]


def _split(task: Denoising) -> tuple[Denoising, Denoising]:
    """The training images without every tenth, and these: images of a folder lie class by class."""
    held_out = torch.arange(len(task.images)) % _TENTH == 0

    def part(own: Tensor) -> Denoising:
        return Denoising(task.images[own], None if task.labels is None else task.labels[own], task.scheduler)

    return part(~held_out), part(held_out)


def _settings(config: Schedule) -> Settings:
    """An average that ends with a hundredth of its start at most, as in long trainings, and a short warm-up."""
    steps = config.tune or config.joint
    return Settings(batch=_BATCH, lr=config.lr, warmup=min(50, steps // 10), decay=min(_DECAY, 0.01 ** (1 / steps)))


def _how(config: Schedule) -> str:
    """What decides a training beside the schedule, as a part of a key."""
    return f"{config.tune or config.joint}-{config.lr:g}"


def _checkpoints(bench: Bench, key: str) -> Checkpoints:
    """Within the training of a key."""
    return Checkpoints(_folder(bench, key) / "training", seconds=_SECONDS, about={"key": key})


def _folder(bench: Bench, key: str) -> Path:
    return bench.store.round(f"{bench.stage}/{key}")

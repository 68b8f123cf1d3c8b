"""Checkpoints within a training: what a trainer holds, every so often, in a folder from which another process goes on.

A training is known by what decides its outcome (seed, steps, weights and zeros at its start, moments that it takes
over, optimizers, what the caller adds), and its checkpoints lie in a folder named after that. So many trainings may
share a folder, and one that differs in anything never goes on from another's state. A checkpoint is written whole
before the older one is removed. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from common.runs.files import canonical, plain
from common.ticket_file import Form, TicketError, layout, read, sha256, write
from gen_tickets._ranks import place

__all__ = ["Checkpoints", "Slot", "digest", "load_states", "save_states", "tensors"]

_FORM = Form("training-checkpoint", 1, "checkpoint.json", "checkpoint")
_MEMORY = Form("trainer-memory", 1, "memory.json", "trainer's memory")
_FILE = "state.safetensors"


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often a trainer keeps its state; set `trainer.checkpoints`.

    What is written belongs to the caller: remove the folder once the result of its trainings is kept. Of several
    processes the first one writes and all of them read. Masks that move (`common.dynamic`) have a state of their own,
    which is not in a checkpoint: set none inside `moving`.

    Args:
        folder: for all trainings of a round, say; created when need be.
        seconds: at most so many are lost; None leaves it to `steps`.
        steps: a checkpoint after every so many.
        about: whatever else decides the outcome, as plain json: settings, data set.
        say: is told where a training goes on, and why not.

    Raises:
        ValueError: neither seconds nor steps, or not above zero.

    >>> Checkpoints("rounds/seed-0/imp/round-03/training", seconds=60).steps is None
    True
    """

    folder: Path | str
    seconds: float | None = None
    steps: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    say: Callable[[str], None] | None = None
    written: set[Path] = field(default_factory=set, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.seconds is None and self.steps is None:
            raise ValueError("found neither seconds nor steps; expected one of them, such as seconds=60")
        for name, least in (("seconds", 0.0), ("steps", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"found checkpoints every {value} {name}; expected {least:g} or more")

    def of(self, training: Mapping[str, Any]) -> Slot:
        """Where one training keeps its checkpoints.

        Args:
            training: what decides its outcome, as plain json; `about` is added.
        """
        known: dict[str, Any] = plain({**training, "about": self.about})
        return Slot(self, Path(self.folder) / hashlib.sha256(canonical(known).encode()).hexdigest()[:16], known)


class Slot:
    """The checkpoints of one training: `step-000007/` with tensors and a json.

    Args:
        how: folder, interval and whom to tell.
        folder: of this training.
        known: what decides its outcome.
    """

    def __init__(self, how: Checkpoints, folder: Path, known: Mapping[str, Any]) -> None:
        self.how, self.folder, self.known = how, folder, known
        self.last = time.monotonic()

    def latest(self) -> tuple[int, dict[str, Tensor]] | None:
        """The step and the tensors to go on with, from the latest checkpoint that is whole; None without one."""
        for folder in sorted(self.folder.glob("step-*"), reverse=True):
            try:
                body, files = read(folder, _FORM)
            except TicketError as error:
                self._say(f"passed over a checkpoint: {error}")
                continue
            self._say(f"{folder}: training goes on at step {body['step']}")
            return int(body["step"]), files[_FILE]
        others = set(Path(self.how.folder).glob("*")) - {*self.how.written, self.folder}
        known = [_known(path) for other in sorted(others) for path in other.glob(f"step-*/{_FORM.manifest}")]
        if known:
            differ = min((list(_differences(other, self.known)) for other in known), key=len)
            self._say(f"{self.how.folder}: found checkpoints of other trainings only, which are left alone; the "
                      f"nearest differs in {', '.join(differ)}. Training begins at its first step.")  # fmt: skip
        return None

    def due(self, done: int) -> bool:
        """Whether it is time, with so many steps done; of several processes, only for the first."""
        if place().rank:
            return False
        seconds, steps = self.how.seconds, self.how.steps
        late = seconds is not None and time.monotonic() - self.last >= seconds
        return late or (steps is not None and done % steps == 0)

    def save(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Write a checkpoint from which training goes on at a step, and then remove the older ones.

        Raises:
            TicketError: it cannot be written; the older one stays.
        """
        folder = self.folder / f"step-{step:09d}"
        body = {"step": step, "training": self.known}
        write(folder, {_FILE: layout(state, {})}, lambda _: body, form=_FORM)
        for older in self.folder.glob("step-*"):
            if older != folder:
                shutil.rmtree(older, ignore_errors=True)
        self.how.written.add(self.folder)
        self.last = time.monotonic()

    def _say(self, text: str) -> None:
        if self.how.say is not None and not place().rank:
            self.how.say(text)


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer of a model by name, as it is held, without gradients.

    >>> sorted(tensors(nn.BatchNorm1d(1)))
    ['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'weight']
    """
    return {name: value.detach() for name, value in (*model.named_parameters(), *model.named_buffers())}


def digest(values: Mapping[str, Tensor]) -> str:
    """The sha256 of names, shapes, types and values.

    >>> import torch
    >>> digest({"w": torch.zeros(2)}) == digest({"w": torch.zeros(1, 2)})
    False
    """
    return sha256(layout(values, {}))


def save_states(folder: Path, states: Mapping[int, Mapping[str, Tensor]], about: Mapping[str, Any]) -> None:
    """Write a trainer's states, step to tensors, into a folder.

    Raises:
        TicketError: the folder cannot be written.
    """
    files = {f"step-{step:09d}.safetensors": layout(state, {}) for step, state in states.items()}
    write(folder, files, lambda _: {**about, "steps": list(states)}, form=_MEMORY)


def load_states(folder: Path, about: Mapping[str, Any]) -> dict[int, dict[str, Tensor]]:
    """Read what `save_states` wrote, in its order.

    Raises:
        TicketError: it is damaged or missing, or it is about something else.
    """
    body, files = read(folder, _MEMORY)
    if differ := list(_differences({name: body.get(name) for name in about}, plain(about))):
        raise TicketError(
            f"{folder}: found the memory of another trainer, which differs in {', '.join(differ)}; expected one of "
            "the same. Make the trainer with the settings that it was saved with."
        )
    return {step: files[f"step-{step:09d}.safetensors"] for step in body["steps"]}


def _known(manifest: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, KeyError):
        return dict(json.loads(manifest.read_bytes())["training"])
    return {}


def _differences(found: Any, expected: Any, name: str = "") -> Iterator[str]:
    """Where two pieces of json differ, each with what was found and what this one has."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted(found.keys() | expected.keys()):
            yield from _differences(found.get(key), expected.get(key), f"{name}.{key}" if name else key)
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            yield from _differences(a, b, f"{name}.{i}")
    elif found != expected:
        yield f"{name} ({str(found)[:24]}, here {str(expected)[:24]})"

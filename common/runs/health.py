"""Whether an installation works: versions, threads, folders, and small things that are tried out.

What the commands `doctor` and `data` of both suites share; each adds its own checks and facts.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from common.runs.progress import Console

__all__ = [
    "LIBRARIES", "Check", "Doctor", "Inspect", "attempt", "examine", "show", "ticket", "torchvision", "versions",
]  # fmt: skip

Check = Callable[[], None]
"""Does some small thing that must work, and raises whatever it likes if it does not."""
LIBRARIES = (
    "lottery-tickets",
    "torch",
    "torchvision",
    "torch-geometric",
    "numpy",
    "scipy",
    "diffusers",
    "lightning",
    "torch-fidelity",
    "safetensors",
)


@dataclass(frozen=True)
class Inspect:
    """Show what a data set holds, or which are at hand."""

    dataset: str | None = None
    """Data set to describe; all known ones if not given."""
    data_root: str | None = None
    """Folder of data sets, before GLT_DATA and the cache."""
    json: bool = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True)
class Doctor:
    """Check the installation."""

    json: bool = False
    """Print one JSON object on standard output."""


def examine(checks: Mapping[str, Check], console: Console, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Try every check, say what was found, and fail if one of them does.

    Args:
        checks: name to what is tried.
        console: where to say it, a line each.
        more: further facts, by name.

    Returns:
        `versions`, `threads`, `accelerator`, `GLT_DATA`, the further facts, `checks` (name to `ok` or what went wrong)
        and `ok`.

    Raises:
        RuntimeError: a check failed; names those that did.

    >>> examine({"addition": lambda: None}, Console(quiet=True))["checks"]
    {'addition': 'ok'}
    """
    import torch

    found = {name: attempt(check) for name, check in checks.items()}
    folder = os.environ.get("GLT_DATA")
    facts = {
        "versions": versions(LIBRARIES),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "GLT_DATA": None if not folder else f"{folder}{'' if Path(folder).is_dir() else ' (no such folder)'}",
        **(more or {}),
        "checks": found,
        "ok": all(outcome == "ok" for outcome in found.values()),
    }
    lines = {**facts["versions"], "GLT_DATA": facts["GLT_DATA"] or "not set", **(more or {}), **found}
    show({"threads": facts["threads"], "accelerator": facts["accelerator"] or "none", **lines}, console, 32)
    if not facts["ok"]:
        raise RuntimeError(f"some checks failed: {', '.join(n for n, o in found.items() if o != 'ok')}; see above")
    return facts


def attempt(check: Check) -> str:
    """`ok`, or what went wrong.

    >>> attempt(lambda: None), attempt(lambda: [][0])
    ('ok', 'IndexError: list index out of range')
    """
    try:
        check()
    except Exception as error:  # a doctor reports whatever is wrong
        return f"{type(error).__name__}: {error}"
    return "ok"


def versions(names: Sequence[str]) -> dict[str, str]:
    """The versions of Python and of libraries, `missing` where one is not installed.

    >>> versions(["no-such-library"])["no-such-library"]
    'missing'
    """
    known = {"python": platform.python_version()}
    for name in names:
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            known[name] = "missing"
    return known


def show(facts: Mapping[str, Any], console: Console, width: int) -> None:
    """Say facts, a line each, their names in a column of the given width.

    >>> import sys
    >>> show({"classes": 10, "mean": [1 / 3, 0.5], "kept": {}, "seen": {"a": 0.25}}, Console(stream=sys.stdout), 8)
    classes  10
    mean     0.3333 0.5
    kept     none
    seen     a 0.25
    """
    for name, value in facts.items():
        console.line(f"{name:{width}} {_shown(value)}")


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list | tuple):
        return " ".join(map(_shown, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def torchvision() -> None:
    """torchvision, which lightning, diffusers and torch-fidelity import, can be imported.

    Raises:
        ImportError: it is missing.
        RuntimeError: it was built for another torch.
    """
    import torchvision.transforms

    del torchvision


def ticket() -> None:
    """A ticket comes back from disk as it was.

    Raises:
        RuntimeError: it does not.
        TicketError: it cannot be written.
    """
    import tempfile

    import torch

    from common.masks import Masks
    from common.ticket import Ticket

    made = Ticket(Masks({"w": torch.tensor([True, False])}), {"w": torch.ones(2)})
    with tempfile.TemporaryDirectory() as folder:
        again = Ticket.load(made.save(folder))
    if again.digest != made.digest:
        raise RuntimeError("a ticket changed on disk")

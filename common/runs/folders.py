"""The folder of a run on disk: its name, who may use it, what belongs to it, and which configuration it holds."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.runs import lock
from common.runs.errors import ConfigChanged, RunFolderError
from common.runs.files import canonical, plain

__all__ = ["claim", "clear", "drop_cut_line", "folder_name", "read_config", "refuse_change"]

_OURS = (
    "config.yaml", "manifest.json", "events.jsonl", "rounds", "ticket", "comparison.json", "report.html", "schedules",
)  # fmt: skip


def folder_name(config: Mapping[str, Any]) -> str:
    """The folder a configuration gets when no name is given: 12 hex digits of the sha256 of its canonical JSON.

    >>> folder_name({"method": "ugs", "seeds": [0, 1]}) == folder_name({"seeds": (0, 1), "method": "ugs"})
    True
    """
    return hashlib.sha256(canonical(config).encode()).hexdigest()[:12]


def claim(folder: Path) -> None:
    """Make the folder where missing and take its lock.

    Raises:
        RunFolderError: it cannot be written, holds something that is no run, or is in use.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = sorted(p.name for p in folder.iterdir() if p.name != "lock" and not p.name.startswith("."))
        if others and "config.yaml" not in others:
            raise RunFolderError(f"{folder} holds {others[0]!r} and no run; give this run another name")
        lock.acquire(folder / "lock")
    except RunFolderError:
        raise
    except OSError as error:
        raise RunFolderError(f"cannot write the run folder {folder} ({error.strerror}); choose another root") from error


def clear(folder: Path) -> None:
    """Delete what a run leaves in its folder, and nothing else."""
    for name in _OURS:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def drop_cut_line(events: Path) -> None:
    """Cut off a last line that has no end, so that the next one starts on its own."""
    text = events.read_bytes() if events.exists() else b""
    if text and not text.endswith(b"\n"):
        with events.open("r+b") as file:
            file.truncate(text.rfind(b"\n") + 1)


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration stored in a run folder."""
    import yaml

    return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")) or {}


def refuse_change(folder: Path, config: Mapping[str, Any]) -> None:
    """Compare a configuration with the one stored.

    Raises:
        ConfigChanged: they differ; the message lists the differences.
    """
    stored, wanted = _flat(read_config(folder)), _flat(plain(config))
    changes = [
        f"{key}: {_shown(stored, key)} -> {_shown(wanted, key)}"
        for key in sorted(stored.keys() | wanted.keys())
        if _shown(stored, key) != _shown(wanted, key)
    ]
    if changes:
        raise ConfigChanged(
            f"{folder} holds a run with another configuration ({'; '.join(changes)}); "
            "give this run another name, or start over (--fresh)"
        )


def _shown(config: Mapping[str, Any], key: str) -> str:
    return json.dumps(config[key], sort_keys=True) if key in config else "(absent)"


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        inner = _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
        flat.update(inner)
    return flat

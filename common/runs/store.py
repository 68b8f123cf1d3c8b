"""A run is a folder named by its configuration; the same command continues where it stopped.

    runs/<name, or 12 hex digits of the configuration's sha256>/
        config.yaml  manifest.json  events.jsonl  rounds/<key>/done.json  ticket/  report.html

A round counts once its `done.json` exists, and that is written last and at once. So whatever ends a process, the next
one finds finished rounds and knows them from unfinished ones.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from common.runs import folders, lock
from common.runs.errors import ConfigChanged, RunFolderError, UsageError
from common.runs.files import dump, plain, read_lines, read_object, write_atomic
from common.runs.manifest import manifest

__all__ = ["ConfigChanged", "Run", "RunFolderError"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]*")


class Run:
    """A run folder that exists. `Run.open` makes or continues one; `Run(folder)` only looks, as a report does.

    Args:
        folder: the folder, with `config.yaml` inside.

    Raises:
        RunFolderError: there is no run in it.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> with Run.open(root, {"method": "ugs"}, name="first") as run:
    ...     for key in ("01", "02"):
    ...         if run.done(key) is None:
    ...             run.finish(key, {"accuracy": 0.8})
    >>> run.finished(), run.done("02")
    (['01', '02'], {'accuracy': 0.8})
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "config.yaml").is_file():
            raise RunFolderError(f"{self.folder} is no run folder: it has no config.yaml; give the folder of a run")

    @classmethod
    def open(
        cls,
        root: Path,
        config: Mapping[str, Any],
        *,
        name: str | None = None,
        fresh: bool = False,
        seeds: Sequence[int] = (),
        data: Mapping[str, Any] | None = None,
    ) -> Run:
        """Make the run of a configuration, or continue it with its finished rounds; the folder is ours until `close`.

        Args:
            root: the folder of all runs; made where missing.
            config: everything that determines the result and nothing else (no verbosity, no output paths).
            name: the folder's name; without one the configuration names it.
            fresh: start over: what an earlier run left in this folder (and only that) is deleted.
            seeds: for the manifest.
            data: for the manifest, such as `{"name": ..., "sha256": ...}`.

        Raises:
            UsageError: the name is not a plain folder name.
            ConfigChanged: the folder of that name holds a run with another configuration.
            RunFolderError: the folder cannot be written, holds something else, is damaged, or is in use.
        """
        name = folders.folder_name(config) if name is None else name
        if not _NAME.fullmatch(name):
            raise UsageError(f"a run's name must be letters, digits and . _ = + -; found {name!r}")
        folder = Path(root) / name
        folders.claim(folder)
        try:
            if fresh:
                folders.clear(folder)
            return _start(cls, folder, config, manifest(sys.argv, config, seeds, data=data))
        except BaseException:
            lock.release(folder / "lock")
            raise

    def close(self) -> None:
        """Let other processes use the folder."""
        lock.release(self.folder / "lock")

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def config(self) -> dict[str, Any]:
        """The configuration as it was stored.

        Raises:
            RunFolderError: the file is damaged.
        """
        return _stored(self.folder)

    @property
    def manifest(self) -> dict[str, Any]:
        """Where, when and with what the run was started."""
        return read_object(self.folder / "manifest.json", "Give this run another name, or start over (--fresh).")

    def round(self, key: str) -> Path:
        """The folder of a round, made where missing. Keys may have parts: `"seed-0/03"`."""
        folder = self._round(key)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def done(self, key: str) -> dict[str, Any] | None:
        """The result of a finished round, None for one that is not finished.

        Raises:
            RunFolderError: the file that says so is damaged.
        """
        path = self._round(key) / "done.json"
        remedy = f"Delete the folder {path.parent}, and the same command repeats that round; or start over (--fresh)."
        return read_object(path, remedy) if path.is_file() else None

    def finish(self, key: str, result: Mapping[str, Any]) -> None:
        """Mark a round finished, after everything else of it has been written, and log it as an event."""
        self.write_json(f"rounds/{key}/done.json", result)
        self.event("round", key=key, result=result)

    def finished(self) -> list[str]:
        """The keys of the finished rounds, sorted."""
        rounds = self.folder / "rounds"
        return sorted(path.parent.relative_to(rounds).as_posix() for path in rounds.rglob("done.json"))

    def event(self, kind: str, /, **fields: Any) -> None:
        """Append one line to `events.jsonl`: time (UTC), kind and the fields."""
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = dump({"time": stamp, "kind": kind, **fields}, indent=None, strict=True)
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """All events, or those of one kind, oldest first; a line that a crash cut short is left out."""
        events = read_lines(self.folder / "events.jsonl")
        return [event for event in events if kind is None or event["kind"] == kind]

    def write_text(self, path: str, text: str) -> Path:
        """Write a text file in the folder at once, or not at all."""
        return write_atomic(self.folder / path, text)

    def write_json(self, path: str, value: Any) -> Path:
        """Write a JSON file in the folder at once, or not at all; NaN stays NaN, as Python reads it back."""
        return write_atomic(self.folder / path, dump(value) + "\n")

    def _round(self, key: str) -> Path:
        if not all(_NAME.fullmatch(part) for part in key.split("/")):
            raise ValueError(f"a round's key must be letters, digits and . _ = + -, parts joined by /; found {key!r}")
        return self.folder / "rounds" / key


def _stored(folder: Path) -> dict[str, Any]:
    import yaml

    try:
        config: object = folders.read_config(folder)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        config = error
    if isinstance(config, dict):
        return config
    found = f"no YAML ({config})" if isinstance(config, Exception) else f"YAML of type {type(config).__name__}"
    raise RunFolderError(
        f"{folder / 'config.yaml'}: found {found}, expected the settings of a run; it is damaged. Give this run "
        "another name, or start over (--fresh)."
    )


def _start(cls: type[Run], folder: Path, config: Mapping[str, Any], facts: Mapping[str, Any]) -> Run:
    import yaml

    if (folder / "config.yaml").exists():
        _stored(folder)
        folders.refuse_change(folder, config)
        run = cls(folder)
        folders.drop_cut_line(folder / "events.jsonl")
        run.event("continued", argv=facts["argv"], versions=facts["versions"], finished=run.finished())
        return run
    text = yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True)
    write_atomic(folder / "manifest.json", dump(facts) + "\n")
    write_atomic(folder / "config.yaml", text)
    run = cls(folder)
    run.event("started", argv=facts["argv"])
    return run

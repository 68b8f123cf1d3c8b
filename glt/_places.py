"""Where data sets are looked for: `--data-root`, `$GLT_DATA`, and the user's cache, into which they are downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from common.runs.errors import MissingData

__all__ = ["absent", "downloaded", "find", "places", "tidy"]


def places(root: str | Path | None) -> list[Path]:
    """The folders in which data are looked for; the last is the cache."""
    given = [root, os.environ.get("GLT_DATA"), os.environ.get("GLT_HOME", "~/.cache/glt")]
    return [Path(place).expanduser() for place in given if place]


def find(kind: str, root: str | Path | None, complete: Callable[[Path], bool]) -> Path | None:
    """The first folder whose data are complete, among `kind` within a place and the place itself; or None."""
    for place in places(root):
        for folder in (place / kind, place):
            if complete(folder):
                return folder
    return None


def absent(name: str, root: str | Path | None, put: str, instead: str) -> str:
    """What to say of a data set that is not on this machine.

    Args:
        name: of the data set.
        root: where it was looked for beside the usual places.
        put: what to put where.
        instead: an embedded data set for the same task.
    """
    looked = ", ".join(str(place) for place in places(root))
    return f"{name} is not on this machine (looked in {looked}). {put}, or use the embedded data set: {instead}."


def downloaded(raw: Path, fetch: Callable[[str], object], missing: str) -> Path:
    """Let a data set of torch-geometric fetch itself, and return the folder of all sets of its kind.

    Args:
        raw: where its files come to lie: the last two parts below that folder.
        fetch: makes the data set in that folder, which downloads it.
        missing: what to say if nothing can be downloaded.

    Raises:
        MissingData: `GLT_OFFLINE` is set, or the download failed; what it left empty is removed.
    """
    folder = raw.parents[1]
    if os.environ.get("GLT_OFFLINE"):
        raise MissingData(missing)
    try:
        fetch(str(folder))
    except Exception as error:  # PyG's downloaders raise whatever their transport raises
        tidy(raw.parent / "processed", raw, raw.parent, folder, folder.parent)
        raise MissingData(f"{missing} (The download failed: {type(error).__name__}.)") from error
    return folder


def tidy(*folders: Path) -> None:
    """Remove folders that a failed download left empty, in this order."""
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

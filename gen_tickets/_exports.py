"""Files and folders that other programs read, whole or not at all; only what was exported before is replaced."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from common.runs.errors import RunFolderError, UsageError
from common.runs.files import dump, read_object

__all__ = ["MARK", "write_folder", "write_tensors"]

MARK = "ticket-export.json"
"""The file that marks a folder as an export."""
_KIND = "lottery-ticket-export"


def write_folder(
    folder: str | Path, fill: Callable[[Path], object], names: Collection[str], about: Mapping[str, Any]
) -> Path:
    """Write a folder and return its absolute path.

    Args:
        folder: a new or an empty one, or an earlier export, which is replaced.
        fill: is called with a folder to write into.
        names: what it writes there; an earlier export that holds anything else is left alone.
        about: what the mark says, plain json.

    Raises:
        UsageError: the folder holds something else, or is a file.
        OSError: it cannot be written; what was there stays.
    """
    place = Path(folder).expanduser().resolve()
    _check_folder(place, {MARK, *names})
    with _staged(place) as stage:
        stage.mkdir(parents=True)
        fill(stage)
        (stage / MARK).write_text(dump({"kind": _KIND, **about}) + "\n", encoding="utf-8")
        for path in stage.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors writes what its owner alone may read
        _swap(stage, place, stage.with_name(f"{stage.name}.old"))
    return place


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Path:
    """Write one safetensors file and return its absolute path.

    Args:
        path: a new file, or an earlier export, which is replaced.
        tensors: name to tensor; no two share memory.
        about: what the file's metadata say, as texts.

    Raises:
        UsageError: something else is there.
        OSError: it cannot be written; what was there stays.

    >>> import tempfile, torch
    >>> path = write_tensors(Path(tempfile.mkdtemp()) / "export.safetensors", {"w": torch.ones(2)}, {"family": "vae"})
    >>> safetensors.torch.load_file(path), _metadata(path)["family"]
    ({'w': tensor([1., 1.])}, 'vae')
    """
    place = Path(path).expanduser().resolve()
    if place.is_dir():
        raise UsageError(f"{place} is a folder; expected a file to write. Name one, such as export.safetensors.")
    if place.exists() and _metadata(place).get("kind") != _KIND:
        raise UsageError(f"{place} is there and no earlier export; nothing was written. Name another file.")
    metadata = {"format": "pt", "kind": _KIND, **{name: str(value) for name, value in about.items()}}
    content = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
    with _staged(place) as stage:
        stage.parent.mkdir(parents=True, exist_ok=True)
        stage.write_bytes(content)
        stage.replace(place)
    return place


@contextmanager
def _staged(place: Path) -> Iterator[Path]:
    """A name beside a place to write to first; whatever is left of it goes, and an error says where it was."""
    stage = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield stage
    except OSError as error:
        why = f"{type(error).__name__}: {error.strerror or error}"
        raise OSError(f"{place}: cannot be written ({why}). Check its permissions and the free space.") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        with suppress(OSError):  # a file, or nothing at all
            stage.unlink()


def _check_folder(place: Path, names: set[str]) -> None:
    """Refuse a folder that holds anything but an earlier export."""
    if place.exists() and not place.is_dir():
        raise UsageError(f"{place} is a file; expected a folder to write. Name another.")
    held = {path.name for path in place.iterdir()} if place.exists() else set()
    odd = sorted(held - names) or sorted(held if not _marked(place) else ())
    if odd:
        raise UsageError(
            f"{place} holds {odd[0]!r}, which is no part of an export; nothing was written. Name another folder, or "
            "empty this one."
        )


def _marked(place: Path) -> bool:
    try:
        return read_object(place / MARK, "").get("kind") == _KIND
    except RunFolderError:
        return False


def _swap(stage: Path, place: Path, aside: Path) -> None:
    """Put a written folder in the place of an older one, which is back if that fails."""
    if place.exists():
        place.replace(aside)
    try:
        stage.replace(place)
    except BaseException:
        if aside.exists():
            aside.replace(place)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; none of any other."""
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}

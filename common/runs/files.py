"""Files that are either whole or absent, and values as plain JSON."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from common.runs.errors import RunFolderError

__all__ = ["canonical", "dump", "plain", "read_lines", "read_object", "write_atomic"]


def plain(value: Any, *, strict: bool = False) -> Any:
    """A value as nested dicts, lists, strings, numbers, booleans and None.

    Dataclasses become dicts (or what their `as_dict()` says), tuples and sets lists, paths and enumerations strings,
    one-element arrays and tensors numbers, larger ones lists.

    Args:
        value: anything made of these.
        strict: turn infinities and NaN into None, as JSON proper has neither.

    Raises:
        TypeError: for any other type.

    >>> plain({"densities": (1.0, 0.5), "root": Path("runs")})
    {'densities': [1.0, 0.5], 'root': 'runs'}
    >>> plain(float("nan"), strict=True) is None
    True
    """
    if isinstance(value, enum.Enum):
        return plain(value.value, strict=strict)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return None if strict and not math.isfinite(value) else float(value)
    if hasattr(value, "as_dict"):
        return plain(value.as_dict(), strict=strict)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name), strict=strict) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item, strict=strict) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, strict=strict) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(item, strict=strict) for item in value)
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist(), strict=strict)
    raise TypeError(f"cannot write a {type(value).__name__} as JSON: {value!r}; pass numbers, strings, lists or dicts")


def canonical(config: Mapping[str, Any]) -> str:
    """The one JSON text of a configuration: keys sorted, no blanks. Equal configurations have equal texts.

    >>> canonical({"b": (1, 2), "a": 0.5})
    '{"a":0.5,"b":[1,2]}'
    """
    return json.dumps(plain(config), sort_keys=True, separators=(",", ":"))


def dump(value: Any, *, indent: int | None = 2, strict: bool = False) -> str:
    """A value as JSON text; `plain` says which types and what `strict` does."""
    return json.dumps(plain(value, strict=strict), indent=indent, ensure_ascii=False)


def write_atomic(path: Path, text: str) -> Path:
    """Write a text file so that a reader, or a crash, sees the old content or the new one, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # a temporary file is private; a result is not
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one JSON object a line; a last line that a crash cut short is left out.

    Raises:
        ValueError: a line before the last is no JSON object.
    """
    lines = path.read_bytes().splitlines() if path.exists() else []
    objects = []
    for number, line in enumerate(lines, start=1):
        try:
            objects.append(_object(line))
        except ValueError as error:
            if number < len(lines):
                raise ValueError(f"line {number} of {path} is not JSON: {line[:80]!r}; remove that line") from error
    return objects


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file that a run wrote.

    Args:
        path: the file.
        remedy: what to do about a damaged file, for the error.

    Raises:
        RunFolderError: the file cannot be read or holds anything else.
    """
    try:
        return _object(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: found no whole JSON object ({error}); it is damaged. {remedy}") from error


def _object(text: bytes) -> dict[str, Any]:
    value = json.loads(text.decode("utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"found {type(value).__name__}, expected an object")
    return value

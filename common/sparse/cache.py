"""What is worth keeping on disk between processes: compiled kernels and measured choices.

A cache that cannot be read or written is passed over: everything in it can be made again.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from contextlib import suppress
from pathlib import Path

__all__ = ["folder", "keep", "read"]


def folder() -> Path:
    """Where compiled kernels and measured choices are kept: `$GLT_HOME`, or the user's cache folder."""
    home = os.environ.get("GLT_HOME")
    base = Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lottery-tickets"
    return base / "sparse"


def read(name: str) -> bytes | None:
    """What was kept under a name (a path within the folder), or None if it is missing or damaged."""
    try:
        content = (folder() / name).read_bytes()
    except OSError:
        return None
    head, body = content[:64], content[64:]
    return body if head == _seal(name, body) else None


def keep(name: str, body: bytes) -> None:
    """Keep bytes under a name, whole or not at all."""
    path = folder() / name
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.write_bytes(_seal(name, body) + body)
        staged.replace(path)
    except OSError:
        with suppress(OSError):
            staged.unlink(missing_ok=True)


def _seal(name: str, body: bytes) -> bytes:
    return hashlib.sha256(name.encode() + body).hexdigest().encode()

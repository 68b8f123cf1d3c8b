"""One process a run folder: a lock the operating system drops when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import IO

from common.runs.errors import RunFolderError

__all__ = ["acquire", "release"]

_held: dict[tuple[int, Path], IO[str]] = {}  # a fork inherits this table but not the right to use it, hence the pid


def acquire(path: Path) -> None:
    """Take the lock file of a run folder for this process; taking it twice is fine.

    The file holds the pid of its last holder and stays when the lock is dropped; a lock whose holder has died is free.

    Raises:
        RunFolderError: another process holds it.
    """
    key = (os.getpid(), path.resolve())
    if key in _held:
        return
    file = path.open("a+", encoding="utf-8")
    try:
        _exclusive(file)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise RunFolderError(
                f"{path.parent} is in use by process {holder}; wait for it, stop it, or give this run another name"
            ) from error
        # a file system without locks: go on without one
    file.seek(0)
    file.truncate()
    file.write(f"{os.getpid()}\n")
    file.flush()
    _held[key] = file


def release(path: Path) -> None:
    """Drop the lock, if this process holds it."""
    file = _held.pop((os.getpid(), path.resolve()), None)
    if file is not None:
        with contextlib.suppress(OSError):
            file.close()


def _exclusive(file: IO[str]) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

"""Several staged files put in place as one: either all of them, or the older ones are back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["discard", "place"]


def place(folder: Path, token: str, names: Sequence[str], last: str, gone: str = "") -> None:
    """Move the staged file `.<name>.<token>` of every name to its name.

    Older files stand aside as `.<name>.<token>.old` until the last one is in place, which is the moment that counts;
    whatever fails before, they are put back.

    Args:
        folder: where all files are.
        token: of this attempt.
        names: what is moved first.
        last: the name that is moved last, and in one step.
        gone: a name whose older file is removed; none by default.

    Raises:
        OSError: a file could not be moved; the folder holds its older files again.
    """
    older = [name for name in (*names, gone) if name and (folder / name).is_file()]
    aside = {name: folder / f".{name}.{token}.old" for name in older}
    try:
        for name in older:
            os.replace(folder / name, aside[name])  # noqa: PTH105 - the atomic call, easy to find
        for name in (*names, last):
            os.replace(folder / f".{name}.{token}", folder / name)  # noqa: PTH105
    except BaseException:
        for name in names:
            if name not in older:
                discard(folder / name)
        for name, path in aside.items():
            if path.is_file():
                _put_back(path, folder / name)
        raise
    for path in aside.values():
        discard(path)


def discard(path: Path) -> None:
    """Remove a file if it is there and can be removed."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _put_back(path: Path, home: Path) -> None:
    try:
        os.replace(path, home)  # noqa: PTH105
    except OSError:  # where moving is what fails; if copying does, too, the older file stays where it stands
        with suppress(OSError):
            shutil.copyfile(path, home)
            path.unlink()

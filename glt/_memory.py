"""Sizes of memory in words: `2GB`, `512MB`, `1.5GiB`."""

from __future__ import annotations

import re

from common.runs.errors import UsageError

__all__ = ["parse_size", "shown"]

_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def parse_size(text: str, name: str = "--memory") -> int:
    """A size in bytes; KB, MB, GB, TB are powers of 1000, KiB, MiB, GiB, TiB of 1024, in any case.

    Args:
        text: a number and a unit.
        name: of the option, for the error.

    Raises:
        UsageError: it is nothing of the kind.

    >>> parse_size("2GB"), parse_size("512 mb"), parse_size("1.5GiB")
    (2000000000, 512000000, 1610612736)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-z]+)\s*", text, re.IGNORECASE | re.ASCII)
    size = round(float(found[1]) * _UNITS.get(found[2].lower(), 0)) if found else 0
    if size < 1:
        raise UsageError(
            f"{name} must be a positive number with a unit (B, KB, MB, GB, TB, KiB, MiB, GiB or TiB), as in 2GB, 512MB "
            f"or 1.5GiB; found {text!r}"
        )
    return size


def shown(size: float) -> str:
    """A size in words, rounded up, so that it suffices when it is typed back.

    >>> shown(1), shown(1_234_567), shown(1_234_567_890)
    ('1KB', '1235KB', '1235MB')
    """
    unit, name = (10**6, "MB") if size >= 10**7 else (10**3, "KB")
    return f"{-(-int(size) // unit)}{name}"

"""Ranges of settings, one table a command, and their check before any work.

>>> from dataclasses import dataclass
>>> @dataclass
... class Config:
...     batch: int = 0
>>> check_ranges(Config(), {"batch": AT_LEAST_ONE})
Traceback (most recent call last):
common.runs.errors.UsageError: --batch must be at least 1; found 0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from operator import attrgetter

from common.runs.errors import UsageError

__all__ = [
    "AT_LEAST_ONE", "FIRST_SEED", "KEPT", "NOT_NEGATIVE", "POSITIVE", "SEEDS", "Range", "at_least", "check_ranges",
]  # fmt: skip

Range = tuple[Callable[[float], bool], str]
"""What is asked of a value, and the words for it, which follow the name of the setting."""

_SEEDS, _MOST = 2**32, 1_000_000
POSITIVE: Range = (lambda v: 0 < v < math.inf, "must be positive and finite")
NOT_NEGATIVE: Range = (lambda v: 0 <= v < math.inf, "must be 0 or positive, and finite")
KEPT: Range = (lambda v: 0 < v <= 1, "is the share to keep and must lie in (0, 1]")
SEEDS: Range = (lambda v: 1 <= v <= _MOST, f"must be from 1 to {_MOST}")
FIRST_SEED: Range = (lambda v: 0 <= v < _SEEDS, f"must be from 0 to {_SEEDS - 1}")


def at_least(least: int) -> Range:
    """From a number on."""
    return lambda v: v >= least, f"must be at least {least}"


AT_LEAST_ONE = at_least(1)


def check_ranges(config: object, ranges: Mapping[str, Range], prefix: str = "") -> None:
    """Refuse the first setting that is out of its range; None is in every range.

    Args:
        config: settings, those of groups as attributes of attributes.
        ranges: dotted names to what is asked of them.
        prefix: what stands before the names on the command line, such as `task.`.

    Raises:
        UsageError: naming the setting, the value found and the range expected.
    """
    for name, (fits, expected) in ranges.items():
        value = attrgetter(name)(config)
        if value is not None and not fits(value):
            raise UsageError(f"--{prefix}{name.replace('_', '-')} {expected}; found {value}")

"""A schedule that is to be tried: who takes which steps of a sampler, and what that costs."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

from common.runs.words import plural
from gen_tickets._intervals import expanded
from gen_tickets.draw import Sampler

__all__ = ["Tried", "folder_name", "short"]

_MANY = 10  # stretches that a line can tell one by one


@dataclass(frozen=True)
class Tried:
    """A schedule to be tried.

    Attributes:
        runs: who does it, as in `dense` and `dense/2`, and number of steps, stretch by stretch, from noise to image.
        sampler: scheduler and steps.
        cost: share of what the dense network costs in all steps of the search's sampler.
    """

    runs: tuple[tuple[str, int], ...]
    sampler: Sampler
    cost: float

    @property
    def key(self) -> str:
        """As a part of a key in a run: a folder's name, so of no more than a hundred letters."""
        whole = "_".join(f"{count}x{folder_name(name)}" for name, count in self.runs)
        return short(whole)

    def __str__(self) -> str:
        """Stretch by stretch; of more than ten, who is called how often, and how many steps are skipped.

        >>> str(Tried((("dense", 1), ("skip", 1)) * 25, Sampler("ddim", 50), 0.5))
        '25 steps of dense, 25 steps of skip, in 50 stretches'
        """
        if len(self.runs) <= _MANY:
            return ", ".join(f"{plural(count, 'step')} of {name}" for name, count in self.runs)
        counts = Counter(expanded(self.runs))
        told = [f"{plural(count, 'step')} of {name}" for name, count in counts.items()]
        return ", ".join([*told, f"in {len(self.runs)} stretches"])


def short(key: str) -> str:
    """A key as a folder's name, of no more than a hundred letters.

    >>> short("50xdense"), len(short("1xdense_1xskip_" * 25))
    ('50xdense', 97)
    """
    return key if len(key) <= 100 else f"{key[:80]}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def folder_name(label: str) -> str:
    """A choice as a part of a folder's name.

    >>> folder_name("dense/2")
    'dense-every-2'
    """
    return label.replace("/", "-every-")

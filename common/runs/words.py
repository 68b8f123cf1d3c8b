"""Words that the reports of both suites have in common: the command that repeats a run, the verdict, numbers."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from common.runs.stats import Estimate, Paired

__all__ = [
    "aligned", "bars", "command_line", "number", "percent_label", "plural", "points", "share", "short_name", "spread",
    "verdict",
]  # fmt: skip

_NOT_REPEATED = ("fresh", "json", "quiet")


def aligned(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Rows of cells as lines of text, in columns two spaces apart.

    >>> print(*aligned([["method", "round 4"], ["ugs", "81.3"], ["no edges"]]), sep="\\n")
    method    round 4
    ugs       81.3
    no edges
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in cells]


def command_line(command: str, config: Any, usual: Any, *, positional: Sequence[str] = ()) -> str:
    """The words that repeat a run: the command, what it is given without dashes, then every setting that is not usual.

    Args:
        command: such as `glt find`.
        config: a dataclass of settings, nested ones included.
        usual: the same dataclass with the settings that need not be said.
        positional: fields whose values are given without dashes; they are always said, all of a list.

    >>> @dataclasses.dataclass
    ... class Settings:
    ...     dataset: str = "digits"
    ...     density: float = 0.1
    ...     seeds: tuple[int, ...] = (0,)
    ...     json: bool = False
    >>> command_line("glt find", Settings("my data.npz", seeds=(0, 1), json=True), Settings(), positional=("dataset",))
    "glt find 'my data.npz' --seeds 0 1"
    """
    values = [getattr(config, name) for name in positional]
    given = [_word(one) for value in values for one in (value if isinstance(value, list | tuple) else [value])]
    return shlex.join([*command.split(), *given, *_changed(config, usual, (*_NOT_REPEATED, *positional))])


def _changed(config: Any, usual: Any, skip: Sequence[str], prefix: str = "") -> list[str]:
    words: list[str] = []
    for field in dataclasses.fields(config):
        value, other = getattr(config, field.name), getattr(usual, field.name)
        option = f"--{prefix}{field.name.rstrip('_').replace('_', '-')}"
        if dataclasses.is_dataclass(value):
            words += _changed(value, other, (), f"{option[2:]}.")
        elif value != other and field.name not in skip:
            several = isinstance(value, list | tuple) and len(value) > 0
            given = [_word(one) for one in (value if several else [value])]
            tied = value is None or (given[0].startswith("-") and not several)  # else read as another word
            words += [f"{option}={given[0]}"] if tied else [option, *given]
    return words


def _word(value: Any) -> str:
    """A value as the command line takes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "[]" if isinstance(value, list | tuple) else str(value)


def verdict(
    kept: str,
    score: str,
    compared: Mapping[str, str],
    *,
    winning: bool,
    random_wins: bool = False,
    sparsest: str | None = None,
) -> str:
    """One or two sentences: whether a ticket wins, and what puts that into proportion.

    Args:
        kept: what the ticket keeps, in words and numbers.
        score: what it reaches.
        compared: name to score of the dense network and the controls.
        winning: whether the ticket wins.
        random_wins: whether random tickets do.
        sparsest: the sparsest ticket that wins, said where this one does not.

    >>> verdict("20% of weights", "81% test accuracy", {"dense": "80%", "random": "50%"}, winning=True)
    'A winning ticket: 20% of weights reach 81% test accuracy (dense 80%, random 50%).'
    """
    others = ", ".join(f"{name} {value}" for name, value in compared.items())
    text = f"{'A' if winning else 'Not a'} winning ticket: {kept} reach {score}{f' ({others})' if others else ''}."
    if winning and random_wins:
        text += " Random tickets of the same counts win as well, so the search did not make the difference."
    if not winning and sparsest:
        text += f" The sparsest rung that wins is {sparsest}."
    return text


def number(value: float) -> str:
    """A score to three digits, or what it means if it is none.

    >>> number(3.21456), number(0.000123), number(12345.6), number(float("nan"))
    ('3.21', '0.000123', '12,346', 'diverged')
    """
    if not math.isfinite(value):
        return "diverged"
    return _digits(value, 3) if value else "0"


def spread(found: Estimate) -> str:
    """A mean and the half-width of its interval, to the same place; how many seeds it is of stands elsewhere.

    >>> [spread(one).replace("\\xa0", " ") for one in (Estimate(3.21456, 0.5, 3), Estimate(0.01234, 0.00088, 3))]
    ['3.21 ± 0.50', '0.0123 ± 0.0009']
    >>> spread(Estimate(3.2, None, 1))
    '3.20'
    """
    mean = number(found.mean)
    if found.ci95 is None or not math.isfinite(found.ci95):
        return mean
    places = len(mean.partition(".")[2])
    half = _digits(found.ci95, 2) if "e" in mean else f"{found.ci95:,.{places}f}"
    return f"{mean}\xa0±\xa0{half}"  # in one line


def points(found: Paired) -> str:
    """A difference of shares in percentage points, its interval and its p, in one line.

    >>> shown = points(Paired(Estimate(0.0175, 0.0152, 4), 0.0348)), points(Paired(Estimate(-0.02, None, 1), None))
    >>> [one.replace("\\xa0", " ") for one in shown]
    ['+1.8 ± 1.5, p 0.035', '-2.0']
    """
    mean, half = 100 * found.difference.mean, found.difference.ci95
    if not math.isfinite(mean):
        return "diverged"
    text = f"{mean:+.1f}" if half is None else f"{mean:+.1f}\xa0±\xa0{100 * half:.1f}"
    if found.p is None:
        return text
    return text + (", p\xa0<\xa00.001" if found.p < 0.001 else f", p\xa0{found.p:.2g}")


def _digits(value: float, count: int) -> str:
    """At least `count` digits that count, and all before the point."""
    return f"{value:,.0f}" if abs(value) >= 10**count - 0.5 else f"{value:#.{count}g}".rstrip(".")


def share(density: float) -> str:
    """A share in per cent, with at least two digits however small it is.

    >>> share(0.5), share(0.0999), share(0.0123), share(0.00038)
    ('50.0%', '10.0%', '1.2%', '0.038%')
    """
    return f"{density:.1%}" if density >= 0.00995 else f"{100 * density:.2g}%"


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "seed"), plural(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def bars(seeds: int, what: str = "Bands and bars") -> str:
    """What the intervals in a figure are, and how the dense network is drawn.

    >>> bars(3, "Bars")
    'Bars are 95 % intervals over 3 seeds; the grey band is the dense network.'
    """
    if seeds == 1:
        return "One seed, so there are no intervals; the dashed line is the dense network."
    return f"{what} are 95 % intervals over {seeds} seeds; the grey band is the dense network."


def percent_label(value: float) -> str:
    """A percentage with about three digits.

    >>> percent_label(100), percent_label(51.2), percent_label(0.0371)
    ('100', '51.2', '0.037')
    """
    return f"{value:.0f}" if value >= 99.95 or value == 0 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def short_name(name: str) -> str:
    """A long name without its middle.

    >>> short_name("conv.weight"), len(short_name("down_blocks.0." * 9))
    ('conv.weight', 42)
    """
    return name if len(name) <= 42 else f"{name[:12]}…{name[-29:]}"

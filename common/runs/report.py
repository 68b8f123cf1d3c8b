"""A run as one HTML file: verdict, numbers, pictures, settings, provenance. No script, no outside request."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from common.runs.files import plain

__all__ = ["Count", "Figure", "Report", "Table", "render"]


@dataclass(frozen=True)
class Figure:
    """A picture: its title, a sentence on what one sees (also read to those who cannot), and an `<svg>` element."""

    title: str
    caption: str
    svg: str

    @property
    def uri(self) -> str:
        """The picture as a data address, which keeps the ids of several SVGs apart."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


@dataclass(frozen=True)
class Count:
    """How many of what were kept.

    >>> count = Count("edges", kept=750, total=1000)
    >>> count.removed, count.share
    (250, '75%')
    """

    what: str
    kept: int
    total: int

    @property
    def removed(self) -> int:
        """How many were pruned."""
        return self.total - self.kept

    @property
    def share(self) -> str:
        """The share kept, in per cent."""
        return f"{100 * self.kept / self.total:.4g}%" if self.total else "100%"


@dataclass(frozen=True)
class Table:
    """A further table: its title, a sentence on how to read it (or nothing), its head and its rows.

    Raises:
        ValueError: a row is longer or shorter than the head.
    """

    title: str
    text: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def __post_init__(self) -> None:
        _check_rows(self.columns, self.rows)


@dataclass(frozen=True)
class Report:
    """What a report says.

    Args:
        title: the run in a few words.
        verdict: the finding in one sentence, without the words "a winning ticket".
        winning: True or False puts "A winning ticket: " or "Not a winning ticket: " before it; None puts nothing.
        counts: exact numbers of kept and removed entries.
        summary: sentences that put the verdict in context.
        columns: head of the table of results.
        rows: its rows, as long as the head; `str()` of each cell is shown.
        tables: more of them, below the figures.
        figures: in the order shown.
        command: the command line that repeats the run.
        settings: the configuration; nested keys are shown with dots.
        references: papers to cite.
        provenance: the manifest.

    Raises:
        ValueError: a row is longer or shorter than the head.
    """

    title: str
    verdict: str
    winning: bool | None = None
    counts: Sequence[Count] = ()
    summary: Sequence[str] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    command: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    references: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_rows(self.columns, self.rows)

    @property
    def headline(self) -> str:
        """The verdict as it stands at the top.

        >>> Report("digits", "81% at half the edges", winning=True).headline
        'A winning ticket: 81% at half the edges'
        """
        if self.winning is None:
            return self.verdict
        return f"{'A' if self.winning else 'Not a'} winning ticket: {self.verdict}"


def _check_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise ValueError(f"row {number} has {len(row)} cells, the head {len(columns)}; give one a column")


def render(report: Report) -> str:
    """The report as one self-contained HTML page; every text is escaped.

    >>> page = render(Report("digits <knn>", "80.1% against 80.0% dense", winning=True))
    >>> "<h1>digits &lt;knn&gt;</h1>" in page, "A winning ticket: 80.1% against 80.0% dense" in page
    (True, True)
    """
    return _template().render(
        report=report, settings=_rows(plain(report.settings)), provenance=_rows(plain(report.provenance))
    )


@cache
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8"))


def _rows(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            rows += _rows(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            rows.append((prefix + key, ", ".join(map(str, value))))
        else:
            rows.append((prefix + key, "not set" if value is None else str(value)))
    return rows

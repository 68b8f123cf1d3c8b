"""The reports of `gen-tickets find` and `compare`: one HTML file with verdict, table, curve, samples and layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.runs.plots import Rung
from common.runs.report import Count, Figure, Report, render
from common.runs.store import Run
from common.runs.words import number, share, spread
from gen_tickets import _figures as figures
from gen_tickets._figures import NAMES
from gen_tickets._judging import definitions, extractor, references
from gen_tickets.summary import Level, Summary, verdict

__all__ = ["About", "write_comparison", "write_report"]

_MOST_COLUMNS, _MOST_ROWS, _SAME_DENSITY = 12, 25, 1.04


@dataclass(frozen=True)
class About:
    """What a report says of a run beside its numbers.

    Attributes:
        title: the run in a few words.
        command: what repeats it, see `common.runs.words.command_line`.
        settings: the configuration.
        references: papers to cite; those of the scores are added.
        seed: whose samples and counts are shown.
    """

    title: str
    command: str
    settings: Mapping[str, Any]
    references: Sequence[str]
    seed: int


def write_report(store: Run, summary: Summary, about: About) -> Path:
    """Write `report.html`, the report of one method's ladder, into the run folder and return its path.

    Args:
        store: the run; the samples of its rungs are shown where they are there.
        summary: of one method.
        about: the rest.

    Raises:
        ValueError: there are several methods, or none.
        RunFolderError: the samples of a rung are damaged.
    """
    if len(summary.methods) != 1:
        raise ValueError(f"found {len(summary.methods)} methods; expected one. Use write_comparison for several.")
    levels, others, seeds = summary.levels, _others(summary), len(summary.seeds)
    final = levels[-1] if levels else None
    rungs = [Rung(level.density, level.scores) for level in levels]
    drawn = figures.curve(summary, rungs)
    if final is not None:
        drawn += figures.side_by_side(store, summary, final, about.seed)
        drawn += figures.by_round(store, summary, figures.thinned(levels, _MOST_ROWS), about.seed)
        columns = {str(level.round): level for level in figures.thinned(levels, _MOST_COLUMNS)}
        drawn += figures.layers(columns, "round", seeds)
    total = f"{final.total:,} weights" if final is not None else "the weights"
    kinds = _kinds(summary)
    controls = [NAMES[name].removesuffix(" ticket") for name in kinds]
    head = ["round", "kept", f"of {total}", f"{summary.label}, ticket", *controls, "wins", *others]
    rows = [_dense(summary, kinds, others), *(_rung(level, kinds, others) for level in levels)]
    note = "The table's columns after the one that says what wins are means of the ticket." if others else ""
    return _write(store, summary, about, head, rows, drawn, final, note)


def write_comparison(store: Run, summary: Summary, about: About) -> Path:
    """Write `report.html`, the report of several methods at the same densities, and return its path.

    Args:
        store: the run; the samples of its rungs are shown where they are there.
        summary: of all methods; the first that has controls lends them to the picture and the table.
        about: the rest.

    Raises:
        RunFolderError: the samples of a rung are damaged.
    """
    control = next((level.method for level in summary.levels if len(level.scores) > 1), None)
    rungs = [Rung(level.density, {level.method: level.scores["ticket"]}) for level in summary.levels]
    rungs += [Rung(one.density, _controls(one)) for one in summary.methods.get(control or "", ()) if _controls(one)]
    note = f"Random and re-initialised tickets are those of {control}." if control else ""
    drawn = figures.curve(summary, rungs, note)
    groups = _groups(summary.levels)
    if groups:
        chosen = max(groups, key=lambda group: (summary.best in group, len(group), -group[0].density))
        drawn += figures.by_method(store, summary, chosen, about.seed)
        drawn += figures.layers({level.method: level for level in chosen}, "method", len(summary.seeds))
    head = ["weights kept", *summary.methods, *(f"{NAMES[name]} of {control}" for name in _kinds(summary))]
    dense = spread(summary.dense)
    rows = [["100% (dense)", *[dense] * len(summary.methods), *[""] * len(_kinds(summary))]]
    rows += [_group(group, summary, control) for group in groups]
    return _write(store, summary, about, head, rows, drawn, summary.best)


def _write(
    store: Run,
    summary: Summary,
    about: About,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    drawn: Sequence[Figure],
    level: Level | None,
    note: str = "",
) -> Path:
    if about.seed not in summary.seeds:
        raise ValueError(f"found seed {about.seed} to show; expected one of {', '.join(map(str, summary.seeds))}")
    text = verdict(summary).removeprefix("A winning ticket: ").removeprefix("Not a winning ticket: ")
    kept = None if level is None else level.kept[summary.seeds.index(about.seed)]
    report = Report(
        title=about.title,
        verdict=text,
        winning=summary.winning,
        counts=[] if level is None or kept is None else [Count("weights", kept, level.total)],
        summary=[*definitions(summary), *([note] if note else [])],
        columns=head,
        rows=rows,
        figures=drawn,
        command=about.command,
        settings=about.settings,
        references=[*dict.fromkeys([*about.references, *references(summary)])],
        provenance=store.manifest,
    )
    return store.write_text("report.html", render(report))


def _others(summary: Summary) -> dict[str, str]:
    """What the remaining columns are called, and their labels; the main score's extractor is not repeated."""
    own = f"[{extractor(summary.label)}]"
    return {label.removesuffix(own): label for label in summary.quality if label != summary.label}


def _dense(summary: Summary, kinds: Sequence[str], others: Mapping[str, str]) -> list[str]:
    rest = [number(summary.quality[label].mean) for label in others.values()]
    return ["0", "100%", "all", spread(summary.dense), *[""] * len(kinds), "dense", *rest]


def _rung(level: Level, kinds: Sequence[str], others: Mapping[str, str]) -> list[str]:
    kept = [str(level.round), share(level.density), level.counted.partition(" of ")[0]]
    scores = [spread(level.scores[name]) if name in level.scores else "" for name in ("ticket", *kinds)]
    rest = [level.quality.get(label, {}).get("ticket") for label in others.values()]
    wins = "yes" if level.winning else "no"
    return [*kept, *scores, wins, *("" if one is None else number(one.mean) for one in rest)]


def _controls(level: Level) -> dict[str, Any]:
    return {name: one for name, one in level.scores.items() if name != "ticket"}


def _kinds(summary: Summary) -> list[str]:
    return [name for name in ("random", "reinit") if any(name in level.scores for level in summary.levels)]


def _groups(levels: Sequence[Level]) -> list[list[Level]]:
    """Rungs of different methods at about the same density, densest first."""
    groups: list[list[Level]] = []
    for level in sorted(levels, key=lambda one: -one.density):
        near = [
            group
            for group in groups
            if group[0].density <= _SAME_DENSITY * level.density and level.method not in {one.method for one in group}
        ]
        if near:
            near[0].append(level)
        else:
            groups.append([level])
    return groups


def _group(group: Sequence[Level], summary: Summary, control: str | None) -> list[str]:
    found = {level.method: level for level in group}
    cells = [share(sum(level.density for level in group) / len(group))]
    for method in summary.methods:
        level = found.get(method)
        cells.append("" if level is None else f"{spread(level.scores['ticket'])}{', wins' if level.winning else ''}")
    controls = _controls(found[control]) if control in found else {}
    for name in _kinds(summary):
        won = ", wins" if name in controls and name in found[control or ""].winners else ""
        cells.append(f"{spread(controls[name])}{won}" if name in controls else "")
    return cells

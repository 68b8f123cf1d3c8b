"""Graph lottery tickets side by side: methods on one data set and one network, rung by rung, with every control.

It is `glt compare` with the words given here, which goes on where it was broken off and takes in more methods and
seeds; what it found becomes rows of the results, one a method and rung. Hours on two cores: data under `$GLT_DATA`.
Without `--methods` all are compared. CPU time falls by a tenth to a third where torch may use huge pages
(`THP_MEM_ALLOC_ENABLE=1`) and freed memory stays with the process (`MALLOC_TRIM_THRESHOLD_=2000000000`).

    python benchmarks/graph_tickets.py cora --seeds 10
    python benchmarks/graph_tickets.py cora --seeds 10 --training.distil 10      # the second table
    python benchmarks/graph_tickets.py cora --seeds 10 --weights-density 1       # edges alone
    python benchmarks/graph_tickets.py --table          # what the results hold so far, as markdown
    python benchmarks/graph_tickets.py --page docs/graph-results.md     # put tables where the page asks for them
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import unseen_graph
from pages import fill

from common.runs.files import read_lines
from common.runs.words import plural
from glt.cli import main as glt
from glt.methods import METHODS

RESULTS = Path(__file__).parent / "results" / "graph_tickets.jsonl"
KEY = ("settings", "method", "round")
FREE = ("--methods", "--random-edges", "--rungs", "--seeds", "--jobs", "--out", "--name", "--data-root")


def settings(words: list[str]) -> str:
    """The words of `glt compare` that rows of one table share, options in order.

    >>> settings(["cora", "--seeds", "3", "--model", "gat", "--methods", "ugs", "teddy"])
    'cora --model gat'
    """
    parts: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--"):
            parts.append([])
        parts[-1].append(word)
    shared = [parts[0], *sorted(part for part in parts[1:] if part[0] not in FREE)]
    return " ".join(word for part in shared for word in part)


def rows(words: list[str]) -> list[dict[str, Any]]:
    """Run the comparison, and what it found as flat objects."""
    words = [*words, *([] if "--methods" in words else ["--methods", *METHODS])]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = glt(["compare", *words, "--json"])
    if code:
        raise SystemExit(code)
    found = json.loads(printed.getvalue())
    about = {
        "settings": settings(words),
        **{name: found[name] for name in ("metric", "dense", "no_edges", "inference")},
    }
    return [
        {**about, "method": method, **{name: value for name, value in row.items() if name != "ticket"}}
        for method, levels in found["methods"].items()
        for row in levels
    ]


def keep(new: list[dict[str, Any]], results: Path) -> None:
    """Put rows into the results in place of those of the same key."""
    known = {tuple(row[name] for name in KEY): row for row in read_lines(results)}
    known |= {tuple(row[name] for name in KEY): row for row in new}
    results.write_text("".join(f"{json.dumps(row)}\n" for row in known.values()), encoding="utf-8")


def grouped(results: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows by their settings."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in read_lines(results):
        groups.setdefault(row["settings"], []).append(row)
    return groups


def tables(results: Path) -> list[str]:
    """Lines of markdown: for the same settings a table of methods by rungs, and one of controls a rung."""
    lines = []
    for title, found in grouped(results).items():
        lines += [f"### `{title}`: {found[0]['metric']}", "", *_overview(found), ""]
        for rung in _rungs(found):
            lines += [*_controls(found, rung), ""]
    return lines


def asked(name: str, results: Path = RESULTS) -> list[str]:
    """A table for a page: `overview of SETTINGS`, `controls at round N of SETTINGS`, or `unseen graph`.

    Raises:
        SystemExit: there are no such rows.
    """
    if name == "unseen graph":
        return unseen_graph.table(unseen_graph.RESULTS)
    said, groups = re.fullmatch(r"(?:overview|controls at round (\d+)) of (.+)", name), grouped(results)
    if said is None:
        raise SystemExit(
            f"found the table {name!r}; expected 'overview of ...', 'controls at round N of ...' or 'unseen graph'"
        )
    rung, title = said.groups()
    if title not in groups:
        raise SystemExit(f"found no rows of {title!r}; expected one of {', '.join(groups)}")
    found = groups[title]
    if rung is None:
        return _overview(found)
    if int(rung) not in _rungs(found):
        raise SystemExit(f"found no round {rung} of {title!r}; expected one of {', '.join(map(str, _rungs(found)))}")
    return _controls(found, int(rung))


def _rungs(found: list[dict[str, Any]]) -> list[int]:
    return sorted({row["round"] for row in found})


def _overview(found: list[dict[str, Any]]) -> list[str]:
    rungs = _rungs(found)
    dense, bare = found[0]["dense"]["accuracy"], found[0]["no_edges"]["accuracy"]
    lines = [f"Dense {_points(dense)} ({plural(dense['n'], 'seed')}), without edges {_points(bare)}.", ""]
    lines += ["| method | " + " | ".join(_kept(found, rung) for rung in rungs) + " | search, CPU s | MB |"]
    lines += ["| --- |" + " --- |" * (len(rungs) + 2)]
    for method in dict.fromkeys(row["method"] for row in found):
        mine = {row["round"]: row for row in found if row["method"] == method}
        cells = [_cell(mine.get(rung)) for rung in rungs]
        cells += [f"{max(row['search_seconds']['mean'] for row in mine.values()):.0f}"]
        cells += [f"{max(row.get('search_mb', row['peak_rss_mb']) for row in mine.values()):.0f}"]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return [*lines, *_emergence(found)]


def _emergence(found: list[dict[str, Any]]) -> list[str]:
    birds = {row["round"]: row for row in found if row["method"] == "earlybird"}
    if not birds:
        return []
    said = []
    for rung in sorted(birds):
        told, seeds = birds[rung]["found"].get("emerged"), birds[rung]["accuracy"]["ticket"]["n"]
        part = "" if told is None or told["n"] == seeds else f" with {told['n']} of {seeds} seeds"
        said.append(f"round {rung} {'not with every seed' if told is None else format(told['mean'], '.0f')}{part}")
    return ["", f"Early birds emerged after so many epochs, on average: {', '.join(said)}."]


def _controls(found: list[dict[str, Any]], rung: int) -> list[str]:
    """Every method's ticket beside its controls, and how fast it is."""
    rows = [row for row in found if row["round"] == rung]
    names = {"ticket": "ticket", "random_edges": "own run, random edges", "edges": "its weights, random edges"}
    names |= {"random": "random ticket", "reinit": "re-initialised"}
    lines = [f"Round {rung}, {_kept(found, rung)} of edges / weights kept:", ""]
    lines += [f"| method | {' | '.join(names.values())} | p of its edges | inference |", "| --- |" + " --- |" * 7]
    for row in rows:
        cells = [_points(row["accuracy"][name]) if name in row["accuracy"] else "" for name in names]
        p = row["credit"] and row["credit"]["p"]
        cells += ["" if p is None else f"{p:.2g}", f"{row['inference']['speedup']:.2f}x" if row["inference"] else ""]
        lines.append(f"| {row['method']} | {' | '.join(cells)} |")
    return lines


def _kept(found: list[dict[str, Any]], rung: int) -> str:
    row = next(row for row in found if row["round"] == rung)
    return f"{row['edges']['density']:.1%} / {row['weights']['density']:.2%}"


def _points(score: dict[str, Any]) -> str:
    spread = f" (n={score['n']})" if score["ci95"] is None else f" ± {100 * score['ci95']:.1f}"
    return f"{100 * score['mean']:.1f}{spread}"


def _cell(row: dict[str, Any] | None) -> str:
    """Accuracy, bold where it wins, and the credit of the edges with a star where p < 0.01."""
    if row is None:
        return ""
    mark = "**" if row["winning"] else ""
    text = f"{mark}{_points(row['accuracy']['ticket'])}{mark}"
    credit = row["credit"]
    if credit is None:
        return text
    star = "\\*" if credit["p"] is not None and credit["p"] < 0.01 else ""
    return f"{text} ({100 * credit['mean']:+.1f}{star})"


def main() -> None:
    """Compare, or print what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the results")
    parser.add_argument("--page", type=Path, help="a page of markdown to put tables into")
    arguments, words = parser.parse_known_args()
    if arguments.page:
        fill(arguments.page, partial(asked, results=arguments.results))
        return
    if arguments.table:
        print("\n".join(tables(arguments.results)))
        return
    keep(rows(words), arguments.results)


if __name__ == "__main__":
    main()

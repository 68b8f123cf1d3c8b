"""Graph lottery tickets side by side: all methods on one data set and one network, rung by rung, with every control.

It is `glt compare` with its own settings, which goes on where it was broken off and takes in more methods and seeds;
what it found becomes rows of the results, one a method and rung. Hours on two cores: data under `$GLT_DATA`.

    python benchmarks/graph_tickets.py cora --model gcn --seeds 10
    python benchmarks/graph_tickets.py cora --model gcn --seeds 10 --distil 10   # the second table
    python benchmarks/graph_tickets.py --table          # what the results hold so far, as markdown
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from common.runs.files import read_lines
from common.runs.progress import Console
from glt.compare import run
from glt.compare_config import Compare
from glt.config import Training
from glt.methods import METHODS
from glt.task_settings import Task

RESULTS = Path(__file__).parent / "results" / "graph_tickets.jsonl"
KEY = ("dataset", "model", "distil", "inductive", "method", "round")


def rows(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the comparison, and what it found as flat objects."""
    config = Compare(
        arguments.dataset,
        model=arguments.model,
        methods=arguments.methods,
        rungs=arguments.rungs,
        seeds=arguments.seeds,
        training=Training(distil=arguments.distil),
        task=Task(inductive=arguments.inductive),
        jobs=arguments.jobs,
        out=arguments.out,
    )
    with Console() as console:
        found = run(config, console)
    about = {name: getattr(arguments, name) for name in ("dataset", "model", "distil", "inductive")}
    about |= {"dense": found["dense"], "no_edges": found["no_edges"], **found["inference"]}
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


def tables(results: Path) -> list[str]:
    """Lines of markdown: a table a data set, network and training, a line a method, a column a rung."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in read_lines(results):
        groups.setdefault(tuple(row[name] for name in KEY[:4]), []).append(row)
    lines = []
    for (dataset, model, distil, inductive), found in groups.items():
        rungs = sorted({row["round"] for row in found})
        title = f"{dataset}, {model}" + (f", distilled by {distil:g}" if distil else "")
        lines += [f"### {title}{', inductive' if inductive else ''}", ""]
        dense, bare = found[0]["dense"]["accuracy"], found[0]["no_edges"]["accuracy"]
        lines += [f"Dense {_points(dense)} ({dense['n']} seeds), without edges {_points(bare)}.", ""]
        lines += ["| method | " + " | ".join(_kept(found, rung) for rung in rungs) + " | search, CPU s |"]
        lines += ["| --- |" + " --- |" * (len(rungs) + 1)]
        for method in dict.fromkeys(row["method"] for row in found):
            mine = {row["round"]: row for row in found if row["method"] == method}
            cells = [_cell(mine.get(rung)) for rung in rungs]
            lines.append(f"| {method} | {' | '.join(cells)} | {mine[max(mine)]['search_seconds']['mean']:.0f} |")
        lines.append("")
    return lines


def _kept(found: list[dict[str, Any]], rung: int) -> str:
    row = next(row for row in found if row["round"] == rung)
    return f"{row['edges']['density']:.1%} / {row['weights']['density']:.2%}"


def _points(score: dict[str, Any]) -> str:
    spread = "" if score["ci95"] is None else f" ± {100 * score['ci95']:.1f}"
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
    parser.add_argument("dataset", nargs="?", default="cora")
    parser.add_argument("--model", default="gcn")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--rungs", nargs="+", type=int, default=[4, 8, 12, 16, 20])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--distil", type=float, default=0.0)
    parser.add_argument("--inductive", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", default="runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the results")
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(tables(arguments.results)))
        return
    keep(rows(arguments), arguments.results)


if __name__ == "__main__":
    main()

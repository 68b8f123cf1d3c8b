"""Step schedules on MNIST: quality against budget, for the schedule found and every baseline at the same budget.

The families are those of `benchmarks/step_family.py`, one a seed: U-Nets `small` at 16 pixels, sampled by DDIM in 50
steps if nothing else is said. It is `gen-tickets schedule` with these settings, which goes on where it was broken off;
a row of the results is a seed and a budget. On one core the first row of a seed takes an hour, another budget 10
minutes: MNIST under `$GLT_DATA`, and those families in `runs`.

    python benchmarks/step_schedules.py                                     # three seeds, half and a fifth
    python benchmarks/step_schedules.py --cost seconds --label seconds
    python benchmarks/step_schedules.py --space pixels --label macs-pixels  # an ablation
    python benchmarks/step_schedules.py --scheduler dpm-solver++ --steps 20 --label dpm-20
    python benchmarks/step_schedules.py --table                             # what the results hold so far, as markdown
    python benchmarks/step_schedules.py --page docs/schedules.md            # put tables where the page asks for them
    python benchmarks/step_schedules.py --picture docs/images/step-schedules.svg
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from pages import fill
from schedule_picture import picture
from schedule_transfer import table as transferred

from common.runs.files import read_lines, write_atomic
from common.runs.progress import Console
from common.runs.stats import Estimate, estimate, paired
from gen_tickets._config_schedule import Schedule
from gen_tickets.stepwise.command import run

RESULTS = Path(__file__).parent / "results" / "step_schedules.jsonl"
KEY = ("label", "seed", "budget")
SEARCH = 3  # rows of 2 were chosen by one look from 256 noises; those without, from the noises of the table


def settings(arguments: argparse.Namespace, seed: int, budget: float) -> Schedule:
    """What is searched; everything that is not said here is a default of `gen-tickets`."""
    home = Path(f"{arguments.run}-seed-{seed}") / "rounds" / f"seed-{seed}"
    rounds = [home / arguments.method / f"round-{number:02d}" for number in arguments.rounds]
    return Schedule(
        tickets=[str(home / "dense"), *map(str, rounds)],
        budget=budget,
        engine=arguments.engine,
        cost=arguments.cost,
        scheduler=arguments.scheduler,
        steps=arguments.steps,
        intervals=arguments.intervals,
        space=arguments.space,
        skip=arguments.skip,
        paces=arguments.paces,
        tune=arguments.tune,
        joint=arguments.joint,
        samples=arguments.samples,
        seeds=1,
        out=arguments.out,
    )


def keep(row: dict[str, Any], results: Path) -> None:
    """Put a row into the results in place of that of the same key; other settings under one label are refused."""
    known = {tuple(one[name] for name in KEY): one for one in read_lines(results)}
    for one in known.values():
        if one["label"] == row["label"] and _shared(one) != _shared(row):
            raise SystemExit(f"the results hold other settings under {row['label']!r}; choose another --label")
    known[tuple(row[name] for name in KEY)] = row
    write_atomic(results, "".join(f"{json.dumps(one)}\n" for one in known.values()))


def _shared(row: dict[str, Any]) -> dict[str, Any]:
    """The settings that rows of one label have in common: all but the budget, and the seed of the family."""
    return {**row["settings"], "tickets": _tickets(row), "budget": None, "search": row.get("search")}


def _tickets(row: dict[str, Any]) -> list[str]:
    """The folders of its tickets without their seed."""
    return [re.sub(r"-?seed-\d+", "", folder) for folder in row["settings"]["tickets"]]


def _family(row: dict[str, Any]) -> dict[str, Any]:
    """What searches have in common that differ in costs alone: tickets, sampler and all other settings."""
    return {**row["settings"], "tickets": _tickets(row), "budget": None, "cost": None}


def tables(results: Path) -> list[str]:
    """Lines of markdown: a table a label."""
    labels = dict.fromkeys(row["label"] for row in read_lines(results))
    return [line for label in labels for line in [f"### {label}", "", *table(label, results), ""]]


def table(label: str, results: Path = RESULTS) -> list[str]:
    """Lines of markdown: a line a budget, a column a schedule, means over the seeds that are there.

    Raises:
        SystemExit: there are no rows of that label.
    """
    rows = _rows(label, results)
    cell = partial(_cell, seeds=len(_seeds(rows)))
    lines = [f"{rows[0]['quality']['name']} of seed {', '.join(map(str, _seeds(rows)))}.", ""]
    columns, scores = _scores("quality", rows)
    lines += [f"| budget | {' | '.join(columns)} | cost | speed, measured | joint / predicted |"]
    lines += ["| --- |" + " --- |" * (len(columns) + 3)]
    for budget, found in _by_budget(rows).items():
        damages = [row["damage"] for row in found]
        ratio = [one["joint"] / one["predicted"] for one in damages if min(one["joint"], one["predicted"]) > 0]
        more = [cell([row[name] for row in found]) for name in ("cost_ratio", "measured_speedup")]
        lines.append(f"| {budget:.0%} | {' | '.join([*scores[budget], *more, cell(ratio)])} |")
    if leads := _leads(rows):
        lines += ["", "The schedule found is better by so much, seed by seed (p of a paired t-test):", "", *leads]
    columns, scores = _scores("kernel", rows)
    lines += ["", f"{rows[0]['kernel']['name']}:", ""]
    lines += [f"| budget | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    return lines + [f"| {budget:.0%} | {' | '.join(cells)} |" for budget, cells in scores.items()]


def _leads(rows: list[dict[str, Any]]) -> list[str]:
    """By how much the schedule found is better than each other one, a line a budget."""
    lines = []
    for budget, mine in _by_budget(rows).items():
        found = [row["quality"] for row in mine]
        others = [name for name in found[0] if name not in ("name", "schedule") and all(name in one for one in found)]
        pairs = {name: [[one[which]["mean"] for one in found] for which in (name, "schedule")] for name in others}
        leads = {name: paired(*both) for name, both in pairs.items()}
        told = [f"{name} {one.difference.mean:.2f} ({one.p:.2g})" for name, one in leads.items() if one.p is not None]
        lines += [f"- {budget:.0%}: {', '.join(told)}"] if told else []
    return lines


def asked(name: str, results: Path = RESULTS) -> list[str]:
    """The table of a label, or that of other samplers."""
    return transferred() if name == "other samplers" else table(name, results)


def _scores(score: str, rows: list[dict[str, Any]]) -> tuple[list[str], dict[float, list[str]]]:
    """The schedules that were scored, and by budget a cell for each of them."""
    columns = list(dict.fromkeys(name for row in rows for name in row[score] if name != "name"))
    cells = {}
    for budget, found in _by_budget(rows).items():
        every = [[row[score][name]["mean"] for row in found if name in row[score]] for name in columns]
        cells[budget] = [_cell(values, len(_seeds(rows))) for values in every]
    return columns, cells


def _rows(label: str, results: Path) -> list[dict[str, Any]]:
    rows = [row for row in read_lines(results) if row["label"] == label]
    if not rows:
        raise SystemExit(f"found no rows of {label!r} in {results}")
    return rows


def _by_budget(rows: list[dict[str, Any]]) -> dict[float, list[dict[str, Any]]]:
    """Rows of each budget, the dearest first."""
    budgets = sorted({row["budget"] for row in rows}, reverse=True)
    return {budget: [row for row in rows if row["budget"] == budget] for budget in budgets}


def _seeds(rows: list[dict[str, Any]]) -> list[int]:
    return sorted({row["seed"] for row in rows})


def _cell(values: list[float], seeds: int) -> str:
    if not values:
        return ""
    found: Estimate = estimate(values)
    text = f"{found.mean:.3g}" + ("" if found.ci95 is None else f" ± {found.ci95:.2g}")
    return text if found.n == seeds else f"{text} (n={found.n})"


def show(arguments: argparse.Namespace) -> None:
    """What the results hold so far, where it is asked for."""
    results = Path(arguments.results)
    if arguments.table:
        print("\n".join(tables(results)))
    if arguments.page:
        fill(arguments.page, partial(asked, results=results))
    if arguments.picture:
        rows = _rows(arguments.label, results)
        timed = [row for row in read_lines(results) if _family(row) == _family(rows[0])]
        arguments.picture.write_text(picture(rows, timed), encoding="utf-8")


def main() -> None:
    """Search for every seed and budget, and write what is finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--run", default="runs/steps-mnist-16-10000-uniform-0.4", help="of benchmarks/step_family.py, without its seed"
    )
    parser.add_argument("--method", default="uniform", help="whose rounds")
    parser.add_argument("--rounds", type=int, nargs="+", default=[1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.5, 0.2])
    parser.add_argument("--engine", default="sparse")
    parser.add_argument("--cost", default="macs", choices=("seconds", "macs"))
    parser.add_argument("--scheduler", default="ddim")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--intervals", type=int, default=10)
    parser.add_argument("--space", default="data")
    parser.add_argument("--skip", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--paces", type=int, nargs="+", default=[1, 2, 3, 5])
    parser.add_argument("--tune", type=int, default=0)
    parser.add_argument("--joint", type=int, default=0)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--label", default="macs")
    parser.add_argument("--out", default="runs")
    parser.add_argument("--results", default=str(RESULTS))
    parser.add_argument("--table", action="store_true", help="print the results")
    parser.add_argument("--page", type=Path, help="a page of markdown to put tables into")
    parser.add_argument("--picture", type=Path, help="where to draw scores of --label against costs and times")
    arguments = parser.parse_args()
    if arguments.table or arguments.page or arguments.picture:
        show(arguments)
        return
    for seed in arguments.seeds:
        for budget in arguments.budgets:
            config = settings(arguments, seed, budget)
            with Console() as console:
                found = run(config, console)
            about = {"label": arguments.label, "seed": seed, "budget": budget, "settings": dataclasses.asdict(config)}
            keep({**about, "search": SEARCH, **found}, Path(arguments.results))


if __name__ == "__main__":
    main()

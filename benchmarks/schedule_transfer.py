"""Schedules found with one sampler, used with other numbers of steps and another solver, beside the dense network.

Takes the schedules that `benchmarks/step_schedules.py` left, and scores them as `gen-tickets fid --schedule` does. A
row of the results is a label, a seed, a budget, a scheduler and its steps; with the sampler of the search both are in
the results of that script. Some 40 minutes a schedule of DDIM-50 on one core.

    python benchmarks/schedule_transfer.py --budget 0.5
    python benchmarks/schedule_transfer.py --label dpm-20 --samplers dpm-solver++:10 dpm-solver++:50
    python benchmarks/schedule_transfer.py --table           # what the results hold so far, as markdown

`step_schedules.py --page` puts that table where a page asks for `other samplers`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from common.runs.files import read_lines
from common.runs.progress import Console
from common.runs.stats import estimate
from gen_tickets._config_tools import Fid
from gen_tickets.fid import run
from gen_tickets.schedule import StepSchedule

RESULTS = Path(__file__).parent / "results"
TRANSFERRED = RESULTS / "schedule_transfer.jsonl"
SAMPLERS = ["ddim:10", "ddim:20", "ddim:100", "dpm-solver++:20"]
SHARED = ("label", "budget", "scheduler", "steps", "samples")  # by the seeds of a cell


def scored(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """The scores of a schedule and of its dense network, by one sampler and from the same noises."""
    dense = StepSchedule.load(folder).members["dense"].folder
    shared = {"samples": about["samples"], "seeds": 1, "first_seed": 1, "threads": 1}
    sampler = {name: about[name] for name in ("scheduler", "steps")}
    quality = {}
    with Console() as console:
        sparse = {"schedule": str(folder), "engine": "sparse"}
        for name, where in {"schedule": sparse, "dense": {"ticket": dense, "engine": "dense"}}.items():
            found = run(Fid(**where, **sampler, **shared), console)  # type: ignore[arg-type]
            quality[name] = {label: one.mean for label, one in found["quality"].items()}
    return {**about, "quality": quality}


def table(results: Path = TRANSFERRED) -> list[str]:
    """Lines of markdown: a line a sampler, means over seeds."""
    rows = read_lines(results)
    lines = ["| schedules | budget | sampler | steps | dense | schedule |", "| --- |" + " --- |" * 5]
    for key in dict.fromkeys(tuple(row[name] for name in SHARED) for row in rows):
        mine = [row["quality"] for row in rows if tuple(row[name] for name in SHARED) == key]
        score = next(iter(mine[0]["dense"]))
        cells = [f"{estimate([one[name][score] for one in mine]):.3g}" for name in ("dense", "schedule")]
        lines.append(f"| {key[0]} | {key[1]:.0%} | {key[2]} | {key[3]} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Score what is not scored yet, or print what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=Path, default=RESULTS / "step_schedules.jsonl")
    parser.add_argument("--label", default="macs")
    parser.add_argument("--budget", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS, metavar="SCHEDULER:STEPS")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--results", type=Path, default=TRANSFERRED)
    parser.add_argument("--table", action="store_true", help="print the results")
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(arguments.results)))
        return
    done = [{name: row[name] for name in ("seed", *SHARED)} for row in read_lines(arguments.results)]
    for row in read_lines(arguments.schedules):
        which = {name: row[name] for name in ("label", "seed", "budget")}
        wanted = (arguments.label, arguments.budget)
        if (row["label"], row["budget"]) != wanted or row["seed"] not in arguments.seeds:
            continue
        for scheduler, steps in (one.split(":") for one in arguments.samplers):
            about = {**which, "scheduler": scheduler, "steps": int(steps), "samples": arguments.samples}
            if about not in done:
                found = scored(Path(row["schedule"]), about)
                with arguments.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()

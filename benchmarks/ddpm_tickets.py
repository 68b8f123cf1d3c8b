"""DDPM tickets on MNIST: FD and KD against density, for four ways of pruning and all controls.

The U-Net `small` (1.1 M parameters) on MNIST at 16 pixels, iterative pruning with by-depth, global and uniform
allocation, one-shot pruning, random and re-initialised tickets of the by-depth ones, rewinding to 5 % of the steps with
Adam's moments and the averages. It is `gen-tickets compare` with these settings, which goes on where it was broken off;
every finished round is a row in the results. Hours on two cores: MNIST under `$GLT_DATA`.

    python benchmarks/ddpm_tickets.py --seeds 3 --out runs --results benchmarks/results/ddpm_tickets.jsonl
    python benchmarks/ddpm_tickets.py --table          # what the results hold so far, as markdown
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from common.runs.files import read_lines
from common.runs.manifest import cpu_model
from common.runs.progress import Console
from common.runs.stats import Estimate, estimate, is_winning
from common.runs.store import Run
from gen_tickets.compare import run
from gen_tickets.config import Compare, Judging, Training

METHODS = ["by-depth", "global", "uniform", "one-shot"]
DENSITIES = [0.5, 0.33, 0.2, 0.1, 0.05, 0.02]


def settings(arguments: argparse.Namespace) -> Compare:
    """What is compared; everything that is not said here is a default of `gen-tickets`."""
    return Compare(
        "ddpm",
        "mnist",
        size="small",
        image_size=arguments.pixels,
        methods=METHODS,
        densities=DENSITIES,
        seeds=arguments.seeds,
        training=Training(steps=arguments.steps, batch=32, lr=1e-3, average=0.995, precision="bfloat16"),
        quality=Judging(samples=1000, steps=10),
        out=arguments.out,
        name=f"ddpm-mnist-{arguments.pixels}-{arguments.steps}",
        jobs=arguments.jobs,
    )


def rows(folder: Path) -> list[dict[str, Any]]:
    """Every finished round of a run as one flat object."""
    store = Run(folder)
    found = []
    for key in store.finished():
        done = store.done(key) or {}
        kept = {"density": done["weights"]["kept"] / done["weights"]["total"], **done["weights"]}
        about = {name: done[name] for name in ("method", "seed", "round", "cpu_seconds", "about")}
        found.append({**about, **kept, "quality": {"ticket": done["quality"], **done["controls"]}})
    return found


def table(results: Path, kind: str) -> list[str]:
    """Lines of markdown: a line a density, a column a method and control, means over the seeds that are there."""
    cells: dict[tuple[float, str], list[float]] = {}
    for row in read_lines(results):
        for name, scores in row["quality"].items():
            column = row["method"] if name == "ticket" else name
            score = next(value for label, value in scores.items() if label.startswith(kind))
            cells.setdefault((round(row["density"], 3), column), []).append(score)
    dense = estimate(cells[1.0, "dense"])
    columns = [*METHODS, "random", "reinit"]
    lines = [
        f"{kind} of the dense network: {_cell(dense, None)}.",
        "",
        f"| weights kept | {' | '.join(columns)} |",
        "| --- |" + " --- |" * len(columns),
    ]
    for density in DENSITIES:
        found = [cells.get((density, column)) for column in columns]
        shown = ["" if values is None else _cell(estimate(values), dense) for values in found]
        lines.append(f"| {density:.0%} | {' | '.join(shown)} |")
    return lines


def _cell(found: Estimate, dense: Estimate | None) -> str:
    """A mean with its interval, the number of seeds where it is not three, bold where it matches the dense network."""
    spread = "" if found.ci95 is None else f" ± {found.ci95:.2g}"
    seeds = "" if found.n == 3 else f" (n={found.n})"
    wins = dense is not None and is_winning(found, dense, higher_is_better=False)
    return f"{'**' if wins else ''}{found.mean:.3g}{spread}{'**' if wins else ''}{seeds}"


def write(config: Compare, arguments: argparse.Namespace) -> None:
    """Write every finished round of the run into the results."""
    folder = Path(config.out) / str(config.name)
    facts = {"pixels": arguments.pixels, "steps": arguments.steps, "hardware": cpu_model()}
    if (folder / "config.yaml").is_file():
        lines = [json.dumps({**facts, **row}) for row in rows(folder)]
        Path(arguments.results).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main() -> None:
    """Go on with the comparison, and write what is finished, whatever ends it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pixels", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", default="runs")
    parser.add_argument("--results", default="benchmarks/results/ddpm_tickets.jsonl")
    parser.add_argument("--table", action="store_true", help="print the results")
    parser.add_argument("--collect", action="store_true", help="write what is finished, and compute nothing")
    arguments = parser.parse_args()
    config = settings(arguments)
    if arguments.table:
        for kind in ("FD", "KD"):
            print("\n".join([*table(Path(arguments.results), kind), ""]))
        return
    try:
        if not arguments.collect:
            with Console() as console:
                run(config, console)
    finally:
        write(config, arguments)


if __name__ == "__main__":
    main()

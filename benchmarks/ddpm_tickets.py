"""DDPM tickets on MNIST: FD and KD against density, for four ways of pruning and all controls.

The U-Net `small` (1.1 M parameters) on MNIST at 16 pixels, iterative pruning with by-depth, global and uniform
allocation, one-shot pruning, random and re-initialised tickets of the by-depth ones, rewinding to 5 % of the steps with
Adam's moments and the averages. It is `gen-tickets compare` with these settings, which goes on where it was broken off;
every finished round is a row in the results. Hours on two cores: MNIST under `$GLT_DATA`.

    python benchmarks/ddpm_tickets.py --seeds 3 --out runs --results benchmarks/results/ddpm_tickets.jsonl
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from common.runs.manifest import cpu_model
from common.runs.progress import Console
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


def main() -> None:
    """Go on with the comparison, and write what is finished, whatever ends it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pixels", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", default="runs")
    parser.add_argument("--results", default="benchmarks/results/ddpm_tickets.jsonl")
    arguments = parser.parse_args()
    config = settings(arguments)
    try:
        with Console() as console:
            run(config, console)
    finally:
        folder = Path(config.out) / str(config.name)
        facts = {"pixels": arguments.pixels, "steps": arguments.steps, "hardware": cpu_model()}
        if (folder / "config.yaml").is_file():
            lines = [json.dumps({**facts, **row}) for row in rows(folder)]
            Path(arguments.results).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()

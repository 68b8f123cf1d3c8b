"""The families of networks that `benchmarks/step_schedules.py` chooses from: a U-Net trained long, and its tickets.

Tickets of a network that is nowhere near its plateau draw better than it does, and then there is no damage to schedule
around. So the U-Net `small` on MNIST at 16 pixels learns for 10,000 steps here, and magnitude pruning, as much in every
layer, rewinds to a late step of them, from which tickets learn to the end again. It is `gen-tickets compare` with these
settings, a run for every seed, which goes on where it was broken off; an hour a seed on one core: MNIST under
`$GLT_DATA`.

    python benchmarks/step_family.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse

from common.runs.progress import Console
from gen_tickets.compare import run
from gen_tickets.config import Compare, Judging, Training


def main() -> None:
    """Train what is not trained yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--pixels", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--method", default="uniform")
    parser.add_argument("--densities", type=float, nargs="+", default=[0.3])
    parser.add_argument("--rewind", type=float, default=0.4, help="the share of the training that tickets keep")
    parser.add_argument("--out", default="runs")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        with Console() as console:
            run(settings(arguments, seed), console)


def settings(arguments: argparse.Namespace, seed: int) -> Compare:
    """How the family of a seed is trained."""
    training = Training(
        steps=arguments.steps,
        batch=32,
        lr=1e-3,
        average=0.999,
        precision="bfloat16",
        rewind=arguments.rewind,
        save_every=120.0,
    )
    about = f"{arguments.pixels}-{arguments.steps}-{arguments.method}-{arguments.rewind}"
    return Compare(
        "ddpm",
        "mnist",
        size="small",
        image_size=arguments.pixels,
        methods=[arguments.method],
        densities=arguments.densities,
        seeds=1,
        first_seed=seed,
        controls="none",
        training=training,
        quality=Judging(samples=1000, steps=50, scheduler="ddim"),
        out=arguments.out,
        name=f"steps-mnist-{about}-seed-{seed}",
        jobs=1,
    )


if __name__ == "__main__":
    main()

"""Tickets of SNGAN's generator on MNIST: 67 % of its weights gone in five rounds, against dense and both controls.

    GLT_DATA=... python benchmarks/gan_tickets.py --seeds 3

Iterative magnitude pruning of the generator, as in Chen et al., GANs Can Play Lottery Tickets Too, ICLR 2021: 20 % of
what is left a round, global; generator and discriminator both rewound to an early step. Images come from the average
of the generator's weights and are judged against MNIST's test images. The network is `sngan/tiny` at 28 pixels, with
one update of the discriminator a step instead of five, because a core does no more in minutes.
Rows go to `results/gan_tickets.jsonl`; `generative_tables.py` makes a table of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from generative_rows import Rows, climb, controls, counts, draw, fresh, judged, numbers, options, retrain

from gen_tickets import gan
from gen_tickets.data import Images, as_floats, load
from gen_tickets.extractors import Extractor
from gen_tickets.extractors import load as extractor

NETWORK = "sngan/tiny"
HOW = replace(gan.SNGAN, lr=1e-3, critic_steps=1, batch=16, generator_batch=16, average=0.95)
STEPS, REWIND, ROUNDS, SAMPLES = 400, 20, 5, 2000
DENSITIES = [0.8**k for k in range(ROUNDS + 1)]
WANTED = [("ticket" if k else "dense", density) for k, density in enumerate(DENSITIES)]


@dataclass(frozen=True)
class Bench:
    """The data, the judge, and where work lies."""

    images: Images
    judge: Extractor
    folder: Path

    def trainer(self, seed: int) -> gan.Trainer:
        """A new one."""
        return gan.trainer(as_floats(self.images.train), HOW, seed)

    def scores(self, model: Any, trainer: gan.Trainer) -> dict[str, float]:
        """Of the averaged generator, after a training."""
        return judged(draw(gan.averaged(model, trainer), SAMPLES), self.images, self.judge)


def search(bench: Bench, rows: Rows, seed: int) -> None:
    """Dense, tickets and the controls of the last one, of a seed."""
    if not rows.lacks(seed, [*WANTED, ("random", DENSITIES[-1]), ("reinit", DENSITIES[-1])]):
        return
    model, trainer = fresh(NETWORK, seed), bench.trainer(seed)
    params = gan.within(model, "generator")
    rows.start()
    for number, ticket in climb(
        bench.folder / f"seed-{seed}", model, trainer, DENSITIES, steps=STEPS, rewind=REWIND, params=params
    ):
        method, density = WANTED[number]
        rows.add(seed, method, density, bench.scores(model, trainer), **counts(ticket))
        for name, control in controls(ticket, NETWORK, seed).items() if number == ROUNDS else ():
            if not rows.has(seed, name, density):
                other, again = fresh(NETWORK, seed), bench.trainer(seed)
                retrain(control, other, again, STEPS)
                rows.add(seed, name, density, bench.scores(other, again), **counts(control))


def main() -> None:
    """Parse the arguments, run what is not done."""
    words = options(__doc__, "gan_tickets.jsonl").parse_args()
    torch.set_num_threads(1)
    images = load("mnist")
    judge = extractor("mnist-cnn", images)
    about = {
        "network": NETWORK, "how": {**asdict(HOW), "adversary": "hinge"}, "steps": STEPS, "rewind": REWIND,
        "pruned": "generator", "data": images.name, "precision": "bfloat16", "samples": SAMPLES,
        "extractor": judge.name, "sha256": judge.sha256,
    }  # fmt: skip
    rows = Rows(words.results, "sngan", about)
    for seed in numbers(words):
        search(Bench(images, judge, words.work / "sngan"), rows, seed)


if __name__ == "__main__":
    main()

"""Tickets of an auto-encoder and of a VAE on MNIST, and what pruning one half of a VAE costs.

    GLT_DATA=... python benchmarks/autoencoder_tickets.py --seeds 3
    GLT_DATA=... python benchmarks/autoencoder_tickets.py --table halves

Iterative magnitude pruning, global over both halves, 20 % of what is left a round, rewound to an early step; as in
Kalibhat et al., Winning Lottery Tickets in Deep Generative Models, AAAI 2021. Judged on test images that no training
saw: the reconstruction's squared error an image for the auto-encoder, the negative evidence bound for the VAE, and the
Frechet distance of its samples. In `halves` the encoder or the decoder alone gives up the same share of all weights.
Rows go to `results/autoencoder_tickets.jsonl`; `generative_tables.py` makes tables of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from generative_rows import (
    Rows,
    climb,
    controls,
    counts,
    draw,
    fresh,
    judged,
    keep,
    numbers,
    options,
    recalled,
    retrain,
)
from torch import Tensor

from common.masks import Masks
from common.ticket import Ticket
from gen_tickets import vae
from gen_tickets.data import Images, as_floats, load
from gen_tickets.extractors import Extractor
from gen_tickets.extractors import load as extractor
from gen_tickets.vae_models import VAE

SAMPLES = 2000
HELD_OUT = 2000  # test images that a VAE's bound is taken on; reconstructions of an auto-encoder on all of them
REMOVED = {  # of all weights, from one half; the encoder has 36 % of them, the decoder 64 %
    "encoder": (0.15, 0.30, 0.34),
    "decoder": (0.15, 0.30, 0.45, 0.60),
}


@dataclass(frozen=True)
class Table:
    """A search and its controls.

    Attributes:
        network: `FAMILY/SIZE`.
        how: of training.
        steps, rewind: of a training, and the one that tickets go back to.
        rounds: of 20 %.
        controlled: rounds that have controls.
        precision: of convolutions and products.
    """

    network: str
    how: vae.Settings
    steps: int
    rewind: int
    rounds: int
    controlled: tuple[int, ...]
    precision: str = "bfloat16"

    @property
    def densities(self) -> list[float]:
        """Of all rounds, from dense."""
        return [0.8**k for k in range(self.rounds + 1)]

    @property
    def wanted(self) -> list[tuple[str, float]]:
        """The method and the density of every row."""
        found = [("ticket" if number else "dense", density) for number, density in enumerate(self.densities)]
        return found + [(name, self.densities[n]) for n in self.controlled for name in ("random", "reinit")]


TABLES = {
    "autoencoder": Table("autoencoder/linear", vae.Settings(batch=64, lr=3e-3), 2000, 100, 10, (5, 10), "float32"),
    "vae": Table("vae/small", vae.Settings(batch=32, lr=2e-3), 500, 25, 7, (7,)),
}


@dataclass(frozen=True)
class Bench:
    """A table on data.

    Attributes:
        table: what is searched.
        images: the data; the judge's, too.
        train, test: its splits in [-1, 1].
        judge: what samples are judged by.
        samples: how many.
        folder: of work.
    """

    table: Table
    images: Images
    train: Tensor
    test: Tensor
    judge: Extractor
    samples: int
    folder: Path

    def trainer(self, seed: int) -> vae.Trainer:
        """A new one."""
        return vae.trainer(self.train, self.table.how, seed)

    def scores(self, model: Any) -> dict[str, float]:
        """Errors on the test images, and of a VAE how far its samples are from them."""
        found = vae.evaluate(model, self.test)
        if isinstance(model, VAE):
            found |= judged(draw(model.decoder, self.samples), self.images, self.judge)
        return found


def search(bench: Bench, rows: Rows, seed: int) -> None:
    """Dense, tickets and controls of a seed."""
    table, folder = bench.table, bench.folder / f"seed-{seed}"
    if not rows.lacks(seed, table.wanted):
        return
    model, trainer = fresh(table.network, seed), bench.trainer(seed)
    rows.start()
    found = climb(
        folder, model, trainer, table.densities, steps=table.steps, rewind=table.rewind, params=vae.within(model),
        precision=table.precision,
    )  # fmt: skip
    for number, ticket in found:
        density = table.densities[number]
        rows.add(seed, "ticket" if number else "dense", density, bench.scores(model), **counts(ticket))
        if not number:
            keep(folder / "dense", ticket, trainer)
        for name, control in controls(ticket, table.network, seed).items() if number in table.controlled else ():
            if not rows.has(seed, name, density):
                other = fresh(table.network, seed)
                retrain(control, other, bench.trainer(seed), table.steps, table.precision)
                rows.add(seed, name, density, bench.scores(other), **counts(control))


def halves(bench: Bench, rows: Rows, seed: int) -> None:
    """The encoder alone and the decoder alone give up shares of all weights, beginning with the dense network."""
    table, folder = bench.table, bench.folder / f"seed-{seed}"
    for part, removed in REMOVED.items():
        if not rows.lacks(seed, [(part, 1 - share) for share in removed]):
            continue
        model, trainer = fresh(table.network, seed), bench.trainer(seed)
        params, total = vae.within(model, part), Masks.dense(vae.within(model)).total
        dense = recalled(folder / "dense", trainer) or trained(bench, folder / "dense", model, trainer)
        masks = Masks.dense(params)
        densities = [1 - share * total / masks.total for share in removed]
        search = climb(
            folder / part, model, trainer, densities, steps=table.steps, rewind=table.rewind, params=params,
            begin=replace(dense, masks=masks),
        )  # fmt: skip
        rows.start()
        for number, ticket in search:
            about = counts(ticket, total) | {"half_density": densities[number]}
            rows.add(seed, part, 1 - removed[number], bench.scores(model), **about)


def trained(bench: Bench, folder: Path, model: Any, trainer: vae.Trainer) -> Ticket:
    """The dense network of `vae`, once more, where its folder of work is gone."""
    table = bench.table
    rounds = climb(
        folder, model, trainer, [1.0], steps=table.steps, rewind=table.rewind, params=vae.within(model),
        precision=table.precision,
    )  # fmt: skip
    return [ticket for _, ticket in rounds][-1]  # which the folder holds once they are over


def bench_of(name: str, images: Images, work: Path) -> Bench:
    """A table on MNIST; `halves` goes on where `vae` was dense."""
    base = "vae" if name == "halves" else name
    train, test = as_floats(images.train), as_floats(images.test[: HELD_OUT if base == "vae" else None])
    return Bench(TABLES[base], images, train, test, extractor("mnist-cnn", images), SAMPLES, work / base)


def main() -> None:
    """Parse the arguments, run what is not done."""
    parser = options(__doc__, "autoencoder_tickets.jsonl")
    parser.add_argument("--table", action="append", choices=("autoencoder", "vae", "halves"), help="all by default")
    words = parser.parse_args()
    torch.set_num_threads(1)
    images = load("mnist")
    for name in words.table or ("autoencoder", "vae", "halves"):
        bench = bench_of(name, images, words.work)
        about = settings(bench) | ({"removed": REMOVED} if name == "halves" else {})
        rows = Rows(words.results, name, about)
        for seed in numbers(words):
            (halves if name == "halves" else search)(bench, rows, seed)


def settings(bench: Bench) -> dict[str, Any]:
    """Everything the rows of a table depend on."""
    table, judge = asdict(bench.table), {"extractor": bench.judge.name, "sha256": bench.judge.sha256}
    return table | {"data": bench.images.name, "samples": bench.samples, "held_out": len(bench.test), **judge}


if __name__ == "__main__":
    main()

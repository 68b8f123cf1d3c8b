"""A strong ticket of GFMN on MNIST: a tenth of random weights, never trained, against the trained dense generator.

    GLT_DATA=... python benchmarks/strong_tickets.py --seeds 3

As in Yeo et al., Can We Find Strong Lottery Tickets in Generative Models?, AAAI 2023: scores choose 10 % of signed
constants so that mean and variance of features match those of the training images; the dense generator trains its
weights, from N(0, 0.02), to the same end. Their features are VGG's, their judge is Inception. Here both are classifiers
of MNIST with different seeds, so that nobody is judged by the features it matched. `random` is a tenth at random
places, with BatchNorm's statistics taken anew. Rows go to `results/strong_tickets.jsonl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from generative_rows import Rows, at, counts, draw, fresh, judged, numbers, options
from torch import Tensor, nn

from common.study.controls import random_ticket
from common.ticket import Ticket
from gen_tickets import gfmn
from gen_tickets.data import Images, as_floats, load
from gen_tickets.extractors import Extractor
from gen_tickets.extractors import load as extractor
from gen_tickets.gan_models import signed_constant_
from gen_tickets.vae_models import normal_

NETWORK, DENSITY, STEPS, SAMPLES = "gfmn/small", 0.1, 150, 2000
STRONG = gfmn.Settings(batch=32, lr=1e-1, average_lr=1e-2)
DENSE = gfmn.Settings(batch=32, lr=1e-3, average_lr=1e-2)
MATCHED = 1  # the seed of the classifier whose features are matched


@dataclass(frozen=True)
class Layers:
    """The activations of every convolution of a classifier and its last features, as float32."""

    classifier: Any

    def __call__(self, images: Tensor) -> Sequence[Tensor]:
        """Feature tensors (N, ...) of images (N, C, H, W) in [-1, 1]."""
        found, value = [], images
        for layer in self.classifier.maps:
            value = layer(value)
            if isinstance(layer, nn.ReLU):
                found.append(value.float())
        return [*found, value.float(), self.classifier.hidden(value).float()]


@dataclass(frozen=True)
class Bench:
    """The data, its judge, and the features that are matched with their moments."""

    images: Images
    judge: Extractor
    layers: Layers
    real: gfmn.Moments

    def scores(self, generator: Any) -> dict[str, float]:
        """Of a generator's images."""
        return judged(draw(generator, SAMPLES), self.images, self.judge)


def dense(bench: Bench, rows: Rows, seed: int) -> None:
    """The trained dense generator."""
    if rows.has(seed, "dense", 1.0):
        return
    rows.start()
    generator = fresh(NETWORK, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator.apply(normal_)
    at(gfmn.trainer(bench.real, bench.layers, DENSE, seed), "bfloat16")(generator, 0, STEPS)
    rows.add(seed, "dense", 1.0, bench.scores(generator))


def strong(bench: Bench, rows: Rows, seed: int) -> None:
    """The strong ticket, and as many weights at random places."""
    if not rows.lacks(seed, [("ticket", DENSITY), ("random", DENSITY)]):
        return
    rows.start()
    generator = fresh(NETWORK, seed)
    signed_constant_(generator, DENSITY)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        ticket = gfmn.strong_ticket(
            generator, bench.real, bench.layers, density=DENSITY, steps=STEPS, settings=STRONG, seed=seed
        )
    ticket.apply(generator)
    rows.add(seed, "ticket", DENSITY, bench.scores(generator), **counts(ticket))
    control: Ticket = random_ticket(ticket, seed)
    control.apply(generator)
    settle(generator, seed)
    rows.add(seed, "random", DENSITY, bench.scores(generator), **counts(control))


@torch.no_grad()
def settle(generator: Any, seed: int, batches: int = 50) -> None:
    """Let BatchNorm's statistics follow what the generator makes now."""
    draws = torch.Generator().manual_seed(seed)
    generator.train()
    for _ in range(batches):
        generator(torch.randn(STRONG.batch, generator.latent, generator=draws))
    generator.eval()


def main() -> None:
    """Parse the arguments, run what is not done."""
    words = options(__doc__, "strong_tickets.jsonl").parse_args()
    torch.set_num_threads(1)
    images = load("mnist")
    judge, matched = extractor("mnist-cnn", images), extractor("mnist-cnn", images, seed=MATCHED)
    layers = Layers(matched.module.network.requires_grad_(False))
    bench = Bench(images, judge, layers, gfmn.moments(layers, as_floats(images.train)))
    about = {
        "network": NETWORK, "strong": asdict(STRONG), "dense": asdict(DENSE), "steps": STEPS, "matched": matched.sha256,
        "features": len(bench.real.mean), "data": images.name, "precision": "bfloat16", "samples": SAMPLES,
        "extractor": judge.name, "sha256": judge.sha256,
    }  # fmt: skip
    rows = Rows(words.results, "gfmn", about)
    for seed in numbers(words):
        strong(bench, rows, seed)
        dense(bench, rows, seed)


if __name__ == "__main__":
    main()

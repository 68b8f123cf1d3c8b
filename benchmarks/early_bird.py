"""Early-bird tickets of a DCGAN on MNIST: when they emerge, and the FLOPs and the time they save, measured.

    GLT_DATA=... python benchmarks/early_bird.py --seeds 3

As in You et al., Drawing Early-Bird Tickets, ICLR 2020, and Kalibhat et al., AAAI 2021: the channels of both networks
with the largest BatchNorm scales are drawn after every epoch; once five masks in a row differ by less than 0.1 the
others are cut out for good, and what is left trains on. From there dense and slim epochs take turns in one process,
and their CPU seconds are counted; the epochs before are common to both and counted with the drawing of masks. FLOPs are
those of torch's counter in one training step. `random` cuts as many channels of every layer, drawn at random.
Rows go to `results/early_bird.jsonl`.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from generative_rows import Rows, at, draw, fresh, judged, numbers, options
from torch.utils.flop_counter import FlopCounterMode

from common.masks import Masks
from common.sparse.slim import slim
from gen_tickets import gan
from gen_tickets.data import Images, as_floats, load
from gen_tickets.early_bird import early_bird
from gen_tickets.extractors import Extractor
from gen_tickets.extractors import load as extractor
from gen_tickets.gan_models import GAN

NETWORK, DENSITY, SAMPLES = "dcgan/small", 0.5, 2000
HOW = gan.Settings(lr=5e-4, batch=32, generator_batch=32, average=0.99)
EPOCH, EPOCHS = 100, 16  # steps of an epoch, and epochs in all
WINDOW, THRESHOLD = 5, 0.1


@dataclass
class Racer:
    """A pair that trains on, an epoch at a time.

    Attributes:
        model: the pair.
        trainer: its own.
        seconds: CPU seconds of every epoch.
    """

    model: GAN
    trainer: gan.Trainer
    seconds: list[float] = field(default_factory=list)

    def epoch(self, number: int) -> None:
        """Train the epoch of a number, from 0."""
        begin = time.process_time()
        at(self.trainer, "bfloat16")(self.model, number * EPOCH, (number + 1) * EPOCH)
        self.seconds.append(time.process_time() - begin)


def cut(model: GAN, masks: Masks) -> GAN:
    """The pair without the channels that the masks drop."""
    examples = {"generator": torch.zeros(1, model.latent), "discriminator": torch.zeros(1, *model.image)}
    parts: dict[str, Any] = {}
    for name, example in examples.items():
        own = {key.removeprefix(f"{name}."): mask for key, mask in masks.items() if key.startswith(f"{name}.")}
        parts[name] = slim(model.get_submodule(name).eval(), own, (example,)).model
    model.train()
    pair = GAN(parts["generator"], parts["discriminator"]).train().requires_grad_(True)
    return pair.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def shuffled(masks: Masks, seed: int) -> Masks:
    """As many channels of every layer, at random; scale and shift of a channel go together."""
    draws = torch.Generator().manual_seed(seed)
    found = Masks()
    for name, mask in masks.items():
        if name.endswith(".weight"):
            kept = mask[torch.randperm(len(mask), generator=draws)]
            found |= {name: kept, name.removesuffix("weight") + "bias": kept}
    return found


def flops(model: GAN, make: Callable[[], gan.Trainer]) -> int:
    """Of a training step, forward and backward, of both networks."""
    with FlopCounterMode(display=False) as counter:
        make()(copy.deepcopy(model), 0, 1)
    return int(counter.get_total_flops())


def bench(images: Images, judge: Extractor, rows: Rows, seed: int) -> None:
    """Search, cut, and let dense, early bird and the random one take turns to the end."""
    if not rows.lacks(seed, [("dense", 1.0), ("early-bird", DENSITY), ("random", DENSITY)]):
        return
    pixels = as_floats(images.train)

    def make() -> gan.Trainer:
        return gan.trainer(pixels, HOW, seed)

    dense = Racer(fresh(NETWORK, seed), make())
    begin = time.process_time()
    found = early_bird(
        dense.model, at(dense.trainer, "bfloat16"), density=DENSITY, steps=EPOCH, epochs=EPOCHS - 1, window=WINDOW,
        threshold=THRESHOLD,
    )  # fmt: skip
    search, emerged = time.process_time() - begin, found.epoch
    begin = time.process_time()
    pairs = {"dense": dense, "early-bird": Racer(cut(dense.model, found.masks), make())}
    cutting = time.process_time() - begin
    pairs["random"] = Racer(cut(dense.model, shuffled(found.masks, seed)), make())
    common = emerged or EPOCHS - 1
    for number in range(common, EPOCHS):
        for racer in pairs.values():
            racer.epoch(number)
    for name, racer in pairs.items():
        scores = judged(draw(gan.averaged(racer.model, racer.trainer), SAMPLES), images, judge)
        extra = 0.0 if name == "dense" else cutting
        rows.add(
            seed, name, 1.0 if name == "dense" else DENSITY, scores, emerged=emerged, distances=found.distances,
            weights=sum(p.numel() for p in racer.model.parameters()), flops_a_step=flops(racer.model, make),
            common_epochs=common, seconds_common=search, seconds_after=sum(racer.seconds), seconds_cutting=extra,
            seconds_by_epoch=racer.seconds,
        )  # fmt: skip


def main() -> None:
    """Parse the arguments, run what is not done."""
    words = options(__doc__, "early_bird.jsonl").parse_args()
    torch.set_num_threads(1)
    images = load("mnist")
    judge = extractor("mnist-cnn", images)
    about = {
        "network": NETWORK, "how": {**asdict(HOW), "adversary": "non-saturating"}, "epoch": EPOCH, "epochs": EPOCHS,
        "window": WINDOW, "threshold": THRESHOLD, "data": images.name, "precision": "bfloat16", "samples": SAMPLES,
        "extractor": judge.name, "sha256": judge.sha256,
    }  # fmt: skip
    rows = Rows(words.results, "early-bird", about)
    for seed in numbers(words):
        rows.start()
        bench(images, judge, rows, seed)


if __name__ == "__main__":
    main()

"""Does a VAE decoder's ticket win as a GAN's generator, and a generator's ticket as a VAE's decoder?

    python benchmarks/transfer.py --seeds 3
    GLT_DATA=... python benchmarks/transfer.py --data mnist --size small

Both networks share one architecture, layer for layer. Each finds tickets of its own by iterative magnitude pruning,
global within the generator or the decoder, rewound to the initial weights. All others train for as long from step 0:
`transferred` has masks and initial weights of the other family's ticket, `masks` only its masks, on its own initial
weights, and `random` random places on these, with as many entries a tensor as its own ticket. Judged by the Frechet
distance of 2,000 samples against the test images, and a VAE by its loss on them as well.
A row a training goes to `results/transfer.jsonl`, where it is kept; the table over seeds is printed at the end.

References:
    Kalibhat et al., Winning Lottery Tickets in Deep Generative Models, AAAI 2021.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.apply import masked
from common.runs.files import plain, read_lines
from common.runs.manifest import cpu_model
from common.runs.stats import estimate
from common.scoped import seeded
from common.search import tickets
from common.study.controls import random_ticket
from common.study.transfer import transfer
from common.ticket import Ticket
from gen_tickets import gan, quality, vae
from gen_tickets._steps import Trainer
from gen_tickets.data import Images, as_floats, load
from gen_tickets.extractors import Extractor
from gen_tickets.extractors import load as extractor
from gen_tickets.models import build

RESULTS = Path(__file__).parent / "results" / "transfer.jsonl"
SAMPLES = 2000
LATENTS = 12_345  # seed of the latents, the same ones for every network
DENSITIES = (0.5, 0.2, 0.05)
METHODS = ("ticket", "transferred", "masks", "random")
GAN = replace(gan.DCGAN, batch=64, generator_batch=64, lr=1e-3, average=0.98)
VAE = vae.Settings(batch=64, lr=3e-3)
STEPS = {"tiny": {"dcgan": 400, "vae": 300}, "small": {"dcgan": 1500, "vae": 1000}}
PART = {"dcgan": "generator", "vae": "decoder"}
OTHER = {"dcgan": "vae", "vae": "dcgan"}


class Rows:
    """The rows of a family in a file, one JSON object a training, with the CPU seconds since the last one or `start`.

    Args:
        path: of the file.
        family: whose they are.
        settings: of all its trainings; rows with others are of no concern.
    """

    def __init__(self, path: Path, family: str, settings: Mapping[str, Any]) -> None:
        self.path, self.family, self.settings = path, family, plain(settings)
        self.begin = time.process_time()

    def all(self) -> list[dict[str, Any]]:
        """Those with these settings."""
        rows = read_lines(self.path)
        return [row for row in rows if row["family"] == self.family and row["settings"] == self.settings]

    def has(self, seed: int, method: str, density: float) -> bool:
        """Whether this training is done."""
        key = (seed, method, density)
        return any((row["seed"], row["method"], row["density"]) == key for row in self.all())

    def add(self, seed: int, method: str, density: float, scores: Mapping[str, float], **about: Any) -> None:
        """Write a row unless it is there."""
        seconds = round(time.process_time() - self.begin, 1)
        if not self.has(seed, method, density):
            row = {"family": self.family, "seed": seed, "method": method, "density": density, "scores": plain(scores)}
            row |= {"cpu_seconds": seconds, **about, "settings": self.settings, "torch": torch.__version__}
            row |= {"threads": torch.get_num_threads(), "hardware": cpu_model()}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            shown = "  ".join(f"{name} {value:.4g}" for name, value in scores.items())
            print(f"{self.family} seed {seed} {method} {density}: {shown}  ({seconds:.0f} s)", flush=True)
        self.start()

    def start(self) -> None:
        """Count CPU seconds from here."""
        self.begin = time.process_time()


@dataclass(frozen=True)
class Bench:
    """Both families on data.

    Attributes:
        images: the data; the judge's, too.
        train, test: its splits in [-1, 1].
        judge: what samples are judged by.
        size: of the networks.
        steps: of a training, by family.
        rows: by family.
    """

    images: Images
    train: Tensor
    test: Tensor
    judge: Extractor
    size: str
    steps: Mapping[str, int]
    rows: Mapping[str, Rows]

    def model(self, family: str, seed: int) -> Any:
        """The network with the seed's initial weights."""
        with seeded(seed):
            return build(family, self.size, image=self.images.shape)

    def trainer(self, family: str, seed: int) -> Trainer:
        """A new one."""
        return gan.trainer(self.train, GAN, seed) if family == "dcgan" else vae.trainer(self.train, VAE, seed)

    def scores(self, family: str, model: Any, train: Trainer) -> dict[str, float]:
        """Of the samples, and of a VAE on the test images."""
        part: Any = gan.averaged(model, train) if family == "dcgan" else model.decoder
        latents = torch.randn(SAMPLES, part.latent, generator=torch.Generator().manual_seed(LATENTS))
        with torch.no_grad():
            samples = torch.cat([part.eval()(some) for some in latents.split(250)])
        found = quality.score(samples, self.images, self.judge)
        kinds = ("frechet", "kernel", "precision", "recall")
        scores = {found.label(kind): found.scores[found.label(kind)] for kind in kinds}
        return scores | ({} if family == "dcgan" else vae.evaluate(model, self.test))


def search(bench: Bench, family: str, seed: int) -> dict[float, Ticket]:
    """Density to a family's own ticket."""
    model, train = bench.model(family, seed), bench.trainer(family, seed)
    params = gan.within(model, PART[family])
    bench.rows[family].start()
    found = {}
    for ticket in tickets(model, train, (1.0, *DENSITIES), steps=bench.steps[family], params=params):
        density = ticket.recipe["density"]
        method = "dense" if density == 1.0 else "ticket"
        bench.rows[family].add(seed, method, density, bench.scores(family, model, train), **kept(ticket))
        found[density] = ticket
    return found


def trained(bench: Bench, family: str, seed: int, ticket: Ticket) -> dict[str, float]:
    """The scores of a ticket, trained for all steps."""
    model: nn.Module = bench.model(family, seed)
    train = bench.trainer(family, seed)
    ticket.apply(model)
    with masked(model, ticket.masks):
        train(model, 0, bench.steps[family])
    return bench.scores(family, model, train)


def compare(bench: Bench, family: str, seed: int, own: Mapping[float, Ticket], theirs: Mapping[float, Ticket]) -> None:
    """The other family's tickets and the random ones, at every density."""
    rows, initial = bench.rows[family], bench.model(family, seed)
    rows.start()
    for density in DENSITIES:
        parts = {"source": PART[OTHER[family]], "target": PART[family]}
        arms = {
            "transferred": transfer(theirs[density], initial, **parts, weights=True),
            "masks": transfer(theirs[density], initial, **parts),
            "random": random_ticket(own[density], seed),
        }
        for method, ticket in arms.items():
            shared = (ticket.masks & own[density].masks).kept / ticket.masks.kept
            scores = trained(bench, family, seed, ticket)
            rows.add(seed, method, density, scores, **kept(ticket), shared=shared)


def kept(ticket: Ticket) -> dict[str, Any]:
    """Exact counts."""
    counts = {name: count for name, (count, _) in ticket.masks.counts().items()}
    return {"kept": ticket.masks.kept, "total": ticket.masks.total, "by_layer": counts}


def table(rows: Rows, score: str) -> str:
    """Means over seeds with 95 % intervals; `shared` of the other's entries are in the own ticket as well."""
    every = rows.all()

    def cell(method: str, density: float, get: str = score) -> str:
        mine = [row for row in every if row["method"] == method and row["density"] == density]
        values = [row["scores"].get(get, row.get(get)) for row in mine]
        return f"{estimate(values):.3g}".split(" (")[0] if values else ""

    lines = [f"| density | {' | '.join(METHODS)} | shared |", "| --- " * (len(METHODS) + 2) + "|"]
    lines += [f"| {d} | {' | '.join(cell(m, d) for m in METHODS)} | {cell('masks', d, 'shared')} |" for d in DENSITIES]
    return "\n".join([f"\n{rows.family}: {score}, dense {cell('dense', 1.0)}\n", *lines])


def main() -> None:
    """Train what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--shrink", type=int, default=1, help="divide steps by this, to try it out")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--size", choices=STEPS, default="tiny")
    words = parser.parse_args()
    torch.set_num_threads(1)
    images = load(words.data)
    judge = extractor(f"{images.name}-cnn", images)
    steps = {family: max(count // words.shrink, 2) for family, count in STEPS[words.size].items()}
    about = {"data": images.name, "size": words.size, "steps": steps, "extractor": judge.sha256, "samples": SAMPLES}
    hows = {"dcgan": {**asdict(GAN), "adversary": "non-saturating"}, "vae": asdict(VAE)}
    rows = {family: Rows(words.results, family, {**about, "training": how}) for family, how in hows.items()}
    bench = Bench(images, as_floats(images.train), as_floats(images.test), judge, words.size, steps, rows)
    wanted = [(family, method, d) for family in rows for method in METHODS for d in DENSITIES]
    for seed in range(words.first_seed, words.first_seed + words.seeds):
        if all(rows[family].has(seed, method, density) for family, method, density in wanted):
            continue
        found = {family: search(bench, family, seed) for family in rows}
        for family in rows:
            compare(bench, family, seed, found[family], found[OTHER[family]])
    for family, score in (("dcgan", f"FD[{judge.name}]"), ("vae", f"FD[{judge.name}]"), ("vae", "loss")):
        print(table(rows[family], score))


if __name__ == "__main__":
    main()

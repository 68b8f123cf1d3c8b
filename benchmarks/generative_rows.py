"""What the benchmarks of generative tickets share: rows that are kept, searches that go on, controls, scores.

A row is one training: `table`, `seed`, `method` (dense, ticket, random, reinit, ...) and `density`, with its scores and
all they depend on. A row that is in the file with the same settings is not computed again. Rounds of a search need the
ones before, so the last ticket and what the trainer remembers lie in a folder of work until one removes it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from common.apply import masked
from common.rewind import Rewind
from common.runs.files import plain, read_lines
from common.runs.manifest import hardware
from common.scoped import seeded
from common.search import Train, tickets
from common.study.controls import random_ticket, reinitialised
from common.ticket import Ticket
from gen_tickets import quality
from gen_tickets._steps import Trainer
from gen_tickets.data import Images
from gen_tickets.extractors import Extractor
from gen_tickets.models import build
from gen_tickets.moments import latent_length

__all__ = [
    "Rows",
    "climb",
    "controls",
    "counts",
    "draw",
    "fresh",
    "judged",
    "keep",
    "numbers",
    "options",
    "recalled",
    "retrain",
]

RESULTS = Path(__file__).parent / "results"
FRESH = 1_000_000  # apart from every seed: the weights of a re-initialised ticket
LATENTS = 12_345  # the same latents for every network and seed
MNIST = (1, 28, 28)
_KEY = ("table", "seed", "method", "density")


class Rows:
    """The rows of a table in a file, one JSON object a line.

    Args:
        path: of the file; its folder is made.
        table: name of the table.
        settings: of all its trainings.
    """

    def __init__(self, path: Path, table: str, settings: Mapping[str, Any]) -> None:
        self.path, self.table, self.settings = path, table, plain(settings)
        self.begin = time.process_time()
        path.parent.mkdir(parents=True, exist_ok=True)

    def has(self, seed: int, method: str, density: float) -> bool:
        """Whether this training is done with these settings."""
        key = (self.table, seed, method, round(density, 6))
        rows = [row for row in read_lines(self.path) if tuple(row[name] for name in _KEY) == key]
        return any(row["settings"] == self.settings for row in rows)

    def lacks(self, seed: int, wanted: Sequence[tuple[str, float]]) -> bool:
        """Whether one of these trainings, methods with densities, is not done."""
        return not all(self.has(seed, method, density) for method, density in wanted)

    def add(self, seed: int, method: str, density: float, scores: Mapping[str, float], **about: Any) -> None:
        """Write a row, with the CPU seconds since the last one or `start`; one that is there already is left."""
        seconds = round(time.process_time() - self.begin, 1)
        if not self.has(seed, method, density):
            row = dict(zip(_KEY, (self.table, seed, method, round(density, 6)), strict=True))
            row |= {"scores": plain(scores), "cpu_seconds": seconds, **plain(about), "settings": self.settings}
            row |= {"torch": torch.__version__, "threads": torch.get_num_threads(), "hardware": hardware()}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            shown = "  ".join(f"{name} {value:.4g}" for name, value in scores.items())
            print(f"{self.table} seed {seed} {method} {density:.3f}: {shown}  ({seconds:.0f} s)", flush=True)
        self.start()

    def start(self) -> None:
        """Count CPU seconds from here."""
        self.begin = time.process_time()


def fresh(network: str, seed: int) -> Any:
    """A network `FAMILY/SIZE` for MNIST with the weights of a seed, its images in channels-last order."""
    family, _, size = network.partition("/")
    with seeded(seed):
        return build(family, size, image=MNIST).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def at(train: Train, precision: str) -> Train:
    """The same training with convolutions and products in `bfloat16` or `float32`; weights and optimizers are float32.

    Autocast's cache would keep the first bfloat16 copy of every weight until its end, so that training stood still.
    """
    if precision == "float32":
        return train

    def run(model: nn.Module, start: int, stop: int) -> Mapping[str, float]:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            return train(model, start, stop)

    return run


def climb(
    folder: Path, model: nn.Module, trainer: Trainer, densities: Sequence[float], *, steps: int, rewind: int,
    params: Mapping[str, nn.Parameter], begin: Ticket | None = None, precision: str = "bfloat16",
) -> Iterator[tuple[int, Ticket]]:  # fmt: skip
    """Rounds of iterative magnitude pruning with late rewinding, from the first that the folder does not hold on.

    Args:
        folder: of work, this search's own.
        model: with the seed's initial weights; trained in place.
        trainer: of this search.
        densities: of all rounds; the first is 1.0, unless one begins with a ticket.
        steps, rewind: of a training, and the one that tickets go back to.
        params: what is pruned.
        begin: the dense ticket of another search with the same model and trainer.
        precision: see `at`.

    Yields:
        The number of a round, from 0, and its ticket; the model holds the trained weights.
    """
    saved = recalled(folder, trainer)
    done = 0 if saved is None else saved.recipe["benchmark_round"] + 1
    search = tickets(
        model, at(trainer, precision), densities[done:], steps=steps, params=params, start=saved or begin,
        rewind=Rewind.step(rewind),
    )  # fmt: skip
    for number, ticket in enumerate(search, start=done):
        yield number, ticket
        keep(folder, replace(ticket, recipe=ticket.recipe | {"benchmark_round": number}), trainer)


def keep(folder: Path, ticket: Ticket, trainer: Trainer) -> None:
    """Write a ticket and what its trainer remembers, so that a search goes on as if it had never stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    held = {f"{step}/{n}": t.contiguous() for step, state in trainer.kept.items() for n, t in state.items()}
    save_file(held, folder / "remembered.safetensors")
    ticket.save(folder / "ticket", dense_weights=True)


def recalled(folder: Path, trainer: Trainer) -> Ticket | None:
    """The ticket of such a folder, its trainer made to remember; None if there is none.

    Files hold contiguous tensors, but fused Adam reads moments in the memory order of their parameter.
    """
    if not (folder / "ticket").exists():
        return None
    for name, tensor in load_file(folder / "remembered.safetensors").items():
        step, _, what = name.partition("/")
        same = tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor  # as `fresh` makes them
        trainer.kept.setdefault(int(step), {})[what] = same
    return Ticket.load(folder / "ticket")


def controls(ticket: Ticket, network: str, seed: int) -> dict[str, Ticket]:
    """Random places with as many weights a tensor, on the seed's initial weights; the ticket's masks on fresh ones."""
    own, other = (fresh(network, number).state_dict() for number in (seed, seed + FRESH))
    return {"random": random_ticket(ticket, seed, fresh=own), "reinit": reinitialised(ticket, other)}


def retrain(ticket: Ticket, model: nn.Module, trainer: Trainer, steps: int, precision: str = "bfloat16") -> None:
    """Train a control, which has no rewinding point, for all steps."""
    ticket.apply(model)
    with masked(model, ticket.masks):
        at(trainer, precision)(model, 0, steps)


def counts(ticket: Ticket, total: int | None = None) -> dict[str, Any]:
    """How many weights there are and are kept, of so many in all; and the share that every tensor keeps."""
    masks = ticket.masks
    total = total or masks.total
    kept = {name: round(k / n, 5) for name, (k, n) in masks.counts().items()}
    return {"total": total, "kept": total - masks.total + masks.kept, "by_layer": kept}


@torch.no_grad()
def draw(generator: nn.Module, count: int) -> Tensor:
    """Images (count, C, H, W) of a generator or decoder in eval mode, always from the same latents."""
    was = generator.training
    generator.eval()
    latents = torch.randn(count, latent_length(generator), generator=torch.Generator().manual_seed(LATENTS))
    images = torch.cat([generator(part) for part in latents.split(250)])
    generator.train(was)
    return images


def judged(images: Tensor, real: Images, extractor: Extractor) -> dict[str, float]:
    """Frechet and kernel distance, precision and recall against the test images, by the names of their extractor."""
    found = quality.score(images, real, extractor)
    return {
        found.label(which): found.scores[found.label(which)] for which in ("frechet", "kernel", "precision", "recall")
    }


def numbers(words: argparse.Namespace) -> range:
    """The seeds that were asked for."""
    return range(words.first_seed, words.first_seed + words.seeds)


def options(description: str | None, results: str) -> argparse.ArgumentParser:
    """The options of all these benchmarks."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS / results)
    parser.add_argument("--work", type=Path, default=Path("runs") / "benchmarks", help="tickets of unfinished searches")
    return parser

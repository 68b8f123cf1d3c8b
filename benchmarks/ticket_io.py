"""How long a ticket of 36 million weights takes to save and load, beside safetensors alone.

Three files are timed in turn, repeat by repeat, so that a busy machine slows all alike: the ticket, the same bytes as
the ticket written and read by safetensors alone (no mask to decode, no hash), and the dense weights by safetensors.
Reading includes touching every byte, since safetensors itself only maps the file. Prints one JSON object.

    python benchmarks/ticket_io.py --repeats 7 --density 0.1
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from common.masks import Masks
from common.runs.manifest import hardware
from common.runs.race import race
from common.ticket import Ticket


def make(tensors: int, side: int, density: float) -> Ticket:
    """Square tensors of normal weights under random masks of a density."""
    generator = torch.Generator().manual_seed(0)
    weights = {f"layer{i}.weight": torch.randn(side, side, generator=generator) for i in range(tensors)}
    masks = Masks({name: torch.rand(side, side, generator=generator) < density for name in weights})
    return Ticket(masks, weights)


def read(path: Path) -> dict[str, Tensor]:
    """A safetensors file with every byte in memory."""
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


def measure(ticket: Ticket, folder: Path, repeats: int) -> dict[str, Any]:
    """Save and load seconds, ratios and sizes of a ticket against the two baselines."""
    path = ticket.save(folder / "ticket") / "ticket.safetensors"
    same, dense = read(path), dict(ticket.weights)
    timed = race(
        {
            "ticket_save": lambda: ticket.save(folder / "ticket"),
            "same_bytes_save": lambda: save_file(same, folder / "same.safetensors"),
            "dense_save": lambda: save_file(dense, folder / "dense.safetensors"),
            "ticket_load": lambda: Ticket.load(folder / "ticket"),
            "same_bytes_load": lambda: read(folder / "same.safetensors"),
            "dense_load": lambda: read(folder / "dense.safetensors"),
        },
        repeats,
    )
    times = {name: found["seconds"] for name, found in timed.items()}
    size, bound = path.stat().st_size, 1.05 * (ticket.masks.total / 8 + 4 * ticket.masks.kept)
    ratios = {
        f"{what}_over_{base}": times[f"ticket_{what}"] / times[f"{base}_{what}"]
        for what in ("save", "load")
        for base in ("same_bytes", "dense")
    }
    return {
        "milliseconds": {name: round(1000 * value, 2) for name, value in times.items()},
        "ratios": {name: round(value, 2) for name, value in ratios.items()},
        "bytes": {"ticket": size, "bound": int(bound), "dense": (folder / "dense.safetensors").stat().st_size},
        "within_bound": size <= bound,
    }


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tensors", type=int, default=36)
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    ticket = make(options.tensors, options.side, options.density)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(ticket, Path(folder), options.repeats)
    print(json.dumps(vars(options) | result | {"threads": torch.get_num_threads(), "hardware": hardware()}, indent=1))


if __name__ == "__main__":
    main()

"""Inductive tickets on a graph that their search has not seen: the two halves of Cora's nodes.

Half of the nodes and the edges between them make the graph that a ticket is found on, by `glt find --method
inductive`; 60 % of its nodes train, 20 % choose epochs. The other half has no labels but for the score: `glt infer`
prunes it by the ticket's masker. Beside that stand random edges, all edges and none, under the same ticket's weights.
One JSON line a seed, which draws halves, splits and weights; minutes a seed on one core: Cora under `$GLT_DATA`.

    python benchmarks/unseen_graph.py --seeds 3
    python benchmarks/unseen_graph.py --table
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.allocate import prune
from common.masks import Masks
from common.runs.files import read_lines
from common.runs.progress import Console
from common.runs.stats import estimate
from common.ticket import Ticket
from glt.config import Find, Network
from glt.data import Graph, load
from glt.data_file import write_npz
from glt.find import run
from glt.infer import Inference
from glt.models import EDGES, GraphModel
from glt.predict import open_ticket

RESULTS = Path(__file__).parent / "results" / "unseen_graph.jsonl"
SHOWN = {"masker": "edges of the masker", "random": "random edges", "all": "all edges", "none": "no edges"}


def part(graph: Graph, nodes: Tensor, name: str, generator: torch.Generator) -> Graph:
    """The graph of some nodes and the edges between them, split at random in 60, 20 and 20 %."""
    place = torch.full((graph.x.size(0),), -1)
    place[nodes] = torch.arange(len(nodes))
    edges = place[graph.edge_index]
    drawn = torch.rand(len(nodes), generator=generator).argsort().argsort() / len(nodes)
    splits = [drawn < 0.6, (drawn >= 0.6) & (drawn < 0.8), drawn >= 0.8]
    return Graph(name, graph.x[nodes], edges[:, (edges >= 0).all(0)], graph.y[nodes], *splits)


def seed_row(seed: int, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Find a ticket on one half, and what it is worth on the other."""
    graph, generator = load("cora"), torch.Generator().manual_seed(seed)
    order = torch.randperm(graph.x.size(0), generator=generator)
    named = zip(("seen", "unseen"), order.chunk(2), strict=True)
    halves = {name: part(graph, nodes, name, generator) for name, nodes in named}
    paths = {name: str(write_npz(one, folder / f"{name}-{seed}.npz")) for name, one in halves.items()}
    config = Find(
        paths["seen"], method="inductive", rounds=arguments.rounds, seeds=1, first_seed=seed, jobs=1,
        rungs=[arguments.rounds], network=Network(hidden=512), out=str(folder / "runs"),
    )  # fmt: skip
    with Console() as console:
        found = run(config, console)
    ticket, unseen, model = open_ticket(found["ticket"], paths["unseen"], None)
    return {
        "seed": seed,
        "edges": float(ticket.masks[EDGES].float().mean()),
        "weights": found["weights"]["density"],
        "seen": {name: one["mean"] for name, one in found["accuracy"].items()},
        "unseen": by_edges(ticket, model, unseen, generator),
    }


def by_edges(ticket: Ticket, model: GraphModel, graph: Graph, generator: torch.Generator) -> dict[str, float]:
    """Accuracy over all nodes of a graph with the ticket's edges, as many random ones, all and none.

    Args:
        ticket: on that graph.
        model: its trained network, joined to the graph; all its edges come back.
        graph: features and labels.
        generator: draws the random edges.
    """
    chosen = ticket.masks[EDGES]
    with torch.no_grad():
        model.edges.weight.fill_(1.0)
    noise, share = torch.rand(chosen.shape, generator=generator), float(chosen.float().mean())
    masks = {
        "masker": chosen,
        "random": prune({EDGES: noise}, share, structure={EDGES: model.edges.structure()})[EDGES],
        "all": torch.ones_like(chosen),
        "none": torch.zeros_like(chosen),
    }
    scores = {}
    for name, mask in masks.items():
        infer = Inference(model, replace(ticket, masks=Masks({**ticket.masks, EDGES: mask})))
        scores[name] = float((infer(graph.x).argmax(1) == graph.y).float().mean())
    return scores


def table(results: Path) -> list[str]:
    """Lines of markdown: accuracy on the unseen half by its edges, and on the test nodes of the other half."""
    rows = read_lines(results)
    head = f"{rows[0]['edges']:.0%} of edges, {rows[0]['weights']:.0%} of weights kept"
    names = {"unseen": list(SHOWN), "seen": list(rows[0]["seen"])}
    lines = []
    for half, some in names.items():
        shown = [SHOWN.get(name, name) if half == "unseen" else name for name in some]
        lines += [f"| {half} half, {head} | {' | '.join(shown)} |", "| --- |" + " --- |" * len(some)]
        cells = [f"{estimate(100 * row[half][name] for row in rows):.1f}" for name in some]
        lines += [f"| accuracy | {' | '.join(cells)} |", ""]
    return lines[:-1]


def main() -> None:
    """Every seed that is not there yet, or print what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the results")
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(arguments.results)))
        return
    known = {row["seed"] for row in read_lines(arguments.results)}
    for seed in sorted(set(range(arguments.seeds)) - known):
        with tempfile.TemporaryDirectory() as folder:
            row = seed_row(seed, arguments, Path(folder))
        with arguments.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()

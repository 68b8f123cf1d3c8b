"""Inference beyond memory and on two processes: memory-mapped time and memory over in-memory, two ranks over one.

A GCN of widths F-256-256-40 with a random ticket (half of the edges, a tenth of the weights) on photo-grid and on an
R-MAT graph of 2^20 nodes and about 10 million undirected edges. Every engine runs in a process of its own, in turn, for
some rounds; a round is a first pass, which chooses back-ends, and some timed ones. Seconds are medians over all timed
passes. `memory` keeps features, matrix and activations in memory; `mapped` has half of what that takes as its budget;
`one` and `two` are ranks under torchrun without a budget, one thread each. Memory is the peak of resident memory less
the `floor`, the same process on a graph of 256 nodes; preparation is part of it for `mapped`, and not for `memory`. The
graphs are written into the folder first. Prints one JSON object a graph.

    python benchmarks/out_of_core.py FOLDER                              # on an otherwise idle machine
    python benchmarks/out_of_core.py FOLDER --graphs rmat-14 --rounds 1  # to see that it works
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.runs.manifest import cpu_model, peak_rss_mb
from glt._ranks import ALONE, Group, group
from glt.blockwise import BlockInference
from glt.edges import Edges
from glt.infer import Inference
from glt.mapped import MappedGraph, open_graph, write_graph
from glt.models import GCN, GraphModel
from glt.streams import rmat_stream

MAPPED_LIMIT, MEMORY_LIMIT, RANKS_LIMIT = 1.3, 0.5, 0.65
KINDS = ("memory", "mapped", "one", "two")


def prepare(folder: Path, name: str, degree: int, edges: float) -> None:
    """Write a graph, and which of its edges are kept, both directions alike."""
    kind, _, scale = name.partition("-")
    graph = write_graph(rmat_stream(int(scale), degree) if kind == "rmat" else name, folder / name)
    parts = []
    for source, target, _ in graph.pieces():
        low, high = np.minimum(source, target).astype(np.uint64), np.maximum(source, target).astype(np.uint64)
        mixed = (low * np.uint64(graph.nodes) + high) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
        parts.append((mixed >> np.uint64(40)) < edges * 2**24)
    np.save(folder / f"{name}-kept.npy", np.concatenate(parts))


def network(graph: MappedGraph, density: float) -> tuple[GCN, dict[str, torch.Tensor]]:
    """The network, and masks of its weights."""
    torch.manual_seed(0)
    net = GCN(graph.features, 256, 40, depth=3).eval()
    masks = {}
    with torch.no_grad():
        for name, weight in net.named_parameters(prefix="net"):
            torch.nn.init.kaiming_normal_(weight)
            masks[name] = torch.rand_like(weight) < density
            weight.div_(density**0.5)
    return net, masks


def in_memory(graph: MappedGraph, kept: np.ndarray, density: float) -> Callable[[], torch.Tensor]:
    """A pass with everything in memory; what only preparation needs is gone."""
    net, masks = network(graph, density)
    x = np.empty((graph.nodes, graph.features), np.float32)
    graph.arrays["x"].load(x, slice(0, graph.nodes), slice(0, graph.features))
    ends = np.concatenate([np.stack(piece[:2]) for piece in graph.pieces()], axis=1)
    edges = Edges(torch.from_numpy(ends), graph.nodes)
    infer = Inference(GraphModel(net, edges).eval(), {**masks, "edges.weight": torch.from_numpy(kept)}, threads=1)
    features = torch.from_numpy(x)
    return lambda: infer(features)


def in_blocks(
    graph: MappedGraph, kept: np.ndarray, density: float, memory: int | None, folder: Path, ranks: Group
) -> tuple[Callable[[], torch.Tensor], BlockInference]:
    """A pass in blocks; the logits of this process's rows go to a file, and are not in memory."""
    net, masks = network(graph, density)
    infer = BlockInference(net, graph, masks, weight=kept, memory=memory, folder=folder, threads=1, group=ranks)
    out = np.lib.format.open_memmap(folder / f"logits-{ranks.rank}.npy", "w+", np.float32, (len(infer.rows), 40))
    del out

    def run() -> torch.Tensor:
        ranks.gather(None)
        with (folder / f"logits-{ranks.rank}.npy").open("r+b") as file:
            file.seek(128)
            for _, logits in infer():
                file.write(logits.contiguous().numpy().data)
        ranks.gather(None)
        return torch.empty(0)

    return run, infer


def child(kind: str, folder: Path, name: str, words: argparse.Namespace) -> dict[str, Any] | None:
    """What one process, or the first of several, measures of itself."""
    torch.set_num_threads(1)
    graph = open_graph(folder / name, verify=False)
    kept = np.load(folder / f"{name}-kept.npy")
    with group() as ranks:
        begin = time.perf_counter()
        if kind == "memory":
            run, sources = in_memory(graph, kept, words.weights_density), []
        else:
            made = in_blocks(graph, kept, words.weights_density, words.memory, folder, ranks or ALONE)
            run, sources = made[0], made[1].sources
        del kept
        gc.collect()
        seconds = {"prepare": time.perf_counter() - begin, "passes": []}
        if kind == "memory":
            forget_peak()  # the graph's own module, with its edges in several orders, is no part of inference
        for number in range(words.passes + 1):
            begin = time.perf_counter()
            logits = run()
            if number:
                seconds["passes"].append(time.perf_counter() - begin)
        peak = max(ranks.gather(peak_rss_mb()))
        if kind == "memory":
            np.save(folder / "logits.npy", logits.numpy())
        return {"peak_mb": peak, "sources": sources, **seconds} if ranks.rank == 0 else None


def forget_peak() -> None:
    """Let Linux measure the peak of resident memory anew."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


def start(kind: str, folder: Path, name: str, words: argparse.Namespace, memory: int | None = None) -> dict[str, Any]:
    """Run a child and read what it found."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2" if kind == "two" else "1"]
    command = [
        sys.executable,
        *(launcher if kind in ("one", "two") else []),
        __file__,
        str(folder),
        "--child",
        kind,
        name,
    ]
    command += ["--weights-density", str(words.weights_density), "--passes", str(words.passes)]
    command += [] if memory is None else ["--memory", str(memory)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def difference(folder: Path, ranks: int) -> float:
    """Of the logits in blocks from those in memory, over the largest of these."""
    wanted = np.load(folder / "logits.npy", mmap_mode="r")
    parts = [np.load(folder / f"logits-{rank}.npy", mmap_mode="r") for rank in range(ranks)]
    return float(np.abs(np.concatenate(parts) - wanted).max() / np.abs(wanted).max())


def measure(folder: Path, name: str, words: argparse.Namespace) -> dict[str, Any]:
    """All engines on one graph."""
    if not (folder / name).exists():
        prepare(folder, name, words.degree, words.edges_density)
    graph = open_graph(folder / name, verify=False)
    floors = {kind: start(kind, folder, "rmat-8", words)["peak_mb"] for kind in ("memory", "mapped")}
    rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    differ = {}
    for _ in range(words.rounds):
        rows["memory"].append(start("memory", folder, name, words))
        taken = statistics.median(row["peak_mb"] for row in rows["memory"]) - floors["memory"]
        for kind in KINDS[1:]:
            budget = int(taken * MEMORY_LIMIT * 1e6) if kind == "mapped" else None
            rows[kind].append(start(kind, folder, name, words, budget))
            differ[kind] = difference(folder, 2 if kind == "two" else 1)
    seconds = {kind: statistics.median(t for row in found for t in row["passes"]) for kind, found in rows.items()}
    spread = {kind: [min(t for row in f for t in row["passes"]), max(t for row in f for t in row["passes"])]
              for kind, f in rows.items()}  # fmt: skip
    peaks = {kind: statistics.median(row["peak_mb"] for row in found) for kind, found in rows.items()}
    mapped = peaks["mapped"] - floors["mapped"]
    return {
        "graph": name,
        "nodes": graph.nodes,
        "edges": graph.edges // 2,
        "seconds": seconds,
        "spread": spread,
        "prepare": {kind: statistics.median(row["prepare"] for row in found) for kind, found in rows.items()},
        "peak_mb": peaks,
        "floor_mb": floors,
        "sources": rows["mapped"][-1]["sources"],
        "mapped_over_memory": seconds["mapped"] / seconds["memory"],
        "mapped_memory_share": mapped / taken,
        "two_over_one": seconds["two"] / seconds["one"],
        "difference": differ,
        "limits": [MAPPED_LIMIT, MEMORY_LIMIT, RANKS_LIMIT],
        "threads": 1,
        "hardware": cpu_model(),
        "torch": torch.__version__,
    }


def main() -> None:
    """Measure every graph and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--graphs", nargs="+", default=["photo-grid", "rmat-20"])
    parser.add_argument("--degree", type=int, default=10, help="undirected edges drawn a node of an R-MAT graph")
    parser.add_argument("--edges-density", type=float, default=0.5)
    parser.add_argument("--weights-density", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.child:
        found = child(words.child[0], words.folder, words.child[1], words)
        if found is not None:
            print(json.dumps(found))
        return
    words.folder.mkdir(parents=True, exist_ok=True)
    if not (words.folder / "rmat-8").exists():
        prepare(words.folder, "rmat-8", words.degree, words.edges_density)
    for name in words.graphs:
        print(json.dumps(measure(words.folder, name, words)), flush=True)


if __name__ == "__main__":
    main()

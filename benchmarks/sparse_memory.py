"""Seconds of a conversion and peak memory of a pruned U-Net: dense, converted, and loaded without its dense weights.

Every figure comes from a process of its own, whose peak resident memory the system reports. `dense` builds the model
and runs it; `convert` builds it, converts it, drops it and runs the result, so that model and network are in memory
together for a while; `load` reads the network from disk and runs it. The cache of kernels is warm. Prints one JSON
object.

    python benchmarks/sparse_memory.py --model cifar10 --density 0.1 --batch 16
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from common.runs.manifest import cpu_model, peak_rss_mb
from common.sparse.convert import convert, load
from gen_tickets.engines import pruned
from gen_tickets.networks import named

KINDS = ("dense", "convert", "load")


def child(kind: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What one process measures of itself."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found: dict[str, Any] = {}
    if kind == "load":
        inputs = torch.load(folder / "inputs.pt")
        begin = time.perf_counter()
        runs: Any = load(folder / "network", threads=1)
        found["seconds"] = time.perf_counter() - begin
    else:
        network = named(arguments.model)
        runs, inputs = network.maker(network.build()).eval(), network.inputs(arguments.batch)
        pruned(runs, arguments.density)
    found["before_mb"] = peak_rss_mb()
    if kind == "convert":
        begin = time.perf_counter()
        runs = convert(runs, None, inputs, backend="sparse", threads=1)
        found |= {"seconds": time.perf_counter() - begin, "converted_mb": peak_rss_mb()}
        torch.save(inputs, folder / "inputs.pt")
        runs.save(folder / "network")
        found["network_mb"] = sum(path.stat().st_size for path in (folder / "network").iterdir()) / 2**20
    with torch.no_grad():
        for name in ("first_call_seconds", "call_seconds"):
            begin = time.perf_counter()
            runs(*inputs)
            found[name] = time.perf_counter() - begin
    return found | {"peak_mb": peak_rss_mb()}


def main() -> None:
    """Run every kind in turn, several times, and compare medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cifar10")
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(arguments.child[0], arguments, Path(arguments.child[1]))))
        return
    rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(arguments.repeats + 1):
            for kind in KINDS:
                command = [sys.executable, __file__, *sys.argv[1:], "--child", kind, folder]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                if repeat:  # the first round compiles kernels
                    rows[kind].append(json.loads(done.stdout.splitlines()[-1]))
    medians = {k: {name: statistics.median(row[name] for row in rows[k]) for name in rows[k][0]} for k in KINDS}
    peak = medians["dense"]["peak_mb"]
    settings = {"model": arguments.model, "density": arguments.density, "batch": arguments.batch, "threads": 1}
    ratios = {f"{kind}_over_dense": medians[kind]["peak_mb"] / peak for kind in KINDS[1:]}
    about = {"repeats": arguments.repeats, "torch": torch.__version__, "hardware": cpu_model()}
    print(json.dumps({**settings, **medians, **ratios, **about}, indent=1))


if __name__ == "__main__":
    main()

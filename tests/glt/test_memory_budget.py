"""A budget of inference in blocks is kept, by what the system says of a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from glt.mapped import write_graph
from glt.streams import rmat_stream

PEAK = """
import json, sys
import numpy as np, torch
from common.runs.manifest import peak_rss_mb
from glt.blockwise import BlockInference
from glt.mapped import open_graph
from glt.models import GCN

folder, memory = sys.argv[1], int(sys.argv[2])
graph = open_graph(folder)
torch.manual_seed(0)
net = GCN(graph.features, 192, graph.classes, depth=3).eval()
mask = np.random.default_rng(0).random(graph.edges) < 0.5
before = peak_rss_mb()
infer = BlockInference(net, graph, {"edges.weight": torch.from_numpy(mask)}, memory=memory or None, backend="scipy",
                       folder=folder, threads=1)
for start, logits in infer():
    pass
print(json.dumps({"peak": peak_rss_mb(), "sources": infer.sources}))
"""


def test_a_budget_is_kept(tmp_path: Path) -> None:
    """Peak memory of a process, less that of the same process on a graph of 256 nodes, which is the libraries'."""
    write_graph(rmat_stream(8), tmp_path / "tiny")
    write_graph(rmat_stream(15, degree=8), tmp_path / "large")

    def peak(name: str, memory: int) -> tuple[float, list[str]]:
        command = [sys.executable, "-c", PEAK, str(tmp_path / name), str(memory)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return found["peak"], found["sources"]

    floor, _ = peak("tiny", 0)
    free, sources = peak("large", 0)
    assert sources == ["whole", "held", "held"]
    assert free - floor > 60
    for memory, sources in ((60, ["whole", "rows", "whole"]), (30, ["strips", "strips", "strips"])):
        used, found = peak("large", memory * 10**6)
        assert used - floor <= memory
        assert found == sources

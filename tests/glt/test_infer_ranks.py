"""Two and three processes compute together what one computes alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from common.runs.progress import Console
from glt._ranks import ALONE
from glt.config import Find
from glt.edges import Edges
from glt.find import run as find
from glt.generators import rmat
from glt.infer import Inference
from glt.mapped import write_graph
from glt.models import GCN, GraphModel

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}

SCRIPT = """
import json, os, sys
import numpy as np, torch
from common.runs.errors import UsageError
from glt import _blocks, _ranks
from glt._ranks import group
from glt.blockwise import BlockInference
from glt.mapped import open_graph
from glt.models import GCN

rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
_blocks._SLACK, _blocks._LEAST, _ranks._MESSAGE = 0, 16, 5000
with group() as ranks:
    report = []
    for name in ("random", "path", "tiny"):
        graph = open_graph(f"{folder}/{name}")
        for depth, hidden in ((1, 24), (3, 24), (2, 4)):
            torch.manual_seed(depth)
            net = GCN(graph.features, hidden, graph.classes, depth=depth, bias=True).eval()
            mask = torch.rand(graph.edges) < 0.6
            words = {"folder": folder, "backend": "scipy", "threads": 1, "group": ranks}
            for memory in (None, 240_000):
                infer = BlockInference(net, graph, {"edges.weight": mask}, memory=memory, **words)
                found = [logits.numpy().copy() for _, logits in infer()]
                found = np.concatenate([np.zeros((0, graph.classes), np.float32), *found])
                np.save(f"{folder}/{name}-{depth}-{memory}-{rank}.npy", found)
                report.append((infer.nonzeros, infer.sent, infer.sources))
    try:
        BlockInference(net, graph, memory=10 if rank == 0 else None, **words)
    except UsageError as error:
        report.append(str(error))
print(json.dumps(report))
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three graphs on disk."""
    path = tmp_path_factory.mktemp("graphs")
    for name, graph in graphs().items():
        write_graph(graph, path / name)
    return path


def graphs() -> dict:
    random = rmat(9, degree=6, features=24)
    side_by_side = torch.stack([torch.arange(511), torch.arange(1, 512)])
    few = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
    first = slice(0, 4)
    tiny = replace(random, x=random.x[first], edge_index=few, y=torch.tensor([0, 1, 2, 0]),
                   **{n: torch.arange(4) == k for k, n in enumerate(("train", "val", "test"))})  # fmt: skip
    return {"random": random, "path": replace(random, edge_index=side_by_side), "tiny": tiny}


@pytest.mark.timeout(200)
@pytest.mark.parametrize("size", [2, 3])
def test_processes_agree_with_one(size: int, folder: Path) -> None:
    (folder / "store").unlink(missing_ok=True)
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(rank), str(size), str(folder)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )
        for rank in range(size)
    ]  # fmt: skip
    try:
        outputs = [rank.communicate(timeout=150) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0] * size, outputs
    reports = [json.loads(out) for out, _ in outputs]
    for report in reports:
        assert "need at least" in report.pop()  # too little for one is too little for all
    for name, graph in graphs().items():
        for depth, hidden in ((1, 24), (3, 24), (2, 4)):
            torch.manual_seed(depth)
            net = GCN(24, hidden, graph.classes, depth=depth, bias=True).eval()
            model = GraphModel(net, Edges(graph.edge_index, graph.x.size(0)))
            mask = torch.rand(model.edges.weight.numel()) < 0.6
            whole = Inference(model, {"edges.weight": mask}, backend="scipy", threads=1)
            wanted = whole(graph.x)
            for memory in (None, 240_000):
                parts = [np.load(folder / f"{name}-{depth}-{memory}-{rank}.npy") for rank in range(size)]
                np.testing.assert_allclose(np.concatenate(parts), wanted, rtol=1e-5, atol=1e-5)
                found = [report.pop(0) for report in reports]
                assert {entries for entries, _, _ in found} == {whole.nonzeros}
                sent = sum(rows for _, rows, _ in found)
                if name == "path":
                    assert sent <= 2 * (size - 1)  # the nodes at the borders only
                elif name == "random":
                    assert sent > 0.5 * 512 * (size - 1)
    assert {path.suffix for path in folder.iterdir()} <= {"", ".npy"}


def torchrun(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "glt"]
    return subprocess.run([*command, *words], capture_output=True, text=True, env=ENVIRONMENT, timeout=150, check=False)


@pytest.mark.timeout(200)
def test_torchrun_starts_the_command(config: Find, npz: str, tmp_path: Path) -> None:
    ticket = str(find(replace(config, dataset=npz, out=str(tmp_path / "runs")), Console(quiet=True))["ticket"])
    out = tmp_path / "labels" / "two.npy"
    out.parent.mkdir()
    done = torchrun("infer", ticket, "--out", str(out), "--backend", "scipy", "--memory", "50MB", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # of the first process alone
    assert (found["processes"], found["nodes"], found["memory"]) == (2, 60, 50_000_000)
    assert done.stderr.count("60 nodes in") == 1
    from glt.predict import open_ticket

    _, graph, model = open_ticket(ticket, None, None)
    with torch.no_grad():
        wanted = model(graph.x).argmax(1).numpy()
    np.testing.assert_array_equal(np.load(out), wanted)
    for split in ("val", "test"):
        hits = (torch.from_numpy(wanted) == graph.y)[getattr(graph, split)].float()
        assert found["accuracy"][split] == pytest.approx(float(hits.mean()))
    assert [path.name for path in out.parent.iterdir()] == ["two.npy"]
    failed = torchrun("infer", ticket, "--memory", "1KB", "--out", str(out))
    assert failed.returncode != 0
    assert "too little" in failed.stderr
    assert [path.name for path in out.parent.iterdir()] == ["two.npy"]


def test_alone_there_is_nothing_to_wait_for() -> None:
    assert ALONE.gather("x") == ["x"]
    assert [part.tolist() for part in ALONE.to_first(np.array([1, 2]))] == [[1, 2]]
    assert list(ALONE.partners()) == []

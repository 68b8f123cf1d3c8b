"""Two processes: equal masks train alike, different ones are refused by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os
import sys

import torch
from torch import nn

import common
from common.dynamic import moving, rigl

rank, store = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
torch.manual_seed(0)
model = nn.Linear(3, 2)
keep = torch.tensor([[True, False, True], [False, True, True]])
other = keep if rank == 0 else ~keep
try:
    with common.masked(model, {"weight": other}):
        pass
except RuntimeError as error:
    print(error)
parallel = nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
torch.manual_seed(rank)
with moving(model, {"weight": keep}, rigl(0.5, end=8), every=2, stop=8) as guard:
    for _ in range(4):
        optimizer.zero_grad()
        parallel(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
print(model.weight.tolist(), guard.masks.kept)
torch.distributed.destroy_process_group()
sys.stdout.flush()
os._exit(0)  # torch aborts one exit in thirty or so after DistributedDataParallel on gloo, without this project too
"""


@pytest.mark.timeout(120)
def test_ranks_must_hold_the_same_masks(tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "ignore", str(script)]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=100) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    refused, trained = zip(*(out.strip().splitlines() for out, _ in outputs), strict=True)
    assert all("the ranks hold different masks for weight" in line for line in refused)
    assert trained[0] == trained[1]
    assert trained[0].endswith("4")

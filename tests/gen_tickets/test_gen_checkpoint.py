"""Checkpoints within a training: interrupted and resumed equals uninterrupted, to the bit; others are left alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from interrupted import DIGITS, QUICK, Until, equal, made, network, same
from torch import nn

from common.apply import masked
from common.masks import Masks, prunable
from gen_tickets import ddpm
from gen_tickets._checkpoint import Checkpoints
from gen_tickets._steps import Trainer
from gen_tickets.denoising import Denoising
from gen_tickets.lightning import Lightning


def half(model: nn.Module, first: int = 0) -> Masks:
    """Every other entry of each prunable tensor."""
    return Masks({n: torch.arange(p.numel()).reshape(p.shape) % 2 == first for n, p in prunable(model).items()})


@pytest.mark.parametrize("drive", [Until(), Lightning(accelerator="cpu")], ids=["plain", "lightning"])
@pytest.mark.parametrize("family", ["ddpm", "sngan", "strong"])
def test_interrupted_and_resumed_equals_uninterrupted(family: str, drive: Any, tmp_path: Path) -> None:
    @contextmanager
    def pruned(model: nn.Module) -> Iterator[None]:
        with nullcontext() if family == "strong" else masked(model, half(model)):
            yield

    said: list[str] = []
    whole, broken, resumed = made(family), made(family), made(family)
    with pruned(whole[0]):
        expected = whole[1](whole[0], 0, 12)
    for _, train in (broken, resumed):
        train.checkpoints = Checkpoints(tmp_path / "training", steps=7, about={"lr": 0.1}, say=said.append)
    broken[1].drive, resumed[1].drive, drive = Until(9), drive, Until() if isinstance(drive, Until) else drive
    with pytest.raises(KeyboardInterrupt), pruned(broken[0]):
        broken[1](broken[0], 0, 12)
    assert said == []
    resumed[1].drive = drive
    with pruned(resumed[0]):
        assert resumed[1](resumed[0], 0, 12) == expected
    assert same(whole, resumed)
    assert len(said) == 1
    assert said[0].endswith("step-000000007: training goes on at step 7")
    assert isinstance(drive, Lightning) or drive.done == 5
    files = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["checkpoint.json", "state.safetensors"]


def kept(folder: Path, most: int = 3) -> list[str]:
    """Leave a checkpoint of step 2 of 4 in the folder; what was said."""
    said: list[str] = []
    model, train = made("ddpm")
    train.checkpoints, train.drive = Checkpoints(folder, steps=2, say=said.append), Until(most)
    with pytest.raises(KeyboardInterrupt):
        train(model, 0, 4)
    return said


def other(name: str) -> tuple[nn.Module, Trainer, dict[str, Any]]:
    """A training that differs from that of `kept` in one thing."""
    model, train = made("ddpm")
    if name == "seed":
        train = ddpm.trainer(Denoising(DIGITS), QUICK, seed=1)
    if name == "lr":
        train = ddpm.trainer(Denoising(DIGITS), replace(QUICK, lr=2e-3))
    if name == "model":
        model = network(seed=1)
    return model, train, {"data": "mnist"} if name == "about" else {}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("seed", "seed (0, here 1)"),
        ("lr", "optimizers.0.0.lr (0.001, here 0.002)"),
        ("model", "weights ("),
        ("masks", "weights ("),
        ("about", "about.data (None, here mnist)"),
        ("stop", "stop (4, here 5)"),
    ],
)
def test_checkpoints_of_another_training_are_left_alone_with_a_reason(name: str, reason: str, tmp_path: Path) -> None:
    assert kept(tmp_path) == []
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    model, train, about = other(name)
    said: list[str] = []
    train.checkpoints = Checkpoints(tmp_path, steps=2, about=about, say=said.append)
    train.drive = count = Until()
    with masked(model, half(model)) if name == "masks" else nullcontext():
        train(model, 0, 5 if name == "stop" else 4)
    assert count.done == (5 if name == "stop" else 4)
    assert len(said) == 1
    assert "found checkpoints of other trainings only, which are left alone; the nearest differs in" in said[0]
    assert reason in said[0]
    assert all(path.read_bytes() == value for path, value in before.items())
    train(made("ddpm")[0], 0, 3)
    assert len(said) == 2  # not of those that this process wrote itself: of the one at first


KILLED = """
import os
import signal
import sys
from pathlib import Path

sys.path[:0] = [sys.argv[1], sys.argv[2]]
from test_gen_checkpoint import Checkpoints, made

for call in (3, 4):
    if not os.fork():
        model, train = made("ddpm")
        train.checkpoints = Checkpoints(Path(sys.argv[3]) / str(call), steps=2)
        calls, move = [], os.replace

        def replace(*paths):
            calls.append(paths)
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            move(*paths)

        os.replace = replace
        train(model, 0, 6)
    _, status = os.wait()
    assert os.WTERMSIG(status) == signal.SIGKILL
"""


def test_a_process_killed_while_it_writes_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    """Each checkpoint takes two moves of files; it dies in the first and in the second of the second checkpoint."""
    here = Path(__file__)
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, here.parents[2], here.parent, tmp_path], check=True, timeout=100
    )
    whole = made("ddpm")
    whole[1](whole[0], 0, 6)
    for call in ("3", "4"):
        said: list[str] = []
        resumed = made("ddpm")
        resumed[1].checkpoints = Checkpoints(tmp_path / call, steps=2, say=said.append)
        resumed[1].drive = count = Until()
        resumed[1](resumed[0], 0, 6)
        assert count.done == 4
        assert "passed over a checkpoint" in said[0]
        assert said[1].endswith("training goes on at step 2")
        assert same(whole, resumed)


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    kept(tmp_path)
    (path,) = tmp_path.rglob("*.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    said = kept(tmp_path)
    assert len(said) == 1
    assert "passed over a checkpoint" in said[0]
    assert "Bytes were altered" in said[0]
    assert kept(tmp_path, 1)[0].endswith("goes on at step 2")


def test_a_checkpoint_is_due_after_steps_or_seconds(tmp_path: Path) -> None:
    for how, found in ((Checkpoints(tmp_path / "a", seconds=0), ["step-000000003"]),
                       (Checkpoints(tmp_path / "b", seconds=1e9), []),
                       (Checkpoints(tmp_path / "c", seconds=1e9, steps=2), ["step-000000002"])):  # fmt: skip
        model, train = made("ddpm")
        train.checkpoints = how
        train(model, 0, 4)
        assert [path.name for path in Path(how.folder).glob("*/*")] == found
    with pytest.raises(ValueError, match="found neither seconds nor steps; expected one of them"):
        Checkpoints(tmp_path)
    with pytest.raises(ValueError, match="found checkpoints every 0 steps; expected 1 or more"):
        Checkpoints(tmp_path, steps=0)
    with pytest.raises(ValueError, match="found checkpoints every -1 seconds; expected 0 or more"):
        Checkpoints(tmp_path, seconds=-1)


def test_moments_have_their_parameters_order_in_memory(tmp_path: Path) -> None:
    """Fused Adam reads moments in the order of the parameter; what comes from a file lies in rows."""

    def trained(again: bool) -> nn.Module:
        model, train = made("ddpm")
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        train(model, 0, 3)
        if again:
            train.save_memory(tmp_path)
            train = made("ddpm")[1]
            train.load_memory(tmp_path)
        train(model, 3, 6)
        return model

    one, two = trained(again=False), trained(again=True)
    assert equal(one.state_dict(), two.state_dict())

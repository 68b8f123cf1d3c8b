"""Two processes: shares of every batch, equal masks, weights and averages on both, close to what one process finds."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from gen_tickets import _ranks

SCRIPT = """
import os
import sys
from contextlib import nullcontext
from dataclasses import replace

import common
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from common.dynamic import moving, rigl
from common.masks import Masks, prunable
from common.search import Rewind, tickets
from gen_tickets import ddpm, gan, gfmn, vae
from gen_tickets._checkpoint import Checkpoints
from gen_tickets._steps import Session, Trainer
from gen_tickets.denoising import Denoising
from gen_tickets.lightning import Lightning
from gen_tickets.models import build, ddpm as unet

how, rank, size, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
drive = Lightning(accelerator="cpu", devices=2) if how == "lightning" else None
if how == "plain" and size > 1:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
images = torch.tensor(load_digits().images[:256], dtype=torch.float32)[:, None] / 8 - 1
found = {}


def driven(train):
    train.drive = drive or train.drive
    return train


def keep(name, tensors):
    found.update({f"{name}.{key}": value.detach().clone() for key, value in tensors.items()})


def network():
    torch.manual_seed(0)
    return unet((1, 8, 8), (8, 16), attention=())


def refused(call):
    try:
        call()
    except Exception as error:
        print(f"{type(error).__name__}: {error}")


def stopped(model, steps, count):
    for number, _ in enumerate(steps):
        if number == 2:
            raise KeyboardInterrupt


def trained(checkpoints, drive=None):
    model, train = network(), ddpm.trainer(Denoising(images), QUICK)
    train.checkpoints, train.drive = checkpoints, drive or train.drive
    train(model, 0, 5)
    return train.kept[5]


QUICK = ddpm.Settings(batch=16, lr=1e-3, decay=0.9)
model, train = network(), driven(ddpm.trainer(Denoising(images), QUICK))
for ticket in tickets(model, train, [1.0, 0.5], steps=6, rewind=Rewind.step(2)):
    keep("ddpm", model.state_dict())
keep("masks", ticket.masks)
keep("averages", train.carried)
keep("loss", {name: torch.tensor(value, dtype=torch.float64) for name, value in ticket.metrics.items()})
if how == "plain":
    torch.manual_seed(0)
    pair = build("dcgan", "tiny")
    train = gan.trainer(images, replace(gan.DCGAN, batch=16, generator_batch=16))
    train(pair, 0, 3)
    keep("gan", pair.state_dict() | {f"mean.{n}": t for n, t in train.carried.items()})
    torch.manual_seed(0)
    model = build("vae", "tiny")
    vae.trainer(images, vae.Settings(batch=16))(model, 0, 1)
    keep("vae", model.state_dict())
    model, pixels = build("gfmn", "tiny"), lambda images: [images]
    train = gfmn.trainer(gfmn.moments(pixels, images), pixels, gfmn.Settings(batch=16, lr=1e-3, average_lr=1e-2))
    train(model, 0, 2)
    keep("gfmn", model.state_dict() | {f"mean.{n}": t for n, t in train.carried.items()})
    model = network()
    masks = Masks({n: torch.arange(p.numel()).reshape(p.shape) % 2 == 0 for n, p in prunable(model).items()})
    with moving(model, masks, rigl(0.5, end=6), every=2, stop=6) as guard:
        ddpm.trainer(Denoising(images), QUICK)(model, 0, 4)
    keep("rigl", guard.masks)
    keep("unbroken", trained(None))
    try:
        trained(Checkpoints(f"{folder}/training-of-{size}", steps=2), stopped)
    except KeyboardInterrupt:
        keep("resumed", trained(Checkpoints(f"{folder}/training-of-{size}", steps=2)))
    seen, draws = [], [0.0] * size
    session = Session(lambda number: seen.append(torch.rand(()).item()) or {}, (), model)
    Trainer(lambda model: nullcontext(session), 0)(model, 0, 1)
    torch.distributed.all_gather_object(draws, seen[0]) if size > 1 else None
    keep("draws", {"first": torch.tensor(draws)})
    refused(lambda: ddpm.trainer(Denoising(images), replace(QUICK, lr=1e30))(network(), 0, 9))
if how == "plain" and size > 1:
    refused(lambda: ddpm.trainer(Denoising(images), replace(QUICK, batch=15))(network(), 0, 1))
    torch.manual_seed(rank)
    refused(lambda: ddpm.trainer(Denoising(images), QUICK)(unet((1, 8, 8), (8, 16), attention=()), 0, 1))
save_file({name: value.contiguous() for name, value in found.items()}, f"{folder}/found-{rank}-of-{size}.safetensors")
sys.stdout.flush()
os._exit(0)
"""

QUIET = ("-W", "ignore:`torch.jit:DeprecationWarning")


def run(folder: Path, how: str, size: int) -> tuple[list[dict[str, Tensor]], list[list[str]]]:
    """What the processes found, and the lines that they printed."""
    (folder / "ranks.py").write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(
            [sys.executable, *QUIET, "ranks.py", how, str(rank), str(size), str(folder)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
            env=shared | ({"LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)} if how == "lightning" else {}),
        )
        for rank in range(size)
    ]  # fmt: skip
    try:
        outputs = [rank.communicate(timeout=200) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0] * size, outputs
    assert [error for _, error in outputs] == [""] * size
    found = [load_file(folder / f"found-{rank}-of-{size}.safetensors") for rank in range(size)]
    return found, [output.splitlines() for output, _ in outputs]


def part(found: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in found.items() if key.startswith(f"{name}.")}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Tensor]], list[list[str]]]:
    """Two processes in a group of torch.distributed, under no launcher."""
    return run(tmp_path_factory.mktemp("pair"), "plain", 2)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The same in one process."""
    return run(tmp_path_factory.mktemp("alone"), "plain", 1)[0][0]


@pytest.mark.timeout(300)
def test_both_processes_hold_the_same(pair: Any) -> None:
    (one, two), _ = pair
    kinds = {"ddpm", "masks", "averages", "loss", "gan", "vae", "gfmn", "rigl", "draws", "unbroken", "resumed"}
    assert {name.partition(".")[0] for name in one} == kinds
    assert one.keys() == two.keys()
    assert [name for name, value in one.items() if not torch.equal(value, two[name])] == []
    assert len(one["draws.first"].unique()) == 2  # but what a network draws by itself is each process's own


@pytest.mark.timeout(300)
def test_two_processes_find_what_one_finds(pair: Any, alone: dict[str, Tensor]) -> None:
    """But for rounding: sums over a batch are taken in another order.

    An entry whose gradient is nothing but rounding (a bias before a norm) moves by Adam's rate in a random direction.
    """
    (two, _), _ = pair
    for kind in ("ddpm", "averages"):
        weights, expected = part(two, kind), part(alone, kind)
        apart = torch.cat([(weights[name].double() - expected[name].double()).abs().flatten() for name in expected])
        assert apart.median() < 1e-6
        assert (apart > 1e-5).double().mean() < 0.05
        assert apart.max() < 2 * 1e-3 * 6
    differ = sum(int((mask != alone[name]).sum()) for name, mask in part(two, "masks").items())
    assert differ <= 2
    assert two["loss.loss"].item() == pytest.approx(alone["loss.loss"].item(), rel=1e-5)
    assert two["loss.gradient"].item() == pytest.approx(alone["loss.gradient"].item(), rel=1e-4)


@pytest.mark.timeout(300)
def test_running_statistics_are_averaged(pair: Any, alone: dict[str, Tensor]) -> None:
    (two, _), _ = pair
    norm = "vae.encoder.layers.1.norm"
    torch.testing.assert_close(two[f"{norm}.running_mean"], alone[f"{norm}.running_mean"], rtol=1e-4, atol=1e-6)
    within, whole = two[f"{norm}.running_var"], alone[f"{norm}.running_var"]
    torch.testing.assert_close(within, whole, rtol=0.1, atol=0)
    assert not torch.equal(within, whole)


@pytest.mark.timeout(300)
def test_processes_fail_together(pair: Any) -> None:
    """With the same words, and without waiting for each other."""
    _, (one, two) = pair
    assert one == two
    for line, expected in zip(one, [
        "DivergedError: training diverged at step 1: found the losses",
        "ValueError: found a batch of 15 on 2 processes; expected a multiple of 2",
        "RuntimeError: the 2 processes hold different tensors: found 78 that differ, conv_in.bias, ",
    ], strict=True):  # fmt: skip
        assert line.startswith(expected)


@pytest.mark.timeout(300)
def test_both_go_on_from_a_checkpoint_of_the_first(pair: Any) -> None:
    for found in pair[0]:
        resumed, expected = part(found, "resumed"), part(found, "unbroken")
        assert len(resumed) == len(expected) > 0
        assert all(torch.equal(v, expected[f"unbroken.{n.removeprefix('resumed.')}"]) for n, v in resumed.items())


@pytest.mark.timeout(300)
def test_lightning_starts_the_group_and_finds_the_same(pair: Any, tmp_path: Path) -> None:
    (plain, _), _ = pair
    (one, two), lines = run(tmp_path, "lightning", 2)
    assert lines == [[], []]
    assert {name.partition(".")[0] for name in one} == {"ddpm", "masks", "averages", "loss"}
    for found in (one, two):
        assert [name for name, value in found.items() if not torch.equal(value, plain[name])] == []
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"ranks.py", "found-0-of-2.safetensors", "found-1-of-2.safetensors"}


def test_a_share_is_all_of_a_batch_outside_a_step_and_without_a_group() -> None:
    with _ranks.sharing():
        assert _ranks.share(7) == range(7)
    assert _ranks.share(7) == range(7)

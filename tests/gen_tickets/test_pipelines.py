"""Folders of DDPMPipeline: stock diffusers reads what is written, and what stock diffusers wrote is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import safetensors.torch
import torch
from torch import nn

from common.runs.errors import UsageError
from gen_tickets import _exports
from gen_tickets.models import ddpm
from gen_tickets.pipelines import config_of, load_pipeline, save_pipeline, solver_of

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def network(seed: int = 0, **given: Any) -> nn.Module:
    """A U-Net of 8x8 images with half of its weights zero."""
    torch.manual_seed(seed)
    unet = ddpm((1, 8, 8), (8, 16), attention=(1,), **given).eval()
    with torch.no_grad():
        for param in unet.parameters():
            param.mul_(torch.rand_like(param) < 0.5)
    return unet


def same(left: nn.Module, right: nn.Module) -> bool:
    ours, theirs = left.state_dict(), right.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


def samples(pipeline: Any) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(3, generator=torch.Generator().manual_seed(5), num_inference_steps=4, output_type="pt")
    return drawn.images


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As stock diffusers writes it."""
    folder = tmp_path_factory.mktemp("stock") / "pipeline"
    diffusers.DDPMPipeline(network(), diffusers.DDPMScheduler(beta_end=0.01)).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "pipeline"))


def test_stock_diffusers_draws_the_same_bits(tmp_path: Path) -> None:
    unet, scheduler = network(), diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    path = save_pipeline(unet, scheduler, tmp_path / "deep" / "made", {"digest": "abc"})
    assert path == tmp_path / "deep" / "made"
    stock = diffusers.DDPMPipeline.from_pretrained(path)
    assert same(stock.unet, unet)
    assert stock.scheduler.config.beta_schedule == "squaredcos_cap_v2"
    drawn = samples(stock)
    assert torch.equal(drawn, samples(diffusers.DDPMPipeline(unet, scheduler)))
    assert float(drawn.std()) > 0.1
    assert json.loads((path / "ticket-export.json").read_text())["digest"] == "abc"
    assert {oct(file.stat().st_mode & 0o777) for file in path.rglob("*") if file.is_file()} == {"0o644"}
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["made"]


def test_what_stock_diffusers_wrote_is_read(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    unet, scheduler = load_pipeline(saved)
    assert torch.equal(torch.rand(3), expected)
    assert same(unet, network())
    assert (unet.training, scheduler.config.beta_end) == (False, 0.01)
    assert capfd.readouterr().err == ""


def test_nothing_of_this_machine_is_kept(saved: Path, tmp_path: Path) -> None:
    unet, scheduler = load_pipeline(saved)
    path = save_pipeline(unet, scheduler, tmp_path / "again")
    for text in (json.dumps(config_of(unet)), *(file.read_text() for file in path.rglob("*.json"))):
        assert str(saved.parent) not in text
    made = diffusers.UNet2DModel.from_config(config_of(unet))
    assert made.state_dict().keys() == unet.state_dict().keys()
    assert config_of(solver_of(config_of(scheduler))) == config_of(scheduler)
    assert config_of(solver_of(None)) == config_of(diffusers.DDPMScheduler())


def test_shards_halves_and_former_names_are_read(tmp_path: Path, folder: Path) -> None:
    unet = network().half()
    pipeline = diffusers.DDPMPipeline(unet, diffusers.DDIMScheduler())
    pipeline.save_pretrained(tmp_path / "shards", max_shard_size="60KB")
    assert len(list((tmp_path / "shards" / "unet").glob("*.safetensors"))) > 1
    read, scheduler = load_pipeline(tmp_path / "shards")
    assert same(read, unet.float())
    assert type(scheduler) is diffusers.DDIMScheduler
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    for new, old in former.items():
        tensors = {name.replace(new, old): tensor for name, tensor in tensors.items()}
    safetensors.torch.save_file(tensors, folder / WEIGHTS)
    assert same(load_pipeline(folder)[0], network())


def test_only_an_export_is_replaced(tmp_path: Path, saved: Path) -> None:
    scheduler, place = diffusers.DDPMScheduler(), tmp_path / "made"
    place.mkdir()
    for seed in (1, 2):
        save_pipeline(network(seed), scheduler, place)
        assert same(load_pipeline(place)[0], network(seed))
    (place / "notes.txt").write_text("mine")
    file = tmp_path / "file"
    file.write_text("mine")
    stock = shutil.copytree(saved, tmp_path / "stock")
    for taken, message in (
        (place, "holds 'notes.txt', which is no part of an export"),
        (stock, "holds 'model_index.json', which is no part of an export; nothing was written"),
        (file, "is a file; expected a folder"),
    ):
        with pytest.raises(UsageError, match=message):
            save_pipeline(network(3), scheduler, taken)
    assert same(load_pipeline(place)[0], network(2))
    assert same(load_pipeline(stock)[0], network())


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, place = diffusers.DDPMScheduler(), tmp_path / "made"
    save_pipeline(network(1), scheduler, place)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(diffusers.DDPMScheduler, "save_pretrained", full)
        with pytest.raises(OSError, match=r"made: cannot be written \(OSError: No space left.*Check its permissions"):
            save_pipeline(network(2), scheduler, place)
    replace, calls = Path.replace, []

    def second(self: Path, target: Path) -> Path:
        calls.append(target)
        return replace(self, target) if len(calls) != 2 else full()

    with monkeypatch.context() as patch:
        patch.setattr(_exports.Path, "replace", second)
        with pytest.raises(OSError, match="cannot be written"):
            save_pipeline(network(2), scheduler, place)
    assert len(calls) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert same(load_pipeline(place)[0], network(1))


def test_networks_that_the_pipeline_cannot_draw_from(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found a Linear; expected a UNet2DModel"):
        save_pipeline(nn.Linear(1, 1), diffusers.DDPMScheduler(), tmp_path / "made")
    with pytest.raises(ValueError, match="takes class labels; expected one without"):
        save_pipeline(network(classes=3), diffusers.DDPMScheduler(), tmp_path / "made")
    assert not (tmp_path / "made").exists()

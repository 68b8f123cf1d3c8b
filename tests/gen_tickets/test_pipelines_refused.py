"""Folders of diffusers that cannot be pruned: one clear error each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import safetensors.torch
import torch

from common.runs.errors import MissingData
from gen_tickets.models import ddpm
from gen_tickets.pipelines import load_pipeline, save_pipeline

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As stock diffusers writes it."""
    folder = tmp_path_factory.mktemp("stock") / "pipeline"
    unet = ddpm((1, 8, 8), (8, 16), attention=(1,))
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "pipeline"))


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def tensors(**changed: torch.Tensor | None) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        stored = {
            **safetensors.torch.load_file(folder / WEIGHTS),
            **{k.replace("__", "."): v for k, v in changed.items()},
        }
        safetensors.torch.save_file({k: v for k, v in stored.items() if v is not None}, folder / WEIGHTS)

    return write


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-40])


def edit(name: str, **values: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return write


SCHEDULER, UNET, INDEX = "scheduler/scheduler_config.json", "unet/config.json", "model_index.json"
BAD: list[tuple[Callable[[Path], None], str]] = [
    (without(INDEX), r"found no model_index\.json; expected the folder of a saved DDPMPipeline"),
    (cut(INDEX), r"model_index\.json: found no whole JSON object"),
    (edit(INDEX, _class_name="StableDiffusionPipeline"), "found 'StableDiffusionPipeline'; expected 'DDPMPipeline'"),
    (edit(INDEX, unet=["diffusers", "UNet2DConditionModel"]), "found .*'UNet2DConditionModel'.*; expected"),
    (edit(INDEX, scheduler=["own_code", "Solver"]), r"found the scheduler \['own_code', 'Solver'\]; expected one of"),
    (edit(INDEX, scheduler=["diffusers", "UNet2DModel"]), "found the scheduler 'UNet2DModel'; expected one of"),
    (without(UNET), r"found no config\.json"),
    (cut(UNET), r"unet/config\.json: found no whole JSON object"),
    (edit(UNET, _class_name="Transformer2DModel"), "found 'Transformer2DModel'; expected 'UNet2DModel'"),
    (edit(UNET, down_block_types=["X", "Y"]), "found a U-Net that cannot be loaded"),
    (edit(UNET, sample_size=None), "from 1 to 1 channels and sample_size None; expected as many out as in, and a size"),
    (without(SCHEDULER), r"found no scheduler_config\.json"),
    (cut(SCHEDULER), r"scheduler_config\.json: found no whole JSON object"),
    (edit(SCHEDULER, prediction_type="v_prediction"), "found the prediction_type 'v_prediction'; expected 'epsilon'"),
    (edit(SCHEDULER, beta_schedule="steep"), "found a DDPMScheduler that cannot be made .*steep"),
    (cut(WEIGHTS), "found a U-Net that cannot be loaded"),
    (tensors(conv_in__weight=torch.zeros(3)), "found a U-Net that cannot be loaded .*conv_in.weight"),
    (tensors(conv_in__weight=None), r"found 1 missing tensor \(conv_in\.weight\); expected those of the config"),
    (tensors(a=torch.zeros(3), b=torch.zeros(3)), r"found 2 unexpected tensors \(a, b\)"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_a_spoilt_folder_is_refused(
    folder: Path, spoil: Callable[[Path], None], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    spoil(folder)
    with pytest.raises(ValueError, match=message) as caught:
        load_pipeline(folder)
    assert str(folder) in str(caught.value)
    assert capfd.readouterr().err == ""


def test_missing_and_pickled_weights(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="found no such folder; expected one that diffusers' DDPMPipeline"):
        load_pipeline(tmp_path / "google/ddpm-cifar10-32")
    (folder / WEIGHTS).rename(folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    with pytest.raises(ValueError, match=r"found weights as diffusion_pytorch_model\.fp16\.safetensors; expected"):
        load_pipeline(folder)
    (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").rename(folder / "unet" / "model.bin")
    with pytest.raises(ValueError, match=r"found weights as model\.bin; expected .*no pickle is read"):
        load_pipeline(folder)
    (folder / "unet" / "model.bin").unlink()
    with pytest.raises(MissingData, match=r"unet: found no weights; expected diffusion_pytorch_model\.safetensors"):
        load_pipeline(folder)


def test_a_network_that_also_predicts_a_variance(tmp_path: Path) -> None:
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=2, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    path = save_pipeline(unet, diffusers.DDPMScheduler(), tmp_path / "learned")
    with pytest.raises(ValueError, match="from 1 to 2 channels"):
        load_pipeline(path)

"""Whole networks: what they compute, keep on disk and refuse."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from common.masks import Masks
from common.sparse.convert import convert, load
from common.ticket import Ticket, TicketError


def unet() -> nn.Module:
    from diffusers import UNet2DModel

    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    sizes = {"block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8, "attention_head_dim": 8}
    return UNet2DModel(sample_size=8, in_channels=1, out_channels=1, **blocks, **sizes)


def generator() -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(6, 12, 4), nn.BatchNorm2d(12), nn.ReLU(inplace=True),
        nn.ConvTranspose2d(12, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.ConvTranspose2d(8, 2, 3, 2, 1, 1), nn.Tanh(),
    )  # fmt: skip


def classifier() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.GroupNorm(2, 4), nn.SiLU(),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 3),
    )  # fmt: skip


def example(name: str, batch: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(batch)
    if name == "unet":
        return torch.randn(batch, 1, 8, 8, generator=generator), torch.randint(1000, (batch,), generator=generator)
    size = (6, 1, 1) if name == "generator" else (1, 8, 8)
    return (torch.randn(batch, *size, generator=generator),)


MODELS = {"unet": unet, "generator": generator, "classifier": classifier}


def pruned(name: str, density: float) -> tuple[nn.Module, Masks, nn.Module]:
    """A model, masks, and a dense copy with the zeros in it."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    masks = Masks({n: torch.rand_like(p) < density for n, p in model.named_parameters() if p.dim() > 1})
    reference = copy.deepcopy(model)
    with torch.no_grad():
        for key, mask in masks.items():
            reference.get_parameter(key).mul_(mask)
    return model, masks, reference


def output(result: object) -> Tensor:
    return result if isinstance(result, Tensor) else result.sample


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
@torch.no_grad()
def test_outputs_are_those_of_the_masked_model(name: str, density: float) -> None:
    model, masks, reference = pruned(name, density)
    before = copy.deepcopy(model.state_dict())
    sparse = convert(model, masks, example(name, 3), backend="sparse", threads=2)
    for batch in (1, 2, 9, 12, 16, 33):
        inputs = example(name, batch)
        torch.testing.assert_close(output(sparse(*inputs)), output(reference(*inputs)), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert {facts["form"] for key, facts in sparse.report.items() if "time" not in key} == {"sparse"}


@torch.no_grad()
def test_the_same_call_again_gives_the_same_bits_and_the_last_result_stays() -> None:
    model, masks, _ = pruned("unet", 0.3)
    sparse = convert(model, masks, example("unet", 2))
    first = sparse(*example("unet", 16)).sample
    kept = first.clone()
    sparse(*example("unet", 20))
    assert torch.equal(first, kept)
    assert torch.equal(sparse(*example("unet", 16)).sample, kept)


@torch.no_grad()
def test_the_call_is_the_models() -> None:
    model, masks, reference = pruned("unet", 0.3)
    sparse = convert(model, masks, example("unet", 2))
    x, _ = example("unet", 3)
    expected = reference(x, 7)
    for found in (sparse(x, 7), sparse(sample=x, timestep=torch.tensor(7)), sparse(x, timestep=7)):
        assert type(found) is type(expected)
        torch.testing.assert_close(found.sample, expected.sample, atol=1e-5, rtol=1e-4)
    assert isinstance(sparse(x, 7, return_dict=False), tuple)
    with pytest.raises(TypeError, match=r"found the arguments \['sample'\]; expected sample, timestep"):
        sparse(x)
    with pytest.raises(ValueError, match="found a batch of 0"):
        sparse(x[:0], 7)


def test_saved_and_loaded_without_the_model(tmp_path: Path) -> None:
    model, masks, _ = pruned("unet", 0.1)
    sparse = convert(model, masks, example("unet", 2))
    folder = sparse.save(tmp_path / "network")
    expected = sparse(*example("unet", 5)).sample
    torch.save((example("unet", 5), expected), tmp_path / "pair.pt")
    script = f"""
import sys, torch
from common.sparse.convert import load
inputs, expected = torch.load({str(tmp_path / "pair.pt")!r})
assert torch.equal(load({str(folder)!r})(*inputs, return_dict=False)[0], expected)
assert not any(name.startswith("diffusers") for name in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size < 0.5 * sum(p.numel() * 4 for p in model.parameters())


def test_a_damaged_network_is_refused(tmp_path: Path) -> None:
    model, masks, _ = pruned("classifier", 0.5)
    folder = convert(model, masks, example("classifier", 2)).save(tmp_path / "network")
    path = folder / "network.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(TicketError, match=r"Bytes were altered\. Nothing was loaded"):
        load(folder)
    with pytest.raises(TicketError, match="no such folder"):
        load(tmp_path / "nowhere")


def test_a_pipeline_of_diffusers_samples_with_it(tmp_path: Path) -> None:
    from diffusers import DDIMPipeline, DDIMScheduler

    model, masks, reference = pruned("unet", 0.2)
    sparse = load(convert(model, masks, example("unet", 2)).save(tmp_path))
    images = []
    for network in (reference, sparse):
        pipeline = DDIMPipeline(network, DDIMScheduler())
        pipeline.set_progress_bar_config(disable=True)
        noise = torch.Generator().manual_seed(1)
        images.append(pipeline(17, generator=noise, num_inference_steps=4, output_type="np").images)
    assert abs(images[0] - images[1]).max() < 1e-3


def test_tickets_and_masks_are_checked() -> None:
    model, masks, _ = pruned("classifier", 0.5)
    ticket = Ticket(masks, dict(model.state_dict()))
    assert convert(model, ticket, example("classifier", 2)).report["3.weight"]["form"] == "sparse"
    with pytest.raises(TicketError, match="another model"):
        convert(unet(), ticket, example("unet", 2))
    with pytest.raises(ValueError, match=r"found a mask of shape \(2,\) for '0\.weight'; expected \(4, 1, 3, 3\)"):
        convert(model, {"0.weight": torch.ones(2).bool()}, example("classifier", 2))
    with pytest.raises(ValueError, match="found the backend 'magic'; expected 'auto', 'sparse' or 'dense'"):
        convert(model, masks, example("classifier", 2), backend="magic")


@torch.no_grad()
def test_batch_normalisation_and_relu_become_part_of_their_layer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 5, 4, 2, 1),
        nn.BatchNorm2d(5, affine=False), nn.LeakyReLU(0.3), nn.Conv2d(5, 2, 1), nn.ReLU(),
    ).eval()  # fmt: skip
    for module in (model[1], model[4]):
        module.running_mean.normal_()
        module.running_var.uniform_(0.5, 2)
    model[1].weight.normal_()
    masks = {f"{i}.weight": torch.rand_like(model[i].weight) < 0.5 for i in (0, 3, 6)}
    sparse = convert(model, masks, (torch.randn(2, 3, 6, 6),), backend="sparse")
    assert dict(sparse.unknown) == {}
    for key, mask in masks.items():
        model.get_parameter(key).mul_(mask)
    for batch in (1, 16):
        x = torch.randn(batch, 3, 6, 6)
        torch.testing.assert_close(sparse(x), model(x), atol=1e-5, rtol=1e-4)


def test_dense_layers_stay_dense() -> None:
    model, _, reference = pruned("classifier", 1.0)
    sparse = convert(model, None, example("classifier", 2))
    assert {facts["form"] for facts in sparse.report.values()} == {"dense"}
    assert "aten.conv2d.default" in sparse.unknown
    inputs = example("classifier", 4)
    torch.testing.assert_close(sparse(*inputs), reference(*inputs))


def test_a_model_that_cannot_be_exported_says_so() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if x.sum().item() > 0 else x - 1

    with pytest.raises(ValueError, match=r"Branch cannot be exported .*; expected a forward without control flow"):
        convert(Branch(), None, (torch.ones(2, 1),))

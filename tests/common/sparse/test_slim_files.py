"""Slimmed networks on disk, and in the libraries that should load them: diffusers and torch-geometric."""

import copy
import json
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from test_slim import CASES, IMAGES, Net, checked, scattered, shaken, unet, without
from torch import Tensor, nn
from torch_geometric.nn.models import basic_gnn

from common.masks import Masks
from common.sparse.slim import Slim, slim
from common.sparse.slim_files import load, save
from common.ticket_file import TicketError
from gen_tickets.models import build

PLAIN = (bool, int, float, str, tuple, list, type(None))
STEPS = torch.tensor([3, 700])


def settings(module: nn.Module) -> dict[str, Any]:
    """All attributes that are plain, and what of its own parameters is trained."""
    found: dict[str, Any] = {name: value for name, value in vars(module).items() if type(value) in PLAIN}
    return found | {name: param.requires_grad for name, param in module.named_parameters(recurse=False)}


def reloaded(small: Slim, fresh: nn.Module, folder: Path, inputs: tuple[Tensor, ...] = (IMAGES,)) -> Any:
    """A fresh model with the stored network, after checking that they are one, down to the last attribute."""
    again = load(save(small, folder), fresh)
    assert again is fresh
    assert not any(module.training for module in again.modules())
    ours, theirs = again.state_dict(), small.model.state_dict()
    assert [*ours] == [*theirs]
    assert all(torch.equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in ours)
    for a, b in zip_longest(again.modules(), small.model.modules()):
        assert settings(a) == settings(b)
    with torch.no_grad():
        found, expected = (getattr(y, "sample", y) for y in (again(*inputs), small.model(*inputs)))
    assert torch.equal(found, expected)
    return again


@pytest.mark.parametrize("case", CASES)
def test_a_network_reads_back(case: str, tmp_path: Path) -> None:
    net, pruned, *_ = CASES[case]
    reloaded(checked(shaken(net), without(net, pruned)), shaken(copy.deepcopy(net), 1), tmp_path)


@pytest.mark.parametrize("place", ["cpu", "meta"])
def test_a_unet_with_scattered_channels_reads_back(place: str, tmp_path: Path) -> None:
    small = slim(net := unet(4), scattered(net, 0.4, "conv_out"), (IMAGES, STEPS))
    with torch.device(place):
        fresh = type(net)(**net.config)
    reloaded(small, fresh, tmp_path, (IMAGES, STEPS))
    assert small.report.parameters_after == sum(param.numel() for param in fresh.parameters())
    assert small.report.parameters_after < small.report.parameters_before


def test_new_biases_shared_weights_other_types_and_later_training_are_kept(tmp_path: Path) -> None:
    def fresh() -> Any:
        net = Net(lambda m, x: m.b(m.a(x).relu()) + m.c(m.a(x).relu()), a=nn.Linear(3, 4),
                  b=nn.Linear(4, 2, bias=False), c=nn.Linear(4, 2))  # fmt: skip
        net["d"] = nn.Linear(4, 2)  # unused
        net["d"].weight = net["c"].weight
        net.register_buffer("count", torch.tensor(7), persistent=False)
        return shaken(net)

    net = fresh()
    net["a"].bias.data[1] = 0.7
    net["c"].weight.requires_grad_(False)[:, 1] = 0
    small = slim(net, without(net, {"a.weight": (0, [1])}), (IMAGES[0, :, 0].T,))
    assert small.model["b"].bias is not None
    with torch.no_grad():
        small.model["a"].weight.mul_(1.5)
    small.model.count += 1
    small.model.double()
    target = fresh()
    target["c"].weight.requires_grad_(False)
    again = reloaded(small, target, tmp_path, (IMAGES[0, :, 0].T.double(),))
    assert again["d"].weight is again["c"].weight
    assert (again["a"].out_features, again.count.item(), again["b"].bias.dtype) == (3, 8, torch.float64)


def conv(padding: int = 1, inner: int = 4, act: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, inner, 3, padding=padding), act or nn.ReLU(), nn.Conv2d(inner, 2, 1))


def slimmed(net: nn.Module) -> Slim:
    return slim(net, without(net, {"2.weight": (1, [1])}), (IMAGES,))


OTHERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "class": (lambda: conv(act=nn.SiLU()), r"found '1' of class SiLU; expected '1' of class ReLU"),
    "size": (lambda: conv(inner=5), r"found '0.weight' of shape \[5, 3, 3, 3\]; expected '0.weight' of shape \[4, "),
    "already slim": (
        lambda: slimmed(conv()).model,
        r"found '0.weight' of shape \[3, 3, 3, 3\]; expected '0.weight' of",
    ),
    "setting": (lambda: conv(padding=0), r"found '0.padding' = \[0, 0\]; expected '0.padding' = \[1, 1\]"),
    "module missing": (lambda: conv()[:2], r"found no '2'; expected a '2'"),
    "tensor too many": (lambda: conv(act=nn.PReLU()), r"found '1' of class PReLU"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_module_is_refused_and_left_as_it_is(other: str, tmp_path: Path) -> None:
    other_one, message = OTHERS[other]
    save(slimmed(conv()), tmp_path)
    before = copy.deepcopy(module := other_one().train())
    with pytest.raises(TicketError, match=rf"^Sequential for .*{message}.* Nothing was loaded; build the model with"):
        load(tmp_path, module)
    assert (repr(module), module.training) == (repr(before), True)
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in module.state_dict().items())


def test_another_diffusers_config_is_refused(tmp_path: Path) -> None:
    net = unet(8)
    save(slim(net, {}, (IMAGES, STEPS)), tmp_path)
    with pytest.raises(TicketError, match=r"found 'config\.flip_sin_to_cos' = False; expected .* = True"):
        load(tmp_path, type(net)(**{**net.config, "flip_sin_to_cos": False}))


def test_damage_is_refused(tmp_path: Path) -> None:
    folder = save(slimmed(conv()), tmp_path / "new" / "folder")
    tensors, manifest = folder / "slim.safetensors", folder / "slim.json"
    whole, text = tensors.read_bytes(), manifest.read_text(encoding="utf-8")
    for place, content, message in (
        (tensors, whole[:-1] + bytes([whole[-1] ^ 1]), "sha256 .*Bytes were altered"),
        (tensors, whole[:-1], f"{len(whole) - 1} bytes; expected {len(whole)}"),
        (manifest, text.replace('"0.out_channels": 3', '"0.out_channels": 2'), "It was altered"),
        (manifest, text[:-9], "no json"),
        (manifest, json.dumps(json.loads(text) | {"kind": "lottery-ticket"}), "This is not a slimmed network"),
    ):
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(TicketError, match=message):
            load(folder, conv())
        tensors.write_bytes(whole)
        manifest.write_text(text, encoding="utf-8")
    assert load(folder, conv())[0].out_channels == 3
    tensors.unlink()
    with pytest.raises(TicketError, match="no such file"):
        load(folder, conv())


def test_a_pruned_unet_samples_from_the_folder_in_a_diffusers_pipeline(tmp_path: Path) -> None:
    net = shaken(build("ddpm", "tiny"))
    masks = Masks.dense(dict(net.named_parameters()))
    for name, mask in masks.items():
        if name.endswith("conv2.weight"):
            mask[:, mask.shape[1] // 2 :] = False  # half of the groups within every block
    dense = copy.deepcopy(net)
    with torch.no_grad():
        for name, mask in masks.items():
            dense.get_parameter(name).mul_(mask)
    small = slim(net, masks, (torch.zeros(2, 1, 8, 8), STEPS))
    again = load(save(small, tmp_path), build("ddpm", "tiny"))
    assert small.report.parameters_after < 0.7 * small.report.parameters_before

    def sampled(unet: Any) -> Tensor:
        pipeline = diffusers.DDPMPipeline(unet=unet, scheduler=diffusers.DDPMScheduler())
        pipeline.set_progress_bar_config(disable=True)
        draw = torch.Generator().manual_seed(0)
        return torch.tensor(pipeline(2, draw, num_inference_steps=2, output_type="np").images)

    assert torch.equal(sampled(again), sampled(small.model))
    torch.testing.assert_close(sampled(again), sampled(dense), rtol=0, atol=1e-5)
    assert (sampled(again) - sampled(net)).abs().max() > 1e-2  # the masks do something


def test_where_a_diffusers_config_can_say_the_sizes_the_library_alone_loads_the_result(tmp_path: Path) -> None:
    def sized(width: int, groups: int) -> Any:
        return shaken(diffusers.UNet2DModel(
            8, 3, 3, block_out_channels=(width, width), norm_num_groups=groups, layers_per_block=1, act_fn="silu",
            attention_head_dim=4, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"), time_embedding_type="learned", num_train_timesteps=1000,
        ))  # fmt: skip

    net, smaller = sized(16, 8), sized(8, 4)
    masks = Masks.dense(dict(net.named_parameters()))
    for name, mask in masks.items():  # channels 4 to 7 of every 8 go: whole groups and heads, in joined streams too
        for dim, size in enumerate(smaller.get_parameter(name).shape):
            if size < mask.shape[dim]:
                mask.index_fill_(dim, (torch.arange(mask.shape[dim]) % 8 > 3).nonzero()[:, 0], False)
    small = checked(net, masks, (IMAGES, STEPS))
    smaller.load_state_dict(small.model.state_dict(), strict=True)
    smaller.save_pretrained(tmp_path)
    read = diffusers.UNet2DModel.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(read(IMAGES, STEPS).sample, small.model(IMAGES, STEPS).sample)


@pytest.mark.parametrize(
    ("kind", "more"),
    [("GCN", {}), ("GCN", {"norm": "batch", "jk": "cat"}), ("GCN", {"jk": "max"}), ("GraphSAGE", {}),
     ("GraphSAGE", {"aggr": "max"}), ("GIN", {}), ("GIN", {"norm": "batch"})],
)  # fmt: skip
def test_graph_networks_load_into_their_class_with_fewer_hidden_channels(
    kind: str, more: dict[str, str], tmp_path: Path
) -> None:
    def sized(hidden: int) -> Any:
        return shaken(getattr(basic_gnn, kind)(3, hidden, 3, 4, **more))

    net, smaller, dead = sized(8), sized(5), torch.tensor([1, 4, 6])
    masks = Masks.dense(dict(net.named_parameters()))
    for name, mask in masks.items():
        for dim, size in enumerate(smaller.get_parameter(name).shape):
            if size < mask.shape[dim]:  # joined layers repeat the pattern
                places = (torch.arange(mask.shape[dim])[:, None] % 8 == dead).any(1)
                mask.index_fill_(dim, places.nonzero()[:, 0], False)
    edges = torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 2]])
    nodes = torch.linspace(-2, 2, 15).sin().reshape(5, 3)
    small = checked(net, masks, (nodes, edges))
    smaller.load_state_dict(small.model.state_dict(), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(smaller(nodes, edges), small.model(nodes, edges), rtol=0, atol=1e-5)
        denser = torch.cat([edges, edges.flip(0)[:, :2]], 1)  # another number of edges than at export
        torch.testing.assert_close(smaller(nodes, denser), small.model(nodes, denser), rtol=0, atol=1e-5)
    reloaded(small, sized(8), tmp_path, (nodes, edges))

"""`slim`: what goes on small nets, worked out by hand; equality with the masked dense model everywhere."""

import copy
import random
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import common  # noqa: F401  keeps torchvision importable, which diffusers imports
from common.masks import Masks
from common.sparse.slim import Report, Slim, slim

IMAGES = torch.linspace(-2, 2, 2 * 3 * 64).sin().reshape(2, 3, 8, 8)
AT = torch.tensor([0, 1])


class Net(nn.ModuleDict):
    def __init__(self, run: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__(layers)
        self.run = run

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.run(self, *inputs)


def shaken(model: nn.Module, seed: int = 0) -> Any:
    """The model in eval mode with random weights, and scales, biases and statistics far from neutral."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in chain(model.named_parameters(), model.named_buffers()):
            if tensor.is_floating_point():
                tensor.normal_(0, 1 if tensor.dim() < 2 else (1.5 / tensor[0].numel()) ** 0.5, generator=draw)
                tensor.abs_().add_(0.5) if "var" in name else None
    return model.eval()


def without(model: nn.Module, pruned: Mapping[str, Any]) -> Masks:
    """Masks from parameter name to the dimension and the indices along it that are pruned, or to what is kept."""
    masks = Masks({name: torch.ones_like(model.get_parameter(name), dtype=torch.bool) for name in pruned})
    for name, given in pruned.items():
        dim, index = given if isinstance(given, tuple) else (0, [])
        masks[name] = masks[name].index_fill_(dim, torch.tensor([*index]), 0) if index else torch.tensor(given)
    return masks


def scattered(model: nn.Module, share: float, outputs: str) -> Masks:
    """Masks that drop a share of the indices of the first two dimensions of all parameters but one layer's rows."""
    draw, masks = torch.Generator().manual_seed(1), Masks.dense(dict(model.named_parameters()))
    for name, mask in masks.items():
        for dim in range(name.startswith(outputs), min(mask.dim(), 2)):
            mask.index_fill_(dim, (torch.rand(mask.shape[dim], generator=draw) < share).nonzero()[:, 0], False)
    return masks


def checked(model: nn.Module, masks: Mapping[str, Tensor], inputs: tuple[Tensor, ...] = (IMAGES,)) -> Slim:
    """`slim`, after checking that outputs equal the masked model's, also on other inputs, and the weights load."""
    dense = copy.deepcopy(model).eval()
    small = slim(model, masks, inputs)
    with torch.no_grad():
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in dense.state_dict().items())
        for name, mask in masks.items():
            dense.get_parameter(name).mul_(mask)
        for given in (inputs, (inputs[0].flip(0) * 2, *inputs[1:])):
            expected, found = (getattr(y, "sample", y) for y in (dense(*given), small.model(*given)))
            assert expected.abs().max() > 1e-3
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    copy.deepcopy(small.model).load_state_dict(small.model.state_dict())
    for name, indices in small.kept.items():
        assert [len(index) for index in indices] == list(small.model.state_dict()[name].shape)
    return small


def kept(small: Slim, name: str, dim: int = 0) -> list[int]:
    return small.kept[name][dim].tolist()


def test_dense_masks_change_nothing() -> None:
    net = shaken(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)))
    small = checked(net, Masks.dense(dict(net.named_parameters())))
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in small.model.state_dict().items())
    assert (repr(small.model), small.report.macs_after) == (repr(net), small.report.macs_before)


CASES: dict[str, tuple[nn.Module, dict[str, Any], dict[str, list[int]], dict[str, Any]]] = {
    "units of an MLP that nobody reads, and those that feed only them": (
        nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 2)),
        {"4.weight": (1, [1, 2]), "2.weight": [[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 1, 0], [0, 1, 0, 0]]},
        {"0.weight": [0, 1], "2.weight": [0, 3]},
        {"report": Report(36 + 16 + 10, 18 + 4 + 6, 48 * (32 + 16 + 8), 48 * (16 + 4 + 4))},
    ),
    "a residual channel goes when nobody reads any of its summands": (
        Net(lambda m, x: m.head(m.act(m.norm(m.conv(x := m.stem(x)))) + x), stem=nn.Conv2d(3, 4, 1),
            conv=nn.Conv2d(4, 4, 3, padding=1), norm=nn.BatchNorm2d(4), act=nn.ReLU(True), head=nn.Conv2d(4, 2, 3)),
        {"head.weight": (1, [1, 2]), "conv.weight": (1, [2])},  # conv still reads the stem's channel 1
        {"stem.weight": [0, 1, 3], "conv.weight": [0, 1, 3], "norm.running_var": [0, 1, 3]},
        {"model.conv.in_channels": 3, "model.norm.num_features": 3, "model.head.in_channels": 3},
    ),
    "concatenated channels go by their place": (
        Net(lambda m, x: m.head(functional.max_pool2d(torch.cat([m.a(x), m.b(x)], 1), 2)),
            a=nn.Conv2d(3, 2, 1), b=nn.Conv2d(3, 3, 1), head=nn.Conv2d(5, 2, 3, padding=1)),
        {"head.weight": (1, [0, 3, 4])}, {"a.weight": [1], "b.weight": [0]}, {"model.head.in_channels": 2},
    ),
    "a dead group goes and a half dead one stays": (
        nn.Sequential(nn.Conv2d(3, 6, 1), nn.GroupNorm(3, 6), nn.SiLU(), nn.Conv2d(6, 2, 3)),
        {"3.weight": (1, [0, 1, 2])}, {"0.weight": [2, 3, 4, 5]}, {"model.1.num_groups": 2, "model.1.num_channels": 4},
    ),
    "depthwise channels go with their source": (
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 2, 1)),
        {"2.weight": (1, [0, 1, 3])}, {"0.weight": [1, 2, 3], "1.weight": [2, 3, 4, 5, 6, 7]},  # 2, 3 are made from 1
        {"model.1.groups": 3, "model.1.in_channels": 3},
    ),
    "maps flatten and unflatten by whole channels": (
        nn.Sequential(nn.Conv2d(3, 3, 3), nn.PReLU(3), nn.Flatten(), nn.Linear(108, 16), nn.Unflatten(1, (4, 2, 2)),
                      nn.ConvTranspose2d(4, 4, 2, stride=2, bias=False), nn.GLU(1), nn.Conv2d(2, 1, 1)),
        {"3.weight": (1, range(36, 72)), "5.weight": (0, [2]), "7.weight": (1, [0])},
        {"0.weight": [0, 2], "3.weight": [*range(8), *range(12, 16)]}, {"model.4.unflattened_size": (3, 2, 2)},
    ),
    "operations without a rule pin and are reported": (
        Net(lambda m, x: m.c(m.b(m.a(x).cumsum(1)).tanh()), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 4, 1, groups=2),
            c=nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))),
        {"b.weight": (1, [0]), "c.0.weight": (1, [1, 3]), "c.1.weight": (1, [3])},
        {"a.weight": [0, 1, 2, 3], "b.weight": [0, 1, 2, 3], "c.0.weight": [0, 1, 2]},
        {"report.pinned": ("aten.cumsum", "grouped convolution")},
    ),
    "constants pass norms": (
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)),
        {"0.weight": (0, [0, 1])}, {"0.weight": [2, 3]}, {"model.1.num_groups": 1},
    ),
    "messages along edges, and a tensor written in place": (  # the bias of 2 is below zero
        Net(lambda m, x: (y := m.a(x), y.relu_(), m.b(y + torch.zeros_like(y).index_add_(0, AT[:1], y[AT[1:]])))[-1],
            a=nn.Linear(8, 4), b=nn.Linear(4, 2)),
        {"a.weight": (0, [2]), "b.weight": (1, [3])}, {"a.weight": [0, 1]}, {"report.pinned": ()},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_goes(case: str) -> None:
    net, pruned, rows, attributes = CASES[case]
    small = checked(shaken(net), without(net, pruned))
    assert {name: kept(small, name) for name in rows} == rows
    assert {path: attrgetter(path)(small) for path in attributes} == attributes


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("padding", "left"), [(0, [2]), (1, [0, 2])])
def test_a_constant_moves_to_the_bias_unless_padding_forbids(bias: bool, padding: int, left: list[int]) -> None:
    net = shaken(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 3, padding=padding, bias=bias)))
    net[0].bias.data[:2] = torch.tensor([0.7, -0.7])  # after ReLU the constants 0.7 and 0
    small = checked(net, without(net, {"0.weight": (0, [0, 1])}))
    assert (kept(small, "2.weight", 1), small.model[2].bias is not None) == (left, bias or not padding)


@pytest.mark.parametrize("literal", [True, False], ids=["fails", "silently mixes"])
def test_a_forward_with_sizes_of_its_own_keeps_them(literal: bool) -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.b((y := m.a(x)).view(len(y), 2, 4 if literal else y.shape[1] // 2).transpose(1, 2).flatten(1))

    net = shaken(Net(run, a=nn.Linear(3, 8), b=nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))))
    masks = without(net, {"a.weight": (0, range(4)), "a.bias": (0, range(4)), "b.1.weight": (1, [0])})
    small = checked(net, masks, (torch.randn(8, 3),))
    assert (kept(small, "a.weight"), kept(small, "b.0.weight")) == ([*range(8)], [1, 2, 3])
    assert small.report.pinned == ("Net.forward",)


def unet(groups: int) -> nn.Module:
    from diffusers import UNet2DModel

    return shaken(UNet2DModel(
        8, 3, 3, block_out_channels=(16, 32), norm_num_groups=groups, layers_per_block=1, attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ))  # fmt: skip


@pytest.mark.parametrize("groups", [4, 8])
def test_a_unet_with_scattered_channels(groups: int) -> None:
    small = checked(net := unet(groups), scattered(net, 0.4, "conv_out"), (IMAGES, torch.tensor([3, 700])))
    assert small.report.parameters_after < 0.97 * small.report.parameters_before
    assert (type(small.model), small.report.pinned) == (type(net), ())


def test_a_unet_loses_whole_groups_heads_and_residual_channels() -> None:
    net, stream = unet(8), ("down_blocks.1.attentions", "mid_block", "up_blocks.0")
    readers = ("conv1", "conv_shortcut", "to_q", "to_k", "to_v", "0.conv")
    masks = Masks.dense(dict(net.named_parameters()))
    for name, mask in masks.items():
        if name.endswith("conv2.weight"):
            mask[:, : mask.shape[1] // 2] = False  # half of the groups within every block
        elif name.endswith("to_out.0.weight"):
            mask[:, 8:24] = False  # two of four heads
        elif name.startswith(stream) and name.endswith(tuple(f"{reader}.weight" for reader in readers)):
            mask[:, 24:32] = mask[:, 56:] = False  # two groups of the innermost residual stream, and again as a skip
    small = checked(net, masks, (IMAGES, torch.tensor([3, 700])))
    assert small.report.parameters_after < 0.7 * small.report.parameters_before
    assert small.report.macs_after < 0.7 * small.report.macs_before
    assert kept(small, "down_blocks.1.resnets.0.conv2.weight") == [*range(24)]
    assert kept(small, "up_blocks.0.resnets.1.conv2.weight") == [*range(24)]
    attention, block = small.model.mid_block.attentions[0], small.model.down_blocks[0].resnets[0]
    assert (attention.heads, attention.inner_dim, attention.query_dim) == (2, 16, 24)
    assert (block.norm2.num_groups, block.norm2.num_channels, block.time_emb_proj.out_features) == (4, 8, 8)


def tokens(size: int, m: Any, x: Tensor) -> Tensor:
    parts = m.f(x.flatten(2).transpose(1, 2)).chunk(3, -1)
    heads = [t.unflatten(2, (-1, size)).transpose(1, 2) for t in parts]
    return x + functional.scaled_dot_product_attention(*heads).transpose(2, 3).flatten(1, 2).unflatten(2, x.shape[2:])


def random_net(draw: random.Random) -> nn.Module:
    blocks, c = [nn.Conv2d(3, 6, 1)], 6
    for _ in range(draw.randint(3, 7)):
        acts = [nn.ReLU(inplace=True), nn.SiLU(), nn.LeakyReLU(), nn.AvgPool2d(3, 1, 1), nn.MaxPool2d(3, 1, 1)]
        wide, conv = draw.choice([4, 6]), partial(nn.Conv2d, c, kernel_size=draw.choice([1, 3]), padding="same")
        plain, group = nn.Sequential(conv(c), draw.choice(acts)), nn.GroupNorm(c // 2 if c % 2 == 0 else c, c)
        block, c = draw.choice([
            (nn.Sequential(conv(wide, bias=draw.random() < 0.7), draw.choice(acts)), wide),
            (nn.Sequential(draw.choice([nn.BatchNorm2d(c), group, conv(c, groups=c)]), draw.choice(acts)), c),
            (Net(lambda m, x: m.f(x) + x, f=plain), c),
            (Net(lambda m, x: torch.cat([x, m.f(x)], 1), f=plain), 2 * c),
            (Net(lambda m, x: x * m.f(x.mean((2, 3)))[:, :, None, None], f=nn.Linear(c, c)), c),
            (Net(lambda m, x: x * m.f((p := x.mean((2, 3)))[..., None].mul(p[:, None]).flatten(1))[..., None, None],
                 f=nn.Linear(c * c, c)), c),
            (Net(lambda m, x: x - x.mean(1, keepdim=True)), c),
            (Net(lambda m, x: functional.glu(m.f(x), 1), f=conv(2 * c)), c),
            (Net(lambda m, x: x * m.f(x).chunk(2, 1)[1].tanh(), f=conv(2 * c)), c),
            (Net(partial(tokens, draw.choice([2, c])), f=nn.Linear(c, 3 * c)), c),
        ])  # fmt: skip
        blocks.append(block)
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 3))


@pytest.mark.parametrize("seed", range(40))
def test_random_nets_with_random_channel_masks(seed: int) -> None:
    net = shaken(random_net(draw := random.Random(seed)), seed)
    small = checked(net, scattered(net, draw.choice([0.2, 0.4, 0.6]), f"{len(net) - 1}."))
    assert small.report.pinned == ()  # nothing had to be taken back


def test_what_cannot_be_slimmed_says_so() -> None:
    with pytest.raises(KeyError, match=r"no parameter 'wieght'; the nearest is 'weight'"):
        slim(nn.Linear(2, 2), {"wieght": torch.ones(2, 2)}, (torch.ones(1, 2),))
    with pytest.raises(ValueError, match=r"Net cannot be exported .*expected a forward without control flow"):
        slim(Net(lambda m, x: m.a(x if x.sum() > 0 else -x), a=nn.Linear(2, 2)), {}, (torch.ones(1, 2),))

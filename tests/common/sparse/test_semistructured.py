"""2:4 models: equal to the masked dense model, small, packed again when they move, and named when they cannot be."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.sparse import SparseSemiStructuredTensorCUSPARSELT

from common.allocate import prune, uniform
from common.masks import Masks, prunable
from common.scores import magnitude
from common.sparse.semistructured import Cuda, SemiConv2d, SemiLinear, TwoOfFour, semistructured
from common.structure import n_of_m
from common.ticket import Ticket, TicketError
from gen_tickets.models import build

PAIR = torch.tensor([True, False, True, False])


class Plain:
    """In the place of torch's tensor class: its limits, and the dense matrix for a packed one."""

    _DTYPE_SHAPE_CONSTRAINTS = SparseSemiStructuredTensorCUSPARSELT._DTYPE_SHAPE_CONSTRAINTS

    @classmethod
    def from_dense(cls, matrix: Tensor) -> Tensor:
        return matrix


def masks_of(model: nn.Module, n: int = 2, m: int = 4) -> Masks:
    """The engine's masks of every weight whose rows it can group."""
    params = {name: p for name, p in prunable(model).items() if p[0].numel() % m == 0}
    return prune(magnitude(model, params), n / m, allocate=uniform, structure=n_of_m(n, m))


def masked(model: nn.Module, masks: Masks) -> Any:
    dense = copy.deepcopy(model).eval()
    with torch.no_grad():
        for name, mask in masks.items():
            (param := dense.get_parameter(name)).mul_(mask.to(param.device))
    return dense


def unet() -> tuple[Any, Masks, tuple[Tensor, Tensor]]:
    """The tiny U-Net, its 2:4 masks, and inputs of an odd batch."""
    torch.manual_seed(0)
    model = build("ddpm", "tiny").eval()
    return model, masks_of(model), (torch.randn(3, 1, 8, 8), torch.tensor([0, 500, 999]))


@torch.no_grad()
def test_a_u_net_pruned_by_the_engine() -> None:
    model, masks, inputs = unet()
    before = copy.deepcopy(model.state_dict())
    semi = semistructured(model, masks)
    expected, found = masked(model, masks)(*inputs).sample, semi.model(*inputs).sample
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (expected - model(*inputs).sample).abs().max() > 1e-2
    assert {name for name, entry in semi.report.items() if entry["form"] == "2:4"} == set(masks)
    assert [name for name, entry in semi.report.items() if entry["form"] == "dense"] == ["conv_in.weight"]
    assert sum(isinstance(m, SemiLinear | SemiConv2d) for m in semi.model.modules()) == len(masks)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@torch.no_grad()
def test_a_u_net_in_bfloat16_through_torchs_limits() -> None:
    model, masks, (x, time) = unet()
    semi = semistructured(model, masks, dtype=torch.bfloat16, backend=Cuda(Plain))
    assert semi.report["conv_out.weight"]["reason"].startswith("its matrix is 1 x 144; this back-end takes multiples")
    expected, found = masked(model, masks)(x, time).sample, semi.model(x.bfloat16(), time).sample
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).abs().max() < 0.03 * expected.abs().max()


@torch.no_grad()
def test_torch_compiles_the_layers_in_one_graph() -> None:
    net = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(32, 5))
    semi, x = semistructured(net, masks_of(net)).model, torch.randn(3, 4, 4, 4)
    quick = torch.compile(semi, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(quick(x), semi(x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_sparse_tensor_cores(dtype: torch.dtype) -> None:
    net = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 96, 1), nn.Flatten(2), nn.Linear(64, 32))
    masks, x = masks_of(net), torch.randn(3, 64, 8, 8)
    semi: Any = semistructured(net.to("cuda"), masks, dtype=dtype)
    assert {entry["form"] for entry in semi.report.values()} == {"2:4"}
    assert {type(semi.model[i]._backend) for i in (0, 1, 3)} == {Cuda}
    expected, given = masked(net, masks)(x.to("cuda")), x.to("cuda", dtype)
    for model in (semi.model, copy.deepcopy(semi.model), torch.compile(semi.model)):
        assert (model(given).float() - expected).abs().max() < 0.02 * expected.abs().max()


def test_size_of_what_is_held() -> None:
    semi = semistructured(layer := nn.Linear(256, 64, bias=False), masks_of(layer), dtype=torch.bfloat16)
    held = sum(tensor.nbytes for tensor in semi.model.state_dict().values())
    assert held == 64 * 256 * 9 // 8
    assert list(semi.model.state_dict()) == ["values", "positions"]
    assert list(semi.model.parameters()) == []


def test_state_dict_saves_and_loads() -> None:
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Unflatten(1, (4, 2, 2)), nn.Conv2d(4, 3, 2))
    other = copy.deepcopy(net)
    other.apply(lambda m: m.reset_parameters() if isinstance(m, nn.Linear | nn.Conv2d) else None)
    source, target = (semistructured(model, masks_of(model)).model for model in (net, other))
    x, file = torch.randn(5, 8), io.BytesIO()
    assert not torch.allclose(source(x), target(x))
    torch.save(source.state_dict(), file)
    file.seek(0)
    target.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(source(x), target(x))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        target.load_state_dict(net.state_dict())


def test_a_layer_is_packed_again_when_it_changes() -> None:
    layer, x = nn.Linear(16, 16), torch.randn(8, 16)
    small: Any = semistructured(layer, masks_of(layer), dtype=torch.float16, backend=Cuda(Plain)).model
    assert isinstance(small._packed, Tensor)
    twin = copy.deepcopy(small)
    small.load_state_dict({name: tensor * 0 for name, tensor in small.state_dict().items()})
    assert small(x.half()).eq(0).all()
    assert twin(x.half()).ne(0).any()
    twin.double()  # which this back-end does not take
    torch.testing.assert_close(twin(x.double()), masked(layer, masks_of(layer))(x).double(), rtol=1e-2, atol=1e-2)
    assert torch.equal(twin.weight, TwoOfFour(twin.values, twin.positions).dense())


def test_what_stays_dense_is_named_and_still_masked() -> None:
    class Special(nn.Linear):
        pass

    hooked = nn.Linear(4, 4)
    hooked.register_forward_hook(lambda *_: None)
    net = nn.ModuleDict({
        "three": nn.Linear(4, 4), "odd": nn.Linear(6, 4), "grouped": nn.Conv2d(8, 4, 1, groups=2),
        "free": nn.Linear(4, 4), "table": nn.Embedding(3, 4), "special": Special(4, 4), "hooked": hooked,
        "fine": nn.Linear(4, 4), "one": nn.Conv1d(4, 4, 1),
    })  # fmt: skip
    pair = torch.tensor([True, False, True, False])
    masks = {f"{name}.weight": pair.view(1, 4).expand(4, 4) for name in ("special", "hooked", "fine")}
    masks |= {"three.weight": torch.tensor([[True, True, True, False]]).expand(4, 4)}
    masks |= {"odd.weight": torch.eye(4, 6).bool(), "grouped.weight": pair.view(1, 4, 1, 1).expand(4, 4, 1, 1)}
    masks |= {"table.weight": pair.expand(3, 4), "one.weight": pair.view(1, 4, 1).expand(4, 4, 1), "fine.bias": pair}
    semi = semistructured(net, masks)
    assert {name: entry.get("reason", entry["form"]) for name, entry in semi.report.items()} == {
        "three.weight": "its mask keeps 3 of 4 consecutive entries; at most 2 can stay",
        "odd.weight": "its rows of 6 entries are no multiple of 4",
        "grouped.weight": "its convolution has 2 groups; only those of one can be 2:4",
        "free.weight": "it has no mask",
        "table.weight": "it is the weight of Embedding; only weights of Linear and Conv2d can be 2:4",
        "special.weight": "it is the weight of Special; only weights of Linear and Conv2d can be 2:4",
        "hooked.weight": "its layer has hooks",
        "fine.weight": "2:4",
        "fine.bias": "it is the bias of Linear; only weights of Linear and Conv2d can be 2:4",
        "one.weight": "it is the weight of Conv1d; only weights of Linear and Conv2d can be 2:4",
    }
    assert semi.report["three.weight"]["density"] == 0.75
    left = dict(semi.model.named_parameters())
    assert all(left[name][~mask].eq(0).all() for name, mask in masks.items() if name in left)


def test_a_ticket_and_masks_of_another_kind() -> None:
    layer = nn.Linear(8, 4)
    ticket = Ticket(masks_of(layer), layer.state_dict())
    assert semistructured(layer, ticket).report == {"weight": {"form": "2:4", "density": 0.5}}
    assert semistructured(layer, masks_of(layer, 1, 4)).report["weight"] == {"form": "2:4", "density": 0.25}
    assert semistructured(layer, masks_of(layer, 4, 8)).report["weight"]["form"] == "dense"
    with pytest.raises(TicketError, match="a ticket for another model"):
        semistructured(nn.Linear(8, 5), ticket)


def test_shared_layers_and_shared_weights() -> None:
    first, tied, table = nn.Linear(4, 4), nn.Linear(4, 4), nn.Embedding(4, 4)
    tied.weight = first.weight
    net = nn.Sequential(first, nn.ReLU(), first, tied)
    semi: Any = semistructured(net, masks := {"3.weight": PAIR.expand(4, 4)})
    assert semi.model[0] is semi.model[2]
    assert {name: entry["form"] for name, entry in semi.report.items()} == dict.fromkeys(
        ["0.weight", "2.weight", "3.weight"], "2:4"
    )
    x = torch.randn(2, 4)
    torch.testing.assert_close(semi.model(x), masked(net, Masks(masks))(x))
    table.weight = first.weight
    report = semistructured(nn.ModuleList([table, first]), {"1.weight": PAIR.expand(4, 4)}).report
    assert report["1.weight"]["reason"].startswith("it is the weight of Embedding")


def test_autocast_may_change_the_type_of_inputs() -> None:
    layer, x = nn.Linear(16, 8), torch.randn(4, 16)
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", torch.bfloat16):
            for given in (x, x.bfloat16()):
                found = semistructured(layer, masks_of(layer), dtype=dtype).model(given)
                torch.testing.assert_close(found, masked(layer, masks_of(layer))(x), check_dtype=True)


def test_bad_input() -> None:
    layer = nn.Linear(4, 4)
    masks = {"weight": PAIR.expand(4, 4)}
    with pytest.raises(TypeError, match="found a list; expected a Ticket, or masks by the names"):
        semistructured(layer, [PAIR])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"found dtype=torch\.int8; expected one of torch\.float16"):
        semistructured(layer, masks, dtype=torch.int8)
    with pytest.raises(KeyError, match="no parameter 'wieght'; the nearest is 'weight'"):
        semistructured(layer, {"wieght": PAIR})
    with pytest.raises(ValueError, match=r"the mask of 'weight' has shape \(4,\), the parameter \(4, 4\)"):
        semistructured(layer, {"weight": PAIR})
    small = semistructured(layer, masks).model
    with pytest.raises(ValueError, match=r"an input of shape \(2, 8\); expected 4 features"):
        small(torch.ones(2, 8))
    with pytest.raises(ValueError, match=r"found an input of torch\.float64 on cpu; expected torch\.float32 on cpu"):
        small(torch.ones(2, 4).double())
    conv = nn.Conv2d(4, 2, 1)
    with pytest.raises(ValueError, match=r"found an input of shape \(4, 1\); expected \(N, C, H, W\)"):
        semistructured(conv, masks_of(conv)).model(torch.ones(4, 1))

"""2:4 layers alone: the compressed form, equality with masked layers, and the contract of who multiplies."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.sparse import SparseSemiStructuredTensorCUSPARSELT, SparseSemiStructuredTensorCUTLASS
from torch.sparse._semi_structured_conversions import sparse_semi_structured_from_dense_cutlass

from common.allocate import prune, uniform
from common.masks import Masks, prunable
from common.scores import magnitude
from common.sparse.semistructured import Cuda, Emulated, TwoOfFour, semistructured
from common.structure import n_of_m

HALF = (torch.float16, torch.bfloat16)


def masks_of(model: nn.Module) -> Masks:
    return prune(magnitude(model, prunable(model)), 0.5, allocate=uniform, structure=n_of_m(2, 4))


def masked(model: nn.Module, masks: Masks) -> Any:
    dense = copy.deepcopy(model).eval()
    with torch.no_grad():
        for name, mask in masks.items():
            dense.get_parameter(name).mul_(mask)
    return dense


def same(model: nn.Module, x: Tensor, **options: Any) -> nn.Module:
    """The 2:4 model, after comparing it with the masked dense one in double precision."""
    model = model.double()
    masks = masks_of(model)
    semi = semistructured(model, masks, **options)
    expected, found = masked(model, masks)(x.double()), semi.model(x.double())
    assert {entry["form"] for entry in semi.report.values()} == {"2:4"}
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    return semi.model


def test_the_compressed_form_by_hand() -> None:
    weight = torch.tensor([[1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]])
    mask = torch.tensor([[1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1]]).bool()
    small = TwoOfFour.of(weight, mask)
    assert small.values.tolist() == [[1, 4, 6, 7, 9, 10], [0, 0, 1 * 0, 4, 7, 8]]
    first, second = [0 | 3 << 2 | (1 | 2 << 2) << 4, 0 | 1 << 2], [0 | 1 << 2 | (0 | 3 << 2) << 4, 2 | 3 << 2]
    assert small.positions.tolist() == [first, second]
    assert torch.equal(small.dense(), weight * mask)
    assert small.shape == (2, 12)


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 2), st.sampled_from([*HALF, torch.float32]))
def test_round_trip_of_values_and_positions(rows: int, groups: int, kept: int, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(rows * 100 + groups * 10 + kept)
    weight = torch.randn(rows, 4 * groups, generator=draw).to(dtype)
    mask = (torch.rand(rows, groups, 4, generator=draw).argsort(-1) < kept).flatten(1)
    small = TwoOfFour.of(weight, mask)
    assert torch.equal(small.dense(), weight * mask)
    assert (small.values.shape, small.values.dtype) == ((rows, 2 * groups), dtype)
    assert (small.positions.shape, small.positions.dtype) == ((rows, -(-groups // 2)), torch.uint8)


def test_values_are_those_that_torch_compresses_for_cutlass() -> None:
    weight = torch.randn(64, 128).bfloat16()
    mask = prune({"w": weight.abs()}, 0.5, structure=n_of_m(2, 4))["w"]
    small = TwoOfFour.of(weight, mask)
    assert torch.equal(sparse_semi_structured_from_dense_cutlass(small.dense())[0], small.values)


def test_pruned_entries_need_not_be_finite() -> None:
    layer = nn.Linear(4, 2)
    nn.init.constant_(layer.weight[:, 0].detach(), float("nan"))
    semi = semistructured(layer, {"weight": torch.tensor([[0, 1, 0, 1]]).expand(2, 4)})
    assert semi.model(torch.ones(1, 4)).isfinite().all()


@pytest.mark.parametrize("shape", [(12,), (1, 12), (7, 12), (8, 12), (3, 5, 12), (0, 12), (2, 0, 12)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_equals_the_masked_layer(shape: tuple[int, ...], bias: bool) -> None:
    layer, x = nn.Linear(12, 5, bias=bias).double(), torch.randn(shape).double()
    masks = masks_of(layer)
    found = semistructured(layer, masks).model(x)
    torch.testing.assert_close(found, masked(layer, masks)(x), rtol=1e-10, atol=1e-12)


CONVOLUTIONS = {
    "1x1": {"kernel_size": 1},
    "1x1 strided and padded": {"kernel_size": 1, "stride": 2, "padding": 1, "bias": False},
    "3x3": {"kernel_size": 3},
    "3x3 padded": {"kernel_size": 3, "padding": 1},
    "3x3 strided, padded and dilated": {"kernel_size": 3, "stride": (2, 1), "padding": (2, 1), "dilation": (1, 2)},
    "oblong": {"kernel_size": (1, 3), "stride": (3, 2), "padding": (0, 2), "bias": False},
    "same": {"kernel_size": (2, 3), "padding": "same", "dilation": 2},
    "valid": {"kernel_size": 2, "padding": "valid"},
    "reflected": {"kernel_size": 3, "padding": 2, "padding_mode": "reflect"},
    "circular": {"kernel_size": 3, "padding": (1, 2), "padding_mode": "circular"},
}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("shape", [(3, 8, 9, 7), (8, 6, 5)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_convolution_equals_the_masked_layer(
    options: dict[str, Any], shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    x = torch.randn(shape)
    x = x.contiguous(memory_format=layout) if len(shape) == 4 else x
    conv: Any = nn.Conv2d(8, 6, **options)
    small = same(conv.to(memory_format=layout), x)
    if len(shape) == 4:
        assert small(x.double()).is_contiguous(memory_format=torch.channels_last)


def test_a_pixel_of_a_channels_last_image_is_a_row_without_a_copy() -> None:
    class Watched(Emulated):
        def linear(self, x: Tensor, packed: TwoOfFour, bias: Tensor | None) -> Tensor:
            seen.append(x.data_ptr())
            return super().linear(x, packed, bias)

    seen: list[int] = []
    conv, x = nn.Conv2d(8, 4, 1), torch.randn(2, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    semistructured(conv, masks_of(conv), backend=Watched()).model(x)
    assert seen == [x.data_ptr()]


def test_a_convolution_is_grouped_in_the_order_of_the_engine() -> None:
    conv = nn.Conv2d(4, 1, 2, bias=False)
    nn.init.ones_(conv.weight)
    mask = n_of_m(2, 4)(torch.arange(16.0).view(1, 4, 2, 2))[0] > -torch.inf  # kernel rows of one channel are a group
    assert mask[0, 0].tolist() == [[False, False], [True, True]]
    semi = semistructured(conv, {"weight": mask})
    assert semi.report["weight"] == {"form": "2:4", "density": 0.5}
    assert semi.model(torch.arange(16.0).view(1, 4, 2, 2)).item() == sum(i for i in range(16) if i % 4 > 1)
    across = torch.tensor([True, True, True, False]).view(1, 4, 1, 1).expand(1, 4, 2, 2)  # all of three channels
    assert semistructured(conv, {"weight": across}).report["weight"]["form"] == "dense"


class Strict:
    """In the place of torch's tensor class: its limits, and the dense matrix for a packed one."""

    _DTYPE_SHAPE_CONSTRAINTS = SparseSemiStructuredTensorCUSPARSELT._DTYPE_SHAPE_CONSTRAINTS

    @classmethod
    def from_dense(cls, matrix: Tensor) -> Tensor:
        limits = cls._DTYPE_SHAPE_CONSTRAINTS[matrix.dtype]
        assert matrix.dim() == 2
        assert matrix.is_contiguous()
        assert (len(matrix) % limits.sparse_min_rows, matrix.shape[1] % limits.sparse_min_cols) == (0, 0)
        assert ((matrix.view(len(matrix), -1, 4) != 0).sum(2) <= 2).all()
        return matrix


@pytest.mark.parametrize("dtype", HALF)
def test_the_path_to_torchs_tensors_with_another_class(dtype: torch.dtype) -> None:
    net = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 12, 1), nn.Flatten(2), nn.Linear(48, 32))
    x, masks = torch.randn(3, 16, 6, 8).to(dtype), masks_of(net)
    semi = semistructured(net, masks, dtype=dtype, backend=Cuda(Strict))
    assert [semi.report[f"{i}.weight"]["form"] for i in (0, 1, 3)] == ["2:4", "dense", "2:4"]
    assert semi.report["1.weight"]["reason"] == "its matrix is 12 x 16; this back-end takes multiples of 16 x 16"
    expected = masked(net, masks)(x.float())
    error = (semi.model(x).float() - expected).abs().max() / expected.abs().max()
    assert error < 4 * torch.finfo(dtype).eps  # each of three layers rounds its output


def test_the_limits_are_those_of_torch() -> None:
    for kind in (SparseSemiStructuredTensorCUSPARSELT, SparseSemiStructuredTensorCUTLASS):
        for dtype in HALF:
            rows, columns, *multiples = kind._DTYPE_SHAPE_CONSTRAINTS[dtype]
            assert set(multiples) == {8}
            assert Cuda(kind).refusal((rows, 3 * columns), dtype) == ""
            for shape in ((rows, columns // 2), (rows // 2, columns), (0, columns)):
                assert f"multiples of {rows} x {columns}" in Cuda(kind).refusal(shape, dtype)
    assert "float32; this back-end takes float16 and bfloat16" in Cuda().refusal((64, 64), torch.float32)


@pytest.mark.parametrize("batch", [1, 7, 8, 9])
def test_emulation_keeps_to_the_contract(batch: int) -> None:
    same(nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 32)), torch.randn(batch, 32), backend=Emulated(32))
    weight = TwoOfFour.of(torch.ones(2, 8), torch.tensor([[1, 0, 0, 1] * 2] * 2).bool())
    packed = Emulated().pack(weight)
    for x in (torch.ones(7, 8), torch.ones(8, 8).double(), torch.ones(8, 16)[:, ::2], torch.ones(0, 8)):
        with pytest.raises(ValueError, match=r"expected a contiguous matrix of torch\.float32 with a multiple of 8"):
            Emulated().linear(x, packed, None)
    for backend in (Emulated(16), Cuda(Strict)):
        with pytest.raises(ValueError, match=r"cannot be packed: its .*Leave this layer dense"):
            backend.pack(weight)

"""Who multiplies by a 2:4 weight: torch's semi-structured tensors on a GPU, or torch after expanding it."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from common.sparse._semi_pattern import GROUP, TwoOfFour

__all__ = ["ROWS", "Backend", "Cuda", "Emulated", "suited"]

ROWS = 8  # torch's dense_min_rows of both half types, with either library


class Backend(Protocol):
    """The contract of both back-ends."""

    def refusal(self, shape: tuple[int, int], dtype: torch.dtype) -> str:
        """Why a matrix of this shape (rows, columns) and type cannot be packed; nothing if it can."""

    def pack(self, weight: TwoOfFour) -> Any:
        """The weight in the form that `linear` takes; raises a ValueError if it is refused."""

    def linear(self, x: Tensor, packed: Any, bias: Tensor | None) -> Tensor:
        """x Wᵀ + b of shape (n, rows).

        Args:
            x: contiguous, (n, columns), of the weight's type; n is a positive multiple of `ROWS`.
            packed: from `pack`.
            bias: (rows,), or none.
        """


class Emulated:
    """Expands the compressed form at every product: on any device, of any floating point type.

    Args:
        rows, columns: of what a weight's sides must be multiples, to stand in for a library that asks for more.

    >>> weight = TwoOfFour(torch.tensor([[5.0, 6.0]]), torch.tensor([[13]], dtype=torch.uint8))
    >>> Emulated().linear(torch.ones(8, 4), Emulated().pack(weight), None)[0].tolist()
    [11.0]
    >>> Emulated(rows=32).refusal((8, 64), torch.float16)
    'its matrix is 8 x 64; this back-end takes multiples of 32 x 4'
    """

    def __init__(self, rows: int = 1, columns: int = GROUP) -> None:
        self.limits = rows, columns

    def refusal(self, shape: tuple[int, int], dtype: torch.dtype) -> str:  # noqa: ARG002 - any will do
        """See `Backend`."""
        return _beyond(shape, self.limits)

    def pack(self, weight: TwoOfFour) -> TwoOfFour:
        """See `Backend`."""
        _check(self.refusal(weight.shape, weight.values.dtype))
        return weight

    def linear(self, x: Tensor, packed: TwoOfFour, bias: Tensor | None) -> Tensor:
        """See `Backend`."""
        if x.dim() != 2 or len(x) % ROWS or not len(x) or not x.is_contiguous() or x.dtype != packed.values.dtype:
            raise ValueError(
                f"found x of shape {tuple(x.shape)}, strides {x.stride()}, {x.dtype}; expected a contiguous matrix of "
                f"{packed.values.dtype} with a multiple of {ROWS} rows. Pad it."
            )
        return functional.linear(x, packed.dense(), bias)


class Cuda:
    """Torch's semi-structured tensors: sparse tensor cores through cuSPARSELt, or CUTLASS where torch lacks that.

    Args:
        kind: the tensor class, `torch.sparse.SparseSemiStructuredTensorCUSPARSELT` or `...CUTLASS`.

    >>> import torch.sparse
    >>> Cuda(torch.sparse.SparseSemiStructuredTensorCUTLASS).refusal((32, 48), torch.bfloat16)
    'its matrix is 32 x 48; this back-end takes multiples of 32 x 64'
    """

    def __init__(self, kind: Any = None) -> None:
        known = torch.backends.cusparselt.is_available()
        names = torch.sparse.SparseSemiStructuredTensorCUTLASS, torch.sparse.SparseSemiStructuredTensorCUSPARSELT
        self.kind = kind or names[known]

    def refusal(self, shape: tuple[int, int], dtype: torch.dtype) -> str:
        """See `Backend`."""
        if dtype not in (torch.float16, torch.bfloat16):
            return f"its weights are {dtype}; this back-end takes float16 and bfloat16"
        limits = self.kind._DTYPE_SHAPE_CONSTRAINTS[dtype]
        return _beyond(shape, (limits.sparse_min_rows, limits.sparse_min_cols))

    def pack(self, weight: TwoOfFour) -> Any:
        """See `Backend`."""
        _check(self.refusal(weight.shape, weight.values.dtype))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that the class is a prototype
            return self.kind.from_dense(weight.dense())

    def linear(self, x: Tensor, packed: Any, bias: Tensor | None) -> Tensor:
        """See `Backend`."""
        return functional.linear(x, packed, bias)


def suited(device: torch.device, dtype: torch.dtype) -> Backend:
    """What multiplies fastest there: `Cuda` for half types from compute capability 8.0 on, else `Emulated`.

    >>> type(suited(torch.device("cpu"), torch.bfloat16)).__name__
    'Emulated'
    """
    half = dtype in (torch.float16, torch.bfloat16)
    if device.type != "cuda" or not half or torch.version.hip or torch.cuda.get_device_capability(device) < (8, 0):
        return Emulated()
    return Cuda()


def _beyond(shape: tuple[int, int], limits: tuple[int, int]) -> str:
    if all(side and side % limit == 0 for side, limit in zip(shape, limits, strict=True)):
        return ""
    return f"its matrix is {shape[0]} x {shape[1]}; this back-end takes multiples of {limits[0]} x {limits[1]}"


def _check(refusal: str) -> None:
    if refusal:
        raise ValueError(f"a weight cannot be packed: {refusal}. Leave this layer dense.")

"""Linear layers and convolutions that hold a 2:4 weight in its compressed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.sparse._semi_backend import ROWS, Backend, Emulated, suited
from common.sparse._semi_pattern import TwoOfFour

__all__ = ["SemiConv2d", "SemiLinear"]


class _Semi(nn.Module):
    """The compressed weight, packed anew whenever it changes its device, its type or its values."""

    values: Tensor
    positions: Tensor
    bias: nn.Parameter | None

    def __init__(self, weight: TwoOfFour, bias: Tensor | None, backend: Backend | None) -> None:
        super().__init__()
        self.register_buffer("values", weight.values)
        self.register_buffer("positions", weight.positions)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self._wanted = backend
        self._pack()

    def extra_repr(self) -> str:
        """Sizes and who multiplies."""
        rows, columns = self._compressed().shape
        return f"{columns}, {rows}, bias={self.bias is not None}, backend={type(self._backend).__name__}"

    def _compressed(self) -> TwoOfFour:
        return TwoOfFour(self.values, self.positions)

    def _pack(self) -> None:
        weight = self._compressed()
        backend = self._wanted or suited(weight.values.device, weight.values.dtype)
        self._backend = Emulated() if backend.refusal(weight.shape, weight.values.dtype) else backend
        self._packed = self._backend.pack(weight)

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        super()._apply(*args, **kwargs)
        self._pack()
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._pack()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._pack()

    def _checked(self, x: Tensor, features: int, expected: int) -> Tensor:
        """The input in the weight's type, which autocast may change."""
        if features != expected:
            raise ValueError(f"found an input of shape {tuple(x.shape)}; expected {expected} features or channels")
        if x.dtype != self.values.dtype and torch.is_autocast_enabled(x.device.type):
            return x.to(self.values.dtype)
        if x.dtype != self.values.dtype or x.device != self.values.device:
            raise ValueError(
                f"found an input of {x.dtype} on {x.device}; expected {self.values.dtype} on {self.values.device}. "
                "Move either with .to()."
            )
        return x

    def _product(self, x: Tensor) -> Tensor:
        """(n, columns) to (n, rows), padded on the way."""
        n = len(x)
        missing = max(ROWS, n + -n % ROWS) - n
        padded = functional.pad(x, (0, 0, 0, missing)) if missing else x.contiguous()
        return self._backend.linear(padded, self._packed, self.bias)[:n]


class SemiLinear(_Semi):
    """As `nn.Linear`, with a 2:4 weight.

    Shapes:
        - input: (..., columns)
        - output: (..., rows)

    Args:
        weight: the compressed weight.
        bias: (rows,), or none.
        backend: who multiplies; by default whoever suits device and type.

    >>> weight = TwoOfFour(torch.tensor([[5.0, 6.0]]), torch.tensor([[13]], dtype=torch.uint8))
    >>> SemiLinear(weight, torch.ones(1))(torch.ones(4)).tolist()
    [12.0]
    """

    def __init__(self, weight: TwoOfFour, bias: Tensor | None = None, backend: Backend | None = None) -> None:
        super().__init__(weight, bias, backend)
        self.out_features, self.in_features = weight.shape

    @property
    def weight(self) -> Tensor:
        """The dense weight (rows, columns), made anew."""
        return self._compressed().dense()

    def forward(self, x: Tensor) -> Tensor:
        """X Wᵀ + b."""
        x = self._checked(x, x.shape[-1], self.in_features)
        return self._product(x.reshape(-1, self.in_features)).reshape(*x.shape[:-1], self.out_features)


class SemiConv2d(_Semi):
    """As `nn.Conv2d` of one group, with a 2:4 weight: a linear map of every output pixel's window.

    Windows are laid out (channel, kernel row, kernel column), as `n_of_m` counts a weight's entries and as the rows of
    `weight.flatten(1)` lie. With a 1 x 1 kernel a window is a pixel, which costs no copy in channels-last memory.

    Shapes:
        - input: (N, C, H, W) or (C, H, W)
        - output: (N, rows, H', W') or (rows, H', W'), in channels-last memory

    Args:
        weight: the compressed weight (out, in * kernel height * kernel width).
        like: the convolution whose kernel size, stride, padding, dilation and bias it has.
        backend: who multiplies; by default whoever suits device and type.

    >>> conv = nn.Conv2d(4, 2, 3, padding=1)
    >>> mask = torch.tensor([True, False, False, True]).repeat(18).view(2, 4, 3, 3)
    >>> small = SemiConv2d(TwoOfFour.of(conv.weight, mask), conv)
    >>> small(torch.ones(1, 4, 8, 8)).shape, small.values.shape, small.positions.shape
    (torch.Size([1, 2, 8, 8]), torch.Size([2, 18]), torch.Size([2, 5]))
    """

    def __init__(self, weight: TwoOfFour, like: nn.Conv2d, backend: Backend | None = None) -> None:
        super().__init__(weight, like.bias, backend)
        self.in_channels, self.out_channels, self.kernel_size = like.in_channels, like.out_channels, like.kernel_size
        self.stride, self.padding, self.dilation, self.groups = like.stride, like.padding, like.dilation, like.groups
        self._margin = list(like._reversed_padding_repeated_twice)
        self._mode = "constant" if like.padding_mode == "zeros" else like.padding_mode

    @property
    def weight(self) -> Tensor:
        """The dense weight (out, in, kernel height, kernel width), made anew."""
        return self._compressed().dense().unflatten(1, (self.in_channels, *self.kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x."""
        if x.dim() not in (3, 4):
            raise ValueError(f"found an input of shape {tuple(x.shape)}; expected (N, C, H, W) or (C, H, W)")
        x = self._checked(x, x.shape[-3], self.in_channels)
        windows = x if x.dim() == 4 else x[None]
        if any(self._margin):
            windows = functional.pad(windows, self._margin, self._mode)
        for side, (size, stride, step) in enumerate(zip(self.kernel_size, self.stride, self.dilation, strict=True)):
            windows = windows.unfold(2 + side, (size - 1) * step + 1, stride)[..., ::step]
        n, _, height, width = windows.shape[:4]
        columns = self._compressed().shape[1]
        rows = windows.permute(0, 2, 3, 1, 4, 5).reshape(n * height * width, columns)
        y = self._product(rows).reshape(n, height, width, self.out_channels).permute(0, 3, 1, 2)
        return y if x.dim() == 4 else y[0]

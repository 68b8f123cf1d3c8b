"""Edge-popup over a whole network: which parameters take scores, and gates that share one budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from common.gates import Gate, TopK
from common.masks import Masks, prunable
from common.select import top_k

__all__ = ["Pool", "chosen", "frozen", "gateable"]

_WIDTH = 0.1  # scores that share a budget start alike, uniform in plus and minus this


def gateable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights and biases of convolutions and linear layers, in the order of the model.

    >>> list(gateable(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))))
    ['0.weight', '0.bias']
    """
    names = set(prunable(model))
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and module.bias is not None:
            names.add(f"{path}.bias" if path else "bias")
    return {name: param for name, param in model.named_parameters() if name in names}


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No parameter of the model trains inside.

    >>> layer = nn.Linear(1, 1)
    >>> with frozen(layer):
    ...     layer.weight.requires_grad
    False
    """
    trained = [param for param in model.parameters() if param.requires_grad]
    for param in trained:
        param.requires_grad_(False)
    try:
        yield
    finally:
        for param in trained:
            param.requires_grad_(True)


def chosen(scores: Mapping[str, Tensor], density: float, *, across: bool) -> Masks:
    """The masks that the gates of a `Pool` apply: the best share of every tensor, or of all together.

    >>> scores = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0, 4.0])}
    >>> [[kept.tolist() for kept in chosen(scores, 0.5, across=across).values()] for across in (False, True)]
    [[[False, True], [False, True]], [[False, False], [True, True]]]
    """
    if not across:
        return Masks({name: top_k(score, round(density * score.numel())) for name, score in scores.items()})
    flat = torch.cat([score.flatten() for score in scores.values()])
    parts = top_k(flat, round(density * flat.numel())).split([score.numel() for score in scores.values()])
    return Masks({name: kept.view(s.shape) for (name, s), kept in zip(scores.items(), parts, strict=True)})


class Pool:
    """Makes the `TopK` gates of a model, `gated(model, masks, pool.gate)`; across tensors they share a threshold.

    Args:
        density: share that passes, in [0, 1].
        across: of all tensors together instead of each.
    """

    def __init__(self, density: float, *, across: bool) -> None:
        self.density, self.across = density, across
        self.gates: list[_Shared] = []
        self._kept = Masks()

    def gate(self, weight: Tensor, mask: Tensor) -> Gate:
        """The gate of one parameter."""
        if not self.across:
            return TopK(weight, mask, density=self.density)
        self.gates.append(_Shared(weight, mask, self, len(self.gates)))
        return self.gates[-1]

    @contextmanager
    def following(self, model: nn.Module) -> Iterator[None]:
        """Inside, the shared budget is drawn anew from the scores before every call of the model."""
        handle = model.register_forward_pre_hook(lambda *_: self._draw())
        try:
            yield
        finally:
            handle.remove()

    def kept(self, number: int) -> Tensor:
        """The mask of one gate, as it was drawn last."""
        if str(number) not in self._kept:
            self._draw()
        return self._kept[str(number)]

    def _draw(self) -> None:
        if self.across:
            scores = {str(i): gate.score.detach() for i, gate in enumerate(self.gates)}
            self._kept = chosen(scores, self.density, across=True)


class _Shared(TopK):
    def __init__(self, weight: Tensor, mask: Tensor, pool: Pool, number: int) -> None:
        super().__init__(weight, mask, density=pool.density)
        self._pool, self._number = pool, number
        nn.init.uniform_(self.score, -_WIDTH, _WIDTH)

    def _hard(self) -> Tensor:
        return self._pool.kept(self._number).to(self.score.dtype)

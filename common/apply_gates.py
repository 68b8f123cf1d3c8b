"""`gated`: learned or switched multipliers on a model's parameters, by torch's parametrization."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from common._gate import Gate
from common._parameters import owners, resolve
from common.masks import closest

__all__ = ["Gates", "MakeGate", "gated"]

MakeGate = Callable[[Tensor, Tensor], Gate]


class Gates(Mapping[str, Gate]):
    """The gates of a model by parameter name: what an optimizer trains, a scorer reads and a loss adds.

    >>> from common.gates import Sigmoid
    >>> gates = Gates({"w": Sigmoid(torch.ones(2), torch.ones(2, dtype=torch.bool))})
    >>> len(list(gates.parameters())), gates.penalty().item(), gates.scores()
    (1, 1.0, {'w': tensor([0., 0.])})
    """

    def __init__(self, gates: Mapping[str, Gate]) -> None:
        self._gates = dict(gates)

    def __getitem__(self, name: str) -> Gate:
        if name not in self._gates:
            raise KeyError(f"no gate on {name!r}; the nearest is {closest(name, self._gates)}")
        return self._gates[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._gates)

    def __len__(self) -> int:
        return len(self._gates)

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of all gates, in the order of the masks."""
        for gate in self._gates.values():
            yield from gate.parameters()

    def scores(self) -> dict[str, Tensor]:
        """Name to the gate's scores, of the parameter's shape; larger survives."""
        return {name: gate.scores() for name, gate in self._gates.items()}

    def penalty(self) -> Tensor:
        """The sum of the gates' penalties, a scalar."""
        return torch.stack([gate.penalty() for gate in self._gates.values()]).sum()


@contextmanager
def gated(model: nn.Module, masks: Mapping[str, Tensor], gate: MakeGate | Mapping[str, MakeGate]) -> Iterator[Gates]:
    r"""Multiply parameters by learned gates inside a block, $\tilde w = w \odot g(w)$ with $g = 0$ outside the mask.

    Inside, the model computes with $\tilde w$; the parameters themselves stay the same objects and train beside the
    gates, or not at all where `requires_grad` is False. `state_dict` keys differ inside, and are as before, in the same
    order, afterwards; the parameters then hold their trained values without the gates.

    Args:
        model: any module; a shared tensor is gated wherever it is used.
        masks: parameter name to bool mask of its shape; what it excludes stays excluded.
        gate: (weight, mask) to a `Gate`, such as `Soft` or a `functools.partial` of it; or one such callable a name.

    Raises:
        KeyError: a name is not in the model, or has no gate.
        ValueError: a mask has another shape than its parameter.

    >>> from common.gates import Soft
    >>> model = nn.Linear(2, 1)
    >>> with gated(model, {"weight": torch.tensor([[True, False]])}, Soft) as gates:
    ...     optimizer = torch.optim.SGD([*gates.parameters()], lr=0.1)
    ...     (model(torch.ones(1, 2)).sum() + gates.penalty()).backward()
    ...     optimizer.step()
    >>> list(model.state_dict()), gates.scores()["weight"].shape
    (['weight', 'bias'], torch.Size([1, 2]))
    """
    targets = resolve(model, masks)
    orders: dict[nn.Module, list[str]] = {}
    gates: dict[str, Gate] = {}
    try:
        for name, (param, mask) in targets.items():
            gates[name] = _make(gate, name)(param, mask)
            multiply = _Multiply(gates[name])
            for module, attribute in list(owners(model, param)):
                orders.setdefault(module, list(module._parameters))
                parametrize.register_parametrization(module, attribute, multiply, unsafe=True)
            multiply.train(model.training)
        yield Gates(gates)
    finally:
        for module, order in orders.items():
            _restore(module, order)


class _Multiply(nn.Module):
    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.gate(weight)


def _make(gate: MakeGate | Mapping[str, MakeGate], name: str) -> MakeGate:
    if not isinstance(gate, Mapping):
        return gate
    if name not in gate:
        raise KeyError(f"the masks name {name!r}, which has no gate; the nearest is {closest(name, gate)}. Add one.")
    return gate[name]


def _restore(module: nn.Module, order: list[str]) -> None:
    """Take the gates off a module and put its parameters back in their order."""
    for attribute in order:
        if attribute not in module._parameters and parametrize.is_parametrized(module, attribute):
            parametrize.remove_parametrizations(module, attribute, leave_parametrized=False)
    later = {name: param for name, param in module._parameters.items() if name not in order}
    params = {name: module._parameters[name] for name in order if name in module._parameters}
    module._parameters.clear()
    module._parameters.update(params | later)

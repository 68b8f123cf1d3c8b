"""Lottery tickets for any PyTorch model: masks as data, exact pruning, masked training, rewinding, tickets on disk.

The short way in is this package's own names, which are loaded on first use (`import common` does not import torch):

>>> import common
>>> sorted(common.__all__)
['Masks', 'Rewind', 'Ticket', 'gated', 'masked', 'moving', 'prunable', 'prune', 'tickets']

Importing it also makes a `torchvision` that was built for another torch importable, since lightning, diffusers,
torchmetrics and torch-fidelity all import it when it is installed; see `common._torchvision`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from common import _torchvision

if TYPE_CHECKING:
    from common.allocate import prune as prune
    from common.apply import masked as masked
    from common.apply_gates import gated as gated
    from common.dynamic import moving as moving
    from common.masks import Masks as Masks
    from common.masks import prunable as prunable
    from common.rewind import Rewind as Rewind
    from common.search import tickets as tickets
    from common.ticket import Ticket as Ticket

__all__ = ["Masks", "Rewind", "Ticket", "gated", "masked", "moving", "prunable", "prune", "tickets"]

_HOME = {
    "Masks": "masks",
    "Rewind": "rewind",
    "Ticket": "ticket",
    "gated": "apply_gates",
    "masked": "apply",
    "moving": "dynamic",
    "prunable": "masks",
    "prune": "allocate",
    "tickets": "search",
}

_torchvision.install()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'common' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = getattr(import_module(f"common.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

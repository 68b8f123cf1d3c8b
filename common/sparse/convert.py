"""From a model and a ticket to a network that computes the surviving weights only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.sparse.fold import fold
from common.sparse.lower import lower
from common.sparse.machine import host
from common.sparse.network import SparseNetwork
from common.sparse.program import Program
from common.sparse.recognise import eligible
from common.sparse.signature import Signature
from common.ticket import Ticket

__all__ = ["PAYS", "convert", "load"]

PAYS = 0.6
"""The density up to which a layer runs sparse when nothing was measured: dense kernels are some 1.5 times as quick a
multiplication."""


def convert(
    model: nn.Module,
    ticket: Ticket | Mapping[str, Tensor] | None,
    example_inputs: Sequence[Any],
    *,
    backend: str = "auto",
    threads: int | None = None,
) -> SparseNetwork:
    """A network with the model's call signature and outputs (to 1e-4) that skips the pruned weights.

    Convolutions, transposed convolutions and linear layers over tokens run over their non-zeros; group normalisation,
    SiLU, padding, doubling of pixels, bias, time embedding, residual sums and concatenation are done on their way. What
    the runtime does not know runs as before and is listed in the result's `report`. The model is left as it is.

    Args:
        model: on the CPU, float32; it runs in eval mode.
        ticket: a ticket or masks, under which the model's present weights are taken; None for the zeros already there.
        example_inputs: the arguments of a call, the first a tensor whose first dimension is the batch. Their other
            sizes are those that the network will take.
        backend: what runs over its non-zeros: `sparse`: all layers; `dense`: none; `auto`: those of a density of at
            most `PAYS`. `common.sparse.tune` chooses by measured time instead.
        threads: how many; torch's number at the time of a call if not given.

    Raises:
        MissingCompilerError: llvmlite is not installed.
        TicketError: the ticket belongs to another model.
        ValueError: an unknown backend, a model that is not on the CPU or cannot be exported, masks of other shapes.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    >>> x = torch.ones(1, 1, 4, 4)
    >>> sparse = convert(model, {"0.weight": torch.arange(18).view(2, 1, 3, 3) % 2 == 0}, (x,))
    >>> sparse(x).shape, sparse.report["0.weight"]
    (torch.Size([1, 2, 2, 2]), {'form': 'sparse', 'density': 0.5})
    """
    host()
    if backend not in ("auto", "sparse", "dense"):
        raise ValueError(f"found the backend {backend!r}; expected 'auto', 'sparse' or 'dense'")
    _check_device(model)
    signature, tensors = Signature.of(model, example_inputs)
    program = lower(model, tuple(_twice(tensor) for tensor in tensors))
    weights = _masked(model, ticket)
    program.constants.update({name: weights[name] for name in program.constants if name in weights})
    program = fold(program)
    report = _report(program, weights.keys(), {"auto": PAYS, "sparse": 1.0, "dense": -1.0}[backend])
    return SparseNetwork(program, signature, report, _settings(model), threads)


def load(folder: str | Path, *, threads: int | None = None) -> SparseNetwork:
    """A network that `SparseNetwork.save` wrote; neither the model's code nor its dense weights are needed.

    Raises:
        TicketError: the folder is missing, damaged, or no network.
    """
    return SparseNetwork.load(Path(folder), threads)


def _report(program: Program, parameters: Collection[str], limit: float) -> dict[str, dict[str, Any]]:
    """Density and form of every weight: sparse up to a density."""
    weights = {n: w for n, w in program.constants.items() if n in parameters and w.dim() in (2, 4)}
    density = {name: float(torch.count_nonzero(w)) / max(1, w.numel()) for name, w in weights.items()}
    able = set(eligible(program))
    return {
        name: {"form": "sparse" if name in able and share <= limit else "dense", "density": share}
        for name, share in density.items()
    }


def _check_device(model: nn.Module) -> None:
    devices = {str(p.device) for p in model.parameters()} - {"cpu"}
    if devices:
        raise ValueError(
            f"found parameters on {', '.join(sorted(devices))}; expected the CPU. Move the model there first."
        )


def _twice(tensor: Tensor) -> Tensor:
    """An example with a batch of two, so that the export does not take one for a constant."""
    return tensor[:1].expand(2, *tensor.shape[1:]).contiguous() if tensor.dim() else tensor


def _masked(model: nn.Module, ticket: Ticket | Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """The model's weights under the masks; a mask of a shared tensor holds for all its names."""
    masks = ticket.masks if isinstance(ticket, Ticket) else dict(ticket or {})
    if isinstance(ticket, Ticket):
        ticket.verify(model)
    named = dict(model.named_parameters(remove_duplicate=False))
    for name, mask in masks.items():
        if name not in named or named[name].shape != mask.shape:
            found = tuple(named[name].shape) if name in named else "no such parameter"
            raise ValueError(f"found a mask of shape {tuple(mask.shape)} for {name!r}; expected {found}")
    pruned = {id(named[name]): named[name].detach() * mask for name, mask in masks.items()}
    return {name: pruned.get(id(param), param.detach()) for name, param in named.items()}


def _settings(model: nn.Module) -> dict[str, Any] | None:
    """The plain settings that diffusers' pipelines ask of a model."""
    config = getattr(model, "config", None)
    if not isinstance(config, Mapping):
        return None
    plain = (str, int, float, bool, list, tuple, type(None))
    return {key: value for key, value in config.items() if isinstance(value, plain) and not key.startswith("_")}

"""Slimmed networks on disk: a fresh model of the former sizes is cut to the stored ones and takes their weights.

Where a constructor can say the smaller sizes, `state_dict` alone does, with `strict=True`. Most cannot: blocks lose
different shares, and the width of a diffusers UNet's first block also sets the frequencies of its time embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from common.sparse._slim_form import SIZES, described, difference, tensors
from common.sparse.slim import Slim
from common.ticket_file import Form, layout, read, refuse, write

__all__ = ["load", "save"]

_FORM = Form("lottery-slim-network", 1, "slim.json", "slimmed network")
_FILE = "slim.safetensors"

M = TypeVar("M", bound=nn.Module)


def save(slimmed: Slim, folder: str | Path) -> Path:
    """Write a slimmed network into a folder, as safetensors and json, whole or not at all, and return the folder.

    Args:
        slimmed: what `slim` returned; weights trained further since then are written as they are.
        folder: where to; another slimmed network in it is replaced.

    Raises:
        TicketError: the folder cannot be written, or safetensors lacks a tensor's type of number.

    >>> import tempfile, torch
    >>> from common.sparse.slim import slim
    >>> net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    >>> small = slim(net, {"1.weight": torch.tensor([True, False, True, False]).expand(2, 4)}, (torch.zeros(1, 3),))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load(save(small, folder), nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))[0]
    Linear(in_features=3, out_features=2, bias=True)
    """
    named = tensors(slimmed.model)
    first: dict[int, str] = {}
    names = {name: first.setdefault(id(tensor), name) for name, tensor in named}
    stored = {name: tensor.detach() for name, tensor in named if names[name] == name}
    body = {
        "origin": slimmed.origin,
        "settings": described(slimmed.model)["settings"],
        "names": names,
        "report": asdict(slimmed.report),
    }
    write(Path(folder), {_FILE: layout(stored, {})}, lambda _: body, form=_FORM)
    return Path(folder)


def load(folder: str | Path, model: M) -> M:
    """Cut a fresh model to a stored slimmed network, which it then equals bit for bit, and return it in eval mode.

    Args:
        folder: where `save` wrote to.
        model: of the classes, sizes and settings that the model had before `slim`, with any weights; it is changed,
            each tensor stays on its device, and its parameters are new, so make an optimizer afterwards.

    Raises:
        TicketError: the folder is missing, damaged or no slimmed network, or the model is another; it is then left as
            it is.

    >>> load("nowhere", nn.Linear(2, 2))
    Traceback (most recent call last):
    common.ticket_file.TicketError: nowhere: found no such folder; expected the folder of a saved slimmed network. ...
    """
    place = Path(folder)
    body, files = read(place, _FORM)
    found, expected = difference(described(model), body["origin"])
    if found:
        refuse(f"{type(model).__name__} for {place}", found, f"{expected}, as the model that was slimmed",
               "Nothing was loaded; build the model with its former arguments.")  # fmt: skip
    _resize(model, body["origin"]["settings"], body["settings"])
    _fill(model, body["names"], files[_FILE])
    return model.eval()


def _resize(model: nn.Module, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Set the sizes that differ."""
    for key, value in after.items():
        path, _, name = key.rpartition(".")
        if name in SIZES and not key.startswith("config.") and value != before.get(key, value):
            setattr(model.get_submodule(path), name, tuple(value) if isinstance(value, list) else value)


def _fill(model: nn.Module, names: Mapping[str, str], stored: Mapping[str, Tensor]) -> None:
    """Put tensors in the place of the model's, one object where names share it; a bias may be new."""
    made: dict[str, Tensor] = {}
    for name, source in names.items():
        path, _, leaf = name.rpartition(".")
        module: Any = model.get_submodule(path)
        old = getattr(module, leaf)
        like = module.weight if old is None else old
        if source not in made:
            tensor = stored[source].clone() if like.is_meta else stored[source].to(like.device, copy=True)
            made[source] = nn.Parameter(tensor, like.requires_grad) if isinstance(like, nn.Parameter) else tensor
        setattr(module, leaf, made[source])

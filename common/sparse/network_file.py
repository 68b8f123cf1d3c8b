"""A converted network on disk: safetensors and json, the weights of sparse layers as bits and kept values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from common.sparse.weights import Kept
from common.ticket_file import Form, layout, read, refuse, write

__all__ = ["load", "save"]

_FORM = Form("lottery-sparse-network", 2, "network.json", "sparse network")
_FILE = "network.safetensors"

T = TypeVar("T")


def save(folder: Path, constants: Mapping[str, Tensor | Kept], body: Mapping[str, Any]) -> Path:
    """Write a network, whole or not at all, and return the folder.

    Args:
        folder: where to.
        constants: name to tensor or to what is kept of it.
        body: everything else, as plain json.

    Raises:
        TicketError: the folder cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in constants.items():
        if isinstance(value, Kept):
            tensors |= {f"bits/{name}": value.bits, f"values/{name}": value.values}
        else:
            tensors[f"dense/{name}"] = value
    kept = {name: list(value.shape) for name, value in constants.items() if isinstance(value, Kept)}
    write(folder, {_FILE: layout(tensors, {})}, lambda _: {**body, "kept": kept}, form=_FORM)
    return folder


def load(folder: Path, build: Callable[[dict[str, Any], dict[str, Any]], T]) -> T:
    """Read what `save` wrote.

    Args:
        folder: where from.
        build: makes the network of the body and the constants.

    Raises:
        TicketError: the folder is missing, damaged, or no network.
    """
    body, files = read(folder, _FORM)
    stored = files[_FILE]
    try:
        constants: dict[str, Any] = {
            name.removeprefix("dense/"): tensor.clone() for name, tensor in stored.items() if name.startswith("dense/")
        }
        for name, shape in body["kept"].items():
            constants[name] = Kept(tuple(shape), stored[f"bits/{name}"].clone(), stored[f"values/{name}"].clone())
        return build(body, constants)
    except (KeyError, TypeError, ValueError) as error:
        refuse(folder / _FORM.manifest, f"steps that do not fit ({error})", "the files of one sparse network",
               "Nothing was loaded; convert the model again.")  # fmt: skip

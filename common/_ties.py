"""Names of one tensor: a parameter that two modules share has as many names in a state_dict, and is kept once."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

__all__ = ["follow", "holders", "ties"]


def ties(state: Mapping[str, Tensor], masked: Collection[str] = ()) -> dict[str, str]:
    """Alias to the name that holds its tensor, for names of a state that share all their memory.

    Args:
        state: name to tensor, as `state_dict` gives them; copies of a shared tensor share nothing any more.
        masked: names of the state that hold their tensor rather than another name does; none of them is an alias.

    >>> weight = torch.ones(2)
    >>> ties({"encoder": weight, "decoder": weight, "other": torch.ones(2)}, ["decoder"])
    {'encoder': 'decoder'}
    """
    seen: dict[object, str] = {}
    found = {}
    for name in (*masked, *state):
        tensor = state[name]
        if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided or not tensor.data_ptr():
            continue
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        if seen.setdefault(key, name) != name and name not in masked:
            found[name] = seen[key]
    return found


def holders(tied: Mapping[str, str] | None, state: Mapping[str, Tensor], masked: Collection[str]) -> dict[str, str]:
    """The ties that hold in a state (both names are there, of one shape and type, the alias unmasked); None finds them.

    >>> holders({"b": "a", "c": "a"}, {"a": torch.ones(2), "b": torch.ones(2)}, ["a"])
    {'b': 'a'}
    """
    return {
        alias: name
        for alias, name in (ties(state, masked) if tied is None else tied).items()
        if alias not in masked
        and {alias, name} <= state.keys()
        and (state[alias].shape, state[alias].dtype) == (state[name].shape, state[name].dtype)
    }


def follow(state: dict[str, Tensor], tied: Mapping[str, str]) -> dict[str, Tensor]:
    """A state whose aliases are the tensors of the names that hold them.

    >>> follow({"b": torch.zeros(1), "a": torch.ones(1)}, {"b": "a"})
    {'b': tensor([1.]), 'a': tensor([1.])}
    """
    return {name: state.get(tied.get(name, name), value) for name, value in state.items()} if tied else state

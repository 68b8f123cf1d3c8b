"""Which parameters a set of masks names: the one place where names, shapes, aliases and devices are checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from common.masks import Masks, agree_across_ranks, closest

__all__ = ["owners", "resolve"]


def resolve(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, tuple[nn.Parameter, Tensor]]:
    """Name to (parameter, bool mask on its device), once for each parameter however many names it has.

    Args:
        model: any module; the names are those of `named_parameters`, every alias of a shared tensor included.
        masks: parameter name to its mask, of the parameter's shape.

    Raises:
        KeyError: the model has no parameter of a name.
        ValueError: a mask has another shape than its parameter, or two names of one tensor have different masks.
        RuntimeError: the processes of a distributed run hold different masks.

    >>> import torch
    >>> found = resolve(nn.Linear(2, 1), {"weight": torch.tensor([[True, False]])})
    >>> found["weight"][1]
    tensor([[ True, False]])
    """
    masks = Masks(masks)
    agree_across_ranks(masks)
    named = dict(model.named_parameters(remove_duplicate=False))
    found: dict[str, tuple[nn.Parameter, Tensor]] = {}
    first: dict[int, str] = {}
    for name, mask in masks.items():
        if name not in named:
            raise KeyError(f"the model has no parameter {name!r}; the nearest is {closest(name, named)}")
        param = named[name]
        if mask.shape != param.shape:
            raise ValueError(
                f"the mask of {name!r} has shape {tuple(mask.shape)}, the parameter {tuple(param.shape)}. "
                "Compute the masks from this model."
            )
        alias = first.setdefault(id(param), name)
        if alias == name:
            found[name] = (param, mask.to(param.device))
        elif not bool((found[alias][1] == mask.to(param.device)).all()):
            raise ValueError(
                f"{alias!r} and {name!r} are one shared tensor, yet their masks differ. Pass one of the two names."
            )
    return found


def owners(model: nn.Module, param: nn.Parameter) -> Iterator[tuple[nn.Module, str]]:
    """Every (module, attribute) of a model that holds a parameter, each module once.

    >>> layer = nn.Linear(2, 1)
    >>> [attribute for _, attribute in owners(layer, layer.weight)]
    ['weight']
    """
    for module in model.modules():
        for attribute, held in list(module._parameters.items()):
            if held is param:
                yield module, attribute

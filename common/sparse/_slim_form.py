"""What a module is, as plain json: its classes, the shapes of its tensors and the settings that `slim` may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from common.ticket_file import plain

__all__ = ["SIZES", "described", "difference", "tensors"]

SIZES = (
    "in_channels", "out_channels", "channels", "groups", "in_features", "out_features", "num_features", "num_groups",
    "num_channels", "embedding_dim", "num_parameters", "unflattened_size", "heads", "sliceable_head_dim", "inner_dim",
    "query_dim", "inner_kv_dim", "cross_attention_dim", "out_dim",
)  # fmt: skip
_PLAIN = (bool, int, float, str, type(None), tuple, list)


def tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers under all their names."""
    return [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]


def described(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Names of classes, shapes of tensors, and settings: sizes, what torch calls constants, a diffusers config.

    >>> described(nn.Linear(3, 2))["settings"]
    {'in_features': 3, 'out_features': 2}
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    settings: dict[str, Any] = {}
    for path, module in modules.items():
        names = dict.fromkeys((*SIZES, *getattr(module, "__constants__", ())))
        held = {name: module.__dict__[name] for name in names if name in module.__dict__}
        settings |= {f"{path}.{name}".lstrip("."): value for name, value in held.items() if _is_plain(value)}
    config = getattr(model, "config", None)
    if isinstance(config, Mapping):
        stated = {key: value for key, value in config.items() if not key.startswith("_") and _is_plain(value)}
        settings |= {f"config.{key}": value for key, value in stated.items()}
    found: dict[str, dict[str, Any]] = plain({
        "classes": {path: type(module).__name__ for path, module in modules.items()},
        "shapes": {name: tensor.shape for name, tensor in tensors(model)},
        "settings": settings,
    })  # fmt: skip
    return found


def difference(found: Mapping[str, dict[str, Any]], expected: Mapping[str, dict[str, Any]]) -> tuple[str, str]:
    """The first thing in which two descriptions differ, as found and as expected, or two empty strings.

    Settings count where both have them, since releases of a library differ in those.

    >>> difference(described(nn.Linear(3, 2)), described(nn.Linear(3, 4)))
    ("'weight' of shape [2, 3]", "'weight' of shape [4, 3]")
    """
    for part, word in (("classes", "of class"), ("shapes", "of shape"), ("settings", "=")):
        ours, theirs = found[part], expected[part]
        for name in {**theirs, **ours}:
            missing = name not in ours or name not in theirs
            if missing and part != "settings":
                return f"{'a' if name in ours else 'no'} {name!r}", f"{'a' if name in theirs else 'no'} {name!r}"
            if not missing and ours[name] != theirs[name]:
                return f"{name!r} {word} {ours[name]}", f"{name!r} {word} {theirs[name]}"
    return "", ""


def _is_plain(value: Any) -> bool:
    """Whether json can hold it."""
    return isinstance(value, _PLAIN) and (not isinstance(value, tuple | list) or all(map(_is_plain, value)))

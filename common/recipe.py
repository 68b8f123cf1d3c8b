"""How a ticket names the callables it was made with: by dotted path and arguments, never by pickling them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

__all__ = ["describe", "references"]

_PLAIN = (bool, int, float, str, type(None))


def describe(call: Any) -> dict[str, Any]:
    """A callable as `{"call": dotted path, "arguments": {name: plain value}}`.

    A function made by a factory is named by the factory, with the plain values it closed over as arguments; a partial
    by its function and what it binds; an object by its class and attributes. A mapping of callables is described
    entry by entry. Values that json does not know (tensors, models) are left out.

    >>> describe(functools.partial(round, ndigits=2))
    {'call': 'builtins.round', 'arguments': {'ndigits': 2}}
    """
    if isinstance(call, Mapping):
        return {str(name): describe(one) for name, one in call.items()}
    if isinstance(call, functools.partial):
        inner = describe(call.func)
        bound = {str(i): value for i, value in enumerate(call.args)} | call.keywords
        return {"call": inner["call"], "arguments": inner["arguments"] | _plain(bound)}
    if hasattr(call, "__qualname__"):
        return {"call": _path(call), "arguments": _plain(_closure(call))}
    return {"call": _path(type(call)), "arguments": _plain(getattr(call, "__dict__", {}))}


def references(*calls: Any) -> list[str]:
    """The papers of callables (also inside partials and mappings), `.reference`: one or several; each once, in order.

    >>> references(round)
    []
    """
    found: list[str] = []
    for call in calls:
        if isinstance(call, Mapping):
            found += references(*call.values())
            continue
        inner = call.func if isinstance(call, functools.partial) else call
        reference = getattr(inner, "reference", None)
        found += [reference] if isinstance(reference, str) else reference or []
    return list(dict.fromkeys(found))


def _path(call: Any) -> str:
    return f"{call.__module__}.{call.__qualname__.split('.<locals>')[0]}"


def _closure(call: Any) -> dict[str, Any]:
    names = getattr(getattr(call, "__code__", None), "co_freevars", ())
    return {
        name: cell.cell_contents for name, cell in zip(names, getattr(call, "__closure__", None) or (), strict=True)
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if isinstance(value, _PLAIN) or (isinstance(value, (tuple, list)) and all(isinstance(v, _PLAIN) for v in value))
    }

"""Every layer in the form that is quickest here: measured at the batch and threads in use, remembered for this machine.

Each layer is timed inside the network, as it runs between its neighbours: over its non-zeros (`sparse`), by torch
(`dense`), and by torch on the channels that are left (`slim`), if some are gone. The quickest forms are put together,
and the result is timed against the network as torch runs it, so that a ticket too dense to gain anything costs nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from common.runs.race import race
from common.sparse import cache
from common.sparse.layout import IMAGES
from common.sparse.machine import host
from common.sparse.network import SparseNetwork
from common.sparse.profile import profile

__all__ = ["tune"]

_ROUNDS = 2
_CLEAR = 0.8  # layers in less than this share of torch's time: the whole need not be timed
_MARGIN = 0.97  # a form that is not this much quicker than the sparse one is not worth the change of layout


@torch.no_grad()
def tune(network: SparseNetwork, inputs: Sequence[Any], *, fresh: bool = False) -> SparseNetwork:
    """The network with every layer in its quickest form, and the quicker way to take a batch apart.

    What was found is kept on disk, for this processor, torch, threads, batch and the densities of the layers, and is
    not measured again.

    Args:
        network: from `convert`.
        inputs: of a call at the batch in use.
        fresh: measure even if it was measured before.

    Returns:
        A new network whose `report` also says `seconds`, form to measured time, of every layer that was timed.

    >>> from torch import nn
    >>> from common.sparse.convert import convert
    >>> images = torch.randn(16, 4, 8, 8)
    >>> masks = {"weight": torch.rand(8, 4, 3, 3) < 0.1}
    >>> tuned = tune(convert(nn.Conv2d(4, 8, 3), masks, (images,)), (images,))
    >>> tuned.report["weight"]["form"] in ("sparse", "dense")
    True
    """
    name = f"{host().fingerprint}/{_key(network, inputs)}.json"
    kept = None if fresh else _read(name)
    if kept is None:
        kept = _measured(network, inputs)
        cache.keep(name, json.dumps(kept).encode())
    found = network.with_forms(kept["forms"], alone=kept["alone"])
    for weight, seconds in kept["seconds"].items():
        found.report[weight]["seconds"] = seconds
    return found


def _measured(network: SparseNetwork, inputs: Sequence[Any]) -> dict[str, Any]:
    """Forms, seconds of each, and how many images go one by one."""
    choices = network.choices
    sparse = network.with_forms(dict.fromkeys(choices, "sparse"), fused=True)
    alone = _alone(sparse, inputs)
    sparse = sparse.with_forms({}, alone=alone, fused=True)
    seconds: dict[str, dict[str, float]] = {name: {} for name in choices}
    slim = [name for name in choices if _thinner(network.weight(name))]
    for form, names in (("sparse", choices), ("dense", choices), ("slim", slim)):
        if names:
            changed = sparse.with_forms(dict.fromkeys(names, form), fused=True)
            for cost in profile(changed, inputs, repeats=_ROUNDS):
                if cost.weight in names:
                    seconds[cost.weight][form] = seconds[cost.weight].get(form, 0.0) + cost.seconds
    best = {name: _best(times) for name, times in seconds.items() if times}
    gained = sum(seconds[name][form] for name, form in best.items())
    if gained > _CLEAR * sum(times["dense"] for times in seconds.values() if times):
        mixed = sparse.with_forms(best, fused=True)
        dense = network.with_forms(dict.fromkeys(choices, "dense"))
        times = race({"mixed": lambda: mixed(*inputs), "dense": lambda: dense(*inputs)}, _ROUNDS)
        if times["dense"]["seconds"] < times["mixed"]["seconds"]:
            best = dict.fromkeys(choices, "dense")
    return {"forms": best, "alone": alone, "seconds": seconds}


def _best(times: Mapping[str, float]) -> str:
    quickest = min(times, key=times.__getitem__)
    return quickest if times[quickest] < _MARGIN * times["sparse"] else "sparse"


def _alone(network: SparseNetwork, inputs: Sequence[Any]) -> int:
    """How many images take as long one by one as a group of 16."""
    if len(inputs[0]) == 1:
        return network.alone
    group = [_resized(value, len(inputs[0]), IMAGES) for value in inputs]
    single = [_resized(value, len(inputs[0]), 1) for value in inputs]
    times = race({"group": lambda: network(*group), "single": lambda: network(*single)}, _ROUNDS)
    return min(IMAGES - 1, int(times["group"]["seconds"] / times["single"]["seconds"]))


def _resized(value: Any, batch: int, images: int) -> Any:
    """An input for another number of images."""
    if not isinstance(value, Tensor) or not value.dim() or len(value) != batch:
        return value
    return value[torch.arange(images) % batch]


def _thinner(weight: Tensor) -> bool:
    """Whether at least an eighth of the channels on one side has no weight."""
    there = (weight != 0).reshape(*weight.shape[:2], -1).any(2)
    return any(there.any(side).float().mean() <= 0.875 for side in (0, 1))


def _read(name: str) -> dict[str, Any] | None:
    body = cache.read(name)
    return None if body is None else json.loads(body)


def _key(network: SparseNetwork, inputs: Sequence[Any]) -> str:
    """What the choice depends on; densities to two digits, so that another ticket of the same sizes finds it."""
    facts = [
        [*((n, list(network.shape(n)), float(f"{network.report[n]['density']:.2g}")) for n in network.choices)],
        [list(value.shape) if isinstance(value, Tensor) else [] for value in inputs],
        network.threads or torch.get_num_threads(),
        torch.__version__,
        network.outline,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

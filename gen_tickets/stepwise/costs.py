r"""What one call of every network of a family costs: seconds, all of them timed turn by turn, or multiply-adds.

Seconds depend on engine, threads, batch and machine, which are recorded beside them. Multiply-adds depend on nothing
and say little about time: those of a layer count by its density, $\sum_l d_l\,\mathrm{MACs}_l$, those of attention,
which has no weights of its own, in full.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from common import scoped
from common.runs.manifest import cpu_model, hardware
from common.runs.race import race
from common.runs.ranges import AT_LEAST_ONE, check_ranges
from gen_tickets._intervals import SKIP, paced, refuse
from gen_tickets.engines import channels_last
from gen_tickets.engines import engine as made_by
from gen_tickets.schedule import Member
from gen_tickets.stepwise.family import DENSE, Family
from gen_tickets.stepwise.grid import Grid

__all__ = ["cost_table", "machine", "macs", "measure", "prepared"]

_EAGER, _LAST = "eager", "channels-last"


def machine() -> str:
    """Eight letters that are the same on machines on which times compare."""
    return hashlib.sha256(f"{cpu_model()} {torch.__version__}".encode()).hexdigest()[:8]


def measure(
    family: Family,
    engine: str = "sparse",
    *,
    batch: int = 16,
    threads: int = 1,
    repeats: int = 10,
    tuned: bool = True,
    forms: Mapping[str, nn.Module] | None = None,
) -> tuple[dict[str, Member], dict[str, Any]]:
    """Time a call of every network, in turn and in one process, and count its multiply-adds.

    The dense network runs eagerly and with channels last, and the quicker of the two counts.

    Args:
        family: the networks.
        engine: how the tickets run, one of `gen_tickets.engines.ENGINES`.
        batch: images in a call.
        threads: of torch.
        repeats: rounds of which the median counts, after one that does not.
        tuned: measure the forms of sparse layers, once a machine; else they go by density.
        forms: the networks as `prepared` gave them for this engine and batch, to save doing that twice.

    Returns:
        The members with `seconds` and `macs` of one image filled in; and what they depend on: `engine`, `dense` (the
        form of the dense network that was quicker), `batch`, `threads`, `repeats`, `hardware`, `torch`, and `times`,
        what every network took for the whole batch.

    Raises:
        UsageError: there is no such engine, or no batch, thread or repeat.

    >>> from gen_tickets.networks import Network
    >>> network, names = Network("ddpm", "tiny", (1, 8, 8)), ("dense", "small")
    >>> nets, members = {name: network.build() for name in names}, {name: Member("", 1.0) for name in names}
    >>> found, about = measure(Family(network, nets, dict.fromkeys(names, {}), members, {}), "dense", repeats=1)
    >>> list(found), found["small"].macs, found["small"].seconds > 0, about["batch"]
    (['dense', 'small'], 4087808.0, True, 16)
    """
    given = SimpleNamespace(batch=batch, threads=threads, repeats=repeats)
    check_ranges(given, dict.fromkeys(vars(given), AT_LEAST_ONE))
    inputs, one = family.network.inputs(batch), family.network.inputs(1)
    with scoped.threads(threads), torch.no_grad():
        forms = prepared(family, engine, batch, tuned=tuned) if forms is None else forms
        times = race(_calls(forms, inputs), repeats)
        counts = {name: macs(model, family.masks[name], one) for name, model in family.models.items()}
    quicker = min((_EAGER, _LAST), key=lambda form: times[form]["seconds"])
    seconds = {name: times[quicker if name == DENSE else name]["seconds"] / batch for name in forms}
    members = {name: replace(family.members[name], seconds=seconds[name], macs=counts[name]) for name in forms}
    settings = {"engine": engine, "dense": quicker, "batch": batch, "threads": threads, "repeats": repeats}
    return members, {**settings, "hardware": hardware(), "torch": torch.__version__, "times": times}


def prepared(family: Family, engine: str, batch: int, *, tuned: bool = True) -> dict[str, nn.Module]:
    """Every network in the form of an engine, for torch's present number of threads; the dense one stays dense.

    Args:
        family: the networks.
        engine: one of `gen_tickets.engines.ENGINES`.
        batch: images in a call.
        tuned: as in `measure`.

    Raises:
        UsageError: there is no such engine.

    >>> from gen_tickets.networks import Network
    >>> network, names = Network("ddpm", "tiny", (1, 8, 8)), ("dense", "small")
    >>> nets, members = {name: network.build() for name in names}, {name: Member("", 1.0) for name in names}
    >>> family = Family(network, nets, dict.fromkeys(names, {}), members, {})
    >>> [type(one).__name__ for one in prepared(family, "masked", 4).values()]
    ['UNet2DModel', 'Masked']
    """
    inputs = family.network.inputs(batch)
    with torch.no_grad():
        return {
            name: made_by("dense" if name == DENSE else engine, model, family.masks[name], inputs, tuned=tuned).eval()
            for name, model in family.models.items()
        }


def macs(model: nn.Module, masks: Mapping[str, Tensor], inputs: tuple[Any, ...]) -> float:
    """Multiply-adds of convolutions, linear layers and attention in one call, those of pruned weights left out.

    Args:
        model: called once, under `no_grad`.
        masks: parameter name to what is kept; layers without a mask count in full.
        inputs: of the call.

    >>> layer = nn.Conv2d(1, 2, 3, padding=1, bias=False)
    >>> half = torch.arange(18).reshape(2, 1, 3, 3) % 2 == 0
    >>> image = (torch.zeros(1, 1, 4, 4),)
    >>> macs(layer, {}, image), macs(layer, {"weight": half}, image)
    (288.0, 144.0)
    """
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(*inputs)
    of = {module: sum(kinds.values()) // 2 for module, kinds in counter.get_flop_counts().items()}
    pruned = 0.0
    for name, mask in masks.items():
        if mask.dim() > 1:  # a bias or a norm's scale multiplies no matrix
            layer = ".".join([type(model).__name__, *name.split(".")[:-1]])
            pruned += of.get(layer, 0) * float((~mask).sum()) / mask.numel()
    return counter.get_total_flops() // 2 - pruned


def cost_table(
    members: Mapping[str, Member], grid: Grid, names: Sequence[str], of: Literal["seconds", "macs"] = "seconds"
) -> np.ndarray:
    """Cost (K, M) of one image in each of K intervals by each of M choices: steps times the cost of a call.

    Args:
        members: with their costs, as `measure` fills them in.
        grid: the intervals.
        names: the choices: members, members at every n-th step, as in `dense/2`, and perhaps `skip`, which costs
            nothing.
        of: `seconds` or `macs`.

    Raises:
        ScheduleError: a choice is no member, or has no such cost.

    >>> members = {"dense": Member("d", 1.0, seconds=3.0), "small": Member("s", 0.1, seconds=1.0)}
    >>> cost_table(members, Grid((0.0,), (2, 3), (-3.0, -1.0, 1.0, 2.0, 3.0)), ["dense", "small", "dense/2", "skip"])
    array([[6., 2., 3., 0.],
           [9., 3., 6., 0.]])
    """
    found, ends = np.zeros((len(grid.counts), len(names))), np.cumsum([0, *grid.counts])
    for column, (name, every) in enumerate(map(paced, names)):
        if name != SKIP and name not in members:
            refuse(f"a choice {name!r}", f"one of {', '.join([*members, SKIP])}", "Correct the name.")
        cost = 0.0 if name == SKIP else getattr(members[name], of)
        if cost is None:
            refuse(f"no {of} of {name!r}", "a cost of every network", "Measure it first.")
        found[:, column] = cost * np.diff(-(-ends // every))  # steps before each end whose number `every` divides
    return found


def _calls(forms: Mapping[str, nn.Module], inputs: tuple[Tensor, ...]) -> dict[str, Callable[[], object]]:
    """What is timed: the dense network in two forms, the others in theirs."""
    dense = {_EAGER: partial(forms[DENSE], *inputs), _LAST: partial(channels_last(forms[DENSE]), *inputs)}
    return dense | {name: partial(form, *inputs) for name, form in forms.items() if name != DENSE}

"""`gen-tickets speed`: a ticket's network beside the dense one in every form that torch has for it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from common.masks import Masks
from common.runs.errors import UsageError
from common.runs.manifest import hardware
from common.runs.progress import Console
from common.runs.race import race, verdict
from common.runs.ranges import AT_LEAST_ONE, KEPT, check_ranges
from common.scoped import seeded, threads
from common.sparse.analysis import Analysis, analyse
from common.sparse.network import SparseNetwork
from common.ticket import Ticket
from gen_tickets.config import Speed
from gen_tickets.draw import Sampler, denoise
from gen_tickets.engines import channels_last, engine, pruned
from gen_tickets.networks import Network, named, opened

__all__ = ["run"]

Call = Callable[[nn.Module], Tensor]


def run(config: Speed, console: Console) -> dict[str, Any]:
    """Time all engines and compare.

    Returns:
        `engines` (name to `seconds`, `seconds_min`, `seconds_max`), `best_dense_fp32`, `best_dense`, `speedup_fp32`,
        `speedup`, `max_abs_diff`; what was measured: `threads`, `batch`, `density`, `steps`, `model`, `hardware`; and
        why: `shares`, `layers`, `amdahl` and `ceiling` of one forward, see `common.sparse.analysis.Analysis`.

    Raises:
        UsageError: a setting is out of its range, or the model is unknown.
        TicketError: the ticket cannot be read, or belongs to another model.
    """
    _check(config)
    with threads(config.threads), seeded(config.seed), torch.no_grad():
        network, model, masks = _network(config)
        if config.steps > 1 and not network.denoises:
            raise UsageError(f"--steps counts steps of DDIM, which {network} has none of; leave it out")
        console.line(f"{network}: {masks.kept:,} of {masks.total:,} weights kept ({masks.density:.1%})")
        inputs = network.inputs(config.batch)
        call = _call(inputs, config.steps)
        engines, dense = _dense(model, call, compiled=config.compiled)
        console.line("measuring the forms of the layers, once a machine ..." if config.tuned else "converting ...")
        sparse = cast(SparseNetwork, engine("sparse", model, masks, inputs, tuned=config.tuned))
        others = {"masked": engine("masked", model, masks, inputs), "sparse": sparse}
        small = engine("slim", model, masks, inputs)
        if _size(small) < _size(model):
            others["slim"] = small
        engines |= {name: partial(call, one) for name, one in others.items()}
        console.line(f"engines: {', '.join(engines)}; the first round compiles and does not count")
        times = race(engines, config.repeats)
        found = {"engines": times, **verdict(times, "sparse", dense)}
        found["max_abs_diff"] = float((call(model) - call(sparse)).abs().max())
        why = analyse(sparse, inputs)
    _show(found, why, console)
    settings = {"threads": config.threads, "batch": config.batch, "density": masks.density, "steps": config.steps}
    about = {"model": str(network), "torch": torch.__version__, "hardware": hardware()}
    return {**found, **settings, **about, **asdict(why)}


def _check(config: Speed) -> None:
    check_ranges(config, dict.fromkeys(("batch", "threads", "steps", "repeats"), AT_LEAST_ONE) | {"density": KEPT})


def _network(config: Speed) -> tuple[Network, nn.Module, Masks]:
    """The image-making part of a ticket's network with its masks, or of a named one with random masks."""
    if config.ticket:
        found = opened(Ticket.load(config.ticket), config.model)
        return found.network, found.maker, found.masks
    network = named(config.model or "small")
    maker = network.maker(network.build()).eval()
    return network, maker, pruned(maker, config.density)


def _size(model: nn.Module) -> int:
    return sum(param.numel() for param in model.parameters())


def _call(inputs: tuple[Tensor, ...], steps: int) -> Call:
    """One forward, or a sampling with so many steps of DDIM, from the same noise at every call."""

    def forward(model: nn.Module) -> Tensor:
        result = model(*inputs)
        return result if isinstance(result, Tensor) else result.sample

    return (lambda model: denoise(model, inputs[0], Sampler(steps=steps))) if steps > 1 else forward


def _dense(model: nn.Module, call: Call, *, compiled: bool) -> tuple[dict[str, Callable[[], Tensor]], dict[str, bool]]:
    """The dense engines, and which of them compute in float32."""
    last = channels_last(model)
    engines: dict[str, Callable[[], Tensor]] = {"eager": lambda: call(model), "channels-last": lambda: call(last)}
    dense = {"eager": True, "channels-last": True}
    if compiled:
        quick = cast(nn.Module, torch.compile(copy.deepcopy(model)))
        engines["compiled"], dense["compiled"] = lambda: call(quick), True
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():

        def half() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return call(last)

        engines["bfloat16"], dense["bfloat16"] = half, False
    return engines, dense


def _show(found: dict[str, Any], why: Analysis, console: Console) -> None:
    for name, times in sorted(found["engines"].items(), key=lambda item: item[1]["seconds"]):
        console.line(f"{name:14} {times['seconds']:8.4f} s  ({times['seconds_min']:.4f} to {times['seconds_max']:.4f})")
    console.line(
        f"sparse is {found['speedup_fp32']:.2f}x the best dense float32 ({found['best_dense_fp32']}) and "
        f"{found['speedup']:.2f}x the best dense of any precision ({found['best_dense']}); largest difference "
        f"{found['max_abs_diff']:.1e}"
    )
    for name, kinds in why.shares.items():
        parts = ", ".join(f"{kind} {share:.0%}" for kind, share in kinds.items() if share >= 0.005)
        console.line(f"time of {name}: {parts}")
    if why.layers:
        even = sorted((layer.break_even, layer.weight) for layer in why.layers)
        low, high = ("{1} at {0:.2f}".format(*one) for one in (even[0], even[-1]))
        console.line(f"densities at which layers break even: {low} to {high}; all with --json")
    console.line(
        f"Amdahl: {why.amdahl:.1f}x if layers took their densities' shares of their dense time and the rest stayed "
        f"as it is, {why.ceiling:.1f}x if they took none"
    )

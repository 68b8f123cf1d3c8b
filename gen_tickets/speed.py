"""`gen-tickets speed`: a ticket's network beside the dense one in every form that torch has for it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from common.masks import Masks
from common.runs.errors import UsageError
from common.runs.manifest import cpu_model
from common.runs.progress import Console
from common.runs.race import race, verdict
from common.sparse.convert import convert
from common.ticket import Ticket
from gen_tickets.config import Speed
from gen_tickets.models import FAMILIES, build

__all__ = ["network", "run"]

Call = Callable[[nn.Module], Tensor]


def run(config: Speed, console: Console) -> dict[str, Any]:
    """Time all engines and compare.

    Returns:
        `engines` (name to `seconds`, `seconds_min`, `seconds_max`), `best_dense_fp32`, `best_dense`, `speedup_fp32`,
        `speedup`, `max_abs_diff`, and what was measured: `threads`, `batch`, `density`, `steps`, `model`, `hardware`.

    Raises:
        UsageError: a setting is out of its range, or the model is unknown.
        TicketError: the ticket cannot be read, or belongs to another model.
    """
    _check(config)
    with _threads(config.threads), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(config.seed)
        model, inputs = network(config.model, config.batch)
        masks = _pruned(model, config)
        console.line(f"{config.model}: {masks.kept:,} of {masks.total:,} weights kept ({masks.density:.1%})")
        call = _call(inputs, config.steps)
        engines, dense = _dense(model, call, compiled=config.compiled)
        sparse = convert(model, None, inputs, threads=config.threads)
        engines["sparse"] = lambda: call(sparse)
        console.line(f"engines: {', '.join(engines)}; the first round compiles and does not count")
        times = race(engines, config.repeats)
        found = {"engines": times, **verdict(times, "sparse", dense)}
        found["max_abs_diff"] = float((call(model) - call(sparse)).abs().max())
    _show(found, console)
    settings = {"threads": config.threads, "batch": config.batch, "density": masks.density, "steps": config.steps}
    machine = f"{cpu_model()}, {torch.backends.cpu.get_cpu_capability()}"
    return {**found, **settings, "model": config.model, "torch": torch.__version__, "hardware": machine}


def network(name: str, batch: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network of the suite that makes images, in eval mode, and inputs for it.

    Args:
        name: `FAMILY/SIZE`, or the size of a U-Net.
        batch: images.

    Raises:
        UsageError: no such network.
    """
    family, _, size = name.rpartition("/")
    try:
        model = build(family or "ddpm", size).eval()
    except KeyError as error:
        raise UsageError(f"--model {name}: {error.args[0]}") from None
    image = FAMILIES[family or "ddpm"][size].image
    if not family or family == "ddpm":
        return model, (torch.randn(batch, *image), torch.full((batch,), 500))
    part = getattr(model, "generator", None) or getattr(model, "decoder", None) or model
    latent = getattr(model, "latent", None) or getattr(part, "latent", None)
    if not isinstance(latent, int):
        raise UsageError(f"--model {name}: found no latent to draw images from; choose one of {', '.join(FAMILIES)}")
    return part, (torch.randn(batch, latent),)


def _check(config: Speed) -> None:
    for name in ("batch", "threads", "steps", "repeats"):
        if getattr(config, name) < 1:
            raise UsageError(f"--{name} must be at least 1; found {getattr(config, name)}")
    if not 0 < config.density <= 1:
        raise UsageError(f"--density is the share to keep and must lie in (0, 1]; found {config.density}")
    if config.steps > 1 and config.model.rpartition("/")[0] not in ("", "ddpm"):
        raise UsageError(f"--steps counts steps of DDIM, which {config.model} has none of; leave it out")


@contextmanager
def _threads(count: int) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _pruned(model: nn.Module, config: Speed) -> Masks:
    """Zero the model's pruned weights, under the ticket's masks or random ones; returns the masks."""
    if config.ticket is not None:
        ticket = Ticket.load(config.ticket)
        ticket.apply(model)
        return ticket.masks
    weights = {name: p for name, p in model.named_parameters() if p.dim() in (2, 4)}
    masks = Masks({name: torch.rand_like(p) < config.density for name, p in weights.items()})
    for name, mask in masks.items():
        weights[name].mul_(mask)
    return masks


def _call(inputs: tuple[Tensor, ...], steps: int) -> Call:
    """One forward, or a sampling with so many steps of DDIM, from the same noise at every call."""

    def forward(model: nn.Module) -> Tensor:
        result = model(*inputs)
        return result if isinstance(result, Tensor) else result.sample

    def sample(model: nn.Module) -> Tensor:
        import diffusers

        scheduler: Any = diffusers.DDIMScheduler()
        x = inputs[0]
        scheduler.set_timesteps(steps)
        for step in scheduler.timesteps:
            x = scheduler.step(model(x, step.expand(len(x))).sample.float(), step, x).prev_sample
        return x

    return sample if steps > 1 else forward


def _dense(model: nn.Module, call: Call, *, compiled: bool) -> tuple[dict[str, Callable[[], Tensor]], dict[str, bool]]:
    """The dense engines, and which of them compute in float32."""
    last = cast(Any, copy.deepcopy(model)).to(memory_format=torch.channels_last)
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


def _show(found: dict[str, Any], console: Console) -> None:
    for name, times in sorted(found["engines"].items(), key=lambda item: item[1]["seconds"]):
        console.line(f"{name:14} {times['seconds']:8.4f} s  ({times['seconds_min']:.4f} to {times['seconds_max']:.4f})")
    console.line(
        f"sparse is {found['speedup_fp32']:.2f}x the best dense float32 ({found['best_dense_fp32']}) and "
        f"{found['speedup']:.2f}x the best dense of any precision ({found['best_dense']}); largest difference "
        f"{found['max_abs_diff']:.1e}"
    )

"""What 2:4 weights and fewer channels gain on a GPU: the U-Net of 35.7 M weights in bfloat16, every form compiled.

Timed in turn: the dense network; 2:4 weights (50 % pruned); `slim` at 50 % and at 75 %; and at 75 % also 2:4 of what
`slim` leaves at 50 %. `slim` drops whole groups of the norm inside each residual block, the smallest first, as many as
bring all weights near the share. Weights are fresh, which does for timing. `difference` is the largest between a form
and its masked dense network in float32, over the largest output. Prints one JSON object; needs a CUDA device.

    python benchmarks/semistructured.py --batch 256 --repeats 20
"""

from __future__ import annotations

import argparse
import copy
import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from common.allocate import prune, uniform
from common.masks import Masks, prunable
from common.runs.race import race
from common.scores import magnitude
from common.sparse.semistructured import semistructured
from common.sparse.slim import slim
from common.structure import n_of_m, tied
from gen_tickets.models import FAMILIES, build

GROUPS = {"50": 12, "75": 4}  # of 32 that stay in a residual block, whose two convolutions hold most weights


class Form(NamedTuple):
    """A network to time, the same in float32 with its zeros, and what is said about it."""

    model: nn.Module
    exact: nn.Module
    about: dict[str, Any]


def thinner(model: nn.Module, inputs: tuple[Tensor, ...], groups: int) -> nn.Module:
    """The network without the inner groups of its residual blocks, but for so many."""
    weights = prunable(model, "*resnets.*.conv2.weight")
    norms = {name: model.get_submodule(name.replace("conv2.weight", "norm2")) for name in weights}
    structure = {}
    for name, weight in weights.items():
        channel = torch.arange(weight.shape[1]) * cast(nn.GroupNorm, norms[name]).num_groups // weight.shape[1]
        structure[name] = tied(channel.view(1, -1, 1, 1).expand(weight.shape).contiguous())
    count = {cast(nn.GroupNorm, norm).num_groups for norm in norms.values()}.pop()
    masks = prune(magnitude(model, weights), groups / count, allocate=uniform, structure=structure)
    return slim(model, masks, inputs).model


def pairs(model: nn.Module, device: str) -> Form:
    """The network with the engine's 2:4 masks on every weight whose rows can be grouped."""
    weights = {name: p for name, p in prunable(model).items() if p[0].numel() % 4 == 0}
    masks = prune(magnitude(model, weights), 0.5, allocate=uniform, structure=n_of_m(2, 4))
    semi = semistructured(_moved(model, device), masks, dtype=torch.bfloat16)
    exact = copy.deepcopy(model)
    with torch.no_grad():
        for name, mask in masks.items():
            exact.get_parameter(name).mul_(mask)
    dense = {name: entry["reason"] for name, entry in semi.report.items() if entry["form"] == "dense"}
    return Form(semi.model, exact, {"layers": Counter(e["form"] for e in semi.report.values()), "reasons": dense})


def forms(model: nn.Module, inputs: tuple[Tensor, ...], device: str) -> dict[str, Form]:
    """Everything that is timed, with the share of the weights that is left."""
    slimmed = {share: thinner(model, inputs, groups) for share, groups in GROUPS.items()}
    plain = {"dense": model} | {f"slim_{share}": small for share, small in slimmed.items()}
    found = {name: Form(_moved(net, device).bfloat16(), net, {}) for name, net in plain.items()}
    found |= {"2:4_50": pairs(model, device), "slim_50_2:4_75": pairs(slimmed["50"], device)}
    whole = Masks.dense(prunable(model)).total
    for form in found.values():
        form.about["kept"] = round(sum(int(p.count_nonzero()) for p in prunable(form.exact).values()) / whole, 4)
    return found


@torch.no_grad()
def measure(model: nn.Module, image: tuple[int, ...], options: argparse.Namespace, device: str) -> dict[str, Any]:
    """Seconds of a call of every form, how much quicker than dense it is, and how far from exact."""
    x, time = torch.randn(options.batch, *image), torch.full((options.batch,), 500)
    found = forms(model, (x[:2], time[:2]), device)
    half = x.to(device, torch.bfloat16, memory_format=torch.channels_last), time.to(device)
    for form in found.values():
        exact = _moved(form.exact, device)(x[:8].to(device), half[1][:8]).sample
        error = (form.model(half[0][:8], half[1][:8]).sample.float() - exact).abs().max() / exact.abs().max()
        form.about["difference"] = round(float(error), 5)
    engines = {name: partial(_call, torch.compile(form.model), half) for name, form in found.items()}
    times = race(engines, options.repeats, warmup=3)
    dense = times["dense"]["seconds"]
    return {
        n: {**times[n], "speedup": round(dense / times[n]["seconds"], 3), **form.about} for n, form in found.items()
    }


def _moved(model: nn.Module, device: str) -> Any:
    return cast(Any, copy.deepcopy(model)).to(device, memory_format=torch.channels_last)


def _call(model: Callable[..., Any], inputs: tuple[Tensor, ...]) -> None:
    model(*inputs)
    if inputs[0].is_cuda:
        torch.cuda.synchronize()


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("found no CUDA device; expected a GPU of compute capability 8.0 or later. Run this on one.")
    torch.manual_seed(0)
    model = build("ddpm", "cifar10").eval()
    result = measure(model, FAMILIES["ddpm"]["cifar10"].image, options, "cuda")
    context = {"torch": torch.__version__, "hardware": torch.cuda.get_device_name(), "dtype": "bfloat16"}
    print(json.dumps(vars(options) | {"engines": result} | context, indent=1))


if __name__ == "__main__":
    main()

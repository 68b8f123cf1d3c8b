"""Random layers, normalisations and transfers for the sparse kernels, with one to four threads."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from kernel_references import NORM_ERROR, normalised, reference
from torch import Tensor

from common.sparse import summation
from common.sparse.geometry import output_size
from common.sparse.layer import Layer, Where
from common.sparse.layout import Plane
from common.sparse.machine import Machine, host
from common.sparse.memory import over
from common.sparse.norm import Norm
from common.sparse.team import Team
from common.sparse.transfer import move
from common.sparse.weights import Kept

__all__ = ["Found", "layer", "layers_geometry", "machine", "normalisation", "transfer"]

_THREADS = (1, 2, 3, 4)
_MARK = 777.0  # what lies beside an output and must stay there


class Found(NamedTuple):
    """A case's result: the largest relative difference, what is wrong (nothing if empty), how it was drawn."""

    difference: float
    wrong: str
    drawn: dict[str, Any]


def machine(rng: random.Random) -> Machine:
    """This machine, or the same with narrower registers."""
    return host().narrowed(rng.choice([lanes for lanes in (16, 8, 4) if lanes <= host().lanes]))


def layers_geometry(rng: random.Random) -> dict[str, Any]:
    """What decides the machine code of a layer: sizes and options, but for channels."""
    while True:
        kernel, stride = [rng.choice([1, 2, 3, 3, 4, 5]) for _ in "ab"], [rng.choice([1, 1, 2, 3]) for _ in "ab"]
        size = [1, 1] if rng.random() < 0.1 else [rng.randint(1, 20), rng.randint(1, 40)]
        options: dict[str, Any] = {"stride": stride, "slope": rng.choice([None, None, 0.0, 0.2])}
        if rng.random() < 0.35:
            padding, extra = [rng.randint(0, k - 1) for k in kernel], [rng.randint(0, s - 1) for s in stride]
            options |= {"transposed": True, "padding": padding, "extra": extra}
        else:
            options |= {"padding": [rng.randint(0, 3) for _ in "abcd"], "dilation": [rng.randint(1, 3) for _ in "ab"]}
            options |= {"double": True} if rng.random() < 0.15 else {}
        if min(output_size(options, (kernel[0], kernel[1]), *size)) > 0:
            break
    place = {"images": rng.choice([1, 16]), "lanes": machine(rng).lanes, "residual": rng.random() < 0.3}
    return {"kernel": kernel, "size": size, "options": options} | place


def layer(rng: random.Random, geometry: dict[str, Any], fenced: Callable[[Tensor], Tensor]) -> Found:
    """One layer with every number of threads against the reference."""
    images, groups = geometry["images"], rng.choice([1, 1, 2, 3])
    options = geometry["options"] | {"groups": groups}
    wide, deep = rng.choice([1, 2, 3, 5, 17, 40]), rng.choice([1, 2, 3, 5, 17])
    density, spoil = rng.choice([0.0, 0.02, 0.1, 0.5, 0.9, 1.0]), rng.choice(["", "", "", "nan", "inf", "-inf"])
    inputs, outputs = wide * groups, deep * groups
    weight = torch.randn(*((inputs, deep) if options.get("transposed") else (outputs, wide)), *geometry["kernel"])
    weight *= (torch.rand_like(weight) < density) & (torch.rand(len(weight), 1, 1, 1) < rng.choice([0.6, 1.0]))
    x = torch.randn(images, inputs, *geometry["size"]) * 10 ** rng.uniform(-3, 3)
    if spoil:
        x.view(-1)[torch.randint(x.numel(), (rng.randint(1, 4),))] = float(spoil)
    norm = _norm(rng, inputs, fenced) if rng.random() < 0.25 else None
    bias = fenced(torch.randn(outputs, images if rng.random() < 0.5 else 1))
    size = (images, outputs, *output_size(options, geometry["kernel"], *geometry["size"]))
    residual = torch.randn(size) if geometry["residual"] else None
    where, made = Where(host().narrowed(geometry["lanes"]), Team(1)), Layer(Kept.of(weight), options)
    laid, added = _laid(rng, x, fenced), None if residual is None else _laid(rng, residual, fenced)
    plane, before, after = Plane(size[2], size[3], images), rng.randint(0, 2), rng.randint(0, 2)

    def run(threads: int) -> tuple[Tensor, bool]:
        floats, where.team = _memory((before + outputs + after) * plane.size).fill_(_MARK), Team(threads)
        y = over(floats, images, before + outputs + after, plane)[:, before : before + outputs].fill_(float("nan"))
        made.run(laid, y, bias, added, norm, where)
        result = y.clone()
        y.fill_(_MARK)
        return result, bool((floats == _MARK).all())

    drawn = {"channels": [inputs, outputs], "groups": groups, "density": density, "values": spoil, "beside": before}
    return _agreed(
        run, *reference(x, weight, options, bias, residual, norm), geometry | drawn | {"norm": norm and norm[2:]}
    )


def normalisation(rng: random.Random, fenced: Callable[[Tensor], Tensor]) -> Found:
    """A group normalisation on its own, into a plane with a margin."""
    rows, cols, channels = rng.randint(1, 9), rng.randint(1, 9), rng.randint(1, 30)
    target, offset, times = machine(rng), rng.choice([0.0, 3.0, 30.0]), rng.choice([1, 1, 2])
    x = torch.randn(16, channels, rows, cols) * 10 ** rng.uniform(-2, 2) + offset
    norm, inputs = _norm(rng, channels, fenced), Plane(rows, cols, 16)
    margin = (rng.randint(0, 2), rng.randint(0, 2), rng.randint(0, 2), rng.randint(0, 2))
    outputs = Plane(times * rows, times * cols, 16, margin)
    kernel = norm.kernel(inputs, outputs, target, double=times == 2)
    laid = over(_memory(channels * inputs.size), 16, channels, inputs).copy_(x)

    def run(threads: int) -> tuple[Tensor, bool]:
        floats = _memory(channels * outputs.size).fill_(_MARK)
        kernel.run(laid.data_ptr(), floats.data_ptr(), Team(threads))
        y = over(floats, 16, channels, outputs)
        result = y.clone()
        y.fill_(_MARK)
        return result, bool((floats == _MARK).all())

    expected, magnitude = (v.repeat(times, axis=2).repeat(times, axis=3) for v in normalised(x, norm))
    drawn = {"shape": list(x.shape), "norm": norm[2:], "margin": margin, "times": times, "lanes": target.lanes}
    return _agreed(run, expected, magnitude, NORM_ERROR, drawn)


def _norm(rng: random.Random, channels: int, fenced: Callable[[Tensor], Tensor]) -> Norm:
    scale, shift = (fenced(torch.randn(channels)) for _ in "ab")
    pieces, fixed = [n for n in range(1, channels + 1) if channels % n == 0], rng.random() < 0.4
    silu, slope = rng.choice([(False, None), (True, None), (True, None), (False, 0.0), (False, 0.2)])
    if fixed:
        return Norm(scale, shift, channels, silu=silu, slope=slope, fixed=True)
    return Norm(scale, shift, rng.choice(pieces), 1e-5, silu, slope)


def _agreed(
    run: Callable[[int], tuple[Tensor, bool]],
    expected: np.ndarray,
    magnitude: np.ndarray,
    bound: float,
    drawn: dict[str, Any],
) -> Found:
    """What all numbers of threads give against a reference; `run` also says whether all beside it was left alone."""
    worst, wrong, first = 0.0, [], None
    for threads in _THREADS:
        y, alone = run(threads)
        found = y.double().numpy()
        odd = ~(np.isfinite(expected) & np.isfinite(found))
        with np.errstate(invalid="ignore"):
            off = np.where(odd, 0.0, np.abs(found - expected) / magnitude)
        worst = max(worst, float(off.max()))
        bits = y.contiguous().view(torch.int32)
        first = bits if first is None else first
        checks = {
            f"a relative difference of {worst:.1e}; expected at most {bound:.1e}": worst <= bound,
            "other values that are not finite": np.array_equal(found[odd], expected[odd], equal_nan=True),
            "other bits than one thread": torch.equal(first, bits),
            "something written beside the output": alone,
        }
        wrong += [f"{threads} threads: found {what}" for what, fine in checks.items() if not fine]
    return Found(worst, "; ".join(wrong[:2]), drawn)


def _memory(size: int) -> Tensor:
    return torch.from_numpy(summation.buffer(size // 4))


def _laid(rng: random.Random, x: Tensor, fenced: Callable[[Tensor], Tensor]) -> Tensor:
    """The same values, contiguous, or in the runtime's layout, or there as some channels of more."""
    images, channels, rows, cols = x.shape
    before, after = rng.choice([(0, 0), (0, 0), (1, 2)])
    if rng.random() < 0.3:
        return fenced(x)
    plane, total = Plane(rows, cols, images), before + channels + after
    return over(_memory(total * plane.size), images, total, plane)[:, before : before + channels].copy_(x)


def transfer(rng: random.Random, fenced: Callable[[Tensor], Tensor]) -> Found:
    """A copy between images in lanes and images one after the other, there and back."""
    shape = (16, *(rng.choice([1, 2, 5, 15, 16, 17, 33]) for _ in range(rng.randint(1, 3))))
    lanes, order = fenced(torch.randn(*shape[1:], 16)).movedim(-1, 0), list(range(1, len(shape)))
    rng.shuffle(order)
    plain = fenced(torch.zeros(16, *(shape[d] for d in order))).permute(
        0, *(order.index(d) + 1 for d in range(1, len(shape)))
    )
    back, wrong, target = fenced(torch.zeros(*shape[1:], 16)).movedim(-1, 0), "", machine(rng)
    for threads in _THREADS:
        move(lanes, plain.zero_(), target, Team(threads))
        move(plain, back.zero_(), target, Team(threads))
        if not (torch.equal(plain, lanes) and torch.equal(back, lanes)):
            wrong = wrong or f"{threads} threads do not copy"
    return Found(0.0, wrong, {"shape": shape, "order": order, "lanes": target.lanes})

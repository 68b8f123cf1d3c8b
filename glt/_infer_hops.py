"""The back-ends of what reads neighbours: matrix products, and attention, maxima and softmaxes over the rows.

scipy, torch and numba multiply. scipy has no attention and no maximum: torch takes its place, in blocks of rows, so
that messages never exist for all edges at once; numba holds none at all. Edges that are there in part make a maximum
an expected one, which torch alone computes; so it does attention whose scores are very far apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from glt._infer_plan import plain
from glt._infer_products import Product, bias_of
from glt._infer_segments import attention, maximum, softmax_by_edge
from glt._infer_steps import Attend, Maximum, Propagate, Softmax, Step
from glt._infer_work import Work, finished, share

__all__ = ["hops"]

_EXPONENTS = 100.0  # their widest range for which one shift a column is as exact as one a node, as in `GENConv`
_SCORES = 40.0  # the widest range of attention's scores whose exponentials are taken by node
_Product = Callable[[Step, int], Product]


def hops(step: Step, backends: list[str], threads: int, *, soft: bool = False) -> dict[str, Product]:
    """Ways to compute a step that is no product with a weight, each from all nodes' rows to those computed.

    Args:
        step: what to compute, touches included.
        backends: those to choose from; another one takes the place of a back-end that has none for this step.
        threads: of numba; torch has its own setting and scipy runs on one.
        soft: some edges are there in part.

    Returns:
        Name to function. The name says which back-end it is, and what it computes if it is not the product.
    """
    op = step.op
    if isinstance(op, Propagate):
        return {name: _LINEAR[name](step, threads) for name in backends}
    if isinstance(op, Softmax):
        inner = Step(op, step.reads)
        return {f"{name} softmax": _softmax(step, _LINEAR[name](inner, threads)) for name in backends}
    if isinstance(op, (Attend, Maximum)):
        kind = "attention" if isinstance(op, Attend) else "maximum"
        compiled = isinstance(op, Attend) or not soft
        names = dict.fromkeys("numba" if name == "numba" and compiled else "torch" for name in backends)
        return {f"{name} {kind}": _SEGMENTS[name, kind](step, threads) for name in names}
    return {backends[-1]: _touched(step)}


def _scipy(step: Step, threads: int) -> Product:
    del threads
    return lambda x, work: finished(torch.from_numpy(work.there.scipy @ x.numpy()), step.touches, work)


def _torch(step: Step, threads: int) -> Product:
    del threads

    def run(x: Tensor, work: Work) -> Tensor:
        y = work.take(work.there.shape[0], x.size(1), x)
        return finished(torch.mm(work.there.torch, x, out=y), step.touches, work)

    return run


def _numba(step: Step, threads: int) -> Product:
    from glt import _infer_numba

    (bias, relu), rest = plain(step.touches)

    def run(x: Tensor, work: Work) -> Tensor:
        y = work.take(work.there.shape[0], x.size(1), x)
        words = (work.there.parts, x.numpy(), bias_of(bias, relu, x.size(1)), relu, y.numpy())
        share(lambda a, b: _infer_numba.hop(*words, a, b), work.there.shares(threads), threads)
        return finished(y, rest, work)

    return run


def _softmax(step: Step, product: Product) -> Product:
    """Numerator and denominator side by side in one product, as `GENConv` has them."""
    op = cast(Softmax, step.op)

    def run(x: Tensor, work: Work) -> Tensor:
        width, rows = x.size(1), work.there.shape[0]
        both = work.take(len(x), 2 * width, x)
        messages, weights = both.split(width, 1)
        messages.copy_(x).relu_().add_(op.eps)
        low, high = (bound * op.t for bound in messages.aminmax(dim=0))
        if bool(((high - low).abs() > _EXPONENTS).any()):
            mean = softmax_by_edge(messages, op.t, work)
        else:
            torch.mul(messages, op.t, out=weights).sub_((low + high) / 2).exp_()
            messages.mul_(weights)
            top, total = product(both, work).split(width, 1)
            mean = torch.div(top, total + (total == 0), out=work.take(rows, width, x, top))
        return finished(mean.mul_(work.there.sums.clamp(max=1)).add_(work.own(x)), step.touches, work)

    return run


def _numba_attention(step: Step, threads: int) -> Product:
    from glt import _infer_numba_segments

    op, slow = cast(Attend, step.op), attention(step)

    def run(x: Tensor, work: Work) -> Tensor:
        found = _powers(op, work)
        if found is None:
            return slow(x, work)
        y = work.take(work.there.shape[0], x.size(1), x)
        spans = torch.searchsorted(op.heads, torch.arange(found[0].size(1) // 2 + 1)).numpy()
        words = (work.there.parts, x.numpy(), found[0].numpy(), found[1].numpy(), spans, y.numpy())
        share(lambda a, b: _infer_numba_segments.attend(*words, a, b), work.there.shares(threads), threads)
        return finished(y, step.touches, work)

    return run


def _powers(op: Attend, work: Work) -> tuple[Tensor, Tensor] | None:
    r"""Attention's exponentials by node: powers (N, 2 heads) of the sources, thresholds and factors (R, 2 heads).

    With $S$ the largest source score and slope $\lambda$, $e^{\mathrm{LeakyReLU}(s + t)}$ is in proportion to
    $e^{s - S}$ where $s + t > 0$, that is where this is above $e^{-t - S}$, and to
    $e^{\lambda (s - S)} e^{(\lambda - 1)(t + S)}$ elsewhere. None where scores are so far apart that this underflows.
    """
    scores, targets = work.values[op.scores].chunk(2, 1)
    low, high = scores.aminmax(dim=0)
    if not 0 <= op.slope <= 1 or bool((high - low > _SCORES).any()):
        return None
    below, above = scores - high, work.own(targets) + high
    powers = torch.cat([below.exp(), (below * op.slope).exp()], 1)
    return powers, torch.cat([(-above).exp(), (above.clamp(min=0) * (op.slope - 1)).exp()], 1)


def _numba_maximum(step: Step, threads: int) -> Product:
    from glt import _infer_numba_segments

    own = cast(Maximum, step.op).own

    def run(x: Tensor, work: Work) -> Tensor:
        y = work.take(work.there.shape[0], x.size(1), x)
        words = (work.there.parts, x.numpy(), y.numpy())
        share(lambda a, b: _infer_numba_segments.maximum(*words, a, b), work.there.shares(threads), threads)
        return finished(y.add_(work.own(x), alpha=own) if own else y, step.touches, work)

    return run


def _touched(step: Step) -> Product:
    """Touches alone, of a copy."""

    def run(x: Tensor, work: Work) -> Tensor:
        mine = work.own(x)
        return finished(work.take(*mine.shape, x).copy_(mine), step.touches, work)

    return run


_LINEAR: dict[str, _Product] = {"scipy": _scipy, "torch": _torch, "numba": _numba}
_SEGMENTS: dict[tuple[str, str], _Product] = {
    ("torch", "attention"): lambda step, _: attention(step),
    ("torch", "maximum"): lambda step, _: maximum(step),
    ("numba", "attention"): _numba_attention,
    ("numba", "maximum"): _numba_maximum,
}

"""Synaptic flow: a criterion without data, and its iterated form, which never cuts a network in two."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from common._scorer import Objective, Scorer, cite, unchanged
from common.allocate import prune
from common.masks import Masks, closest

__all__ = ["synflow", "synflow_masks"]

TANAKA = "Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic flow, NeurIPS 2020"


@cite(TANAKA)
def synflow(inputs: tuple[Tensor, ...]) -> Scorer:
    r"""Synaptic flow: $|w| \cdot \partial R / \partial |w|$, with R the sum of the outputs for an input of ones.

    All parameters of the network are taken by their absolute values, in eval mode. In a chain of bias-free linear and
    ReLU layers every layer's scores add up to R.

    Args:
        inputs: what the model is called with; floating tensors are replaced by ones of their shape, others (indices,
            labels, timesteps) are passed as they are. A batch of one is enough.

    Returns:
        A scorer; it needs no objective.

    Raises:
        TypeError: `inputs` is no tuple, or in the scorer: the outputs hold no floating tensor.
        KeyError: in the scorer, a name is not among the model's parameters.
        ValueError: in the scorer, if R overflows or does not depend on a parameter.

    References:
        Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic flow, NeurIPS 2020.

    >>> model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    >>> _ = [nn.init.constant_(p, -2.0) for p in model.parameters()]
    >>> synflow((torch.zeros(1, 1),))(model, dict(model.named_parameters()))
    {'0.weight': tensor([[4.],
            [4.]]), '2.weight': tensor([[4., 4.]])}
    """
    if not isinstance(inputs, tuple):
        raise TypeError(f"synflow takes the model's inputs as a tuple; found a {type(inputs).__name__}. Pass (x,).")

    @cite(TANAKA)
    def score(
        model: nn.Module,
        params: Mapping[str, Tensor],
        objective: Objective | None = None,  # noqa: ARG001 - criteria share one signature
    ) -> dict[str, Tensor]:
        return _flow(model, params, inputs, None)

    return score


@cite(TANAKA)
def synflow_masks(
    model: nn.Module,
    params: Mapping[str, Tensor],
    inputs: tuple[Tensor, ...],
    density: float,
    rounds: int = 100,
    *,
    within: Masks | None = None,
) -> Masks:
    r"""Prune by synaptic flow in many small steps, to density $\rho^{r / R}$ in round r of R, rescored each time.

    Args:
        model: any module; left as it was.
        params: name to parameter of the model.
        inputs: see `synflow`.
        density: the share to keep, over all of `params`.
        rounds: R; the paper takes 100.
        within: masks to stay within, where the schedule starts.

    Raises:
        ValueError: `rounds` is below 1; see also `synflow` and `prune`.

    References:
        Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic flow, NeurIPS 2020.

    >>> model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    >>> synflow_masks(model, dict(model.named_parameters()), (torch.zeros(1, 4),), 0.25, rounds=10).kept
    6
    """
    if rounds < 1:
        raise ValueError(f"synflow_masks prunes in at least one round; found rounds={rounds}")
    masks = Masks.dense(params) if within is None else Masks({name: within[name] for name in params})
    start = masks.density
    for r in range(1, rounds + 1):
        now = density if r == rounds or not start else start * (density / start) ** (r / rounds)
        masks = prune(_flow(model, params, inputs, masks), now, within=masks)
    return masks


def _flow(
    model: nn.Module, params: Mapping[str, Tensor], inputs: tuple[Tensor, ...], masks: Masks | None
) -> dict[str, Tensor]:
    state = {name: p.detach().abs() for name, p in model.named_parameters()}
    for name in params:
        if name not in state:
            raise KeyError(f"the model has no parameter {name!r}; the nearest is {closest(name, state)}")
        if masks is not None:
            state[name] = state[name] * masks[name].to(state[name].device)
        state[name].requires_grad_(True)
    ones = tuple(torch.ones_like(x) if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs)
    with unchanged(model):
        model.eval()
        flows = _floating(functional_call(model, state, ones))
        if not flows:
            raise TypeError("synflow: the model's outputs hold no floating tensor; expected one, or a tuple or mapping")
        flow = torch.stack([value.sum() for value in flows]).sum()
        grads = torch.autograd.grad(flow, [state[name] for name in params], allow_unused=True)
    if not bool(flow.isfinite()):
        raise ValueError(
            f"synflow: the flow through the network is {flow.item()} in {flow.dtype}, too deep for it. Score a copy in "
            "double precision, copy.deepcopy(model).double()."
        )
    if unused := [name for name, grad in zip(params, grads, strict=True) if grad is None]:
        raise ValueError(f"synflow: the outputs do not depend on {', '.join(unused)}. Leave them out of params.")
    return {n: state[n].detach() * g for n, g in zip(params, grads, strict=True) if g is not None}


def _floating(output: object) -> list[Tensor]:
    """All floating tensors in nested outputs."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, Mapping):
        return [tensor for value in output.values() for tensor in _floating(value)]
    if isinstance(output, (tuple, list)):
        return [tensor for value in output for tensor in _floating(value)]
    return []

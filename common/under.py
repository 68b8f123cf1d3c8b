"""A ticket by training a model under masks that something else than the search engine has chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn

from common._ties import ties
from common.apply import Guard, masked
from common.masks import Masks, agree_across_ranks
from common.rewind import restore, snapshot
from common.ticket import Ticket

__all__ = ["ticket_under"]


def ticket_under(
    model: nn.Module,
    train: Callable[[int, int], Mapping[str, float]],
    masks: Masks,
    weights: Mapping[str, Tensor],
    span: tuple[int, int],
    *,
    recipe: Mapping[str, Any],
    references: list[str],
    block: AbstractContextManager[Guard] | None = None,
) -> Ticket:
    """Load weights, train under masks, and keep both with what came out.

    Args:
        model: is trained in place.
        train: trains the model over steps [start, stop) and returns its metrics.
        masks: to begin with; masks that prune nothing need no guard.
        weights: the whole state_dict to begin with, which the ticket keeps.
        span: the steps [start, stop).
        recipe: how the masks were chosen, plain json; steps and density are added.
        references: the papers to cite.
        block: to train in, instead of `masked`: masks that move.
    """
    restore(model, dict(weights))
    model.zero_grad(set_to_none=True)
    agree_across_ranks(masks)
    dense = block is None and masks.kept == masks.total
    with nullcontext() if dense else block or masked(model, masks) as guard:
        metrics = dict(train(*span))
        kept = masks if guard is None else Masks(guard.masks)
    return Ticket(
        kept,
        dict(weights),
        {"steps": list(span), "density": kept.density, **recipe},
        metrics,
        references=references,
        trained=snapshot(model),
        tied=ties(model.state_dict(), dict.fromkeys(kept)),
        whole=True,
    )

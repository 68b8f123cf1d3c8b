"""What a user may set of each search method, as dataclasses without heavy imports; defaults are the published ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["UGS"]


@dataclass(frozen=True)
class UGS:
    """Search of UGS (Chen et al., ICML 2021); defaults are those of the published code."""

    epochs: int = 200
    """Epochs in which masks and weights train together."""
    l1_edges: float | None = None
    """L1 on the edge mask; 1e-2, on PubMed 1e-6."""
    l1_weights: float | None = None
    """L1 on the weight masks; 1e-2, on PubMed 1e-3."""
    l1: Literal["subgradient", "loss"] = "subgradient"
    """Add the L1 term's sub-gradient after the backward pass (published code) or the term to the loss (paper)."""
    decay_masks: bool = True
    """Let weight decay act on the masks too (published code; the paper has none)."""
    noise: float = 1e-5
    """Masks start at 1 plus uniform noise of this size."""
    mask_at: Literal["best", "last"] = "best"
    """Take the masks of the epoch of best validation accuracy (published code) or of the last epoch."""
    exact_rng: bool = False
    """Draw all noise in the published code's order, to repeat it digit by digit; needs nodes x nodes numbers once."""

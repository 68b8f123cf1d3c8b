"""What a user may set of `glt data`, without heavy imports."""

from __future__ import annotations

from dataclasses import dataclass

from common.runs import health

__all__ = ["Inspect"]


@dataclass(frozen=True)
class Inspect(health.Inspect):
    """Show what a data set holds, or which are at hand; write one as a file that every command reads."""

    to: str | None = None
    """Folder for NAME.npz, which is written; a Planetoid set that is not at hand is also downloaded into it, and the
    folder is then a --data-root."""
    largest: bool = False
    """Of a file in the GNN benchmark's format, keep the largest connected component alone."""
    seed: int = 0
    """Of the split of such a file."""

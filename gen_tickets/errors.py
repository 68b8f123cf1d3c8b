"""What can go wrong while a generative model trains."""

from __future__ import annotations

__all__ = ["DivergedError"]


class DivergedError(ArithmeticError):
    """A loss or a gradient is not finite, so that training cannot go on."""

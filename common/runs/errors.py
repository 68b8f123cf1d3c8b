"""The errors a command turns into an exit code; all of them are raised with a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["BelowRequired", "ConfigChanged", "DivergedError", "MissingData", "RunFolderError", "UsageError"]


class UsageError(ValueError):
    """The command line or the configuration is wrong (exit code 2)."""


class ConfigChanged(UsageError):
    """A run folder of this name holds a run with another configuration (exit code 2)."""


class MissingData(Exception):
    """Data or weights are not on this machine (exit code 3)."""


class RunFolderError(OSError):
    """A run folder cannot be used: not writable, not a run folder, or in use by another process (exit code 1)."""


class DivergedError(ArithmeticError):
    """A loss, a gradient or an output is not finite, so that training cannot go on (exit code 1)."""


class BelowRequired(Exception):
    """The work is done, but its result is below what was required (exit code 4).

    Args:
        message: value found and value required.
        result: what the command would have returned; it is still emitted.
    """

    def __init__(self, message: str, result: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.result = dict(result or {})

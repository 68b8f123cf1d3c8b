"""Progress on stderr: a bar where somebody watches, one plain line a round where a log is written."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any

__all__ = ["Console"]


class Console:
    """Everything a command says while it works. Standard output stays free for the one JSON result.

    Args:
        quiet: say nothing but warnings.
        stream: where to; standard error by default.

    >>> console = Console(stream=sys.stdout)
    >>> console.line("cora: 2,708 nodes, 5,278 edges")
    cora: 2,708 nodes, 5,278 edges
    >>> console.round(1, 3, {"edges": 0.95, "accuracy": "81.3%"})  # doctest: +ELLIPSIS
    round 1/3  edges 0.95  accuracy 81.3%  (... s)
    """

    def __init__(self, *, quiet: bool = False, stream: IO[str] | None = None) -> None:
        self.quiet = quiet
        self._stream = stream
        self._started = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    @property
    def stream(self) -> IO[str]:
        """Where the lines go."""
        return sys.stderr if self._stream is None else self._stream

    def line(self, text: str) -> None:
        """Say one line."""
        if not self.quiet:
            self._write(text)

    def warning(self, text: str) -> None:
        """Say one line even when quiet."""
        self._write(f"warning: {text}")

    def round(self, number: int, total: int, fields: Mapping[str, Any], *, what: str = "round") -> None:
        """Say that a round is finished.

        Args:
            number: rounds finished so far, counted from 1.
            total: rounds there will be.
            fields: what to show of it, in order; floats are shown with four digits.
            what: what a round is called.
        """
        if self.quiet:
            return
        shown = "  ".join(f"{key} {_short(value)}" for key, value in fields.items())
        seconds = time.monotonic() - self._started
        if self.stream.isatty():
            self._advance(number, total, what)
        self._write(f"{what} {number}/{total}  {shown}  ({seconds:.1f} s)")
        if number >= total:
            self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def __enter__(self) -> Console:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _write(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=True, soft_wrap=True)
            return
        self.stream.write(text + "\n")
        self.stream.flush()

    def _advance(self, number: int, total: int, what: str) -> None:
        if self._bar is None:
            from rich.console import Console as Terminal
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Terminal(file=self.stream), transient=True)
            self._task = self._bar.add_task(what, total=total)
            self._bar.start()
        self._bar.update(self._task, completed=number, total=total, description=what)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

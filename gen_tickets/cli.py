"""The command `gen-tickets`: sample, speed."""

from __future__ import annotations

from collections.abc import Sequence

from common.runs.cli import Command
from common.runs.cli import main as run

__all__ = ["COMMANDS", "main"]

COMMANDS = (
    Command(
        "sample",
        "Draw images of a ticket, by a dense, masked, sparse or slim network.",
        "gen_tickets.config:Sample",
        "gen_tickets.sample:run",
        "ticket",
    ),
    Command(
        "speed",
        "Time a sparse network beside dense ones, in turn and in one process.",
        "gen_tickets.config:Speed",
        "gen_tickets.speed:run",
        "ticket",
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gen-tickets` with the given words, or those of the process; returns the exit code."""
    return run("gen-tickets", COMMANDS, argv, about="Tickets in generative models.")

"""The command `gen-tickets`: find, compare, sample, fid, export, speed, schedule, data, doctor."""

from __future__ import annotations

from collections.abc import Sequence

from common.runs.cli import Command
from common.runs.cli import main as run

__all__ = ["COMMANDS", "main"]

COMMANDS = (
    Command(
        "find",
        "Find a ticket of a generative model, check it against its controls, save it and write a report.",
        "gen_tickets.config:Find",
        "gen_tickets.find:run",
        ("family", "dataset"),
    ),
    Command(
        "compare",
        "Compare methods of finding tickets at the same densities and seeds.",
        "gen_tickets.config:Compare",
        "gen_tickets.compare:run",
        ("family", "dataset"),
    ),
    Command(
        "sample",
        "Draw images of a ticket, by a dense, masked, sparse or slim network.",
        "gen_tickets.config:Sample",
        "gen_tickets.sample:run",
        "ticket",
    ),
    Command(
        "fid",
        "Score images of a ticket by real ones.",
        "gen_tickets.config:Fid",
        "gen_tickets.fid:run",
        "ticket",
    ),
    Command(
        "export",
        "Write a ticket's weights, zeros in place, for other programs.",
        "gen_tickets.config:Export",
        "gen_tickets.export:run",
        "ticket",
    ),
    Command(
        "speed",
        "Time a sparse network beside dense ones, in turn and in one process.",
        "gen_tickets.config:Speed",
        "gen_tickets.speed:run",
        "ticket",
    ),
    Command(
        "schedule",
        "Find out which ticket may denoise which stretch, for a share of the dense network's time.",
        "gen_tickets._config_schedule:Schedule",
        "gen_tickets.stepwise.command:run",
        "tickets",
    ),
    Command(
        "data",
        "Show which data sets are at hand, or what one holds.",
        "gen_tickets.config:Inspect",
        "gen_tickets.inspect:data",
        "dataset",
    ),
    Command("doctor", "Check the installation.", "gen_tickets.config:Doctor", "gen_tickets.inspect:doctor"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gen-tickets` with the given words, or those of the process; returns the exit code."""
    return run("gen-tickets", COMMANDS, argv, about="Tickets in generative models.")

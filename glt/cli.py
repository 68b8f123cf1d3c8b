"""The command `glt`: find, compare, eval, infer, speed, data, doctor."""

from __future__ import annotations

from collections.abc import Sequence

from common.runs.cli import Command
from common.runs.cli import main as run

__all__ = ["COMMANDS", "main"]

COMMANDS = (
    Command(
        "find",
        "Find a graph lottery ticket, check it against its controls, save it and write a report.",
        "glt.config:Find",
        "glt.find:run",
        "dataset",
    ),
    Command(
        "compare",
        "Compare search methods on the same data, seeds and densities, beside their controls.",
        "glt.compare_config:Compare",
        "glt.compare:run",
        "dataset",
    ),
    Command(
        "eval",
        "Retrain a ticket from its rewound weights, beside dense, random and re-initialised controls.",
        "glt.config:Eval",
        "glt.evaluate:run",
        "ticket",
    ),
    Command(
        "infer",
        "Predict every node's label with a ticket's network.",
        "glt.config:Infer",
        "glt.predict:run",
        "ticket",
    ),
    Command(
        "speed",
        "Time full-graph inference of a ticket beside the dense network and torch-geometric.",
        "glt.config:Speed",
        "glt.speed:run",
        "ticket",
    ),
    Command(
        "data",
        "Show which data sets are at hand, or what one holds; write one as a file.",
        "glt.config:Inspect",
        "glt.inspect:data",
        "dataset",
    ),
    Command("doctor", "Check the installation.", "glt.config:Doctor", "glt.inspect:doctor"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `glt` with the given words, or those of the process; returns the exit code."""
    return run("glt", COMMANDS, argv, about="Graph lottery tickets: find, check, keep.")

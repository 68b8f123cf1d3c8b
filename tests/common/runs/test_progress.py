"""What a command says while it works: a bar where somebody watches, plain lines elsewhere."""

from __future__ import annotations

import io
import re

import pytest

from common.runs.progress import Console
from common.runs.stats import estimate


def test_a_log_gets_one_line_a_round():
    log = io.StringIO()
    console = Console(stream=log)
    console.line("cora")
    console.round(1, 2, {"edges": 0.95, "accuracy": estimate([0.8])})
    console.round(2, 2, {"edges": 1 / 3}, what="seed")
    lines = [re.sub(r"\(\d+\.\d s\)", "(t)", line) for line in log.getvalue().splitlines()]
    assert lines == ["cora", "round 1/2  edges 0.95  accuracy 0.8 (n=1)  (t)", "seed 2/2  edges 0.3333  (t)"]


class Terminal:
    """A stream that says it is watched, and remembers."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def test_rounds_on_a_terminal_have_a_bar_that_goes_away():
    terminal = Terminal()
    with Console(stream=terminal) as console:  # type: ignore[arg-type]
        console.round(1, 2, {"edges": 0.95})
        assert console._bar is not None
        console.round(2, 2, {"edges": 0.9})
        assert console._bar is None
    assert "round 1/2  edges 0.95" in terminal.text.replace("\x1b[0m", "").replace("\x1b[1;36m", "")


def test_a_quiet_console_still_warns(capsys: pytest.CaptureFixture[str]):
    console = Console(quiet=True)
    console.line("no")
    console.round(1, 1, {})
    console.warning("one seed says nothing about spread")
    assert capsys.readouterr().err == "warning: one seed says nothing about spread\n"

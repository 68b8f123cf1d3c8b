"""Commands as a user meets them: exit codes, one-line errors, one JSON object."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from common.runs import cli
from common.runs.cli import BelowRequired, Command, ConfigChanged, Console, MissingData, main, run_main


@dataclass
class Prune:
    """How to prune."""

    method: Literal["ugs", "random"] = "ugs"
    """The criterion."""
    density: float = 0.5
    """Share kept."""


@dataclass
class Find:
    """What to find."""

    dataset: str = "digits"
    """The graph."""
    prune: Prune = field(default_factory=Prune)
    seeds: list[int] = field(default_factory=lambda: [0])
    """One training each."""
    steps: int | None = None
    keep_going: bool = False
    json: bool = False
    """Print the result as JSON."""
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.steps == 0:
            raise ValueError("steps must be at least 1; found 0")


def find(config: Find, console: Console) -> dict[str, Any]:
    console.line("working")
    sys.stdout.write("a library's chatter\n")
    return {"config": config, "accuracy": float("nan")}


def fail(config: Find, console: Console) -> None:
    raise BelowRequired("accuracy 0.7, required 0.8", {"accuracy": 0.7})


COMMANDS = [
    Command("find", "Find a ticket.", Find, find, positional="dataset"),
    Command("gate", "Fail.", Find, fail),
    Command("lazy", "Loaded late.", "no_such_module:Config", "no_such_module:run"),
]


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main("glt", COMMANDS, words, about="Graph lottery tickets.")
    out, err = capsys.readouterr()
    return code, out, err


def test_json_is_alone_on_standard_output(capsys: pytest.CaptureFixture[str]):
    code, out, err = call(capsys, "find", "cora", "--prune.method", "random", "--seeds", "1", "2", "--json")
    assert code == cli.OK
    result = json.loads(out)
    assert result["accuracy"] is None
    assert result["config"]["dataset"] == "cora"
    assert result["config"]["prune"] == {"method": "random", "density": 0.5}
    assert result["config"]["seeds"] == [1, 2]
    assert err.splitlines() == ["working", "a library's chatter"]


def test_without_json_standard_output_is_empty_and_quiet_is_quiet(capsys: pytest.CaptureFixture[str]):
    assert call(capsys, "find", "--quiet") == (0, "", "a library's chatter\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["fnd"], "there is no command 'fnd'. Did you mean find? Commands: find, gate, lazy"),
        (
            ["find", "--prune.methd", "ugs"],
            "unrecognized arguments: --prune.methd ugs. Did you mean --prune.method?",
        ),
        (["find", "--prune.methd=ugs"], "unrecognized arguments: --prune.methd=ugs. Did you mean --prune.method?"),
        (["find", "--zzz"], "unrecognized arguments: --zzz"),
        (["find", "--keep_goin"], "unrecognized arguments: --keep_goin. Did you mean --keep-going?"),
        (["find", "-x"], "unrecognized arguments: -x"),
        (["find", "--keep_going=maybe"], "--keep-going must be true or false; found 'maybe'"),
        (
            ["find", "--prune.method", "usg"],
            "--prune.method must be one of ugs, random; found 'usg'. Did you mean ugs?",
        ),
        (["find", "--steps", "abc"], "--steps must be an integer or null; found 'abc'"),
        (["find", "--seeds", "a"], "--seeds must be a list, each an integer; found 'a'"),
        (["find", "--steps", "0"], "steps must be at least 1; found 0"),
        (
            ["find", "cora", "--steps", "3", "pubmed"],
            "unrecognized arguments: pubmed. Give one dataset, which a word without dashes names",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str], words: list[str], line: str):
    assert call(capsys, *words) == (cli.USAGE, "", f"glt: error: {line}\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("prune: {methd: ugs}", "the configuration has no option prune.methd. Did you mean prune.method?"),
        (
            "just text",
            "the file of --config must hold options by name in YAML, as --print_config writes them; found: Unexpected "
            "config: just text",
        ),
        ("seed: 1", "the configuration has no option seed. Did you mean seeds?"),
        ("prune: {density: high}", "--prune.density must be a number; found 'high'"),
    ],
)
def test_a_wrong_configuration_file(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, line: str):
    (tmp_path / "run.yaml").write_text(text)
    code, out, err = call(capsys, "find", "--config", str(tmp_path / "run.yaml"))
    assert (code, out, err) == (cli.USAGE, "", f"glt: error: {line}\n")


def test_a_printed_configuration_can_be_read_again(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    code, out, _ = call(capsys, "find", "cora", "--prune.density", "0.25", "--print_config")
    assert code == cli.OK
    (tmp_path / "run.yaml").write_text(out)
    _, out, _ = call(capsys, "find", "--config", str(tmp_path / "run.yaml"), "--dataset", "citeseer", "--json")
    config = json.loads(out)["config"]
    assert (config["dataset"], config["prune"]["density"]) == ("citeseer", 0.25)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--keep-going"], True),
        (["--keep_going"], True),
        (["--keep-going", "false"], False),
        (["--keep_going=no"], False),
        ([], False),
    ],
)
def test_switches(capsys: pytest.CaptureFixture[str], words: list[str], expected: bool):
    _, out, _ = call(capsys, "find", *words, "--json")
    assert json.loads(out)["config"]["keep_going"] is expected


def test_help_lists_the_commands_without_loading_them(capsys: pytest.CaptureFixture[str]):
    code, out, err = call(capsys, "--help")
    assert (code, err) == (cli.OK, "")
    assert "  lazy  Loaded late.\n" in out
    code, out, err = call(capsys)
    assert (code, out) == (cli.USAGE, "")
    assert "commands:" in err


def test_help_of_a_command_shows_every_option_with_its_docstring(capsys: pytest.CaptureFixture[str]):
    code, out, _ = call(capsys, "find", "--help")
    assert code == cli.OK
    assert out.startswith("usage: glt find [DATASET] [options]\n")
    assert "The criterion." in out
    assert "default: digits" in out
    assert "--keep-going {true,false}" in out
    assert "keep_going" not in out


def test_the_environment_sets_no_option(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GLT_DATASET", "other")
    monkeypatch.setenv("GLT_FIND_DATASET", "other")
    _, out, _ = call(capsys, "find", "--json")
    assert json.loads(out)["config"]["dataset"] == "digits"


def test_below_the_requirement_is_code_4_and_still_emits(capsys: pytest.CaptureFixture[str]):
    code, out, err = call(capsys, "gate", "--json")
    assert code == cli.BELOW
    assert json.loads(out) == {"accuracy": 0.7}
    assert err == "glt: below what was required: accuracy 0.7, required 0.8\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigChanged("changed"), 2, "glt: error: changed"),
        (MissingData("Cora is not here.\nPut it there."), 3, "glt: error: Cora is not here. Put it there."),
        (ValueError("density 1.5"), 1, "glt: error: density 1.5"),
        (KeyError("no mask"), 1, "glt: error: no mask"),
        (OSError("disk full"), 1, "glt: error: disk full"),
        (KeyboardInterrupt(), 130, "glt: interrupted; the same command continues"),
        (AttributeError("x"), 1, "glt: error: AttributeError: x (unexpected; GLT_DEBUG=1 shows where)"),
        (SystemExit(7), 7, ""),
    ],
)
def test_what_is_raised_becomes_a_line_and_a_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
):
    def function() -> int:
        raise error

    assert run_main("glt", function) == code
    assert capsys.readouterr().err == (line + "\n" if line else "")


def test_debugging_adds_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GLT_DEBUG", "1")
    assert run_main("glt", lambda: int("x")) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("glt: error: invalid literal for int() with base 10: 'x'\n")


def test_help_is_light():
    code = (
        "import sys; from common.runs.cli import *\n"
        "main('glt', [Command('find', 'Find.', 'tests_none:C', 'tests_none:f')], ['--help'])\n"
        "print([m for m in ('torch', 'numpy', 'scipy', 'matplotlib', 'rich', 'jsonargparse') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_request_to_end_counts_as_an_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

    assert run_main("demo", work) == cli.INTERRUPTED
    assert "interrupted; the same command continues" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before

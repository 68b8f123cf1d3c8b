"""Commands: a dataclass of options and a function, with shared exit codes, one-line errors and one JSON result.

exit code   0 done   1 failed   2 wrong usage   3 data missing   4 below what was required   130 interrupted
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

from common.runs.errors import BelowRequired, ConfigChanged, MissingData, UsageError
from common.runs.files import dump
from common.runs.options import did_you_mean, parse
from common.runs.progress import Console

__all__ = [
    "BELOW",
    "FAILED",
    "INTERRUPTED",
    "MISSING",
    "OK",
    "USAGE",
    "BelowRequired",
    "Command",
    "ConfigChanged",
    "Console",
    "MissingData",
    "UsageError",
    "did_you_mean",
    "emit",
    "main",
    "run_main",
]

OK, FAILED, USAGE, MISSING, BELOW, INTERRUPTED = 0, 1, 2, 3, 4, 130

_EXPECTED = (ValueError, TypeError, LookupError, RuntimeError, OSError, ArithmeticError, ImportError)


@dataclass(frozen=True)
class Command:
    """One sub-command.

    Args:
        name: the word on the command line.
        help: one line.
        config: a dataclass in a module that imports no torch, or its dotted path `"glt.config:Find"`. Its boolean
            fields `json` and `quiet`, where it has them, are obeyed by `main`.
        function: takes the configuration and a `Console`, returns the result (a mapping, or None); or its dotted path
            `"glt.find:run"`, which is imported only when the command is really run.
        positional: the field that a word without dashes fills, as in `glt find cora`; or several, in turn.
    """

    name: str
    help: str
    config: type | str
    function: str | Callable[[Any, Console], Mapping[str, Any] | None]
    positional: str | tuple[str, ...] | None = None


def main(prog: str, commands: Sequence[Command], argv: Sequence[str] | None = None, *, about: str = "") -> int:
    """Run the command that the words name; the exit code.

    While it runs, whatever prints to standard output is sent to standard error, so that with `--json` standard output
    is exactly one JSON object.

    Args:
        prog: the program's name.
        commands: what it can do.
        argv: the words; those of this process by default.
        about: one line for `--help`.

    >>> @dataclass
    ... class Config:
    ...     name: str = "world"
    ...     json: bool = False
    >>> def greet(config, console):
    ...     return {"hello": config.name}
    >>> main("demo", [Command("greet", "Say hello.", Config, greet, "name")], ["greet", "you", "--json"])
    {
      "hello": "you"
    }
    0
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return run_main(prog, lambda: _dispatch(prog, commands, words, about))


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM interrupts as Ctrl-C does, where signals can be handled at all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_main(prog: str, function: Callable[[], int | None]) -> int:
    """Call a function and turn what it raises into one line on standard error and an exit code.

    `GLT_DEBUG=1` in the environment adds the traceback. A polite request to end (SIGTERM) counts as an interruption.

    >>> run_main("demo", lambda: None)
    0
    """
    try:
        with _terminable():
            return function() or OK
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else OK if stop.code is None else FAILED
    except KeyboardInterrupt:
        return _report(prog, "interrupted; the same command continues", INTERRUPTED)
    except UsageError as error:
        return _report(prog, f"error: {_text(error)}", USAGE)
    except MissingData as error:
        return _report(prog, f"error: {_text(error)}", MISSING)
    except BelowRequired as error:
        return _report(prog, f"below what was required: {_text(error)}", BELOW)
    except _EXPECTED as error:
        return _report(prog, f"error: {_text(error)}", FAILED)
    except Exception as error:
        why = f"error: {type(error).__name__}: {_text(error)} (unexpected; GLT_DEBUG=1 shows where)"
        return _report(prog, why, FAILED)


def emit(result: Mapping[str, Any]) -> None:
    """Write a result as one JSON object on standard output; NaN and infinities become null."""
    sys.stdout.write(dump(result, strict=True) + "\n")
    sys.stdout.flush()


def _dispatch(prog: str, commands: Sequence[Command], words: Sequence[str], about: str) -> int:
    if not words or words[0] in ("-h", "--help"):
        (sys.stdout if words else sys.stderr).write(_overview(prog, commands, about))
        return OK if words else USAGE
    if words[0] == "--version":
        sys.stdout.write(f"{prog} {metadata.version('lottery-tickets')}\n")
        return OK
    by_name = {command.name: command for command in commands}
    if words[0] not in by_name:
        raise UsageError(
            f"there is no command {words[0]!r}.{did_you_mean(words[0], by_name)} Commands: {', '.join(by_name)}"
        )
    command = by_name[words[0]]
    kind = _resolve(command.config)
    config = parse(f"{prog} {command.name}", command.help, kind, words[1:], positional=command.positional)
    return _run(command, config)


def _run(command: Command, config: Any) -> int:
    as_json = bool(getattr(config, "json", False))
    try:
        with contextlib.redirect_stdout(sys.stderr), Console(quiet=bool(getattr(config, "quiet", False))) as console:
            result = _resolve(command.function)(config, console)
    except BelowRequired as error:
        if as_json:
            emit(error.result)
        raise
    if as_json:
        emit(result or {})
    return OK


def _resolve(named: Any) -> Any:
    if not isinstance(named, str):
        return named
    module, _, name = named.partition(":")
    return getattr(import_module(module), name)


def _overview(prog: str, commands: Sequence[Command], about: str) -> str:
    width = max((len(command.name) for command in commands), default=0)
    lines = [f"usage: {prog} COMMAND [options]", ""]
    lines += [about, ""] if about else []
    lines += ["commands:", *(f"  {command.name:<{width}}  {command.help}" for command in commands), ""]
    return "\n".join([*lines, f"{prog} COMMAND --help lists a command's options; {prog} --version the version.", ""])


def _text(error: BaseException) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__


def _report(prog: str, text: str, code: int) -> int:
    if os.environ.get("GLT_DEBUG") == "1" and code == FAILED:
        traceback.print_exc(file=sys.stderr)
    sys.stderr.write(f"{prog}: {text}\n")
    return code

"""Command-line options from a configuration dataclass: nested keys, `--config`, `--print_config`, one-line errors."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from common.runs.errors import UsageError

__all__ = ["did_you_mean", "normalise", "options", "parse"]

_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
_BOOLEANS = {"true", "false", "yes", "no"}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean X?`, with the known name nearest to a misspelt one, or nothing where none is near.

    >>> did_you_mean("fnd", ["find", "eval"])
    ' Did you mean find?'
    >>> did_you_mean("zzz", ["find", "eval"])
    ''
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def options(config: type, prefix: str = "") -> dict[str, Any]:
    """Every option of a configuration dataclass, nested ones with dots, and its type.

    >>> @dataclasses.dataclass
    ... class Config:
    ...     density: float = 0.5
    ...     json: bool = False
    >>> options(Config)
    {'density': <class 'float'>, 'json': <class 'bool'>}
    """
    hints = get_type_hints(config)
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            found |= options(hint, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = hint
    return found


def parse(prog: str, about: str, config: type, argv: Sequence[str], *, positional: str | None = None) -> Any:
    """A configuration from command-line words. `--help` and `--print_config` print and raise SystemExit(0).

    Args:
        prog: how the command is called, such as `glt find`.
        about: one line of help.
        config: a dataclass; field types and the string below each field make the options and their help.
        argv: the words after the command.
        positional: the field that a first word without dashes fills.

    Raises:
        UsageError: a word, a name or a value is wrong, on the command line or in the file of `--config`.

    >>> @dataclasses.dataclass
    ... class Config:
    ...     dataset: str = "digits"
    ...     seeds: list[int] = dataclasses.field(default_factory=lambda: [0])
    ...     json: bool = False
    >>> parse("glt find", "Find a ticket.", Config, ["cora", "--json", "--seeds", "1", "2"], positional="dataset")
    Config(dataset='cora', seeds=[1, 2], json=True)
    """
    parser = _parser(prog, about, config, positional)
    chosen = parser.parse_args(normalise(argv, options(config), positional))
    try:
        built = parser.instantiate(chosen) if hasattr(parser, "instantiate") else parser.instantiate_classes(chosen)
        return config(**{field.name: built[field.name] for field in dataclasses.fields(config) if field.init})
    except ValueError as error:
        raise UsageError(str(error)) from error


def normalise(argv: Sequence[str], known: Mapping[str, Any], positional: str | None = None) -> list[str]:
    """The short ways of writing options, spelt out: a first word, switches, lists, dashes for underscores.

    >>> normalise(["cora", "--json", "--seeds", "0", "1", "--dry-run"],
    ...           {"data": str, "json": bool, "seeds": list[int], "dry_run": bool}, positional="data")
    ['--data=cora', '--json=true', '--seeds=[0,1]', '--dry_run=true']
    """
    words = list(argv)
    if positional and words and not words[0].startswith("-"):
        words[0] = f"--{positional}={words[0]}"
    spelt: list[str] = []
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        name = name if name in known else name.replace("-", "_")
        if not word.startswith("--") or name not in known:
            spelt.append(word)
        elif known[name] is bool and not equals and not (words and words[0].lower() in _BOOLEANS):
            spelt.append(f"--{name}=true")
        elif _is_list(known[name]) and not equals and words and not words[0].startswith(("[", "--")):
            end = next((i for i, w in enumerate(words) if w.startswith("--")), len(words))
            spelt.append(f"--{name}=[{','.join(words[:end])}]")
            del words[:end]
        else:
            spelt.append(f"--{name}{equals}{value}")
    return spelt


def _parser(prog: str, about: str, config: type, positional: str | None) -> Any:
    import jsonargparse

    with contextlib.suppress(TypeError):  # an older jsonargparse, whose help then only shows types and defaults
        jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    known = options(config)

    class Parser(jsonargparse.ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:  # noqa: ARG002
            raise UsageError(explain(message, known, positional))

    usage = f"{prog} {f'[{positional.upper()}] ' if positional else ''}[options]"
    parser = Parser(prog=prog, usage=usage, description=about, default_env=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="a YAML file with any of these options; later words win")
    parser.add_class_arguments(config, None)
    return parser


def explain(message: str, known: Mapping[str, Any], positional: str | None = None) -> str:
    """A parser's complaint as one line that names the value found, the value expected and the nearest known name.

    >>> explain("unrecognized arguments: --prune.methd ugs", {"prune.method": str})
    'unrecognized arguments: --prune.methd ugs. Did you mean --prune.method?'
    >>> explain('Parser key "steps":\\n  Expected a <class \\'int\\'>. Got value: abc', {"steps": int})
    "--steps must be an integer; found 'abc'"
    """
    line = " ".join(message.split())
    flags = [f"--{name}" for name in [*known, "config", "help", "print_config"]]
    if line.startswith("unrecognized arguments:"):
        words = line.split(":", 1)[1].split()
        wrong = [word.partition("=")[0] for word in words if word.startswith("--")]
        if positional and not wrong:
            return f"{line}. A {positional} is the first word, before any option"
        return f"{line}.{did_you_mean(wrong[0], flags) if wrong else ''}".rstrip(".")
    if found := re.match(r"Group '(.+?)' does not accept option '(.+?)'|Option '(.+?)' is not accepted", line):
        name = found[3] or f"{found[1]}.{found[2]}"
        return f"the configuration has no option {name}.{did_you_mean(name, known)}"
    key = re.match(r'Parser key "(.+?)":', line)
    value = re.search(r"(?:Got|Given) value: (.*)$", line)
    if key and value and key[1] in known:
        expected = _describe(known[key[1]])
        near = did_you_mean(value[1], map(str, get_args(known[key[1]])))
        return f"--{key[1]} must be {expected}; found {value[1]!r}{'.' + near if near else ''}"
    return line


def _describe(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(one) for one in inner)
    if origin in (list, tuple):
        return f"a list, each {_describe(inner[0])}" if inner else "a list"
    return _WORDS.get(hint) or f"a {getattr(hint, '__name__', hint)}"


def _is_list(hint: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return any(_is_list(one) for one in get_args(hint))
    return hint is list or get_origin(hint) in (list, tuple)

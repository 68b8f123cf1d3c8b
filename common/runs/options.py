"""Command-line options from a configuration dataclass: nested keys, `--config`, `--print_config`, one-line errors."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from common.runs.errors import UsageError

__all__ = ["did_you_mean", "normalise", "options", "parse"]

_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
_BOOLEANS = {"true", "false", "yes", "no"}
_PARSERS = ("help", "print_config")  # the parser's own switches

Positional = str | tuple[str, ...] | None


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


def parse(prog: str, about: str, config: type, argv: Sequence[str], *, positional: Positional = None) -> Any:
    """A configuration from command-line words. `--help` and `--print_config` print and raise SystemExit(0).

    Args:
        prog: how the command is called, such as `glt find`.
        about: one line of help.
        config: a dataclass; field types and the string below each field make the options and their help.
        argv: the words after the command.
        positional: the field that a word without dashes fills; or several, one after the other.

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
        made = config(**{field.name: built[field.name] for field in dataclasses.fields(config) if field.init})
    except ValueError as error:
        raise UsageError(str(error)) from error
    for name, hint in options(config).items():  # a file may say null
        if type(None) not in get_args(hint) and attrgetter(name)(made) is None:
            raise UsageError(f"--{name.replace('_', '-')}: found null; expected {_describe(hint)}")
    return made


def normalise(argv: Sequence[str], known: Mapping[str, Any], positional: Positional = None) -> list[str]:
    """The short ways of writing options, spelt out: bare words, switches, lists, dashes for underscores.

    A field `from_`, which Python cannot call `from`, is `--from`.

    Files of `--config` go first, then those of a group of options (`--network FILE`), so that every word on the command
    line beats them wherever it stands.

    >>> normalise(["cora", "--json", "--seeds", "0", "1", "--dry-run", "--config", "a.yaml"],
    ...           {"data": str, "json": bool, "seeds": list[int], "dry_run": bool}, positional="data")
    ['--config=a.yaml', '--data=cora', '--json=true', '--seeds=[0,1]', '--dry_run=true']
    """
    words, files, groups, spelt = list(argv), list[str](), list[str](), list[str]()
    places = list(_names(positional))
    hints = {**known, "config": str, **{name.rpartition(".")[0]: str for name in known if "." in name}}
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--")
        name = name if name in hints else name.replace("-", "_")
        name = f"{name}_" if f"{name}_" in hints else name
        if not word.startswith("-") and places:
            place = places.pop(0)  # one more bare word than places is one too many, but for a list, which takes all
            if place in known and _is_list(known[place]):
                word = json.dumps([word, *_bare(words)])
            spelt.append(f"--{place}={word}")
        elif not word.startswith("--"):
            spelt.append(word)
        elif name in hints:
            if not equals:
                equals, value = _taken(hints[name], words)
            pile = files if name == "config" else spelt if name in known else groups
            pile.append(f"--{name}{equals}{value}")
        elif name in _PARSERS:
            spelt.append(f"--{name}{equals}{value}")
        else:
            spelt += [word] if equals else [word, *_pop(words)]
    return files + groups + spelt


def _taken(hint: Any, words: list[str]) -> tuple[str, str]:
    """Take an option's value off the words that follow it: `=` and the value, or nothing where there is none."""
    if hint is bool:
        return "=", words.pop(0) if words and words[0].lower() in _BOOLEANS else "true"
    if _is_list(hint) and words and not words[0].startswith(("[", "--")):
        return "=", f"[{','.join(_bare(words))}]"
    found = _pop(words)
    return ("=", found[0]) if found else ("", "")


def _bare(words: list[str]) -> list[str]:
    """Take off the words that come before the next option."""
    end = next((number for number, word in enumerate(words) if word.startswith("--")), len(words))
    taken, words[:end] = words[:end], []
    return taken


def _pop(words: list[str]) -> list[str]:
    return [words.pop(0)] if words and not words[0].startswith("--") else []


def _names(positional: Positional) -> tuple[str, ...]:
    return () if positional is None else (positional,) if isinstance(positional, str) else positional


def _hyphens(text: str, known: Mapping[str, Any]) -> str:
    """Options in a text as the documentation writes them: --edges-density, though --edges_density works too."""

    def written(found: re.Match[str]) -> str:
        return found[0].rstrip("_").replace("_", "-") if found[0][2:] in known else found[0]

    for name in known:
        if name.endswith("_"):  # the placeholder of a value, FROM_
            text = text.replace(f" {name.upper()}", f" {name.upper().rstrip('_')} ")
    return re.sub(r"--\w+(?:\.\w+)*", written, text)


def _parser(prog: str, about: str, config: type, positional: Positional) -> Any:
    import jsonargparse

    with contextlib.suppress(TypeError):  # an older jsonargparse, whose help then only shows types and defaults
        jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    known = options(config)

    class Parser(jsonargparse.ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:  # noqa: ARG002
            raise UsageError(explain(message, known, positional))

        def format_help(self, *given: Any) -> str:
            return _hyphens(super().format_help(*given), known)

    usage = " ".join([prog, *(f"[{name.upper()}]" for name in _names(positional)), "[options]"])
    parser = Parser(prog=prog, usage=usage, description=about, default_env=False, allow_abbrev=False)
    parser.add_argument(
        "--config", action="config", help="a YAML file with any of these options; words on the command line win"
    )
    parser.add_class_arguments(config, None)
    return parser


def explain(message: str, known: Mapping[str, Any], positional: Positional = None) -> str:
    """A parser's complaint as one line that names the value found, the value expected and the nearest known name.

    >>> explain("unrecognized arguments: --prune.methd ugs", {"prune.method": str})
    'unrecognized arguments: --prune.methd ugs. Did you mean --prune.method?'
    >>> explain('Parser key "steps":\\n  Expected a <class \\'int\\'>. Got value: abc', {"steps": int})
    "--steps must be an integer; found 'abc'"
    """
    line = _hyphens(" ".join(message.split()), known)
    flags = [f"--{name}" for name in [*known, "config", "help", "print_config"]]
    if line.startswith("unrecognized arguments:"):
        words = line.split(":", 1)[1].split()
        wrong = [word.partition("=")[0].replace("-", "_").replace("__", "--", 1) for word in words if word[:2] == "--"]
        if positional and not any(word.startswith("-") for word in words):
            wanted = " and one ".join(_names(positional))
            return f"{line}. Give one {wanted}, which a word without dashes names"
        return _hyphens(f"{line}.{did_you_mean(wrong[0], flags) if wrong else ''}".rstrip("."), known)
    if line.startswith(("Problems parsing config", "Unexpected config")):
        return f"the file of --config must hold options by name in YAML, as --print_config writes them; found: {line}"
    if found := re.match(r"Group '(.+?)' does not accept option '(.+?)'|Option '(.+?)' is not accepted", line):
        name = found[3] or f"{found[1]}.{found[2]}"
        return f"the configuration has no option {name}.{did_you_mean(name, known)}"
    key = re.match(r'Parser key "(.+?)":', line)
    value = re.search(r"(?:Got|Given) value: (.*)$", line)
    if key and value and key[1] in known:
        expected = _describe(known[key[1]])
        near = did_you_mean(value[1], map(str, get_args(known[key[1]])))
        return _hyphens(f"--{key[1]} must be {expected}; found {value[1]!r}{'.' + near if near else ''}", known)
    if key and key[1] == "config":
        why = line.removeprefix(key[0]).strip()
        return f"--config: {why}. Give the path of a YAML file, as --print_config writes it"
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

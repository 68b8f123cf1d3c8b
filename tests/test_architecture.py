"""The architecture as rules over the syntax trees: who imports whom, how long a file is, what is not written."""

import ast
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("common", "glt", "gen_tickets")
FILES = [path for folder in (*PACKAGES, "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
FREE = {"torch", "numpy", "safetensors", "common", *sys.stdlib_module_names}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def imported(nodes: list[ast.AST]) -> set[str]:
    """Top-level names that statements, or calls of import_module with a literal, bring in from other packages."""
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            names += [a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return {name.split(".")[0] for name in names}


def at_top(node: ast.AST) -> list[ast.AST]:
    """What a mere import of the module runs: not the bodies of functions, not what is for type checkers alone."""
    nodes: list[ast.AST] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTIONS, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            nodes += [inner for other in child.orelse for inner in [other, *at_top(other)]]
            continue
        nodes += [child, *at_top(child)]
    return nodes


def arrows(path: str, tree: ast.Module) -> list[str]:
    """common imports neither package; glt and gen_tickets do not import each other."""
    own = path.split("/")[0]
    banned = {"common": {"glt", "gen_tickets"}, "glt": {"gen_tickets"}, "gen_tickets": {"glt"}}.get(own, set())
    return [f"imports {name}" for name in imported(list(ast.walk(tree))) & banned]


def light(path: str, tree: ast.Module) -> list[str]:
    """At their top, the modules of common import nothing but torch, numpy, safetensors and the standard library."""
    return [f"imports {n} at its top" for n in imported(at_top(tree)) - FREE] if path.startswith("common/") else []


def parser_stays_home(path: str, tree: ast.Module) -> list[str]:
    """Only the command line knows the parser library."""
    if path.split("/")[0] not in PACKAGES or path == "common/runs/options.py":
        return []
    return ["imports jsonargparse"] if "jsonargparse" in imported(list(ast.walk(tree))) else []


def quick_help(path: str, tree: ast.Module) -> list[str]:
    """What `--help` imports brings in no torch."""
    package, _, name = path.partition("/")
    if package not in PACKAGES or name not in ("config.py", "cli.py", "__init__.py"):
        return []
    return ["imports torch at its top"] if "torch" in imported(at_top(tree)) else []


def short(path: str, tree: ast.Module) -> list[str]:
    """No function is longer than 50 lines."""
    sizes = [(n.name, (n.end_lineno or 0) - n.lineno + 1) for n in ast.walk(tree) if isinstance(n, FUNCTIONS)]
    return [f"{name} has {size} lines" for name, size in sizes if size > 50]


def silent(path: str, tree: ast.Module) -> list[str]:
    """The packages neither print nor move tensors to a device by name."""
    if path.split("/")[0] not in PACKAGES:
        return []
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = ["print()" for call in calls if isinstance(call, ast.Name) and call.id == "print"]
    return found + [".cuda()" for call in calls if isinstance(call, ast.Attribute) and call.attr == "cuda"]


def documented(path: str, tree: ast.Module) -> list[str]:
    """Every module, and every public function and class of the packages, says what it is."""
    if path.split("/")[0] not in PACKAGES:
        return []
    public = [n for n in tree.body if isinstance(n, (*FUNCTIONS, ast.ClassDef)) and not n.name.startswith("_")]
    return [f"{getattr(n, 'name', 'the module')} has no docstring" for n in [tree, *public] if not ast.get_docstring(n)]


LONG = "def f():\n" + "    x = 1\n" * 50
RULES: list[tuple[Callable[[str, ast.Module], list[str]], str, str]] = [
    (arrows, "common/x.py", "def f():\n    import glt.data"),
    (arrows, "common/x.py", "def f():\n    importlib.import_module('gen_tickets.gan')"),
    (arrows, "glt/x.py", "from gen_tickets import y"),
    (arrows, "gen_tickets/x.py", "from glt.data import load"),
    (light, "common/x.py", "from scipy import stats"),
    (light, "common/runs/x.py", "try:\n    import rich\nexcept ImportError:\n    pass"),
    (light, "common/x.py", "class A:\n    import pandas"),
    (light, "common/x.py", "if TYPE_CHECKING:\n    import scipy\nelse:\n    import networkx"),
    (parser_stays_home, "glt/x.py", "def f():\n    import jsonargparse"),
    (quick_help, "glt/config.py", "import torch"),
    (short, "glt/x.py", LONG),
    (short, "tests/x.py", f"{LONG}\ndef f(): pass"),
    (silent, "glt/x.py", "print(1)"),
    (silent, "glt/x.py", "x.cuda()"),
    (documented, "glt/x.py", "x = 1"),
    (documented, "glt/x.py", "'''Says.'''\ndef f(): pass"),
]
FINE = [
    (arrows, "glt/x.py", "from common import masks"),
    (light, "common/x.py", "import torch, json\nfrom . import y\ndef f():\n    import scipy"),
    (light, "common/x.py", "if TYPE_CHECKING:\n    from matplotlib.axes import Axes"),
    (parser_stays_home, "common/runs/options.py", "import jsonargparse"),
    (short, "glt/x.py", LONG.removesuffix("    x = 1\n")),
]


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _, _ in RULES))
def test_rule_holds_everywhere(rule: Callable[[str, ast.Module], list[str]]) -> None:
    paths = [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path in FILES]
    assert [f"{path}: {what}" for path, tree in paths for what in rule(path, tree)] == []


@pytest.mark.parametrize(("rule", "path", "offence"), RULES)
def test_rule_can_fail(rule: Callable[[str, ast.Module], list[str]], path: str, offence: str) -> None:
    assert rule(path, ast.parse(offence)) != []


@pytest.mark.parametrize(("rule", "path", "code"), FINE)
def test_rule_lets_pass_what_is_fine(rule: Callable[[str, ast.Module], list[str]], path: str, code: str) -> None:
    assert rule(path, ast.parse(code)) == []


def too_long(texts: dict[str, str]) -> dict[str, int]:
    """Files of more than 250 lines."""
    return {path: size for path, text in texts.items() if (size := len(text.splitlines())) > 250}


def test_no_file_is_longer_than_250_lines() -> None:
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
    assert {path.split("/")[0] for path in texts} == {*PACKAGES, "tests", "benchmarks"}
    assert too_long(texts) == {}
    assert too_long({"glt/x.py": "x\n" * 250, "glt/y.py": "x\n" * 251}) == {"glt/y.py": 251}

"""The architecture as rules over the syntax trees: who imports whom, how long a file is, what is not written."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("common", "glt", "gen_tickets")
FILES = [path for folder in (*PACKAGES, "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
HEAVY = {
    "lightning", "matplotlib", "scipy", "networkx", "numba", "ray", "jinja2", "rich", "jsonargparse", "sklearn",
    "torch_geometric", "diffusers", "yaml", "torchvision",
}  # fmt: skip


def imported(nodes: list[ast.AST]) -> set[str]:
    """Top-level names that import statements among the nodes bring in."""
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def at_top(tree: ast.Module) -> list[ast.AST]:
    """The statements a mere import of the module runs."""
    return [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]


def arrows(path: str, tree: ast.Module) -> list[str]:
    """common imports neither package; glt and gen_tickets do not import each other."""
    own = path.split("/")[0]
    banned = {"common": {"glt", "gen_tickets"}, "glt": {"gen_tickets"}, "gen_tickets": {"glt"}}.get(own, set())
    return [f"imports {name}" for name in imported(list(ast.walk(tree))) & banned]


def light(path: str, tree: ast.Module) -> list[str]:
    """common imports heavy libraries only inside the functions that need them."""
    return [f"imports {n} at its top" for n in imported(at_top(tree)) & HEAVY] if path.startswith("common/") else []


def parser_stays_home(path: str, tree: ast.Module) -> list[str]:
    """Only the command line knows the parser library."""
    if path.split("/")[0] not in PACKAGES or path == "common/runs/options.py":
        return []
    return ["imports jsonargparse"] if "jsonargparse" in imported(list(ast.walk(tree))) else []


def quick_help(path: str, tree: ast.Module) -> list[str]:
    """What `--help` imports brings in no torch."""
    if path not in ("glt/config.py", "glt/cli.py", "glt/__init__.py", "common/__init__.py"):
        return []
    return ["imports torch at its top"] if "torch" in imported(at_top(tree)) else []


def short(path: str, tree: ast.Module) -> list[str]:
    """No function is longer than 50 lines."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    sizes = {n.name: (n.end_lineno or 0) - n.lineno + 1 for n in ast.walk(tree) if isinstance(n, kinds)}
    return [f"{name} has {size} lines" for name, size in sizes.items() if size > 50]


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
    public = [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith("_")]
    return [f"{getattr(n, 'name', 'the module')} has no docstring" for n in [tree, *public] if not ast.get_docstring(n)]


RULES: list[tuple[Callable[[str, ast.Module], list[str]], str, str]] = [
    (arrows, "common/x.py", "def f():\n    import glt.data"),
    (arrows, "glt/x.py", "from gen_tickets import y"),
    (light, "common/x.py", "from scipy import stats"),
    (parser_stays_home, "glt/x.py", "def f():\n    import jsonargparse"),
    (quick_help, "glt/config.py", "import torch"),
    (short, "glt/x.py", "def f():\n" + "    x = 1\n" * 50),
    (silent, "glt/x.py", "print(1)"),
    (silent, "glt/x.py", "x.cuda()"),
    (documented, "glt/x.py", "'''Says.'''\ndef f(): pass"),
]


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _, _ in RULES))
def test_rule_holds_everywhere(rule: Callable[[str, ast.Module], list[str]]) -> None:
    paths = [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path in FILES]
    assert [f"{path}: {what}" for path, tree in paths for what in rule(path, tree)] == []


@pytest.mark.parametrize(("rule", "path", "offence"), RULES)
def test_rule_can_fail(rule: Callable[[str, ast.Module], list[str]], path: str, offence: str) -> None:
    assert rule(path, ast.parse(offence)) != []


def test_no_file_is_longer_than_250_lines() -> None:
    sizes = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8").count("\n") for path in FILES}
    assert len(sizes) > 50
    assert {path: size for path, size in sizes.items() if size > 250} == {}

"""What the README and the documentation show really runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import gen_tickets.cli
import glt.cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run(codes: list[str], name: str) -> None:
    """Run blocks one after the other in one namespace."""
    space: dict[str, object] = {"__name__": "docs"}
    for number, code in enumerate(codes, 1):
        exec(compile(code, f"{name}, block {number}", "exec"), space)  # noqa: S102


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(blocks(page, "python"), page.name)


def test_a_broken_block_is_noticed() -> None:
    with pytest.raises(ZeroDivisionError):
        run(["x = 1", "x / 0"], "nowhere")


PROGRAMS = {"glt": glt.cli.main, "gen-tickets": gen_tickets.cli.main}
COMMANDS = [
    (page.name, line[2:]) for page in PAGES for code in blocks(page, "console") for line in code.splitlines()
    if line.startswith("$ ")
]  # fmt: skip


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_are_understood(page: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    del page
    words = shlex.split(line)
    if words[0] in PROGRAMS:
        assert PROGRAMS[words[0]]([*words[1:], "--print_config"]) == 0
        assert capsys.readouterr().out
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    else:
        assert words[:2] == ["pip", "install"]


def test_there_are_commands_to_check() -> None:
    assert {line.split()[0] for _, line in COMMANDS} == {"glt", "gen-tickets", "make", "pip"}


def broken_links(page: Path) -> list[str]:
    """Links of a page to files that are not there."""
    targets = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    return [target for target in targets if not (page.parent / target).exists()]


def test_links_between_pages_lead_somewhere(tmp_path: Path) -> None:
    assert {page.name: found for page in PAGES if (found := broken_links(page))} == {}
    (tmp_path / "a.md").write_text("[a](a.md#top) [b](b.md) [c](https://example.org)", encoding="utf-8")
    assert broken_links(tmp_path / "a.md") == ["b.md"]


ABROAD = re.compile(r"""<(?:script|img|link|iframe)[^>]*?(?:src|href)=["']?(?:https?:)?//|url\(["']?(?:https?:)?//""")


def test_the_built_pages_ask_no_other_host_for_anything(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = [path for path in tmp_path.rglob("*") if path.suffix in (".html", ".css")]
    assert {path.parent.name for path in pages} >= {"first-ticket", "concepts", "extending", "common", "glt"}
    assert [path.name for path in pages if ABROAD.search(path.read_text(encoding="utf-8"))] == []
    assert ABROAD.search('<link rel="stylesheet" href="https://example.org/font.css">')

"""Words on the command line against files: which wins, and what counts as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.runs.errors import UsageError
from common.runs.options import normalise, options, parse


@dataclass
class Prune:
    """How to prune."""

    l1_edges: float = 0.5
    keep: bool = True


@dataclass
class Find:
    """What to find."""

    dataset: str = "digits"
    steps: int = 1
    json: bool = False
    seeds: list[int] = field(default_factory=lambda: [0])
    prune: Prune = field(default_factory=Prune)


def find(*words: str) -> Find:
    return parse("glt find", "Find.", Find, words, positional="dataset")


@pytest.mark.parametrize(
    "words",
    [
        "cora --steps 3 --config FILE",
        "--config FILE cora --steps 3",
        "--steps 3 --config=FILE cora",
        "--steps 3 cora --prune GROUP --config=FILE",
        "--json cora --prune.l1-edges 0.75 --prune GROUP --config FILE --steps 3",
    ],
)
def test_words_beat_the_file_wherever_they_stand(tmp_path: Path, words: str) -> None:
    (tmp_path / "run.yaml").write_text("dataset: digits\nsteps: 9\nprune: {l1_edges: 0.25}")
    (tmp_path / "prune.yaml").write_text("l1_edges: 0.75\nkeep: false")
    places = words.replace("FILE", str(tmp_path / "run.yaml")).replace("GROUP", str(tmp_path / "prune.yaml"))
    config = find(*places.split())
    assert (config.dataset, config.steps) == ("cora", 3)
    assert config.prune == (Prune(0.75, False) if "GROUP" in words else Prune(0.25))


def test_of_two_files_the_later_wins(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("steps: 1\ndataset: cora")
    (tmp_path / "two.yaml").write_text("steps: 2")
    config = find("--config", str(tmp_path / "one.yaml"), "--config", str(tmp_path / "two.yaml"))
    assert (config.dataset, config.steps) == ("cora", 2)


def test_a_negative_number_in_any_notation_is_a_value() -> None:
    config = find("--prune.l1-edges", "-1e-3", "--steps", "-2", "--seeds", "-1", "5")
    assert (config.prune.l1_edges, config.steps, config.seeds) == (-0.001, -2, [-1, 5])


@pytest.mark.parametrize(
    ("words", "spelt"),
    [
        ("--json cora", "--json=true --dataset=cora"),
        ("--json no cora", "--json=no --dataset=cora"),
        ("cora --dataset pubmed", "--dataset=cora --dataset=pubmed"),
        ("cora pubmed", "--dataset=cora pubmed"),
        ("--zzz 3 cora", "--zzz 3 --dataset=cora"),
        ("--print-config cora", "--print_config --dataset=cora"),
        ("--steps", "--steps"),
        ("--steps --json", "--steps --json=true"),
        ("-h", "-h"),
    ],
)
def test_what_counts_as_a_value(words: str, spelt: str) -> None:
    assert normalise(words.split(), options(Find), "dataset") == spelt.split()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--config: .*none\.yaml.* Give the path of a YAML file"):
        find("--config", str(tmp_path / "none.yaml"))


def test_a_missing_value_names_the_option_as_the_documentation_does() -> None:
    with pytest.raises(UsageError, match=r"--prune\.l1-edges: expected one argument"):
        find("--prune.l1_edges")


def test_two_bare_words_and_a_name_that_python_keeps_for_itself(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass
    class Config:
        """What to find."""

        family: str = "ddpm"
        dataset: str = "digits"
        from_: str | None = None
        """A folder."""

    words = ["vae", "--from", "here", "mnist"]
    assert parse("x", "About.", Config, words, positional=("family", "dataset")) == Config("vae", "mnist", "here")
    with pytest.raises(UsageError, match="Give one family and one dataset"):
        parse("x", "About.", Config, ["a", "b", "c"], positional=("family", "dataset"))
    with pytest.raises(SystemExit):
        parse("x", "About.", Config, ["--help"], positional=("family", "dataset"))
    shown = capsys.readouterr().out
    assert "[FAMILY] [DATASET] [options]" in shown
    assert "--from FROM " in shown
    assert "from_" not in shown


def test_a_positional_list_takes_all_bare_words_as_they_are() -> None:
    @dataclass(frozen=True)
    class Several:
        tickets: list[str] | None = None
        budget: float = 0.5

    def read(*words: str) -> Several:
        found: Several = parse("demo", "", Several, words, positional="tickets")
        return found

    assert read("a b", "c,d", "--budget", "0.2") == Several(["a b", "c,d"], 0.2)
    assert read("--budget", "0.2", "a") == Several(["a"], 0.2)
    assert read() == Several()
    with pytest.raises(UsageError):
        read("a", "--budget", "0.2", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: null", "--seeds: found null; expected a list"),
        ("prune: {l1_edges: null}", "--prune.l1-edges: found null"),
    ],
)
def test_a_null_in_a_file_is_a_value_only_where_one_may_be_left_out(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        find("--config", str(tmp_path / "run.yaml"))

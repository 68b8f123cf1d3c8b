"""The run folder: continuing, starting over, refusing, and surviving a crash."""

from __future__ import annotations

import enum
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runs import files
from common.runs.errors import ConfigChanged, RunFolderError, UsageError
from common.runs.files import canonical, plain, read_lines, write_atomic
from common.runs.folders import folder_name
from common.runs.store import Run

CONFIG = {"method": "ugs", "prune": {"density": 0.8, "rounds": 3}, "seeds": [0, 1]}


def test_the_configuration_names_the_folder(tmp_path: Path):
    with Run.open(tmp_path, CONFIG, seeds=[0, 1]) as run:
        assert run.folder == tmp_path / folder_name(CONFIG)
        assert len(run.folder.name) == 12
        assert run.config == CONFIG
        assert run.manifest["seeds"] == [0, 1]


def test_a_known_hash_keeps_its_folder():
    # sha256 of '{"a":1}', from coreutils' sha256sum
    assert folder_name({"a": 1}) == "015abd7f5cc5"


def test_the_same_command_continues(tmp_path: Path):
    with Run.open(tmp_path, CONFIG) as run:
        (run.round("seed-0/01") / "state.bin").write_bytes(b"kept")
        run.finish("seed-0/01", {"accuracy": 0.81})
        (run.round("seed-0/02") / "state.bin").write_bytes(b"half")
    with Run.open(tmp_path, CONFIG) as run:
        assert run.finished() == ["seed-0/01"]
        assert run.done("seed-0/01") == {"accuracy": 0.81}
        assert run.done("seed-0/02") is None
        assert (run.round("seed-0/01") / "state.bin").read_bytes() == b"kept"
        assert [event["kind"] for event in run.events()] == ["started", "round", "continued"]
        assert run.events("round")[0]["result"] == {"accuracy": 0.81}
        assert run.events("continued")[0]["finished"] == ["seed-0/01"]


def test_fresh_deletes_what_a_run_wrote_and_nothing_else(tmp_path: Path):
    with Run.open(tmp_path, CONFIG, name="mine") as run:
        run.finish("01", {"accuracy": 0.5})
        run.write_text("report.html", "<p>old</p>")
        (run.folder / "notes.txt").write_text("by hand")
    with Run.open(tmp_path, {"method": "random"}, name="mine", fresh=True) as run:
        assert run.finished() == []
        assert not (run.folder / "report.html").exists()
        assert (run.folder / "notes.txt").read_text() == "by hand"
        assert run.config == {"method": "random"}
        assert [event["kind"] for event in run.events()] == ["started"]


def test_another_configuration_under_one_name_is_refused_with_the_difference(tmp_path: Path):
    Run.open(tmp_path, CONFIG, name="mine").close()
    changed = {"method": "random", "prune": {"density": 0.8}, "seeds": [0, 1], "layers": 2}
    with pytest.raises(ConfigChanged) as caught:
        Run.open(tmp_path, changed, name="mine")
    text = str(caught.value)
    assert 'layers: (absent) -> 2; method: "ugs" -> "random"; prune.rounds: 3 -> (absent)' in text
    assert "density" not in text
    assert "--fresh" in text


def test_tuples_and_paths_come_back_as_the_same_configuration(tmp_path: Path):
    config = {"seeds": (0, 1), "root": Path("data"), "rate": 1e-5, "weights": None}
    Run.open(tmp_path, config, name="mine").close()
    with Run.open(tmp_path, config, name="mine") as run:
        assert run.config == {"seeds": [0, 1], "root": "data", "rate": 1e-5, "weights": None}


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b", "-x"])
def test_a_name_must_be_a_plain_folder_name(tmp_path: Path, name: str):
    with pytest.raises(UsageError, match="a run's name must be letters"):
        Run.open(tmp_path, CONFIG, name=name)


@pytest.mark.parametrize("key", ["", "../01", "a//b", "/01"])
def test_a_round_stays_inside_its_run(tmp_path: Path, key: str):
    with Run.open(tmp_path, CONFIG) as run, pytest.raises(ValueError, match="a round's key"):
        run.round(key)


def test_a_root_that_is_a_file_is_one_clear_error(tmp_path: Path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunFolderError, match=r"cannot write the run folder .*choose another root"):
        Run.open(tmp_path / "runs", CONFIG)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "rounds").write_text("chapter")
    with pytest.raises(RunFolderError, match="holds 'rounds' and no run"):
        Run.open(tmp_path, CONFIG, name="thesis", fresh=True)
    assert (tmp_path / "thesis" / "rounds").read_text() == "chapter"
    with pytest.raises(RunFolderError, match=r"has no config\.yaml"):
        Run(tmp_path / "thesis")


def test_a_line_cut_by_a_crash_is_left_out_and_the_next_stands_alone(tmp_path: Path):
    with Run.open(tmp_path, CONFIG) as run:
        run.event("epoch", loss=0.5)
        with (run.folder / "events.jsonl").open("a") as file:
            file.write('{"kind": "epo')
        assert [event["kind"] for event in run.events()] == ["started", "epoch"]
    with Run.open(tmp_path, CONFIG) as run:
        run.event("epoch", loss=float("nan"))
        assert [event["kind"] for event in run.events()] == ["started", "epoch", "continued", "epoch"]
        assert run.events("epoch")[1]["loss"] is None


def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path):
    (tmp_path / "events.jsonl").write_text('{"a": 1}\n{"b\n{"c": 3}\n')
    with pytest.raises(ValueError, match=r"line 2 of .*events\.jsonl is not JSON"):
        read_lines(tmp_path / "events.jsonl")


@pytest.mark.parametrize("text", [b'{"accuracy": 0.8', b"", b"[1]", b"\xff\xfe"])
def test_a_damaged_result_names_its_file_and_the_way_on(tmp_path: Path, text: bytes):
    with Run.open(tmp_path, CONFIG) as run:
        run.finish("seed-0/01", {"accuracy": 0.8})
        path = run.folder / "rounds" / "seed-0" / "01" / "done.json"
        path.write_bytes(text)
        with pytest.raises(RunFolderError, match="found no whole JSON object") as caught:
            run.done("seed-0/01")
        assert str(caught.value).startswith(f"{path}: ")
        assert f"Delete the folder {path.parent}, and the same command repeats that round" in str(caught.value)
        (run.folder / "manifest.json").write_bytes(text)
        with pytest.raises(RunFolderError, match=r"manifest\.json: found .* start over \(--fresh\)"):
            _ = run.manifest


@pytest.mark.parametrize("text", [b"method: [ugs", b"method", b"\xff\xfe\x00"])
def test_a_damaged_configuration_names_its_file_and_the_way_on(tmp_path: Path, text: bytes):
    with Run.open(tmp_path, CONFIG, name="mine") as run:
        (run.folder / "config.yaml").write_bytes(text)
        with pytest.raises(RunFolderError, match=r"config\.yaml: found"):
            _ = run.config
    with pytest.raises(RunFolderError, match=r"(?s)mine/config\.yaml: found .* start over \(--fresh\)"):
        Run.open(tmp_path, CONFIG, name="mine")
    with Run.open(tmp_path, CONFIG, name="mine", fresh=True) as run:
        assert run.config == CONFIG


@pytest.mark.parametrize("line", [b"\xff", b"3"])
def test_an_event_that_is_no_object_is_an_error(tmp_path: Path, line: bytes):
    (tmp_path / "events.jsonl").write_bytes(b'{"a": 1}\n' + line + b'\n{"c": 3}\n')
    with pytest.raises(ValueError, match=r"line 2 of .*events\.jsonl is not JSON"):
        read_lines(tmp_path / "events.jsonl")


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_atomic(tmp_path / "done.json", "old")

    def crash(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["done.json"]


def test_one_process_a_folder_and_a_killed_holder_frees_it(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from common.runs.store import Run\n"
        "run = Run.open(Path(sys.argv[1]), {'a': 1}, name='shared')\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(RunFolderError, match=f"in use by process {other.pid}"):
            Run.open(tmp_path, {"a": 1}, name="shared")
        other.kill()
    with Run.open(tmp_path, {"a": 1}, name="shared") as run, Run.open(tmp_path, {"a": 1}, name="shared") as again:
        assert run.folder == again.folder


class Method(enum.Enum):
    UGS = "ugs"


@dataclass
class Inner:
    density: float
    sizes: tuple[int, ...]


def test_plain_values_of_every_kind():
    value = {"m": Method.UGS, "i": Inner(0.5, (1, 2)), "s": {2, 1}, "f": np.float32(0.5), "n": np.arange(2), 3: None}
    assert plain(value) == {
        "m": "ugs",
        "i": {"density": 0.5, "sizes": [1, 2]},
        "s": [1, 2],
        "f": 0.5,
        "n": [0, 1],
        "3": None,
    }
    with pytest.raises(TypeError, match=r"cannot write a object as JSON"):
        plain({"x": object()})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_canonical_text_ignores_order_and_loses_nothing(config: dict):
    backwards = dict(reversed(config.items()))
    assert canonical(config) == canonical(backwards)
    assert json.loads(canonical(config)) == config

"""A run, its data and its ticket belong together: changed data, moved files, damage, interruption."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from common.runs.store import Run
from common.ticket import Ticket
from glt.cli import main
from glt.data import load

SMALL = ["--rounds", "1", "--seeds", "1", "--network.hidden", "4", "--training.epochs", "2", "--ugs.epochs", "2"]


def glt(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict, str]:
    code = main([*words, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.startswith("{") else {}, err


@pytest.fixture(name="words")
def _words(npz: str, tmp_path: Path) -> list[str]:
    return ["find", npz, *SMALL, "--jobs", "1", "--out", str(tmp_path / "runs")]


def change(npz: str, field: str) -> None:
    with np.load(npz) as file:
        arrays = dict(file)
    arrays[field][[0, 1]] = arrays[field][[1, 0]]
    np.savez(npz, **arrays)


@pytest.mark.parametrize("field", ["x", "y"])
def test_changed_data_is_another_run_and_no_data_of_the_ticket(
    field: str, words: list[str], npz: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, first, _ = glt(capsys, *words)
    folder = Path(first["ticket"]).parent
    assert Run(folder).manifest["data"] == {"name": "blocks", "sha256": load(npz).sha256}
    rung = folder / "rounds" / "seed-0" / "round-01"
    assert [Ticket.load(place).recipe["find"]["data"] for place in (folder / "ticket", rung)] == [load(npz).sha256] * 2
    change(npz, field)
    code, second, err = glt(capsys, *words)
    assert code == 0, err
    assert second["ticket"] != first["ticket"]
    assert "going on" not in err
    for place in (first["ticket"], str(rung)):
        code, _, err = glt(capsys, "eval", place, "--seeds", "1")
        assert code == 1
        assert "a ticket for other data: found blocks with sha256" in err
        assert "features, labels or splits differ" in err
        assert err.count("\n") == 1
    assert glt(capsys, "eval", second["ticket"], "--seeds", "1")[0] == 0


def test_changed_data_under_one_name_is_refused(words: list[str], npz: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert glt(capsys, *words, "--name", "mine")[0] == 0
    change(npz, "x")
    code, _, err = glt(capsys, *words, "--name", "mine")
    assert code == 2
    assert 'holds a run with another configuration (data: "' in err
    assert glt(capsys, *words, "--name", "mine", "--fresh")[0] == 0


def test_a_ticket_of_an_earlier_release_is_not_asked_for_its_data(
    words: list[str], npz: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found, _ = glt(capsys, *words)
    ticket = Ticket.load(found["ticket"])
    del ticket.recipe["find"]["data"]
    ticket.save(found["ticket"])
    change(npz, "x")
    assert glt(capsys, "eval", found["ticket"], "--seeds", "1")[0] == 0


def test_one_file_by_two_spellings_is_one_run_and_its_ticket_is_bound_to_no_folder(
    words: list[str], npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [glt(capsys, "find", name, *words[2:])[1] for name in (npz, "blocks.npz", "./blocks.npz")]
    assert len({run["ticket"] for run in runs}) == 1
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert glt(capsys, "eval", runs[0]["ticket"], "--seeds", "1")[0] == 0
    shutil.move(npz, tmp_path / "elsewhere" / "moved.npz")
    code, _, err = glt(capsys, "eval", runs[0]["ticket"], "--seeds", "1")
    assert code == 3
    assert f"there is no file {npz}" in err
    assert "name its place by --dataset" in err
    assert glt(capsys, "eval", runs[0]["ticket"], "--seeds", "1", "--dataset", "moved.npz")[0] == 0


def test_a_known_name_is_one_run_in_any_case() -> None:
    from glt.data import canonical

    assert [canonical(name) for name in ("cora", "CORA", "Digits", "PubMed")] == ["cora", "cora", "digits", "pubmed"]
    assert canonical("~/my.npz") == str(Path("~/my.npz").expanduser().resolve())
    assert canonical("nonesuch") == "nonesuch"


def test_a_damaged_rung_says_what_to_delete(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    _, found, _ = glt(capsys, *words)
    first, last = (Path(found["ticket"]).parent / "rounds" / "seed-0" / f"round-0{k}" for k in (0, 1))
    (last / "done.json").unlink()
    ticket = first / "ticket.safetensors"
    ticket.write_bytes(ticket.read_bytes()[:-1])
    code, _, err = glt(capsys, *words)
    assert code == 1
    assert str(ticket) in err
    assert "Or delete the folder of that round" in err
    assert "--fresh" in err
    shutil.rmtree(first)
    code, again, err = glt(capsys, *words)
    assert (code, again["accuracy"]) == (0, found["accuracy"]), err


@pytest.mark.parametrize("text", ['{"seed": 0, "rou', "[]"])
def test_a_cut_result_says_what_to_delete(text: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    _, found, _ = glt(capsys, *words)
    done = Path(found["ticket"]).parent / "rounds" / "seed-0" / "round-01" / "done.json"
    done.write_text(text)
    code, _, err = glt(capsys, *words)
    assert code == 1
    assert f"{done}: found no whole JSON object" in err
    assert f"Delete the folder {done.parent}" in err
    shutil.rmtree(done.parent)
    code, again, err = glt(capsys, *words)
    assert (code, again["accuracy"]) == (0, found["accuracy"]), err


def test_work_before_an_interruption_counts(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(config, folder, watch) -> None:
        import time

        time.sleep(0.3)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("glt.find.climb_all", interrupted)
        assert glt(capsys, *words, "--name", "x")[0] == 130
    spent = sum(event["seconds"] for event in Run(tmp_path / "runs" / "x").events("worked"))
    assert 0.3 <= spent < 5
    code, found, err = glt(capsys, *words, "--name", "x")
    assert code == 0, err
    assert found["seconds"] > spent


def test_seconds_are_kept_round_by_round(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert glt(capsys, *words, "--name", "x")[0] == 0
    assert [event["kind"] for event in Run(tmp_path / "runs" / "x").events()].count("worked") == 3  # 2 rounds, the end

"""`glt` as its users type it: results, folders, reports, refusals, interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.ticket import Ticket
from glt.cli import main

SMALL = ["--rounds", "2", "--seeds", "2", "--network.hidden", "8", "--training.epochs", "4", "--ugs.epochs", "3"]


def glt(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict, str]:
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.startswith("{") else {}, err


@pytest.fixture(name="found")
def _found(npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict:
    code, result, err = glt(capsys, "find", npz, *SMALL, "--jobs", "1", "--out", str(tmp_path / "runs"), "--json")
    assert code == 0, err
    return result


def test_find_returns_what_it_promises(found: dict) -> None:
    keys = "ticket dataset method model metric edges weights accuracy winning seconds peak_rss_mb report"
    assert " ".join(found) == keys
    assert (found["dataset"], found["method"], found["model"]) == ("blocks", "ugs", "gcn")
    assert found["weights"] == {"total": 64, "kept": 41, "density": 41 / 64}
    assert found["edges"]["kept"] == round(0.95**2 * found["edges"]["total"])
    for name in ("dense", "ticket", "random", "reinit", "edges"):
        assert set(found["accuracy"][name]) == {"mean", "ci95", "n"}
        assert 0 <= found["accuracy"][name]["mean"] <= 1
        assert found["accuracy"][name]["n"] == 2
    assert isinstance(found["winning"], bool)
    assert found["peak_rss_mb"] > 50
    ticket = Ticket.load(found["ticket"])
    assert ticket.masks["edges.weight"].sum() == 2 * found["edges"]["kept"]
    assert any("ICML 2021" in reference for reference in ticket.references)


def test_the_report_is_one_file_that_says_it_all(found: dict) -> None:
    page = Path(found["report"]).read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml;base64,") == 3
    assert 'src="http' not in page
    assert "<script" not in page
    for text in ("winning ticket", "random ticket", "re-initialised", "ICML 2021", "glt find", "95 %"):
        assert text in page, text


def test_the_same_command_continues_and_another_setting_is_another_folder(
    found: dict, npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = Path(found["ticket"]).parent / "rounds"
    stamp = {path: path.stat().st_mtime_ns for path in rounds.rglob("done.json")}
    (rounds / "seed-1" / "round-02" / "done.json").unlink()
    words = ["find", npz, *SMALL, "--jobs", "1", "--out", str(tmp_path / "runs"), "--json"]
    code, again, err = glt(capsys, *words)
    assert code == 0
    assert "going on after 5 finished rounds" in err
    assert {k: again[k] for k in ("accuracy", "ticket", "winning")} == {
        k: found[k] for k in ("accuracy", "ticket", "winning")
    }
    changed = {path for path, when in stamp.items() if path.stat().st_mtime_ns != when}
    assert {path.parent.relative_to(rounds).as_posix() for path in changed} == {"seed-1/round-02"}
    _, other, _ = glt(capsys, *words, "--first-seed", "5")
    assert other["ticket"] != found["ticket"]


def test_eval_retrains_with_controls_and_checks_the_graph(
    found: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result, _ = glt(capsys, "eval", found["ticket"], "--seeds", "2", "--json")
    assert code == 0
    assert {name: value["n"] for name, value in result["accuracy"].items()} == {
        "dense": 2, "ticket": 2, "random": 2, "reinit": 2, "edges": 2,
    }  # fmt: skip
    assert result["edges"] == found["edges"]
    code, _, err = glt(capsys, "eval", found["ticket"], "--dataset", "digits")
    assert code == 1
    assert "another graph" in err
    assert err.count("\n") == 1


def test_a_flipped_byte_is_refused(found: dict, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(found["ticket"]) / "ticket.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    code, _, err = glt(capsys, "eval", found["ticket"])
    assert code == 1
    assert err.startswith("glt: error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["find", "--edges-density", "1.5"],
            2,
            "--edges-density is the share to keep and must lie",
        ),
        (["find", "--method", "usg"], 2, "Did you mean ugs?"),
        (["find", "--model", "gcnn"], 2, "Did you mean gcn?"),
        (["find", "--rounds", "0"], 2, "--rounds must be at least 1"),
        (["find", "digit"], 2, "Did you mean digits?"),
        (["find", "--sedes", "3"], 2, "Did you mean --seeds?"),
        (["fnd"], 2, "Did you mean find?"),
        (["find", "nowhere.npz"], 3, "nowhere.npz. Give the path of an .npz"),
        (["eval", "nowhere"], 1, "nowhere"),
        (["eval"], 2, "name the folder of a ticket"),
    ],
)
def test_mistakes_get_one_clear_line(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    found, _, err = glt(capsys, *words)
    assert found == code
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_written_is_named_before_any_work(
    npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    code, _, err = glt(capsys, "find", npz, *SMALL, "--out", str(tmp_path / "file" / "runs"))
    assert code == 1
    assert str(tmp_path / "file") in err
    assert err.count("\n") == 1


def test_a_run_that_is_interrupted_continues(npz: str, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "glt", "find", npz, "--rounds", "30", "--seeds", "2", "--network.hidden", "8"]
    words += ["--training.epochs", "30", "--ugs.epochs", "30", "--weights-density", "0.1"]
    words += ["--out", str(tmp_path / "runs"), "--name", "x"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored, and so below
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    signal.signal(signal.SIGINT, before)
    rounds = tmp_path / "runs" / "x" / "rounds"
    deadline = time.monotonic() + 120
    while len(list(rounds.rglob("done.json"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.strip().splitlines()[-1] == "glt: interrupted; the same command continues"
    assert "Traceback" not in err
    finished = len(list(rounds.rglob("done.json")))
    assert 3 <= finished < 62


def test_processes_and_one_process_agree(found: dict, npz: str, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "glt", "find", npz, *SMALL, "--jobs", "2", "--out", str(tmp_path / "two"), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "round 6/6" in done.stderr
    result = json.loads(done.stdout)
    assert result["accuracy"] == found["accuracy"]


def test_data_and_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    code, facts, _ = glt(capsys, "data", "digits", "--json")
    assert (code, facts["nodes"], facts["edges"]) == (0, 1797, 9929)
    code, places, _ = glt(capsys, "data", "--json")
    assert places["datasets"]["digits"] == "embedded"
    code, health, err = glt(capsys, "doctor", "--json")
    assert (code, health["ok"]) == (0, True), err


def test_the_report_repeats_the_run_in_words() -> None:
    from glt.config import Find, Network, preset
    from glt.report import command_line

    assert command_line(preset(Find())) == "glt find digits"
    config = preset(Find("cora", rounds=3, symmetric=False, network=Network(depth=4)))
    assert command_line(config) == "glt find cora --rounds 3 --symmetric false --network.depth 4"

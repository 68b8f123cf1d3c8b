"""`glt data --to`: a data set as a file that every command reads."""

import json
from pathlib import Path

import numpy as np
import pytest

from common.runs.errors import MissingData
from glt._planetoid import _PARTS, download
from glt.cli import main
from glt.data import load


def glt(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict, str]:
    code = main([*words, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.startswith("{") else {}, err


@pytest.mark.parametrize("name", ["digits", "SBM-64", "motifs"])
def test_a_set_round_trips(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, facts, err = glt(capsys, "data", name, "--to", str(tmp_path / "new"))
    assert code == 0, err
    assert facts["file"] == str(tmp_path / "new" / f"{name.lower()}.npz")
    again, whole = load(facts["file"]), load(name)
    assert again.sha256 == whole.sha256 == facts["data_sha256"]
    assert type(again) is type(whole)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [f"{name.lower()}.npz"]


def test_facts_of_a_set_of_graphs(capsys: pytest.CaptureFixture[str]) -> None:
    code, facts, _ = glt(capsys, "data", "motifs")
    assert (code, facts["graphs"], facts["nodes"], facts["classes"], facts["homophily"]) == (0, 1000, 23619, 2, None)


def test_a_file_is_not_written_over_itself(npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(npz).read_bytes()
    code, _, err = glt(capsys, "data", npz, "--to", str(tmp_path))
    assert code == 2
    assert f"--to would write {npz} over itself" in err
    assert Path(npz).read_bytes() == before


def test_settings_of_one_format_are_refused_for_others(npz: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = glt(capsys, "data", "digits", "--largest")
    assert (code, "--largest and --seed are for files in the GNN benchmark's format; found digits" in err) == (2, True)
    code, _, err = glt(capsys, "data", npz, "--seed", "1")
    assert code == 1
    assert "this has a split of its own" in err


def test_the_largest_component_as_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = 240
    ring = np.arange(nodes)
    indices = np.where(ring < 200, (ring + 1) % 200, 200 + (ring + 1) % 40)  # two rings
    np.savez(
        tmp_path / "rings.npz", adj_data=np.ones(nodes), adj_indices=indices, adj_indptr=np.arange(nodes + 1),
        adj_shape=np.array([nodes, nodes]), attr_matrix=np.ones((nodes, 2)), labels=ring % 2,
    )  # fmt: skip
    words = ["data", str(tmp_path / "rings.npz"), "--largest", "--to", str(tmp_path / "new")]
    code, facts, err = glt(capsys, *words)
    assert (code, facts["nodes"], facts["edges"]) == (0, 200, 200), err
    assert load(facts["file"]).x.size(0) == 200


def test_a_planetoid_set_is_downloaded_into_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def writes(root: str, name: str) -> None:
        raw = Path(root) / name / "raw"
        raw.mkdir(parents=True)
        for part in _PARTS:
            (raw / f"ind.{name.lower()}.{part}").touch()

    monkeypatch.delenv("GLT_OFFLINE", raising=False)
    monkeypatch.setattr("torch_geometric.datasets.Planetoid", writes)
    assert download("Cora", into=tmp_path / "new") == tmp_path / "new" / "planetoid"
    assert (tmp_path / "new" / "planetoid" / "Cora" / "raw" / "ind.cora.graph").is_file()
    monkeypatch.setenv("GLT_OFFLINE", "1")
    with pytest.raises(MissingData, match=str(tmp_path / "other" / "planetoid" / "Cora" / "raw")):
        download("Cora", into=tmp_path / "other")


def test_an_absent_planetoid_set_is_looked_for_online(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GLT_DATA", raising=False)
    monkeypatch.setenv("GLT_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GLT_OFFLINE", "1")
    code, _, err = glt(capsys, "data", "cora", "--to", str(tmp_path / "new"))
    assert code == 3
    assert str(tmp_path / "new" / "planetoid" / "Cora" / "raw") in err
    assert not (tmp_path / "new").exists()


@pytest.mark.data
def test_cora_as_a_file_is_cora(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, facts, err = glt(capsys, "data", "cora", "--to", str(tmp_path))
    assert code == 0, err
    assert load(facts["file"]).sha256 == load("cora").sha256

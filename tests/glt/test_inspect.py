"""`glt data` and `glt doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.runs import health
from glt.cli import main


def glt(*words: str, code: int = 0, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    assert main([*words, "--json"]) == code
    shown = capsys.readouterr()
    return json.loads(shown.out) if code == 0 else None, shown.err


def test_the_facts_of_a_set(npz: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts, shown = glt("data", npz, capsys=capsys)
    about = ("nodes", "features", "classes", "undirected", "train", "val", "test", "feature_density")
    assert [facts[name] for name in about] == [60, 6, 2, True, 20, 20, 20, 1.0]
    assert facts["directed_edges"] == 2 * facts["edges"]
    assert 0.8 < facts["homophily"] < 1
    lines = dict(line.split(maxsplit=1) for line in shown.splitlines())
    assert lines["data_sha256"] == facts["data_sha256"]
    assert lines["homophily"] == f"{facts['homophily']:.4g}"


def test_where_sets_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("GLT_DATA", raising=False)
    monkeypatch.setenv("GLT_HOME", str(tmp_path))
    places, shown = glt("data", capsys=capsys)
    assert list(places["datasets"])[:5] == ["digits", "motifs", "cora", "citeseer", "pubmed"]
    assert {"tu-mutag", "ogbn-arxiv", "ogbg-molhiv"} <= set(places["datasets"])
    assert places["datasets"]["digits"] == "embedded"
    assert shown.splitlines()[2] == "cora            not on this machine; downloaded when first used"
    assert "unknown data set 'citeseeer'" in glt("data", "citeseeer", code=2, capsys=capsys)[1]


def test_the_doctor_tries_things(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    facts, _ = glt("doctor", capsys=capsys)
    assert facts["checks"] == dict.fromkeys(
        ("torchvision imports", "sparse product with gradients", "ticket written and read", "picture drawn"), "ok"
    )
    assert list(facts) == ["versions", "threads", "accelerator", "GLT_DATA", "checks", "ok"]

    def torn() -> None:
        raise OSError("disk full")

    monkeypatch.setattr(health, "ticket", torn)
    _, shown = glt("doctor", code=1, capsys=capsys)
    assert "ticket written and read          OSError: disk full" in shown
    assert "glt: error: some checks failed: ticket written and read; see above" in shown

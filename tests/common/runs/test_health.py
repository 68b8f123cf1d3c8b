"""What a doctor says: everything it tried, and which of it failed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from common.runs import health
from common.runs.progress import Console
from common.ticket import Ticket


def broken() -> None:
    raise ImportError("no such library")


def test_all_is_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GLT_DATA", str(tmp_path))
    out = io.StringIO()
    facts = health.examine({"ticket": health.ticket}, Console(stream=out), {"weights": "here"})
    assert facts["ok"] is True
    assert facts["checks"] == {"ticket": "ok"}
    assert (facts["GLT_DATA"], facts["weights"]) == (str(tmp_path), "here")
    assert facts["versions"]["torch"][0].isdigit()
    lines = dict(line.split(maxsplit=1) for line in out.getvalue().splitlines())
    assert (lines["ticket"], lines["weights"], lines["accelerator"]) == ("ok", "here", facts["accelerator"] or "none")


def test_what_fails_is_named_and_the_rest_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLT_DATA", "/nowhere")
    out = io.StringIO()
    with pytest.raises(RuntimeError, match="some checks failed: import; see above"):
        health.examine({"import": broken, "ticket": health.ticket}, Console(stream=out))
    for line in ("ImportError: no such library", "/nowhere (no such folder)", "ticket                           ok"):
        assert line in out.getvalue()


def test_a_ticket_that_changes_on_disk_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Ticket.load.__func__  # type: ignore[attr-defined]

    def other(folder: str | Path) -> Ticket:
        found = load(Ticket, folder)
        return Ticket(found.masks, {name: value + 1 for name, value in found.weights.items()})

    monkeypatch.setattr(Ticket, "load", other)
    assert health.attempt(health.ticket) == "RuntimeError: a ticket changed on disk"


def test_a_library_that_is_missing() -> None:
    found = health.versions(["torch", "no-such-library"])
    assert list(found) == ["python", "torch", "no-such-library"]
    assert found["no-such-library"] == "missing"

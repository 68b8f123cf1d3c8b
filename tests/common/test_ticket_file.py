"""A ticket's folder is written whole or not at all, and refused when anything in it has changed."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.masks import Masks
from common.ticket import Ticket, TicketError


def small(seed: int = 3) -> Ticket:
    generator = torch.Generator().manual_seed(seed)
    weights = {"w": torch.randn(9, 7, generator=generator), "b": torch.randn(7, generator=generator)}
    return Ticket(Masks({"w": torch.rand(9, 7, generator=generator) < 0.4}), weights, seeds=[seed])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return replace(small(), trained=dict(small().weights)).save(tmp_path / "saved")


def test_every_flipped_bit_is_refused(saved: Path) -> None:
    for name in ("ticket.safetensors", "trained.safetensors", "ticket.json"):
        whole = (saved / name).read_bytes()
        for position in range(0, len(whole), 41):
            if whole[position : position + 1].isspace():
                continue  # another blank between two json values changes nothing
            altered = bytearray(whole)
            altered[position] ^= 1
            (saved / name).write_bytes(altered)
            with pytest.raises(TicketError, match=name):
                Ticket.load(saved)
        (saved / name).write_bytes(whole)
    assert Ticket.load(saved).seeds == [3]


@pytest.mark.parametrize("name", ["ticket.safetensors", "trained.safetensors", "ticket.json"])
def test_missing_and_truncated_files_are_refused(saved: Path, name: str) -> None:
    whole = (saved / name).read_bytes()
    (saved / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TicketError, match=f"{name}.*found.*expected"):
        Ticket.load(saved)
    (saved / name).unlink()
    with pytest.raises(TicketError, match=f"{name}.*expected"):
        Ticket.load(saved)


def test_what_is_no_ticket_or_of_another_version_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(TicketError, match="no such folder"):
        Ticket.load(tmp_path / "nowhere")
    manifest = saved / "ticket.json"
    body = json.loads(manifest.read_text())
    for altered, message in [
        (body | {"version": 2}, "format version 2; expected version 1"),
        (body | {"kind": "model"}, "kind 'model'; expected kind 'lottery-ticket'"),
        ([1], "not a ticket"),
        (body | {"seeds": [4]}, "altered"),
    ]:
        manifest.write_text(json.dumps(altered))
        with pytest.raises(TicketError, match=message):
            Ticket.load(saved)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TicketError, match=r"file.*NotADirectoryError.*permissions"):
        small().save(tmp_path / "file" / "ticket")


@pytest.mark.parametrize("fails", ["first", "last"])
def test_a_failed_save_leaves_the_old_ticket(saved: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    def refuse(path: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open" if fails == "first" else "write_text", refuse)
    with pytest.raises(TicketError, match=r"saved: found PermissionError \(Permission denied\)"):
        small(seed=99).save(saved)
    monkeypatch.undo()
    assert Ticket.load(saved).seeds == [3]
    assert sorted(f.name for f in saved.iterdir()) == ["ticket.json", "ticket.safetensors", "trained.safetensors"]


def test_a_crash_between_two_files_is_noticed(saved: Path, tmp_path: Path) -> None:
    other = small(seed=99).save(tmp_path / "other")
    shutil.copy(other / "ticket.safetensors", saved)
    with pytest.raises(TicketError, match=r"ticket\.safetensors"):
        Ticket.load(saved)


def test_what_json_cannot_hold_is_refused_before_anything_is_replaced(saved: Path) -> None:
    with pytest.raises(TicketError, match=r"plain json.*Tensor"):
        replace(small(), metrics={"loss": torch.ones(1)}).save(saved)
    with pytest.raises(TicketError, match=r"complex128.*Convert"):
        Ticket(Masks({}), {"w": torch.ones(1, dtype=torch.complex128)}).save(saved)
    assert Ticket.load(saved).seeds == [3]
    assert len(os.listdir(saved)) == 3  # noqa: PTH208 - hidden temporary files count too

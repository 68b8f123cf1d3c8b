"""Replacing a saved ticket: whichever step of it fails, the older one loads."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.masks import Masks
from common.ticket import Ticket, TicketError

NAMES = ["ticket.json", "ticket.safetensors", "trained.safetensors"]


def made(seed: int, trained: bool = True) -> Ticket:
    generator = torch.Generator().manual_seed(seed)
    weights = {"w": torch.randn(9, 7, generator=generator)}
    ticket = Ticket(Masks({"w": torch.rand(9, 7, generator=generator) < 0.4}), weights, seeds=[seed])
    return replace(ticket, trained=dict(weights)) if trained else ticket


def failing(calls: Callable[[int], bool], error: BaseException) -> tuple[Callable[..., None], list[int]]:
    """os.replace that fails in the calls that a function of their number names, and the numbers of its calls."""
    plain, seen = os.replace, []

    def replacing(*paths: Path) -> None:
        seen.append(len(seen))
        if calls(seen[-1]):
            raise error
        plain(*paths)

    return replacing, seen


DENIED = PermissionError(13, "Permission denied")


@pytest.mark.parametrize(
    ("error", "forever"),
    [(DENIED, False), (DENIED, True), (KeyboardInterrupt(), False)],
    ids=["once", "on", "interrupt"],
)
@pytest.mark.parametrize("trained", [True, False])
def test_the_older_ticket_loads_after_a_failure_at_any_replace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: bool, forever: bool, error: BaseException
) -> None:
    count = None
    for n in range(20):
        folder = made(1).save(tmp_path / str(n))
        replacing, seen = failing(lambda i, n=n: i >= n if forever else i == n, error)  # type: ignore[misc]
        monkeypatch.setattr(os, "replace", replacing)
        with suppress(TicketError, KeyboardInterrupt):
            made(2, trained).save(folder)
            count = len(seen)
        monkeypatch.undo()
        if count is not None:
            assert n == count
            break
        loaded = Ticket.load(folder)
        assert loaded.seeds == [1]
        assert loaded.trained is not None
        assert sorted(os.listdir(folder)) == NAMES  # noqa: PTH208 - hidden files count
    assert count is not None
    assert count >= 3
    assert Ticket.load(folder).seeds == [2]
    assert sorted(os.listdir(folder)) == (NAMES if trained else NAMES[:2])  # noqa: PTH208


def test_a_first_save_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replacing, _ = failing(lambda i: i == 2, DENIED)
    monkeypatch.setattr(os, "replace", replacing)
    with pytest.raises(TicketError, match="Permission denied"):
        made(1).save(tmp_path)
    assert list(tmp_path.iterdir()) == []

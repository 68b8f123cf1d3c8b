"""Searches that go on in another process: from checkpoints within a round, and with a kept memory between rounds."""

from __future__ import annotations

from pathlib import Path

import pytest
from interrupted import DIGITS, QUICK, Until, equal, made, same

from common.search import Rewind, tickets
from common.ticket import TicketError
from gen_tickets import ddpm
from gen_tickets._checkpoint import Checkpoints
from gen_tickets.denoising import Denoising


def test_a_search_that_starts_anew_goes_on_where_it_was(tmp_path: Path) -> None:
    """Round 0 is trained again but for what its checkpoints hold; round 1 goes on in its middle."""
    said: list[str] = []
    results = []
    for most, steps in ((10**6, None), (17, 4), (10**6, 4)):
        model, train = made("ddpm")
        train.drive = count = Until(most)
        train.checkpoints = None if steps is None else Checkpoints(tmp_path, steps=steps, say=said.append)
        try:
            *_, last = tickets(model, train, [1.0, 0.5], steps=10, rewind=Rewind.step(1))
        except KeyboardInterrupt:
            continue
        results.append((last, model, train, count.done))
    (one, *first, steps_one), (two, *second, steps_two) = results
    assert (steps_one, steps_two) == (19, 1 + 2 + 2)
    assert [line.rpartition(" ")[2] for line in said[-2:]] == ["8", "8"]
    assert one.digest == two.digest
    assert same((first[0], first[1]), (second[0], second[1]))


@pytest.mark.parametrize("family", ["ddpm", "sngan"])
def test_a_search_goes_on_with_a_kept_memory_as_if_never_stopped(family: str, tmp_path: Path) -> None:
    rewind = Rewind.step(2)
    whole, parts, after = made(family), made(family), made(family)
    *_, expected = tickets(*whole, [1.0, 0.5, 0.25], steps=5, rewind=rewind)
    *_, ticket = tickets(*parts, [1.0, 0.5], steps=5, rewind=rewind)
    parts[1].save_memory(tmp_path / "memory")
    after[1].load_memory(tmp_path / "memory")
    assert equal(after[1].carried, parts[1].carried)
    (found,) = tickets(*after, [0.25], steps=5, rewind=rewind, start=ticket)
    assert found.digest == expected.digest
    assert found.metrics == expected.metrics
    assert same(whole, after)
    forgetful = made(family)
    (other,) = tickets(*forgetful, [0.25], steps=5, rewind=rewind, start=ticket)
    assert other.metrics != expected.metrics


def test_a_memory_is_refused_when_it_is_none_or_anothers(tmp_path: Path) -> None:
    model, train = made("ddpm")
    with pytest.raises(ValueError, match="found nothing to keep: this trainer has not trained yet"):
        train.save_memory(tmp_path)
    train(model, 0, 1)
    train.save_memory(tmp_path)
    with pytest.raises(TicketError, match=r"another trainer, which differs in seed \(0, here 5\)"):
        ddpm.trainer(Denoising(DIGITS), QUICK, seed=5).load_memory(tmp_path)
    with pytest.raises(TicketError, match="no such folder"):
        train.load_memory(tmp_path / "nowhere")
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(TicketError, match="cut short or replaced"):
        train.load_memory(tmp_path)

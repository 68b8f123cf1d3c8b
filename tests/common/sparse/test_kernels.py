"""The kernels' small parts: targets, code on disk, transfers, offsets."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
import torch

from common.sparse import cache
from common.sparse.jit import compiled
from common.sparse.layout import tiling
from common.sparse.machine import host
from common.sparse.team import Team, row
from common.sparse.transfer import move

STORE = "define void @put(ptr %p) {{ store i32 {}, ptr %p ret void }}"


def value_of(text: str) -> int:
    code, value = compiled(text, "put"), ctypes.c_int32()
    code.call(ctypes.addressof(value))
    return value.value


def test_code_is_kept_on_disk_and_a_damaged_file_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLT_HOME", str(tmp_path))
    assert value_of(STORE.format(5)) == 5
    (path,) = cache.folder().rglob("*.o")
    kept = path.read_bytes()
    assert value_of(STORE.format(5)) == 5
    path.write_bytes(kept[:-3] + b"abc")
    assert value_of(STORE.format(5)) == 5
    assert path.read_bytes() == kept


def test_a_cache_that_cannot_be_written_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("GLT_HOME", str(tmp_path / "file"))
    assert value_of(STORE.format(6)) == 6


def test_narrower_targets() -> None:
    wide = host()
    assert wide.narrowed(wide.lanes) is wide
    four = wide.narrowed(4)
    assert four.lanes == 4
    assert four.fingerprint != wide.fingerprint or wide.lanes == 4
    with pytest.raises(ValueError, match="found a width of 5 lanes; expected 4, 8 or 16"):
        wide.narrowed(5)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_team_calls_a_kernel_with_every_row(threads: int) -> None:
    text = """define void @mark(ptr %row) {
%to = load ptr, ptr %row
%value.at = getelementptr i8, ptr %row, i64 8
%value = load i64, ptr %value.at
store i64 %value, ptr %to ret void }"""
    found = np.zeros(7, dtype=np.int64)
    rows = [row(found.ctypes.data + 8 * i, 10 + i) for i in range(7)]
    Team(threads).run(compiled(text, "mark"), rows)
    assert found.tolist() == [10, 11, 12, 13, 14, 15, 16]


@pytest.mark.parametrize("shape", [(16, 16), (16, 3, 37), (16, 20, 5), (16, 2, 3, 18), (5, 20), (16, 7)])
def test_transfers_equal_copies(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    lanes = torch.randn(*shape[1:], shape[0]).movedim(-1, 0)
    for order in (tuple(range(len(shape))), (0, *reversed(range(1, len(shape))))):
        plain = torch.empty([shape[d] for d in order]).permute([order.index(d) for d in range(len(shape))])
        move(lanes, plain, host(), Team(2))
        assert torch.equal(plain, lanes)
        back = torch.empty_like(lanes).copy_(torch.zeros(()))
        move(plain, back, host(), Team(2))
        assert torch.equal(back, lanes)


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (4, 4), (7, 5), (32, 32), (3, 28), (33, 17)])
@pytest.mark.parametrize("images", [1, 16])
@pytest.mark.parametrize("accumulators", [1, 6, 8])
def test_tiles_cover_every_pixel_and_nothing_else(rows: int, cols: int, images: int, accumulators: int) -> None:
    cut = tiling(rows, cols, images, accumulators)
    width = 1 if images > 1 else cut.lanes
    covered = {(y + a, x + b + i) for y, x in cut.starts for a, b in cut.steps for i in range(width)}
    assert covered == {(y, x) for y in range(rows) for x in range(cols)}
    assert len(cut.steps) * cut.lanes <= accumulators * 16

"""Rows that are not in memory read like those that are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glt import _rows
from glt._rows import Held, Mapped, Spilled, View
from glt._sorted_keys import SortedKeys

RNG = np.random.default_rng(0)
X = RNG.standard_normal((50, 7), dtype=np.float32)
SOME = np.array([0, 3, 4, 17, 48, 49])


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rows, "WINDOW", 5 * 7 * 4)  # five rows


def mapped(folder: Path, array: np.ndarray) -> Mapped:
    np.save(folder / "x.npy", array)
    return Mapped.npy(folder / "x.npy")


def check(rows: Held | Mapped | Spilled | View, array: np.ndarray) -> None:
    assert rows.shape == array.shape
    for which in (slice(0, len(array)), slice(3, 19), slice(4, 4), SOME, SOME[:0]):
        for columns in (slice(0, array.shape[1]), slice(2, 5)):
            wanted = array[which][:, columns]
            found = np.full_like(wanted, np.nan)
            rows.load(found, which, columns)
            np.testing.assert_array_equal(found, wanted)


def test_all_kinds_load_alike(tmp_path: Path) -> None:
    check(mapped(tmp_path, X), X)
    held, spilled = Held(50, 7), Spilled(tmp_path, 50, 7)
    strips = [Spilled(tmp_path, 50, 7, strip) for strip in (1, 3, 4, 99)]
    for store in (held, spilled, *strips):
        for start in (20, 0):  # in any order
            store.write(start, X[start : start + (30 if start else 20)])
        check(store, X)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def test_strips_are_written_one_by_one(tmp_path: Path) -> None:
    strips = Spilled(tmp_path, 50, 7, 3)
    for left in (0, 3, 6):
        strips.write(0, X[:, left : left + 3], left)
    check(strips, X)
    with pytest.raises(ValueError, match="found columns 1 to 3; expected the strip 0 to 3"):
        strips.write(0, X[:, 1:3], 1)


def test_views_choose_rows_and_columns(tmp_path: Path) -> None:
    base = mapped(tmp_path, X)
    order = np.array([6, 0, 2, 3, 5])
    check(View(base), X)
    check(View(base, columns=order), X[:, order])
    check(View(base, slice(0, 50), order), X[:, order])
    wide = np.concatenate([X, X, X])
    big = mapped(tmp_path, wide)
    check(View(big, np.arange(0, 150, 3)), wide[::3])
    check(View(big, slice(60, 110), order), wide[60:110, order])


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_])
def test_small_types_become_floats(dtype: type, tmp_path: Path) -> None:
    array = (RNG.random((50, 7)) * 3).astype(dtype)
    check(mapped(tmp_path, array), array.astype(np.float32))


def test_numbers_are_copied(tmp_path: Path) -> None:
    numbers = np.arange(1000)
    found = mapped(tmp_path, numbers)
    assert found.read().tolist() == numbers.tolist()
    assert found.read(997, 1000).tolist() == [997, 998, 999]
    assert found.read(5, 5).tolist() == []
    found.read(0, 3)[:] = 7
    assert found.read(0, 3).tolist() == [0, 1, 2]


def test_columns_after_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found columns one after the other; expected rows"):
        mapped(tmp_path, np.asfortranarray(X))


@pytest.mark.parametrize("most", [600, 1500, 10**6])
@pytest.mark.parametrize("order", ["random", "sorted", "one value", "nothing"])
def test_sorted_keys_are_those_of_a_set(order: str, most: int, tmp_path: Path) -> None:
    numbers = RNG.integers(0, 5000, 20_000)
    numbers = {"random": numbers, "sorted": np.sort(numbers), "one value": numbers * 0 + 3, "nothing": numbers[:0]}[
        order
    ]
    keys = SortedKeys(tmp_path)
    for start in range(0, len(numbers), 3000):
        keys.add(numbers[start : start + 3000])
    parts = list(keys.parts(most))
    assert np.concatenate([np.zeros(0, int), *parts]).tolist() == sorted(set(numbers.tolist()))
    assert max([len(part) for part in parts], default=0) <= max(most, 512 * 8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_is_one_clear_error() -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(OSError, match="for a temporary file; find room"),
    ):
        _rows.append(full, X)

"""Images of one's own: folders, zips and arrays, and what is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.runs.errors import UsageError
from gen_tickets._resize import squared
from gen_tickets.data import load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two hundred grey images of 6x5 pixels in two folders of classes, the number of each its first pixel."""
    for number in range(200):
        path = tmp_path / "shapes" / ("cats" if number < 120 else "dogs") / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((6, 5), 9, np.uint8)
        pixels[0, 0] = number
        Image.fromarray(pixels).save(path)
    return tmp_path / "shapes"


def test_a_folder_and_its_zip_are_one_set(folder: Path) -> None:
    images = load(str(folder))
    assert (images.name, images.shape, images.classes) == ("shapes", (1, 6, 5), 2)
    assert (len(images.train), len(images.test)) == (180, 20)
    for pixels, labels in ((images.train, images.labels_train), (images.test, images.labels_test)):
        assert labels is not None
        assert ((pixels[:, 0, 0, 0] >= 120).long() == labels).all()
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*.png"):
            file.write(path, path.relative_to(folder))
        file.writestr("__MACOSX/cats/._000.png", b"no image")
        file.writestr("readme.txt", b"no image")
    assert load(str(archive)).sha256 == images.sha256


def test_images_of_another_size(folder: Path) -> None:
    images = load(str(folder), size=4)
    assert (images.name, images.shape) == ("shapes@4", (1, 4, 4))
    assert load("digits", size=8).name == "digits"
    assert load("digits", size=16).shape == (1, 16, 16)
    with pytest.raises(UsageError, match="a size of 0 pixels"):
        load("digits", size=0)
    flat = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(1, 2, 3, 4)
    assert np.array_equal(squared(flat, 3), flat[..., :3])  # a whole number of pixels is cut, nothing is blurred
    means = np.array([[[[10, 20], [30, 60]]]], dtype=np.uint8)
    assert squared(means, 1).tolist() == [[[[30]]]]


def test_a_damaged_image_is_named(folder: Path) -> None:
    whole = (folder / "cats" / "007.png").read_bytes()
    for content in (whole[:40], b"", b"text"):
        (folder / "cats" / "007.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"cats/007\.png: found a damaged image .*Replace or remove it"):
            load(str(folder))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((6, 5, 3), r"dogs/zz\.png: found 3 channels; expected 1, as 200 of 201 images have"),
        ((7, 5), r"dogs/zz\.png: found 7x5 pixels; expected 6x5, as 200 of 201 images have.*give a size"),
    ],
)
def test_images_that_do_not_go_together(folder: Path, shape: tuple[int, ...], message: str) -> None:
    Image.fromarray(np.zeros(shape, np.uint8)).save(folder / "dogs" / "zz.png")
    with pytest.raises(ValueError, match=message):
        load(str(folder))


def test_sizes_may_differ_where_one_is_given(folder: Path) -> None:
    Image.fromarray(np.zeros((9, 12), np.uint8)).save(folder / "dogs" / "zz.jpg")
    assert len(load(str(folder), size=5).train) == 181


def test_grey_where_colour_is_expected(folder: Path) -> None:
    with pytest.raises(ValueError, match="shapes: found grey images; expected colour images of 3 channels"):
        load(str(folder), channels=3)
    with pytest.raises(ValueError, match="found grey images; expected images of 4 channels"):
        load("digits", channels=4)


def test_modes_of_colour(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(256, size=(4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(colours)
    image.save(tmp_path / "rgb.png")
    image.convert("RGBA").save(tmp_path / "rgba.png")
    images = load(str(tmp_path))
    assert images.labels_train is None
    assert np.array_equal(images.train[0].numpy(), colours.transpose(2, 0, 1))
    assert np.array_equal(images.test[0].numpy(), colours.transpose(2, 0, 1))
    for name, odd in (("I;16", image.convert("L").convert("I;16")), ("CMYK", image.convert("CMYK"))):
        path = tmp_path / ("odd.jpg" if name == "CMYK" else "odd.png")
        odd.save(path)
        with pytest.raises(ValueError, match=f"found an image of mode {name}; expected grey or RGB"):
            load(str(tmp_path))
        path.unlink()
    image.putalpha(128)
    image.save(tmp_path / "odd.png")
    with pytest.raises(ValueError, match="mode RGBA with transparent pixels"):
        load(str(tmp_path))


def test_too_few_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found no image"):
        load(str(tmp_path))
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "only.png")
    with pytest.raises(ValueError, match="found 1 image; expected at least 2"):
        load(str(tmp_path))
    (tmp_path / "bad.zip").write_bytes(b"PK no zip")
    with pytest.raises(ValueError, match="damaged zip"):
        load(str(tmp_path / "bad.zip"))


@pytest.mark.parametrize("shape", [(20, 6, 6), (20, 6, 6, 1), (20, 1, 6, 6), (20, 6, 6, 3), (20, 3, 6, 6)])
def test_arrays_in_every_layout(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = np.arange(np.prod(shape), dtype=np.int64).astype(np.uint8).reshape(shape)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(20) % 2)
    found = load(str(tmp_path / "own.npz"))
    assert found.shape == (3 if 3 in shape else 1, 6, 6)
    assert (len(found.train), len(found.test), found.classes) == (18, 2, 2)
    assert sorted(found.train.flatten().tolist() + found.test.flatten().tolist()) == sorted(images.flatten().tolist())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 6, 6), np.uint8)}, "found the arrays x; expected images"),
        ({"images": np.zeros((4, 6, 6))}, r"found images of float64 and shape \(4, 6, 6\)"),
        ({"images": np.zeros((4, 6, 6, 2), np.uint8)}, "with 1 or 3 channels"),
        ({"images": np.zeros((4, 6, 6), np.uint8), "labels": np.zeros(3, int)}, r"labels of int64 and shape \(3,\)"),
        ({"images": np.array([None])}, "damaged data"),
    ],
)
def test_bad_arrays(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "own.npz"))


def test_every_flipped_byte_of_a_zip_is_named_or_harmless(tmp_path: Path) -> None:
    whole = tmp_path / "whole.zip"
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.png", "b.png"):
            file = io.BytesIO()
            Image.fromarray(np.full((4, 4), 9, np.uint8)).save(file, "png")
            archive.writestr(name, file.getvalue() + bytes(200))
    content, images = whole.read_bytes(), load(str(whole))
    for place in range(0, len(content), 7):
        damaged = tmp_path / "damaged.zip"
        damaged.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        found, said = None, str(damaged)
        try:
            found = load(str(damaged))
        except ValueError as error:
            said = str(error)
        assert str(damaged) in said
        if found is not None:  # a name changed, say, or the bytes after an image
            assert found.shape == images.shape
            assert {int(pixel) for part in (found.train, found.test) for pixel in part.unique()} == {9}

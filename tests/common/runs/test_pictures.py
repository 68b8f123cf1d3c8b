"""Rows of images: every pixel where it belongs, columns below columns, whatever the size."""

from __future__ import annotations

import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from common.runs.pictures import fitting, image_rows

SVG = "{http://www.w3.org/2000/svg}"


def counting(count: int, height: int, width: int, channels: int) -> np.ndarray:
    """Images in which every byte differs from its neighbours."""
    return (
        (np.arange(count * height * width * channels) * 7 % 251).astype(np.uint8).reshape(-1, height, width, channels)
    )


def sheets(svg: str) -> list[np.ndarray]:
    """The pictures inside, read by another library than the one that wrote them."""
    found = []
    for image in ElementTree.fromstring(svg).iter(f"{SVG}image"):
        kind, _, data = image.attrib["href"].partition(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as opened:
            assert opened.mode in ("L", "RGB")
            found.append(np.atleast_3d(np.asarray(opened)))
    return found


def places(svg: str) -> list[dict[str, float]]:
    return [
        {name: float(image.attrib[name]) for name in ("x", "y", "width", "height")}
        for image in ElementTree.fromstring(svg).iter(f"{SVG}image")
    ]


def texts(svg: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("shape", "repeat", "frame"),
    [((3, 8, 8, 1), 5, 2), ((3, 8, 8, 3), 5, 2), ((3, 28, 28, 1), 1, 1), ((3, 32, 32, 3), 1, 1), ((3, 6, 10, 1), 4, 2)],
)
def test_every_pixel_is_where_it_belongs(shape: tuple[int, int, int, int], repeat: int, frame: int):
    images = counting(*shape)
    (sheet,) = sheets(image_rows({"a": images}, across=2))
    _, height, width, _ = shape
    for index, (line, column) in enumerate([(0, 0), (0, 1), (1, 0)]):
        y, x = (k * (size * repeat + frame) + frame for k, size in ((line, height), (column, width)))
        part = sheet[y : y + height * repeat, x : x + width * repeat]
        assert (part == images[index].repeat(repeat, 0).repeat(repeat, 1)).all()
        assert (sheet[y - 1, x : x + width * repeat] == 208).all()
    assert (sheet[-1, -1] == 255).all()  # there is no fourth image, nor a frame for it


@pytest.mark.parametrize(("side", "drawn"), [(8, 40), (16, 48), (28, 56), (32, 64), (64, 64), (96, 96), (512, 96)])
def test_images_are_large_enough_to_see_and_no_larger_than_the_page(side: int, drawn: int):
    svg = image_rows({"a": counting(1, side, side, 1)})
    (sheet,), (place,) = sheets(svg), places(svg)
    frame = 2 if side < 20 else 1
    inner = sheet.shape[1] - 2 * frame
    assert inner * place["width"] / sheet.shape[1] == pytest.approx(drawn, rel=1e-3)
    assert ("pixelated" in svg) == (side <= 96)
    assert 16 >= fitting(side, side) >= 7
    wide = places(image_rows({"a": counting(16, side, side, 1)}, fitting(side, side)))[0]
    assert wide["width"] <= 735


def test_columns_stand_below_columns_and_blocks_below_blocks():
    rows = {"dense network": counting(6, 8, 8, 1), "a": counting(2, 8, 8, 1), "b\nc": counting(5, 8, 8, 1)}
    first, second, third = places(image_rows(rows, across=4))
    assert first["x"] == second["x"] == third["x"] > 0
    assert first["width"] == second["width"] == third["width"] == 4 * 42 + 2
    assert (first["height"], second["height"], third["height"]) == (2 * 42 + 2, 42 + 2, 2 * 42 + 2)
    assert first["y"] + first["height"] < second["y"]
    assert second["y"] + second["height"] < third["y"]


def test_labels_are_escaped_split_and_cut():
    svg = image_rows(
        {
            '<b> & "c"\n10 % kept': counting(1, 8, 8, 1),
            "x" * 20 + "y" * 20: counting(1, 8, 8, 1),
            "": counting(1, 8, 8, 1),
        }
    )
    assert texts(svg) == ['<b> & "c"', "10 % kept", "x" * 13 + "…" + "y" * 14, ""]


def test_the_same_images_give_the_same_bytes_and_the_whole_picture_is_white_below():
    rows = {"a": counting(3, 8, 8, 3), "b": counting(3, 8, 8, 3)}
    assert image_rows(rows) == image_rows(rows)
    ground = next(ElementTree.fromstring(image_rows(rows)).iter(f"{SVG}rect"))
    assert ground.attrib["fill"] == "#ffffff"


BYTES = np.zeros((2, 8, 8, 1), dtype=np.uint8)


@pytest.mark.parametrize(
    ("rows", "across", "message"),
    [
        ({}, 16, "found no rows"),
        ({"a": BYTES}, 0, "found 0 images side by side; expected 1 or more"),
        ({"a": BYTES.astype(np.float32)}, 16, "'a': found images of float32; expected uint8"),
        ({"a": BYTES[0]}, 16, r"found images \(8, 8, 1\); expected \(N, H, W, C\)"),
        ({"a": BYTES.repeat(4, axis=3)}, 16, r"found images \(2, 8, 8, 4\); expected \(N, H, W, C\) with C = 1 or 3"),
        ({"a": BYTES[:0]}, 16, r"found images \(0, 8, 8, 1\)"),
        ({"a": BYTES, "b": BYTES[:, :4]}, 16, "expected one shape"),
        ({"a": BYTES, "b": BYTES.repeat(3, axis=3)}, 16, "expected one shape"),
    ],
)
def test_what_are_no_images(rows: dict[str, np.ndarray], across: int, message: str):
    with pytest.raises(ValueError, match=message):
        image_rows(rows, across)

"""Rows of small images with a label each, as SVG text: what networks draw, one below the other."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from common.runs.figure import INK

__all__ = ["fitting", "image_rows"]

_FONT, _LINE, _SPACE, _LETTER = 13, 16, 10, 7.4  # pixels: of the type, of a line of it, between blocks, of a letter
_LEAST, _MOST, _PAGE = 40, 96, 730  # pixels: of an image's longer side, and of the images in a line on a report's page
_FRAME, _EMPTY = 208, 255


def image_rows(rows: Mapping[str, npt.NDArray[np.uint8]], across: int = 16) -> str:
    """A labelled block of images for each entry, one below the other, column k of each below column k of the others.

    Pixels are enlarged a whole number of times and stay crisp; only images of more than 96 pixels are made smaller.

    Args:
        rows: label, which may have several lines, to images (N, H, W, C), bytes, with C = 1 (grey) or 3 (red, green,
            blue). N may differ; H, W and C are the same everywhere.
        across: how many images stand side by side; more go on in the next line of their block.

    Returns:
        An `<svg>` element with one PNG a block inside; the same images give the same bytes.

    Raises:
        ValueError: there are no rows or no images, their type or shape is another, or `across` is below 1.

    >>> image_rows({"ticket": np.zeros((4, 8, 8, 1), dtype=np.uint8)})[:4]
    '<svg'
    """
    height, width = _checked(rows, across)
    look = _look(height, width)
    columns = min(across, max(len(images) for images in rows.values()))
    labels = [[_cut(line) for line in label.splitlines() or [""]] for label in rows]
    left = round(_LETTER * max(len(line) for label in labels for line in label)) + _SPACE
    top, parts = 0.0, list[str]()
    for label, images in zip(labels, rows.values(), strict=True):
        sheet = _sheet(images, columns, look)
        tall = sheet.shape[0] * look.scale
        room = max(tall, len(label) * _LINE)
        parts += _text(label, top + room / 2)
        parts.append(_image(sheet, left, top + (room - tall) / 2, look.scale))
        top += room + _SPACE
    right, bottom = left + sheet.shape[1] * look.scale, top - _SPACE
    size = f'width="{right:g}" height="{bottom:g}" viewBox="0 0 {right:g} {bottom:g}"'
    style = f'font-family="DejaVu Sans, Verdana, sans-serif" font-size="{_FONT}" fill="{INK}"'
    ground = f'<rect width="{right:g}" height="{bottom:g}" fill="#ffffff"/>'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', ground, *parts, "</svg>\n"])


@dataclass(frozen=True)
class _Look:
    """How images lie on a sheet: every pixel repeated, a frame around each, and the sheet drawn at a scale."""

    repeat: int
    frame: int
    scale: float


def _look(height: int, width: int) -> _Look:
    """Tiny images are enlarged on the sheet, for a frame thinner than their pixels; others where it is drawn."""
    side = max(height, width)
    times = -(-_LEAST // side)
    if times > 2:
        return _Look(times, 2, 1)
    return _Look(1, 1, times if side <= _MOST else _MOST / side)


def fitting(height: int, width: int) -> int:
    """How many images of this size stand side by side on a report's page, at most 16.

    >>> fitting(8, 8), fitting(28, 28), fitting(32, 32), fitting(512, 512)
    (16, 12, 11, 7)
    """
    look = _look(height, width)
    return max(1, min(16, int(_PAGE / ((width * look.repeat + look.frame) * look.scale))))


def _checked(rows: Mapping[str, npt.NDArray[np.uint8]], across: int) -> tuple[int, int]:
    if across < 1:
        raise ValueError(f"found {across} images side by side; expected 1 or more")
    if not rows:
        raise ValueError("found no rows of images; give one at least")
    for label, images in rows.items():
        if images.dtype != np.uint8:
            raise ValueError(f"{label!r}: found images of {images.dtype}; expected uint8. Scale them to 0 ... 255.")
        if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
            raise ValueError(
                f"{label!r}: found images {images.shape}; expected (N, H, W, C) with C = 1 or 3, and N > 0"
            )
    shapes = {label: images.shape[1:] for label, images in rows.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"found images (H, W, C) {shapes}; expected one shape. Make a picture for each shape.")
    height, width, _ = next(iter(shapes.values()))
    return height, width


def _sheet(images: npt.NDArray[np.uint8], columns: int, look: _Look) -> npt.NDArray[np.uint8]:
    """Images (N, H, W, C) in lines on one sheet, each in its frame."""
    frame, images = look.frame, images.repeat(look.repeat, axis=1).repeat(look.repeat, axis=2)
    count, height, width, channels = images.shape
    down, right = height + frame, width + frame
    sheet = np.full((-(-count // columns) * down + frame, columns * right + frame, channels), _EMPTY, dtype=np.uint8)
    for index in range(count):
        y, x = index // columns * down, index % columns * right
        sheet[y : y + down + frame, x : x + right + frame] = _FRAME
    for index, image in enumerate(images):
        y, x = index // columns * down + frame, index % columns * right + frame
        sheet[y : y + height, x : x + width] = image
    return sheet


def _image(sheet: npt.NDArray[np.uint8], left: float, top: float, scale: float) -> str:
    place = f'x="{left:g}" y="{top:g}" width="{sheet.shape[1] * scale:g}" height="{sheet.shape[0] * scale:g}"'
    crisp = ' image-rendering="optimizeSpeed" style="image-rendering:pixelated"' if scale >= 1 else ""
    return f'<image {place}{crisp} href="data:image/png;base64,{base64.b64encode(_png(sheet)).decode()}"/>'


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Pixels (H, W, C), grey or colour, as a PNG of eight bits a channel.

    References:
        Portable Network Graphics (PNG) Specification, W3C.
    """
    height, width, channels = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    lines = np.concatenate([np.zeros((height, 1), dtype=np.uint8), pixels.reshape(height, -1)], axis=1)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    whole = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(whole)


def _text(lines: list[str], middle: float) -> list[str]:
    first = middle - (len(lines) - 1) * _LINE / 2 + 0.36 * _FONT
    return [f'<text x="0" y="{first + i * _LINE:.6g}">{escape(line)}</text>' for i, line in enumerate(lines)]


def _cut(line: str) -> str:
    return line if len(line) <= 28 else f"{line[:13]}…{line[-14:]}"

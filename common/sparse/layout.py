"""Where a channel's pixels lie in memory, and which of them a kernel computes at a time.

Activations are (channels, rows, columns, lanes): 16 images side by side in the lanes, or one image and no lanes. Seen
as a torch tensor of shape (images, channels, rows, columns) with those strides, any torch operation still takes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

__all__ = ["IMAGES", "Grid", "Plane", "Tiling", "tiling"]

IMAGES = 16


@dataclass(frozen=True)
class Plane:
    """One channel's rows and columns, with a margin of zeros around them.

    Attributes:
        rows, cols: pixels without the margin.
        lanes: images side by side, 16 or 1.
        margin: zero pixels above, below, left and right.
        spacing: bytes from a channel to the next, if not the usual.

    >>> plane = Plane(2, 3, 1, (1, 1, 1, 1))
    >>> plane.pitch, plane.size, plane.origin
    (20, 80, 24)
    """

    rows: int
    cols: int
    lanes: int
    margin: tuple[int, int, int, int] = (0, 0, 0, 0)
    spacing: int | None = None

    @property
    def pitch(self) -> int:
        """Bytes from a row to the next."""
        return (self.cols + self.margin[2] + self.margin[3]) * self.lanes * 4

    @property
    def size(self) -> int:
        """Bytes from a channel to the next.

        Planes of whole pages would put one pixel of every channel into the same few lines of the first-level cache;
        they are set apart by half a kilobyte.
        """
        if self.spacing is not None:
            return self.spacing
        pixels = (self.rows + self.margin[0] + self.margin[1]) * self.pitch
        return pixels if pixels % 2048 or pixels == 0 else pixels + 512

    @property
    def strides(self) -> tuple[int, int, int, int]:
        """Floats between images, channels, rows and columns: the strides of a torch tensor over it."""
        return 1, self.size // 4, self.pitch // 4, self.lanes

    @property
    def origin(self) -> int:
        """Bytes from the start of a channel to its first pixel inside the margin."""
        return self.margin[0] * self.pitch + self.margin[2] * self.lanes * 4


@dataclass(frozen=True)
class Grid:
    """A regular grid of pixels in a plane: every `rows`-th row and `cols`-th column from a byte offset on."""

    plane: Plane
    start: int
    rows: int = 1
    cols: int = 1

    def at(self, row: int, col: int) -> int:
        """The byte offset of a point of the grid."""
        return self.start + row * self.rows * self.plane.pitch + col * self.cols * self.plane.lanes * 4


@dataclass(frozen=True)
class Tiling:
    """How a map of output pixels is cut: tiles of `rows` x `vectors` vectors of `lanes` floats.

    Attributes:
        starts: row and column of every tile's first pixel; tiles at the far edges may overlap their neighbours.
        steps: row and column of every vector of a tile, from its first.
        lanes: floats in a vector.
    """

    starts: tuple[tuple[int, int], ...]
    steps: tuple[tuple[int, int], ...]
    lanes: int


def tiling(rows: int, cols: int, images: int, accumulators: int) -> Tiling:
    """The cut that needs the fewest operations with so many vectors in registers.

    Args:
        rows, cols: the size of the map.
        images: 16 (a vector is a pixel of all images) or 1 (a vector is a stretch of a row).
        accumulators: vectors of 16 lanes that a tile may have.

    >>> cut = tiling(4, 4, 16, 8)
    >>> cut.lanes, cut.starts, cut.steps[:5]
    (16, ((0, 0), (2, 0)), ((0, 0), (0, 1), (0, 2), (0, 3), (1, 0)))
    >>> tiling(1, 28, 1, 8).starts
    ((0, 0), (0, 12))
    """
    lanes = IMAGES if images > 1 else next(n for n in (16, 8, 4, 2, 1) if n <= cols)
    width = 1 if images > 1 else lanes  # columns that a vector covers
    room = accumulators * max(1, IMAGES // lanes) if lanes < IMAGES else accumulators
    sizes = [
        (high, wide)
        for high in range(1, min(rows, room) + 1)
        for wide in range(1, min(ceil(cols / width), room // high) + 1)
        if wide * width <= cols or wide == 1
    ]
    # A tile costs its vectors and, for each non-zero, about one more for the weight and the loop.
    high, wide = min(
        sizes, key=lambda s: (ceil(rows / s[0]) * ceil(cols / (s[1] * width)) * (s[0] * s[1] + 1.25), -s[1])
    )
    starts = tuple((y, x) for y in _starts(rows, high) for x in _starts(cols, wide * width))
    steps = tuple((y, x * width) for y in range(high) for x in range(wide))
    return Tiling(starts, steps, lanes)


def _starts(length: int, step: int) -> list[int]:
    return [min(at, length - step) for at in range(0, length, step)]

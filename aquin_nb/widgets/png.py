"""Lines as a PNG: transparent, antialiased, drawn and packed with numpy and zlib alone."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Colour: TypeAlias = tuple[int, int, int]
Line: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], Colour]

SUPER = 3  # samples a pixel, each way
DASH = 12  # pixels of a dash and the gap after it


def line_png(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    *,
    width: int,
    height: int,
    colour: Colour,
    thickness: float = 3.0,
    grid: tuple[float, ...] = (),
    marks: tuple[float, ...] = (),
) -> bytes:
    """`lines_png` of a single line."""
    return lines_png([(x, y, colour)], width=width, height=height, thickness=thickness, grid=grid, marks=marks)


def lines_png(
    lines: Sequence[Line],
    *,
    width: int,
    height: int,
    thickness: float = 3.0,
    grid: tuple[float, ...] = (),
    marks: tuple[float, ...] = (),
) -> bytes:
    """PNG of lines through points with shares 0–1 of the width (ascending) and, upwards, of the height.

    NaN leaves a gap; the first line lies on top. `grid` are heights (0–1) of thin grey rules, `marks` places (0–1) of
    dashed upright ones; those outside are left out. Meant to be shown at half its size.
    """
    image = np.zeros((height, width, 4), dtype=np.uint8)
    for level in grid:
        row = round((1 - level) * (height - 1))
        if 0 <= row < height:
            image[row, :] = (128, 128, 128, 70)
    dashes = np.flatnonzero(np.arange(height) % DASH < DASH // 2)
    for place in marks:
        column = round(place * (width - 1))
        if 0 <= column < width:
            image[dashes, max(0, column - 1) : column + 1] = (128, 128, 128, 190)
    for x, y, colour in reversed(lines):
        alpha = _coverage(x * (width * SUPER - 1), (1 - y) * (height * SUPER - 1), width, height, thickness * SUPER)
        drawn = alpha > 0
        image[drawn, :3] = colour
        image[..., 3] = np.maximum(image[..., 3], (alpha * 255).round().astype(np.uint8))
    return encode(image)


def _coverage(
    x: NDArray[np.float64], y: NDArray[np.float64], width: int, height: int, thickness: float
) -> NDArray[np.float64]:
    """Share of every pixel that the line covers, [height, width], from spans of every fine column."""
    columns = width * SUPER
    top, bottom = np.full(columns, np.inf), np.full(columns, -np.inf)

    def cover(column: NDArray[np.intp], value: NDArray[np.float64]) -> None:
        inside = (column >= 0) & (column < columns)
        np.minimum.at(top, column[inside], value[inside])
        np.maximum.at(bottom, column[inside], value[inside])

    finite = np.isfinite(x) & np.isfinite(y)
    starts = np.flatnonzero(finite & ~np.r_[False, finite[:-1]])
    stops = np.flatnonzero(finite & ~np.r_[finite[1:], False]) + 1
    for start, stop in zip(starts, stops, strict=True):
        xs, ys = x[start:stop], y[start:stop]
        cover(np.floor(xs).astype(np.intp), ys)
        edges = np.arange(np.ceil(xs[0]), np.floor(xs[-1]) + 1)
        heights = np.interp(edges, xs, ys)
        cover(edges.astype(np.intp), heights)
        cover(edges.astype(np.intp) - 1, heights)
    # A round pen: every column also shows what its neighbours' circles reach into it.
    radius = thickness / 2
    pen_top, pen_bottom = top - radius, bottom + radius
    for shift in range(1, math.ceil(radius)):
        reach = math.sqrt(radius**2 - shift**2)
        for here, there in ((slice(None, -shift), slice(shift, None)), (slice(shift, None), slice(None, -shift))):
            pen_top[here] = np.minimum(pen_top[here], top[there] - reach)
            pen_bottom[here] = np.maximum(pen_bottom[here], bottom[there] + reach)
    rows = np.arange(height * SUPER)[:, None]
    fine = (rows >= pen_top) & (rows <= pen_bottom)
    return np.asarray(fine.reshape(height, SUPER, width, SUPER).mean(axis=(1, 3)), dtype=np.float64)


def encode(image: NDArray[np.uint8]) -> bytes:
    """PNG file of RGBA pixels [height, width, 4]."""
    height, width, _ = image.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, width * 4)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def data_url(png: bytes) -> str:
    """The file as the `src` of an image."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")

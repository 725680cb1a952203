"""Pixels of any kind to RGB of 8 bits, a strip at a time, averaged down where there are far more than needed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

BACKGROUND = (255, 255, 255)
STRIP_PIXELS = 4_000_000
"""Pixels whose colours are converted at a time: each conversion makes a copy or two of what it is given."""

_DARK = 16
"""16-bit pixels that reach no further than 1/16 of white are told of: 12 bits in 16 look like that."""

_WHITE_IS_ZERO = 262
_BITS_PER_SAMPLE = 258
_MAX_SAMPLE_VALUE = 281


class UnclearPixels(ValueError):
    """Pixels whose meaning isn't known; the text says why."""


@dataclass(frozen=True)
class Depth:
    """What a file says of its samples.

    Attributes:
        stored: Bits of a sample as it is stored.
        brightest: The value that stands for white, where the file tells one below the largest that could be stored.
        inverted: Whether zero is white.
    """

    stored: int = 8
    brightest: int | None = None
    inverted: bool = False


def to_rgb_strips(image: Image.Image, content: bytes, *, factor: int) -> tuple[Image.Image, str]:
    """A loaded image as RGB, each side a `factor`-th (rounded up) by area average, and what the user should know.

    Raises:
        UnclearPixels: Their range or colours aren't defined well enough to guess.
    """
    if image.mode in ("F", "LAB", "HSV"):
        raise UnclearPixels(f"pixels of Pillow's mode {image.mode}; save it as 8- or 16-bit gray or RGB")
    # Most photos: 8-bit RGB as it is, with no transparency and no other depth that a header could tell of.
    if image.mode == "RGB" and factor == 1 and image.format in ("JPEG", "MPO", None):
        return image, ""
    depth = _depth(image, content)
    # Pillow takes every CMYK JPEG for an inverted one, as Adobe writes them and marks them.
    unmarked = image.mode == "CMYK" and image.format in ("JPEG", "MPO") and "adobe" not in image.info
    white, note = _white_point(image, depth) if image.mode.startswith("I") else (255, "")
    width, height = image.size
    result = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top, strip in _strips(image, factor):
        if strip.mode.startswith("I"):
            colours = _from_16_bit(strip, white, inverted=depth.inverted)
        else:
            colours = _from_8_bit(ImageChops.invert(strip) if unmarked else strip)
        result.paste(colours if factor == 1 else colours.reduce(factor), (0, top // factor))
    if not note and depth.stored == 16 and not image.mode.startswith("I"):
        # Pillow keeps the upper 8 of 16 bits of colour.
        brightest = max(highest for _, highest in result.getextrema())  # type: ignore[misc]
        if brightest < 256 // _DARK:
            note = "16-bit colour that reaches no further than 1/16 of white: nearly black; save it as 8 bits a colour"
    return result, note


def _strips(image: Image.Image, factor: int) -> Iterator[tuple[int, Image.Image]]:
    """The image in strips of whole blocks of `factor` lines, each with its first line."""
    width, height = image.size
    lines = max(1, STRIP_PIXELS // (width * factor)) * factor
    if lines >= height:
        yield 0, image
        return
    for top in range(0, height, lines):
        yield top, image.crop((0, top, width, min(height, top + lines)))


def _from_8_bit(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    opaque = Image.new("RGBA", image.size, BACKGROUND)
    return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")


def _white_point(image: Image.Image, depth: Depth) -> tuple[int, str]:
    """The value that stands for white, and what the user should know."""
    lowest = 0
    highest = 0
    for _, strip in _strips(image, 1):
        values = _integers(strip)
        lowest = min(lowest, int(values.min()))
        highest = max(highest, int(values.max()))
    if lowest < 0 or highest > 0xFFFF:
        raise UnclearPixels("gray values beyond 16 bits; save it as 8- or 16-bit gray or RGB")
    # PNG's sBIT tells how many bits were measured, not where they lie: writers may have spread them over all 16.
    if depth.brightest is not None and highest <= depth.brightest:
        return depth.brightest, ""
    if highest > 0xFFFF // _DARK or depth.inverted:
        return 0xFFFF, ""
    return 0xFFFF, (
        f"16-bit gray whose largest value is {highest:,}: nearly black; if it holds fewer bits, save it as 8 bits, or "
        "with its bit depth (PNG's sBIT, TIFF's MaxSampleValue)"
    )


def _from_16_bit(image: Image.Image, white: int, *, inverted: bool) -> Image.Image:
    values = _integers(image)
    if "transparency" in image.info:
        # One gray value stands for "transparent" and becomes the background, white.
        values[values == image.info["transparency"]] = white
    if inverted:
        values = white - values
    # To the nearest: 65,535 = 255 x 257, so that both ends map exactly.
    eight = (values * 255 + white // 2) // white
    return Image.fromarray(eight.astype(np.uint8)).convert("RGB")


def _integers(image: Image.Image) -> NDArray[np.int64]:
    return np.asarray(image).astype(np.int64)


def _depth(image: Image.Image, content: bytes) -> Depth:
    """What a PNG or TIFF file says of its samples; nothing much for other formats, which Pillow spreads itself."""
    if image.format == "PNG":
        header = png_chunk(content, b"IHDR")
        significant = png_chunk(content, b"sBIT")
        stored = header[8] if len(header) > 8 else 8
        bits = significant[0] if significant else stored
        return Depth(stored, (1 << bits) - 1 if 8 <= bits < stored else None)
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        stored = _first(tags.get(_BITS_PER_SAMPLE), 8)
        brightest = _first(tags.get(_MAX_SAMPLE_VALUE), 0)
        if 8 < stored < 16:
            brightest = (1 << stored) - 1
        return Depth(stored, brightest if 0xFF < brightest < 0xFFFF else None, tags.get(_WHITE_IS_ZERO) == 0)
    return Depth()


def _first(value: object, default: int) -> int:
    """A tag's first value as a number; files hold anything under any tag."""
    if isinstance(value, tuple) and value:
        value = value[0]
    return int(value) if isinstance(value, int | float) else default


def png_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk of a PNG file, as far as they can be told."""
    start = 8
    while start + 12 <= len(content):
        (length,) = struct.unpack(">I", content[start : start + 4])
        end = start + 12 + length
        if end > len(content):
            return
        yield content[start + 4 : start + 8], start, end
        start = end


def png_chunk(content: bytes, kind: bytes) -> bytes:
    """The data of the first chunk of a kind that stands before the pixels; nothing where there is none."""
    for name, start, end in png_chunks(content):
        if name == kind:
            return content[start + 8 : end - 4]
        if name == b"IDAT":
            break
    return b""

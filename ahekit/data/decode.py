"""One image file to one square of RGB pixels, or a reason why not; nothing is put in a broken image's place.

What is done with the odd ones, each by the file's content, never by its suffix:

- 16-bit gray is divided by 257, so that 65,535 becomes 255; 1-bit, gray, palette and YCbCr become RGB.
- CMYK becomes RGB by complement, with Adobe's inverted JPEGs turned round; colour profiles are not applied.
- Transparent pixels are laid on white, as browsers and viewers show them.
- The camera's orientation (EXIF) is applied.
- Of an animation or a file of several pages, the first frame is the image.
- Refused: empty, truncated and damaged files, what is no image, floating-point and Lab pixels (their range or
  colours aren't defined well enough to guess), files over 1 GiB, and more than 150 megapixels by the header,
  before anything is decompressed.
"""

from __future__ import annotations

import io
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageChops

from ahekit.errors import DataError
from ahekit.preprocessing import Preprocessing

DECODER_VERSION = f"1 (Pillow {PIL.__version__})"
"""Part of every cache key. The number is raised when the pixels change; another Pillow may round otherwise."""

MAX_PIXELS = 150_000_000
MAX_BYTES = 2**30
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "AVIF", "JPEG2000")
"""Formats that are tried. Those without a signature (TGA) or that run another program (EPS) are left out."""

BACKGROUND = (255, 255, 255)
PADDING = (128, 128, 128)
THUMBNAIL = 16

_ORIENTATION_TAG = 0x0112
_EXIF_BLOCK = 0x8769
_CAPTURE_TAGS = (0x9003, 0x9004)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class DecodeError(DataError):
    """A file's content can't be used as an image; `reason` says why, without naming the file."""

    def __init__(self, reason: str, path: Path | None = None) -> None:
        self.reason = reason
        super().__init__(f"{path}: {reason}" if path else reason)


class UnreadableError(DecodeError):
    """The file couldn't be read at all (permission, network); another time it might be."""


def decode(path: Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Read an image file as a model's square of pixels, before scaling and normalization.

    Not for several threads at once (it quiets Pillow's warnings, which is a setting of the whole process); those use
    `read`, `to_rgb` and `fit` within one `quiet_pillow`.

    Returns:
        RGB, `(S, S, 3)` with S = `preprocessing.size`.

    Raises:
        DecodeError: The file can't be read or used; names the file and the reason.
    """
    try:
        with quiet_pillow():
            return fit(to_rgb(read(path)), preprocessing)
    except DecodeError as error:
        raise type(error)(error.reason, path) from error.__cause__


def read(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        DecodeError: It is empty, over 1 GiB, or no regular file.
        UnreadableError: The system doesn't let it be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DecodeError("not a regular file")
        if status.st_size > MAX_BYTES:
            raise DecodeError(f"file of {status.st_size / 2**30:.1f} GiB, more than the 1 GiB that is read")
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"can't be read ({error.strerror})") from error
    if not content:
        raise DecodeError("empty file (0 bytes)")
    return content


def to_rgb(content: bytes) -> Image.Image:
    """An image file's content as an upright RGB image.

    Raises:
        DecodeError: It is no image, damaged, too large, or of pixels whose meaning isn't known.
    """
    image = _open(content)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DecodeError(f"too large: {width} x {height} pixels, more than {MAX_PIXELS // 10**6} megapixels")
    try:
        image.load()
        # Of the image as it was opened: a copy in another mode may have lost its EXIF block.
        upright = _UPRIGHT.get(_orientation(image))
        colours = _colours(image)
        return colours if upright is None else colours.transpose(upright)
    except (DecodeError, MemoryError):
        raise
    # Whatever Pillow raises over one file's bytes (OSError, SyntaxError, struct.error ...) is the file's fault.
    except Exception as error:
        raise DecodeError(f"truncated or damaged {image.format} ({_one_line(error)})") from error


def fit(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Bring an RGB image to `(S, S, 3)` as `preprocessing.fit` says.

    All three resize once, from the full image, with Pillow's antialiased filters. "crop" resizes and cuts in one step:
    the scale is exactly `S / crop_fraction` over the shorter side and the cut is centred to the fraction of a pixel.
    """
    size = preprocessing.size
    resampling = _RESAMPLING[preprocessing.interpolation]
    width, height = image.size
    if preprocessing.fit == "crop":
        side = min(width, height) * preprocessing.crop_fraction
        # Pillow takes boxes in fractions of a pixel: resizing and cutting in one step rounds once.
        left = (width - side) / 2
        top = (height - side) / 2
        square = image.resize((size, size), resampling, box=(left, top, left + side, top + side))
    elif preprocessing.fit == "pad":
        scale = size / max(width, height)
        # A strip of one pixel's width is still an image.
        inner = max(1, round(width * scale)), max(1, round(height * scale))
        square = Image.new("RGB", (size, size), PADDING)
        square.paste(image.resize(inner, resampling), ((size - inner[0]) // 2, (size - inner[1]) // 2))
    else:
        square = image.resize((size, size), resampling)
    return np.asarray(square)


def thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    """The whole image as 16 x 16 area averages, `(16, 16, 3)`: what near-copies are told by, whatever the model."""
    return np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))


def capture_day(path: Path) -> str | None:
    """The day on which a photo was taken, as its EXIF block says (`2026-05-17`); None where nothing tells.

    Not for several threads at once (see `decode`). The pixels aren't decoded.
    """
    with quiet_pillow(), suppress(Exception):  # whatever is wrong with a file is told when its pixels are decoded
        with Image.open(path) as image:
            block = image.getexif().get_ifd(_EXIF_BLOCK)
        # When the shutter opened, else when it was digitized (a scan); never the time of the last change.
        for tag in _CAPTURE_TAGS:
            match = re.match(r"([12]\d{3}):(0[1-9]|1[0-2]):(0[1-9]|[12]\d|3[01])\b", str(block.get(tag, "")))
            if match:
                return "-".join(match.groups())
    return None


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's warnings about single files to itself: they end as a reason, or concern nothing that is used."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


@cache
def _formats() -> tuple[str, ...]:
    # Pillow may be built without some; asking it for one of those would be a KeyError.
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _open(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=_formats())
    except MemoryError:
        raise
    except PIL.UnidentifiedImageError as error:
        raise DecodeError(f"not an image that can be read ({', '.join(_formats())})") from error
    except Image.DecompressionBombError as error:
        raise DecodeError(f"too large: more than {MAX_PIXELS // 10**6} megapixels by its header") from error
    except Exception as error:
        raise DecodeError(f"damaged header ({_one_line(error)})") from error


def _colours(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode == "LAB":
        raise DecodeError(f"pixels of Pillow's mode {image.mode}; save it as 8- or 16-bit gray or RGB")
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Pillow takes every CMYK JPEG for an inverted one, as Adobe writes them and marks them.
        image = ImageChops.invert(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    opaque = Image.new("RGBA", image.size, BACKGROUND)
    return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int32)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise DecodeError("gray values beyond 16 bits; save it as 8- or 16-bit gray or RGB")
    if "transparency" in image.info:
        # One gray value stands for "transparent" and becomes the background, white.
        values[values == image.info["transparency"]] = 0xFFFF
    # 65,535 = 255 x 257, so that both ends map exactly; 128 rounds to the nearest.
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")


def _orientation(image: Image.Image) -> int:
    # Pixels are fine under a broken EXIF block; without a readable orientation they are taken as they stand.
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except MemoryError:
        raise
    except Exception:
        return 1


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

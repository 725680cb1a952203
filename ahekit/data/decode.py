"""One image file to one square of RGB pixels, or a reason why not; nothing is put in a broken image's place.

What is done with the odd ones, each by the file's content, never by its suffix:

- 16-bit gray is spread to 8 bits, from the file's own bit depth where it tells one; 1-bit, gray, palette and YCbCr
  become RGB. What comes out nearly black, as 12 bits in 16 do, is told.
- CMYK becomes RGB by complement, with Adobe's inverted JPEGs turned round; colour profiles are not applied.
- Transparent pixels are laid on white, as browsers and viewers show them.
- The camera's orientation (EXIF) is applied.
- Of an animation or a file of several pages, the first frame is the image.
- An image far larger than needed is averaged down while it is decoded (JPEG) or converted (all others).
- Text and profiles of any size are passed over.
- Refused: empty, truncated and damaged files, what is no image, floating-point and Lab pixels (their range or
  colours aren't defined well enough to guess), files over 1 GiB, and more than 150 megapixels or 1.25 GiB of memory
  by the header, before anything is decompressed.

All threads together decode within 1.25 GiB: who would need more waits for the others.
"""

from __future__ import annotations

import io
import math
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ahekit.data.colours import UnclearPixels, to_rgb_strips
from ahekit.data.image_files import HEIF_HINT, format_of, reads_heif
from ahekit.data.memory_budget import MemoryBudget
from ahekit.errors import DataError
from ahekit.preprocessing import Preprocessing

DECODER_VERSION = f"2 (Pillow {PIL.__version__}{', pillow-heif' if reads_heif() else ''})"
"""Part of every cache key. The number is raised when the pixels change (2: large images are averaged down on the way);
another Pillow may round otherwise."""

MAX_PIXELS = 150_000_000
MAX_BYTES = 2**30
MAX_MEMORY = 5 * 2**28
"""Bytes that the decoding of all threads may take at a time, and that of a single image: 1.25 GiB."""
DECODING = MemoryBudget(MAX_MEMORY)

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "AVIF", "JPEG2000", "HEIF")
"""Formats that are tried. TGA has no signature and is tried only on files that end as its second version does; what
runs another program (EPS) is left out."""

MAX_TEXT = 2**26
"""Bytes of a text or profile of a PNG (XMP, ICC), which changes no pixel but may tell the orientation."""
_LONG_TEXTS = threading.Lock()
PADDING = (128, 128, 128)
THUMBNAIL = 16

_TGA_FOOTER = b"TRUEVISION-XFILE"
# Memory of a format's own reader beside the pixels, bytes per pixel: WebP's two canvases, AVIF's planes, the 32-bit
# samples of JPEG 2000.
_READER_BYTES = {"WEBP": 8, "AVIF": 6, "HEIF": 6, "JPEG2000": 16}
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
_TURNED = (5, 6, 7, 8)  # orientations that exchange width and height
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


@dataclass(frozen=True)
class Picture:
    """A decoded image file.

    Attributes:
        image: RGB, upright, averaged down where that was allowed.
        note: What the user should know of it; mostly nothing.
        width: Upright, at the file's full size, in pixels; `height` likewise.
    """

    image: Image.Image
    note: str
    width: int
    height: int


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
            return fit(to_rgb(read(path), shorter_side=needed_side(preprocessing)), preprocessing)
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


def to_rgb(content: bytes, *, shorter_side: int | None = None) -> Image.Image:
    """An image file's content as an upright RGB image; see `read_image`."""
    return read_image(content, shorter_side=shorter_side)[0]


def read_image(content: bytes, *, shorter_side: int | None = None) -> tuple[Image.Image, str]:
    """An image file's content as an upright RGB image, and what the user should know of it; see `read_picture`."""
    picture = read_picture(content, shorter_side=shorter_side)
    return picture.image, picture.note


def reads_strictly() -> bool:
    """Whether the package that tells damaged JPEGs from whole ones is installed."""
    return find_spec("simplejpeg") is not None


def read_picture(content: bytes, *, shorter_side: int | None = None, strict: bool = False) -> Picture:
    """An image file's content as an upright RGB image.

    Args:
        shorter_side: Pixels that the shorter side has to keep. An image at least twice as large is averaged down by a
            whole factor, as far as it keeps them. None: the image keeps its size.
        strict: Refuse JPEGs with damaged data, of which Pillow makes wrong pixels without a word. Pixels of whole ones
            are the same. Needs the package simplejpeg (`reads_strictly`).

    Raises:
        DecodeError: It is no image, damaged, too large, or of pixels whose meaning isn't known.
    """
    try:
        return _read_picture(content, shorter_side, strict)
    except DecodeError as error:
        if "MAX_TEXT" not in error.reason:
            raise
    with _long_texts():
        try:
            return _read_picture(content, shorter_side, strict)
        except DecodeError as error:
            if "MAX_TEXT" not in error.reason:
                raise
            raise DecodeError(f"PNG with a text or profile of more than {MAX_TEXT // 2**20} MiB") from error


def _read_picture(content: bytes, shorter_side: int | None, strict: bool) -> Picture:
    canvas = _webp_canvas(content)
    with ExitStack() as held:
        if canvas is not None:
            # Pillow's WebP reader takes memory for the whole canvas as soon as it opens a file.
            held.enter_context(DECODING.reserve(_memory(*canvas, 4 + _READER_BYTES["WEBP"])))
        image = _open(content)
        width, height = image.size
        is_jpeg = image.format in ("JPEG", "MPO")
        if shorter_side is not None and is_jpeg:
            # The transform's lower frequencies alone give a half, a quarter or an eighth, in a fraction of the time.
            image.draft(None, (shorter_side, shorter_side))
        factor = 1 if shorter_side is None else max(1, min(image.size) // shorter_side)
        if canvas is None:
            held.enter_context(DECODING.reserve(_memory(*image.size, _bytes_per_pixel(image, factor))))
        try:
            pixels = _strict_pixels(image, content) if strict and is_jpeg else None
            if pixels is None:
                image.load()
            orientation = _orientation(image)
            colours, note = to_rgb_strips(pixels or image, content, factor=factor)
        except UnclearPixels as error:
            raise DecodeError(str(error)) from error
        except (MemoryError, DecodeError):
            raise
        # Whatever Pillow raises over one file's bytes (OSError, SyntaxError, struct.error ...) is the file's fault.
        except Exception as error:
            raise DecodeError(f"truncated or damaged {image.format} ({_one_line(error)})") from error
        if orientation in _TURNED:
            width, height = height, width
        upright = _UPRIGHT.get(orientation)
        return Picture(colours if upright is None else colours.transpose(upright), note, width, height)


def _strict_pixels(image: Image.Image, content: bytes) -> Image.Image | None:
    """The pixels of a JPEG whose header was read, decoded so that no damage passes; None: whole, but left to Pillow."""
    decode_jpeg = import_module("simplejpeg").decode_jpeg
    width, height = image.size
    space = {"RGB": "RGB", "L": "GRAY"}.get(image.mode)
    try:
        if space is None:
            decode_jpeg(content, "CMYK", min_factor=8)
            return None
        # The same library at the same scale as Pillow's draft: the smallest that keeps the drafted size.
        pixels = decode_jpeg(content, space, min_width=width, min_height=height)
    except ValueError as error:
        raise DecodeError(f"damaged JPEG ({_one_line(error)}), found by strict decoding") from error
    if pixels.shape[:2] != (height, width):
        return None
    return Image.fromarray(pixels if space == "RGB" else pixels[:, :, 0])


def needed_side(preprocessing: Preprocessing) -> int:
    """Pixels of an image's shorter side from which its square is made well enough.

    Twice what comes of them, so that the last step still averages. Where `detail` leaves the size open, at least 512:
    preprocessings of up to 256 pixels then see the very same pixels, and find the same near-copies.
    """
    cut = preprocessing.crop_fraction if preprocessing.fit == "crop" else 1.0
    side = 2 * math.ceil(preprocessing.sharpest / cut)
    return side if preprocessing.sharpest < preprocessing.size else max(512, side)


def fit(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Bring an RGB image to `(S, S, 3)` as `preprocessing.fit` says.

    All three resize once, from the full image, with Pillow's antialiased filters; a second time, to enlarge, where
    `detail` asks for it. "crop" resizes and cuts in one step: the scale is exactly `S / crop_fraction` over the shorter
    side and the cut is centred to the fraction of a pixel.
    """
    size = preprocessing.sharpest
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
    if size < preprocessing.size:
        square = square.resize((preprocessing.size, preprocessing.size), resampling)
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
    if reads_heif():
        import_module("pillow_heif").register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _open(content: bytes) -> Image.Image:
    """The image with its header read, of at most `MAX_PIXELS`."""
    kind = format_of(content[:32])
    formats = _formats()
    if content[-18:-2] == _TGA_FOOTER:
        formats = (*formats, "TGA")
    try:
        image = Image.open(io.BytesIO(content), formats=formats)
    except MemoryError:
        raise
    except PIL.UnidentifiedImageError as error:
        if kind == "HEIF":
            raise DecodeError(HEIF_HINT) from error
        if kind:
            raise DecodeError(
                f"{kind} of a kind that can't be read, or with a damaged header; save it as 8-bit RGB"
            ) from error
        raise DecodeError(f"not an image that can be read ({', '.join(formats)})") from error
    except Image.DecompressionBombError as error:
        raise DecodeError(f"too large: more than {MAX_PIXELS // 10**6} megapixels by its header") from error
    except Exception as error:
        raise DecodeError(f"damaged header ({_one_line(error)})") from error
    _check_size(*image.size)
    return image


@contextmanager
def _long_texts() -> Iterator[None]:
    """Let Pillow read PNGs with long texts and profiles for the block; its own bound is 1 MiB each."""
    # Settings of the whole process. While they stand, other threads at most read such a file at once too.
    with _LONG_TEXTS:
        before = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
        PngImagePlugin.MAX_TEXT_CHUNK = MAX_TEXT
        PngImagePlugin.MAX_TEXT_MEMORY = 2 * MAX_TEXT
        try:
            yield
        finally:
            PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DecodeError(f"too large: {width} x {height} pixels, more than {MAX_PIXELS // 10**6} megapixels")


def _memory(width: int, height: int, bytes_per_pixel: float) -> int:
    """Bytes that decoding takes, of at most `MAX_MEMORY`."""
    _check_size(width, height)
    memory = int(width * height * bytes_per_pixel)
    if memory > MAX_MEMORY:
        raise DecodeError(
            f"too large: decoding its {width} x {height} pixels takes {memory / 2**30:.2f} GiB, more than "
            f"{MAX_MEMORY / 2**30:.2f} GiB"
        )
    return memory


def _bytes_per_pixel(image: Image.Image, factor: int) -> float:
    """Memory per pixel of the image as Pillow will decode it: the reader's, the pixels', and those of the result."""
    pixels = {"1": 1, "L": 1, "P": 1}.get(image.mode, 2 if image.mode.startswith("I;16") else 4)
    reader = _READER_BYTES.get(image.format or "", 0)
    if image.info.get("progressive"):
        # libjpeg holds the coefficients of the whole image, at its full size whatever was drafted.
        scale = getattr(image, "decoderconfig", ())[:1] or (1,)
        reader += 6 * scale[0] ** 2
    return reader + pixels + 4 / factor**2


def _webp_canvas(content: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP file by its header; None for other files."""
    if format_of(content[:32]) != "WEBP":
        return None
    kind = content[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(content[26:28], "little") & 0x3FFF, int.from_bytes(content[28:30], "little") & 0x3FFF


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

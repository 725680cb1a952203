"""A camera's raw picture: the preview that the camera laid into it, else developed at half its size.

LibRaw (through the package rawpy, extra `raw`) reads the raw formats of all makers. A preview is what the camera itself
made of the shot, costs a hundredth of developing it, and is far larger than a classifier needs.
"""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

import numpy as np
from PIL import Image

from ahekit.data.decode import DECODING, MAX_PIXELS, DecodeError, Picture, read_picture
from ahekit.data.image_files import RAW_HINT, reads_raw

_BYTES_PER_PIXEL = 12
"""LibRaw's samples, its four-channel working copy at half size, and the result."""

_TURNS = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.ROTATE_90, 6: Image.Transpose.ROTATE_270}
"""LibRaw's `flip`: 5 is a quarter turn to the left, 6 one to the right."""
_ORIENTATION_TAG = 0x0112


def read_raw(content: bytes, *, shorter_side: int) -> Picture:
    """A raw file's content as an upright RGB image.

    Args:
        shorter_side: Pixels that the shorter side of a preview has to have to be enough.

    Raises:
        DecodeError: It can't be developed, or rawpy isn't installed.
    """
    if not reads_raw():
        raise DecodeError(RAW_HINT)
    rawpy = import_module("rawpy")
    try:
        with rawpy.imread(io.BytesIO(content)) as raw:
            sizes = raw.sizes
            if sizes.raw_width * sizes.raw_height > MAX_PIXELS:
                raise DecodeError(f"too large: {sizes.raw_width} x {sizes.raw_height} pixels")
            width, height = sizes.iwidth, sizes.iheight
            if sizes.flip in (5, 6):
                width, height = height, width
            image = _preview(raw, rawpy, shorter_side)
            if image is None:
                with DECODING.reserve(sizes.raw_width * sizes.raw_height * _BYTES_PER_PIXEL):
                    pixels = raw.postprocess(half_size=True, use_camera_wb=True, output_bps=8)
                image = Image.fromarray(np.ascontiguousarray(pixels))
    except rawpy.LibRawError as error:
        reason = " ".join(str(error.args[0].decode() if isinstance(error.args[0], bytes) else error).split())
        raise DecodeError(f"a raw picture that can't be developed ({reason})") from error
    factor = max(1, min(image.size) // shorter_side)
    return Picture(image if factor == 1 else image.reduce(factor), "", width, height)


def _preview(raw: Any, rawpy: Any, shorter_side: int) -> Image.Image | None:
    """The embedded JPEG as an upright image, where there is one that is large enough."""
    try:
        thumb = raw.extract_thumb()
    except rawpy.LibRawError:  # there is none, or none of a known form
        return None
    if thumb.format != rawpy.ThumbFormat.JPEG:
        return None
    try:
        preview = read_picture(thumb.data, shorter_side=shorter_side)
        says_orientation = _ORIENTATION_TAG in Image.open(io.BytesIO(thumb.data)).getexif()
    except DecodeError:
        return None
    if min(preview.width, preview.height) < shorter_side:
        return None
    turn = None if says_orientation else _TURNS.get(raw.sizes.flip)
    return preview.image if turn is None else preview.image.transpose(turn)

"""One photo from its file to a network's pixels: read, hashed, decoded, fitted, with its thumbnail written."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ahekit.data.decode import (
    DecodeError,
    Picture,
    UnreadableError,
    fit,
    needed_side,
    read,
    read_picture,
    reads_strictly,
)
from ahekit.data.image_files import is_raw, suffix_of
from ahekit.data.memory_budget import MemoryBudget
from ahekit.data.raw import read_raw
from ahekit.prediction.photos import file_status
from ahekit.prediction.planning import Task
from ahekit.prediction.survey import PhotoRecord, now
from ahekit.preprocessing import Preprocessing

THUMBNAIL_SIDE = 160
_LARGEST_PLAIN = 40_000  # bytes


@dataclass(frozen=True)
class Look:
    """A photo that was opened.

    Attributes:
        record: What is known of it so far; of an unreadable one, all.
        pixels: `(S, S, 3)`; None: unreadable, or as it was.
        is_unchanged: Its content is what it was the last time.
    """

    record: PhotoRecord
    pixels: NDArray[np.uint8] | None = None
    note: str = ""
    is_unchanged: bool = False


@dataclass(frozen=True)
class Content:
    """A file that was read, or that couldn't be."""

    task: Task
    record: PhotoRecord
    content: bytes
    held: ExitStack


def read_photo(content: bytes, name: str, *, shorter_side: int) -> Picture:
    """A photo's content as an upright RGB image, whatever the file is called.

    Args:
        name: The file's: raw pictures of many cameras are told from other files by their suffix alone.
        shorter_side: Pixels that the shorter side has to keep.

    Raises:
        DecodeError: Nothing can be made of it; the reason names the extra that may be missing.
    """
    if is_raw(content[:32], suffix_of(name)):
        return read_raw(content, shorter_side=shorter_side)
    return read_picture(content, shorter_side=shorter_side, strict=reads_strictly())


def open_photo(task: Task, budget: MemoryBudget, decoder: str) -> Content:
    """Read a photo's file; what is wrong with it stands in the record."""
    photo = task.photo
    held = ExitStack()
    record = PhotoRecord(photo.path, Path(photo.file), predicted_at=now(), decoder=decoder)
    status = file_status(photo.file)
    if status is not None:
        record = replace(record, size=status.size, mtime_ns=status.mtime_ns)
        held.enter_context(budget.reserve(status.size))
    try:
        content = read(Path(photo.file))
    except DecodeError as error:
        held.close()
        # Without a hash it's tried again the next time, unless its content is what is wrong.
        content_hash = None if isinstance(error, UnreadableError) else "-"
        return Content(task, replace(record, reason=error.reason, hash=content_hash), b"", held)
    except MemoryError:
        held.close()
        return Content(task, replace(record, reason="not enough memory to read it"), b"", held)
    return Content(task, replace(record, hash=hashlib.sha256(content).hexdigest()), content, held)


def look_into(opened: Content, preprocessing: Preprocessing, thumbnail: Callable[[str], Path] | None) -> Look:
    """Decode a photo and write its thumbnail."""
    record = opened.record
    with opened.held:
        if not opened.content:
            return Look(record)
        if record.hash == opened.task.hash:
            return Look(record, is_unchanged=True)
        try:
            picture = read_photo(
                opened.content, os.path.basename(opened.task.photo.file), shorter_side=needed_side(preprocessing)
            )
        except DecodeError as error:
            return Look(replace(record, reason=error.reason))
        except MemoryError:
            return Look(replace(record, reason="not enough memory to decode it", hash=None))
    if thumbnail is not None:
        _write_thumbnail(picture, opened.content, thumbnail(record.path))
    record = replace(record, width=picture.width, height=picture.height)
    return Look(record, fit(picture.image, preprocessing), picture.note)


def _write_thumbnail(picture: Picture, content: bytes, path: Path) -> None:
    image = picture.image
    # In place: a photo is written into the survey after its thumbnail, so one that was torn is made again.
    if max(image.size) <= THUMBNAIL_SIDE and (picture.width, picture.height) == image.size and _is_plain(content):
        _into_folder(path, lambda: path.write_bytes(content))
        return
    factor = max(image.size) // THUMBNAIL_SIDE
    if factor > 1:
        # By a whole factor, to some pixels more than the side: a fraction of the time of an exact resize.
        small = image.reduce(factor)
    else:
        scale = min(1.0, THUMBNAIL_SIDE / max(image.size))
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        small = image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=80)
    _into_folder(path, lambda: path.write_bytes(encoded.getvalue()))


def _is_plain(content: bytes) -> bool:
    """Whether a file is a small JPEG without EXIF or profiles, which is its own thumbnail."""
    head = content[:2048]
    return head.startswith(b"\xff\xd8\xff\xe0") and b"Exif" not in head and len(content) < _LARGEST_PLAIN


def _into_folder(path: Path, write: Callable[[], object]) -> None:
    try:
        write()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()

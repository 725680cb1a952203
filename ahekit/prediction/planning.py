"""Which photos there are to look at: new ones, changed ones, and those that couldn't be read the last time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ahekit.data.decode import DECODER_VERSION, reads_strictly
from ahekit.data.image_files import reads_raw
from ahekit.errors import DataError
from ahekit.prediction.photos import Photo, file_status
from ahekit.prediction.survey import Survey

FRESH_NS = 2_000_000_000
"""A file changed so close to the moment it was opened isn't trusted to be the same by its size and time alone."""


@dataclass(frozen=True, slots=True)
class Task:
    """A photo to look at.

    Attributes:
        hash: Of its content when it was last looked at; None: it is new, or has to be decoded anyway.
    """

    photo: Photo
    hash: str | None = None


@dataclass
class Plan:
    """What there is to do.

    Attributes:
        known: Photos that are in the survey as they are.
        changed: Of the tasks, those that are in the survey as they were before.
        retried: Of the tasks, those that couldn't be read the last time.
        gone: Photos of the survey that were given, and are there no more.
    """

    tasks: list[Task] = field(default_factory=list)
    known: int = 0
    changed: int = 0
    retried: int = 0
    gone: list[str] = field(default_factory=list)


def decoder_name() -> str:
    """What files are decoded with: photos that it couldn't read are tried again by another."""
    parts = [DECODER_VERSION, *(["strict"] if reads_strictly() else []), *(["raw"] if reads_raw() else [])]
    return ", ".join(parts)


def plan(surveys: Sequence[Survey], photos: Sequence[Photo]) -> Plan:
    """What there is to do: photos that are in none of the surveys, that changed, or that couldn't be read.

    Args:
        surveys: The first that knows a photo counts.
        photos: In the order in which they are to be looked at.

    Raises:
        DataError: Two files would go by one name.
    """
    result = Plan()
    decoder = decoder_name()
    for photo in photos:
        row = next((row for survey in surveys if (row := _stored(survey, photo)) is not None), None)
        if row is None:
            result.tasks.append(Task(photo))
            continue
        size, mtime_ns, content_hash, state, row_decoder, predicted_at = row
        if content_hash is None or (state == "unreadable" and row_decoder != decoder):
            result.retried += 1
            result.tasks.append(Task(photo))
            continue
        status = file_status(photo.file)
        is_same = status is not None and (status.size, status.mtime_ns) == (size, mtime_ns)
        if is_same and abs(mtime_ns - _nanoseconds(predicted_at)) > FRESH_NS:
            result.known += 1
        else:
            result.changed += 1
            result.tasks.append(Task(photo, content_hash))
    return result


def _stored(survey: Survey, photo: Photo) -> tuple[int, int, str | None, str, str, str] | None:
    with survey.telling():
        row = survey.database.execute(
            "SELECT file, size, mtime_ns, hash, state, decoder, predicted_at FROM photos WHERE path = ?",
            (os.fsencode(photo.path),),
        ).fetchone()
    if row is None:
        return None
    if row[0] != os.fsencode(photo.file):
        raise DataError(
            f"{photo.file} and {os.fsdecode(row[0])} would both be called {photo.path} in {survey.folder}; choose a "
            "survey of its own for one of them with --out"
        )
    return tuple(row[1:])


def gone_photos(survey: Survey, photos: Sequence[Photo], folders: Sequence[str]) -> list[str]:
    """Files of the survey that lie in the given folders, weren't found there, and are there no more."""
    present = {photo.path for photo in photos}
    prefixes = [os.fsencode(os.path.join(folder, "")) for folder in folders]
    gone = []
    with survey.telling():
        for path, file in survey.database.execute("SELECT path, file FROM photos ORDER BY path"):
            if os.fsdecode(path) in present or not any(file.startswith(prefix) for prefix in prefixes):
                continue
            if not os.path.lexists(file):
                gone.append(os.fsdecode(path))
    return gone


def _nanoseconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp() * 1e9)

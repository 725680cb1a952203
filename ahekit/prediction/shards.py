"""A survey divided over processes or machines: each works on a part of its own, and a merge brings them together.

Which part a photo belongs to follows from its name alone, so the parts need not know of each other. A part is a SQLite
file under a draft's name while it is worked on, and renamed when it is whole: `parts/2-of-4.sqlite`.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ahekit.errors import DataError, UsageError
from ahekit.files import sync_path
from ahekit.prediction.survey import COLUMNS, INSERT, Settings, Survey, SurveyModel

MOST = 100_000
"""Shards of a survey."""


@dataclass(frozen=True)
class Shard:
    """Which part of a survey a process works on.

    Attributes:
        index: From 1.
        source: What named it, where that wasn't the user: "SLURM's array", "torchrun".
    """

    index: int
    count: int
    source: str = ""

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def file(self, folder: Path, suffix: str = "sqlite") -> Path:
        """Its file in a survey's folder; "draft" while it isn't whole."""
        return folder / "parts" / f"{self.index}-of-{self.count}.{suffix}"


def parse_shard(text: str) -> Shard:
    """A shard as the user names it, `2/4`.

    Raises:
        UsageError: It is none.
    """
    match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text)
    if match is None:
        raise UsageError(f"--shard: takes a part and how many there are, as in 2/4 (got {text!r})")
    shard = Shard(int(match[1]), int(match[2]))
    if not 1 <= shard.index <= shard.count <= MOST:
        raise UsageError(
            f"--shard: part {shard.index} of {shard.count:,d} can't be; parts are numbered 1 to {shard.count}"
        )
    return shard


def shard_from(environment: Mapping[str, str]) -> Shard | None:
    """The shard that SLURM's array, torchrun or both give this process; None where neither divides the work.

    Raises:
        UsageError: The array's numbers leave gaps, so that they can't be counted.
    """
    index = 0
    count = 1
    sources = []
    tasks = _number(environment, "SLURM_ARRAY_TASK_COUNT")
    task = _number(environment, "SLURM_ARRAY_TASK_ID")
    if tasks is not None and task is not None and tasks > 1:
        place = task - (_number(environment, "SLURM_ARRAY_TASK_MIN") or 0)
        step = _number(environment, "SLURM_ARRAY_TASK_STEP") or 1
        if place < 0 or place % step or place // step >= tasks:
            raise UsageError(
                f"SLURM's array of {tasks} has a task {task}, so its numbers leave gaps; number them in a row "
                "(--array=1-4), or name the part with --shard"
            )
        index = place // step
        count = tasks
        sources.append("SLURM's array")
    ranks = _number(environment, "WORLD_SIZE")
    rank = _number(environment, "RANK")
    if ranks is not None and rank is not None and ranks > 1 and 0 <= rank < ranks:
        index = index * ranks + rank
        count *= ranks
        sources.append("torchrun")
    return Shard(index + 1, count, " and ".join(sources)) if count > 1 else None


def _number(environment: Mapping[str, str], name: str) -> int | None:
    with suppress(ValueError):
        return int(environment[name]) if name in environment else None
    return None


@contextmanager
def open_part(folder: Path, shard: Shard, model: SurveyModel, settings: Settings) -> Iterator[Survey]:
    """A shard's part, to be written; it becomes whole when the block ends well, and stays a draft when it doesn't.

    Raises:
        DataError: Another process works on it, it is of another model, or the survey was divided otherwise before.
    """
    other = next((part for part in _parts(folder) if part.count != shard.count), None)
    if other is not None:
        raise DataError(
            f"{folder}: has parts of a survey in {other.count}, and this one is of {shard.count}; finish and merge "
            "those first (`ahekit survey merge`), or choose another folder with --out"
        )
    whole = shard.file(folder)
    draft = shard.file(folder, "draft")
    with ExitStack() as stack:
        try:
            draft.parent.mkdir(exist_ok=True)
            stack.enter_context(_alone(draft.with_suffix(".lock"), shard))
            if whole.exists() and not draft.exists():
                with Survey.open(folder, file=whole) as before, before.telling():
                    before.check_model(model)
                # Photos may have come, or the rule changed: work goes on from a copy.
                copy = draft.with_suffix(".copy")
                shutil.copyfile(whole, copy)
                os.replace(copy, draft)
        except OSError as error:
            raise DataError(f"{draft.parent}: can't be written ({error.strerror})") from error
        # Nobody else opens it, so it needs no shared memory, which file systems of networks don't have.
        part = stack.enter_context(Survey.create(folder, model, settings=settings, file=draft, is_shared=False))
        yield part
        with part.telling():
            part.database.execute("PRAGMA journal_mode = DELETE")  # all of it in one file
        part.close()
        try:
            sync_path(draft)
            os.replace(draft, whole)
        except OSError as error:
            raise DataError(f"{whole}: can't be written ({error.strerror})") from error


@contextmanager
def _alone(path: Path, shard: Shard) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"part {shard} of this survey is being worked on by another process") from None
        yield
    finally:
        os.close(descriptor)


def merge(survey: Survey) -> int:
    """Bring all parts into the survey, in one transaction; then they are removed. Returns how many photos they held.

    Raises:
        DataError: A part is missing or not finished, of another model, or decided by another rule.
    """
    folder = survey.folder
    parts = _parts(folder)
    if not parts:
        raise DataError(f"{folder}: no parts to merge; `ahekit predict PHOTOS --shard 1/4` makes one")
    _check_all_there(folder, parts)
    whole = sorted(parts, key=lambda part: part.index)
    with ExitStack() as stack:
        opened = [stack.enter_context(Survey.open(folder, file=part.file(folder))) for part in whole]
        settings = opened[0].settings
        for part, source in zip(whole, opened, strict=True):
            with source.telling():
                survey.check_model(source.model)
                if source.settings.rule != settings.rule:
                    raise DataError(
                        f"{folder}: part {part} was decided by another rule than part {whole[0]}; run that one again "
                        "with the same thresholds as the others"
                    )
        count = 0
        with survey.transaction():
            for source in opened:
                with source.telling():
                    rows = source.database.execute(f"SELECT {', '.join(COLUMNS)} FROM photos ORDER BY path")
                    count += _take_over(survey, rows)
        survey.store_settings(settings)
    for part in whole:
        for file in (part.file(folder), part.file(folder, "lock")):
            file.unlink(missing_ok=True)
    with suppress(OSError):
        (folder / "parts").rmdir()
    return count


def _take_over(survey: Survey, rows: sqlite3.Cursor) -> int:
    count = 0
    while block := rows.fetchmany(500):
        count += len(block)
        # What was looked at later is what counts, should a photo have been looked at twice.
        survey.database.executemany(f"{INSERT} WHERE excluded.predicted_at >= photos.predicted_at", block)
    return count


def _parts(folder: Path) -> list[Shard]:
    """The parts in a survey's folder, whole or not."""
    try:
        names = os.listdir(folder / "parts")
    except OSError:
        return []
    matches = [re.fullmatch(r"(\d+)-of-(\d+)\.(?:sqlite|draft)", name) for name in names]
    return sorted({Shard(int(match[1]), int(match[2])) for match in matches if match}, key=lambda part: part.index)


def _check_all_there(folder: Path, parts: list[Shard]) -> None:
    counts = {part.count for part in parts}
    if len(counts) > 1:
        raise DataError(f"{folder}: parts of surveys in {' and in '.join(map(str, sorted(counts)))}; keep those of one")
    (count,) = counts
    wanting = [Shard(index, count) for index in range(1, count + 1)]
    wanting = [part for part in wanting if not part.file(folder).is_file() or part.file(folder, "draft").exists()]
    if wanting:
        shown = ", ".join(map(str, wanting[:5])) + (" …" if len(wanting) > 5 else "")
        raise DataError(
            f"{folder}: not whole yet: {shown}; run the same predict with --shard {wanting[0]} (and so on), then merge "
            "again"
        )

"""From what was given to a survey: photos are found, planned and looked at, or decided on again from what is stored.

with open_survey(folder, model) as survey:
    work = prepare(survey, find_photos(["~/photos"]))
    rule = settle(survey, predictor.decider, Rule(max_error=0.02))
    outcome = look_at(survey, work.plan.tasks, predictor, predictor.decider, rule)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ahekit.errors import DataError
from ahekit.prediction.photos import Listing, Photo, named_photos, read_roots, shard_of, with_root, write_roots
from ahekit.prediction.planning import Plan, Task, gone_photos, plan
from ahekit.prediction.shards import Shard
from ahekit.prediction.survey import ASIDE, FILE_NAME, Settings, Survey, SurveyModel, redecide

if TYPE_CHECKING:
    from ahekit.prediction.deciding import Acceptance, Decider, Rule


@dataclass(frozen=True)
class Work:
    """What a survey has to do with the photos that were given.

    Attributes:
        photos: All of them, or those of the shard.
        gone: Photos of the survey that lay in the given folders and are there no more.
    """

    photos: list[Photo]
    plan: Plan
    gone: list[str]


def name_photos(survey: Survey, listing: Listing, shard: Shard | None = None) -> list[Photo]:
    """The listed photos by their names in the survey, which then knows the folder they are relative to.

    Raises:
        DataError: The survey can't be written.
    """
    with survey.telling():
        roots = read_roots(survey)
    if with_root(roots, listing) != roots:
        with survey.transaction():
            # Asked again: another process may have written one meanwhile.
            roots = with_root(read_roots(survey), listing)
            write_roots(survey, roots)
    photos = named_photos(listing, roots)
    if shard is None:
        return photos
    return [photo for photo in photos if shard_of(photo.path, shard.count) == shard.index - 1]


def prepare(survey: Survey, listing: Listing, *, part: Survey | None = None, shard: Shard | None = None) -> Work:
    """What there is to do.

    Args:
        part: The shard's own file, where only its photos are to be looked at.

    Raises:
        DataError: Two photos would go by one name, or the survey can't be written.
    """
    photos = name_photos(survey, listing, shard)
    gone = [] if shard else gone_photos(survey, photos, listing.folders)
    return Work(photos, plan([survey] if part is None else [part, survey], photos), gone)


def settle(survey: Survey, decider: Decider, rule: Rule | None) -> tuple[Acceptance, bool]:
    """The thresholds to decide by, and whether what is stored was decided on again for them.

    Args:
        rule: What was asked for; None: what the survey was decided by, else the model's own thresholds.

    Raises:
        AhekitError: The rule asks for what the model's validation can't carry.
    """
    from ahekit.prediction.deciding import Rule as AnyRule

    stored = survey.settings.rule
    asked = rule if rule is not None else AnyRule(**stored)
    if stored == asdict(asked):
        return decider.accept(asked), False
    is_empty = survey.is_empty
    return redecide(survey, decider, asked), not is_empty


def start_over(folder: Path) -> Path | None:
    """Lay a survey's file aside, so that a new one can be begun; returns where it is now, None where there was none.

    Nothing is removed: what people decided is taken over by `keep_decisions`.

    Raises:
        DataError: The folder can't be written.
    """
    file = folder / FILE_NAME
    if not file.exists():
        return None
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    aside = folder / f"{ASIDE}{moment}.sqlite"
    try:
        # Closed once, so that all of it is in the one file.
        Survey.open(folder).close()
        os.replace(file, aside)
        for suffix in ("-wal", "-shm"):
            (folder / (FILE_NAME + suffix)).unlink(missing_ok=True)
    except DataError:
        os.replace(file, aside)  # not even readable: laid aside as it is
    except OSError as error:
        raise DataError(f"{folder}: can't be written ({error.strerror}); choose another with --out") from error
    return aside


def keep_decisions(survey: Survey, aside: Path) -> int:
    """Take over what people decided in an earlier survey of the same photos; returns how many decisions."""
    try:
        with Survey.open(survey.folder, file=aside) as before, before.telling():
            decisions = before.database.execute("SELECT path, class, decided_at FROM decisions ORDER BY id").fetchall()
            roots = before.meta("roots") or "[]"
    except DataError:
        return 0
    with survey.transaction():
        survey.set_meta(roots=roots)
        survey.database.executemany("INSERT INTO decisions (path, class, decided_at) VALUES (?, ?, ?)", decisions)
    return len(decisions)


@contextmanager
def open_survey(folder: Path, model: SurveyModel, *, settings: Settings | None = None) -> Iterator[Survey]:
    """The survey in a folder, made where there is none.

    Raises:
        DataError: It is of another model, damaged, or can't be written.
    """
    with Survey.create(folder, model, settings=settings) as survey:
        yield survey


def later_half(tasks: Sequence[Task], is_first: bool) -> Sequence[Task]:
    """Tasks in order, or from the other end for a process that isn't the only one: the two meet in the middle."""
    return tasks if is_first else tasks[::-1]

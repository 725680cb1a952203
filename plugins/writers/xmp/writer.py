"""Keywords and confidences in XMP sidecars beside the photos, for Lightroom, digiKam, darktable and their like."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable
from errno import EDQUOT, ENAMETOOLONG, ENOSPC
from pathlib import Path

from pydantic import Field

from ahekit.errors import DataError, PartlyDone, UnknownNameError
from ahekit.files import atomic_file, read_regular
from ahekit.protocols import Params, PhotoRow, SurveyFacts
from ahekit.wording import counted
from ahekit_plugins.writers.xmp.sidecar import Entries, Unfit, is_ours, with_entries, without_entries
from ahekit_plugins.writers.xmp.vocabulary import Vocabulary, read_vocabulary

_REASONS = {ENAMETOOLONG: "its sidecar's name would be too long"}


class XmpParams(Params):
    """What can be changed about it."""

    adobe: bool = Field(
        False, description="name sidecars NAME.xmp, as Lightroom and Bridge look for them, instead of NAME.jpg.xmp"
    )
    language: str = Field("en", description="language of the keywords, as in de")
    vocabulary: Path | None = Field(
        None, description="YAML file with the titles of the classes and what they stand under; none: the packaged one"
    )
    remove: bool = Field(False, description="take out what was put in, and nothing else")


class Xmp:
    """XMP sidecars with the class as keyword in the three places where programs look for one.

    Photos that are sure, or that a person decided on, get the keyword; of others the sidecar says in properties of our
    own what the network took them for. What other programs and people wrote stays as it is, to the byte.
    """

    Params = XmpParams

    def write(self, rows: Iterable[PhotoRow], facts: SurveyFacts, params: XmpParams) -> str:
        """Write, update or clean the sidecars."""
        vocabulary = read_vocabulary(params.vocabulary)
        if params.language not in vocabulary.languages:
            raise UnknownNameError("language", params.language, vocabulary.languages)
        counts: Counter[str] = Counter()
        problems: list[str] = []
        owners: dict[Path, tuple[Path, str | None]] = {}
        for row in rows:
            if row.state == "unreadable" and row.decision is None:
                counts["unreadable"] += 1
                continue
            sidecar = sidecar_of(row.file, adobe=params.adobe)
            owner, name = owners.setdefault(sidecar, (row.file, row.best_name))
            if owner != row.file:
                if name != row.best_name and not params.remove:
                    problems.append(f"{row.file}: shares its sidecar with {owner.name}, which is another class")
                continue
            try:
                entries = None if params.remove else entries_of(row, facts, vocabulary, params.language)
                counts[update(sidecar, row.file, entries)] += 1
            except Unfit as reason:
                problems.append(f"{sidecar}: {reason}")
            except OSError as error:
                if error.errno in (ENOSPC, EDQUOT):
                    done = counted(counts["new"] + counts["changed"], "sidecar")
                    raise DataError(
                        f"{sidecar}: {error.strerror}; {done} written, all whole. Make room and write again"
                    ) from error
                problems.append(f"{sidecar}: {_REASONS.get(error.errno or 0, (error.strerror or str(error)).lower())}")
        words = in_words(counts)
        if problems:
            raise PartlyDone(f"{words}; {counted(len(problems), 'sidecar')} not, for the reasons above", problems)
        return words


def sidecar_of(photo: Path, *, adobe: bool) -> Path:
    """Where a photo's sidecar is."""
    return photo.with_suffix(".xmp") if adobe else photo.with_name(f"{photo.name}.xmp")


def entries_of(row: PhotoRow, facts: SurveyFacts, vocabulary: Vocabulary, language: str) -> Entries:
    """What a photo's sidecar is to say."""
    own = {
        "State": "machine" if row.decision is None else "reviewed",
        "Result": row.state if row.decision is None else "reviewed",
        "Class": row.best_name,
        "Confidence": None if row.confidence is None else f"{row.confidence:.4f}",
        "RunnerUp": row.runner_up,
        "RunnerUpConfidence": None if row.runner_up_confidence is None else f"{row.runner_up_confidence:.4f}",
        "Predicted": row.class_name if row.decision is not None else None,
        "Model": facts.model,
        "ModelHash": facts.model_hash,
        "Date": row.decided_at or facts.predicted_at,
    }
    name = row.best_name if row.decision is not None or row.state == "sure" else None
    if name is None:
        return Entries({}, {key: value for key, value in own.items() if value})
    own["Concept"] = vocabulary.uri(name)
    levels = vocabulary.levels(name, language)
    keywords = {
        "dc:subject": levels[-1:],
        "lr:hierarchicalSubject": ("|".join(levels),),
        "digiKam:TagsList": ("/".join(levels),),
    }
    return Entries(keywords, {key: value for key, value in own.items() if value})


def update(sidecar: Path, photo: Path, entries: Entries | None) -> str:
    """Bring a sidecar to what it is to say (None: nothing of ours), and say what became of it in a word.

    Raises:
        Unfit: It, or the photo, is left as it is.
        OSError: It can't be read or written; it is as it was.
    """
    # A sidecar that is a link stays one.
    path = Path(os.path.realpath(sidecar)) if sidecar.is_symlink() else sidecar
    try:
        before: bytes | None = read_regular(path)
    except FileNotFoundError:
        before = None
    if entries is None:
        after = None if before is None else without_entries(before)
    else:
        if before is None and not photo.exists():
            raise Unfit("its photo is gone; no sidecar written")
        after = with_entries(before, entries)
    if after == before:
        return "same"
    if after is None:
        path.unlink()
        return "removed"
    # What can be written again at any time isn't waited for; what others wrote is on the disk before its old form goes.
    with atomic_file(path, sync=before is not None and not is_ours(before)) as file:
        if before is not None:
            os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
        file.write(after)
    if entries is None:
        return "cleaned"
    return "new" if before is None else "changed"


def in_words(counts: Counter[str]) -> str:
    """What became of the sidecars."""
    words = {
        "new": "{} new",
        "changed": "{} changed",
        "same": "{} already as they should be",
        "removed": "{} removed",
        "cleaned": "{} cleaned of our entries",
    }
    parts = [text.format(f"{counts[name]:,d}") for name, text in words.items() if counts[name]]
    told = f"sidecars: {', '.join(parts) or 'none'}"
    if counts["unreadable"]:
        told += f"; {counted(counts['unreadable'], 'unreadable photo')} passed over"
    return told

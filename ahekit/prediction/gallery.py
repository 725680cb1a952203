"""A survey as a page of thumbnails, `index.html`: opens from disk, asks the network for nothing, in plain words.

The photos' rows lie beside the page, in `gallery-data.js`, since a page from disk may not fetch; the page draws only
the cards that are on the screen.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ahekit import __version__
from ahekit.data.classes import display_name
from ahekit.errors import DataError
from ahekit.files import write_atomic
from ahekit.prediction.listing import shown_path
from ahekit.prediction.survey import file_name_of
from ahekit.protocols import PhotoRow, PhotoState
from ahekit.wording import plain

if TYPE_CHECKING:
    from jinja2 import Template

    from ahekit.prediction.survey import Survey

PAGE = "index.html"
DATA = "gallery-data.js"
MOST = 50_000
"""Photos on the page; a browser's longest page holds more, in a single column."""

STATES: dict[PhotoState, str] = {
    "review": "to look at",
    "sure": "sure",
    "unknown": "none of these, it seems",
    "unreadable": "could not be read",
}
"""What the states are called on the page."""

_DOUBT: dict[PhotoState, int] = {"review": 0, "unknown": 1, "unreadable": 2, "sure": 3}
_DECIDED = 4  # after everything that nobody has looked at


def write_gallery(survey: Survey, *, most: int = MOST) -> Path:
    """Write the page and its data into a survey's folder.

    Args:
        most: Photos that it shows at most, the doubtful ones first; the page says so when there are more.

    Returns:
        The page.

    Raises:
        DataError: They can't be written; earlier ones are still there.
    """
    rows = sorted(survey.rows(), key=doubt)
    facts = survey.facts()
    folder = Path(os.path.abspath(survey.folder))
    data = gallery_data(rows[:most], folder)
    page = _template().render(
        title=f"Photos in {plain(shown_path(folder.name))}",
        subtitle=f"named by {facts.model}" + (f", {facts.predicted_at[:10]}" if facts.predicted_at else ""),
        sentences=survey.settings.sentences,
        total=len(rows),
        shown=min(most, len(rows)),
        counts=Counter(row.state for row in rows),
        states=STATES,
        data=DATA,
        script=_script(),
        # The page's own scripts and no other may run, whatever a file or class name holds.
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()}",
        version=__version__,
    )
    try:
        write_atomic(folder / DATA, f"window.ahekitGallery = {json.dumps(data, separators=(',', ':'))};\n".encode())
        write_atomic(folder / PAGE, page.encode())
    except OSError as error:
        raise DataError(f"{folder / PAGE}: can't be written ({error.strerror})") from error
    return survey.folder / PAGE


def doubt(row: PhotoRow) -> tuple[int, float, str]:
    """Sorts what a person should look at to the front: what is to be looked at, then unknown, then the least sure."""
    rank = _DECIDED if row.decision is not None else _DOUBT[row.state]
    return rank, 0.0 if row.confidence is None else row.confidence, row.path


def gallery_data(rows: Iterable[PhotoRow], folder: Path) -> dict[str, Any]:
    """What the page's script reads: each row a list of numbers into lists of words, so that 10,000 are a megabyte.

    Columns: folder, name, address of the photo's name, thumbnail, class, confidence in thousandths, runner-up, its
    confidence, state, reason, decision. A number of -1 stands for nothing; a decision of -2 for "none of these".
    """
    folders = _Words()
    bases = _Words()
    classes = _Words()
    reasons = _Words()
    states = list(STATES)
    cards = []
    for row in rows:
        parent, name = os.path.split(row.path)
        place, file = os.path.split(os.path.relpath(row.file, folder))
        address = quote(os.fsencode(file))
        cards.append(
            (
                folders.number(f"{plain(shown_path(parent))}/" if parent else ""),
                plain(shown_path(name)),
                bases.number(quote(os.fsencode(f"{place}/")) if place else ""),
                0 if address == name else address,
                0 if row.state == "unreadable" else file_name_of(row.path),
                classes.number(row.class_name and plain(display_name(row.class_name))),
                _thousandths(row.confidence),
                classes.number(row.runner_up and plain(display_name(row.runner_up))),
                _thousandths(row.runner_up_confidence),
                states.index(row.state),
                reasons.number(plain(row.reason) or None),
                -2 if row.decision == "" else classes.number(row.decision and plain(display_name(row.decision))),
            )
        )
    return {
        "folders": folders.words,
        "bases": bases.words,
        "classes": classes.words,
        "reasons": reasons.words,
        "states": list(STATES.values()),
        "kinds": states,
        "thumbnails": "thumbnails/",
        "photos": cards,
    }


class _Words:
    """Words by number, each once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def words(self) -> list[str]:
        return list(self._numbers)

    def number(self, word: str | None) -> int:
        return -1 if word is None else self._numbers.setdefault(word, len(self._numbers))


def _thousandths(share: float | None) -> int:
    return -1 if share is None else round(share * 1000)


@cache
def _script() -> str:
    return files("ahekit.prediction").joinpath("gallery.js").read_text(encoding="utf-8")


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ahekit", "prediction"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("gallery.html.j2")

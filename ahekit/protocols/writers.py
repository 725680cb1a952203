"""What a writer plugin provides: a survey's rows in the form that other software reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel

PhotoState = Literal["sure", "review", "unknown", "unreadable"]


@dataclass(frozen=True)
class PhotoRow:
    """What a survey knows of one photo.

    Attributes:
        path: Relative to what was given, `/` between its parts; bytes that are no UTF-8 are kept as lone surrogates.
        file: Where the photo is, absolute.
        state: "sure": accepted; "review": to be looked at by hand; "unknown": none of the classes, it seems;
            "unreadable": nothing could be made of the file.
        class_name: The predicted class; None where the photo is unreadable.
        confidence: In `class_name`, 0 to 1, calibrated; `runner_up_confidence` likewise.
        reason: Why it is to be reviewed, unknown or unreadable; empty for the sure ones.
        decision: The class that a person said it shows; "" where the person said none of them; None: not decided.
        decided_at: When, ISO 8601 in UTC; None: not decided.
    """

    path: str
    file: Path
    state: PhotoState
    class_name: str | None = None
    confidence: float | None = None
    runner_up: str | None = None
    runner_up_confidence: float | None = None
    reason: str = ""
    decision: str | None = None
    decided_at: str | None = None

    @property
    def best_name(self) -> str | None:
        """What a person said, else what was predicted; None where nothing was."""
        return self.class_name if self.decision is None else self.decision or None


@dataclass(frozen=True)
class SurveyFacts:
    """What a writer may want to say of the survey that its rows are of.

    Attributes:
        folder: The survey's folder.
        class_names: Of the model.
        model: Its name and version as people read them.
        model_hash: Its fingerprint, hexadecimal.
        predicted_at: When the last photo was looked at, ISO 8601 in UTC.
    """

    folder: Path
    class_names: tuple[str, ...]
    model: str
    model_hash: str
    predicted_at: str


class WriterPlugin(Protocol):
    """Writes a survey's rows for other software. Entry-point group `ahekit.writers`."""

    @property
    def Params(self) -> type[BaseModel]:
        """What can be set; a class attribute does."""
        ...

    def write(self, rows: Iterable[PhotoRow], facts: SurveyFacts, params: Any) -> str:
        """Write them, whole or not at all for each file.

        Returns:
            One line for the user: what was written, and where.
        """
        ...

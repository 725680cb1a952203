"""What a class is called in a catalogue: titles by language, what it stands under, and its identifier elsewhere."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from ahekit.errors import SpecError, UsageError
from ahekit.validation import read_yaml, validate

Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^|/\x00-\x1f]+$")]
"""Of a concept; `|` and `/` part the levels of a keyword."""


class Identifier(BaseModel):
    """A concept's identifier in the Getty Art & Architecture Thesaurus, and how far it can be trusted."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    status: Literal["confirmed", "disputed", "unconfirmed"] = "unconfirmed"
    id: str | None = Field(None, pattern="^3[0-9]{8}$")
    candidates: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_what_its_status_says(self) -> Self:
        if self.status == "confirmed" and self.id is None:
            raise ValueError("a confirmed identifier needs its id")
        return self

    @property
    def uri(self) -> str | None:
        """The concept's address in the thesaurus; None unless it is confirmed."""
        return f"http://vocab.getty.edu/aat/{self.id}" if self.status == "confirmed" else None


class Concept(BaseModel):
    """A class, or what classes stand under."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    titles: dict[str, Title] = Field(min_length=1)
    parent: str | None = None
    aat: Identifier = Identifier()


class Vocabulary(BaseModel):
    """Concepts by name; classes are found by the model's name for them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: Literal[1] = 1
    concepts: dict[str, Concept]

    @model_validator(mode="after")
    def _parents_are_there(self) -> Self:
        for name in self.concepts:
            passed = [name]
            while (parent := self.concepts[passed[-1]].parent) is not None:
                if parent not in self.concepts:
                    raise ValueError(f"concepts.{passed[-1]}.parent: no concept named {parent!r}")
                if parent in passed:
                    raise ValueError(f"concepts.{name}: stands under itself")
                passed.append(parent)
        return self

    @property
    def languages(self) -> list[str]:
        """Those that some concept has a title in."""
        return sorted({language for concept in self.concepts.values() for language in concept.titles})

    def levels(self, name: str, language: str) -> tuple[str, ...]:
        """Titles of a class and of what it stands under, the widest first.

        A class that isn't here is called as the model calls it; a concept without a title in the language, as in
        English or in the first language it has.
        """
        levels: list[str] = []
        step: str | None = name
        while step is not None:
            concept = self.concepts.get(step)
            if concept is None:
                levels.append(" ".join(step.translate(_PARTING).split()) or "_")
                break
            titles = concept.titles
            levels.append(titles.get(language) or titles.get("en") or next(iter(titles.values())))
            step = concept.parent
        return tuple(reversed(levels))

    def uri(self, name: str) -> str | None:
        """A class's confirmed address in the thesaurus."""
        return self.concepts[name].aat.uri if name in self.concepts else None


_PARTING = str.maketrans(dict.fromkeys("|/_", " "))


def read_vocabulary(path: Path | None) -> Vocabulary:
    """The vocabulary of a file, or the one that comes with the package.

    Raises:
        UsageError: The file can't be read or is no vocabulary.
    """
    if path is None:
        with as_file(files(__package__).joinpath("vocabulary.yaml")) as packaged:
            return read_vocabulary(packaged)
    values = read_yaml(path)
    try:
        return validate(Vocabulary, values)
    except SpecError as error:
        raise UsageError("; ".join(f"{path}: {problem}" for problem in error.problems)) from None

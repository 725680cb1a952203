"""A survey handed to a writer plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ahekit.errors import AhekitError
from ahekit.protocols import PhotoRow
from ahekit.registry import WRITERS
from ahekit.validation import validate
from ahekit.wording import kind_of

if TYPE_CHECKING:
    from ahekit.prediction.survey import Only, Survey


def write_survey(
    survey: Survey,
    name: str,
    params: Mapping[str, Any],
    *,
    only: Only = "all",
    advance: Callable[[int], object] = lambda number: None,
) -> str:
    """Let a writer write a survey's photos, and return its line on what it wrote.

    Args:
        params: Values of its parameters.
        advance: Called after each photo that it has dealt with.

    Raises:
        UnknownNameError: There is no such writer.
        SpecError: The parameters are wrong.
        PartlyDone: Some photos couldn't be written, and all others were.
        AhekitError: It couldn't write; a bug of the writer's is a `PluginError`.
    """
    entry, writer = WRITERS.look_up(name)
    values = validate(writer.Params, params, where=name)
    # What is wrong with the survey itself is no bug of the writer that reads it.
    failures: list[BaseException] = []

    def rows() -> Iterator[PhotoRow]:
        try:
            for row in survey.rows(only):
                yield row
                advance(1)
        except AhekitError as error:
            failures.append(error)
            raise

    with entry.guarded():
        told = writer.write(rows(), survey.facts(), values)
    if failures:
        raise failures[0]
    if not isinstance(told, str):
        raise entry.broken(f"its write() returned {kind_of(told)}, not a line that says what was written")
    return " ".join(told.split())

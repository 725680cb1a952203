"""What a reporter plugin provides: a section of the report on one run, or of the comparison of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, Field

from ahekit.protocols.params import Params

if TYPE_CHECKING:
    from ahekit.evaluation.compared import ComparedRuns
    from ahekit.evaluation.record import RunRecord
    from ahekit.sections import Section


class ReporterPlugin(Protocol):
    """Makes one section of a report. Entry-point group `ahekit.reporters`.

    It has a method `report`, for the report on one run, or `compare`, for the comparison of several, or both.
    """

    @property
    def Params(self) -> type[BaseModel]:
        """What can be set; a class attribute does."""
        ...

    @property
    def order(self) -> int:
        """Place in the report; lower comes first. First-party sections use multiples of ten."""
        ...


class RunReporter(ReporterPlugin, Protocol):
    """A reporter that turns a run's record into a section."""

    def report(self, record: RunRecord, params: Any) -> Section:
        """Compute the section.

        Raises:
            MissingRecord: The run holds nothing this section could be made of; the report says so and goes on.
        """
        ...


class ComparisonReporter(ReporterPlugin, Protocol):
    """A reporter that turns several runs on the test images they share into a section."""

    def compare(self, runs: ComparedRuns, params: Any) -> Section:
        """Compute the section.

        Raises:
            MissingRecord: The runs hold nothing this section could be made of; the report says so and goes on.
        """
        ...


class BootstrapParams(Params):
    """Parameters of a reporter that bootstraps; two with one seed draw the same resamples."""

    resamples: int = Field(10_000, ge=100, description="bootstrap resamples; fewer beyond 200 classes")
    seed: int = Field(0, ge=0, description="seed of the bootstrap")

"""What a reporter plugin provides: a section of a report or a comparison, and metrics to measure each epoch by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, Field

from ahekit.protocols.params import Params

if TYPE_CHECKING:
    from ahekit.evaluation.compared import ComparedRuns
    from ahekit.evaluation.predictions import Predictions
    from ahekit.evaluation.record import RunRecord
    from ahekit.sections import Section


@dataclass(frozen=True)
class Metric:
    """A number that tells how good predictions are; measured on every split at each epoch's end.

    It stands in the history and among the learning curves, and a run can choose its epoch by it (`--monitor NAME`).

    Attributes:
        name: Its key in the history: letters, digits, `-`, `_`, `.` and `+`.
        direction: Which of two values is the better one.
        measure: From predictions on images of known class (`labels`, `logits`, `probabilities`, `predicted`,
            `class_names`; the arrays are read-only) to a finite number. Where it isn't defined it may raise or return
            NaN: then the epoch goes without, and can't be chosen by it.
        description: What people call it, in a few words; the name where there is none.

    Example:
        >>> import numpy as np
        >>> share = Metric("top2", "higher", lambda predictions: float(np.mean(
        ...     (predictions.logits.argsort(axis=1)[:, -2:] == predictions.labels[:, None]).any(axis=1)
        ... )), "top-2 accuracy")
        >>> share.direction
        'higher'
    """

    name: str
    direction: Literal["higher", "lower"]
    measure: Callable[[Predictions], float]
    description: str = ""


class ReporterPlugin(Protocol):
    """Makes one section of a report, or offers metrics, or both. Entry-point group `ahekit.reporters`.

    It has a method `report`, for the report on one run, or `compare`, for the comparison of several, or an attribute
    `metrics`, a tuple of `Metric`; or any of these together.
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
    """A reporter that turns a run's record into a section.

    One that looks into the network (`record.look`) may name what it asks for by default in an attribute `looks`, pairs
    of a visualizer's name and its parameters: then it is seen when training ends, and a report needn't load the
    network.
    """

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


class MetricReporter(ReporterPlugin, Protocol):
    """A reporter that offers metrics to measure each epoch by."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics; a class attribute does."""
        ...


class BootstrapParams(Params):
    """Parameters of a reporter that bootstraps; two with one seed draw the same resamples."""

    resamples: int = Field(10_000, ge=100, description="bootstrap resamples; fewer beyond 200 classes")
    seed: int = Field(0, ge=0, description="seed of the bootstrap")

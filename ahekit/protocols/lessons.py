"""What a lesson plugin provides: an experiment on the ideas behind the tool, on the student's own network."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel

from ahekit.sections import Experiment

if TYPE_CHECKING:
    from ahekit.protocols.visualizers import VisualizerInput


@dataclass(frozen=True)
class LessonInput:
    """What a lesson may use.

    Attributes:
        network: The named run's network, else that of the newest run that has the layers (aliases or dotted paths),
            with a test image of each class to look at. Raises an `AhekitError` where there is none.
        seed: Of whatever is drawn.
        full: Whether to take the long way, on real data.
        progress: Called with the steps done and their number.
        data: The dataset that was named to train on; None: whatever the lesson takes by itself.
        folder: Where the lesson may keep what took it long, so that it goes on there the next time; None: nowhere.
        device: As a run spec names it.
    """

    network: Callable[[Collection[str]], VisualizerInput]
    seed: int = 0
    full: bool = False
    progress: Callable[[int, int], None] = lambda done, total: None
    data: str | None = None
    folder: Path | None = None
    device: str = "auto"


class LessonPlugin(Protocol):
    """An experiment on an idea. Entry-point group `ahekit.lessons`.

    One that never asks for a run's network says so with an attribute `uses_run = False`: a run that is named for it is
    refused instead of passed over.
    """

    @property
    def Params(self) -> type[BaseModel]:
        """What can be set; a class attribute does."""
        ...

    @property
    def title(self) -> str:
        """Of its page."""
        ...

    @property
    def seconds(self) -> float:
        """About how long it takes on two processor cores; `full_minutes` likewise, where `--full` takes longer."""
        ...

    def teach(self, request: LessonInput, params: Any) -> Experiment:
        """Run the experiment.

        Raises:
            AhekitError: It can't be run, in one line.
        """
        ...

"""Train, inspect and report on CNNs that classify architectural heritage elements.

The public names below are loaded when first used, so that `import ahekit` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ahekit.errors import AhekitError as AhekitError
    from ahekit.evaluation.predictions import Predictions as Predictions
    from ahekit.evaluation.record import RunRecord as RunRecord
    from ahekit.preprocessing import Preprocessing as Preprocessing
    from ahekit.protocols import BuiltModel as BuiltModel
    from ahekit.protocols import VisualizerInput as VisualizerInput
    from ahekit.registry import MODELS as MODELS
    from ahekit.registry import REPORTERS as REPORTERS
    from ahekit.registry import VISUALIZERS as VISUALIZERS
    from ahekit.run import Run as Run
    from ahekit.run import find_run as find_run
    from ahekit.run import list_runs as list_runs
    from ahekit.sections import Column as Column
    from ahekit.sections import Figure as Figure
    from ahekit.sections import Section as Section
    from ahekit.sections import Table as Table
    from ahekit.sections import Visualization as Visualization
    from ahekit.spec import RunSpec as RunSpec
    from ahekit.spec import resolve_spec as resolve_spec

__version__ = "0.1.0"

_HOMES = {
    "ahekit.errors": ("AhekitError",),
    "ahekit.evaluation.predictions": ("Predictions",),
    "ahekit.evaluation.record": ("RunRecord",),
    "ahekit.protocols": ("BuiltModel", "Preprocessing", "Visualization", "VisualizerInput"),
    "ahekit.registry": ("MODELS", "REPORTERS", "VISUALIZERS"),
    "ahekit.sections": ("Column", "Figure", "Section", "Table"),
    "ahekit.run": ("Run", "find_run", "list_runs"),
    "ahekit.spec": ("RunSpec", "resolve_spec"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'ahekit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *(name for names in _HOMES.values() for name in names)]

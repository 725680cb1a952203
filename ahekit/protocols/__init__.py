"""What a plugin must provide, a page for each kind: `models`, `visualizers`, `reporters`.

Every plugin is a class with a one-line docstring (shown by `ahekit plugins`), a constructor without arguments and
a pydantic model `Params` (validated, described by `ahekit plugins show NAME`). Nothing else is inherited.
"""

from __future__ import annotations

from ahekit.protocols.models import BuiltModel, LoadedWeights, ModelFamily, ModelPlugin, Suggestion, stage_names
from ahekit.protocols.params import NoParams, Params, describe
from ahekit.protocols.reporters import ComparisonReporter, ReporterPlugin, RunReporter
from ahekit.protocols.visualizers import SplitImages, VisualizerInput, VisualizerPlugin

__all__ = [
    "BuiltModel",
    "ComparisonReporter",
    "LoadedWeights",
    "ModelFamily",
    "ModelPlugin",
    "NoParams",
    "Params",
    "ReporterPlugin",
    "RunReporter",
    "SplitImages",
    "Suggestion",
    "VisualizerInput",
    "VisualizerPlugin",
    "describe",
    "stage_names",
]

"""What a plugin must provide, a page for each kind: `models`, `visualizers`, `reporters`, `writers` and so on.

Whatever a plugin needs to say what it is and what it returns can be imported from here.

Every plugin is a class with a one-line docstring (shown by `ahekit plugins`), a constructor without arguments and
a pydantic model `Params` (validated, described by `ahekit plugins show NAME`). Nothing else is inherited.
"""

from __future__ import annotations

from ahekit.preprocessing import Fit, Interpolation, Preprocessing
from ahekit.protocols.models import BuiltModel, LoadedWeights, ModelFamily, ModelPlugin, Suggestion, stage_names
from ahekit.protocols.params import NoParams, Params, describe
from ahekit.protocols.pretrained import PretrainedModel
from ahekit.protocols.reporters import (
    BootstrapParams,
    ComparisonReporter,
    Metric,
    MetricReporter,
    ReporterPlugin,
    RunReporter,
)
from ahekit.protocols.visualizers import Original, SplitImages, VisualizerInput, VisualizerPlugin
from ahekit.protocols.writers import PhotoRow, PhotoState, SurveyFacts, WriterPlugin
from ahekit.sections import Animation, Cell, Column, Figure, Section, Table, Visualization

__all__ = [
    "Animation",
    "BootstrapParams",
    "BuiltModel",
    "Cell",
    "Column",
    "ComparisonReporter",
    "Figure",
    "Fit",
    "Interpolation",
    "LoadedWeights",
    "Metric",
    "MetricReporter",
    "ModelFamily",
    "ModelPlugin",
    "NoParams",
    "Original",
    "Params",
    "PhotoRow",
    "PhotoState",
    "Preprocessing",
    "PretrainedModel",
    "ReporterPlugin",
    "RunReporter",
    "Section",
    "SplitImages",
    "Suggestion",
    "SurveyFacts",
    "Table",
    "Visualization",
    "VisualizerInput",
    "VisualizerPlugin",
    "WriterPlugin",
    "describe",
    "stage_names",
]

"""What a plugin must provide, a page for each kind: `models`, `visualizers`, `reporters`, `lessons` and so on.

Whatever a plugin needs to say what it is and what it returns can be imported from here.

Every plugin is a class with a one-line docstring (shown by `ahekit plugins`), a constructor without arguments and
a pydantic model `Params` (validated, described by `ahekit plugins show NAME`). Nothing else is inherited.
"""

from __future__ import annotations

from ahekit.preprocessing import Fit, Interpolation, Preprocessing
from ahekit.protocols.lessons import LessonInput, LessonPlugin
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
from ahekit.sections import (
    Animation,
    Cell,
    Claim,
    ClaimReading,
    Column,
    Exercise,
    Experiment,
    Figure,
    Section,
    Table,
    Visualization,
    Widget,
)

__all__ = [
    "Animation",
    "BootstrapParams",
    "BuiltModel",
    "Cell",
    "Claim",
    "ClaimReading",
    "Column",
    "ComparisonReporter",
    "Exercise",
    "Experiment",
    "Figure",
    "Fit",
    "Interpolation",
    "LessonInput",
    "LessonPlugin",
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
    "Widget",
    "WriterPlugin",
    "describe",
    "stage_names",
]

# The public names: type checkers read them here, and `ahekit.__init__` loads each when it is first used.
from .errors import AhekitError as AhekitError
from .evaluation.predictions import Predictions as Predictions
from .evaluation.record import RunRecord as RunRecord
from .preprocessing import Preprocessing as Preprocessing
from .protocols import BuiltModel as BuiltModel
from .protocols import VisualizerInput as VisualizerInput
from .registry import MODELS as MODELS
from .registry import REPORTERS as REPORTERS
from .registry import VISUALIZERS as VISUALIZERS
from .run import Run as Run
from .run import find_run as find_run
from .run import list_runs as list_runs
from .sections import Column as Column
from .sections import Figure as Figure
from .sections import Section as Section
from .sections import Table as Table
from .sections import Visualization as Visualization
from .spec import RunSpec as RunSpec
from .spec import resolve_spec as resolve_spec

__version__: str

"""A small network and pictures to look into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from ahekit import testing, visualizing
from ahekit.protocols import SplitImages, VisualizerInput
from ahekit.registry import VISUALIZERS
from ahekit.sections import Visualization
from ahekit.validation import validate


def run_visualizer(name: str, request: VisualizerInput, **params: Any) -> Visualization:
    """Under the same guard as `ahekit viz`."""
    plugin = VISUALIZERS.get(name)
    return visualizing.visualize(plugin, request, validate(plugin.Params, params, where=name))


@pytest.fixture
def toy() -> Callable[..., nn.Sequential]:
    return testing.small_module


@pytest.fixture
def make_request() -> Callable[..., VisualizerInput]:
    return testing.small_input


@pytest.fixture
def visualize() -> Callable[..., Visualization]:
    return run_visualizer


@pytest.fixture
def split() -> Callable[..., Callable[[str], SplitImages]]:
    return testing.small_split

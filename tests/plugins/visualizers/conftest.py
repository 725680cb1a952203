"""A small network and pictures to look into."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ahekit import visualizing
from ahekit.data.augment import normalize
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel, SplitImages, VisualizerInput
from ahekit.registry import VISUALIZERS
from ahekit.sections import Visualization
from ahekit.validation import validate

CLASSES = ("altar", "dome_inner", "vault")


def toy_module(*, inplace: bool = True) -> nn.Sequential:
    """Two convolutions, each with something in place behind it."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(inplace=inplace),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(inplace=inplace)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    )


def wrap(module: nn.Sequential, *, size: int, layers: Mapping[str, str] | None = None) -> BuiltModel:
    return BuiltModel(
        module=module,
        preprocessing=Preprocessing(size=size),
        stages={"body": tuple(module[:-1]), "head": (module[-1],)},
        layers={"conv1": "0", "conv2": "3.0"} if layers is None else layers,
        embed=module[:-1],
        split=lambda stage: (module[:0], module) if stage == "body" else (module[:-1], module[-1:]),
    )


def split_of(pixels: np.ndarray[Any, Any], labels: Sequence[int] | None = None) -> Callable[[str], SplitImages]:
    """Opens splits that all hold the same pictures."""
    of = np.arange(len(pixels)) % len(CLASSES) if labels is None else np.asarray(labels, dtype=np.int64)
    ids = tuple(f"{number}.png" for number in range(len(pixels)))
    return lambda name: SplitImages(name, pixels, np.arange(len(pixels)), ids, of)


def make_input(
    module: nn.Sequential | None = None,
    *,
    layers: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
    pixels: np.ndarray[Any, Any] | None = None,
    images: Tensor | None = None,
    labels: Sequence[int] | None = None,
) -> VisualizerInput:
    """What a visualizer gets: three noisy pictures of 12 x 12 for the small network, unless told otherwise."""
    if pixels is None:
        shape = (3, 12, 12) if images is None else (len(images), *images.shape[2:])
        pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    built = wrap(module or toy_module(), size=pixels.shape[1], layers=aliases)
    return VisualizerInput(
        model=built,
        class_names=CLASSES,
        images=normalize(pixels, built.preprocessing) if images is None else images,
        pixels=pixels,
        image_ids=tuple(f"test/{number}.png" for number in range(len(pixels))),
        labels=tuple(labels if labels is not None else [number % 3 for number in range(len(pixels))]),
        layers={layer: built.layers.get(layer, layer) for layer in layers},
        split=split_of(np.concatenate([pixels, pixels[:, ::-1], pixels[:, :, ::-1]])),
    )


def run_visualizer(name: str, request: VisualizerInput, **params: Any) -> Visualization:
    """Under the same guard as `ahekit viz`."""
    plugin = VISUALIZERS.get(name)
    return visualizing.visualize(plugin, request, validate(plugin.Params, params, where=name))


@pytest.fixture
def toy() -> Callable[..., nn.Sequential]:
    return toy_module


@pytest.fixture
def make_request() -> Callable[..., VisualizerInput]:
    return make_input


@pytest.fixture
def visualize() -> Callable[..., Visualization]:
    return run_visualizer


@pytest.fixture
def split() -> Callable[..., Callable[[str], SplitImages]]:
    return split_of

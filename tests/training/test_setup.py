"""What is decided when data, network and device come together."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ahekit.backbones.wrap import wrap
from ahekit.errors import UsageError
from ahekit.models import build_component
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel
from ahekit.spec import ProgressiveSpec, RunSpec, TrainSpec, resolve_spec
from ahekit.training.setup import fit_accumulation
from ahekit.training.sizes import decide_sizes, describe_sizes


@pytest.mark.parametrize(
    ("assignments", "images", "processes", "steps"),
    [
        ([], 28, 1, 1),
        ([], 28, 2, 1),
        ([], 130, 1, 3),
        ([], 130, 2, 2),
        ([], 256, 1, 4),
        (["optim.batch_size=8"], 28, 1, 4),
        (["optim.accumulation_steps=4"], 28, 1, 4),
        (["recipe=assignment"], 28, 1, 1),
    ],
)
def test_a_default_accumulation_that_no_epoch_can_fill_is_shortened_and_told(
    assignments: list[str], images: int, processes: int, steps: int
) -> None:
    told: list[str] = []
    spec = resolve_spec(assignments=assignments)
    fitted = fit_accumulation(spec, images, processes, told.append)
    assert fitted.optim.accumulation_steps == steps
    assert bool(told) == (fitted is not spec)
    if told:
        assert told[0].startswith(
            f"accumulation steps: {steps} instead of 4, since {images} training images fill no more"
        )


def flat_network() -> BuiltModel:
    """Its head takes the pixels of images of 16 pixels a side, and no others."""
    return wrap(
        nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 256, 3)),
        preprocessing=Preprocessing(size=16),
    )


class Picky(nn.Module):
    """Takes images of 16 pixels, and says so in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer({16: images.mean(dim=(2, 3))}[images.shape[2]])  # type: ignore[no-any-return]


def picky_network() -> BuiltModel:
    return BuiltModel.from_stages(
        {"only": nn.Sequential(Picky()), "head": nn.Sequential(nn.Linear(3, 3))}, preprocessing=Preprocessing(size=16)
    )


@pytest.mark.parametrize(
    ("fields", "built", "words"),
    [
        ({"progressive": {"sizes": [8]}}, picky_network, r"cnn5 can't take images of 8 px \(8\)"),
        ({"progressive": {"sizes": [8, 16]}}, flat_network, "16 isn't smaller than the full size, 16 px"),
        ({"progressive": {"sizes": [8]}}, flat_network, r"cnn5 can't take images of 8 px \(mat1"),
        ({"progressive": {"sizes": [8]}, "transfer": {"views": 2}}, flat_network, "--views 0"),
        (
            {"progressive": {"sizes": [8]}},
            lambda: build_component("cnn5", {}, num_classes=3, image_size=64).built,
            "cnn5 can't take images of 8 px",
        ),
    ],
)
def test_training_sizes_that_the_network_cannot_take_are_refused(
    fields: dict[str, Any], built: Callable[[], BuiltModel], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        decide_sizes(RunSpec.model_validate(fields), built(), print)
    assert str(caught.value).startswith("progressive.sizes: ")
    assert "\n" not in str(caught.value)


def test_sizes_may_be_shares_of_the_full_one() -> None:
    built = build_component("cnn5", {}, num_classes=3, image_size=96).built
    assert decide_sizes(RunSpec(recipe="fast"), built, print).progressive.sizes == (48, 72)


@pytest.mark.parametrize(
    ("fields", "built", "words"),
    [
        ({}, flat_network, "16 px: cnn5 can't take images of 12 px$"),
        ({}, picky_network, "16 px: cnn5 can't take images of 12 px$"),
        ({"recipe": "fast"}, flat_network, "16 px: cnn5 can't take images of 8 px$"),
        (
            {"transfer": {"views": 2}},
            flat_network,
            "what frozen stages make of fixed views is kept for one image size$",
        ),
        (
            {},
            lambda: wrap(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten()), preprocessing=Preprocessing(size=4)),
            "4 isn't smaller than the full size, 4 px$",
        ),
    ],
)
def test_shares_of_the_full_size_give_way_to_it_with_a_word(
    fields: dict[str, Any], built: Callable[[], BuiltModel], words: str
) -> None:
    told: list[str] = []
    spec = decide_sizes(RunSpec.model_validate(fields), built(), told.append)
    assert spec.progressive == ProgressiveSpec()
    (line,) = told
    assert line.startswith("training images have the full size, ")
    assert re.search(words, line)


def test_the_sizes_are_told_with_their_epochs() -> None:
    spec = RunSpec.model_validate({"progressive": {"sizes": [32, 48], "shares": [0.4, 0.3]}, "train": {"epochs": 10}})
    assert describe_sizes(spec, 64) == "32 px to epoch 4, 48 px to epoch 7, then 64 px"
    assert describe_sizes(spec.model_copy(update={"train": TrainSpec(epochs=1)}), 64) == "64 px"
    all_small = ProgressiveSpec(sizes=(32, 48), shares=(0.5, 0.5))
    words = "32 px to epoch 5, then 48 px, measured at 64 px"
    assert describe_sizes(spec.model_copy(update={"progressive": all_small}), 64) == words

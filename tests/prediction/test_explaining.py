"""Overlays show where the class was found, at the photo's own shape; one photo that is gone costs only its own."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ahekit.backbones.wrap import wrap
from ahekit.prediction.explaining import class_map, explain_photos, overlay, unexplained
from ahekit.prediction.survey import Survey
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel, PhotoRow
from tests.prediction.conftest import CLASSES

PIXELS = Preprocessing(size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def colour_reader(preprocessing: Preprocessing = PIXELS) -> BuiltModel:
    """A network whose maps are the photo's colours, and whose classes are their means: altars are red."""
    maps = nn.Conv2d(3, 3, 1, bias=False)
    head = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        maps.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
        head.weight.copy_(torch.eye(3))
    module = nn.Sequential(maps, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return wrap(module.eval(), preprocessing=preprocessing)


def photo_with_a_red_corner(width: int = 64, height: int = 32) -> Image.Image:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 4, 0] = 255
    return Image.fromarray(pixels)


def jpeg(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=95)
    return content.getvalue()


def test_the_map_is_bright_where_the_class_is() -> None:
    values = class_map(photo_with_a_red_corner(), colour_reader(), CLASSES, 0, lambda images: images)
    assert values.shape == (16, 16)
    assert values[:7, :3].min() > 0.9
    assert values[9:].max() == values[:, 5:].max() == 0
    # Nothing is blue: a map that speaks for nothing stays dark instead of being stretched.
    assert class_map(photo_with_a_red_corner(), colour_reader(), CLASSES, 2, lambda images: images).max() == 0


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_the_overlay_has_the_photo_s_shape_and_lies_over_what_the_network_saw(fit: str) -> None:
    photo = photo_with_a_red_corner()
    preprocessing = Preprocessing(size=16, fit=fit)  # type: ignore[arg-type]
    laid = np.asarray(overlay(photo, np.ones((4, 4), np.float32), preprocessing)).astype(int)
    assert laid.shape[1] == 2 * laid.shape[0] == 512
    touched = (laid != np.asarray(photo.resize((512, 256), Image.Resampling.BICUBIC)).astype(int)).any(2)
    columns = np.flatnonzero(touched.any(0))
    # A centre crop leaves out a quarter at either side of a photo twice as wide as high.
    assert (columns[0], columns[-1]) == ((128, 383) if fit == "crop" else (0, 511))


def test_overlays_are_made_once_and_a_photo_that_is_gone_is_told(
    photo: Callable[..., PhotoRow], survey_of: Callable[..., Path]
) -> None:
    rows = [photo(name, jpeg(photo_with_a_red_corner())) for name in ("a.jpg", "b c.jpg", "gone.jpg")]
    folder = survey_of(*rows, photo("bad.jpg", state="unreadable", class_name=None))
    rows[2].file.unlink()
    with Survey.open(folder) as survey:
        due = unexplained(survey)
        assert [row.path for row in due] == ["a.jpg", "b c.jpg", "gone.jpg"]
        done: list[int] = []
        told = explain_photos(survey, due, colour_reader(), CLASSES, lambda images: images, progress=done.append)
        assert told == ["gone.jpg: can't be read (No such file or directory)"]
        assert done == [1, 1, 1]
        with Image.open(survey.explanation_path("b c.jpg")) as image:
            assert image.size == (512, 256)
        assert [row.path for row in unexplained(survey)] == ["gone.jpg"]
        # Looked at again since, the photo may show something else.
        survey.database.execute(
            "UPDATE photos SET predicted_at = '2999-01-01T00:00:00+00:00' WHERE path = ?", (b"a.jpg",)
        )
        assert [row.path for row in unexplained(survey)] == ["a.jpg", "gone.jpg"]

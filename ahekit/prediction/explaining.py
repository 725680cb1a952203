"""Where on a photo the network found its class: a class activation map laid over it, at the photo's own shape.

LayerCAM (https://doi.org/10.1109/TIP.2021.3089943) of the layer that the classifier reads: each place of it counts as
much as a change there would change the class's logit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ahekit.data.augment import normalize
from ahekit.data.decode import DecodeError, fit, needed_side, quiet_pillow, read
from ahekit.errors import DataError
from ahekit.inspection.attribution import activation_and_gradient
from ahekit.inspection.layers import target_layer
from ahekit.inspection.targets import choose_target
from ahekit.prediction.looking import read_photo
from ahekit.prediction.survey import Survey
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel, PhotoRow, VisualizerInput

LONGEST_SIDE = 1024
"""Pixels of an overlay, at most; smaller photos are enlarged to at least half of it, or the map would be blocks."""
STRENGTH = 0.55
"""Share of the colour where the map is brightest."""


def unexplained(survey: Survey) -> list[PhotoRow]:
    """The photos that a class was predicted for and that have no overlay yet, or one from before they changed."""
    with survey.telling():
        times = dict(survey.database.execute("SELECT path, predicted_at FROM photos WHERE class IS NOT NULL"))
    return [
        row for row in survey.rows() if _is_due(survey.explanation_path(row.path), times.get(os.fsencode(row.path)))
    ]


def _is_due(overlay: Path, predicted_at: str | None) -> bool:
    if predicted_at is None:
        return False
    try:
        return overlay.stat().st_mtime < datetime.fromisoformat(predicted_at).timestamp()
    except OSError:
        return True


def explain_photos(
    survey: Survey,
    rows: Sequence[PhotoRow],
    model: BuiltModel,
    class_names: tuple[str, ...],
    prepare: Callable[[torch.Tensor], torch.Tensor],
    *,
    progress: Callable[[int], None] = lambda count: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Write an overlay for each photo, one after the other; returns a line for each that can't be opened any more.

    Args:
        model: In eval mode, with the preprocessing that the survey's predictions were made with.
        prepare: Brings images `(B, 3, S, S)` to the network's device.
        is_stopped: Asked before each photo.

    Raises:
        DataError: An overlay can't be written.
        UsageError: The network has no maps to show.
    """
    problems = []
    with quiet_pillow():
        for row in rows:
            if is_stopped():
                break
            try:
                picture = read_photo(
                    read(row.file), row.file.name, shorter_side=max(needed_side(model.preprocessing), LONGEST_SIDE // 2)
                )
            except DecodeError as error:
                problems.append(f"{row.path}: {error.reason}")
            else:
                label = class_names.index(row.class_name or "")
                values = class_map(picture.image, model, class_names, label, prepare)
                image = overlay(picture.image, values, model.preprocessing)
                _write(image, survey.explanation_path(row.path))
            progress(1)
    return problems


def class_map(
    image: Image.Image,
    model: BuiltModel,
    class_names: tuple[str, ...],
    label: int,
    prepare: Callable[[torch.Tensor], torch.Tensor],
) -> NDArray[np.float32]:
    """How much each place of the last maps speaks for a class, `(h, w)`, 0 to 1; all 0 where none does."""
    pixels = np.array(fit(image, model.preprocessing))[None]
    request = VisualizerInput(
        model=model,
        class_names=class_names,
        images=prepare(normalize(pixels, model.preprocessing)),
        pixels=pixels,
        image_ids=("photo",),
        labels=(label,),
        layers={},
    )
    target = choose_target(request, class_names[label])
    activation, gradient = activation_and_gradient(request, target_layer(request), target)
    values = (gradient.relu() * activation).sum(1).relu()[0].float().cpu().numpy()
    top = float(values.max())
    return (values / top if top > 0 else values).astype(np.float32)


def overlay(image: Image.Image, values: NDArray[np.float32], preprocessing: Preprocessing) -> Image.Image:
    """A photo with a map `(h, w)` laid over the part of it that the network saw."""
    from matplotlib import colormaps

    scale = min(LONGEST_SIDE / max(image.size), max(1.0, LONGEST_SIDE / 2 / max(image.size)))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    photo = np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    left, top, right, bottom = preprocessing.input_box(*size)
    # The square that the network saw may reach beyond the photo, or leave some of it out.
    seen = Image.fromarray(values).resize(
        (max(1, round(right - left)), max(1, round(bottom - top))), Image.Resampling.BICUBIC
    )
    canvas = Image.new("F", size, 0.0)
    canvas.paste(seen, (round(left), round(top)))
    strength = np.clip(np.asarray(canvas), 0, 1)
    colours = colormaps["inferno"](strength)[:, :, :3].astype(np.float32) * 255
    share = (STRENGTH * strength)[:, :, None]
    return Image.fromarray(np.round(photo * (1 - share) + colours * share).astype(np.uint8))


def _write(image: Image.Image, path: Path) -> None:
    draft = path.with_suffix(".draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(draft, "JPEG", quality=85)
        os.replace(draft, path)
    except OSError as error:
        raise DataError(f"{path}: can't be written ({error.strerror}); what is done is kept") from error

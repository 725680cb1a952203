"""What the network looks like inside: an activation map of each class, class images, the selectivity of units."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from pydantic import Field

from ahekit import protocols
from ahekit.data.classes import display_name
from ahekit.errors import AhekitError
from ahekit.evaluation.predictions import softmax
from ahekit.evaluation.record import Look, MissingRecord, RunRecord
from ahekit.figures.thumbnails import Thumbnail, pictures, small, true_and_predicted
from ahekit.sections import Section
from ahekit.wording import counted

from .kept import Part, class_images, unit_selectivity

_GAP = 4  # pixels between a picture and its map
_OVERLAY = 0.55  # weight of the map's colours over the gray picture
_COLOURS = "viridis"
_OF_TRUE_CLASS = {"target": "true"}


class Inside:
    """A class activation map for each class, and the class images and units that `ahekit viz` left in the run."""

    order = 70
    looks = (("gradcam", _OF_TRUE_CLASS),)
    """What the defaults ask of the network: looked at when training ends, so that a report needn't load it."""

    class Params(protocols.Params):
        """Parameters of `Inside`."""

        method: Literal["gradcam", "gradcam++", "layercam"] = Field(
            "gradcam", description="visualizer that maps one test image of each class"
        )
        images: int = Field(40, ge=1, le=400, description="class images shown at most")

    def report(self, record: RunRecord, params: Params) -> Section:
        """Look into the network, and at what was kept of earlier looks."""
        parts = {
            "activation_maps": _activation_maps(record, params.method),
            "class_images": class_images(record.path, params.images),
            "units": unit_selectivity(record.path),
        }
        if not any(part.figures or part.tables for part in parts.values()):
            reason = parts["activation_maps"].reading.removesuffix(".")
            raise MissingRecord(f"{reason}; nor were class images made or units measured")
        return Section(
            title="What it looks like inside",
            reading=" ".join(part.reading for part in parts.values()),
            tables=tuple(table for part in parts.values() for table in part.tables),
            figures=tuple(figure for part in parts.values() for figure in part.figures),
            values={name: dict(part.values) for name, part in parts.items()},
        )


def _activation_maps(record: RunRecord, method: str) -> Part:
    if record.look is None:
        return Part("No class activation maps: the network can't be looked into from here.")
    try:
        view = record.look(method, _OF_TRUE_CLASS)
    except AhekitError as error:
        return Part(f"No class activation maps: {error}.")
    names = [display_name(name) for name in record.manifest.class_names]
    arrays = view.arrays
    what = view.title.partition(":")[0]
    labels = arrays["labels"]
    probabilities = softmax(arrays["logits"].astype(np.float64))
    predicted = probabilities.argmax(axis=1)
    correct = int((predicted == labels).sum())
    tiles = [
        Thumbnail(str(name), true_and_predicted(names[label], names[guess], probability[guess]))
        for name, label, guess, probability in zip(arrays["image_ids"], labels, predicted, probabilities, strict=True)
    ]
    figure = pictures(
        tiles,
        [beside(picture, map) for picture, map in zip(arrays["pixels"], arrays["enlarged"], strict=True)],
        name="maps",
        title=f"{what}, a test image of each class",
        caption="Left the image, right where the layer speaks for its true class: most where it is yellow. "
        " Each map has a scale of its own. The images are drawn by lot, not chosen.",
        columns=5,
    )
    shares = [half_share(map) for map in arrays["enlarged"]]
    values = {
        "method": what,
        "ids": [item.id for item in tiles],
        "predicted": [record.manifest.class_names[guess] for guess in predicted],
        "half_share": shares,
        "notes": list(view.notes),
    }
    return Part(_reading(view, correct, shares, what), (figure,), (), values)


def _reading(view: Look, correct: int, shares: list[float | None], what: str) -> str:
    measured = [share for share in shares if share is not None]
    sentences = [
        f"{correct} of {counted(len(shares), 'example image')}, one of each class drawn by lot, are predicted "
        "correctly."
    ]
    if measured:
        sentences.append(
            f"Half of the weight of a map ({what}) lies on {np.mean(measured):.0%} of the image on average; 50% would "
            "be a map that looks nowhere in particular."
        )
    notes = [f"{note[0].upper()}{note[1:]}." for note in view.notes]
    return " ".join([*sentences, *notes])


def beside(picture: NDArray[np.uint8], map: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A picture `(H, W, 3)` and, to its right, a map `(H, W)` in colours over the gray picture: `(h, 2w + gap, 4)`."""
    picture = small(picture)
    low = float(map.min())
    span = float(map.max()) - low or 1.0  # a map of one value has no scale; it becomes its lowest colour
    scaled = np.clip((map - low) / span * 255, 0, 255).astype(np.uint8)
    colours = colormaps[_COLOURS](small(scaled))[..., :3] * 255
    gray = picture.mean(axis=2, keepdims=True)
    overlay = np.rint(_OVERLAY * colours + (1 - _OVERLAY) * gray)
    gap = np.zeros((len(picture), _GAP, 4), dtype=np.uint8)
    return np.hstack([_opaque(picture), gap, _opaque(overlay)])


def half_share(map: NDArray[np.float32]) -> float | None:
    """Least share of an image's places `(H, W)` on which half of a map's sum lies; None for a map of zeros."""
    falling = np.sort(map.ravel().astype(np.float64))[::-1]
    if falling.sum() <= 0:
        return None
    return float(np.searchsorted(falling.cumsum(), falling.sum() / 2) + 1) / falling.size


def _opaque(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.dstack([values, np.full(values.shape[:2], 255)]).astype(np.uint8)

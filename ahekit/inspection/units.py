"""What every unit (channel) of a network's layers does over many images, in memory that doesn't grow with them.

    layers = find_unit_layers(module, {"conv4": "block4.conv"}, image)
    measured = measure_units(module, layers, batches, labels, num_classes=10, size=64)
    measured["conv4"].selectivity, measured["conv4"].dead

**Activity.** A unit's activity at a place is the positive part of its output there, `max(0, output)`, taken behind the
normalization that gets the layer's very output where there is one: what the rectifier behind lets through, and what
the next layer is given. With ReLU that is exact. With other nonlinearities it is a convention (of SiLU or GELU little
passes below zero), and so it is for a layer that is added to a shortcut before it is rectified: its activity is what it
adds. A unit is active on an image when its activity is above 0 at one place at least, and dead when it is active on
none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ahekit.data.random import generator
from ahekit.errors import RunError, UsageError
from ahekit.hooks import observing
from ahekit.inspection.receptive_field import Axis, ReceptiveFields
from ahekit.inspection.selectivity import class_selectivity, majority

NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class UnitLayer:
    """Where a layer's activity is found.

    Attributes:
        path: Of the module whose output's positive part is the activity: the layer, or the normalization behind it.
        units: Their number.
        axes: Receptive fields of the output's places, down and across; None: every pixel, or it can't be told.
    """

    path: str
    units: int
    axes: tuple[Axis, Axis] | None

    @property
    def field(self) -> tuple[int, int] | None:
        """Height and width in pixels of a place's receptive field, not cut at the border; None as for `axes`."""
        return None if self.axes is None else (self.axes[0].length, self.axes[1].length)

    def box(self, place: int, width: int, size: int) -> tuple[int, int, int, int]:
        """The pixels behind a place of the map: top, bottom, left, right, the second and fourth one past the last.

        Args:
            place: Counted row by row.
            width: Of the map.
            size: Side of the image; the box is cut at its border.
        """
        if self.axes is None:
            return 0, size, 0, size
        down, across = self.axes
        return *down.pixels(place // width, size), *across.pixels(place % width, size)


@dataclass(frozen=True)
class UnitsMeasured:
    """A layer's units over a set of images; U units, C classes, k strongest images, R permutations of the labels.

    Attributes:
        class_means: Activity averaged over places and over a class's images, `(U, C)`; NaN for a class without images.
        selectivity: Index by `class_selectivity`, `(U,)`; NaN for a dead unit.
        best_class: The class it is for, `(U,)`; -1 for a dead unit.
        top_images: Numbers of the images with the largest activity at a place, the strongest first, `(U, k)`; the
            earlier image of two that are level; -1 where a unit was active on fewer.
        top_values: That activity, `(U, k)`; 0 where there is no image.
        top_boxes: The pixels behind the place, as in `UnitLayer.box`, `(U, k, 4)`.
        majority_class: The class that most of those images are of, `(U,)`; -1 for a dead unit.
        majority_share: Its share of k, `(U,)`.
        permuted_selectivity: The same index under permuted labels, `(R, U)`.
        permuted_share: The same of the share, `(R, U)`.
    """

    class_means: NDArray[np.float64]
    selectivity: NDArray[np.float64]
    best_class: NDArray[np.int64]
    top_images: NDArray[np.int64]
    top_values: NDArray[np.float64]
    top_boxes: NDArray[np.int64]
    majority_class: NDArray[np.int64]
    majority_share: NDArray[np.float64]
    permuted_selectivity: NDArray[np.float64]
    permuted_share: NDArray[np.float64]

    @property
    def dead(self) -> NDArray[np.bool_]:
        """Units that were active on no image, `(U,)`."""
        never: NDArray[np.bool_] = self.top_images[:, 0] < 0
        return never


def find_unit_layers(module: nn.Module, layers: Mapping[str, str], image: Tensor) -> dict[str, UnitLayer]:
    """Where to find the activity of layers, by one forward pass.

    Args:
        module: In eval mode.
        layers: Dotted module path by name.
        image: `(1, 3, S, S)`.

    Raises:
        UsageError: A layer takes no part, or returns neither maps `(B, C, H, W)` nor a vector `(B, C)`.
    """
    fields = ReceptiveFields(image)
    unit_layers: dict[str, UnitLayer] = {}
    outputs: dict[str, tuple[Tensor, int]] = {}

    def observe(path: str, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        argument = inputs[0] if inputs else None
        if isinstance(layer, NORMALIZATIONS):
            for name, (tensor, version) in outputs.items():
                # The very output, not one that something has been added to in place.
                if argument is tensor and tensor._version == version:
                    unit_layers[name] = _unit_layer(name, path, output, fields)
        for name, layer_path in layers.items():
            if layer_path == path:
                unit_layers[name] = _unit_layer(name, path, output, fields)
                outputs[name] = output, output._version

    modules = {path: layer for path, layer in module.named_modules(remove_duplicate=False) if path}
    with torch.no_grad(), observing(modules, observe), fields:
        module(image)
    for name in layers:
        if name not in unit_layers:
            raise UsageError(f"layer {name} took no part in the forward pass; choose another")
    return {name: unit_layers[name] for name in layers}


def measure_units(
    module: nn.Module,
    layers: Mapping[str, UnitLayer],
    batches: Iterable[tuple[slice, Tensor]],
    labels: NDArray[Any],
    *,
    num_classes: int,
    size: int,
    top: int = 9,
    permutations: int = 40,
    seed: int = 0,
) -> dict[str, UnitsMeasured]:
    """Go once over images and measure every unit of the layers; nothing is left on the module.

    Running sums by class and the strongest images of each unit are all that is kept. With permuted labels the same sums
    give what selectivity there would be by chance. Sums are of float64, and images that are
    level keep their order, so that the size of the batches changes nothing beyond what the forward pass itself rounds.

    Args:
        module: In eval mode.
        batches: Numbers of the images (from 0, in order), and the images, normalized, `(B, 3, S, S)`.
        labels: `(N,)` class indices.
        size: S, to cut receptive fields at the image's border.
        top: Strongest images kept of each unit.
        permutations: R, of the labels.

    Raises:
        ValueError: There is no image.
        RunError: An output is not finite.
    """
    if not len(labels):
        raise ValueError("no image to measure units on")
    labelings = permute_labels(labels, permutations, seed=seed)
    sums: dict[str, _Sums] = {}
    with torch.no_grad(), _watching(module, layers) as activities:
        for numbers, images in batches:
            module(images)
            groups = _groups(labelings[:, numbers], num_classes)
            for name, activity in activities.items():
                sums.setdefault(name, _Sums(activity, len(groups), top)).add(activity, groups, numbers.start)
    counts = np.bincount(labels, minlength=num_classes)
    return {name: _measured(sums[name], layers[name], labelings, counts, size) for name in layers}


def permute_labels(labels: NDArray[Any], permutations: int, *, seed: int) -> NDArray[np.int16]:
    """The labels, and below them so many random permutations of them, `(1 + R, N)`."""
    random = generator("units", seed)
    return np.stack([labels, *(random.permutation(labels) for _ in range(permutations))]).astype(np.int16)


@dataclass(frozen=True)
class _Activity:
    """A layer's activity on one batch: averaged over places, its largest, and where that is; `(B, U)` each."""

    means: Tensor
    peaks: Tensor
    places: Tensor
    width: int


@contextmanager
def _watching(module: nn.Module, layers: Mapping[str, UnitLayer]) -> Iterator[dict[str, _Activity]]:
    """Each layer's activity in the last forward pass made inside, reduced while the pass is under way."""
    activities: dict[str, _Activity] = {}

    def observe(name: str, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        maps = output[:, :, None, None] if output.ndim == 2 else output
        # A copy at that: what follows may work in place.
        active = maps.detach().clamp(min=0).flatten(2)
        peaks, places = active.max(2)
        if not peaks.isfinite().all():
            raise RunError(f"layer {name} returns numbers that are not finite; choose another checkpoint")
        # Doubles, for sums over many batches that don't depend on how the images are batched.
        activities[name] = _Activity(active.mean(2).cpu().double(), peaks.cpu().double(), places.cpu(), maps.shape[3])

    with observing({name: module.get_submodule(layer.path) for name, layer in layers.items()}, observe):
        yield activities


class _Sums:
    """Running sums of one layer: activity by (labeling, class), and each unit's strongest images."""

    def __init__(self, activity: _Activity, groups: int, top: int) -> None:
        units = activity.means.shape[1]
        self.width = activity.width
        self.sums = torch.zeros(groups, units, dtype=torch.float64)
        self.values = torch.zeros(units, top, dtype=torch.float64)
        self.images = torch.full((units, top), -1)
        self.places = torch.zeros(units, top, dtype=torch.int64)

    def add(self, activity: _Activity, groups: Tensor, first: int) -> None:
        # One product for all labelings at once: a loop over 41 of them would take longer than the network.
        self.sums += groups @ activity.means
        numbers = torch.arange(first, first + len(activity.peaks)).expand(len(self.values), -1)
        # Empty places stand before the new images and are worth 0, so an inactive image never takes one; a stable
        # sort keeps images that are level in order.
        order = torch.cat([self.values, activity.peaks.T], 1).sort(dim=1, descending=True, stable=True)
        kept = order.indices[:, : self.values.shape[1]]
        self.values = order.values[:, : self.values.shape[1]].contiguous()
        self.images = torch.cat([self.images, numbers], 1).gather(1, kept)
        self.places = torch.cat([self.places, activity.places.T], 1).gather(1, kept)


def _groups(labelings: NDArray[np.int16], num_classes: int) -> Tensor:
    """For each labeling and class a row that is 1 for the batch's images of it, `((1 + R) C, B)`.

    One product of it with the activities gives the sums of all classes under all labelings.
    """
    rows: Tensor = torch.nn.functional.one_hot(torch.from_numpy(labelings).long(), num_classes).double()
    return rows.transpose(1, 2).flatten(0, 1)


def _measured(
    sums: _Sums, layer: UnitLayer, labelings: NDArray[np.int16], counts: NDArray[Any], size: int
) -> UnitsMeasured:
    # From a row for each (labeling, class) to (labeling, unit, class).
    totals = sums.sums.numpy().reshape(len(labelings), len(counts), -1).transpose(0, 2, 1)
    means = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
    selectivity, best = class_selectivity(means)
    images = sums.images.numpy()
    majorities, shares = majority(np.where(images < 0, -1, labelings[:, images]), len(counts))
    boxes = [[layer.box(place, sums.width, size) for place in row] for row in sums.places.tolist()]
    return UnitsMeasured(
        class_means=means[0],
        selectivity=selectivity[0],
        best_class=best[0],
        top_images=images,
        top_values=sums.values.numpy(),
        top_boxes=np.array(boxes, dtype=np.int64).reshape(*images.shape, 4),
        majority_class=majorities[0],
        majority_share=shares[0],
        permuted_selectivity=selectivity[1:],
        permuted_share=shares[1:],
    )


def _unit_layer(name: str, path: str, output: Any, fields: ReceptiveFields) -> UnitLayer:
    if not isinstance(output, Tensor) or output.ndim not in (2, 4):
        what = f"{output.ndim} dimensions" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise UsageError(f"layer {name} returns {what}, neither maps (B, C, H, W) nor a vector (B, C); choose another")
    return UnitLayer(path, output.shape[1], fields.axes(output) if output.ndim == 4 else None)

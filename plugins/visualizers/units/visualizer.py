"""Units: what excites each of them, how much they prefer one class, and what the network loses without them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from ahekit.data.augment import normalize
from ahekit.errors import UsageError
from ahekit.evaluation.metrics import class_scores
from ahekit.hooks import capture
from ahekit.inspection.ablation import Silenced, silenced_counts
from ahekit.inspection.layers import convolutions
from ahekit.inspection.selectivity import own_selectivity, quantile_95
from ahekit.inspection.splits import Split, normalized_batches, open_images
from ahekit.inspection.synthesis import ForwardPass, Objective, objectives, synthesize
from ahekit.inspection.synthesis.parameterizations import fourier
from ahekit.inspection.synthesis.transforms import normalized, random_affine
from ahekit.inspection.units import UnitLayer, UnitsMeasured, find_unit_layers, measure_units
from ahekit.protocols import Params, SplitImages, VisualizerInput
from ahekit.sections import Visualization

from .figures import BestUnit, depth_figure, sheet_figure, synthesis_note
from .summary import LayerSummary, table, verdict

# Of synthesized images: the learning rate, and weights as of class-image.
LR = 5e-2
TV = 4.0
L2 = 2.0


class UnitsParams(Params):
    """What can be set."""

    split: Split = Field("test", description="images to measure on: test, val or train")
    top: int = Field(9, ge=1, le=100, description="strongest images of each unit whose classes are counted")
    permutations: int = Field(40, ge=20, description="times the labels are permuted at random, for the baseline")
    show_units: int = Field(
        1, ge=1, le=10, description="units of each class that are drawn and silenced, the best ones"
    )
    silence: Literal["zero", "mean"] = Field("zero", description="what a silenced unit is held at: 0, or its mean")
    steps: int = Field(128, ge=0, description="steps of Adam for each unit's synthesized image; 0: none is made")
    batch_size: int = Field(64, ge=1, description="images that go through the network at a time")


class Units:
    """Every unit over a split: its strongest images and patches, class selectivity, and the loss without it.

    Measured for every channel of every convolution, or of the layers named. *Activity* is the positive part of a
    unit's output behind the layer's normalization (see `ahekit.inspection.units`: what ReLU passes on); a unit
    is *dead* when it is at most 0 at every place of every image. *Selectivity* is the index of
    https://arxiv.org/abs/1803.06959 on activity averaged over places (see `ahekit.inspection.selectivity`). The
    strongest images are those with the largest activity at one place, a *patch* is that place's receptive field. Both
    measures are set against the same ones with permuted labels. A class's *best unit* has the largest share
    of it among its strongest images, and of several such the largest index for the class. It is silenced by holding
    its activity at 0 (or its mean), and its image is synthesized to raise its mean output, as by class-image. Units are
    chosen and silenced on the same images, and those of one network are not independent draws: read the p-value as a
    guide.
    """

    Params = UnitsParams
    needs_images = False

    def visualize(self, request: VisualizerInput, params: UnitsParams) -> Visualization:
        """Measure, silence, synthesize and draw.

        Returns:
            Arrays by layer, each named `<layer>.<name>` for U units, C classes, the k strongest images: `selectivity`
            `(U,)` (NaN: dead), `best_class` `(U,)` (-1: dead), `majority_class` and `majority_share` `(U,)`, `dead`
            `(U,)` bool, `class_means` `(U, C)`, `top_images` `(U, k)` (numbers within `image_ids`, -1: none),
            `top_values` `(U, k)`, `top_boxes` `(U, k, 4)` (top, bottom, left, right in pixels), and the baseline's
            mean and 95 % quantile for each unit: `selectivity_permuted`, `selectivity_permuted_95`, `share_permuted`,
            `share_permuted_95` `(U,)`. Of the best units, in the order drawn: `best_class`, `best_unit` and
            `best_layer` (a name), `best_f1` and `best_f1_silenced` of its class, `best_others_drop` (the mean fall in
            F1 of the other classes), and where images were asked for `best_synthesized` `(B, S, S, 3)` uint8 and
            `best_excitation`, the mean activity for them in units of that for the class's images. Of the whole:
            `layers` (names in order), `split`, `image_ids` and `labels` `(N,)`.

        Raises:
            UsageError: There is no dataset, the split has images of fewer than two classes, or a layer has no units.
            RunError: The dataset isn't where it was, or the network's outputs aren't finite.
        """
        images = open_images(request, params.split, least=2)
        if len(np.unique(images.labels)) < 2:
            raise UsageError(f"all images of the {params.split} split are of one class; selectivity needs two")
        # The images go through the network twice: to be measured, and with units silenced.
        total = 2 * math.ceil(len(images) / params.batch_size) + params.steps
        numbers = iter(range(1, total + 1))

        def tick() -> None:
            request.progress(next(numbers), total)

        layers, measures = _measure(request, params, images, tick)
        best = best_units(measures, layers, len(request.class_names), params.show_units)
        best = _silence(request, params, images, best, measures, tick)
        if params.steps and best:
            pictures = _synthesize(request, best, params.steps, tick)
            excitations = _excitations(request, best, measures, pictures)
            by_gray = _excitations(request, best, measures, np.full_like(pictures, 128))
            best = [
                replace(unit, synthesized=picture, excitation=excitation, by_gray=gray)
                for unit, picture, excitation, gray in zip(best, pictures, excitations, by_gray, strict=True)
            ]
        rows = [LayerSummary.of(name, measures[name], layers[name].field) for name in layers]
        where = f"{params.split} split, {len(images):,d} images"
        top = min(params.top, len(images))
        return Visualization(
            _arrays(images, measures, best),
            (depth_figure(rows, where, top), sheet_figure(request, images, measures, best, where)),
            (*verdict(rows, request.class_names, top), *synthesis_note(best)),
            (table(rows, where, top),),
        )


def best_units(
    measures: Mapping[str, UnitsMeasured], layers: Mapping[str, UnitLayer], num_classes: int, per_class: int = 1
) -> list[BestUnit]:
    """The best units of each class over all layers, class by class; a class that no unit prefers has none.

    A unit stands for the class that most of its strongest images are of. The larger its share the better, then the
    larger the selectivity index for that class.
    """
    best: list[BestUnit] = []
    for class_index in range(num_classes):
        candidates = []
        for name, units in measures.items():
            numbers = np.flatnonzero(units.majority_class == class_index)
            indices = own_selectivity(units.class_means[numbers], np.full(len(numbers), class_index))
            for number, index in zip(numbers.tolist(), indices.tolist(), strict=True):
                share = float(units.majority_share[number])
                candidates.append(BestUnit(class_index, name, layers[name].path, number, share, index))
        best += sorted(candidates, key=lambda unit: (unit.share, unit.selectivity), reverse=True)[:per_class]
    return best


def _measure(
    request: VisualizerInput, params: UnitsParams, images: SplitImages, tick: Callable[[], None]
) -> tuple[dict[str, UnitLayer], dict[str, UnitsMeasured]]:
    size = request.model.preprocessing.size
    module = request.model.module
    blank = torch.zeros(1, 3, size, size, device=request.images.device)
    layers = find_unit_layers(module, request.layers or convolutions(request.model), blank)
    measures = measure_units(
        module,
        layers,
        normalized_batches(request, images, params.batch_size, tick=tick),
        images.labels,
        num_classes=len(request.class_names),
        size=size,
        top=min(params.top, len(images)),
        permutations=params.permutations,
        seed=request.seed,
    )
    return layers, measures


def _silence(
    request: VisualizerInput,
    params: UnitsParams,
    images: SplitImages,
    best: Sequence[BestUnit],
    measures: Mapping[str, UnitsMeasured],
    tick: Callable[[], None],
) -> list[BestUnit]:
    """The units with the F1 of every class with and without each."""
    counts = np.bincount(images.labels, minlength=len(request.class_names))
    silenced = []
    for unit in best:
        # Over all images: the classes' means, each as often as the class has images; none counts where it has none.
        mean = np.average(np.nan_to_num(measures[unit.layer].class_means[unit.number]), weights=counts)
        silenced.append(Silenced(unit.path, unit.number, float(mean) if params.silence == "mean" else 0.0))
    batches = normalized_batches(request, images, params.batch_size, tick=tick)
    whole, each = silenced_counts(request.model, silenced, batches, images.labels, num_classes=len(request.class_names))
    f1 = class_scores(whole)[2]
    f1_silenced = class_scores(each)[2]
    return [replace(unit, f1=f1, f1_silenced=row) for unit, row in zip(best, f1_silenced, strict=True)]


def _synthesize(
    request: VisualizerInput, best: Sequence[BestUnit], steps: int, tick: Callable[[], None]
) -> NDArray[np.uint8]:
    """An image for each unit, `(B, S, S, 3)`, all made side by side."""
    preprocessing = request.model.preprocessing
    seeds = [request.seed * len(best) + number for number in range(len(best))]
    start, render = fourier(seeds, preprocessing.size)
    objective = (
        one_each([objectives.unit_before_activation(request.model.module, unit.path, unit.number) for unit in best])
        - TV * objectives.total_variation()
        - L2 * objectives.distance_from_gray()
    )
    parameters = synthesize(
        request.model.module,
        start.to(request.images.device),
        render,
        objective,
        steps=steps,
        lr=LR,
        transforms=[random_affine(), normalized(preprocessing)],
        random=torch.Generator().manual_seed(request.seed),
        progress=lambda done, total: tick(),
    )
    return (render(parameters) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _excitations(
    request: VisualizerInput,
    best: Sequence[BestUnit],
    measures: Mapping[str, UnitsMeasured],
    pictures: NDArray[np.uint8],
) -> list[float]:
    """How active each unit is for its picture, as it is written, in units of its mean for its class's images."""
    module = request.model.module
    inputs = normalize(pictures, request.model.preprocessing).to(request.images.device)
    with torch.no_grad(), capture(module, {unit.path: unit.path for unit in best}) as outputs:
        module(inputs)
    excitations = []
    for place, unit in enumerate(best):
        activity = float(outputs[unit.path].activation[place, unit.number].clamp(min=0).mean())
        excitations.append(activity / float(measures[unit.layer].class_means[unit.number, unit.class_index]))
    return excitations


def one_each(parts: Sequence[Objective]) -> Objective:
    """The first image by the first objective, the second by the second, and so on."""

    def value(forward: ForwardPass) -> Tensor:
        return torch.stack([part.value(forward)[place] for place, part in enumerate(parts)])

    inputs = tuple(path for part in parts for path in part.inputs)
    return Objective(value, inputs, tuple(path for part in parts for path in part.outputs))


def _arrays(
    images: SplitImages, measures: Mapping[str, UnitsMeasured], best: Sequence[BestUnit]
) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "layers": np.array(list(measures)),
        "split": np.array(images.name),
        "image_ids": np.array(images.ids),
        "labels": images.labels,
        "best_class": np.array([unit.class_index for unit in best], dtype=np.int64),
        "best_layer": np.array([unit.layer for unit in best], dtype=str),
        "best_unit": np.array([unit.number for unit in best], dtype=np.int64),
        "best_f1": np.array([unit.own_f1[0] for unit in best]),
        "best_f1_silenced": np.array([unit.own_f1[1] for unit in best]),
        "best_others_drop": np.array([unit.others_drop for unit in best]),
    }
    if best and best[0].synthesized is not None:
        arrays["best_excitation"] = np.array([unit.excitation for unit in best], dtype=np.float64)
        arrays["best_synthesized"] = np.stack([unit.synthesized for unit in best if unit.synthesized is not None])
    for name, units in measures.items():
        of_layer = {
            "selectivity": units.selectivity,
            "best_class": units.best_class,
            "majority_class": units.majority_class,
            "majority_share": units.majority_share,
            "dead": units.dead,
            "class_means": units.class_means,
            "top_images": units.top_images,
            "top_values": units.top_values,
            "top_boxes": units.top_boxes,
            "selectivity_permuted": units.permuted_selectivity.mean(axis=0),
            "selectivity_permuted_95": quantile_95(units.permuted_selectivity),
            "share_permuted": units.permuted_share.mean(axis=0),
            "share_permuted_95": quantile_95(units.permuted_share),
        }
        arrays |= {f"{name}.{key}": array for key, array in of_layer.items()}
    return arrays

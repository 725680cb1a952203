"""What is measured: every training in pieces beside that in one piece, over seeds."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ahekit.protocols import LessonInput
from ahekit.training.memory import Memory, training_memory
from ahekit.training.setup import Setup

from .measuring import (
    Mistake,
    Trained,
    cut,
    distance,
    first_window,
    fresh,
    gradient_in_double,
    has_batch_norm,
    in_pieces,
    losses,
    made_comparable,
    mistakes,
    running_statistics,
    train,
    weights,
)

SIZES = (28, 16)
"""Pixels a side of an image on the page: of a window of up to `FEW` images, and of a longer one."""

FEW = 64

DOUBLE = 64
"""Images of a window that gradients in double precision are made of: more take gigabytes and show no more."""

TILES_PER_ROW = 16

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        window: Images of an optimizer step.
        counts: Micro-batches, from 1 up.
        steps: Optimizer steps.
        seeds: Of weights and order.
    """

    window: int
    counts: tuple[int, ...]
    steps: int
    seeds: tuple[int, ...]

    @property
    def exact_images(self) -> int:
        """The window's first images that are looked at in double precision: `DOUBLE`, or what all counts divide."""
        step = math.lcm(*self.counts)
        return step * max(1, min(self.window, DOUBLE) // step)


@dataclass(frozen=True)
class Distances:
    """Of trainings in pieces to that in one piece, by seed.

    Attributes:
        gradient: Of the first window, as a share of its length.
        weights: As a share of the way that they went.
        statistics: BatchNorm's running ones, likewise; zeros without.
        seconds: For an optimizer step.
    """

    gradient: tuple[float, ...]
    weights: tuple[float, ...]
    statistics: tuple[float, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Measured:
    """All that was measured, by number of micro-batches.

    Attributes:
        memory: Of a training; empty where the system doesn't tell.
        double: Distance of the first window's gradient in double precision, BatchNorm by stored statistics.
        stored: Trainings with BatchNorm by stored statistics.
        batch: With BatchNorm by each micro-batch's own; empty for a network without it.
        losses: Of the first window's images.
        tiles: Those images, small, in one picture.
    """

    memory: Mapping[int, Memory]
    double: Mapping[int, float]
    stored: Mapping[int, Distances]
    batch: Mapping[int, Distances]
    mistakes: tuple[Mistake, ...]
    losses: tuple[float, ...]
    tiles: bytes

    @classmethod
    def of(cls, plan: Plan, setup: Setup, request: LessonInput) -> Measured:
        """Measure."""
        kinds = (False, True) if has_batch_norm(setup.built.module) else (False,)
        total = len(plan.counts) * (2 + len(kinds) * len(plan.seeds)) + 1
        advance = _counter(request.progress, total)
        memory = dict(zip(plan.counts, _memories(setup, plan.counts, advance), strict=True))
        whole, places = first_window(setup)
        module = made_comparable(setup.built.module, batch_norm=False).to(setup.compute.device).double()
        exact = plan.exact_images
        weight = float(whole.weights[:exact].double().sum())
        pieces = {count: in_pieces(whole, (exact // count,) * count) for count in plan.counts}
        reference = gradient_in_double(module, pieces[1], [weight])
        double = {
            count: _advanced(advance, distance(gradient_in_double(module, pieces[count], [weight] * count), reference))
            for count in plan.counts
        }
        wrong = _advanced(advance, mistakes(setup, module, whole))
        values = tuple(losses(module, whole))
        del module, reference
        trained = {kind: _trainings(plan, setup, advance, batch_norm=kind) for kind in kinds}
        return cls(
            memory={count: known for count, known in memory.items() if known is not None},
            double=double,
            stored=trained[False],
            batch=trained.get(True, {}),
            mistakes=wrong,
            losses=values,
            tiles=_tiles(np.asarray(setup.dataset.images[places])),
        )

    @property
    def usual(self) -> Mapping[int, Distances]:
        """As networks are trained: with BatchNorm by micro-batch where there is any."""
        return self.batch or self.stored


def _counter(progress: Callable[[int, int], None], total: int) -> Callable[[], None]:
    numbers = iter(range(1, total + 1))
    return lambda: progress(next(numbers), total)


def _advanced(advance: Callable[[], None], value: T) -> T:
    advance()
    return value


def _memories(setup: Setup, counts: Sequence[int], advance: Callable[[], None]) -> Iterator[Memory | None]:
    """Of a training each, in a process of its own; on the processor as many at a time as torch has threads."""
    classes = len(setup.dataset.class_names)
    at_a_time = torch.get_num_threads() if setup.compute.device.type == "cpu" else 1
    with ThreadPoolExecutor(at_a_time) as pool:
        for memory in pool.map(lambda count: training_memory(cut(setup, count).spec, num_classes=classes), counts):
            yield _advanced(advance, memory)


def _trainings(plan: Plan, setup: Setup, advance: Callable[[], None], *, batch_norm: bool) -> dict[int, Distances]:
    """Each seed's trainings in pieces beside that in one piece."""
    rows: dict[int, list[tuple[float, float, float, float]]] = {count: [] for count in plan.counts}
    for seed in plan.seeds:
        own = fresh(setup, seed)
        start = weights(own.built.module)
        first = running_statistics(own.built.module)
        reference: Trained | None = None
        for count in plan.counts:
            module = made_comparable(own.built.module, batch_norm=batch_norm)
            trained = train(cut(own, count), module, plan.steps)
            reference = reference or trained
            rows[count].append(
                (
                    distance(trained.gradient, reference.gradient),
                    distance(trained.weights, reference.weights, start=start),
                    distance(trained.statistics, reference.statistics, start=first),
                    trained.seconds,
                )
            )
            advance()
    return {count: Distances(*zip(*values, strict=True)) for count, values in rows.items()}


def tile_size(images: int) -> int:
    """Pixels a side of each of so many images on the page."""
    return SIZES[images > FEW]


def _tiles(pixels: NDArray[np.uint8]) -> bytes:
    """Images `(N, S, S, 3)` as one JPEG, `TILES_PER_ROW` in a row."""
    rows = -(-len(pixels) // TILES_PER_ROW)
    side = tile_size(len(pixels))
    sheet = Image.new("RGB", (TILES_PER_ROW * side, rows * side))
    for number, image in enumerate(pixels):
        small = Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(small, (number % TILES_PER_ROW * side, number // TILES_PER_ROW * side))
    content = io.BytesIO()
    sheet.save(content, "jpeg", quality=85)
    return content.getvalue()

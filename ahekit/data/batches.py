"""An epoch as accumulation windows of micro-batches: order, mixing, augmentation, targets and weights.

A window is planned whole (samples, partners, targets, weights) before any pixel is touched, because the divisor of
its gradient, the sum of its samples' weights, has to be known at its first micro-batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaincinv
from torch import Tensor

from ahekit.data.augment import PROCESSOR, rectangles, sent
from ahekit.data.random import generator, sample_keys, uniforms
from ahekit.data.views import Draw, PixelViews
from ahekit.errors import UsageError
from ahekit.preprocessing import Preprocessing
from ahekit.spec import MixSpec, RunSpec

Indices = NDArray[np.int64]

VIEWS_KEPT = 1024
"""Images of the longest window whose views are all in memory at once."""

CACHED_IMAGES = 64
"""Images augmented together on the processor: few enough for its cache, many enough for its cores."""


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass gets.

    Attributes:
        images: `(B, 3, H, W)` float32, normalized, of the size that the epoch trains at, where they were drawn; outputs
            of the frozen stages where these are computed once. All else lies on the processor.
        targets: `(B, C)` float32, rows sum to 1; before label smoothing.
        weights: `(B,)` float32, each sample's weight in the window; 0 for padding.
        labels: `(B,)` int64, the class that has the largest share of each target; -1 for padding.
        answers: `(B, C)` float32, a teacher's probabilities at the spec's temperature, mixed as the images are; None
            where nobody teaches.
    """

    images: Tensor
    targets: Tensor
    weights: Tensor
    labels: Tensor
    answers: Tensor | None = None


@dataclass(frozen=True)
class Window:
    """The samples of one optimizer step.

    Attributes:
        epoch: Counted from 1.
        index: Of the window in its epoch, counted from 0.
        weight: Sum of the weights of all its samples, over all processes.
        count: Its samples, over all processes.
        micro_batches: Those of this process; at least one, so that every process takes part in the exchange.
    """

    epoch: int
    index: int
    weight: float
    count: int
    micro_batches: Iterator[MicroBatch]


@dataclass(frozen=True)
class _Mixing:
    """How the samples of a window are mixed: `image = share * own + (1 - share) * partner's`, per pixel."""

    partners: Indices  # (B,), positions in the window
    mixed: NDArray[np.bool_]  # (B,)
    share: Tensor  # (B,), the own share of the target
    mixup: Tensor  # (B,) bool
    boxes: Tensor  # (B, 4): down, across, tall, wide of the CutMix rectangle


class TrainingBatches:
    """The training images of a run, epoch by epoch.

    Args:
        images: `(N, S, S, 3)` uint8, the whole dataset.
        labels: `(N,)` class indices.
        ids: N sample ids.
        indices: The training images among them.
        draw: Where an image's view of an epoch comes from; None: from its pixels, as the spec says.
        answers: A teacher's logits for the same views, `(B, C)`.
        device: Where views of pixels are drawn and mixed.
        rank: This process among `world` processes; each window is sharded over them.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: Indices,
        ids: tuple[str, ...],
        indices: Indices,
        spec: RunSpec,
        preprocessing: Preprocessing,
        *,
        num_classes: int,
        draw: Draw | None = None,
        answers: Draw | None = None,
        device: torch.device = PROCESSOR,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._images = images
        self._labels = labels
        self._keys = sample_keys(ids)
        self._indices = indices
        spec = spec.model_copy(update={"progressive": spec.progressive.in_pixels(preprocessing.size)})
        self._spec = spec
        pixels = PixelViews(images, self._keys, spec.augment, preprocessing, spec.seed, device)
        self._draw = draw or _from_pixels(pixels, spec)
        # A GPU has no use for small pieces: it would wait for the processor to start each of their operations.
        self._drawn_together = CACHED_IMAGES if device.type == "cpu" else VIEWS_KEPT
        self._device = device
        self._answers = answers
        self._num_classes = num_classes
        self._rank = rank
        self._world = world
        self.class_weights = class_weights(labels[indices], num_classes, spec.loss.class_weights)
        self._window = spec.optim.effective_batch_size * world
        if len(indices) < 2:
            raise UsageError(f"{len(indices)} training image(s): at least 2 are needed")
        if (spec.optim.accumulation_steps - 1) * spec.optim.batch_size * world >= len(indices):
            steps = math.ceil(len(indices) / (spec.optim.batch_size * world))
            raise UsageError(
                f"optim.accumulation_steps: {spec.optim.accumulation_steps} is longer than an epoch, "
                f"which has {steps} micro-batches of {spec.optim.batch_size} ({len(indices)} training images); "
                f"use --accum {steps} or less, or a smaller --batch-size"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch; the last window may be shorter."""
        return math.ceil(len(self._indices) / self._window)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Window]:
        """The windows of an epoch (counted from 1), from window `start` on."""
        windows = self._planned(epoch, start)
        # On a GPU a step is as long as the processor takes to start its operations, which leaves it time for others.
        ahead = self._device.type == "cuda" and self._window <= VIEWS_KEPT
        return drawn_ahead(windows, self._device) if ahead else windows

    def _planned(self, epoch: int, start: int) -> Iterator[Window]:
        # Drawn anew from (seed, epoch) alone, so that a run resumed within an epoch finds the order it left.
        order = epoch_order(
            self._indices,
            self._labels,
            seed=self._spec.seed,
            epoch=epoch,
            balanced=self._spec.loss.sampling == "balanced",
        )
        # The last epochs show whole images, as the network will be measured on.
        clean_from = self._spec.train.epochs * (1 - self._spec.mix.clean_share)
        mix = self._spec.mix if epoch <= clean_from and self._spec.mix.probability else None
        for index in range(start, self.steps_per_epoch):
            yield self._plan(order[index * self._window : (index + 1) * self._window], epoch, index, mix)

    def _plan(self, samples: Indices, epoch: int, index: int, mix: MixSpec | None) -> Window:
        mixing = plan_mixing(samples, self._keys, mix, seed=self._spec.seed, epoch=epoch, window=index) if mix else None
        targets = torch.nn.functional.one_hot(torch.from_numpy(self._labels[samples]), self._num_classes).float()
        if mixing is not None:
            own = self._own_share(mixing, epoch).unsqueeze(1)
            partner = torch.from_numpy(self._labels[samples[mixing.partners]])
            targets = own * targets + (1 - own) * torch.nn.functional.one_hot(partner, self._num_classes)
        answers = None if self._answers is None else self._answered(samples, mixing, epoch)
        # A mixed image weighs as its classes do, in its target's proportion.
        weights = targets @ self.class_weights
        # Every `world`-th sample: the processes' shares differ by one sample at most.
        mine = np.arange(len(samples))[self._rank :: self._world]
        return Window(
            epoch=epoch,
            index=index,
            # In double precision, since every process divides by it and has to get the same number.
            weight=float(weights.double().sum()),
            count=len(samples),
            micro_batches=self._micro_batches(samples, mine, targets, answers, weights, mixing, epoch),
        )

    def _answered(self, samples: Indices, mixing: _Mixing | None, epoch: int) -> Tensor:
        """What the teacher says to a window's images, `(N, C)`; to a mix, the mix of what it says to both."""
        assert self._answers is not None
        answers = (self._answers(samples, epoch) / self._spec.distill.temperature).softmax(1)
        if mixing is None:
            return answers
        own = self._own_share(mixing, epoch).unsqueeze(1)
        return torch.lerp(answers[torch.from_numpy(mixing.partners)], answers, own)

    def _own_share(self, mixing: _Mixing, epoch: int) -> Tensor:
        # A CutMix target follows the pixels the rectangle really covers, not the share that was drawn.
        size = _view_size(self._spec, epoch) or self._images.shape[1]
        covered_area = (mixing.boxes[:, 2] * size).round() * (mixing.boxes[:, 3] * size).round() / size**2
        return torch.where(mixing.mixup, mixing.share, 1 - covered_area)

    def _micro_batches(
        self,
        samples: Indices,
        mine: Indices,
        targets: Tensor,
        answers: Tensor | None,
        weights: Tensor,
        mixing: _Mixing | None,
        epoch: int,
    ) -> Iterator[MicroBatch]:
        size = self._spec.optim.batch_size
        # One micro-batch at least: a process without samples still has to take part in the exchange of gradients.
        batches = [pad(mine[start : start + size]) for start in range(0, max(len(mine), 1), size)]
        # A view that serves twice, as own and as a partner's, is drawn once; a long window isn't kept in memory for it.
        chunks = [batches] if len(samples) <= VIEWS_KEPT else [[batch] for batch in batches]
        for chunk in chunks:
            positions = np.concatenate([own for own, _ in chunk])
            views = self._views(samples, positions, mixing, epoch)
            images = views(positions) if mixing is None else _mix(views, positions, mixing)
            for (own, real), part in zip(chunk, images.split([len(own) for own, _ in chunk]), strict=True):
                labels = torch.where(real, targets[own].argmax(dim=1), -1)
                taught = None if answers is None else answers[own]
                yield MicroBatch(part, targets[own], weights[own] * real, labels, taught)

    def _views(
        self, samples: Indices, positions: Indices, mixing: _Mixing | None, epoch: int
    ) -> Callable[[Indices], Tensor]:
        """Views of these positions of the window, and of their partners, to be taken by position."""
        partners = positions[:0] if mixing is None else mixing.partners[positions[mixing.mixed[positions]]]
        # Sorted, so that a position is found by bisection among the views.
        places = np.unique(np.concatenate([positions, partners]))
        pieces = np.split(samples[places], range(self._drawn_together, len(places), self._drawn_together))
        views = torch.cat([self._draw(piece, epoch) for piece in pieces])
        return lambda asked: views[sent(torch.from_numpy(np.searchsorted(places, asked)), views.device)]


def drawn_ahead(windows: Iterator[Window], device: torch.device) -> Iterator[Window]:
    """The same windows, each drawn by a thread of its own while the one before it is trained on.

    On a GPU both threads' operations go into one stream, where they come after each other.
    """

    def prepare() -> None:
        if device.type == "cuda":
            torch.cuda.set_device(device)  # every thread has one of its own

    def draw() -> Window | None:
        window = next(windows, None)
        return window and replace(window, micro_batches=iter(list(window.micro_batches)))

    with ThreadPoolExecutor(1, thread_name_prefix="views", initializer=prepare) as pool:
        coming = pool.submit(draw)
        while (window := coming.result()) is not None:
            coming = pool.submit(draw)
            yield window


def _from_pixels(pixels: PixelViews, spec: RunSpec) -> Draw:
    # Fixed views are those that something is kept for: a frozen prefix's outputs, or a teacher's answers.
    count = spec.transfer.views if spec.distill.teacher is None else spec.distill.views
    if not count:
        return lambda indices, epoch: pixels.fresh(indices, epoch, size=_view_size(spec, epoch))
    # A teacher was asked about the view at its full size: what it says holds for the smaller one too.
    return lambda indices, epoch: pixels.going_round(indices, epoch, count, size=_view_size(spec, epoch))


def _view_size(spec: RunSpec, epoch: int) -> int | None:
    return spec.progressive.size_at(epoch, epochs=spec.train.epochs)


def _mix(views: Callable[[Indices], Tensor], positions: Indices, mixing: _Mixing) -> Tensor:
    """The images at these positions of the window, those drawn for it mixed with their partners."""
    images = views(positions)
    rows = np.flatnonzero(mixing.mixed[positions])
    places = positions[rows]
    device = images.device
    covered = rectangles(mixing.boxes[places], images.shape[2], images.shape[3], device=device).unsqueeze(1)
    # Both kinds of mixing are one interpolation: mixup by a number per image, CutMix by a mask of zeros and ones.
    share = torch.where(mixing.mixup[places], mixing.share[places], 1.0).view(-1, 1, 1, 1)
    own = torch.where(covered, 0.0, sent(share, device))
    # The partners' views come unmixed, since `views` still holds them: the rows of `images` are a copy.
    mixed = sent(torch.from_numpy(rows), device)
    images[mixed] = torch.lerp(views(mixing.partners[places]), images[mixed], own)
    return images


def epoch_order(indices: Indices, labels: Indices, *, seed: int, epoch: int, balanced: bool = False) -> Indices:
    """The order of an epoch's samples, a function of seed and epoch.

    Args:
        indices: The training images.
        labels: Class index of every image of the dataset.
        balanced: Draw every class equally often, with replacement, instead of each image once.
    """
    rng = generator("order", seed, epoch)
    if not balanced:
        return rng.permutation(indices)
    classes, counts = np.unique(labels[indices], return_counts=True)
    # Classes are as likely as each other, and so are the images of one.
    share = dict(zip(classes.tolist(), (1 / (len(classes) * counts)).tolist(), strict=True))
    return rng.choice(indices, size=len(indices), p=np.array([share[label] for label in labels[indices].tolist()]))


def class_weights(labels: Indices, num_classes: int, kind: str) -> Tensor:
    """Weights `(C,)` float32; "balanced" is N / (classes present x images of the class), 1 on average."""
    counts = np.bincount(labels, minlength=num_classes)
    if kind == "none":
        return torch.ones(num_classes)
    # A class without images has no weight and doesn't count, so that the mean weight of an image stays 1.
    present = counts > 0
    weights = np.where(present, len(labels) / (present.sum() * np.maximum(counts, 1)), 0.0)
    return torch.from_numpy(weights).float()


def pad(part: Indices) -> tuple[Indices, Tensor]:
    """Fill a micro-batch up to two samples, and tell `(B,)` which are real.

    BatchNorm can't normalize a lone image of one pixel a channel, and a process that got no sample of a short window
    still has to take part in the exchange of gradients. Padding weighs nothing in the gradient.
    """
    if len(part) >= 2:
        return part, torch.ones(len(part), dtype=torch.bool)
    first = part[:1] if len(part) else np.zeros(1, dtype=np.int64)
    return np.repeat(first, 2), torch.tensor([len(part) == 1, False])


def plan_mixing(
    samples: Indices, keys: NDArray[np.uint64], spec: MixSpec, *, seed: int, epoch: int, window: int
) -> _Mixing:
    """Draw which samples of a window are mixed, how, and with whom.

    Whether and how is keyed by sample; the partner is drawn over the whole window, so that neither depends on
    the micro-batch or process a sample falls into.
    """
    draws = uniforms(keys[samples], 5, seed=seed, epoch=epoch, stream="mix")
    mixed = draws[:, 0] < spec.probability
    mixup = draws[:, 1] >= spec.cutmix_share
    # Beta-distributed shares by inverting the distribution function: one uniform number per sample, whatever alpha
    # is, where a rejection sampler would take an unknown number of them.
    share = np.where(
        mixup,
        betaincinv(spec.mixup_alpha, spec.mixup_alpha, draws[:, 2]),
        betaincinv(spec.cutmix_alpha, spec.cutmix_alpha, draws[:, 2]),
    )
    # The rectangle has the partner's share of the area and the image's own aspect ratio, as in CutMix.
    side = np.where(mixed & ~mixup, np.sqrt(1 - share), 0.0)
    return _Mixing(
        partners=generator("partners", seed, epoch, window).permutation(len(samples)),
        mixed=mixed,
        share=torch.from_numpy(np.where(mixed, share, 1.0)).float(),
        # Unmixed samples pass as mixup with a share of 1, which leaves them as they are.
        mixup=torch.from_numpy(mixup | ~mixed),
        boxes=torch.from_numpy(np.stack([draws[:, 3], draws[:, 4], side, side], axis=1)).float(),
    )

"""Peak memory of training, measured in a process of its own: what one training needs, another's can't blur."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from ahekit import plugin_files
from ahekit.compute import open_compute, peak_memory
from ahekit.data.batches import TrainingBatches
from ahekit.errors import MemoryShortage
from ahekit.models import build_component
from ahekit.spec import RunSpec
from ahekit.training.optim import build_optimizer, parameter_groups
from ahekit.training.steps import train_steps

WINDOWS = 2
"""Trained while memory is measured: the optimizer's state is there from the second one on."""


@dataclass(frozen=True)
class Memory:
    """Of a process that trained.

    Attributes:
        before: Peak in bytes with libraries, network and data loaded, before the first step; on a GPU the network's.
        peak: Of all.
    """

    before: int
    peak: int

    @property
    def training(self) -> int:
        """What the training added: gradients, the optimizer's state, and activations."""
        return self.peak - self.before


def training_memory(spec: RunSpec, *, num_classes: int) -> Memory | None:
    """Train a spec's network for two windows of made-up images in a fresh process, and read its peak memory.

    What the pixels show changes nothing: sizes alone decide. The process starts anew, since what this one has already
    allocated (and freed) would hide what a training needs.

    Args:
        spec: Network, loss, optimizer, window and runtime are taken from it; device and precision are decided.

    Returns:
        None where the system doesn't tell a process its peak.

    Raises:
        MemoryShortage: The system ended the process.
        AhekitError: The network can't be built.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_measure, spec.model_dump_json(), num_classes, plugin_files.announced()).result()
        except BrokenProcessPool as error:
            raise MemoryShortage(
                f"a training with micro-batches of {spec.optim.batch_size} images was ended by the system, which "
                "happens when memory is short; choose a smaller window, image size or network"
            ) from error


def _measure(text: str, num_classes: int, files: Sequence[Path]) -> Memory | None:
    plugin_files.announce(files)
    spec = RunSpec.model_validate_json(text)
    compute = open_compute(spec.runtime)
    built = build_component(
        spec.model.name, spec.model.params, num_classes=num_classes, image_size=spec.data.image_size
    ).built
    module = compute.place(built.module)
    module.train()
    optim = spec.optim
    groups = parameter_groups(module, weight_decay=optim.weight_decay, decay_all=optim.decay_all)
    optimizer = build_optimizer(groups, optim)
    images = optim.effective_batch_size * WINDOWS
    side = built.preprocessing.size
    batches = TrainingBatches(
        np.random.default_rng(0).integers(256, size=(images, side, side, 3), dtype=np.uint8),
        np.arange(images) % num_classes,
        tuple(map(str, range(images))),
        np.arange(images),
        spec,
        built.preprocessing,
        num_classes=num_classes,
        device=compute.device,
    )
    before = peak_memory(compute.device)
    for _ in islice(train_steps(module, batches.epoch(1), optimizer, compute=compute), WINDOWS):
        pass
    peak = peak_memory(compute.device)
    return None if before is None or peak is None else Memory(before, peak)

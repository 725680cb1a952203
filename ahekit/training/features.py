"""What a frozen prefix makes of images, computed once and mapped into memory from then on.

    <cache>/features/<key>/
        store.json          what it is of
        <view>.bin          (N, …) for all the dataset's images, maps channels last; holes where nobody asked yet
        <view>.done         (N,) uint8: 1 where an image is there

A teacher's logits are kept likewise: they are the outputs of a network that is frozen whole.

The key is what the outputs depend on beside the view: the pixels, their normalization, the prefix with its weights and
statistics, and the precisions. So runs that differ in what follows the prefix share a store, and one that was
interrupted goes on where it was. The least recently used stores go when all together pass the budget.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from ahekit.compute import Compute
from ahekit.data.pixel_store import check_space, explained_disk_errors, prune
from ahekit.data.places import cache_home
from ahekit.data.random import sample_keys
from ahekit.data.views import AUGMENTED, Draw, Indices, PixelViews, going_round
from ahekit.errors import TrainingError
from ahekit.files import write_atomic
from ahekit.hooks import evaluating
from ahekit.training.prefix import GIB, PrefixPlan
from ahekit.training.setup import Setup

PART = "features"
STORE_VERSION = 1
BLOCK = 64
"""Images that go through the prefix at a time, always; what is lost when the process dies."""
SPARED_BYTES = GIB
"""Of the disk, left to everybody else."""

_KINDS: Mapping[torch.dtype, Any] = {torch.float16: np.float16, torch.float32: np.float32}


@dataclass(frozen=True)
class Features:
    """The outputs of a frozen prefix for the images of a dataset, as far as they are there.

    Attributes:
        folder: Of the store.
        pixels: Where views come from.
        files: File stem of each view.
    """

    folder: Path
    plan: PrefixPlan
    pixels: PixelViews
    files: Mapping[str, str]

    @property
    def cache(self) -> Path:
        """The cache that the store is in."""
        return self.folder.parents[1]

    @property
    def draw(self) -> Draw:
        """Training images' outputs, each by the view whose turn it is."""
        return going_round(self.named, self.plan.views, self.pixels.keys)

    def named(self, indices: Indices, view: str) -> Tensor:
        """One view's outputs, `(B, C, H, W)` or `(B, D)`, float32; images that aren't there yet are zeros."""
        stored = np.memmap(
            self.folder / f"{self.files[view]}.bin", _KINDS[self.plan.dtype], "r", shape=self._stored_shape
        )
        rows = torch.from_numpy(stored[indices]).float()
        return rows.permute(0, 3, 1, 2) if rows.ndim == 4 else rows

    def missing(self, view: str, indices: Indices) -> Indices:
        """Those of the images whose outputs in a view aren't there yet."""
        done = np.zeros(len(self.pixels.keys), dtype=np.uint8)
        with suppress(OSError):
            stored = np.fromfile(self.folder / f"{self.files[view]}.done", dtype=np.uint8)[: len(done)]
            done[: len(stored)] = stored
        left: Indices = indices[done[indices] == 0]
        return left

    def write(self, indices: Indices, outputs: Tensor, store: IO[bytes], done: IO[bytes]) -> None:
        """Put one view's outputs in their places, then mark them as there.

        Plain writes, since a full disk under a memory map would kill the process.
        """
        rows = outputs.permute(0, 2, 3, 1) if outputs.ndim == 4 else outputs
        content = rows.contiguous().numpy()
        size = self.plan.bytes_per_view
        for place, row in zip(indices.tolist(), content, strict=True):
            os.pwrite(store.fileno(), row.data, place * size)
        os.fsync(store.fileno())
        for place in indices.tolist():
            os.pwrite(done.fileno(), b"\1", place)

    @property
    def _stored_shape(self) -> tuple[int, ...]:
        shape = self.plan.shape
        # Maps with their channels last, the order in which a network on the processor reads them.
        return (len(self.pixels.keys), *(shape[1:] + shape[:1] if len(shape) == 3 else shape))


def open_features(
    setup: Setup, plan: PrefixPlan, prefix: nn.Module, *, network: str | None = None, cache: Path | None = None
) -> Features:
    """The store of a run's prefix with the weights it has now; nothing is computed yet.

    Args:
        prefix: On the run's device.
        network: What the prefix is of, where it isn't the run's own network.
        cache: The cache's folder; by default that of `cache_home()`.
    """
    dataset = setup.dataset
    spec = setup.spec
    folder = (cache or cache_home()) / PART / _key(setup, plan, prefix, network or spec.model.name)
    pixels = PixelViews(
        dataset.images,
        sample_keys(dataset.ids),
        spec.augment,
        dataset.preprocessing,
        spec.seed,
        device=setup.compute.device,
    )
    draws = hashlib.sha256(f"{spec.augment.model_dump_json()}/{spec.seed}".encode()).hexdigest()[:12]
    names = dict.fromkeys((*plan.measured, *plan.views))
    files = {name: f"{name}-{draws}" if name.startswith(AUGMENTED) else name for name in names}
    return Features(folder, plan, pixels, files)


def compute_features(features: Features, setup: Setup, prefix: nn.Module) -> Iterator[tuple[int, int]]:
    """Compute what isn't there yet; yields the images done and their number, over all views, and may be broken off.

    Of several processes that want the same, one computes and the others wait.

    Raises:
        DataError: The disk has no room, or can't be written.
        TrainingError: An output isn't finite in the precision in which it is kept.
    """
    size = features.plan.bytes_per_view
    budget = int(setup.spec.transfer.feature_cache_gb * GIB)
    wanted = _wanted(features.plan, setup)
    done = 0
    with ExitStack() as stack:
        whole = sum(map(len, wanted.values())) * size
        stack.enter_context(explained_disk_errors(features.cache, needed=whole, part=PART))
        features.folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(FileLock(features.folder.with_suffix(".lock")))
        stack.enter_context(evaluating(prefix))
        missing = {view: features.missing(view, indices) for view, indices in wanted.items()}
        todo = {view: indices for view, indices in missing.items() if len(indices)}
        total = sum(map(len, todo.values()))
        _make_room(features, total * size, budget)
        for view, indices in todo.items():
            for part in _compute_view(features, view, indices, setup.compute, prefix):
                done += part
                yield done, total


def _compute_view(
    features: Features, view: str, indices: Indices, compute: Compute, prefix: nn.Module
) -> Iterator[int]:
    count = len(features.pixels.keys)
    stem = features.folder / features.files[view]
    with ExitStack() as stack:
        opened = []
        for suffix, size in ((".bin", count * features.plan.bytes_per_view), (".done", count)):
            path = stem.with_name(stem.name + suffix)
            path.touch()
            file = stack.enter_context(path.open("r+b", buffering=0))
            file.truncate(size)  # a hole takes no disk
            opened.append(file)
        for start in range(0, len(indices), BLOCK):
            part = indices[start : start + BLOCK]
            views = features.pixels.named(part, view)
            # Always so many, blank ones in the last block: kernels are chosen by the number of images, and round
            # differently. So what is kept of an image doesn't depend on which others were there before.
            blank = views.new_zeros(BLOCK - len(part), *views.shape[1:])
            with torch.no_grad(), compute.autocast():
                outputs = prefix(compute.prepare(torch.cat([views, blank])))[: len(part)]
            kept = outputs.to("cpu", features.plan.dtype)
            if not kept.isfinite().all():
                raise TrainingError(_not_finite(features.plan))
            features.write(part, kept, *opened)
            yield len(part)


def _not_finite(plan: PrefixPlan) -> str:
    if plan.dtype == torch.float16:
        return (
            f"the frozen stages before {plan.stage} make numbers too large for half precision; keep them with "
            "--set transfer.feature_precision=single"
        )
    return f"what comes before {plan.stage} makes outputs that are no numbers; its weights are broken"


def _wanted(plan: PrefixPlan, setup: Setup) -> dict[str, Indices]:
    splits = setup.splits
    everything = np.sort(np.concatenate([splits.train, splits.val, splits.test]))
    return {
        **dict.fromkeys(plan.measured, everything),
        **{view: splits.train for view in plan.views if view not in plan.measured},
    }


def _make_room(features: Features, needed: int, budget: int) -> None:
    """Say that the store is in use, remove others past the budget, and see that the disk has room for the rest."""
    about = {"version": STORE_VERSION, "stage": features.plan.stage, "shape": features.plan.shape}
    write_atomic(features.folder / "store.json", json.dumps(about).encode())
    prune(features.folder.parent, limit=max(budget - needed, 0), spare=[features.folder])
    if needed:
        check_space(features.cache, needed, part=PART, spared=SPARED_BYTES)


def _key(setup: Setup, plan: PrefixPlan, prefix: nn.Module, name: str) -> str:
    own = setup.dataset.preprocessing
    pixels = [own.size, own.fit, own.interpolation, own.crop_fraction, own.detail, own.mean, own.std]
    network = [name, repr(prefix), plan.shape, str(plan.dtype), setup.compute.bf16]
    digest = hashlib.sha256(json.dumps([STORE_VERSION, setup.dataset.fingerprint, pixels, network]).encode())
    for name, tensor in prefix.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]

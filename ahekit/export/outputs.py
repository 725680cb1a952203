"""What a run's network makes of the run's own images: logits and embeddings by split, computed once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from ahekit.catalog import resolve
from ahekit.data.augment import normalize
from ahekit.data.cache import settings_key
from ahekit.data.dataset import Dataset, load_dataset
from ahekit.data.folder import scan
from ahekit.data.split import splits_from_ids
from ahekit.errors import AhekitError, RunError
from ahekit.evaluation.predictions import Predictions
from ahekit.files import read_regular
from ahekit.preprocessing import Preprocessing
from ahekit.run import Run, check_classes

FOLDER = "outputs"
BATCH = 64
_KEPT = 4  # files of outputs; older ones are those of other weights

NetworkCall = Callable[[Tensor], tuple[Tensor, Tensor]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Outputs:
    """Of the images of one split.

    Attributes:
        ids: N sample ids.
        labels: `(N,)`.
        logits: `(N, C)`.
        embeddings: `(N, D)`.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    embeddings: NDArray[np.float16]

    def predictions(self, class_names: tuple[str, ...]) -> Predictions:
        """As the evaluation takes them."""
        return Predictions(self.ids, self.labels, self.logits, class_names)


@dataclass(frozen=True)
class RunImages:
    """A run's images, decoded, and which of them are in which split."""

    dataset: Dataset
    splits: Mapping[str, NDArray[np.int64]]

    @classmethod
    def of(cls, run: Run, preprocessing: Preprocessing, *, progress: Progress | None = None) -> RunImages:
        """Open them.

        Raises:
            RunError: They aren't where they were, or are others.
        """
        manifest = run.manifest
        try:
            folder = scan(resolve(run.spec.data.source).root).with_class_order(manifest.class_names)
            dataset = load_dataset(folder, preprocessing, progress=progress)
            check_classes(run, dataset)
            splits = splits_from_ids(manifest.splits.model_dump(), dataset)
        except AhekitError as error:
            raise RunError(f"{run.name}: its images can't be found ({error}); name their place with --data") from error
        if manifest.data.fingerprint != dataset.fingerprint:
            raise RunError(f"{run.name}: the images in {dataset.root} are not those the run was made with")
        return cls(dataset, {"train": splits.train, "val": splits.val, "test": splits.test})

    def outputs(self, split: str, logits: NDArray[np.float32], embeddings: NDArray[np.float16]) -> Outputs:
        """A split's outputs with its ids and labels."""
        places = self.splits[split]
        ids = tuple(self.dataset.ids[place] for place in places.tolist())
        return Outputs(ids, self.dataset.labels[places], logits, embeddings)

    def pixels(self, split: str, count: int) -> NDArray[np.uint8]:
        """Up to so many of a split's images, spread over it, `(N, S, S, 3)`."""
        places = self.splits[split]
        chosen = (
            places[np.linspace(0, len(places) - 1, min(count, len(places))).astype(np.int64)] if len(places) else places
        )
        return np.stack([self.dataset.images[place] for place in chosen]) if len(chosen) else self.dataset.images[:0]


def run_outputs(
    run: Run,
    images: RunImages,
    network: NetworkCall,
    device: torch.device,
    *,
    weights: bytes,
    splits: tuple[str, ...] = ("train", "val", "test"),
    progress: Progress = lambda done, total: None,
) -> dict[str, Outputs]:
    """What a network makes of the images of some splits, in one view; kept in the run's folder under its weights.

    Args:
        network: Normalized images to logits and embeddings.
        weights: The file of the network's weights, which tells its outputs from another's.
        progress: Called with the images done and their number, where they aren't kept from before.
    """
    preprocessing = images.dataset.preprocessing
    settings = settings_key(preprocessing)
    facts = [hashlib.sha256(weights).hexdigest(), repr(preprocessing), str(images.dataset.fingerprint), settings]
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    file = run.path / FOLDER / f"{'-'.join(splits)}-{digest[:16]}.safetensors"
    kept = _read(file, images, splits)
    if kept is not None:
        return kept
    total = sum(len(images.splits[split]) for split in splits)
    done = 0
    arrays: dict[str, NDArray[np.float32] | NDArray[np.float16]] = {}
    for split in splits:
        places = images.splits[split]
        logits = []
        embeddings = []
        for start in range(0, len(places), BATCH):
            pixels = images.dataset.images[places[start : start + BATCH]]
            batch = normalize(pixels, preprocessing).to(device, memory_format=torch.channels_last)
            with torch.inference_mode():
                made = network(batch)
            logits.append(made[0].float().cpu().numpy())
            embeddings.append(made[1].half().cpu().numpy())
            done += len(pixels)
            progress(done, total)
        arrays[f"{split}.logits"] = np.concatenate(logits) if logits else np.zeros((0, 0), np.float32)
        arrays[f"{split}.embeddings"] = np.concatenate(embeddings) if embeddings else np.zeros((0, 0), np.float16)
    with suppress(RunError):  # a folder that can't be written to: they are computed again the next time
        run.write_bytes(f"{FOLDER}/{file.name}", save(arrays))
        _forget_older(file)
    return _outputs(arrays, images, splits)


def _read(file: Path, images: RunImages, splits: tuple[str, ...]) -> dict[str, Outputs] | None:
    try:
        arrays = load(read_regular(file))
        outputs = _outputs(arrays, images, splits)
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    whole = all(len(each.logits) == len(each.embeddings) == len(each.ids) for each in outputs.values())
    return outputs if whole else None


def _outputs(
    arrays: Mapping[str, NDArray[np.generic]], images: RunImages, splits: tuple[str, ...]
) -> dict[str, Outputs]:
    return {
        split: images.outputs(
            split,
            np.asarray(arrays[f"{split}.logits"], dtype=np.float32),
            np.asarray(arrays[f"{split}.embeddings"], dtype=np.float16),
        )
        for split in splits
    }


def _forget_older(file: Path) -> None:
    with suppress(OSError):
        files = sorted(file.parent.glob("[!.]*.safetensors"), key=lambda each: each.stat().st_mtime)
        for old in files[:-_KEPT]:
            old.unlink()

"""A dataset as training sees it: pixels in memory's reach, labels, and the splits found on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ahekit.data.cache import Progress, load_pixels
from ahekit.data.folder import Folder, Refusal
from ahekit.data.series import Named
from ahekit.preprocessing import Preprocessing


@dataclass(frozen=True)
class Dataset:
    """All images of a dataset, in the order of their ids.

    Attributes:
        class_names: C names, sorted; labels are indices into them.
        ids: N sample ids (paths relative to `root`), sorted.
        images: `(N, S, S, 3)` uint8 RGB, a read-only memory map.
        labels: `(N,)` int64.
        split_names: `(N,)` of "train", "val" or "test", as found on disk.
        refused: Files and folders left out, each with its reason; sorted by id.
        fingerprint: SHA-256 over the ids and contents of all image files, whatever the preprocessing.
        notes: What the user should know of single images, each by its id.
        preprocessing: How the images became `images`, and how those become a model's input.
        thumbnails: `(N, 16, 16, 3)` uint8 of the whole images, by which near-copies are found: the same for every
            preprocessing. None: the images themselves serve.
        store: Folder of the pixel cache, where what is computed from the pixels may be kept; None: nowhere.
    """

    name: str
    root: Path
    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    split_names: NDArray[np.str_]
    refused: tuple[Refusal, ...]
    fingerprint: str
    preprocessing: Preprocessing
    thumbnails: NDArray[np.uint8] | None = None
    store: Path | None = None
    notes: tuple[Refusal, ...] = ()

    def named(self) -> Named:
        """The images by id and class, as what tells their series sees them."""
        classes = [self.class_names[label] for label in self.labels.tolist()]
        return Named(self.ids, classes, self.root, self.store)


def load_dataset(
    folder: Folder,
    preprocessing: Preprocessing,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Decode a folder's images, or open them from the cache.

    A class whose images were all refused keeps its place among the class names.

    Args:
        cache: The cache's folder; by default that of `cache_home()`.
        progress: Called with the files done and their number while files are read.

    Raises:
        DataError: No image can be used, or the cache can't be written.
    """
    pixels = load_pixels(folder, preprocessing, cache=cache, progress=progress)
    samples = {sample.id: sample for sample in folder.samples}
    number = {name: index for index, name in enumerate(folder.class_names)}
    usable = [samples[name] for name in pixels.ids]
    return Dataset(
        name=folder.name,
        root=folder.root,
        class_names=folder.class_names,
        ids=pixels.ids,
        images=pixels.images,
        labels=np.array([number[sample.class_name] for sample in usable], dtype=np.int64),
        split_names=np.array([sample.split for sample in usable]),
        refused=tuple(sorted((*folder.refused, *pixels.refused), key=lambda refusal: refusal.id)),
        fingerprint=pixels.fingerprint,
        preprocessing=preprocessing,
        thumbnails=pixels.thumbnails,
        store=pixels.path,
        notes=pixels.notes,
    )

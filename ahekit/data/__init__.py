"""Dataset folders become samples, a decoded cache, splits and augmented batches; names load when they're asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ahekit.data.cache import PixelStore, load_pixels
    from ahekit.data.dataset import Dataset, load_dataset
    from ahekit.data.decode import DecodeError
    from ahekit.data.folder import Folder, Refusal, Sample, scan
    from ahekit.data.near_copies import find_near_copies
    from ahekit.data.split import Splits, make_splits, splits_as_ids, splits_from_ids

_MODULE_OF = {
    "Dataset": "dataset",
    "DecodeError": "decode",
    "Folder": "folder",
    "PixelStore": "cache",
    "Refusal": "folder",
    "Sample": "folder",
    "Splits": "split",
    "find_near_copies": "near_copies",
    "load_dataset": "dataset",
    "load_pixels": "cache",
    "make_splits": "split",
    "scan": "folder",
    "splits_as_ids": "split",
    "splits_from_ids": "split",
}

__all__ = [
    "Dataset",
    "DecodeError",
    "Folder",
    "PixelStore",
    "Refusal",
    "Sample",
    "Splits",
    "find_near_copies",
    "load_dataset",
    "load_pixels",
    "make_splits",
    "scan",
    "splits_as_ids",
    "splits_from_ids",
]


def __getattr__(name: str) -> Any:
    # Most of these need NumPy and Pillow, which `ahekit --help` and shell completion do without.
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)

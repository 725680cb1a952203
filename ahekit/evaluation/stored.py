"""A run's folder of predictions; listing it loads nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ahekit.evaluation.predictions import Predictions


class StoredPredictions(Mapping[str, "Predictions"]):
    """The predictions in a folder by split, each read when it is first asked for.

    A torn file is a `RunError` for whoever asks for that split, and for nobody else.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._files = {file.stem: file for file in sorted(folder.glob("[!.]*.safetensors"))}
        except OSError:
            self._files = {}
        self._read: dict[str, Predictions] = {}

    def __getitem__(self, split: str) -> Predictions:
        from ahekit.evaluation.predictions import Predictions

        if split not in self._read:
            self._read[split] = Predictions.read(self._files[split])
        return self._read[split]

    def __contains__(self, split: object) -> bool:
        return split in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

"""Predictions of one split, keyed by sample id, their file, and a run's folder of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ahekit.data.classes import display_name
from ahekit.errors import RunError

F = TypeVar("F", np.float32, np.float64)


def softmax(logits: NDArray[F]) -> NDArray[F]:
    """Probabilities `(N, C)` of logits `(N, C)`, in the logits' own precision."""
    # A row's largest logit becomes 0, so that no exponential overflows; the shift cancels out.
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[F] = exp / exp.sum(axis=1, keepdims=True)
    return probabilities


@dataclass(frozen=True)
class Predictions:
    """What a model said of each image.

    Attributes:
        ids: N sample ids (paths relative to the dataset's root).
        labels: `(N,)` int64, true class index; -1 where unknown.
        logits: `(N, C)` float32.
        class_names: C names, in the order of the logits.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    class_names: tuple[str, ...]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Softmax of the logits, `(N, C)` in [0, 1]."""
        return softmax(self.logits.astype(np.float64))

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Index of the largest logit, `(N,)`."""
        predicted: NDArray[np.int64] = self.logits.argmax(axis=1).astype(np.int64)
        return predicted

    @property
    def display_names(self) -> list[str]:
        """Every class's name as people write it, in the order of the logits."""
        return [display_name(name) for name in self.class_names]

    def to_bytes(self) -> bytes:
        """As one safetensors file: tensors `logits` and `labels`, ids and class names as JSON in its metadata."""
        metadata = {"ids": json.dumps(self.ids), "class_names": json.dumps(self.class_names)}
        return save({"logits": np.ascontiguousarray(self.logits), "labels": self.labels}, metadata)

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read what `to_bytes` wrote.

        Raises:
            RunError: The file is missing, torn or of another kind.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata()
                return cls(
                    ids=tuple(json.loads(metadata["ids"])),
                    labels=file.get_tensor("labels"),
                    logits=file.get_tensor("logits"),
                    class_names=tuple(json.loads(metadata["class_names"])),
                )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path}: not a readable predictions file ({error}); evaluate the run again") from error


class StoredPredictions(Mapping[str, Predictions]):
    """The predictions in a folder by split, each read when it is first asked for.

    A torn file is a `RunError` for whoever asks for that split, and for nobody else.
    """

    def __init__(self, folder: Path) -> None:
        self._files = {file.stem: file for file in sorted(folder.glob("[!.]*.safetensors"))}
        self._read: dict[str, Predictions] = {}

    def __getitem__(self, split: str) -> Predictions:
        if split not in self._read:
            self._read[split] = Predictions.read(self._files[split])
        return self._read[split]

    def __contains__(self, split: object) -> bool:
        return split in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def take(predictions: Predictions, indices: NDArray[np.int64]) -> Predictions:
    """The predictions on some of the images, in the order given."""
    ids = tuple(predictions.ids[index] for index in indices.tolist())
    return replace(predictions, ids=ids, labels=predictions.labels[indices], logits=predictions.logits[indices])

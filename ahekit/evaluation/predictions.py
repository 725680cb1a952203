"""Predictions of one split, keyed by sample id, and their file."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ahekit.data.classes import display_name
from ahekit.errors import RunError
from ahekit.files import check_regular

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
        return _in_fixed_order(save({"logits": np.ascontiguousarray(self.logits), "labels": self.labels}, metadata))

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read what `to_bytes` wrote.

        Raises:
            RunError: The file is missing, torn or of another kind.
        """
        try:
            check_regular(path)
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata()
                predictions = cls(
                    ids=tuple(json.loads(metadata["ids"])),
                    labels=file.get_tensor("labels"),
                    logits=file.get_tensor("logits"),
                    class_names=tuple(json.loads(metadata["class_names"])),
                )
        except OSError as error:
            raise RunError(f"{path}: can't be read ({error.strerror or error})") from error
        except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise RunError(f"{path}: not a readable predictions file ({error}); evaluate the run again") from error
        if fault := predictions._fault():
            raise RunError(f"{path}: not a readable predictions file ({fault}); evaluate the run again")
        return predictions

    def _fault(self) -> str:
        """What of the parts doesn't fit together, if anything."""
        if not all(isinstance(name, str) for name in (*self.ids, *self.class_names)):
            return "ids and class names are not all text"
        if self.logits.shape != (len(self.ids), len(self.class_names)) or self.labels.shape != (len(self.ids),):
            return (
                f"logits {self.logits.shape} and labels {self.labels.shape} for {len(self.ids)} images and "
                f"{len(self.class_names)} classes"
            )
        if self.logits.dtype != np.float32 or self.labels.dtype != np.int64:
            return f"logits of type {self.logits.dtype} and labels of type {self.labels.dtype}"
        if len(self.labels) and not -1 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            return "a label is of no class"
        # The logarithm of a probability that underflowed is minus infinity, and means what it says.
        if np.isnan(self.logits).any() or np.isposinf(self.logits).any():
            return "logits that are not numbers"
        return ""


def _in_fixed_order(content: bytes) -> bytes:
    """A safetensors file whose header is in alphabetical order; the library's own order of metadata is random.

    The format: eight bytes of the header's length, the header (JSON, padded with blanks), the tensors' bytes, which
    the header places from its own end on. https://github.com/huggingface/safetensors#format
    """
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def take(predictions: Predictions, indices: NDArray[np.int64]) -> Predictions:
    """The predictions on some of the images, in the order given."""
    ids = tuple(predictions.ids[index] for index in indices.tolist())
    return replace(predictions, ids=ids, labels=predictions.labels[indices], logits=predictions.logits[indices])

"""A network ready for photos: pixels in, logits and embeddings out, with what decides on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahekit.prediction.deciding import Decider
from ahekit.preprocessing import Preprocessing

Outputs = tuple[NDArray[np.float32], NDArray[np.float16]]


@dataclass(frozen=True)
class Predictor:
    """A network that can be asked about photos.

    Attributes:
        class_names: In the order of the logits.
        preprocessing: How a photo becomes the square of pixels that is asked about; scaling and normalization are the
            predictor's own.
        fingerprint: SHA-256 that tells this model from all others, hexadecimal.
        name: What people call it.
        decider: What makes sure, to review and unknown of its outputs.
        deciding_text: All that is known of the model, as a survey keeps it (YAML).
        engine: What computes, in words: "torch, cpu" or "onnxruntime".
        run: Pixels `(B, S, S, 3)` uint8 to logits `(B, C)` and embeddings `(B, D)`.
    """

    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    fingerprint: str
    name: str
    decider: Decider
    deciding_text: str
    engine: str
    run: Callable[[NDArray[np.uint8]], Outputs]

    def __call__(self, pixels: NDArray[np.uint8]) -> Outputs:
        """Logits `(B, C)` float32 and embeddings `(B, D)` float16 of pixels `(B, S, S, 3)`."""
        return self.run(pixels)

"""Logits of a network over images, in eval mode and without augmentation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ahekit.compute import Compute
from ahekit.data.augment import normalise
from ahekit.hooks import evaluating
from ahekit.protocols import Preprocessing


def predict_logits(
    module: nn.Module,
    images: NDArray[np.uint8],
    indices: NDArray[np.int64],
    preprocessing: Preprocessing,
    compute: Compute,
    *,
    batch_size: int = 256,
    flip_average: bool = False,
) -> NDArray[np.float32]:
    """Logits of the images at `indices`, `(N, C)`; the module's train flags are left as they were.

    Args:
        images: `(M, S, S, 3)` uint8.
        flip_average: Average the probabilities of an image and its mirror image, and return their logarithm.
    """
    starts = range(0, len(indices), batch_size)
    with evaluating(module), torch.inference_mode():
        views = (normalise(images[indices[start : start + batch_size]], preprocessing) for start in starts)
        logits = [_logits(module, view, compute, flip_average) for view in views]
    return torch.cat(logits).numpy() if logits else np.zeros((0, 0), dtype=np.float32)


def _logits(module: nn.Module, images: Tensor, compute: Compute, flip_average: bool) -> Tensor:
    images = compute.prepare(images)
    with compute.autocast():
        logits: Tensor = module(images).float()
        if flip_average:
            mirrored = module(images.flip(3).contiguous(memory_format=compute.memory_format)).float()
            logits = torch.logaddexp(logits.log_softmax(1), mirrored.log_softmax(1)) - np.log(2.0)
    return logits.cpu()

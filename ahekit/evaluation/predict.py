"""Logits of a network over images, in eval mode and without augmentation."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ahekit.compute import Compute
from ahekit.data.augment import normalize
from ahekit.hooks import evaluating
from ahekit.preprocessing import Preprocessing


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
    # A GPU gets bytes and normalizes them itself.
    plain = (
        normalize(images[indices[start : start + batch_size]], preprocessing, device=compute.device) for start in starts
    )
    return predict_views(module, ((view, view.flip(3)) if flip_average else (view,) for view in plain), compute)


def predict_views(module: nn.Module, batches: Iterable[tuple[Tensor, ...]], compute: Compute) -> NDArray[np.float32]:
    """Logits of images in one view or several, `(N, C)`; the module's train flags are left as they were.

    Args:
        module: What the views go through: a network, or what follows its frozen stages.
        batches: Views of the same images side by side, `(B, ...)` each. Of several, the probabilities are averaged and
            their logarithm returned.
    """
    with evaluating(module), torch.inference_mode():
        logits = [_logits(module, views, compute) for views in batches]
    return torch.cat(logits).numpy() if logits else np.zeros((0, 0), dtype=np.float32)


def _logits(module: nn.Module, views: tuple[Tensor, ...], compute: Compute) -> Tensor:
    with compute.autocast():
        logits: list[Tensor] = [module(compute.prepare(view)).float() for view in views]
    if len(logits) == 1:
        return logits[0].cpu()
    # The logarithm of the mean probability, without leaving logarithms: small probabilities would become 0.
    mean: Tensor = torch.stack([each.log_softmax(1) for each in logits]).logsumexp(0) - math.log(len(logits))
    return mean.cpu()

"""What an image can be optimized for: a class, a unit, and priors of what images look like."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ahekit.hooks import find_module
from ahekit.inspection.synthesis import ForwardPass, Objective


def class_logit(targets: Tensor) -> Objective:
    """Each image's logit of its own class; `targets` is `(B,)`."""
    return Objective(lambda forward: forward.logits.gather(1, targets[:, None])[:, 0])


def class_odds(targets: Tensor) -> Objective:
    """Each image's logit of its own class less the log of the summed exponentials of all others: the log odds.

    Raising all classes alike gains nothing, and unlike the log-probability it goes on growing near certainty.
    """

    def value(forward: ForwardPass) -> Tensor:
        # All but the class itself: minus infinity adds nothing to a sum of exponentials.
        own = torch.nn.functional.one_hot(targets, forward.logits.shape[1]).bool()
        others = forward.logits.masked_fill(own, -torch.inf).logsumexp(1)
        return forward.logits.gather(1, targets[:, None])[:, 0] - others

    return Objective(value)


def class_distance(
    describe: Callable[[ForwardPass], Tensor], means: Tensor, variances: Tensor, targets: Tensor
) -> Objective:
    """How far each image is from the images of its class: mean squared distance over features; subtract it.

    A feature's distance is in units of its variance in the class, to which its mean variance in all classes is added,
    for what is silent in one class would count without bound.

    Args:
        describe: A forward pass to features `(B, F)` of its images, such as their embeddings.
        means: Of each class's images, `(C, F)`.
        variances: Likewise.
        targets: `(B,)`.
    """
    center = means[targets]
    spread = variances[targets] + variances.mean(0) + 1e-12  # a feature that is silent in all classes
    return Objective(lambda forward: ((describe(forward) - center).square() / spread).mean(1))


def unit(path: str, number: int) -> Objective:
    """The mean output of one unit (a channel's over its places) of a module."""
    return Objective(lambda forward: forward.outputs[path][:, number].flatten(1).mean(1), outputs=(path,))


def unit_before_activation(module: nn.Module, path: str, number: int) -> Objective:
    """As `unit`, but of what a normalization that rectifies too (timm's BatchNormAct2d) gives before it does.

    Where a rectifier gives zero everywhere there is no slope to climb, and an image stays the gray it started from.
    """
    norm = find_module(module, path)
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or not list(norm.children()):
        return unit(path, number)

    def value(forward: ForwardPass) -> Tensor:
        # Computed anew from what went in: the rectifier may have overwritten what came out.
        outputs = nn.functional.batch_norm(
            forward.inputs[path], norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )
        return outputs[:, number].flatten(1).mean(1)

    return Objective(value, inputs=(path,))


def total_variation() -> Objective:
    """Mean size of the step from pixel to neighbouring pixel; subtract it for smooth images."""

    def value(forward: ForwardPass) -> Tensor:
        down = (forward.images[:, :, 1:] - forward.images[:, :, :-1]).abs().mean((1, 2, 3))
        across = (forward.images[:, :, :, 1:] - forward.images[:, :, :, :-1]).abs().mean((1, 2, 3))
        return down + across

    return Objective(value)


def distance_from_gray() -> Objective:
    """Mean squared distance of pixels from the middle of their range [0, 1]; subtract it for tame colours."""
    return Objective(lambda forward: (forward.images - 0.5).square().mean((1, 2, 3)))


def likeness(path: str, groups: Tensor) -> Objective:
    """How alike the images of one group are in a layer; subtract it to get different ones.

    For each image the mean cosine between its and the others' products of channels (Gram matrices), as the diversity
    term of Feature Visualization, https://distill.pub/2017/feature-visualization/. Zero for an image alone in its
    group. It makes images depend on each other.

    Args:
        path: Of a module whose output is maps.
        groups: Number of each image's group, `(B,)`.
    """
    same = (groups[:, None] == groups[None, :]).float()
    same.fill_diagonal_(0)  # an image is no other of its group

    def value(forward: ForwardPass) -> Tensor:
        maps = forward.outputs[path].flatten(2)
        products = torch.nn.functional.normalize((maps @ maps.transpose(1, 2)).flatten(1), dim=1)
        others = same.to(products)
        return (products @ products.T * others).sum(1) / others.sum(1).clamp(min=1)

    return Objective(value, outputs=(path,))


def statistics_gap(module: nn.Module) -> Objective:
    """How far the images' statistics are from those that BatchNorm layers stored in training; subtract it.

    Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion, https://arxiv.org/abs/1912.08795: distances of
    the batch's mean and variance at each layer's input, here in units of the stored ones and averaged over channels
    and layers. It is one number for the batch, shared out evenly: images do depend on each other through it. Zero for
    a network without such layers.
    """
    norms = {
        path: layer
        for path, layer in module.named_modules()
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None
    }

    def value(forward: ForwardPass) -> Tensor:
        gaps = [_gap(forward.inputs[path], norm) for path, norm in norms.items() if path in forward.inputs]
        count = len(forward.images)
        return torch.stack(gaps).mean().expand(count) / count if gaps else forward.images.new_zeros(count)

    return Objective(value, inputs=tuple(norms))


def _gap(values: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    # What the layer divides by, so that distances are those that the next layer sees.
    spread = norm.running_var + norm.eps
    # Half the time of `torch.var_mean` there and back, on maps whose channels lie last. The difference of two means may
    # come out below zero by rounding.
    mean = values.mean((0, 2, 3))
    variance = (values.square().mean((0, 2, 3)) - mean.square()).clamp(min=0)
    off_mean = (mean - norm.running_mean).square() / spread
    # As a ratio: half the variance is as far off as twice. The addend keeps a channel of no variance finite.
    off_variance = (variance / spread).add(1e-6).log().square()
    return (off_mean + off_variance).mean()

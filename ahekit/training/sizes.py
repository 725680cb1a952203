"""Training images smaller than those that are measured: whether the network takes them, and when which comes."""

from __future__ import annotations

import torch
from torch import Tensor

from ahekit.errors import UsageError
from ahekit.hooks import evaluating
from ahekit.protocols import BuiltModel
from ahekit.spec import RunSpec


def decide_sizes(spec: RunSpec, built: BuiltModel) -> RunSpec:
    """The spec with the sizes of its training images in pixels, which the network takes.

    Args:
        spec: With its views decided.
        built: On the processor.

    Raises:
        UsageError: A size isn't smaller than the full one, the network can't take it, or what frozen stages make of
            the full size is to be kept.
    """
    spec = spec.model_copy(update={"progressive": spec.progressive.in_pixels(built.preprocessing.size)})
    _check_sizes(spec, built)
    return spec


def _check_sizes(spec: RunSpec, built: BuiltModel) -> None:
    sizes = [int(size) for size in spec.progressive.sizes]
    if not sizes:
        return
    full = built.preprocessing.size
    if sizes[-1] >= full:
        raise UsageError(
            f"progressive.sizes: {sizes[-1]} isn't smaller than the full size, {full} px; leave it out, since what the "
            "shares leave has the full size anyway, or give a larger --image-size"
        )
    if spec.transfer.views:
        raise UsageError(
            "progressive.sizes: what frozen stages make of fixed views is kept for one image size; leave out the "
            "sizes, or keep nothing with --views 0"
        )
    outputs = _outputs(built, full, spec.model.name)
    for size in sizes:
        if _outputs(built, size, spec.model.name).shape != outputs.shape:
            raise UsageError(
                f"progressive.sizes: of images of {size} px {spec.model.name} makes outputs of another shape"
            )


def describe_sizes(spec: RunSpec, full: int) -> str:
    """In words, for the run's first table: "32 px to epoch 12, 48 px to epoch 24, then 64 px"."""
    ends = (*spec.progressive.last_epochs(spec.train.epochs), spec.train.epochs)
    phases = [
        (size, last)
        for size, before, last in zip((*spec.progressive.sizes, full), (0, *ends), ends, strict=False)
        if last > before
    ]
    words = [f"{size} px to epoch {last}" for size, last in phases[:-1]]
    final = phases[-1][0]
    words.append(f"{'then ' if words else ''}{final} px")
    return ", ".join([*words, *([f"measured at {full} px"] if final != full else [])])


def _outputs(built: BuiltModel, size: int, name: str) -> Tensor:
    first = next(built.module.parameters())
    images = torch.zeros(2, 3, size, size, dtype=first.dtype)
    try:
        with evaluating(built.module), torch.no_grad():
            outputs: Tensor = built.module(images)
    except (RuntimeError, ValueError, AssertionError) as error:
        # A network says in its own way that it can't: by a shape that doesn't fit, a pool without pixels, an assertion.
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"progressive.sizes: {name} can't take images of {size} px ({reason})") from error
    return outputs

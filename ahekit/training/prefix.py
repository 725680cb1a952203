"""The frozen prefix of a network: where it ends, how large what comes out of it is, and whether to keep that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from ahekit.data.split import Splits
from ahekit.data.views import MIRROR, PLAIN, view_names
from ahekit.errors import PluginError, UsageError
from ahekit.hooks import evaluating
from ahekit.protocols import BuiltModel
from ahekit.spec import RunSpec
from ahekit.training.freezing import Freezing

HEAD_VIEWS = 4
"""Views of each image when all but the head is frozen and the spec leaves it open: 20 MB of features for 10,000 images
a view, and three forward passes more than the first."""

GIB = 2**30


@dataclass(frozen=True)
class PrefixPlan:
    """What is kept of a frozen prefix.

    Attributes:
        stage: The first stage that is trained.
        shape: What comes out of the prefix for one image: `(C, H, W)`, or `(D,)`.
        dtype: In which it is kept.
        views: Training images' views by name.
        measured: Views that evaluation looks at, of all images.
        passes: Forward passes of single images, over all views.
    """

    stage: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    views: tuple[str, ...]
    measured: tuple[str, ...]
    passes: int

    @property
    def bytes_per_view(self) -> int:
        """Of one image in one view."""
        return prod(self.shape) * self.dtype.itemsize

    def describe(self) -> str:
        """In words, for the run's first table."""
        size = self.passes * self.bytes_per_view / GIB
        return (
            f"all before {self.stage}, computed once for {self.passes:,} views ({len(self.views)} of each training "
            f"image): {size:.2f} GiB on disk"
        )


def decide_views(spec: RunSpec, plan: Freezing) -> RunSpec:
    """The spec with the number of fixed views decided.

    Raises:
        UsageError: Fixed views are asked for where no prefix stays frozen, with mixing, or with a teacher.
    """
    transfer = spec.transfer
    cut = plan.cut
    if spec.distill.teacher is not None:
        if transfer.views:
            raise UsageError(
                "distill.teacher: the teacher is asked about views of pixels, and transfer.views keeps what frozen "
                "stages make of theirs; leave out one of the two (--views 0)"
            )
        return _with_views(spec, 0)
    if transfer.views is None:
        only_head = cut == list(plan.opens)[-1] and not spec.mix.probability
        return _with_views(spec, HEAD_VIEWS if only_head else 0)
    if transfer.views and cut is None:
        raise UsageError(
            "transfer.views: fixed views are for stages that stay frozen from the first on, with their BatchNorm; "
            "freeze early, backbone or until:STAGE with bn frozen or recalibrate, or leave views out"
        )
    if transfer.views and spec.mix.probability:
        raise UsageError("transfer.views: fixed views can't be mixed; set mix.probability to 0, or leave views out")
    return spec


def plan_prefix(spec: RunSpec, built: BuiltModel, plan: Freezing, splits: Splits) -> PrefixPlan | None:
    """What has to be kept; None where the spec keeps nothing.

    Args:
        spec: With its views decided.

    Raises:
        UsageError: It would take more disk than the spec allows.
        PluginError: What comes out of the prefix is no single tensor.
    """
    transfer = spec.transfer
    if not (transfer.views and transfer.feature_cache_gb and plan.cut):
        return None
    views = view_names(transfer.views, spec.augment)
    measured = (PLAIN, MIRROR) if spec.evaluation.flip_average else (PLAIN,)
    train = len(splits.train)
    others = len(splits.val) + len(splits.test)
    planned = PrefixPlan(
        stage=plan.cut,
        shape=_shape(built, plan.cut, spec.model.name),
        dtype=torch.float16 if transfer.feature_precision == "half" else torch.float32,
        views=views,
        measured=measured,
        passes=train * len({*views, *measured}) + others * len(measured),
    )
    needed = planned.passes * planned.bytes_per_view
    if needed > transfer.feature_cache_gb * GIB:
        raise UsageError(
            f"transfer.feature_cache_gb: what the frozen stages make of {planned.passes:,} views takes "
            f"{needed / GIB:.2f} GiB, allowed are {transfer.feature_cache_gb:g}; raise --feature-cache-gb, take fewer "
            "--views, freeze further, or keep nothing with --views 0"
        )
    return planned


def _with_views(spec: RunSpec, views: int) -> RunSpec:
    return spec.model_copy(update={"transfer": spec.transfer.model_copy(update={"views": views})})


def _shape(built: BuiltModel, stage: str, name: str) -> tuple[int, ...]:
    prefix, _ = built.split(stage)
    first = next(prefix.parameters())
    size = built.preprocessing.size
    with evaluating(prefix), torch.no_grad():
        out = prefix(torch.zeros(1, 3, size, size, device=first.device, dtype=first.dtype))
    if not isinstance(out, Tensor):
        raise PluginError(f"{name}: its part before {stage} returns a {type(out).__name__}, not one tensor")
    return tuple(out.shape[1:])


@dataclass(frozen=True)
class Part:
    """The part of a network that is trained, all of it where no prefix stays frozen.

    Attributes:
        prefix: What stays frozen before it.
        module: What is trained, and what follows.
        names: Name of each of its tensors in the whole network, by its name in `module`.
    """

    prefix: nn.Module | None
    module: nn.Module
    names: Mapping[str, str]


def trained_part(built: BuiltModel, plan: Freezing) -> Part:
    """The part of a network that some epoch trains, cut at the first such stage."""
    if plan.cut is None:
        return Part(None, built.module, {name: name for name in built.module.state_dict()})
    prefix, suffix = built.split(plan.cut)
    whole = {id(tensor): name for name, tensor in built.module.state_dict(keep_vars=True).items()}
    names = {name: whole[id(tensor)] for name, tensor in suffix.state_dict(keep_vars=True).items()}
    return Part(prefix, suffix, names)

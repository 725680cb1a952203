"""What all pretrained backbones have in common: their parameters, their new head, and how they become a model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ahekit.backbones.params import BackboneParams
from ahekit.backbones.stages import Stages, find_stages
from ahekit.errors import UsageError
from ahekit.hooks import evaluating
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel, LoadedWeights
from ahekit.protocols.models import cut


def build(
    backbone: nn.Module,
    params: BackboneParams,
    *,
    name: str,
    ends: Sequence[str],
    preprocessing: Preprocessing,
    num_classes: int,
    load: Callable[[nn.Module], LoadedWeights] | None,
    depths: Mapping[str, int] | None = None,
) -> BuiltModel:
    """A model of a backbone that returns embeddings `(B, D)` and a new head on them.

    Args:
        ends: Path of each stage's last module in the backbone.
        load: Puts the first weights into the backbone; None: they stay random.
        depths: Number of the layer of each of the backbone's parameters; None: its stages are its layers.

    Raises:
        UsageError: The backbone can't take images of this size.
    """
    size = preprocessing.size
    image = torch.linspace(-2, 2, 3 * size * size).view(1, 3, size, size)
    embedding = _embed(backbone, image, name)
    head = make_head(params, embedding.shape[1], num_classes)
    stages = {**find_stages(backbone, ends, image, embedding), "head": (head,)}
    module = nn.Sequential(OrderedDict(backbone=backbone, head=head))
    return BuiltModel(
        module=module,
        preprocessing=preprocessing,
        stages=stages,
        layers=_aliases(backbone, module, stages),
        embed=backbone,
        split=partial(cut, stages),
        depths=_with_head(depths, head) if depths else {},
        pretrained=None if load is None else partial(load, backbone),
    )


def _with_head(depths: Mapping[str, int], head: nn.Module) -> dict[str, int]:
    """The layers of the whole network: the head comes after the backbone's last."""
    last = 1 + max(depths.values())
    return {
        **{f"backbone.{name}": depth for name, depth in depths.items()},
        **{f"head.{name}": last for name, _ in head.named_parameters()},
    }


def make_head(params: BackboneParams, width: int, num_classes: int) -> nn.Sequential:
    """The new classifier on embeddings of that width."""
    linear, hidden = nn.Linear(width, num_classes), OrderedDict[str, nn.Module]()
    if params.head == "mlp":
        hidden = OrderedDict(hidden=nn.Linear(width, params.hidden), relu=nn.ReLU(), drop=nn.Dropout(params.dropout))
        linear = nn.Linear(params.hidden, num_classes)
    return nn.Sequential(OrderedDict(dropout=nn.Dropout(params.dropout), **hidden, linear=linear))


def _embed(backbone: nn.Module, image: Tensor, name: str) -> Tensor:
    try:
        with evaluating(backbone), torch.no_grad():
            embedding = backbone(image)
    except (RuntimeError, ValueError, AssertionError) as error:  # torch's and timm's ways to refuse a size
        size, reason = image.shape[-1], " ".join(str(error).split())[:120]
        raise UsageError(f"{name} can't take images of {size} x {size} pixels ({reason}); set --image-size") from error
    if not isinstance(embedding, Tensor) or embedding.ndim != 2:
        raise UsageError(f"{name} is no CNN classifier: it doesn't make one vector of an image")
    return embedding


def _aliases(backbone: nn.Module, module: nn.Module, stages: Stages) -> Mapping[str, str]:
    """Each stage by its last module that has weights, and the backbone's own names without `backbone.` before them."""
    paths = {part: path for path, part in module.named_modules()}
    own = {name: f"backbone.{name}" for name, part in backbone.named_children() if part.state_dict()}
    heavy = {name: [unit for unit in units if unit.state_dict()] for name, units in stages.items()}
    return {**own, **{name: paths[units[-1]] for name, units in heavy.items() if units}, "fc": "head.linear"}

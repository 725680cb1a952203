"""Any `nn.Module` that maps images to logits, wrapped as a model: its stages are found from its children.

    built = wrap(torchvision.models.resnet18(num_classes=10), preprocessing=Preprocessing(size=224))

Three shapes are tried, and each is believed only when it computes the very numbers of the network itself:

1. a chain of the children, with what many `forward`s do between body and head (flatten, average) put in: a stage for
   each child that has weights;
2. the last layer taken off: the stages `backbone` and `head`;
3. the whole as one stage, `backbone`, with its logits as its embedding.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ahekit.hooks import evaluating, observing
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel, LoadedWeights
from ahekit.protocols.models import cut, embed, number_layers

Units = list[tuple[str, nn.Module]]
Stages = Mapping[str, tuple[nn.Module, ...]]

ENOUGH_STAGES = 4
"""With fewer, Sequentials are taken apart: `--freeze early` needs a stem and stages to cut between."""


class MeanOfPlaces(nn.Module):
    """The mean of each map, `(B, C, H, W)` to `(B, C)`; other than average pooling to the last bit."""

    def forward(self, maps: Tensor) -> Tensor:
        """Average over height and width."""
        return maps.mean((2, 3))


# What a `forward` does between body and head without a module of its own: most often one of these.
JOINTS: tuple[tuple[Callable[[], nn.Module], ...], ...] = (
    (),
    (nn.Flatten,),
    (partial(nn.AdaptiveAvgPool2d, 1), nn.Flatten),
    (MeanOfPlaces,),
    (nn.ReLU, partial(nn.AdaptiveAvgPool2d, 1), nn.Flatten),
)
ENDINGS: tuple[tuple[Callable[[], nn.Module], ...], ...] = ((), (nn.Flatten,), (partial(nn.LogSoftmax, 1),))


def wrap(
    module: nn.Module,
    *,
    preprocessing: Preprocessing,
    layers: Mapping[str, str] | None = None,
    pretrained: Callable[[], LoadedWeights] | None = None,
) -> BuiltModel:
    """A network of anybody's as a model.

    Args:
        module: Images `(B, 3, S, S)` to logits `(B, num_classes)`, with `S` the size of `preprocessing`. Where its last
            layer has to be taken off, it becomes the `backbone` of the model's module.
        layers: Alias to dotted path; None: `conv1`, `conv2` … and `fc1`, `fc2` … in the order of the network.
        pretrained: Loads weights, as in `BuiltModel`.

    Raises:
        Exception: Whatever the network raises on images of that size.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
        >>> list(wrap(net, preprocessing=Preprocessing(size=32)).stages)
        ['stage1', 'head']
    """
    probe = _Probe(module, preprocessing.size)
    whole = module
    stages = _chain(module, probe)
    if not stages:
        stages = {"backbone": (module,)}
        if (head := _take_off_head(module, probe)) is not None:
            stages["head"] = (head,)
            whole = nn.Sequential(OrderedDict(backbone=module, head=head))
    last = list(stages)[-1]
    body = cut(stages, last)[0] if len(stages) > 1 else whole
    own = {name: f"backbone.{name}" for name, part in module.named_children() if whole is not module}
    return BuiltModel(
        module=whole,
        preprocessing=preprocessing,
        stages=stages,
        layers={**own, **number_layers(whole)} if layers is None else layers,
        embed=partial(embed, body),
        split=partial(cut, stages),
        pretrained=pretrained,
    )


class _Probe:
    """Two noise images, and what the network makes of them in eval and in train mode."""

    def __init__(self, module: nn.Module, size: int) -> None:
        self._images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        self.evaluated = self.evaluate(module)
        self._trained = self._train(module)

    def agrees(self, other: nn.Module) -> bool:
        """Whether another network computes the same, bit for bit; dropout has to draw in the same places."""
        try:
            if not torch.equal(self.evaluate(other), self.evaluated):
                return False
            return self._trained is None or torch.equal(self._train(other, strict=True), self._trained)
        except Exception:  # what modules raise on a shape that isn't theirs has no end
            return False

    def evaluate(self, module: nn.Module) -> Any:
        """What a network makes of the images in eval mode."""
        with evaluating(module), torch.no_grad(), torch.random.fork_rng(devices=()):
            return module(self._images)

    def _train(self, module: nn.Module, *, strict: bool = False) -> Any:
        # On a copy, for train mode moves the statistics of BatchNorm.
        twin = copy.deepcopy(module).train()
        with torch.no_grad(), torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            try:
                return twin(self._images)
            except Exception:
                if strict:
                    raise
                return None  # two images of this size are too few for it to train on, which says nothing of its shape


def _chain(module: nn.Module, probe: _Probe) -> Stages:
    """The stages of a network that is its children one after the other; none where it isn't."""
    units = list(module.named_children()) or [("", module)]
    place = next((at for at, (_, unit) in enumerate(units) if isinstance(_first_with_weights(unit), nn.Linear)), None)
    for joint, ending in product(JOINTS, ENDINGS):
        if joint and place in (None, 0):
            continue
        between: Units = [("", make()) for make in joint]
        after: Units = [("", make()) for make in ending]
        joined = [*units[:place], *between, *units[place:], *after] if joint else [*units, *after]
        if probe.agrees(nn.Sequential(*(unit for _, unit in joined))):
            return _group(_taken_apart(joined))
    return {}


def _taken_apart(units: Units) -> Units:
    """Sequentials opened, level by level, until there are stages enough, and until the head is a single layer."""
    while len(_group(units)) < ENOUGH_STAGES and any(_is_plain(unit) for _, unit in units):
        units = [
            part for path, unit in units for part in (_children(path, unit) if _is_plain(unit) else [(path, unit)])
        ]
    while _is_plain(units[last := _last_with_weights(units)][1]):
        units = [*units[:last], *_children(*units[last]), *units[last + 1 :]]
    return units


def _is_plain(unit: nn.Module) -> bool:
    return isinstance(unit, nn.Sequential) and type(unit).forward is nn.Sequential.forward and len(unit) > 0


def _children(path: str, unit: nn.Module) -> Units:
    return [(f"{path}.{name}" if path else name, child) for name, child in unit.named_children()]


def _last_with_weights(units: Units) -> int:
    return max((place for place, (_, unit) in enumerate(units) if unit.state_dict()), default=0)


def _first_with_weights(unit: nn.Module) -> nn.Module | None:
    return next((part for part in unit.modules() if any(True for _ in part.parameters(recurse=False))), None)


def _group(units: Units) -> dict[str, tuple[nn.Module, ...]]:
    """A stage for each unit that mixes channels or pixels; norms, activations and pools belong to the one before.

    Dropout belongs to the one after: with the head, so that it goes on while everything before is frozen.
    """
    groups: list[tuple[str, list[nn.Module]]] = []
    waiting: list[nn.Module] = []
    for path, unit in units:
        if any(parameter.ndim > 1 for parameter in unit.parameters()):
            groups.append((path, [*waiting, unit]))
            waiting = []
        elif not groups or isinstance(unit, nn.modules.dropout._DropoutNd):
            waiting.append(unit)
        else:
            groups[-1][1].extend([*waiting, unit])
            waiting = []
    if not groups:
        return {}
    groups[-1][1].extend(waiting)
    return dict(zip(_stage_names([path for path, _ in groups]), (tuple(parts) for _, parts in groups), strict=True))


def _stage_names(paths: Sequence[str]) -> Iterator[str]:
    """The child's own name; children that only have numbers are counted; the last stage is the head."""
    taken = {"head", ""}
    for number, path in enumerate(paths[:-1], start=1):
        name = f"stage{number}" if path.split(".")[-1].isdigit() else path.replace(".", "_")
        while name in taken:
            name += "_"
        taken.add(name)
        yield name
    yield "head"


def _take_off_head(module: nn.Module, probe: _Probe) -> nn.Module | None:
    """The last layer, taken off the network; None, and the network as it was, where that can't be done."""
    path = _last_layer(module, probe)
    parent, _, name = path.rpartition(".")
    if not path or [at for at, _ in module.named_modules(remove_duplicate=False)].count(path) != 1:
        return None
    owner = module.get_submodule(parent)
    head = module.get_submodule(path)
    setattr(owner, name, nn.Identity())
    two = nn.Sequential(OrderedDict(backbone=module, head=head))
    # What stands behind the layer in `forward` (a softmax) would now stand before it, and the numbers differ.
    if probe.agrees(two) and probe.evaluate(module).ndim == 2:
        return head
    setattr(owner, name, head)
    return None


def _last_layer(module: nn.Module, probe: _Probe) -> str:
    """Path of the last linear layer that works; empty where there is none."""
    paths: list[str] = []
    layers = {path: part for path, part in module.named_modules() if path and isinstance(part, nn.Linear)}
    with observing(layers, lambda name, *_: paths.append(name)):
        probe.evaluate(module)
    return paths[-1] if paths.count(paths[-1] if paths else "") == 1 else ""

"""What a model plugin provides: a network, and all that the rest of the tool needs to know of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from pydantic import BaseModel

from ahekit.errors import UnknownNameError
from ahekit.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor, nn

    Stages: TypeAlias = Mapping[str, tuple[nn.Module, ...]]


@dataclass(frozen=True)
class LoadedWeights:
    """What came of loading pretrained weights.

    Attributes:
        source: Where they are from.
        loaded: Number of the backbone's tensors that were set.
        missing: Those that the source lacks and can do without (counters of BatchNorm).
        unexpected: What the source holds beside (its own classifier).
        prefix: What was taken off the names of its tensors.
    """

    source: str
    loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    prefix: str = ""


@dataclass(frozen=True)
class BuiltModel:
    """A network and all that freezing, layer-wise rates, hooks, visualizers and export need to know of it.

    Attributes:
        module: Maps normalized images `(B, 3, H, W)` to logits `(B, num_classes)`.
        preprocessing: How pixels become its input.
        stages: Stage name to its modules, in order from input to head. Together the stages hold every parameter
            once; the last one is the head.
        layers: Alias (`conv3`) to dotted module path. Dotted paths always work beside the aliases.
        embed: Normalized images to the embedding before the head, `(B, D)`.
        split: `split(stage)` cuts before that stage: `(prefix, suffix)` with `suffix(prefix(x)) == module(x)`.
        depths: Number of each parameter's layer, counted from the input, where the network knows finer layers than its
            stages; layer-wise learning rates go by them. Empty: they go by stages.
        pretrained: Loads the pretrained weights that the parameters ask for; None: the weights stay fresh. Called
            once, when a new run starts: a run that goes on has its own.
    """

    module: nn.Module
    preprocessing: Preprocessing
    stages: Mapping[str, tuple[nn.Module, ...]]
    layers: Mapping[str, str]
    embed: Callable[[Tensor], Tensor]
    split: Callable[[str], tuple[nn.Module, nn.Module]]
    depths: Mapping[str, int] = field(default_factory=dict)
    pretrained: Callable[[], LoadedWeights] | None = None

    @classmethod
    def from_stages(
        cls,
        stages: Mapping[str, nn.Module],
        *,
        preprocessing: Preprocessing,
        layers: Mapping[str, str] | None = None,
        depths: Mapping[str, int] | None = None,
        pretrained: Callable[[], LoadedWeights] | None = None,
    ) -> BuiltModel:
        """A network that is a chain of its stages: module, cuts and embedding follow from them.

        Args:
            stages: By name, from input to head; each takes what the one before it returns.
            layers: Alias to dotted path; None: `conv1`, `conv2` … and `fc1`, `fc2` … in the order of the stages.

        Example:
            >>> from torch import nn
            >>> body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            >>> stages = {"body": body, "head": nn.Linear(8, 10)}
            >>> built = BuiltModel.from_stages(stages, preprocessing=Preprocessing(size=64))
            >>> dict(built.layers)
            {'conv1': 'body.0', 'fc1': 'head'}
        """
        from torch import nn

        module = nn.Sequential(OrderedDict(stages))
        units = {name: (stage,) for name, stage in stages.items()}
        return cls(
            module=module,
            preprocessing=preprocessing,
            stages=units,
            layers=number_layers(module) if layers is None else layers,
            embed=partial(embed, module[:-1]),
            split=partial(cut, units),
            depths=depths or {},
            pretrained=pretrained,
        )


def cut(stages: Stages, stage: str) -> tuple[nn.Module, nn.Module]:
    """Everything before a stage of a chain, and the stage with everything after it.

    Raises:
        UnknownNameError: There is no such stage.
    """
    from torch import nn

    if stage not in stages:
        raise UnknownNameError("stage", stage, stages, listed=stages)
    place = list(stages).index(stage)
    parts = list(stages.values())
    before = [unit for units in parts[:place] for unit in units]
    return nn.Sequential(*before), nn.Sequential(*(unit for units in parts[place:] for unit in units))


def embed(body: nn.Module, images: Tensor) -> Tensor:
    """What the body makes of images, as one vector `(B, D)` of each: maps are averaged over their places."""
    output: Tensor = body(images)
    return output.mean((2, 3)) if output.ndim == 4 else output.flatten(1)


def number_layers(module: nn.Module) -> dict[str, str]:
    """Aliases `conv1` … and `fc1` … of the convolutions and linear layers, in the order of the network's modules."""
    from torch import nn

    paths = {path: part for path, part in module.named_modules() if path}
    layers: dict[str, str] = {}
    for prefix, kind in (("conv", nn.Conv2d), ("fc", nn.Linear)):
        of_kind = [path for path, part in paths.items() if isinstance(part, kind)]
        layers |= {f"{prefix}{number}": path for number, path in enumerate(of_kind, start=1)}
    # A module that goes by such a name itself keeps it.
    return {alias: path for alias, path in layers.items() if alias == path or alias not in paths}


class ModelPlugin(Protocol):
    """Builds a network. Entry-point group `ahekit.models`."""

    @property
    def Params(self) -> type[BaseModel]:
        """What can be set; a class attribute does."""
        ...

    @property
    def image_size(self) -> int:
        """Side length in pixels that the model is built for when the run doesn't say."""
        ...

    def build(self, params: Any, *, num_classes: int, image_size: int) -> BuiltModel | nn.Module:
        """Build the network with fresh weights.

        A plain `nn.Module` does: it gets the default `Preprocessing` and the stages that are found from its children
        (`ahekit.backbones.wrap.wrap`).

        Raises:
            UsageError: `image_size` is one the network cannot take.
        """
        ...


@dataclass(frozen=True)
class Suggestion:
    """A model worth starting with: one line of a CSV file of these columns, beside a model plugin's or family's module.

    The file carries the module's name (`nets/family.csv` beside `nets/family.py`), so that `ahekit plugins` and
    completion know it without importing anything.

    Attributes:
        parameters: With a head for ten classes.
        multiply_adds: For one image of its own size.
        image_size: Its own, pixels a side.
    """

    name: str
    parameters: int
    multiply_adds: int
    image_size: int


class ModelFamily(Protocol):
    """Resolves many model names at once; its entry-point name ends in `/*` (`timm/*`).

    Asked only when no plain name matches, or when the name is written with the family's prefix (`timm/resnet18`).
    Which of them are worth starting with, a file of `Suggestion`s says.
    """

    def names(self) -> Sequence[str]:
        """Every name the family resolves, for near matches."""
        ...

    def resolve(self, name: str) -> ModelPlugin | None:
        """The plugin for `name`, or None when the family doesn't know it."""
        ...


def stage_names(stages: Iterable[str]) -> str:
    """Stage names in order, for messages."""
    return " → ".join(stages)

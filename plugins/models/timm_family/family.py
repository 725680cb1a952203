"""Every CNN classifier of timm by its timm name, with its own pretrained weights and preprocessing.

PyTorch Image Models, https://github.com/huggingface/pytorch-image-models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import timm
from timm.models import group_parameters
from torch import nn

from ahekit.backbones.build import build
from ahekit.backbones.params import BackboneParams
from ahekit.backbones.weights import load_from_file, load_from_url
from ahekit.errors import UnknownNameError, UsageError
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel, LoadedWeights

from .hub_weights import convention, load_from_hub, load_from_package

NO_CONVOLUTION = (
    "Attention",
    "MlpMixer",
    "BottleneckAttn",
    "HaloAttn",
    "LambdaLayer",
    "CrossCovarianceAttn",
    "LiteMLA",
)
"""Parts of the class names of what mixes pixels by anything but convolutions, in timm and torch."""


class TimmFamily:
    """Every CNN classifier of timm by its timm name."""

    def names(self) -> Sequence[str]:
        """Every name of timm; those that are no CNN are refused when they are built."""
        return list(timm.list_models())

    def resolve(self, name: str) -> TimmModel | None:
        """The plugin for a timm name, with or without a tag (`resnet18.a1_in1k`)."""
        architecture, _, tag = name.partition(".")
        return TimmModel(architecture, tag or None) if timm.is_model(architecture) else None


class TimmModel:
    """A CNN of timm with a new head; pretrained unless told otherwise."""

    Params = BackboneParams

    def __init__(self, architecture: str, tag: str | None = None) -> None:
        self._architecture, self._tag = architecture, tag
        self.image_size = int(_config(architecture, tag)["input_size"][-1])

    def build(self, params: BackboneParams, *, num_classes: int, image_size: int) -> BuiltModel:
        """Build the network; its weights are random until `BuiltModel.pretrained` is called.

        Raises:
            UsageError: It is no CNN classifier, or can't take images of that size.
        """
        name, tag = self._architecture, params.tag or self._tag
        config = _config(name, tag)
        backbone = _create(name, params)
        _check_is_cnn(backbone, name)
        built: BuiltModel = build(
            backbone,
            params,
            name=name,
            ends=_ends(backbone),
            preprocessing=_preprocessing(config, image_size),
            num_classes=num_classes,
            load=_loader(name, tag, params.weights),
            depths=_depths(backbone),
        )
        return built


def _ends(backbone: Any) -> list[str]:
    """Path of the last module of each stage."""
    return [info["module"] for info in backbone.feature_info]


def _depths(backbone: Any) -> dict[str, int]:
    """Number of each parameter's layer by timm's own grouping, from the stem on; that of its layer-wise rates."""
    return dict(group_parameters(backbone, backbone.group_matcher(coarse=False), reverse=True))


def _config(name: str, tag: str | None) -> dict[str, Any]:
    """What timm knows of a set of pretrained weights, or of the network's default."""
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    if tag and tag not in tags:
        raise UnknownNameError("tag", tag, tags, hint=f"They are the hub's weights of {name}", listed=tags)
    known = timm.get_pretrained_cfg(f"{name}.{tag}" if tag else name)
    config: dict[str, Any] = asdict(known) if known else {}
    return {**config, **_data_config(config)}


def _data_config(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as timm itself reads it, with its defaults for what is left open."""
    resolve: Any = timm.data.resolve_data_config  # type: ignore[attr-defined]
    return dict(resolve(pretrained_cfg=config))


def _create(name: str, params: BackboneParams) -> nn.Module:
    """The network without its classifier."""
    more: dict[str, Any] = {"drop_path_rate": params.drop_path} if params.drop_path else {}
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, **more)
    except TypeError as error:
        if not more:
            raise UsageError(f"{name} is no classifier ({error}); `ahekit plugins` names some") from error
        raise UsageError(f"model.params.drop_path: {name} has no residual blocks to skip; leave it at 0") from error


def _check_is_cnn(backbone: nn.Module, name: str) -> None:
    kinds = {type(part).__name__ for part in backbone.modules()}
    attention = sorted(kind for kind in kinds if any(word in kind for word in NO_CONVOLUTION))
    convolves = any(isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1 for part in backbone.modules())
    if attention or not convolves or not getattr(backbone, "feature_info", None):
        why = f"it works by {attention[0]}" if attention else "it lacks convolutions, or maps to cut between"
        raise UsageError(f"{name} is no CNN classifier ({why}); `ahekit plugins` names some that are")


def _preprocessing(config: Mapping[str, Any], image_size: int) -> Preprocessing:
    interpolation = str(config["interpolation"])
    return Preprocessing(
        size=image_size,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=interpolation if interpolation in ("nearest", "bilinear", "lanczos") else "bicubic",  # type: ignore[arg-type]
        fit="stretch" if config["crop_mode"] == "squash" else "crop",
        crop_fraction=float(config["crop_pct"]),
    )


def _loader(name: str, tag: str | None, weights: str) -> Callable[[nn.Module], LoadedWeights] | None:
    if weights == "none":
        return None
    if weights.startswith("package:"):
        return partial(load_from_package, name=name, package=weights.removeprefix("package:"))
    if weights != "hub":
        return partial(_load_file, path=Path(weights))
    config = _config(name, tag)
    if config.get("url") and not config.get("hf_hub_id"):
        return partial(_load_url, name=name, url=str(config["url"]))
    if not config.get("hf_hub_id"):
        raise UsageError(f"{name} has no pretrained weights on the hub; use --weights FILE or --weights none")
    return partial(
        load_from_hub,
        architecture=f"{name}.{tag or config['tag']}",
        hub_id=str(config["hf_hub_id"]),
        filename=config.get("hf_hub_filename"),
    )


def _load_file(backbone: nn.Module, *, path: Path) -> LoadedWeights:
    weights: LoadedWeights = load_from_file(backbone, path=path, convert=convention(backbone))
    return weights


def _load_url(backbone: nn.Module, *, name: str, url: str) -> LoadedWeights:
    return load_from_url(backbone, name=name, url=url, convert=convention(backbone))

"""What can be set of class images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ahekit.protocols import Params

_ROBUST_ONLY = ("objective", "views", "decay", "rotation", "shift", "blur", "tv", "l2", "diversity", "bn")


class ClassImageParams(Params):
    """What can be set."""

    method: Literal["robust", "ascent"] = Field(
        "robust", description="robust: Fourier coefficients under random transforms and priors; ascent: bare pixels"
    )
    target: str = Field("all", description="class to make an image for, or all")
    unit: int | None = Field(None, ge=0, description="unit of the layer to make an image for, instead of a class")
    images_per_class: int = Field(1, ge=1, description="images for each class (or unit), from different starts")
    steps: int | None = Field(None, ge=1, description="steps of Adam; none: 1000 of ascent, 300 of robust")
    lr: float | None = Field(None, gt=0, description="learning rate; none: 0.01 of ascent, 0.08 of robust, falling")
    init: Path | None = Field(None, description="picture that ascent starts from; none: noise")
    objective: Literal["odds", "logit", "embedding"] = Field(
        "odds",
        description="robust, what makes a class: odds: its logit less the others'; logit: its logit alone; embedding: "
        "nearness to the embeddings of its training images",
    )
    views: int = Field(1, ge=1, description="robust: times that images are moved and shown at each step")
    decay: float = Field(1.1, ge=0, description="robust: power of the frequency that detail starts and moves less by")
    rotation: float = Field(0.1, ge=0, description="robust: largest random turn, radians")
    shift: float = Field(0.12, ge=0, lt=1, description="robust: largest random shift, as a share of the image")
    blur: float = Field(
        0.0, ge=0, lt=0.3, description="robust: blur at the start, as a share of the image; gone halfway"
    )
    tv: float = Field(2.0, ge=0, description="robust: weight of the total variation, which is taken off")
    l2: float = Field(2.0, ge=0, description="robust: weight of the mean squared distance from gray, taken off")
    diversity: float = Field(
        2.0, ge=0, description="robust: weight of how alike the images of one class are, taken off where there are more"
    )
    bn: float = Field(
        4.0, ge=0, description="robust: weight of the gap to the statistics stored by BatchNorm layers, taken off"
    )
    nearest: bool = Field(True, description="find the nearest training image of each, in a pass over all of them")
    every: int | None = Field(None, ge=1, description="steps from frame to frame of an animation; none: no animation")
    animation: Literal["gif", "webp"] = Field("gif", description="form of the animation")

    @model_validator(mode="after")
    def _what_is_set_has_an_effect(self) -> ClassImageParams:
        names = self.model_fields_set
        if self.init is not None and self.method != "ascent":
            raise ValueError("init: a picture to start from goes with --method ascent only")
        if self.init is not None and self.images_per_class > 1:
            raise ValueError(
                "images_per_class: from one picture ascent makes one image; leave out init or images_per_class"
            )
        if self.method == "ascent" and (idle := [name for name in _ROBUST_ONLY if name in names]):
            raise ValueError(f"{idle[0]}: goes with --method robust only")
        if self.unit is not None and (idle := [name for name in ("objective", "target") if name in names]):
            raise ValueError(f"{idle[0]}: goes with classes, not with a unit")
        if "diversity" in names and self.images_per_class == 1:
            raise ValueError("diversity: goes with several images of a class; set images_per_class too")
        if self.every is None and "animation" in names:
            raise ValueError("animation: goes with --every, the steps from frame to frame")
        return self

    @property
    def number_of_steps(self) -> int:
        """Of Adam."""
        return self.steps or (1000 if self.method == "ascent" else 300)

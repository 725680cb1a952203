"""How pixels become a model's input: size, fit, interpolation and normalization."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Fit = Literal["stretch", "crop", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become a model's input.

    An image is brought to `size` x `size` pixels by `fit` ("stretch" ignores the aspect ratio, "crop" resizes the
    shorter side to `size / crop_fraction` and cuts the centre, "pad" resizes the longer side and pads with gray),
    scaled to [0, 1], then normalized per channel: `(pixel - mean) / std`.

    With `detail`, the square is first made of that many pixels a side, with the same filter, and enlarged to `size`:
    a network that learned from small pictures then meets large ones as coarse as those were.
    """

    size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    interpolation: Interpolation = "bilinear"
    fit: Fit = "stretch"
    crop_fraction: float = 1.0
    detail: int | None = None

    @property
    def sharpest(self) -> int:
        """Pixels a side that the square is made of, before it may be enlarged to `size`."""
        return self.size if self.detail is None else min(self.detail, self.size)

    def input_box(self, width: float, height: float) -> tuple[float, float, float, float]:
        """What of a picture the input's square covers: left, top, right and bottom in the picture's pixels.

        The square of "pad" reaches beyond the picture, that of "crop" leaves some of it out.
        """
        if self.fit == "stretch":
            return 0.0, 0.0, width, height
        side = max(width, height) if self.fit == "pad" else min(width, height) * self.crop_fraction
        left = (width - side) / 2
        top = (height - side) / 2
        return left, top, left + side, top + side

    def overlaid(
        self, *, fit: Fit | None, interpolation: Interpolation | None, detail: int | None = None
    ) -> Preprocessing:
        """This one with the fit, interpolation and detail that a run chose; None leaves the model's own."""
        return replace(
            self,
            fit=fit or self.fit,
            interpolation=interpolation or self.interpolation,
            detail=detail or self.detail,
        )

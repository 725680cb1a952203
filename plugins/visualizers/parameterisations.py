"""What an optimised image is made of: a tensor of parameters and the function that renders it."""

from __future__ import annotations

import torch
from torch import Tensor

from .synthesis import Render

# Colours of photographs vary mostly in brightness, far less from blue to orange, least from green to magenta: axes
# that are close to their principal ones, and rough shares of the spread along each.
_AXES = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))
_SPREADS = (1.0, 0.35, 0.15)


def as_it_is(images: Tensor) -> Tensor:
    """Parameters that are the image itself."""
    return images


def fourier(
    count: int, size: int, *, random: torch.Generator, spread: float = 0.3, decay: float = 1.0
) -> tuple[Tensor, Render]:
    """Images `(B, 3, S, S)` in [0, 1] by their Fourier coefficients, in colours that vary independently.

    Coefficients are scaled by 1 / frequency^decay, as in photographs, so that one step changes coarse and fine parts
    alike in proportion. Feature Visualization, https://distill.pub/2017/feature-visualization/.

    Args:
        random: Draws the starting coefficients, image by image.
        spread: Of the starting image, before colours and sigmoid.
    """
    frequencies = torch.sqrt(
        torch.fft.fftfreq(size)[:, None].square() + torch.fft.rfftfreq(size)[None, :].square()
    ).clamp(min=1 / size)
    scale = frequencies**-decay
    shape = (count, 3, size, size // 2 + 1, 2)
    start = torch.randn(shape, generator=random)
    colours = colour_matrix()
    # The plain inverse transform of unit noise so scaled has this standard deviation.
    strength = spread / (torch.fft.irfft2(torch.view_as_complex(start) * scale, s=(size, size)).std() + 1e-12)

    def render(parameters: Tensor) -> Tensor:
        weights = scale.to(parameters) * strength.to(parameters)
        planes = torch.fft.irfft2(torch.view_as_complex(parameters) * weights, s=(size, size))
        coloured: Tensor = torch.einsum("rc,bchw->brhw", colours.to(parameters), planes).sigmoid()
        return coloured

    return start, render


def colour_matrix() -> Tensor:
    """Maps three independent planes to red, green and blue, `(3, 3)`; its columns are brightness and two contrasts."""
    axes = torch.tensor(_AXES)
    matrix: Tensor = (axes / axes.norm(dim=1, keepdim=True) * torch.tensor(_SPREADS)[:, None]).T * 3**0.5
    return matrix

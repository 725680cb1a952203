"""What an optimized image is made of: a tensor of parameters and the function that renders it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ahekit.inspection.synthesis import Render

# Colours of photographs vary mostly in brightness, far less from blue to orange, least from green to magenta: axes
# that are close to their principal ones, and rough shares of the spread along each.
_AXES = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))
_SPREADS = (1.0, 0.35, 0.15)


def as_it_is(images: Tensor) -> Tensor:
    """Parameters that are the image itself."""
    return images


def noise(seeds: Sequence[int], size: int) -> Tensor:
    """Uniform noise in [0, 1), `(B, 3, S, S)`, a function of each image's own seed."""
    return torch.stack([torch.rand(3, size, size, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def fourier(seeds: Sequence[int], size: int, *, spread: float = 0.3, decay: float = 1.0) -> tuple[Tensor, Render]:
    """Images `(B, 3, S, S)` in [0, 1] by their Fourier coefficients, in colours that vary independently.

    Coefficients are scaled by 1 / frequency^decay, as in photographs, so that one step changes coarse and fine parts
    alike in proportion. Feature Visualization, https://distill.pub/2017/feature-visualization/.

    Args:
        seeds: Of each image's starting coefficients.
        spread: Standard deviation of a starting image, before colours and sigmoid.
    """
    frequencies = torch.sqrt(
        torch.fft.fftfreq(size)[:, None].square() + torch.fft.rfftfreq(size)[None, :].square()
    ).clamp(min=1 / size)  # the mean colour, of frequency zero, counts like the lowest one
    scale = frequencies**-decay
    shape = (3, size, size // 2 + 1, 2)
    start = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    colours = colour_matrix()
    # By Parseval's theorem: a coefficient stands for itself and its conjugate, but for the first column (and the last,
    # of an even size), of whose planes only the real part counts.
    counts = torch.full((size // 2 + 1,), 4.0)
    counts[0] = counts[size // 2 if size % 2 == 0 else 0] = 1.0
    scale *= spread * size**2 / (counts * scale.square()).sum().sqrt()

    def render(parameters: Tensor) -> Tensor:
        planes = torch.fft.irfft2(torch.view_as_complex(parameters) * scale.to(parameters), s=(size, size))
        coloured: Tensor = torch.einsum("rc,bchw->brhw", colours.to(parameters), planes).sigmoid()
        return coloured

    return start, render


def colour_matrix() -> Tensor:
    """Maps three independent planes to red, green and blue, `(3, 3)`; its columns are brightness and two contrasts."""
    axes = torch.tensor(_AXES)
    directions = axes / axes.norm(dim=1, keepdim=True)
    # Times the root of 3, a plane of the brightness changes each colour by as much as itself.
    matrix: Tensor = (directions * torch.tensor(_SPREADS)[:, None]).T * 3**0.5
    return matrix

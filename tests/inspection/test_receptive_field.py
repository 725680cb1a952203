"""Receptive fields: known values, and the pixels that gradients really reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ahekit.inspection.receptive_field import Axis, ReceptiveFields, Size
from ahekit_plugins.models.cnn5 import Cnn5


class Net(nn.Module):
    """Convolutions by name, put together by a function."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **convolutions: nn.Module) -> None:
        super().__init__()
        self.wiring = forward
        for name, module in convolutions.items():
            self.add_module(name, module)

    def forward(self, images: Tensor) -> Tensor:
        return self.wiring(self, images)


def conv(width: int, out: int, kernel: int | tuple[int, int], **options: int | tuple[int, int]) -> nn.Conv2d:
    return nn.Conv2d(width, out, kernel, **options)  # type: ignore[arg-type]


def residual() -> nn.Module:
    body = nn.Sequential(conv(4, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(True), conv(4, 4, 3, padding=1))
    short = conv(4, 4, 1, stride=2)
    return Net(
        lambda net, x: net.body(net.stem(x)).add_(net.short(net.stem(x))), stem=conv(3, 4, 3), body=body, short=short
    )


def lopsided() -> nn.Module:
    """Two branches whose fields overlap only in part, so that the union is wider than either."""
    left, right = conv(3, 2, 3), conv(3, 2, 3)

    def forward(net: Any, x: Tensor) -> Any:
        ahead, behind = functional.pad(x, (4, 0, 1, 1)), functional.pad(x, (0, 4, 1, 1))
        return net.last(torch.cat([net.left(ahead), net.right(behind)], 1))

    return Net(forward, left=left, right=right, last=conv(4, 4, 1))


def inception() -> nn.Module:
    wide = nn.Sequential(conv(3, 2, (1, 7), padding=(0, 3)), conv(2, 2, (3, 1), padding=(1, 0)))
    pool = nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), conv(3, 2, 1))
    return Net(lambda net, x: torch.cat([net.wide(x), net.pool(x)], 1), wide=wide, pool=pool)


def channels_moved_about() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Any:
        maps = net.first(x)
        shuffled = maps.view(1, 2, 2, *maps.shape[2:]).transpose(1, 2).reshape(maps.shape)
        first, second = shuffled.permute(0, 2, 3, 1).permute(0, 3, 1, 2).chunk(2, 1)
        return net.last(first * 2 + second)

    return Net(forward, first=conv(3, 4, 3), last=conv(2, 2, 5, stride=3))


CASES: dict[str, Callable[[], nn.Module]] = {
    "chain": lambda: nn.Sequential(conv(3, 4, 5, stride=2, padding=2), nn.AvgPool2d(2), conv(4, 4, 3, dilation=3)),
    "strides that differ": lambda: nn.Sequential(conv(3, 4, (3, 5), stride=(1, 2)), conv(4, 4, 3)),
    "depthwise": lambda: nn.Sequential(conv(3, 6, 3, groups=3), conv(6, 6, 3, groups=6, stride=2)),
    "tiles averaged": lambda: nn.Sequential(conv(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(16)),
    "residual": residual,
    "lopsided": lopsided,
    "inception": inception,
    "channels moved about": channels_moved_about,
}


def field(net: nn.Module, size: int = 64) -> Size:
    image = torch.zeros(1, 3, size, size)
    with torch.no_grad(), ReceptiveFields(image) as fields:
        maps = net.eval()(image)
    found: Size = fields.of(maps)
    return found


def reached(net: nn.Module, size: int = 64) -> tuple[int, int]:
    """Height and width of the pixels that a central element's gradient reaches, all weights being positive."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_().add_(0.1)
    image = torch.ones(1, 3, size, size, requires_grad=True)
    maps = net.eval()(image)
    maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2].sum().backward()
    assert image.grad is not None
    rows, columns = image.grad.abs().sum((0, 1)).nonzero().T
    return int(rows.max() - rows.min() + 1), int(columns.max() - columns.min() + 1)


@pytest.mark.parametrize("case", CASES)
def test_fields_are_those_that_gradients_reach(case: str) -> None:
    torch.manual_seed(0)
    net = CASES[case]()
    assert field(net) == reached(net)


@pytest.mark.parametrize("case", CASES)
def test_pixels_of_a_place_are_those_that_its_gradient_reaches_cut_at_the_border(case: str) -> None:
    torch.manual_seed(0)
    net = CASES[case]().eval()
    image = torch.ones(1, 3, 64, 64, requires_grad=True)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_().add_(0.1)
        with ReceptiveFields(image) as fields:
            axes = fields.axes(net(image))
    assert axes is not None
    maps = net(image)
    height, width = maps.shape[2:]
    for y, x in ((0, 0), (1, width // 2), (height - 1, width - 1)):
        (gradient,) = torch.autograd.grad(maps[:, :, y, x].sum(), image, retain_graph=True)
        rows, columns = gradient.abs().sum((0, 1)).nonzero().T
        assert axes[0].pixels(y, 64) == (int(rows.min()), int(rows.max()) + 1)
        assert axes[1].pixels(x, 64) == (int(columns.min()), int(columns.max()) + 1)


def test_place_that_sees_only_padding_gets_the_pixel_next_to_it() -> None:
    # A 1x1 convolution with two pixels of padding.
    axis = Axis(0, 0, 1).window(1, 1, 2, 1)
    assert [axis.pixels(place, 3) for place in range(7)] == [(0, 1), (0, 1), (0, 1), (1, 2), (2, 3), (2, 3), (2, 3)]


def test_overlapping_branches_have_the_union_of_their_fields() -> None:
    # 3 wide each, the centres 4 apart.
    assert field(lopsided()) == (3, 7)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        # Each convolution adds two of the steps before it, each pool one: 3, 4+4, 10+8, 22+16, 46+32.
        ("max", [3, 8, 18, 38, 78]),
        ("avg", [3, 8, 18, 38, 78]),
        ("stride", [3, 7, 15, 31, 63]),
        ("dilate", [3, 7, 15, 31, 63]),
        # Maximum and triangle filter together add three steps: 3, 6+4, 16+8, 36+16, 76+32.
        ("blur", [3, 10, 24, 52, 108]),
    ],
)
def test_fields_of_cnn5_by_hand(pool: str, expected: list[int]) -> None:
    params = Cnn5.Params(pool=pool, channels=(2, 2, 2, 2, 2), hidden=(4,))
    module: Any = Cnn5().build(params, num_classes=2, image_size=32).module
    found: list[Size] = []
    image = torch.zeros(1, 3, 32, 32)
    with torch.no_grad(), ReceptiveFields(image) as fields:
        maps = image
        for number in range(1, 6):
            block = module.eval().get_submodule(f"block{number}")
            found.append(fields.of(block.conv(maps)))
            maps = block(maps)
        embedding = module.dense1(maps)
    assert found == [(side, side) for side in expected]
    assert fields.of(maps) is None, "flattened, the elements still have a field each, but side by side no more"
    assert fields.of(embedding) == "all"


def test_cnn5_reaches_the_pixels_it_says() -> None:
    params = Cnn5.Params(pool="avg", norm="none", channels=(2, 2, 2, 2, 2), hidden=())
    module: Any = Cnn5().build(params, num_classes=2, image_size=160).module
    blocks = nn.Sequential(module.block1, module.block2, module.block3, module.block4, module.block5[:-2])
    assert field(blocks, 160) == reached(blocks, 160) == (78, 78)


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(conv(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
        nn.Sequential(conv(3, 4, 3), nn.AdaptiveMaxPool2d(1), conv(4, 4, 1)),
        nn.Sequential(conv(3, 4, 3), nn.Flatten(), nn.Dropout(), nn.Linear(4 * 62 * 62, 2)),
        Net(lambda net, x: net.conv(x) * net.conv(x).mean((2, 3), keepdim=True).sigmoid(), conv=conv(3, 4, 3)),
    ],
    ids=["pooled", "pooled maximum", "fully connected", "squeeze and excitation"],
)
def test_what_sees_every_pixel_says_all(net: nn.Module) -> None:
    assert field(net) == "all"


@pytest.mark.parametrize(
    "net",
    [
        nn.ConvTranspose2d(3, 4, 3, stride=2),
        nn.Upsample(scale_factor=2),
        nn.AdaptiveAvgPool2d(5),
        Net(lambda net, x: x[:, :, ::2], conv=nn.Identity()),
        Net(lambda net, x: torch.cat([x, x], 2), conv=nn.Identity()),
        Net(
            lambda net, x: net.conv(x) + nn.functional.avg_pool2d(x, 1, 2)[:, :, :31, :31], conv=conv(3, 3, 4, stride=2)
        ),
        Net(lambda net, x: torch.fft.fft2(x).real, conv=nn.Identity()),
        Net(lambda net, x: x.softmax(2), conv=nn.Identity()),
    ],
    ids=["transposed", "upsampled", "uneven bins", "sliced", "stacked", "cropped", "spectrum", "softmax over places"],
)
def test_what_it_cannot_tell_it_does_not_tell(net: nn.Module) -> None:
    assert field(net) is None


def test_only_what_comes_from_the_image_is_followed() -> None:
    image = torch.zeros(1, 3, 8, 8)
    with torch.no_grad(), ReceptiveFields(image) as fields:
        unrelated = torch.ones(1, 3, 8, 8) + 1
        assert fields.of(image) == (1, 1)
        assert fields.of(unrelated) is None
        assert fields.of(image + unrelated) == (1, 1)

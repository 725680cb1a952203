"""Units measured in a stream, against toy networks whose units are known and against the whole batch at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ahekit.errors import RunError, UsageError
from ahekit.inspection.selectivity import class_selectivity
from ahekit.inspection.units import UnitsMeasured, find_unit_layers, measure_units, permute_labels
from ahekit_plugins.models.cnn5 import Cnn5

SIZE = 12


def batches(images: Tensor, size: int) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(images), size):
        yield slice(start, min(start + size, len(images))), images[start : start + size]


def measure(
    net: nn.Module,
    images: Tensor,
    labels: list[int] | NDArray[Any],
    *,
    layer: str = "0",
    batch: int = 4,
    **options: Any,
) -> UnitsMeasured:
    layers = find_unit_layers(net, {"layer": layer}, images[:1] * 0)
    settings = {"num_classes": 3, "size": images.shape[2], "permutations": 20, "top": 3} | options
    return measure_units(net, layers, batches(images, batch), np.array(labels), **settings)["layer"]


def channels_as_units() -> nn.Sequential:
    """Unit k is colour k."""
    net = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.ReLU(inplace=True))
    net[0].weight.data = torch.eye(3).view(3, 3, 1, 1)
    return net


def random_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(5, 4, 3),
        nn.ReLU(inplace=True),
    ).eval()


def random_images(count: int) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def test_unit_that_fires_for_one_class_alone_has_selectivity_1() -> None:
    labels = [0, 1, 2, 0, 1, 2, 0, 1]
    images = torch.zeros(8, 3, 4, 4)
    for number, label in enumerate(labels):
        images[number, label, number % 4, 1] = 1.0 + number

    found = measure(channels_as_units(), images, labels)

    assert found.selectivity.tolist() == [1.0, 1.0, 1.0]
    assert found.best_class.tolist() == [0, 1, 2]
    # Means over 16 places and over the images of the class, of which one place is bright.
    np.testing.assert_allclose(np.diag(found.class_means), [(1 + 4 + 7) / 48, (2 + 5 + 8) / 48, (3 + 6) / 32])
    assert found.top_images.tolist() == [[6, 3, 0], [7, 4, 1], [5, 2, -1]]
    assert found.top_values.tolist() == [[7.0, 4.0, 1.0], [8.0, 5.0, 2.0], [6.0, 3.0, 0.0]]
    assert found.majority_class.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.majority_share, [1.0, 1.0, 2 / 3])
    assert not found.dead.any()
    # Row and column of the bright pixel: a 1x1 convolution sees nothing else.
    assert found.top_boxes[0].tolist() == [[2, 3, 1, 2], [3, 4, 1, 2], [0, 1, 1, 2]]


def test_unit_below_zero_everywhere_is_dead_and_prefers_nothing() -> None:
    net = channels_as_units()
    net[0].weight.data = torch.diag(torch.tensor([1.0, -1.0, 1.0])).view(3, 3, 1, 1)
    found = measure(net, torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)), [0, 1, 2, 0, 1, 2])

    assert found.dead.tolist() == [False, True, False]
    assert np.isnan(found.selectivity).tolist() == [False, True, False]
    assert found.best_class[1] == found.majority_class[1] == -1
    assert found.top_images[1].tolist() == [-1, -1, -1]
    assert found.majority_share[1] == 0.0


@pytest.mark.parametrize("layer", ["0", "4"])
def test_streaming_is_the_whole_batch_at_once(layer: str) -> None:
    net, images = random_net(), random_images(13)
    labels = np.arange(13) % 3
    with torch.no_grad():
        maps = (net[:2] if layer == "0" else net[:5])(images).clamp(min=0)
    means = np.stack([maps.mean((2, 3))[torch.from_numpy(labels == number)].mean(0).numpy() for number in range(3)], 1)
    peaks = maps.amax((2, 3))

    found = measure(net, images, labels, layer=layer)

    np.testing.assert_allclose(found.class_means, means, rtol=1e-5)
    np.testing.assert_allclose(found.selectivity, class_selectivity(means)[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.top_images, peaks.T.argsort(1, descending=True)[:, :3])
    np.testing.assert_allclose(found.top_values, peaks.T.sort(1, descending=True).values[:, :3], rtol=1e-6)


def test_size_of_the_batches_changes_nothing() -> None:
    # Whole numbers, so that the forward pass itself rounds nothing, and many images are level.
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)).double()
    random = torch.Generator().manual_seed(0)
    net[0].weight.data = torch.randint(-1, 2, (4, 3, 3, 3), generator=random).double()
    net[0].bias.data = torch.tensor([0.0, -1.0, -6.0, -99.0], dtype=torch.float64)
    images = torch.randint(0, 2, (17, 3, 8, 8), generator=random).double()
    labels = np.arange(17) % 3

    whole = measure(net, images, labels, batch=17)

    for size in (1, 2, 5, 16):
        parts = measure(net, images, labels, batch=size)
        for name, expected in vars(whole).items():
            np.testing.assert_array_equal(getattr(parts, name), expected, err_msg=f"{name}, batches of {size}")


def test_activity_is_taken_behind_the_normalization_that_gets_the_very_output() -> None:
    net = random_net()
    image = torch.zeros(1, 3, SIZE, SIZE)
    layers = find_unit_layers(net, {"conv1": "0", "conv2": "4", "pool": "2"}, image)
    assert {name: layer.path for name, layer in layers.items()} == {"conv1": "1", "conv2": "4", "pool": "2"}


class Shortcut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        maps += images
        out: Tensor = self.norm(maps)
        return out


def test_sum_in_place_between_layer_and_normalization_parts_them() -> None:
    layers = find_unit_layers(Shortcut(), {"conv": "conv"}, torch.zeros(1, 3, 6, 6))
    assert layers["conv"].path == "conv"


def test_patches_are_the_pixels_that_the_strongest_place_depends_on() -> None:
    net, images = random_net(), random_images(4)
    found = measure(net, images, [0, 1, 2, 0], layer="4", top=1)
    for unit in range(4):
        number = int(found.top_images[unit, 0])
        image = images[number : number + 1].clone().requires_grad_()
        maps = net[:5](image)
        assert isinstance(maps, Tensor)
        (gradient,) = torch.autograd.grad(maps[0, unit].max(), image)
        rows, columns = gradient[0].abs().sum(0).nonzero().T
        top, bottom, left, right = found.top_boxes[unit, 0].tolist()
        # 3x3 on 2x2 pools of 3x3: 8 pixels, less what the border cuts off; a pool lets through one of four.
        assert top <= rows.min() <= rows.max() < bottom <= SIZE
        assert left <= columns.min() <= columns.max() < right <= SIZE
        assert bottom - top == 8 - (top == 0) - (bottom == SIZE)
        assert right - left == 8 - (left == 0) - (right == SIZE)


def test_vector_units_see_the_whole_image() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 2))
    found = measure(net, random_images(4), [0, 1, 2, 0], layer="1")
    assert (found.top_boxes[found.top_images >= 0] == [0, SIZE, 0, SIZE]).all()


def test_labels_that_mean_nothing_are_as_selective_as_the_permuted_ones() -> None:
    labels = np.random.default_rng(3).integers(0, 3, 60)
    torch.manual_seed(0)
    found = measure(nn.Sequential(nn.Conv2d(3, 64, 3)), random_images(60), labels, permutations=40)
    assert found.permuted_selectivity.shape == found.permuted_share.shape == (40, 64)
    # Standard deviation of the difference, over the shufflings of these very images.
    spread = found.permuted_selectivity.mean(axis=1).std()
    assert abs(found.selectivity.mean() - found.permuted_selectivity.mean()) < 3 * spread
    spread = found.permuted_share.mean(axis=1).std()
    assert abs(found.majority_share.mean() - found.permuted_share.mean()) < 3 * spread


def test_labels_are_permuted_and_none_is_lost() -> None:
    labels = np.array([0] * 5 + [1] * 9 + [2])
    labelings = permute_labels(labels, 30, seed=4)
    np.testing.assert_array_equal(labelings[0], labels)
    np.testing.assert_array_equal(np.sort(labelings, axis=1), np.sort(labels)[None].repeat(31, axis=0))
    assert len({row.tobytes() for row in labelings}) > 25
    np.testing.assert_array_equal(permute_labels(labels, 30, seed=4), labelings)
    assert not np.array_equal(permute_labels(labels, 30, seed=5), labelings)


def test_every_convolution_of_cnn5_is_measured_behind_its_normalization() -> None:
    built = Cnn5().build(Cnn5.Params(channels=(4, 6, 8), hidden=(8,)), num_classes=3, image_size=16)
    layers = find_unit_layers(
        built.module, {name: built.layers[name] for name in ("conv1", "conv3", "fc1")}, torch.zeros(1, 3, 16, 16)
    )
    assert [layer.path for layer in layers.values()] == ["block1.norm", "block3.norm", "dense1.linear"]
    # 3, then 3 + 1 (pool) + 2 x 2 = 8, then 8 + 2 + 4 x 2 = 18.
    assert [layer.field for layer in layers.values()] == [(3, 3), (18, 18), None]


def test_outputs_that_are_not_finite_are_refused_by_layer() -> None:
    net = channels_as_units()
    net[0].weight.data = torch.full((3, 3, 1, 1), float("nan"))
    with pytest.raises(RunError, match=r"layer layer returns numbers that are not finite"):
        measure(net, torch.ones(2, 3, 4, 4), [0, 1])


def test_layers_that_have_no_units_are_refused_by_name() -> None:
    net = Shortcut()
    net.spare = nn.Conv2d(3, 3, 1)
    image = torch.zeros(1, 3, 4, 4)
    with pytest.raises(UsageError, match="layer words returns 3 dimensions, neither maps"):
        find_unit_layers(nn.Sequential(nn.Flatten(2)), {"words": "0"}, image)
    with pytest.raises(UsageError, match="layer spare took no part"):
        find_unit_layers(net, {"spare": "spare"}, image)


def test_no_image_is_nothing_to_measure() -> None:
    with pytest.raises(ValueError, match="no image"):
        measure_units(channels_as_units(), {}, [], np.array([], dtype=int), num_classes=3, size=4)

"""Silenced units: the class that a unit stands for is lost, and the network is afterwards as it was."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ahekit.backbones.wrap import wrap
from ahekit.errors import UnknownNameError
from ahekit.evaluation.metrics import class_scores
from ahekit.inspection.ablation import Silenced, silenced_counts, silencing
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel
from ahekit_plugins.models.cnn5 import Cnn5

LABELS = np.array([0, 1, 2, 0, 1, 2, 2])


def batches(images: Tensor, size: int) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(images), size):
        yield slice(start, min(start + size, len(images))), images[start : start + size]


def one_unit_a_class() -> BuiltModel:
    """Colour k speaks for class k; an image that excites nothing is given to a fourth class."""
    net = nn.Sequential(
        nn.Conv2d(3, 3, 1, bias=False), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)
    )
    net[0].weight.data = torch.eye(3).view(3, 3, 1, 1)
    net[4].weight.data = torch.eye(4)[:, :3].contiguous()
    net[4].bias.data = torch.tensor([0.0, 0.0, 0.0, 0.01])
    return wrap(net, preprocessing=Preprocessing(size=4))


def coloured() -> Tensor:
    images = torch.zeros(len(LABELS), 3, 4, 4)
    for number, label in enumerate(LABELS.tolist()):
        images[number, label] = 1.0
    return images


def test_silencing_a_class_s_only_unit_loses_exactly_that_class() -> None:
    built = one_unit_a_class()
    units = [Silenced("0", 1), Silenced("0", 2), Silenced("0", 0, value=0.5)]

    whole, each = silenced_counts(built, units, batches(coloured(), 3), LABELS, num_classes=4)

    assert class_scores(whole)[2].tolist() == [1.0, 1.0, 1.0, 0.0]
    f1 = class_scores(each)[2]
    assert f1[0].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert f1[1].tolist() == [1.0, 1.0, 0.0, 0.0]
    # Held at half its strength it still speaks loudest for its own class, and on no other's images.
    assert f1[2].tolist() == [1.0, 1.0, 1.0, 0.0]


def test_size_of_the_batches_changes_no_count() -> None:
    built = one_unit_a_class()
    whole, each = silenced_counts(built, [Silenced("0", 1)], batches(coloured(), 7), LABELS, num_classes=4)
    for size in (1, 2):
        again = silenced_counts(built, [Silenced("0", 1)], batches(coloured(), size), LABELS, num_classes=4)
        np.testing.assert_array_equal(again[0], whole)
        np.testing.assert_array_equal(again[1], each)


def test_starting_from_the_unit_s_stage_gives_what_the_whole_network_gives() -> None:
    torch.manual_seed(0)
    built = Cnn5().build(Cnn5.Params(channels=(4, 6, 8), hidden=(8,)), num_classes=4, image_size=16)
    images = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = np.arange(40) % 4
    units = [Silenced("block1.norm", 2), Silenced("block3.norm", 5, value=3.0), Silenced("dense1.linear", 0, value=9.0)]

    built.module.eval()
    _, each = silenced_counts(built, units, batches(images, 16), labels, num_classes=4)

    for unit, counts in zip(units, each, strict=True):
        with torch.no_grad(), silencing(built.module, unit):
            predicted = built.module(images).argmax(1).numpy()
        np.testing.assert_array_equal(counts, np.histogram2d(labels, predicted, bins=range(5))[0])
    assert not np.array_equal(each[1], each[2])


def test_silenced_unit_speaks_again_afterwards_whatever_happens() -> None:
    net, image = one_unit_a_class().module, coloured()[1:2]
    before = net(image)
    with silencing(net, Silenced("0", 1)):
        assert net(image).argmax() == 3
    with pytest.raises(RuntimeError, match="mat1 and mat2"), silencing(net, Silenced("0", 1)):
        net.get_submodule("4")(torch.ones(1, 5))
    assert torch.equal(net(image), before)
    assert not any(part._forward_hooks for part in net.modules())


def test_what_a_layer_was_given_is_not_changed_by_silencing_it() -> None:
    # Identity returns its very input.
    net, image = nn.Sequential(nn.Identity()), torch.ones(1, 2)
    with silencing(net, Silenced("0", 1)):
        assert net(image).tolist() == [[1.0, 0.0]]
    assert image.tolist() == [[1.0, 1.0]]


def test_unknown_module_is_named() -> None:
    with pytest.raises(UnknownNameError, match="no layer named 'conv9'"), silencing(nn.ReLU(), Silenced("conv9", 0)):
        pass

"""The networks that people train, as lists of operations and as ONNX files: they say what they said before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ahekit.backbones.wrap import wrap
from ahekit.compute import Compute
from ahekit.export.onnx_file import make_onnx
from ahekit.export.tracing import UntraceableNetwork, network_file, trace
from ahekit.hooks import evaluating, observing
from ahekit.models import build_component
from ahekit.prediction.network import Network
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel
from ahekit.run import Run
from ahekit.trained import Trained

SIZES = {
    "cnn5": 64,
    "resnet18": 64,
    "mobilenetv3_small_100": 64,
    "tf_efficientnet_lite0": 64,
    "googlenet": 64,
    "inception_v3": 96,
}

# Tracing takes as long as a network has operations, and these are repeats of what stays.
REPEATS = {
    "cnn5": (),
    "resnet18": ("layer1.1", "layer2", "layer3", "layer4.1"),
    "mobilenetv3_small_100": ("blocks.1", "blocks.2", "blocks.3", "blocks.4.1", "blocks.4.2"),
    "tf_efficientnet_lite0": ("blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.5.2", "blocks.5.3", "blocks.6"),
    "googlenet": tuple(f"inception{place}" for place in ("3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")),
    "inception_v3": (
        *(f"Mixed_{place}" for place in ("5c", "5d", "6c", "6d", "6e", "7c")),
        *(f"Mixed_5b.branch{place}" for place in ("5x5_1", "3x3dbl_1", "3x3dbl_2", "_pool")),
        *(f"Mixed_6b.branch{place}" for place in ("7x7_1", "7x7_3", "7x7dbl_1", "7x7dbl_2", "7x7dbl_3", "_pool")),
        *(f"Mixed_7a.branch{place}" for place in ("3x3_1", "7x7x3_1", "7x7x3_2")),
        *(f"Mixed_7b.branch{place}" for place in ("3x3_1", "3x3dbl_1", "3x3dbl_2", "_pool")),
    ),
}


def built(name: str) -> BuiltModel:
    torch.manual_seed(0)
    params = {} if name == "cnn5" else {"weights": "none"}
    model = build_component(name, params, num_classes=10, image_size=SIZES[name]).built
    shorten(model.module, [f"backbone.{path}" for path in REPEATS[name]], SIZES[name])
    # Statistics of pictures, so that no network's random weights make numbers without bounds.
    for part in model.module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        model.module.train()(torch.randn(4, 3, SIZES[name], SIZES[name]))
    model.module.eval()
    return model


def shorten(network: nn.Module, repeats: Sequence[str], size: int) -> None:
    """Put a convolution of one pixel for each of these parts; the network keeps a part of every kind."""
    kinds = {type(part) for part in network.modules()}
    shapes = {}

    def note(path: str, _: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        shapes[path] = (inputs[0].shape, output.shape)

    with evaluating(network), torch.no_grad(), observing({p: network.get_submodule(p) for p in repeats}, note):
        network(torch.zeros(1, 3, size, size))
    for path, (before, after) in shapes.items():
        bridge = nn.Conv2d(before[1], after[1], 1, stride=before[2] // after[2])
        network.set_submodule(path, bridge)
    assert {type(part) for part in network.modules()} == kinds


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_a_network_says_the_same_as_a_list_and_as_an_onnx_file(name: str, tmp_path: object) -> None:
    model = built(name)
    size = SIZES[name]
    weights = model.module.state_dict()
    network = Network(network_file(trace(model), weights), weights, torch.device("cpu"))
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    logits, embedding = network(images.contiguous(memory_format=torch.channels_last))
    with torch.no_grad():
        expected = model.module(images)
        assert torch.allclose(logits, expected, atol=1e-4 * float(expected.abs().max()) + 1e-5)
        wanted = model.embed(images)
        assert torch.allclose(embedding, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()) + 1e-5)
    pytest.importorskip("onnxscript")
    trained = Trained(Run(tmp_path), tmp_path, model, tuple("abcdefghij"), Compute(torch.device("cpu"), False, False))  # type: ignore[arg-type]
    pixels = np.random.default_rng(0).integers(0, 255, (3, size, size, 3), dtype=np.uint8)
    difference = make_onnx(trained, temperature=2.0, pixels=pixels).note.difference
    assert difference < 1e-3 * max(1.0, float(expected.abs().max()))


def test_logits_and_embedding_share_what_they_have_in_common() -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = wrap(nn.Sequential(*body, nn.Linear(4, 2)).eval(), preprocessing=Preprocessing(size=8))
    steps = json.loads(network_file(trace(model), model.module.state_dict()))["steps"]
    assert [step[1] for step in steps].count("conv2d.default") == 1


class Choosy(nn.Module):
    """Goes another way for bright images."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        values = images.mean((2, 3))
        logits: Tensor = self.head(values) if float(values.sum()) > 0 else self.head(-values)
        return logits


def test_a_network_whose_way_depends_on_the_image_is_none() -> None:
    model = wrap(Choosy().eval(), preprocessing=Preprocessing(size=8))
    with pytest.raises(UntraceableNetwork):
        trace(model)

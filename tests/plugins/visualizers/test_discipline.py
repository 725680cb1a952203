"""Whatever a visualizer does or meets, the network is afterwards as it was before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from ahekit import visualizing
from ahekit.errors import UsageError
from ahekit.models import build_component
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel, NoParams, VisualizerInput
from ahekit.registry import VISUALIZERS
from ahekit.sections import Visualization
from ahekit.testing import Boom, Failing, check_visualizer, disturb, no_trace

Make = Callable[..., Any]

NAMES = VISUALIZERS.names()
PARAMS: dict[str, dict[str, Any]] = {"class-image": {"steps": 2}, "units": {"steps": 2}}
PARAMS |= {
    "smoothgrad": {"samples": 2},
    "integrated-gradients": {"steps": 2},
    "occlusion": {"window": 12, "stride": 12},
}
CHECKED = [name for name in NAMES if "check" in VISUALIZERS.get(name).Params.model_fields]
NO_FORWARD = {"kernels"}
ONE_FORWARD = {"activations"}
NO_BACKWARD = {"kernels", "activations", "occlusion", "embedding"}
GRADIENTS_END_AT_THE_LAYER = {"gradcam", "gradcam++", "layercam"}


@pytest.mark.parametrize("name", NAMES)
def test_every_visualizer_keeps_its_protocol(name: str) -> None:
    seen = check_visualizer(VISUALIZERS.get(name), params=PARAMS.get(name))
    assert seen.figures


@pytest.mark.parametrize("place", ["first", "second", "backward"])
@pytest.mark.parametrize("name", NAMES)
def test_exception_leaves_no_trace(make_request: Make, toy: Make, visualize: Make, name: str, place: str) -> None:
    module = toy()
    module.insert(3, Failing({"first": 0, "second": 1, "backward": 0}[place], backward=place == "backward"))
    layers = ["conv1"] if name in GRADIENTS_END_AT_THE_LAYER else []
    looked_at = make_request(module, aliases={"conv1": "0", "conv2": "4.0"}, layers=layers)
    disturb(module)
    spared = {"first": NO_FORWARD, "second": NO_FORWARD | ONE_FORWARD, "backward": NO_BACKWARD}[place]

    with no_trace(module), nullcontext() if name in spared else pytest.raises(Boom):
        visualize(name, looked_at, **PARAMS.get(name, {}))


class Recorder:
    """Writes down which parts of the network are in training mode while it works."""

    Params = NoParams

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.flags: list[bool] = []

    def visualize(self, request: VisualizerInput, params: NoParams) -> Visualization:
        self.flags = [part.training for part in request.model.module.modules()]
        if self.fails:
            raise Boom
        return Visualization({}, ())


@pytest.mark.parametrize("fails", [False, True])
def test_visualizers_get_the_network_in_eval_mode_and_every_flag_is_restored(make_request: Make, fails: bool) -> None:
    looked_at = make_request()
    disturb(looked_at.model.module)
    recorder = Recorder(fails=fails)

    with no_trace(looked_at.model.module), pytest.raises(Boom) if fails else nullcontext():
        visualizing.visualize(recorder, looked_at, NoParams())

    assert recorder.flags
    assert not any(recorder.flags)


@pytest.mark.parametrize("name", CHECKED)
def test_checks_leave_no_trace(make_request: Make, visualize: Make, name: str) -> None:
    looked_at = make_request()
    disturb(looked_at.model.module)
    images = looked_at.images.clone()

    with no_trace(looked_at.model.module):
        seen = visualize(name, looked_at, check=True, **PARAMS.get(name, {}))

    assert seen.tables
    assert torch.equal(looked_at.images, images)


@pytest.mark.parametrize("good_passes", [2, 3, 9])
def test_exception_in_a_check_leaves_no_trace(make_request: Make, toy: Make, visualize: Make, good_passes: int) -> None:
    module = toy()
    module.insert(3, Failing(good_passes))
    looked_at = make_request(module, aliases={"conv1": "0", "conv2": "4.0"})
    disturb(module)
    module[3].left = good_passes

    # The third pass is the first score that checks look at, later ones are made on copies and on covered images.
    with no_trace(module), pytest.raises(Boom):
        visualize("saliency", looked_at, check=True)


def small_vgg() -> BuiltModel:
    """As timm's family builds it, with few channels: the real ones have 130 million parameters."""
    from timm.models.vgg import VGG

    from ahekit.backbones.build import build
    from ahekit.backbones.params import BackboneParams
    from ahekit_plugins.models.timm_family.family import _ends

    backbone = VGG([4, "M", 6, "M", 8, "M"], num_classes=0, mlp_ratio=0.002)
    params = BackboneParams(weights="none")
    preprocessing = Preprocessing(size=32)
    return build(
        backbone, params, name="vgg", ends=_ends(backbone), preprocessing=preprocessing, num_classes=3, load=None
    )


def registered(name: str, size: int, **params: Any) -> Callable[[], BuiltModel]:
    def build() -> BuiltModel:
        return build_component(name, params, num_classes=3, image_size=size).built

    return build


FAMILIES: dict[str, Callable[[], BuiltModel]] = {
    "cnn5": registered("cnn5", 12, channels=(4, 6, 8), hidden=(8,)),
    "cnn5-blur-group": registered("cnn5", 12, channels=(4, 6, 8), hidden=(8,), pool="blur", norm="group"),
    "resnet": registered("timm/test_resnet", 32, weights="none"),
    "vgg": small_vgg,
    "inception": registered("googlenet", 64, weights="none"),
    "mobilenetv2": registered("timm/mobilenetv2_035", 32, weights="none"),
    "mobilenetv3": registered("timm/mobilenetv3_small_050", 32, weights="none"),
    "efficientnet": registered("timm/test_efficientnet", 32, weights="none"),
    "convnext": registered("timm/test_convnext", 32, weights="none"),
}
WITHOUT_RELU = {"efficientnet", "convnext"}


@cache
def small_model(family: str) -> BuiltModel:
    """Built once: nobody leaves a trace on it, which is what is tested."""
    torch.manual_seed(0)
    return FAMILIES[family]()


def of_family(make_request: Make, family: str, *, count: int = 2) -> VisualizerInput:
    built = small_model(family)
    size = built.preprocessing.size
    images = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    looked_at: VisualizerInput = make_request(images=images)
    return replace(looked_at, model=built)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_every_model_family_is_looked_into_without_a_trace(
    make_request: Make, visualize: Make, name: str, family: str
) -> None:
    looked_at = of_family(make_request, family)
    with no_trace(looked_at.model.module):
        if name in ("guided-backprop", "deconvnet") and family in WITHOUT_RELU:
            with pytest.raises(UsageError, match="no ReLU"):
                visualize(name, looked_at)
        else:
            seen = visualize(name, looked_at, **PARAMS.get(name, {}))
            assert seen.figures


@pytest.mark.parametrize("family", FAMILIES)
def test_every_model_family_is_checked_without_a_trace(make_request: Make, visualize: Make, family: str) -> None:
    looked_at = of_family(make_request, family, count=1)

    with no_trace(looked_at.model.module):
        seen = visualize("gradcam", looked_at, check=True)

    assert seen.arrays["check_stages"].tolist() == list(looked_at.model.stages)[::-1]
    assert np.isfinite(seen.arrays["check_maps"]).all()
    assert "NOT the same" not in seen.notes[-1]

"""GoogLeNet (Inception v1) of torchvision, which timm lacks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import nn
from torchvision.models import GoogLeNet as TorchvisionGoogLeNet
from torchvision.models import GoogLeNet_Weights

from ahekit.backbones.build import build
from ahekit.backbones.params import BackboneParams
from ahekit.backbones.weights import load_from_file, load_from_url
from ahekit.errors import UnknownNameError, UsageError
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel, LoadedWeights

ENDS = ("conv1", "conv3", "inception3b", "inception4e", "inception5b")


class GoogLeNet:
    """GoogLeNet, or Inception v1, of torchvision; its auxiliary heads are left out.

    Going Deeper with Convolutions, https://arxiv.org/abs/1409.4842. The two auxiliary classifiers helped to train it
    from scratch in 2014; they are no part of what it predicts, and with them its output in train mode is a tuple.
    """

    Params = BackboneParams
    image_size = 224

    def build(self, params: BackboneParams, *, num_classes: int, image_size: int) -> BuiltModel:
        """Build the network with fresh weights.

        Raises:
            UsageError: It can't take images of that size.
        """
        if params.drop_path:
            raise UsageError("model.params.drop_path: googlenet has no residual blocks to skip; leave it at 0")
        # Told to, it initializes its weights itself and doesn't warn that a default will change.
        backbone = TorchvisionGoogLeNet(num_classes=1, aux_logits=False, transform_input=False, init_weights=True)
        backbone.dropout, backbone.fc = nn.Identity(), nn.Flatten()
        built: BuiltModel = build(
            backbone,
            params,
            name="googlenet",
            ends=ENDS,
            # The published weights want pixels in [-1, 1].
            preprocessing=Preprocessing(
                image_size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), fit="crop", crop_fraction=224 / 256
            ),
            num_classes=num_classes,
            load=_loader(params),
        )
        return built


def _loader(params: BackboneParams) -> Callable[[nn.Module], LoadedWeights] | None:
    if params.tag is not None:
        raise UnknownNameError("tag", params.tag, [], hint="googlenet has one set of weights")
    if params.weights == "none":
        return None
    if params.weights == "hub":
        return partial(load_from_url, name="googlenet", url=GoogLeNet_Weights.IMAGENET1K_V1.url)
    if params.weights.startswith("package:"):
        raise UsageError("model.params.weights: no package holds weights of googlenet; use hub, none or a FILE")
    return partial(load_from_file, path=Path(params.weights))

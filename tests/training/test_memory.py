"""Peak memory of a training, measured in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ahekit import plugin_files
from ahekit.compute import peak_memory
from ahekit.spec import RunSpec
from ahekit.training.memory import training_memory

WIDE = '''
from torch import nn
from ahekit.protocols import NoParams
from ahekit.registry import MODELS


@MODELS.register("wide")
class Wide:
    """Few weights and large maps: an image takes 3 MB on its way."""

    Params = NoParams
    image_size = 64

    def build(self, params, *, num_classes, image_size):
        return nn.Sequential(
            nn.Conv2d(3, 96, 3, padding=1), nn.Sigmoid(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(96, num_classes),
        )
'''


def spec(batch_size: int, steps: int) -> RunSpec:
    return RunSpec.model_validate(
        {
            "recipe": "assignment",
            "model": {"name": "wide"},
            "optim": {"batch_size": batch_size, "accumulation_steps": steps},
            "runtime": {"device": "cpu", "precision": "fp32", "threads": 1},
        }
    )


@pytest.mark.slow
@pytest.mark.skipif(peak_memory(torch.device("cpu")) is None, reason="this system doesn't tell peak memory")
def test_micro_batches_need_the_memory_of_their_own_images(tmp_path: Path, no_plugin_files: None) -> None:
    (tmp_path / "wide.py").write_text(WIDE)
    plugin_files.announce([tmp_path / "wide.py"])
    pieces = training_memory(spec(4, 16), num_classes=3)
    assert pieces is not None
    # An image's two maps of 96 × 64 × 64 numbers are 3 MB: 12.5 for four of them, 200 for the whole window.
    assert 12.5e6 < pieces.training < 200e6

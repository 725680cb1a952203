"""A network as an ONNX file that takes a picture's pixels: normalization and calibration are inside."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ahekit.errors import UsageError
from ahekit.model_folder import ONNX, WEIGHTS, ModelFolderError, OnnxNote
from ahekit.trained import Trained

OPSET = 18
INPUT = "pixels"
OUTPUTS = ("logits", "probabilities", "embedding")
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_LARGEST_DIFFERENCE = 1e-3  # as a share of the largest logit, where that is above 1
_LARGEST_BATCH = 2**16


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file that was checked."""

    content: bytes
    note: OnnxNote


class Deployed(nn.Module):
    """A network with its normalization before it and its calibration after it.

    Pixels `(B, S, S, 3)` uint8, RGB, rows from the top, become logits `(B, C)`, calibrated probabilities `(B, C)` and
    the embedding `(B, D)`.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, trained: Trained, temperature: float) -> None:
        super().__init__()
        preprocessing = trained.built.preprocessing
        self.module = trained.built.module
        self._embed = trained.built.embed
        self._temperature = temperature
        self.centre: Tensor
        self.scale: Tensor
        self.register_buffer("centre", torch.tensor(preprocessing.mean).mul(255))
        self.register_buffer("scale", torch.tensor(preprocessing.std).mul(255))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, probabilities, embedding."""
        images = ((pixels.float() - self.centre) / self.scale).permute(0, 3, 1, 2)
        logits = self.module(images)
        return logits, (logits / self._temperature).softmax(1), self._embed(images)


def check_installed() -> None:
    """Make sure that an ONNX file can be made and checked.

    Raises:
        UsageError: It takes packages that aren't there.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(f"--onnx needs {', '.join(missing)}; pip install 'ahekit[onnx]' brings it")


def make_onnx(
    trained: Trained, *, temperature: float, pixels: NDArray[np.uint8], weights: bytes | None = None
) -> OnnxFile:
    """Write a network as ONNX and compare it with torch.

    Args:
        temperature: That logits are divided by before they become probabilities.
        pixels: Real images to compare on, `(N, S, S, 3)`.
        weights: `model.safetensors`, which the ONNX file is to take its weights from; None: it holds them itself.

    Raises:
        ModelFolderError: The network can't be written so, or says something else then.
    """
    device = trained.compute.device
    deployed = Deployed(trained, temperature).to("cpu").eval()
    example = torch.zeros(2, *pixels.shape[1:], dtype=torch.uint8)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter, about itself
            program: Any = torch.onnx.export(
                deployed,
                (example,),
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        expected = [each.numpy() for each in _eager(deployed, pixels)]
    except Exception as error:  # what the exporter raises over somebody's network has no end
        reason = " ".join(str(error).split())[:200]
        raise ModelFolderError(f"{trained.run.name}: can't be written as ONNX ({reason})") from error
    finally:
        trained.built.module.to(device)
    model = program.model_proto
    for name, value in (("class_names", json.dumps(list(trained.class_names))), ("model", trained.run.name)):
        entry = model.metadata_props.add()
        entry.key = name
        entry.value = value
    # The exporter notes there which files of this machine each operation comes from.
    model.graph.ClearField("value_info")
    for part in (model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.doc_string = f"{INPUT}: (batch, S, S, 3) uint8 RGB; {', '.join(OUTPUTS)}: float32"
    if weights is not None:
        share_weights(model, weights)
    content = model.SerializeToString(deterministic=True)
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    with TemporaryDirectory() as folder:
        (Path(folder) / ONNX).write_bytes(content)
        if weights is not None:
            (Path(folder) / WEIGHTS).write_bytes(weights)
        difference = _largest_difference(Path(folder) / ONNX, pixels, expected, trained.run.name)
    return OnnxFile(content, OnnxNote(opset=opset, difference=float(f"{difference:.3g}"), images=len(pixels)))


def share_weights(model: Any, weights: bytes) -> None:
    """Let an ONNX model take its weights from a safetensors file beside it, as ONNX's external data.

    The format: eight bytes of the header's length, the header (JSON), the tensors' bytes, which the header places from
    its own end on. https://github.com/huggingface/safetensors#format
    """
    from onnx import TensorProto, helper

    length = int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8 : 8 + length])
    types = {"F32": TensorProto.FLOAT, "F16": TensorProto.FLOAT16}
    casts = []
    for tensor in model.graph.initializer:
        place = header.get(tensor.name.removeprefix("module."))
        if place is None or place["dtype"] not in types or list(tensor.dims) != place["shape"] or not tensor.dims:
            continue
        if place["dtype"] == "F16":
            # Made single again once, when a session starts: onnxruntime folds what is constant.
            stored = f"{tensor.name}.stored"
            casts.append(helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT))
            tensor.name = stored
        begin, end = place["data_offsets"]
        tensor.ClearField("raw_data")
        tensor.data_type = types[place["dtype"]]
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", 8 + length + begin), ("length", end - begin)):
            entry = tensor.external_data.add()
            entry.key = key
            entry.value = str(value)
    nodes = [*casts, *model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)


def _eager(deployed: Deployed, pixels: NDArray[np.uint8]) -> tuple[Tensor, ...]:
    with torch.no_grad():
        outputs: tuple[Tensor, ...] = deployed(torch.from_numpy(pixels))
        return outputs


def _largest_difference(file: Path, pixels: NDArray[np.uint8], expected: list[NDArray[Any]], name: str) -> float:
    """The largest difference of logits between onnxruntime and torch.

    Raises:
        ModelFolderError: It is more than rounding, or another output's is.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    made = session.run(list(OUTPUTS), {INPUT: pixels})
    differences = []
    for output, own, other in zip(OUTPUTS, made, expected, strict=True):
        difference = float(np.abs(own - other).max())
        if own.shape != other.shape or not difference <= _LARGEST_DIFFERENCE * max(1.0, float(np.abs(other).max())):
            raise ModelFolderError(
                f"{name}: onnxruntime's {output} differ from torch's by {difference:.3g}; not written"
            )
        differences.append(difference)
    # One picture alone has to do, too: the number of pictures is left open.
    session.run(list(OUTPUTS), {INPUT: pixels[:1]})
    return differences[0]

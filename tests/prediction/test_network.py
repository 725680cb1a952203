"""A network as a list of operations: what it computes, and what it refuses to run."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from ahekit.errors import CheckpointError
from ahekit.prediction.network import Network

CPU = torch.device("cpu")


def of(name: str) -> dict[str, str]:
    return {"of": name}


def network(steps: list[Any], tensors: dict[str, torch.Tensor], outputs: tuple[str, str], **more: Any) -> Network:
    names = {name: f"stored.{name}" for name in tensors}
    fields = {"version": 1, "input": "x", "outputs": outputs, "tensors": names, "steps": steps, **more}
    content = json.dumps(fields).encode()
    return Network(content, {f"stored.{name}": value for name, value in tensors.items()}, CPU)


NORM = {
    "w": torch.tensor([[[[2.0]]], [[[-1.0]]]]),
    "scale": torch.tensor([3.0, 1.0]),
    "shift": torch.tensor([0.5, 0.0]),
    "mean": torch.tensor([1.0, 0.0]),
    "var": torch.tensor([4.0 - 1e-3, 1.0 - 1e-3]),
}
CONVOLUTION = ["c", "conv2d.default", [of("x"), of("w")]]
BATCH_NORM = [
    "n",
    "batch_norm.default",
    [of("c"), of("scale"), of("shift"), of("mean"), of("var"), False, 0.1, 1e-3, False],
]


def test_batch_norm_is_folded_into_the_convolution_before_it() -> None:
    folded = network([CONVOLUTION, BATCH_NORM, ["d", "mul.Tensor", [of("n"), 1.0]]], NORM, ("d", "d"))
    made, _ = folded(torch.full((1, 1, 1, 1), 2.0))
    # Channel 0: (2 * 2 - 1) / sqrt(4) * 3 + 0.5 = 5; channel 1: (-1 * 2 - 0) / 1 * 1 + 0 = -2.
    assert made.flatten().tolist() == pytest.approx([5.0, -2.0])
    assert len(folded._calls) == 2


def test_a_convolution_that_somebody_else_needs_keeps_its_own_result() -> None:
    both = network([CONVOLUTION, BATCH_NORM], NORM, ("n", "c"))
    made, raw = both(torch.full((1, 1, 1, 1), 2.0))
    assert made.flatten().tolist() == pytest.approx([5.0, -2.0])
    assert raw.flatten().tolist() == [4.0, -2.0]


def test_what_is_needed_again_is_not_worked_on_in_its_place() -> None:
    steps = [
        ["a", "add.Tensor", [of("x"), -1.0]],
        ["r", "relu.default", [of("a")]],
        ["s", "add.Tensor", [of("r"), of("a")]],
    ]
    values, _ = network(steps, {}, ("s", "r"))(torch.tensor([[-2.0, 3.0]]))
    assert values.tolist() == [[-3.0, 4.0]]


def test_images_are_left_as_they_were() -> None:
    images = torch.tensor([[-1.0, 1.0]])
    made, _ = network([["r", "relu.default", [of("x")]]], {}, ("r", "r"))(images)
    assert (images.tolist(), made.tolist()) == ([[-1.0, 1.0]], [[0.0, 1.0]])


@pytest.mark.parametrize(
    ("steps", "outputs", "told"),
    [
        ([["a", "from_file.default", ["/etc/passwd"]]], ("a", "a"), "no operation that a network may use"),
        ([["a", "relu_.default", [of("x")]]], ("a", "a"), "no operation that a network may use"),
        ([["a", "relu.default", [of("later")]]], ("a", "a"), "comes later or never"),
        ([["x", "relu.default", [of("x")]]], ("x", "x"), "two results"),
        ([["a", "relu.default", [of("x")]]], ("a", "b"), "no step makes the output b"),
        ([["a", "relu.default", [{"is": "x"}]]], ("a", "a"), "neither number, list nor result"),
        ([["a", "relu.default"]], ("a", "a"), "no list of operations"),
    ],
)
def test_a_list_that_can_not_be_run_is_refused_before_anything_runs(
    steps: list[Any], outputs: tuple[str, str], told: str
) -> None:
    with pytest.raises(CheckpointError, match=told):
        network(steps, {}, outputs)


def test_weights_that_are_not_there_are_told() -> None:
    content = {"input": "x", "outputs": ["x", "x"], "tensors": {"w": "stem.weight"}, "steps": []}
    with pytest.raises(CheckpointError, match=r"stem\.weight"):
        Network(json.dumps(content).encode(), {}, CPU)

"""A network as a list of torch's own operations, recorded from the network itself."""

from __future__ import annotations

import json
import operator
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ahekit.hooks import evaluating
from ahekit.prediction.network import GET_ITEM, OPERATIONS, NetworkFile
from ahekit.protocols import BuiltModel

_NORM = "_native_batch_norm_legit_no_training.default"
_COPYING = dict.fromkeys(("aten.view.default", "aten._unsafe_view.default"), "aten.reshape.default")
_LARGEST_BATCH = 2**16


class UntraceableNetwork(Exception):
    """A network that can't be written down as a list of operations, and why."""


class WithEmbedding(nn.Module):
    """A network that returns its logits `(B, C)` and the embedding before its head `(B, D)`."""

    def __init__(self, built: BuiltModel) -> None:
        super().__init__()
        self.module = built.module
        self._embed = built.embed

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Both, of normalized images `(B, 3, S, S)`."""
        return self.module(images), self._embed(images)


def trace(built: BuiltModel) -> torch.export.ExportedProgram:
    """The operations that a network carries out in eval mode, for batches of any size.

    Raises:
        UntraceableNetwork: Which ones depends on the images, or it does what torch.export can't follow.
    """
    size = built.preprocessing.size
    batch = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)
    images = torch.zeros(2, 3, size, size)
    try:
        with evaluating(built.module), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch.export, about itself
            whole = torch.export.export(WithEmbedding(built).eval(), (images,), dynamic_shapes=({0: batch},))
            program: torch.export.ExportedProgram = whole.run_decompositions({})
    except Exception as error:  # what torch.export raises over somebody's network has no end
        raise UntraceableNetwork(" ".join(str(error).split())[:200]) from error
    return program


def network_file(program: torch.export.ExportedProgram, tensors: Mapping[str, Tensor]) -> bytes:
    """`network.json` of a traced network.

    Args:
        tensors: The network's weights and buffers by name.

    Raises:
        UntraceableNetwork: It uses an operation, or holds a constant, that has no place there.
    """
    signature = program.graph_signature
    stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    names: dict[str, str] = {}
    steps: list[tuple[str, str, list[Any]]] = []
    # Operations that do the same to the same are done once: logits and embedding share all but the head.
    done: dict[str, str] = {}
    same: dict[str, str] = {}
    source = ""
    outputs: tuple[str, ...] = ()
    for node in program.graph.nodes:
        if node.op == "placeholder":
            if node.name in stored:
                names[node.name] = "module." + stored[node.name]
            elif node.name in signature.user_inputs:
                source = node.name
            elif node.users:
                raise UntraceableNetwork(f"it holds a constant, {node.name}")
        elif node.op == "call_function":
            operation = _operation(node)
            arguments = _arguments(node, operation, same)
            key = json.dumps([operation, arguments])
            if key in done:
                same[node.name] = done[key]
                continue
            done[key] = node.name
            steps.append((node.name, operation, arguments))
        elif node.op == "output":
            outputs = tuple(same.get(each.name, each.name) for each in node.args[0])
    kept = _without_norms_lists(steps)
    own = {name: _own_name(path, tensors) for name, path in names.items()}
    used = {reference for _, _, arguments in kept for reference in _references(arguments)}
    file = NetworkFile(
        input=source,
        outputs=(outputs[0], outputs[1]),
        tensors={name: path for name, path in own.items() if name in used},
        steps=kept,
    )
    return (json.dumps(file.model_dump(), separators=(",", ":")) + "\n").encode()


def _own_name(path: str, tensors: Mapping[str, Tensor]) -> str:
    """A tensor's name in the network, of which the traced one is a part called `module`."""
    own = path.removeprefix("module.").removeprefix("module.")
    if own not in tensors:
        raise UntraceableNetwork(f"it uses a tensor that isn't among its weights, {own}")
    return own


def _operation(node: Any) -> str:
    if node.target is operator.getitem:
        return GET_ITEM
    # A view of maps whose channels are last in memory may be none; `reshape` copies there.
    name = _COPYING.get(str(node.target), str(node.target)).removeprefix("aten.")
    if name not in OPERATIONS and name != _NORM:
        raise UntraceableNetwork(f"it uses {name}, which isn't among the operations of network.json")
    return name


def _arguments(node: Any, operation: str, same: Mapping[str, str]) -> list[Any]:
    """A node's arguments in the order of its operation's signature, those named filled in."""
    given = list(node.args)
    if node.kwargs:
        schema = node.target._schema.arguments
        for argument in schema[len(given) :]:
            given.append(node.kwargs.get(argument.name, argument.default_value))
    return [_plain(each, operation, same) for each in given]


def _plain(value: Any, operation: str, same: Mapping[str, str]) -> Any:
    if isinstance(value, torch.fx.Node):
        return {"of": same.get(value.name, value.name)}
    if isinstance(value, list | tuple):
        return [_plain(each, operation, same) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UntraceableNetwork(f"{operation} takes {type(value).__name__}, which has no place in network.json")


def _without_norms_lists(steps: list[tuple[str, str, list[Any]]]) -> list[tuple[str, str, list[Any]]]:
    """BatchNorm as the one operation that it is: torch.export writes it as a list of three and the first of them."""
    norms = {name: arguments for name, operation, arguments in steps if operation == _NORM}
    kept = []
    for name, operation, arguments in steps:
        if operation == GET_ITEM and arguments[0].get("of") in norms:
            image, weight, bias, mean, variance, momentum, epsilon = norms[arguments[0]["of"]]
            if arguments[1] != 0:
                raise UntraceableNetwork("it uses what BatchNorm notes beside its result")
            new = [image, weight, bias, mean, variance, False, momentum, epsilon, False]
            kept.append((name, "batch_norm.default", new))
        elif name not in norms:
            kept.append((name, operation, arguments))
    return kept


def _references(arguments: Any) -> set[str]:
    if isinstance(arguments, dict):
        return {arguments["of"]}
    return {name for each in arguments for name in _references(each)} if isinstance(arguments, list) else set()

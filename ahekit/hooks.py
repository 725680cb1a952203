"""Look at a network while it works, without changing it: activations, gradients, shapes.

    with capture(module, ["block3.conv"], gradients=True) as outputs:
        outputs.backward(module(images)[:, target].sum())
    outputs["block3.conv"].activation, outputs["block3.conv"].gradient

Nothing stays behind: hooks are removed and train flags restored, whatever is raised in between, and no parameter's
`.grad` is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils._python_dispatch import TorchDispatchMode

from ahekit.errors import UnknownNameError, UsageError

Observer = Callable[[str, nn.Module, tuple[Any, ...], Any], Any]


@dataclass
class Captured:
    """One layer's output in the last forward pass.

    Attributes:
        output: `(B, C, H, W)` for a convolution. A copy, in the autograd graph when gradients are captured: a scalar
            made of it can be handed to `Capture.backward`.
        gradient: Of the scalar last handed to `Capture.backward`, in the shape of `output`; None before that. Zero
            where the scalar does not depend on the layer.
        edge: The place in the autograd graph that `gradient` belongs to.
    """

    output: Tensor
    gradient: Tensor | None = None
    edge: GradientEdge | None = field(default=None, repr=False)

    @property
    def activation(self) -> Tensor:
        """The output outside the autograd graph."""
        return self.output.detach()


class Capture(Mapping[str, Captured]):
    """Layers' outputs as `capture` keeps them, by the names it was asked for.

    Holds each layer's last call: a later forward pass, or a later use of the same module within one (a ReLU that
    serves twice), replaces what was there.
    """

    def __init__(self, names: Iterable[str], *, gradients: bool) -> None:
        self._names = tuple(names)
        self._gradients = gradients
        self._outputs: dict[str, Captured] = {}

    def __getitem__(self, name: str) -> Captured:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._outputs:
            raise UsageError(f"layer {name!r} took no part in the forward pass; choose another")
        return self._outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def backward(self, scalar: Tensor, *, keep_graph: bool = False) -> None:
        """Set every captured layer's `gradient` to that of `scalar`; parameters' gradients stay as they are.

        Args:
            keep_graph: Keep the graph for another scalar, or for `torch.autograd.grad` of this one.

        Raises:
            RuntimeError: The context captures no gradients.
        """
        if not self._gradients:
            raise RuntimeError("this capture holds no gradients; open it with gradients=True")
        edges = [layer.edge for layer in self._outputs.values() if layer.edge is not None]
        gradients = torch.autograd.grad(scalar, edges, retain_graph=keep_graph, allow_unused=True)
        for layer, gradient in zip(self._outputs.values(), gradients, strict=True):
            # Two names may stand for one tensor and must not share its gradient's memory.
            layer.gradient = torch.zeros_like(layer.activation) if gradient is None else gradient.clone()

    def _observe(self, name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor | None:
        if not isinstance(output, Tensor):
            raise UsageError(
                f"layer {name!r} returns a {type(output).__name__} rather than one tensor; choose one inside it"
            )
        if not self._gradients:
            self._outputs[name] = Captured(output.detach().clone())
            return None
        if not torch.is_grad_enabled():
            raise RuntimeError("gradients can't be captured under torch.no_grad() or torch.inference_mode()")
        replaced = None
        if not output.requires_grad:
            # All before it is frozen, so there is no graph to cut. A copy, for the next module may work in place.
            output = replaced = output.detach().requires_grad_().clone()
        # The edge is taken before the next module can change the tensor, and keeps meaning the unchanged one.
        self._outputs[name] = Captured(output.clone(), edge=get_gradient_edge(output))
        return replaced


@contextmanager
def capture(
    module: nn.Module, layers: Iterable[str] | Mapping[str, str], *, gradients: bool = False
) -> Iterator[Capture]:
    """Keep layers' outputs, and the gradients with respect to them, of the forward passes made inside.

    The activation is the layer's own output, and the gradient the one with respect to it, also where the next module
    works in place.

    Args:
        layers: Dotted module paths, or module paths by the names to find them under.
        gradients: Keep what `Capture.backward` needs.

    Raises:
        UnknownNameError: There is no module of that path.
        UsageError: Inside, when a layer returns no tensor; afterwards, when one is read that never ran.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU(inplace=True))
        >>> _ = net[0].weight.data.fill_(1.0)
        >>> with capture(net, ["0"], gradients=True) as outputs:
        ...     outputs.backward(net(torch.tensor([[1.0, -3.0]])).sum())
        >>> outputs["0"].activation.item(), outputs["0"].gradient.item()
        (-2.0, 0.0)
    """
    paths = layers if isinstance(layers, Mapping) else {name: name for name in layers}
    outputs = Capture(paths, gradients=gradients)
    with observing({name: find_module(module, path) for name, path in paths.items()}, outputs._observe):
        yield outputs


@contextmanager
def observing(modules: Mapping[str, nn.Module], observer: Observer) -> Iterator[None]:
    """Call `observer(name, module, inputs, output)` after each forward of these modules.

    What the observer returns, unless it is None, takes the output's place.
    """
    handles = []
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(_hook(name, observer)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode inside; every submodule gets back its own train flag afterwards."""
    flags = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in flags:
            part.training = training


def find_module(module: nn.Module, path: str) -> nn.Module:
    """The submodule of that dotted path.

    Raises:
        UnknownNameError: There is none.
    """
    paths = module_paths(module)
    if path not in paths:
        raise UnknownNameError("layer", path, paths, listed=paths)
    return module.get_submodule(path)


def module_paths(module: nn.Module) -> list[str]:
    """The dotted path of every module inside, also where one module stands in several places."""
    return [path for path, _ in module.named_modules(remove_duplicate=False) if path]


def _hook(name: str, observer: Observer) -> Callable[[nn.Module, tuple[Any, ...], Any], Any]:
    return lambda module, inputs, output: observer(name, module, inputs, output)


class Operations(TorchDispatchMode):
    """Sees every operation on tensors while it is the active context; a subclass says what to do `after` each."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def after(self, operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """What was called, with what, and what came of it."""
        raise NotImplementedError

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.after(func, args, kwargs or {}, result)
        return result

    def __enter__(self) -> Self:
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Otherwise torch imports its whole compiler at the first operation, only to be sure not to compile this.
        return False

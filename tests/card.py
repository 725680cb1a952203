"""A graphics card that isn't there: tensors that say they are on one, while the processor computes.

    with pretended_card() as card:
        module.to(card)

What a real card refuses is refused here: an operation on tensors of two places, and a tensor of the card handed to
NumPy.
Numbers without dimensions may come from the processor, and so may indices, as they may there. Rates, memory and what
kernels round are those of the processor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

# The one kind of device besides the processor for which every torch has what autograd needs, whatever the machine has.
CARD = torch.device("lazy", 0)
PROCESSOR = torch.device("cpu")

aten = torch.ops.aten
_FROM_BOTH = {aten.copy_.default, aten._to_copy.default}
_INDEX_FROM_ANYWHERE = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._unsafe_index.Tensor,
    aten._index_put_impl_.default,
}


class OnCard(Tensor):
    """A tensor whose device is the card; `own` is the processor's tensor that it stands for."""

    own: Tensor

    @staticmethod
    def __new__(cls, own: Tensor) -> OnCard:
        tensor = Tensor._make_wrapper_subclass(
            cls,
            own.size(),
            strides=own.stride(),
            storage_offset=own.storage_offset(),
            dtype=own.dtype,
            device=CARD,
            requires_grad=own.requires_grad,
        )
        assert isinstance(tensor, OnCard)
        return tensor

    def __init__(self, own: Tensor) -> None:
        self.own = own

    def tolist(self) -> Any:
        """Its numbers; a card's are fetched."""
        return self.own.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _computed(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        twin: Tensor = self.detach().clone(memory_format=torch.preserve_format).requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            twin = torch.nn.Parameter(twin.detach(), self.requires_grad)
        memo[id(self)] = twin
        return twin


class _Placing(TorchDispatchMode):
    """Makes new tensors where they are asked for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    on_card = [tensor for tensor in tensors if isinstance(tensor, OnCard)]
    place = kwargs.get("device")
    to_card = bool(on_card) if place is None else torch.device(place).type == CARD.type
    if on_card and func not in _FROM_BOTH:
        _check_places(func, args, tensors)
    if func is aten._local_scalar_dense.default:
        return func(args[0].own if on_card else args[0])
    own_args, own_kwargs = tree_map_only(OnCard, lambda tensor: tensor.own, (args, dict(kwargs)))
    if place is not None:
        own_kwargs["device"] = PROCESSOR
    if own_kwargs.get("pin_memory"):
        own_kwargs["pin_memory"] = False
    result = func(*own_args, **own_kwargs)
    if func is aten._to_copy.default and result is own_args[0]:
        result = result.clone()
    if not to_card:
        return result
    # What worked in place gives back what it was given; a view shares its memory by sharing `own`'s.
    givers = {id(tensor.own): tensor for tensor in on_card}
    return tree_map_only(Tensor, lambda own: givers[id(own)] if id(own) in givers else OnCard(own), result)


def _check_places(func: Any, args: Any, tensors: list[Tensor]) -> None:
    if func in _INDEX_FROM_ANYWHERE:
        tensors = [args[0], *args[2:3]]
    elsewhere = [tensor for tensor in tensors if not isinstance(tensor, OnCard) and tensor.ndim]
    if elsewhere or (func in _INDEX_FROM_ANYWHERE and not isinstance(args[0], OnCard)):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {CARD} and cpu! ({func})"
        )


@contextmanager
def pretended_card() -> Iterator[torch.device]:
    """A machine with a card."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    # A module that moves to the card keeps its parameters, as objects; those of another type it would replace.
    torch.__future__.set_swap_module_params_on_conversion(True)
    with pytest.MonkeyPatch.context() as patch:
        # It would ask the driver of a real one.
        patch.setattr(
            torch.optim.Optimizer, "_accelerator_graph_capture_health_check", lambda self: None, raising=False
        )
        make = torch.tensor
        patch.setattr(
            torch, "tensor", lambda *args, device=None, **options: make(*args, **options).to(device or PROCESSOR)
        )
        patch.setattr(torch.optim.Optimizer, "_cuda_graph_capture_health_check", lambda self: None, raising=False)
        try:
            with _Placing():  # type: ignore[no-untyped-call]
                yield CARD
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)

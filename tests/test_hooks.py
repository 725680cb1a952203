"""Looking at a network while it works: right values, right gradients, nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ahekit.errors import UnknownNameError, UsageError
from ahekit.hooks import capture, evaluating, find_module, observing
from ahekit.inspection.layers import resolve_layer
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel


class Nested(nn.Module):
    """A residual block within a block, a ReLU that serves twice, and work in place."""

    def __init__(self, *, inplace: bool) -> None:
        super().__init__()
        self.inplace = inplace
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.body = nn.ModuleDict({"conv": nn.Conv2d(4, 4, 3, padding=1)})
        self.relu = nn.ReLU(inplace=inplace)
        self.spare = nn.Linear(2, 2)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu(self.stem(images))
        inner = self.body["conv"](maps)
        inner = inner.mul_(2).add_(maps) if self.inplace else inner * 2 + maps
        logits: Tensor = self.head(self.relu(inner).mean((2, 3)))
        return logits


def network(*, inplace: bool = True) -> Nested:
    torch.manual_seed(0)
    return Nested(inplace=inplace).double()


def images() -> Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def hooks_on(module: nn.Module) -> int:
    return sum(
        len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks) for part in module.modules()
    )


def wrapped(module: nn.Module) -> BuiltModel:
    return BuiltModel(
        module=module,
        preprocessing=Preprocessing(size=6),
        stages={"all": (module,)},
        layers={"conv1": "stem.0", "conv2": "body.conv"},
        embed=module,
        split=lambda stage: (module, module),
    )


def test_values_and_gradients_by_hand_where_the_next_layer_works_in_place() -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(inplace=True), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        net.get_parameter("0.weight").copy_(torch.tensor([[1.0, 2.0], [-1.0, 1.0]]))
        net.get_parameter("2.weight").copy_(torch.tensor([[3.0, 5.0]]))
    with capture(net, ["0", "1"], gradients=True) as seen:
        seen.backward(net(torch.tensor([[3.0, 1.0]])).sum())
    # 3 + 2 = 5 passes the ReLU, -3 + 1 = -2 does not.
    assert seen["0"].activation.tolist() == [[5.0, -2.0]]
    assert seen["1"].activation.tolist() == [[5.0, 0.0]]
    assert seen["0"].gradient is not None
    assert seen["0"].gradient.tolist() == [[3.0, 0.0]]
    assert seen["1"].gradient is not None
    assert seen["1"].gradient.tolist() == [[3.0, 5.0]]


@pytest.mark.parametrize("frozen", [False, True])
def test_working_in_place_and_freezing_change_neither_activation_nor_gradient(frozen: bool) -> None:
    names = ["stem.0", "stem", "body.conv"]
    results = []
    for inplace in (False, True):
        net = network(inplace=inplace).eval()
        net.requires_grad_(not (frozen and inplace))
        with capture(net, names, gradients=True) as seen:
            logits = net(images())
            seen.backward(logits[:, 1].sum())
        results.append(
            [logits.detach(), *(value for name in names for value in both(seen[name].activation, seen[name].gradient))]
        )
    for plain, inplace_value in zip(*results, strict=True):
        torch.testing.assert_close(inplace_value, plain, rtol=1e-12, atol=1e-12)
    assert results[0][2].abs().sum() > 0


def both(activation: Tensor, gradient: Tensor | None) -> Iterator[Tensor]:
    assert gradient is not None
    yield activation
    yield gradient


def test_gradient_is_the_one_autograd_gives_for_the_tensor_itself() -> None:
    net = network(inplace=False).eval()
    maps = net.stem(images()).detach().requires_grad_()
    rectified = functional.relu(maps)
    logits = net.head(functional.relu(net.body["conv"](rectified) * 2 + rectified).mean((2, 3)))
    (expected,) = torch.autograd.grad(logits[:, 0].sum(), maps)
    twin = network().eval()
    with capture(twin, ["stem"], gradients=True) as seen:
        seen.backward(twin(images())[:, 0].sum())
    torch.testing.assert_close(seen["stem"].gradient, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gradients", [False, True])
def test_the_network_computes_the_same_bits_while_it_is_looked_at(gradients: bool) -> None:
    net = network().eval()
    before = net(images())
    with capture(net, ["stem.0", "relu", "body.conv"], gradients=gradients):
        during = net(images())
    assert torch.equal(before, during)


def test_no_parameter_gets_a_gradient() -> None:
    net = network()
    net.head.weight.grad = torch.ones_like(net.head.weight)
    with capture(net, ["stem.0"], gradients=True) as seen:
        seen.backward(net(images()).sum())
    assert torch.equal(net.head.weight.grad, torch.ones_like(net.head.weight))
    assert [name for name, parameter in net.named_parameters() if parameter.grad is not None] == ["head.weight"]


def test_hooks_are_gone_after_success_and_after_an_exception() -> None:
    net = network()
    with capture(net, ["stem.0", "head"]):
        assert hooks_on(net) == 2
        net(images())
    assert hooks_on(net) == 0
    with pytest.raises(ZeroDivisionError), capture(net, ["stem.0", "head"], gradients=True):
        raise ZeroDivisionError
    assert hooks_on(net) == 0


def test_hooks_are_gone_after_the_network_itself_fails() -> None:
    net = network()
    with pytest.raises(RuntimeError), capture(net, ["stem.0"]):
        net(torch.zeros(1, 5, 6, 6, dtype=torch.float64))
    assert hooks_on(net) == 0


def test_an_unknown_layer_lists_what_there_is_and_hooks_nothing() -> None:
    net = network()
    message = r"no layer named 'stem.7'; did you mean .*stem.0.* Known: stem, stem.0"
    with pytest.raises(UnknownNameError, match=message), capture(net, ["stem.0", "stem.7"]):
        pass
    assert hooks_on(net) == 0


def test_a_layer_that_took_no_part_says_so_when_it_is_read() -> None:
    net = network()
    with capture(net, ["spare", "head"], gradients=True) as seen:
        seen.backward(net(images()).sum())
    assert seen["head"].gradient is not None
    with pytest.raises(UsageError, match="layer 'spare' took no part in the forward pass"):
        seen["spare"]
    with pytest.raises(KeyError):
        seen["stem"]
    assert list(seen) == ["spare", "head"]


def test_a_layer_that_returns_several_tensors_is_refused() -> None:
    net = nn.ModuleDict({"rnn": nn.LSTM(2, 2)})
    with pytest.raises(UsageError, match="layer 'rnn' returns a tuple rather than one tensor"), capture(net, ["rnn"]):
        net["rnn"](torch.zeros(1, 1, 2))
    assert hooks_on(net) == 0


def test_a_module_used_twice_shows_its_last_use() -> None:
    net = network().eval()
    with capture(net, {"relu": "relu", "stem": "stem", "inner": "body.conv"}, gradients=True) as seen:
        seen.backward(net(images()).sum())
    first = functional.relu(seen["stem"].activation)
    torch.testing.assert_close(seen["relu"].activation, functional.relu(seen["inner"].activation * 2 + first))
    # After the second ReLU only the average over 36 places and the head are left.
    expected = net.head.weight.sum(0)[None, :, None, None] / 36
    torch.testing.assert_close(seen["relu"].gradient, expected.expand(2, 4, 6, 6).detach())


def test_a_layer_the_scalar_does_not_depend_on_has_gradient_zero() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with capture(net, ["0", "1"], gradients=True) as seen:
        net(torch.ones(1, 2))
        seen.backward(seen["0"].output.sum())
    assert seen["0"].gradient is not None
    assert seen["0"].gradient.tolist() == [[1.0, 1.0]]
    assert seen["1"].gradient is not None
    assert seen["1"].gradient.tolist() == [[0.0, 0.0]]


def test_the_mean_of_a_filter_has_a_constant_gradient_on_its_channel_and_none_on_the_others() -> None:
    net = network()
    with capture(net, ["stem.0", "body.conv"], gradients=True) as seen:
        net(images())
        seen.backward(seen["body.conv"].output[:, 2].mean())
    gradient = seen["body.conv"].gradient
    assert gradient is not None
    torch.testing.assert_close(gradient[:, 2], torch.full((2, 6, 6), 1 / 72, dtype=torch.float64))
    assert gradient[:, [0, 1, 3]].abs().sum() == 0
    earlier = seen["stem.0"].gradient
    assert earlier is not None
    assert earlier.abs().sum() > 0


def test_one_graph_serves_several_scalars_and_the_pixels() -> None:
    net = network().eval()
    given = images().requires_grad_()
    with capture(net, ["stem"], gradients=True) as seen:
        logits = net(given)
        gradients = []
        for target in range(2):
            seen.backward(logits[:, target].sum(), keep_graph=True)
            gradients.append(seen["stem"].gradient)
        (pixels,) = torch.autograd.grad(logits[:, 1].sum(), given)
    assert gradients[0] is not None
    assert gradients[1] is not None
    assert not torch.equal(gradients[0], gradients[1])
    assert pixels.shape == given.shape
    assert given.grad is None


def test_two_names_of_one_tensor_do_not_share_memory() -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 2)))
    with capture(net, ["0", "0.0"], gradients=True) as seen:
        seen.backward(net(torch.ones(1, 2)).sum())
    outer, inner = seen["0"], seen["0.0"]
    assert outer.gradient is not None
    assert inner.gradient is not None
    outer.gradient.zero_()
    outer.activation.zero_()
    assert inner.gradient.tolist() == [[1.0, 1.0]]
    assert inner.activation.abs().sum() > 0


def test_activations_are_kept_without_gradients_too() -> None:
    net = network().eval()
    with torch.inference_mode(), capture(net, ["stem"]) as seen:
        net(images())
    assert seen["stem"].gradient is None
    torch.testing.assert_close(seen["stem"].activation, net.stem(images()).detach())
    with pytest.raises(RuntimeError, match="gradients=True"):
        seen.backward(torch.zeros(()))


def test_gradients_under_no_grad_are_a_plain_mistake() -> None:
    net = network()
    with torch.no_grad(), pytest.raises(RuntimeError, match="no_grad"), capture(net, ["stem"], gradients=True):
        net(images())
    assert hooks_on(net) == 0


def test_an_observer_may_replace_an_output() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with observing({"first": net[0]}, lambda name, module, inputs, output: torch.full_like(output, 7.0)):
        assert net(torch.zeros(1, 2)).tolist() == [[7.0, 7.0]]
    assert hooks_on(net) == 0


def test_evaluating_gives_each_module_its_own_flag_back() -> None:
    net = network().train()
    net.stem.eval()
    flags = [part.training for part in net.modules()]
    with evaluating(net):
        assert not any(part.training for part in net.modules())
    assert [part.training for part in net.modules()] == flags
    with pytest.raises(ZeroDivisionError), evaluating(net):
        raise ZeroDivisionError
    assert [part.training for part in net.modules()] == flags
    assert True in flags
    assert False in flags


def test_layers_go_by_alias_and_by_module_path() -> None:
    built = wrapped(network())
    assert resolve_layer(built, "conv2") == "body.conv"
    assert resolve_layer(built, "stem.1") == "stem.1"
    assert find_module(built.module, "stem.1") is built.module.stem[1]  # type: ignore[index]
    with pytest.raises(
        UnknownNameError, match=r"no layer named 'conv3'; did you mean conv\d .* Known: conv1, conv2\. "
    ):
        resolve_layer(built, "conv3")


def test_capture_takes_the_names_to_find_layers_under() -> None:
    net = network()
    with capture(net, {"conv1": "stem.0"}) as seen:
        net(images())
    assert list(seen) == ["conv1"]
    assert seen["conv1"].activation.shape == (2, 4, 6, 6)

"""The gradient of a window is the gradient of one batch, however the window is cut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ahekit.data.batches import MicroBatch
from ahekit.training.accumulation import accumulate, soft_cross_entropy


def micro_batches(images: Tensor, targets: Tensor, weights: Tensor, sizes: list[int]) -> list[MicroBatch]:
    parts = zip(images.split(sizes), targets.split(sizes), weights.split(sizes), strict=True)
    return [MicroBatch(i, t, w, t.argmax(dim=1)) for i, t, w in parts]


def gradient(module: nn.Module, batches: list[MicroBatch]) -> Tensor:
    module.zero_grad(set_to_none=True)
    accumulate(module, batches, weight=sum(float(batch.weights.sum()) for batch in batches))
    return torch.cat([parameter.grad.flatten() for parameter in module.parameters() if parameter.grad is not None])


def case(count: int, *, classes: int = 3, seed: int = 0) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, classes)).double()
    targets = torch.rand(count, classes, dtype=torch.float64)
    weights = torch.rand(count, dtype=torch.float64) + 0.1
    return module, torch.randn(count, 3, 2, 2, dtype=torch.float64), targets / targets.sum(1, keepdim=True), weights


def test_gradient_by_hand_with_ragged_micro_batches_and_weights() -> None:
    # One linear unit per class without bias: d loss_i / d w = (softmax(w x_i) - t_i) x_i. At w = 0 softmax is 1/2.
    module = nn.Linear(1, 2, bias=False).double()
    nn.init.zeros_(module.weight)
    images = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64)
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    weights = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
    found = gradient(module, micro_batches(images, targets, weights, [2, 1]))
    # (1 * (-1/2) * 1 + 3 * (1/2) * 2 + 2 * (-1/2) * 4) / 6 = -0.25 for the first class, the opposite for the second.
    torch.testing.assert_close(found, torch.tensor([-0.25, 0.25], dtype=torch.float64))


def test_one_batch_of_8_equals_four_of_2_equals_a_ragged_cut() -> None:
    module, images, targets, weights = case(8)
    whole = gradient(module, micro_batches(images, targets, weights, [8]))
    for sizes in ([2, 2, 2, 2], [5, 3], [1, 6, 1], [7, 1]):
        torch.testing.assert_close(gradient(module, micro_batches(images, targets, weights, sizes)), whole)


def test_the_usual_mean_of_means_would_differ_on_a_ragged_cut() -> None:
    module, images, targets, weights = case(8)
    whole = gradient(module, micro_batches(images, targets, weights, [8]))
    module.zero_grad(set_to_none=True)
    for batch in micro_batches(images, targets, weights, [7, 1]):
        accumulate(module, [batch], weight=float(batch.weights.sum()) * 2)
    usual = torch.cat([parameter.grad.flatten() for parameter in module.parameters() if parameter.grad is not None])
    assert float((usual - whole).norm() / whole.norm()) > 0.01


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(0, 1000))
def test_any_partition_gives_the_gradient_of_the_whole_window(sizes: list[int], seed: int) -> None:
    module, images, targets, weights = case(sum(sizes), seed=seed)
    whole = gradient(module, micro_batches(images, targets, weights, [sum(sizes)]))
    cut = gradient(module, micro_batches(images, targets, weights, sizes))
    assert float((cut - whole).norm() / whole.norm()) < 1e-12


def test_losses_are_the_same_for_8_x_1_and_2_x_4() -> None:
    module, images, targets, weights = case(8)
    total = float(weights.sum())
    sums = [
        accumulate(module, micro_batches(images, targets, weights, sizes), weight=total).loss_sum
        for sizes in ([8], [2] * 4)
    ]
    assert sums[0] == pytest.approx(sums[1], rel=1e-12)


def test_padding_weighs_nothing() -> None:
    module, images, targets, weights = case(3)
    alone = gradient(module, micro_batches(images, targets, weights, [3]))
    padded_weights = torch.cat([weights, torch.zeros(1, dtype=torch.float64)])
    padded = micro_batches(torch.cat([images, images[:1]]), torch.cat([targets, targets[:1]]), padded_weights, [4])
    torch.testing.assert_close(gradient(module, padded), alone)


def test_gradients_are_exchanged_only_in_the_last_micro_batch() -> None:
    from contextlib import contextmanager

    held: list[bool] = []
    module, images, targets, weights = case(6)
    inside = False

    @contextmanager
    def no_sync():  # type: ignore[no-untyped-def]
        nonlocal inside
        inside = True
        yield
        inside = False

    module.register_forward_pre_hook(lambda *_: held.append(inside))
    accumulate(module, micro_batches(images, targets, weights, [2, 2, 2]), weight=1.0, no_sync=no_sync)
    assert held == [True, True, False]


def test_soft_cross_entropy_by_hand() -> None:
    logits = torch.zeros(1, 4)
    assert soft_cross_entropy(logits, torch.tensor([[1.0, 0, 0, 0]]))[0].item() == pytest.approx(1.3862944)
    # With smoothing 0.4 over four classes the target is 0.7, 0.1, 0.1, 0.1.
    logits = torch.tensor([[2.0, 0.0, 0.0, 0.0]])
    log_z = torch.logsumexp(logits, dim=1).item()
    found = soft_cross_entropy(logits, torch.tensor([[1.0, 0, 0, 0]]), label_smoothing=0.4)[0].item()
    assert found == pytest.approx(log_z - 0.7 * 2.0)


def test_half_precision_logits_are_scored_in_single_precision() -> None:
    logits = torch.zeros(2, 3, dtype=torch.bfloat16)
    assert soft_cross_entropy(logits, torch.eye(3)[:2]).dtype == torch.float32

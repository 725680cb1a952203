"""Metrics: by hand, and as scikit-learn has them."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support

from ahekit.evaluation.metrics import (
    OnlineMetrics,
    confusion_counts,
    log_losses,
    macro_f1,
    per_class,
    summarize,
    weighted_scores,
)
from ahekit.evaluation.predictions import Predictions

NAMES = ("altar", "apse", "vault")


def make_predictions(logits: list[list[float]], labels: list[int], names: tuple[str, ...] = NAMES) -> Predictions:
    ids = tuple(f"test/{number}.jpg" for number in range(len(labels)))
    return Predictions(ids, np.array(labels), np.array(logits, dtype=np.float32), names)


def random_case(seed: int, classes: int = 6, images: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    # The last class has no images, and some of the others may have none.
    return rng.normal(size=(images, classes)), rng.integers(0, rng.integers(1, classes), images)


def test_four_images_by_hand() -> None:
    # True altar, altar, apse, vault; named altar, apse, apse, vault, each with the odds 2 : 1 : 1.
    high = math.log(2)
    logits = [[high, 0, 0], [0, high, 0], [0, high, 0], [0, 0, high]]

    found = summarize(logits, [0, 0, 1, 2], class_names=NAMES)

    assert found["accuracy"] == pytest.approx(3 / 4)
    assert found["precision"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert found["recall"] == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert found["f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found["loss"] == pytest.approx((3 * math.log(2) + math.log(4)) / 4)


@pytest.mark.parametrize("seed", range(8))
def test_summary_agrees_with_scikit_learn(seed: int) -> None:
    logits, labels = random_case(seed)
    predicted, present = logits.argmax(axis=1), np.unique(labels)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    macro = precision_recall_fscore_support(labels, predicted, labels=present, average="macro", zero_division=0)

    found = summarize(logits, labels, class_names=tuple("abcdef"))

    assert found["loss"] == pytest.approx(log_loss(labels, probabilities, labels=range(6)))
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx(macro[:3])


@pytest.mark.parametrize("seed", range(4))
def test_class_scores_and_weighted_averages_agree_with_scikit_learn(seed: int) -> None:
    logits, labels = random_case(seed)
    predictions = make_predictions(logits.tolist(), labels.tolist(), tuple("abcdef"))
    expected = precision_recall_fscore_support(labels, predictions.predicted, labels=range(6), zero_division=0)
    weighted = precision_recall_fscore_support(
        labels, predictions.predicted, labels=range(6), average="weighted", zero_division=0
    )

    scores = per_class(predictions)
    counts = confusion_counts(labels, predictions.predicted, 6)

    assert np.array_equal(counts, confusion_matrix(labels, predictions.predicted, labels=range(6)))
    for index, score in enumerate(scores):
        assert (score.precision, score.recall, score.f1, score.support) == pytest.approx(
            [column[index] for column in expected]
        )
    assert list(weighted_scores(counts).values()) == pytest.approx(weighted[:3])


def test_class_without_images_has_support_0_and_stays_out_of_the_macro_average() -> None:
    # Vault has no image, but is named once.
    predictions = make_predictions([[9, 0, 0], [0, 9, 0], [0, 0, 9]], [0, 1, 1])

    assert per_class(predictions)[2].support == 0
    assert summarize(predictions.logits, predictions.labels, class_names=NAMES)["f1"] == pytest.approx((1 + 2 / 3) / 2)


def test_images_of_unknown_class_are_left_out() -> None:
    logits = [[5, 0, 0], [0, 5, 0], [0, 5, 0]]

    assert summarize(logits, [0, 1, -1], class_names=NAMES) == summarize(logits[:2], [0, 1], class_names=NAMES)
    assert confusion_counts([0, -1], [0, 2], 3).sum() == 1


def test_log_probabilities_count_as_logits() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])

    assert log_losses(np.log(probabilities), [0, 2]) == pytest.approx([-math.log(0.7), -math.log(0.3)])


def test_enormous_logits_give_a_finite_loss() -> None:
    assert log_losses([[1e4, 0.0], [0.0, 1e4]], [0, 0]) == pytest.approx([0.0, 1e4])


def test_rows_of_the_confusion_counts_are_true_classes() -> None:
    assert confusion_counts([0, 0, 1], [1, 1, 0], 2).tolist() == [[0, 2], [1, 0]]


@pytest.mark.parametrize(("labels", "predicted"), [([2], [0]), ([0], [2]), ([0, 1], [0])])
def test_indices_that_fit_no_class_are_refused(labels: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match=r"number of classes, 2|predictions"):
        confusion_counts(labels, predicted, 2)


def test_summary_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no image of known class"):
        summarize(np.zeros((2, 3)), [-1, -1], class_names=NAMES)


def test_logits_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="don't fit"):
        summarize(np.zeros((2, 4)), [0, 1], class_names=NAMES)


def test_macro_f1_takes_a_stack_of_matrices() -> None:
    right, wrong = np.eye(2, dtype=int) * 3, np.array([[0, 3], [3, 0]])

    assert macro_f1(np.stack([right, wrong])).tolist() == [1.0, 0.0]


def test_online_batches_add_up_to_the_whole() -> None:
    logits, labels = random_case(3)
    losses, predicted = log_losses(logits, labels), logits.argmax(axis=1)
    online = OnlineMetrics(6)
    for part in (slice(0, 33), slice(33, 40), slice(40, 80)):
        online.update(predicted[part], labels[part], loss_sum=losses[part].sum())

    assert online.result() == pytest.approx(summarize(logits, labels, class_names=tuple("abcdef")))


def test_online_metrics_go_on_from_a_stored_state() -> None:
    whole, first, second = OnlineMetrics(3), OnlineMetrics(3), OnlineMetrics(3)
    for online in (whole, first):
        online.update([0, 1], [0, 2], loss_sum=0.1)
    second.restore(json.loads(json.dumps(first.state())))
    for online in (whole, second):
        online.update([2], [2], loss_sum=0.2)

    assert second.result() == whole.result()


def test_online_metrics_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no image of known class"):
        OnlineMetrics(3).result()


def test_metrics_are_imported_without_scikit_learn_scipy_and_torch() -> None:
    check = (
        "import sys, ahekit.evaluation.metrics, ahekit.evaluation.intervals; "
        "print(sorted({'torch', 'sklearn', 'scipy', 'matplotlib'} & sys.modules.keys()))"
    )

    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"

"""`embedding`: positions that keep what they should, thumbnails that don't cover each other, and bad inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure as MplFigure
from torch import nn

from ahekit.data.augment import normalize
from ahekit.errors import RunError, UsageError
from ahekit.reporting.style import render_figure
from ahekit_plugins.visualizers.embedding import (
    COLOURS,
    MARKERS,
    PLOT,
    THUMBNAIL,
    apart,
    by_pca,
    by_tsne,
    largest_perplexity,
    style_of,
)

Make = Callable[..., Any]


def clusters(spread: float = 0.1, each: int = 12) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Three groups of 20 numbers, far apart."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(3, 20)) * 10
    of = np.repeat(np.arange(3), each)
    return (centres[of] + random.normal(size=(3 * each, 20)) * spread).astype(np.float32), of


def test_embeddings_and_predictions_are_those_of_the_network(make_request: Make, visualize: Make) -> None:
    looked_at = make_request()
    images = looked_at.split("test")
    inputs = normalize(images.take(slice(0, 9)), looked_at.model.preprocessing)
    module = looked_at.model.module.eval()

    whole, parts = (visualize("embedding", looked_at, method="pca", batch_size=size).arrays for size in (64, 2))

    with torch.no_grad():
        np.testing.assert_allclose(whole["embeddings"], looked_at.model.embed(inputs), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(whole["predictions"], module(inputs).argmax(1))
    np.testing.assert_array_equal(whole["labels"], images.labels)
    assert whole["image_ids"].tolist() == list(images.ids)
    np.testing.assert_allclose(parts["embeddings"], whole["embeddings"], rtol=1e-5, atol=1e-6)


def test_pca_keeps_the_distances_of_points_in_a_plane() -> None:
    random = np.random.default_rng(1)
    plane = random.normal(size=(10, 2)) * [3.0, 1.0]
    turned = plane @ np.linalg.qr(random.normal(size=(6, 6)))[0][:2]
    positions, explained = by_pca(turned.astype(np.float32))
    np.testing.assert_allclose(
        np.linalg.norm(positions[:, None] - positions[None], axis=2),
        np.linalg.norm(plane[:, None] - plane[None], axis=2),
        atol=1e-5,
    )
    assert explained.sum() == pytest.approx(1.0)
    assert explained[0] > explained[1]


def test_tsne_keeps_groups_together_and_repeats_itself() -> None:
    points, of = clusters()
    positions = by_tsne(points, 5.0)
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (of[distances.argmin(axis=1)] == of).all()
    np.testing.assert_array_equal(by_tsne(points, 5.0), positions)


def test_perplexity_is_cut_to_the_number_of_images_and_told(make_request: Make, visualize: Make) -> None:
    assert [largest_perplexity(count) for count in (3, 4, 10, 91)] == [1.0, 1.0, 3.0, 30.0]
    seen = visualize("embedding", make_request())
    assert "perplexity 2.67 instead of 30: there are few images" in seen.notes
    assert seen.arrays["positions"].shape == (9, 2)
    assert not any("perplexity" in note for note in visualize("embedding", make_request(), perplexity=2).notes)


def test_thumbnails_don_t_cover_each_other() -> None:
    positions = np.random.default_rng(0).random((300, 2)) * [50.0, 3.0]
    chosen = apart(positions, 40)
    assert len(chosen) == len(set(chosen)) == 40
    inches = (positions - positions.min(0)) / np.ptp(positions, axis=0) * PLOT
    gaps = np.abs(inches[chosen][:, None] - inches[chosen][None]).max(axis=2)
    assert gaps[~np.eye(40, dtype=bool)].min() >= THUMBNAIL


def test_no_more_thumbnails_are_drawn_than_there_is_room_for(make_request: Make, visualize: Make) -> None:
    # Two images in one place, the third as far away as the picture is wide.
    assert len(apart(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]), 3)) == 2
    assert apart(np.zeros((4, 2)), 0) == []
    seen = visualize("embedding", make_request(), method="pca", thumbnails=500)
    assert any("thumbnails of 500 drawn: more would cover each other" in note for note in seen.notes)


def test_each_of_a_hundred_classes_has_a_look_of_its_own() -> None:
    assert len({style_of(number) for number in range(len(COLOURS) * len(MARKERS))}) == 110
    assert (
        len({style_of(number)[1] for number in range(10)}) == len({style_of(number)[0] for number in range(10)}) == 10
    )


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_figure_rings_what_is_misclassified(make_request: Make, visualize: Make, method: str) -> None:
    seen = visualize("embedding", make_request(), method=method, thumbnails=2)
    (figure,) = seen.figures
    wrong = int((seen.arrays["predictions"] != seen.arrays["labels"]).sum())
    assert seen.notes[0] == f"{wrong} of 9 images misclassified, ringed; their thumbnails have dotted frames"
    canvas = MplFigure()
    figure.draw(canvas)
    *points, rings = canvas.axes[0].collections
    assert [np.shape(each.get_offsets()) for each in points] == [(3, 2)] * 3
    assert np.shape(rings.get_offsets()) == (wrong, 2)
    legend = [text.get_text() for text in canvas.legends[0].get_texts()]
    assert legend == ["altar (3)", "inner dome (3)", "vault (3)", f"misclassified ({wrong})"]
    assert render_figure(figure)[:4] == b"\x89PNG"


def test_images_that_can_t_be_laid_out_are_refused_in_a_line(make_request: Make, split: Make, visualize: Make) -> None:
    looked_at = make_request()
    with pytest.raises(UsageError, match=r"the train split has 2 image\(s\) and at least 3 are needed"):
        visualize("embedding", replace(looked_at, split=split(looked_at.pixels[:2])), split="train")
    with pytest.raises(UsageError, match="leave out --layer"):
        visualize("embedding", make_request(layers=["conv1"]))
    with pytest.raises(UsageError, match="the network comes without one"):
        visualize("embedding", replace(looked_at, split=None))
    with pytest.raises(UsageError, match="all images of the test split are embedded alike"):
        visualize("embedding", replace(looked_at, split=split(looked_at.pixels[[0, 0, 0]])))


def test_embeddings_that_are_not_finite_are_refused(make_request: Make, visualize: Make) -> None:
    looked_at = make_request()
    nn.init.constant_(looked_at.model.module[0].weight, float("nan"))
    with pytest.raises(RunError, match="the network's embeddings are not finite"):
        visualize("embedding", looked_at)


def test_three_images_are_enough(make_request: Make, split: Make, visualize: Make) -> None:
    looked_at = make_request()
    for method in ("tsne", "pca"):
        seen = visualize("embedding", replace(looked_at, split=split(looked_at.pixels)), method=method)
        assert np.isfinite(seen.arrays["positions"]).all()

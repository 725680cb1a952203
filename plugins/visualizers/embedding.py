"""Embeddings of a split in two dimensions: which images the network finds alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from numpy.typing import NDArray
from pydantic import Field
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from ahekit.data.classes import display_name
from ahekit.errors import RunError, UsageError
from ahekit.inspection.splits import Split, normalized_batches, open_images
from ahekit.protocols import Params, SplitImages, VisualizerInput
from ahekit.sections import Figure, Visualization

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

FEWEST = 3  # images that span a plane
KEPT = 50  # principal components that t-SNE works on


class EmbeddingParams(Params):
    """What can be set."""

    split: Split = Field("test", description="images to show: test, val or train")
    method: Literal["tsne", "pca"] = Field(
        "tsne", description="how numbers become two: tsne keeps neighbours, pca axes"
    )
    perplexity: float = Field(30.0, ge=1, description="t-SNE: about how many neighbours of each image count")
    thumbnails: int = Field(0, ge=0, le=500, description="images drawn as such, where they don't cover each other")
    batch_size: int = Field(64, ge=1, description="images that go through the network at a time")


class Embedding:
    """Where the network puts a split's images, by the features before its head, in two dimensions.

    PCA shows the plane of the largest variance. t-SNE (Visualizing Data using t-SNE,
    https://jmlr.org/papers/v9/vandermaaten08a.html) keeps neighbours together; sizes of groups and distances between
    them mean nothing. It starts from the first two principal components of at most 50 and is drawn with a fixed
    random state, so that the same run gives the same picture.
    """

    Params = EmbeddingParams
    needs_images = False

    def visualize(self, request: VisualizerInput, params: EmbeddingParams) -> Visualization:
        """Embed the images, bring the embeddings to two dimensions and draw them.

        Returns:
            Arrays of the N images: `embeddings` `(N, D)` float32, `positions` `(N, 2)`, `image_ids`, `labels` and
            `predictions` `(N,)` (class indices), and `split`; by PCA also `explained_variance` `(2,)`, shares of the
            whole.

        Raises:
            UsageError: A layer was named, there is no dataset, the split has fewer than 3 images, or all of them are
                embedded alike.
            RunError: The dataset isn't where it was, or the embeddings aren't finite.
        """
        if request.layers:
            raise UsageError("embedding looks at the features before the head; leave out --layer")
        images = open_images(request, params.split, least=FEWEST)
        embeddings, predictions = embed(request, images, params.batch_size)
        if not np.isfinite(embeddings).all():
            raise RunError("the network's embeddings are not finite; choose another checkpoint")
        if embeddings.shape[1] < 2 or not np.ptp(embeddings, axis=0).any():
            raise UsageError(f"all images of the {params.split} split are embedded alike; there is nothing to lay out")
        arrays = {
            "embeddings": embeddings,
            "image_ids": np.array(images.ids),
            "labels": images.labels,
            "predictions": predictions,
            "split": np.array(images.name),
        }
        wrong = int((predictions != images.labels).sum())
        marked = "ringed; their thumbnails have dotted frames" if params.thumbnails else "ringed"
        notes = [f"{wrong:,d} of {len(images):,d} images misclassified, {marked}"]
        if params.method == "pca":
            positions, explained = by_pca(embeddings)
            arrays["explained_variance"] = explained
            axes = tuple(
                f"component {number}, {share:.0%} of the variance" for number, share in enumerate(explained, 1)
            )
        else:
            perplexity = min(params.perplexity, largest_perplexity(len(images)))
            positions = by_tsne(embeddings, perplexity, seed=request.seed)
            axes = ("", "")
            if perplexity < params.perplexity:
                notes.append(f"perplexity {perplexity:.3g} instead of {params.perplexity:.3g}: there are few images")
            notes.append(
                "neighbours in the picture are neighbours to the network; sizes and distances of groups tell nothing"
            )
        scatter = Scatter(positions, images.labels, predictions, request.class_names, axes)
        how = "t-SNE" if params.method == "tsne" else "PCA"
        title = f"Embeddings by {how}: {params.split} split, {len(images):,d} images"
        figure, drawn = scatter_figure(scatter, images, title, params.thumbnails)
        if drawn < params.thumbnails:
            notes.append(f"{drawn} thumbnails of {params.thumbnails} drawn: more would cover each other")
        return Visualization({**arrays, "positions": positions}, (figure,), tuple(notes))


def embed(
    request: VisualizerInput, images: SplitImages, batch_size: int = 64
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Embeddings before the head `(N, D)` and predicted class indices `(N,)`, in eval mode."""
    embeddings, predictions = [], []
    total = math.ceil(len(images) / batch_size)
    with torch.no_grad():
        for done, (_, batch) in enumerate(normalized_batches(request, images, batch_size), start=1):
            predictions.append(request.model.module(batch).argmax(1).cpu().numpy())
            embeddings.append(request.model.embed(batch).flatten(1).float().cpu().numpy())
            request.progress(done, total)
    return np.concatenate(embeddings), np.concatenate(predictions)


def by_pca(embeddings: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions `(N, 2)` on the first two principal components, and the share of the variance that each explains."""
    pca = PCA(2, random_state=0)
    positions = pca.fit_transform(embeddings.astype(np.float64))
    return positions, pca.explained_variance_ratio_


def by_tsne(embeddings: NDArray[np.float32], perplexity: float, *, seed: int = 0) -> NDArray[np.float64]:
    """Positions `(N, 2)` by t-SNE on at most 50 principal components, starting from the first two."""
    # In double precision: components of near-equal variance would come in an order of the machine's rounding.
    components = PCA(min(KEPT, *embeddings.shape), random_state=seed).fit_transform(embeddings.astype(np.float64))
    tsne = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
    return np.asarray(tsne.fit_transform(components), dtype=np.float64)


def largest_perplexity(count: int) -> float:
    """Three times the perplexity, the neighbours that t-SNE looks at, should be there among the other images."""
    return max(1.0, (count - 1) / 3)


# Accessible Color Sequences for Data Visualization, https://arxiv.org/abs/2107.02270: ten colours that readers of any
# colour vision tell apart.
COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
# One more than colours, so that the pairs repeat after 110 classes.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p", ">", "h")

SIZE = (9.0, 6.4)
PLOT = (6.3, 5.4)  # inches of the axes in that figure, about
THUMBNAIL = 0.46  # inches a side, with its frame


@dataclass(frozen=True)
class Scatter:
    """Images in the plane.

    Attributes:
        positions: `(N, 2)`.
        labels: `(N,)` class indices.
        predictions: `(N,)` class indices.
        axes: What the axes are; empty where they mean nothing.
    """

    positions: NDArray[np.float64]
    labels: NDArray[Any]
    predictions: NDArray[Any]
    class_names: tuple[str, ...]
    axes: tuple[str, ...]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Misclassified images, `(N,)`."""
        differ: NDArray[np.bool_] = self.labels != self.predictions
        return differ


def scatter_figure(scatter: Scatter, images: SplitImages, title: str, thumbnails: int) -> tuple[Figure, int]:
    """The scatter, and how many thumbnails there is room for among those asked for."""
    places = apart(scatter.positions, thumbnails)

    def draw(figure: MplFigure) -> None:
        axes = figure.subplots()
        _draw_points(axes, scatter)
        _draw_thumbnails(axes, scatter, places, images)
        figure.legend(loc="outside right center", fontsize=9, title="class (images)", title_fontsize=9)

    counts = {
        name: [int((scatter.labels == number).sum()), int((scatter.wrong & (scatter.labels == number)).sum())]
        for number, name in enumerate(scatter.class_names)
    }
    figure = Figure(
        name="map",
        title=title,
        alt="; ".join(
            f"{display_name(name)}: {count} images, {wrong} misclassified" for name, (count, wrong) in counts.items()
        ),
        draw=draw,
        size=SIZE,
        data={"images and misclassified by class": counts},
    )
    return figure, len(places)


def apart(positions: NDArray[np.float64], count: int) -> list[int]:
    """Up to `count` images whose thumbnails don't cover each other, spread over the picture.

    Each next one is the image farthest from all before it, by the larger of the distances across and down, as squares
    overlap by; where that is less than a thumbnail, nothing more fits.
    """
    low = positions.min(axis=0)
    high = positions.max(axis=0)
    inches = (positions - low) / np.where(high > low, high - low, 1.0) * PLOT
    chosen: list[int] = []
    gap = np.full(len(positions), np.inf)
    while len(chosen) < count and gap.max() >= THUMBNAIL:
        chosen.append(int(gap.argmax()))
        gap = np.minimum(gap, np.abs(inches - inches[chosen[-1]]).max(axis=1))
    return chosen


def style_of(number: int) -> tuple[str, str]:
    """A class's colour and marker."""
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def _draw_points(axes: Axes, scatter: Scatter) -> None:
    # All dots together cover about the same share of the axes, however many there are.
    area = float(np.clip(16_000 / len(scatter.labels), 8, 40))
    line = mpl.rcParams["text.color"]
    for number, name in enumerate(scatter.class_names):
        mine = scatter.labels == number
        colour, marker = style_of(number)
        axes.scatter(
            scatter.positions[mine, 0],
            scatter.positions[mine, 1],
            s=area,
            color=colour,
            marker=marker,
            linewidths=0,
            label=f"{display_name(name)} ({mine.sum():,d})",
        )
    axes.scatter(
        scatter.positions[scatter.wrong, 0],
        scatter.positions[scatter.wrong, 1],
        s=3.0 * area,
        facecolors="none",
        edgecolors=line,
        linewidths=0.9,
        label=f"misclassified ({scatter.wrong.sum():,d})",
    )
    axes.margins(0.05)  # so that no ring is cut
    axes.grid(visible=False)
    axes.set_xlabel(scatter.axes[0])
    axes.set_ylabel(scatter.axes[1])
    if not scatter.axes[0]:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)


def _draw_thumbnails(axes: Axes, scatter: Scatter, places: Sequence[int], images: SplitImages) -> None:
    for place in places:
        pixels = images.take(slice(place, place + 1))[0]
        # The frame, its padding included, is as wide as the space that `apart` kept.
        picture = OffsetImage(pixels, zoom=72 * (THUMBNAIL - 0.08) / pixels.shape[0])
        colour, _ = style_of(int(scatter.labels[place]))
        line = ":" if scatter.wrong[place] else "-"
        frame = {"edgecolor": colour, "linewidth": 1.8, "linestyle": line, "facecolor": "none"}
        axes.add_artist(AnnotationBbox(picture, tuple(scatter.positions[place]), pad=0.1, bboxprops=frame))

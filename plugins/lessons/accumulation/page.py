"""What the page tells: sections, tables, the curve of memory, and the window to cut."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.resources import files

import numpy as np
from matplotlib.figure import Figure as MplFigure

from ahekit.sections import Column, Figure, Section, Table, Widget
from ahekit.training.memory import Memory
from ahekit.wording import counted

from .measuring import MISTAKEN
from .readings import MB, ratios, span
from .trial import TILES_PER_ROW, Measured, Plan, tile_size


def sections(plan: Plan, measured: Measured) -> tuple[Section, ...]:
    """In the order in which they are read."""
    return (
        _idea(plan),
        _window(plan, measured),
        _memory_and_time(plan, measured),
        _exactness(plan, measured),
        *_batch_norm(plan, measured),
        _mistakes(measured),
    )


def _idea(plan: Plan) -> Section:
    return Section(
        title="The idea",
        reading=(
            f"An optimizer step goes by the mean gradient of a window of images, here {plan.window}. A gradient is a "
            "sum over images, so the window can pass the network in K micro-batches: each one's gradient is added to "
            "the last one's, and the optimizer steps once at the end. Memory is needed for one micro-batch at a time. "
            "For the sum to be the large batch's mean, every image's loss has to be divided by the same number: the "
            "images of the whole window (with class weights: the sum of their weights)."
        ),
        values={"window": plan.window, "accumulation": list(plan.counts)},
    )


def _window(plan: Plan, measured: Measured) -> Section:
    data = {
        "window": plan.window,
        "counts": list(plan.counts),
        "losses": measured.losses,
        "tile": tile_size(len(measured.losses)),
        "perRow": TILES_PER_ROW,
        "tiles": base64.b64encode(measured.tiles).decode(),
        "measured": [_page_row(measured, count) for count in plan.counts],
    }
    text = (
        "move the slider for K and see the same window in micro-batches, with the memory, time and distances that were "
        "measured; shorten the window, as at an epoch's end, and see what each way of dividing makes of its loss."
    )
    return Section(
        title="The window in micro-batches",
        reading=(
            "The first window, each image with its loss before training. However it is cut, the sum of the losses over "
            "the number of images is the same; a mean of means is only as long as all micro-batches are of one size."
        ),
        widgets=(Widget("window", _asset("window.js"), data, text, _asset("widget.css")),),
        values={"losses": list(measured.losses)},
    )


def _page_row(measured: Measured, count: int) -> dict[str, float | None]:
    memory = measured.memory.get(count)
    batch = measured.batch.get(count)
    return {
        "memory": None if memory is None else memory.training / MB,
        "seconds": float(np.mean(measured.usual[count].seconds)),
        "gradient": measured.double[count],
        "batchNorm": None if batch is None else float(np.mean(batch.gradient)),
    }


def _memory_and_time(plan: Plan, measured: Measured) -> Section:
    rows = []
    for count in plan.counts:
        memory = measured.memory.get(count)
        seconds = measured.usual[count].seconds
        rows.append(
            (
                count,
                plan.window // count,
                None if memory is None else memory.peak / MB,
                None if memory is None else memory.training / MB,
                float(np.mean(seconds)),
                span(seconds),
            )
        )
    columns = (
        Column("K", "d", "right"),
        Column("micro-batch", "d", "right"),
        Column("peak, MB", ",.0f", "right"),
        Column("training, MB", ",.0f", "right"),
        Column("s per step", ".3f", "right"),
        Column("95 % interval", align="right"),
    )
    note = (
        "Peak memory of a process of its own for each K; training: what is left of it without libraries, network and "
        "data. Intervals over seeds (Student's t)."
    )
    line = memory_line(plan, measured.memory)
    words = "This system doesn't tell a process its peak memory." if line is None else _memory_words(plan, line)
    return Section(
        title="Memory and time",
        reading=f"{words} {_time_words(plan, measured)}",
        tables=(Table("By number of micro-batches", columns, tuple(rows), note),),
        figures=(_memory_figure(plan, measured.memory),) if measured.memory else (),
        values={
            "peak": {str(count): memory.peak for count, memory in measured.memory.items()},
            "before": {str(count): memory.before for count, memory in measured.memory.items()},
            "seconds": {str(count): each.seconds for count, each in measured.usual.items()},
        },
    )


def memory_line(plan: Plan, memory: Mapping[int, Memory]) -> tuple[float, float] | None:
    """Bytes that training takes with no image at all, and for each image of a micro-batch: the line nearest to all."""
    if len(memory) < 2:
        return None
    sizes = [plan.window / count for count in memory]
    slope, base = np.polyfit(sizes, [each.training for each in memory.values()], 1)
    return float(base), float(slope)


def _memory_words(plan: Plan, line: tuple[float, float]) -> str:
    base, slope = line
    return (
        f"Training needs about {base / MB:,.0f} MB whatever the micro-batch (gradients, the optimizer's state), and "
        f"{slope / MB:.2f} MB for each of its images, whose activations wait for the way back."
    )


def _time_words(plan: Plan, measured: Measured) -> str:
    last = plan.counts[-1]
    times = ratios(measured, last)
    return (
        f"An optimizer step in {last} micro-batches takes {np.mean(times):.2f} times as long as in one "
        f"({span(times) or 'one seed'})."
    )


def _memory_figure(plan: Plan, memory: Mapping[int, Memory]) -> Figure:
    counts = list(memory)
    peaks = [memory[count].training / MB for count in counts]
    return Figure(
        name="memory",
        title="Memory of training by number of micro-batches",
        alt="; ".join(f"{count}: {peak:,.0f} MB" for count, peak in zip(counts, peaks, strict=True)),
        draw=partial(_draw_memory, counts=counts, peaks=peaks),
        size=(5.6, 3.6),
        data={"accumulation": counts, "megabytes": peaks},
        caption=f"Windows of {plan.window} images. What doesn't fall is gradients and the optimizer's state.",
    )


def _draw_memory(figure: MplFigure, *, counts: Sequence[int], peaks: Sequence[float]) -> None:
    axes = figure.add_subplot()
    axes.plot(counts, peaks, "o-")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("micro-batches of the window, K")
    axes.set_ylabel("memory of training, MB")
    axes.set_ylim(bottom=0)


def _exactness(plan: Plan, measured: Measured) -> Section:
    rows = tuple(
        (
            count,
            measured.double[count],
            float(np.mean(measured.stored[count].gradient)),
            float(np.mean(measured.stored[count].weights)),
            span(measured.stored[count].weights, ".1e"),
        )
        for count in plan.counts[1:]
    )
    columns = (
        Column("K", "d", "right"),
        Column("gradient, double", ".1e", "right"),
        Column("gradient, single", ".1e", "right"),
        Column("weights", ".1e", "right"),
        Column("95 % interval", align="right"),
    )
    note = (
        f"Gradient: distance over its length. Weights: distance after {counted(plan.steps, 'optimizer step')} over the "
        f"way that they went. Double: of the first {plan.exact_images} images. Dropout is off, BatchNorm by stored "
        "statistics."
    )
    worst = max(measured.double.values())
    return Section(
        title="The gradient, and the weights it leads to",
        reading=(
            f"With everything left out that looks at a micro-batch as a whole, the gradient is the large batch's to "
            f"{worst:.0e} in double precision: what is left is rounding, since sums are taken in another order. Single "
            "precision rounds more coarsely, and each step builds on the last one's rounding."
        ),
        tables=(Table("Distance to the large batch", columns, rows, note),),
        verdict=f"The accumulated gradient is the large batch's, to {worst:.0e} in double precision.",
        values={
            "double": {str(count): value for count, value in measured.double.items()},
            "single": {str(count): each.gradient for count, each in measured.stored.items()},
            "weights": {str(count): each.weights for count, each in measured.stored.items()},
        },
    )


def _batch_norm(plan: Plan, measured: Measured) -> Iterator[Section]:
    if not measured.batch:
        return
    rows = tuple(
        (
            count,
            plan.window // count,
            float(np.mean(measured.batch[count].gradient)),
            span(measured.batch[count].gradient),
            float(np.mean(measured.batch[count].weights)),
            float(np.mean(measured.batch[count].statistics)),
        )
        for count in plan.counts[1:]
    )
    columns = (
        Column("K", "d", "right"),
        Column("micro-batch", "d", "right"),
        Column("gradient", ".3f", "right"),
        Column("95 % interval", align="right"),
        Column("weights", ".3f", "right"),
        Column("statistics", ".3f", "right"),
    )
    last = plan.counts[-1]
    yield Section(
        title="BatchNorm drifts apart",
        reading=(
            "BatchNorm takes mean and variance from the images that pass together, and those are a micro-batch's: the "
            "network itself computes something else, not only its gradient. The smaller the micro-batch, the noisier "
            f"they are; at {plan.window // last} images the gradient is {rows[-1][2]:.0%} of its length away. The "
            "running statistics also move K times for each optimizer step instead of once."
        ),
        tables=(
            Table(
                "Distance to the large batch, BatchNorm by micro-batch",
                columns,
                rows,
                "As above; statistics: running means and variances, over the way that they went.",
            ),
        ),
        values={
            "gradient": {str(count): each.gradient for count, each in measured.batch.items()},
            "weights": {str(count): each.weights for count, each in measured.batch.items()},
            "statistics": {str(count): each.statistics for count, each in measured.batch.items()},
        },
    )


def _mistakes(measured: Measured) -> Section:
    rows = tuple((each.name, _sizes(each.sizes), each.error, each.length, each.cosine) for each in measured.mistakes)
    columns = (
        Column("mistake"),
        Column("micro-batches"),
        Column("error", ".3f", "right"),
        Column("length", ".3f", "right"),
        Column("cosine", ".4f", "right"),
    )
    fixed, means, weighted = measured.mistakes
    return Section(
        title="Two common mistakes",
        reading=(
            "Most loops divide each micro-batch's mean loss by K. At an epoch's end the last window is short: with "
            f"{len(fixed.sizes)} of {MISTAKEN} micro-batches the step is {fixed.length:.0%} of its length, in "
            "the right direction. Dividing by the micro-batches that there are doesn't mend it where one of them is "
            f"short (its images count {means.sizes[0] / means.sizes[-1]:.0f} times as much: off by {means.error:.0%}) "
            f"or where images have weights (off by {weighted.error:.0%}): a mean of means is no mean. Dividing by the "
            "window's own sum of weights is right in all three."
        ),
        tables=(
            Table(
                "Wrong divisors",
                columns,
                rows,
                "error: distance to the right gradient over its length; length: of the wrong one over the right one's; "
                "cosine: between both. In double precision, before training.",
            ),
        ),
        values={
            each.name: {"error": each.error, "length": each.length, "cosine": each.cosine} for each in measured.mistakes
        },
    )


def _sizes(sizes: tuple[int, ...]) -> str:
    whole = sum(size == sizes[0] for size in sizes)
    rest = "" if whole == len(sizes) else f" + {sizes[-1]}"
    return f"{whole} × {sizes[0]}{rest}"


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")

"""What the page tells of hidden units: the question, the layers, the best units, and the control."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from ahekit.data.classes import display_name
from ahekit.protocols import SplitImages
from ahekit.sections import Column, Section, Table, Widget

from .readings import Facts


def sections(facts: Facts, images: SplitImages) -> tuple[Section, ...]:
    """In the order in which they are read."""
    return (_question(facts, images), _by_layer(facts), _slider(facts), _best(facts), _control(facts))


def _question(facts: Facts, images: SplitImages) -> Section:
    return Section(
        title="The question",
        reading=(
            "Somebody looks at the images that excite a hidden unit most and finds that they are nearly all of one "
            f"class. Is that unit likelier in {facts.late} or in {facts.early}? Early layers see few pixels, and an "
            "edge or a colour is part of every class; later layers combine what earlier ones saw. To tell, every unit "
            f"of every convolution is shown the {len(images):,d} images of the {images.name} split. Its activity is "
            f"the positive part of its output; of its {facts.top} strongest images the majority class and its share "
            "are counted, beside the share that permuted labels give by chance."
        ),
        values={"early": facts.early, "late": facts.late, "top": facts.top},
    )


def _by_layer(facts: Facts) -> Section:
    depth = next(figure for figure in facts.seen.figures if figure.name == "depth")
    notes = [note for note in facts.seen.notes if not note.startswith("FAILED")]
    return Section(
        title="Layer by layer",
        reading=" ".join(f"{note[:1].upper()}{note[1:]}." for note in notes),
        tables=facts.seen.tables,
        figures=(depth,),
        values={layer: {"units": len(facts.shares(layer)), "mostly": facts.mostly(layer)} for layer in facts.layers},
        verdict=f"{notes[-1][:1].upper()}{notes[-1][1:]}." if len(notes) > 1 else "",
    )


def _slider(facts: Facts) -> Section:
    data = {
        "top": facts.top,
        "layers": [
            {
                "name": layer,
                "counts": counts(facts, facts.shares(layer)),
                "shuffled": counts(facts, facts.shuffled[layer]),
            }
            for layer in facts.layers
        ],
    }
    text = "set how many of a unit's strongest images have to be of one class, and see how many units of each layer do."
    return Section(
        title="How many is mostly?",
        reading=(
            "More than half is a choice. The layers may stand in another order where all images have to be of one "
            "class, or where a third is enough; beside each stands what the same network gives with shuffled weights."
        ),
        widgets=(Widget("mostly", _asset("mostly.js"), data, text, _asset("widget.css")),),
        values=data,
    )


def counts(facts: Facts, shares: np.ndarray) -> list[int]:
    """Units whose majority class has just 0, 1, 2 … of their strongest images."""
    numbers = np.rint(shares * facts.top).astype(np.int64)
    units: list[int] = np.bincount(numbers, minlength=facts.top + 1).tolist()
    return units


def _best(facts: Facts) -> Section:
    arrays = facts.seen.arrays
    rows = tuple(
        (
            display_name(facts.class_names[int(arrays["best_class"][place])]),
            str(arrays["best_layer"][place]),
            int(arrays["best_unit"][place]),
            float(arrays["best_f1"][place]),
            float(arrays["best_f1_silenced"][place]),
            float(arrays["best_others_drop"][place]),
        )
        for place in range(len(arrays["best_class"]))
    )
    columns = (
        Column("class"),
        Column("layer"),
        Column("unit", "d", "right"),
        Column("F1", ".3f", "right"),
        Column("silenced", ".3f", "right"),
        Column("others fall by", ".3f", "right"),
    )
    return Section(
        title="The best unit of each class, and the network without it",
        reading=(
            "For each class the unit with the largest share of it among its strongest images. It is silenced (its "
            "activity held at 0), and F1 of its class and of the others is measured again. A class that barely falls "
            "is held by many units together: what a unit responds to is not what the network rests on."
        ),
        tables=(
            Table(
                "Silenced",
                columns,
                rows,
                "F1 of the unit's class, with and without it. Units are chosen and silenced on the same images.",
            ),
        ),
        figures=tuple(figure for figure in facts.seen.figures if figure.name == "best"),
        values={"drops": facts.drops.tolist()},
    )


def _control(facts: Facts) -> Section:
    rows = tuple(
        (
            layer,
            float(facts.shares(layer).mean()),
            float(facts.shuffled[layer].mean()),
            facts.mostly(layer),
            int((facts.shuffled[layer] > 0.5).sum()),
        )
        for layer in facts.layers
    )
    columns = (
        Column("layer"),
        Column("share", ".2f", "right"),
        Column("share, shuffled", ".2f", "right"),
        Column("mostly one class", ",d", "right"),
        Column("shuffled", ",d", "right"),
    )
    own = float(facts.shares(facts.late).mean())
    control = float(facts.shuffled[facts.late].mean())
    return Section(
        title="Is it learned, or does depth alone do it?",
        reading=(
            "The same network with the weights of every tensor in a random order, and BatchNorm measured anew: as "
            "deep, with as large receptive fields, and nothing learned. Whatever such units prefer, they owe to the "
            f"architecture and to images of one class looking alike. In {facts.late} the majority class has {own:.0%} "
            f"of a unit's strongest images, with shuffled weights {control:.0%}."
        ),
        tables=(
            Table(
                "Learned and shuffled weights",
                columns,
                rows,
                f"share: of the majority class among a unit's {facts.top} strongest images, mean over all units.",
            ),
        ),
        values={"shuffled": {layer: float(shares.mean()) for layer, shares in facts.shuffled.items()}},
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")

"""What is decided when data, network and device come together."""

from __future__ import annotations

import pytest

from ahekit.spec import resolve_spec
from ahekit.training.setup import fit_accumulation


@pytest.mark.parametrize(
    ("assignments", "images", "processes", "steps"),
    [
        ([], 28, 1, 1),
        ([], 28, 2, 1),
        ([], 130, 1, 3),
        ([], 130, 2, 2),
        ([], 256, 1, 4),
        (["optim.batch_size=8"], 28, 1, 4),
        (["optim.accumulation_steps=4"], 28, 1, 4),
        (["recipe=assignment"], 28, 1, 1),
    ],
)
def test_a_default_accumulation_that_no_epoch_can_fill_is_shortened_and_told(
    assignments: list[str], images: int, processes: int, steps: int
) -> None:
    told: list[str] = []
    spec = resolve_spec(assignments=assignments)
    fitted = fit_accumulation(spec, images, processes, told.append)
    assert fitted.optim.accumulation_steps == steps
    assert bool(told) == (fitted is not spec)
    if told:
        assert told[0].startswith(
            f"accumulation steps: {steps} instead of 4, since {images} training images fill no more"
        )

"""Cells of tables as text."""

import pytest

from ahekit.sections import Cell, Column, format_cell


@pytest.mark.parametrize(
    ("cell", "form", "text"),
    [
        (0.98765, ".3f", "0.988"),
        (10235, ",d", "10,235"),
        (0.049, ".1%", "4.9%"),
        ("altar", ".3f", "altar"),
        (7, None, "7"),
        (None, ".3f", "–"),
        (float("nan"), ".3f", "–"),
    ],
)
def test_cell_is_written_as_its_column_says(cell: Cell, form: str | None, text: str) -> None:
    assert format_cell(cell, Column("a column", form)) == text

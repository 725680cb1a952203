"""The pages that follow from the code are those that the code makes now."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def script(name: str) -> dict[str, Any]:
    """What a script of the documentation defines."""
    return runpy.run_path(str(DOCS / f"{name}.py"))


def test_the_reference_is_what_the_code_says() -> None:
    reference = script("make_reference")
    for name, text in reference["pages"]().items():
        stored = (DOCS / "reference" / name).read_text(encoding="utf-8")
        assert stored == text, f"docs/reference/{name} is old; `python docs/make_reference.py` writes it anew"


def test_the_import_map_is_that_of_the_enforced_table() -> None:
    drawn = script("make_import_map")["draw"]()
    stored = (DOCS / "images" / "import-map.svg").read_text(encoding="utf-8")
    assert stored == drawn, "docs/images/import-map.svg is old; `python docs/make_import_map.py` draws it anew"


def test_the_figures_of_the_results_are_those_of_their_tables() -> None:
    accuracies = script("make_accuracies")
    assert accuracies["accuracy"]("cnn5.md", "strong recipe") == (0.926, 0.904, 0.943)
    assert len(accuracies["networks"]()) > 5
    for name, draw in accuracies["FIGURES"].items():
        stored = (DOCS / "images" / name).read_text(encoding="utf-8")
        assert stored == draw(), f"docs/images/{name} is old; run `python docs/make_accuracies.py`"


def test_a_line_of_the_import_map_that_follows_from_others_is_left_out() -> None:
    direct = script("make_import_map")["direct"]
    assert direct({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_every_lesson_is_listed_with_its_page() -> None:
    lessons = script("make_lessons")
    folder = DOCS / "explanation" / "lessons"
    assert (folder / "index.md").read_text(encoding="utf-8") == lessons["index"](), (
        "docs/explanation/lessons/index.md is old; `python docs/make_lessons.py` writes it anew"
    )
    assert {path.parent.name for path in folder.glob("*/index.md")} <= set(lessons["own_lessons"]())


@pytest.mark.parametrize(
    ("docstring", "first", "attributes"),
    [
        ("One line.", ["One line."], {}),
        (
            "First.\n\n    kept  as it is\n\nAttributes:\n    name: A word\n        or two.\n    size: In *pixels*.",
            ["First.", "```text\nkept  as it is\n```"],
            {"name": "A word or two.", "size": "In *pixels*."},
        ),
    ],
)
def test_a_docstring_is_taken_apart(docstring: str, first: list[str], attributes: dict[str, str]) -> None:
    assert script("make_reference")["docstring_of"](type("Thing", (), {"__doc__": docstring})) == (first, attributes)


def test_a_bar_in_code_does_not_end_the_cell_of_a_table() -> None:
    reference = script("make_reference")
    assert reference["table"](("a", "b"), [(reference["code"]("x|<y>"), "z")]).splitlines()[-1] == (
        "| <code>x&#124;&lt;y></code> | z |"
    )

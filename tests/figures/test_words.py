"""Words that fit their place, and letters that matplotlib's own font lacks."""

from __future__ import annotations

import pytest
from matplotlib.font_manager import fontManager

from ahekit.figures import fonts
from ahekit.figures.fonts import BASE, families_for
from ahekit.figures.words import text_width, wrapped


@pytest.mark.parametrize(
    "text",
    [
        "backbone.blocks.5.3.conv_dw",
        "predicted: a class of a name that nobody could have foreseen 33%",
        "Abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
        "\u5f69\u8272\u73bb\u7483" * 6,
        "one line\nand another one",
    ],
)
def test_no_line_is_wider_than_its_place_and_no_letter_is_lost(text: str) -> None:
    lines = wrapped(text, 0.9, 8).split("\n")
    assert all(text_width(line, 8) <= 0.9 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_names_break_behind_dots_and_underscores() -> None:
    assert wrapped("backbone.blocks.5.3.conv_dw", 1.0, 8) == "backbone.\nblocks.5.3.\nconv_dw"
    assert wrapped("short", 1.0, 8) == "short"
    assert wrapped("", 1.0, 8) == ""


def test_latin_greek_and_cyrillic_need_no_other_font() -> None:
    assert families_for("vault \u03b1\u03b2 \u0430\u043b\u0442\u0430\u0440\u044c\n") == ((BASE,), "")


def test_letters_come_from_the_installed_font_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        def __init__(self, name: str) -> None:
            self.name = self.fname = name

    holds = {"Han": frozenset("\u5f69\u8272"), "Hangul": frozenset("\uae30"), "Some Han": frozenset("\u5f69")}
    base = fonts._base_file()
    monkeypatch.setattr(fonts, "_candidates", lambda: tuple(map(Entry, ("Some Han", "Hangul", "Han"))))
    monkeypatch.setattr(fonts, "_letters", lambda file: frozenset("abc") if file == base else holds[file])
    families, missing = families_for("abc \u5f69\u8272 \uae30 \U00013000")
    assert families == (BASE, "Han", "Hangul")
    assert missing == "\U00013000"


def test_a_font_of_last_resort_has_no_letters() -> None:
    placeholder = [entry.fname for entry in fontManager.ttflist if "Last Resort" in entry.name]
    if not placeholder:
        pytest.skip("this matplotlib brings none")
    assert fonts._letters(placeholder[0]) == frozenset()

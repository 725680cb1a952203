"""A plugin's parameters as options of the command that names it: ours and a stranger's alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ahekit.cli.plugin_options import find_name


def said(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


def test_help_on_a_visualizer_lists_its_options_and_no_others(cli: Callable[..., Any]) -> None:
    page = cli("viz", "gradcam", "--help")
    assert page.code == 0
    assert "Usage: ahekit viz gradcam [OPTIONS]" in page.out
    assert "Parameters of gradcam" in page.out
    assert "--target" in page.out
    assert "(default: predicted)" in said(page.out)
    for foreign in ("--unit", "--filter", "--images-per-class", "Arguments"):
        assert foreign not in page.out


def test_help_without_a_visualizer_lists_them_with_a_line_each(cli: Callable[..., Any], stranger: Path) -> None:
    page = cli("viz", "--help", "--plugin", stranger)
    assert page.code == 0
    assert "gradcam++" in page.out
    assert "Grad-CAM with weights that give each place its share" in said(page.out)
    assert "rays Rays from every place." in said(page.out)
    assert "--target" not in page.out
    assert "`ahekit viz NAME --help`" in page.out


def test_a_strangers_visualizer_has_help_like_ours(cli: Callable[..., Any], stranger: Path) -> None:
    page = cli("--plugin", stranger, "viz", "-h", "rays")
    assert page.code == 0
    text = said(page.out)
    assert "Rays from every place. Set with --set alone: seed." in text
    assert "--rays N Rays [of light] from each place (default: 7)." in text
    assert "--colour warm|cold Of the rays (default: warm)." in text
    assert "--fade --no-fade" in text
    assert "--grid YAML" in text
    assert "--only TEXT Classes (may be given several times)." in text


def test_an_installed_strangers_visualizer_is_described_without_being_imported(
    cli: Callable[..., Any], install: Callable[..., None]
) -> None:
    source = 'class Beams:\n    """Beams of light.\n\n    More."""\nraise RuntimeError("imported")\n'
    install("beams", {"ahekit.visualizers": {"beams": "beams:Beams"}}, beams=source)
    page = cli("viz", "--help")
    assert page.code == 0
    assert "beams Beams of light." in said(page.out)
    named = cli("viz", "beams", "--help")
    assert (named.code, named.err.count("\n")) == (1, 1)
    assert "ahekit: visualizer 'beams' of beams 1.0 is broken: RuntimeError: imported" in named.err


@pytest.fixture
def complete(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """What the shell is told of a line with the cursor at its end."""

    def run(words: str) -> list[str]:
        count = len(words.split()) - (0 if words.endswith(" ") else 1)
        for name, value in {"_AHEKIT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(count)}.items():
            monkeypatch.setenv(name, value)
        done = cli()
        assert done.err == ""
        told: list[str] = done.out.split()
        return told

    return run


def test_the_shell_completes_the_options_of_the_named_visualizer(
    complete: Callable[[str], list[str]], stranger: Path
) -> None:
    assert complete("ahekit viz embedding --perp") == ["--perplexity"]
    assert complete(f"ahekit --plugin {stranger} viz rays --ra") == ["--rays"]
    assert complete(f"ahekit viz rays --plugin {stranger} --colour c") == ["cold"]
    assert complete(f"ahekit viz --plugin {stranger} ra") == ["rays"]


def test_completion_says_nothing_of_what_is_broken(complete: Callable[[str], list[str]], tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise RuntimeError")
    assert complete(f"ahekit viz --plugin {broken} gradcam --ta") == []
    assert complete("ahekit viz no-such-thing --checkp") == ["--checkpoint"]


OWN = [
    SimpleNamespace(name="name", param_type_name="argument", opts=["name"]),
    SimpleNamespace(name="layer", param_type_name="option", opts=["--layer", "-l"], is_flag=False),
    SimpleNamespace(name="plain_title", param_type_name="option", opts=["--plain-title"], is_flag=True),
    SimpleNamespace(name="form", param_type_name="option", opts=["--as"], is_flag=False),
]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("", None),
        ("units", "units"),
        ("--layer units", None),
        ("-l conv3 units", "units"),
        ("-lconv3 units", "units"),
        ("--layer=conv3 units", "units"),
        ("--plain-title units", "units"),
        ("--target altar units", "units"),
        ("--check units", "units"),
        ("units --method cams", "units"),
        ("--method cams units", "units"),
        ("--method=cams", None),
        ("--show-units 3", None),
        ("unist --show-units 3", "unist"),
        ("--plain-title unist", "unist"),
        ("-- units", "units"),
    ],
)
def test_the_name_is_found_among_options_that_nobody_knows_yet(line: str, name: str | None) -> None:
    assert find_name(line.split(), OWN, named_by="name", known=["units", "cams"]) == name


@pytest.mark.parametrize(
    ("line", "name"),
    [("folder --as csv", "csv"), ("--as=xmp folder", "xmp"), ("folder", None), ("--x --as csv", "csv")],
)
def test_an_option_may_name_the_plugin(line: str, name: str | None) -> None:
    assert find_name(line.split(), OWN, named_by="form", known=["csv"]) == name

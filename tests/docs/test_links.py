"""What documents and code name is there: files, anchors of files outside the site, and nothing from elsewhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FETCHED = runpy.run_path(str(ROOT / "docs" / "hooks.py"))["FETCHED"]

OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")  # mkdocs checks those inside
NAMING = [
    path
    for folder, kind in (("ahekit", "*.py"), ("plugins", "*.py"), ("tests", "*.py"), ("docs", "*.*"), (".", "*.*"))
    for path in (ROOT / folder).glob(kind if folder == "." else f"**/{kind}")
    if path.suffix in (".py", ".md", ".yaml", ".toml") and path != Path(__file__)
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_links_of_the_documents_outside_the_site_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = [target.split()[0] for target in re.findall(r"\]\(([^)]+)\)", text)]
    assert targets
    missing = [target for target in targets if not target.startswith("https://") and not (ROOT / target).exists()]
    assert not missing


def test_files_of_the_documentation_that_are_named_anywhere_are_there() -> None:
    named = {
        match: path.relative_to(ROOT)
        for path in NAMING
        for match in re.findall(
            r"(?<![\w./])docs/[\w./-]+\.(?:md|py|yaml|svg|png|jpg)", path.read_text(encoding="utf-8")
        )
    }
    assert len(named) > 10
    assert {name: str(by) for name, by in named.items() if not (ROOT / name).exists()} == {}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/x.js"></script>',
        "<img alt='' src=//example.org/x.png>",
        '<link rel="stylesheet" href="https://fonts.example/css">',
        '<link href="https://fonts.example" rel="preconnect" crossorigin>',
        "@import 'https://fonts.example/css';",
        "body { background: url(https://example.org/x.png) }",
    ],
)
def test_what_a_browser_would_fetch_from_elsewhere_is_seen(text: str) -> None:
    assert FETCHED.search(text)


@pytest.mark.parametrize(
    "text",
    [
        '<a href="https://example.org/x.png">x</a>',
        '<script src="assets/x.js"></script>',
        '<link rel="canonical" href="https://example.org/">',
        '<svg xmlns="http://www.w3.org/2000/svg">',
        "body { background: url('data:image/svg+xml;charset=utf-8,<svg xmlns=\"http://www.w3.org/2000/svg\"/>') }",
    ],
)
def test_what_is_only_named_or_lies_beside_is_let_through(text: str) -> None:
    assert not FETCHED.search(text)

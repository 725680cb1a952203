"""What building the site needs besides mkdocs.yml: the lessons in the navigation, and no address of elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority

LESSONS = "explanation/lessons/"

# What a browser fetches by itself, as links are not.
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\ssrc=[\"']?(?:https?:)?//[^\s\"'>]+"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preconnect|preload|icon|modulepreload))[^>]*href=[\"']?(?:https?:)?//[^>]+"
    r"|@import\s[^;]*https?:[^;]*"
    r"|url\(\s*[\"']?(?:https?:)?//[^)]+"
)


def on_config(config: Any) -> Any:
    """Put every lesson's page where the navigation names their folder."""
    fill(config.nav, Path(config.docs_dir))
    return config


def fill(nav: list[Any], docs: Path) -> None:
    """Replace the lessons' folder in a part of the navigation by its pages."""
    for item in nav:
        if not isinstance(item, dict):
            continue
        for title, value in item.items():
            if isinstance(value, list):
                fill(value, docs)
            elif value == LESSONS:
                folder = docs / LESSONS
                pages = sorted(folder.glob("*/index.md"))
                item[title] = [str(page.relative_to(docs)) for page in (folder / "index.md", *pages)]


@event_priority(-100)
def on_post_build(config: Any) -> None:
    """Write the search's index for pages from disk, and refuse a site that would fetch something from elsewhere.

    Raises:
        PluginError: It would; the first of the places.
    """
    index = Path(config.site_dir) / "search" / "search_index.json"
    # Where a page may not fetch a file, it may still run it as a script: the theme looks for this name and variable.
    index.with_suffix(".js").write_text(f"var __index = {index.read_text(encoding='utf-8')}", encoding="utf-8")
    for place in fetched(Path(config.site_dir).rglob("*")):
        raise PluginError(f"the site has to work offline: {place}")


def fetched(files: Iterable[Path]) -> Iterator[str]:
    """Where pages and styles name something on another host that a browser would fetch."""
    for file in sorted(files):
        if file.suffix in (".html", ".css", ".svg"):
            for match in FETCHED.finditer(file.read_text(encoding="utf-8", errors="replace")):
                yield f"{file}: {match[0][:200]}"

"""A lesson's page in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ahekit.reporting.drawing import draw_report
from ahekit.reporting.render_html import render_html
from ahekit.sections import Experiment
from ahekit.teaching import lesson_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def open_lesson(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens an experiment's page 400 pixels wide, dark unless told otherwise; the browser may complain of nothing."""
    complaints: list[str] = []
    contexts = []

    def opened(name: str, experiment: Experiment, *, is_dark: bool = True) -> Page:
        file = tmp_path / "page.html"
        report, pictures = draw_report(lesson_report(name, experiment), ["svg"])
        file.write_text(render_html(report, pictures), encoding="utf-8")
        context = browser.new_context(
            viewport={"width": 400, "height": 900}, color_scheme="dark" if is_dark else "light"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(file.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []

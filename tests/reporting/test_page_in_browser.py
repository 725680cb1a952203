"""The page as a reader's browser has it: its script runs under its own policy, tables sort, figures have a size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page

from ahekit.reporting.build import Report
from ahekit.reporting.drawing import draw_report
from ahekit.reporting.render_html import render_html
from ahekit.sections import Column, Table
from tests.browser import needs_browser


def write_page(report: Report, folder: Path) -> Path:
    drawn, pictures = draw_report(report, ["svg"])
    file = folder / "report.html"
    file.write_text(render_html(drawn, pictures), encoding="utf-8")
    return file


@pytest.fixture
def file(small_report: Report, tmp_path: Path) -> Path:
    return write_page(small_report, tmp_path)


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    """The page of the small report, read on a screen of 1280 pixels."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.goto(file.as_uri())
    yield opened
    context.close()


def column(table: Locator, place: int) -> list[str]:
    """The texts of a table's column, from the top."""
    return [text.strip() for text in table.locator(f"tbody tr > :nth-child({place + 1})").all_inner_texts()]


def heading(table: Locator, place: int) -> Locator:
    return table.locator("thead th").nth(place)


@needs_browser
def test_page_runs_its_script_and_asks_the_network_for_nothing(browser: Browser, file: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(file.as_uri(), wait_until="networkidle")
    assert page.locator("table thead button").count() == 3, "the script made the headings buttons"
    context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


@needs_browser
def test_figures_have_a_size(page: Page) -> None:
    pictures = page.locator("figure svg").all()
    assert pictures
    for picture in pictures:
        box = picture.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) > 50


@needs_browser
def test_a_table_is_one_stop_of_the_tab_key_and_arrows_go_from_head_to_head(page: Page) -> None:
    table = page.locator("table").first
    assert table.locator("thead button[tabindex='0']").count() == 1
    heading(table, 0).locator("button").press("ArrowRight")
    assert heading(table, 1).locator("button").evaluate("button => button === document.activeElement")
    page.keyboard.press("Enter")
    assert heading(table, 1).get_attribute("aria-sort") == "descending"


@needs_browser
def test_the_first_stop_of_the_tab_key_leads_past_the_navigation(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "MAIN"


# Words from A; numbers from the largest, and what is empty last either way.
@needs_browser
@pytest.mark.parametrize(
    ("place", "first", "then"),
    [
        (0, ("ascending", ["<b>altar</b>", "a_b|c*d*", "apse"]), ("descending", ["apse", "a_b|c*d*", "<b>altar</b>"])),
        (1, ("descending", ["0.99", "–", "–"]), ("ascending", ["0.99", "–", "–"])),
        (2, ("descending", ["1,200", "7", "0"]), ("ascending", ["0", "7", "1,200"])),
    ],
)
@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_tables_sort_both_ways(
    page: Page, by: str, place: int, first: tuple[str, list[str]], then: tuple[str, list[str]]
) -> None:
    table = page.locator("table").first
    button = heading(table, place).locator("button")
    for direction, texts in (first, then):
        if by == "mouse":
            button.click()
        else:
            button.press("Enter")
        assert heading(table, place).get_attribute("aria-sort") == direction
        assert column(table, place) == texts
    sorted_by = [number for number in range(3) if heading(table, number).get_attribute("aria-sort")]
    assert sorted_by == [place]


@needs_browser
@pytest.mark.parametrize("width", [360, 400, 1280])
def test_page_is_never_wider_than_the_screen(
    browser: Browser, small_report: Report, tmp_path: Path, width: int
) -> None:
    wide = Table("Wide", tuple(Column(f"A rather long heading {n}") for n in range(12)), (("word" * 9,) * 12,) * 30)
    section = replace(
        small_report.sections[0],
        tables=(wide, *small_report.sections[0].tables),
        figures=tuple(replace(figure, size=(9.0, 2.0)) for figure in small_report.sections[0].figures),
    )
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    page.goto(write_page(replace(small_report, sections=(section,)), tmp_path).as_uri())
    over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    context.close()
    assert over <= 0


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_follows_the_reader_s_theme(browser: Browser, file: Path, theme: str) -> None:
    context = browser.new_context(color_scheme="dark" if theme == "dark" else "light")
    page = context.new_page()
    page.goto(file.as_uri())
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red, green, blue = (int(value) for value in re.findall(r"\d+", colour)[:3])
    context.close()
    assert (red + green + blue > 3 * 200) is (theme == "light")


def test_only_the_pages_own_script_may_run(file: Path) -> None:
    text = file.read_text(encoding="utf-8")

    assert re.search(r"default-src 'none'; [^\"]*script-src 'sha256-[\w+/=]{44}'\"", text)
    assert text.count("<script>") == 1
    assert not re.search(r'(src|href|srcset)="(?!data:|#)', text)

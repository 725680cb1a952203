"""The gallery as a reader's browser has it: from disk, without a network, by mouse and by keyboard."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from ahekit.errors import DataError
from ahekit.prediction.gallery import doubt, gallery_data, write_gallery
from ahekit.prediction.survey import Survey
from ahekit.protocols import PhotoRow
from tests.browser import needs_browser

Photo = Callable[..., PhotoRow]


def test_the_doubtful_come_first_and_what_a_person_decided_last(photo: Photo) -> None:
    rows = [
        photo("decided.jpg", state="review", confidence=0.1, decision="apse"),
        photo("surer.jpg", confidence=0.99),
        photo("sure.jpg", confidence=0.95),
        photo("unreadable.jpg", state="unreadable", confidence=None),
        photo("unknown.jpg", state="unknown", confidence=0.9),
        photo("likely.jpg", state="review", confidence=0.8),
        photo("unlikely.jpg", state="review", confidence=0.3),
    ]
    assert [row.path.partition(".")[0] for row in sorted(rows, key=doubt)] == [
        *("unlikely", "likely", "unknown", "unreadable", "sure", "surer", "decided")
    ]


def test_the_data_are_numbers_into_lists_of_words(photo: Photo, tmp_path: Path) -> None:
    rows = [
        photo("a/1.jpg", state="review", reason="doubtful"),
        photo("a/2 b.jpg", class_name="dome_outer", decision=""),
    ]
    data = gallery_data(rows, tmp_path / "survey")
    assert data["folders"] == ["a/"]
    assert data["bases"] == ["../photos/a/"]
    assert data["classes"] == ["altar", "apse", "outer dome"]
    thumbnails = [card[4] for card in data["photos"]]
    assert [card[:4] + card[5:] for card in data["photos"]] == [
        (0, "1.jpg", 0, 0, 0, 970, 1, 20, 0, 0, -1),
        (0, "2 b.jpg", 0, "2%20b.jpg", 2, 970, 1, 20, 1, -1, -2),
    ]
    assert len(set(thumbnails)) == 2


def test_a_page_that_cannot_be_written_is_a_line(
    photo: Photo, survey_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with Survey.open(survey_of(photo("1.jpg"))) as survey:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=r"index\.html: can't be written \(No space left on device\)"):
            write_gallery(survey)


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens the page of a survey from disk; it may not complain, nor ask anybody but the disk."""
    contexts = []
    complaints: list[str] = []

    def open_page(folder: Path, *, most: int = 50_000, width: int = 1280, fragment: str = "") -> Page:
        with Survey.open(folder) as survey:
            file = write_gallery(survey, most=most)
        context = browser.new_context(viewport={"width": width, "height": 800})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith("file:") else complaints.append(request.url))
        page.goto(file.as_uri() + fragment)
        page.wait_for_selector("#photos li")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [text for text in complaints if "ERR_FILE_NOT_FOUND" not in text]


def names(page: Page) -> list[str]:
    return page.locator("#photos .name").all_inner_texts()


@needs_browser
def test_cards_say_in_plain_words_what_is_known_and_open_the_photo(
    photo: Photo, survey_of: Callable[..., Path], opened: Callable[..., Page], tmp_path: Path
) -> None:
    rows = [
        photo("day 1/a#1.jpg", state="review", confidence=0.5),
        photo("2.jpg", class_name="dome_outer", confidence=0.999),
        photo("3.jpg", state="unknown"),
        photo("4.jpg", state="unreadable", class_name=None, confidence=None, runner_up=None, reason="damaged JPEG"),
        photo("5.jpg", state="review", decision="apse"),
    ]
    folder = survey_of(*rows)
    with Survey.open(folder) as survey:
        small = survey.thumbnail_path("day 1/a#1.jpg")
    small.parent.mkdir(parents=True)
    Image.new("RGB", (160, 120), "red").save(small)
    page = opened(folder)
    cards = [" | ".join(text.split("\n")) for text in page.locator("#photos li").all_inner_texts()]
    assert cards[0] == "altar | 50 % | to look at | or apse 2 % | a#1.jpg"
    assert "none of these, it seems" in cards[1]
    assert cards[2] == "could not be read | – | could not be read | damaged JPEG | 4.jpg"
    assert cards[3].endswith("outer dome | 100 % | sure | 2.jpg")
    assert cards[4].endswith("apse | ✓ | said by a person | 5.jpg")
    assert page.locator("#photos img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 160
    expect(page.locator("#photos img")).to_have_count(1)  # the others: no preview
    first = page.locator("#photos a").first
    address = first.evaluate("link => link.href")
    assert address == (tmp_path / "photos" / "day 1" / "a#1.jpg").as_uri()
    assert first.get_attribute("aria-label") == "altar, 50 %, to look at, or apse 2 %, a#1.jpg"


@needs_browser
def test_names_that_would_be_code_are_text(
    photo: Photo, survey_of: Callable[..., Path], opened: Callable[..., Page], tmp_path: Path
) -> None:
    evil = ("<img src=x onerror=alert(1)>.jpg", "</script><script>alert(1)</script>".replace("/", "\u2215") + ".jpg")
    rows = [
        *(photo(name, class_name="<b>altar</b>", state="review", reason="<i>'\"") for name in evil),
        photo(b"caf\xe9 \"'&amp;.jpg"),
        photo("line\nbreak \u202egpj.jpg"),
    ]
    page = opened(survey_of(*rows))
    assert sorted(names(page)) == sorted([*evil, "caf\\xe9 \"'&amp;.jpg", "line\\nbreak \\u202egpj.jpg"])
    assert page.locator("#photos b, #photos i[onerror], #photos script").count() == 0
    address = page.locator("#photos a", has_text="caf").evaluate("link => link.href")
    assert address == f"file://{tmp_path}/photos/caf%E9%20%22%27%26amp%3B.jpg"
    assert page.locator("#class option").all_inner_texts()[1] == "<b>altar</b> (2)"


@needs_browser
def test_filters_narrow_what_is_shown_and_say_so(
    photo: Photo, survey_of: Callable[..., Path], opened: Callable[..., Page]
) -> None:
    rows = [photo(f"a{number}.jpg", confidence=0.9 + number / 100) for number in range(3)]
    rows += [photo(f"b{number}.jpg", state="review", class_name="apse", confidence=0.5) for number in range(2)]
    page = opened(survey_of(*rows))
    assert page.locator(".count").inner_text() == "5 photos"
    page.get_by_role("button", name="2 to look at").click()
    assert (names(page), page.locator(".count").inner_text()) == (["b0.jpg", "b1.jpg"], "2 of 5 photos")
    page.get_by_role("button", name="5 all photos").click()
    page.get_by_label("element").select_option(label="altar (3)")
    page.get_by_label("order").select_option("sure")
    assert names(page) == ["a2.jpg", "a1.jpg", "a0.jpg"]
    page.get_by_label("name holds").fill("A1")
    assert names(page) == ["a1.jpg"]
    page.reload()
    page.wait_for_selector("#photos li")
    assert names(page) == ["a1.jpg"], "what was chosen is kept when the page is loaded again"
    page.get_by_label("name holds").fill("nothing")
    page.get_by_role("button", name="Show all").click()
    assert page.locator(".count").inner_text() == "5 photos"


@needs_browser
def test_ten_thousand_photos_need_few_cards_and_the_keyboard_reaches_them_all(
    photo: Photo, survey_of: Callable[..., Path], opened: Callable[..., Page]
) -> None:
    one = photo("x.jpg")
    rows = [PhotoRow(f"{number:05d}.jpg", one.file, "sure", "altar", 0.9 + number / 1e6) for number in range(10_000)]
    page = opened(survey_of(*rows))
    assert page.locator("#photos li").count() < 100
    page.get_by_label("name holds").press("ArrowDown")
    focused = "document.activeElement.querySelector('.name').textContent"
    assert page.evaluate(focused) == "00000.jpg"
    columns = round(page.evaluate("photos.clientWidth / photos.firstChild.clientWidth"))
    for key, expected in (
        ("ArrowRight", 1),
        ("ArrowDown", 1 + columns),
        ("ArrowLeft", columns),
        ("ArrowUp", 0),
        ("End", 9_999),
        ("ArrowRight", 9_999),
        ("Home", 0),
    ):
        page.keyboard.press(key)
        assert page.evaluate(focused) == f"{expected:05d}.jpg", key
        assert page.evaluate(
            "(r => r.top >= 0 && r.bottom <= innerHeight)(document.activeElement.getBoundingClientRect())"
        )
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight / 2)")
    # Not by wait_for_function, which evaluates text within the page: its policy forbids that.
    expect(page.locator("#photos .name", has_text=re.compile(r"^0(49|5)\d+")).first).to_be_attached()
    assert page.locator("#photos li").count() < 120
    assert page.evaluate(focused) == "00000.jpg", "what has the focus keeps it"
    assert page.locator("#photos [tabindex='0']").count() == 1
    assert page.locator("#photos li").first.get_attribute("aria-setsize") == "10000"


@needs_browser
def test_a_part_is_called_a_part(photo: Photo, survey_of: Callable[..., Path], opened: Callable[..., Page]) -> None:
    page = opened(survey_of(*(photo(f"{number}.jpg", confidence=number / 10) for number in range(5))), most=3)
    assert page.locator(".part").first.inner_text().startswith("Only a part: this page shows the 3 most doubtful of 5")
    assert names(page) == ["0.jpg", "1.jpg", "2.jpg"]


@needs_browser
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_screen_and_the_skip_link_leads_to_the_photos(
    width: int, photo: Photo, survey_of: Callable[..., Path], opened: Callable[..., Page]
) -> None:
    page = opened(survey_of(photo("long" * 60 + ".jpg", class_name="flying_buttress")), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the photos"
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.className") == "card"

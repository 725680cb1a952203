"""One report in its renderings: HTML, Markdown, JSON, and the files they become."""

from __future__ import annotations

import base64
import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ahekit.evaluation.predictions import Predictions
from ahekit.registry import REPORTERS
from ahekit.reporting.build import Missing, Report
from ahekit.reporting.drawing import draw_report, picture_name
from ahekit.reporting.files import FileFormat, report_files
from ahekit.reporting.render_html import render_html
from ahekit.reporting.render_json import render_json
from ahekit.reporting.render_markdown import render_markdown
from ahekit.sections import Column, Figure, Section, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

VOID = {"meta", "img", "source", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """A page's elements, its text, and whether its tags balance."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a tag."""
        return [attributes for found, attributes in self.elements if found == tag]


def page_of(report: Report) -> Page:
    return Page(render_html(*draw_report(report, ["svg"])))


def test_page_is_well_formed_and_says_everything(small_report: Report) -> None:
    page = page_of(small_report)

    assert page.open == []
    for text in ("Run run-1", "cnn5 · mine", "Classes & more", "Altar is best", "By class", "Support: images."):
        assert text in page.text
    assert "no epoch was measured" in page.text
    assert "0.99" in page.text
    assert "1,200" in page.text


def test_page_asks_nothing_of_the_network(small_report: Report) -> None:
    page = page_of(small_report)
    targets = [
        value or ""
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "xlink:href")
    ]

    assert targets
    assert all(target.startswith(("data:", "#")) for target in targets)
    assert page.all("link") == page.all("iframe") == []
    # The page's own script stands in it and has no address.
    assert page.all("script") == [{}]
    assert any("default-src 'none'" in (meta.get("content") or "") for meta in page.all("meta"))


def test_names_with_markup_are_text_on_the_page(small_report: Report) -> None:
    page = page_of(small_report)

    assert "<b>altar</b>" in page.text
    assert page.all("b") == []


def test_commands_in_backticks_are_set_as_code(small_report: Report) -> None:
    assert len(page_of(small_report).all("code")) == 1


def test_picture_on_the_page_is_drawn_once_in_the_page_s_own_colours(small_report: Report) -> None:
    page = page_of(small_report)
    _, picture = page.all("svg")  # the first holds the letters

    assert (picture["width"], picture["height"], picture["aria-label"]) == ("288", "192", "It rises.")
    assert page.all("img") == page.all("source") == []
    styles = " ".join(attributes.get("style") or "" for _, attributes in page.elements)
    assert {"var(--c0)", "var(--muted)", "var(--line)", "var(--background)"} <= set(re.findall(r"var\(--\w+\)", styles))
    assert not re.search("#[0-9a-f]{6}", styles)


def test_a_picture_of_its_own_follows_its_reader_s_theme(small_report: Report) -> None:
    _, files = report_files(small_report, ["svg"])
    picture = files["figures/classes-line.svg"].decode()

    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert "prefers-color-scheme:dark" in picture
    assert "--c0:" in picture


def test_letters_stand_on_the_page_once(small_report: Report, line_figure: Figure) -> None:
    twice = tuple(replace(line_figure, name=name) for name in ("one", "two"))
    report = replace(small_report, sections=(replace(small_report.sections[0], figures=twice),))
    shapes = [attributes["id"] for attributes in page_of(report).all("path") if "-" in (attributes.get("id") or "")]

    assert shapes
    assert len(shapes) == len(set(shapes))


def test_photographs_on_the_page_are_light_and_drawings_exact(small_report: Report, line_figure: Figure) -> None:
    rows = np.linspace(0, 255, 96)
    photograph = np.random.default_rng(0).normal(rows[:, None, None], 12, (96, 96, 3)).clip(0, 255).astype(np.uint8)
    drawing = np.zeros((96, 96, 3), dtype=np.uint8)
    drawing[20:40, 20:40] = (200, 30, 30)

    def draw(figure: MplFigure) -> None:
        for axes, picture in zip(figure.subplots(1, 2), (photograph, drawing), strict=True):
            axes.imshow(picture, interpolation="none")

    section = replace(small_report.sections[0], figures=(replace(line_figure, draw=draw),))
    page = page_of(replace(small_report, sections=(section,)))

    addresses = " ".join(image["xlink:href"] or "" for image in page.all("image"))
    kinds = re.findall(r"data:image/(\w+);base64,([\w+/=]+)", addresses)
    assert [kind for kind, _ in kinds] == ["webp", "png"]
    shown = [np.asarray(Image.open(BytesIO(base64.b64decode(content))).convert("RGB")) for _, content in kinds]
    assert np.abs(shown[0].astype(int) - photograph).mean() < 12
    assert np.array_equal(shown[1], drawing)


def test_links_to_sections_lead_somewhere(small_report: Report) -> None:
    page = page_of(small_report)
    anchors = {attributes.get("id") for _, attributes in page.elements}

    assert (
        {(link["href"] or "").removeprefix("#") for link in page.all("a")}
        == {"--report", "classes", "facts"}
        <= anchors
    )


def test_markdown_tables_keep_their_columns_whatever_the_names_hold(small_report: Report) -> None:
    lines = render_markdown(small_report, "../figures").splitlines()

    assert r"| Class \| name | F1 | Support |" in lines
    assert "| :--- | ---: | ---: |" in lines
    assert r"| a\_b\|c\*d\* | – | 0 |" in lines
    assert r"| \<b\>altar\</b\> | 0.99 | 1,200 |" in lines


def test_markdown_shows_figures_readings_and_what_is_missing(small_report: Report) -> None:
    text = render_markdown(small_report, "../figures")

    assert "![It rises.](../figures/classes-line.svg)" in text
    assert "> **Missing:** curves: no epoch was measured" in text
    assert "## Classes & more" in text
    assert "- **Model:** cnn5" in text


def test_json_is_strict_and_whole(small_report: Report) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    values = json.loads(render_json(small_report, "../figures", ["svg"]), parse_constant=refuse)

    section = values["sections"][0]
    assert values["run"] == "run-1"
    assert values["missing"] == [{"section": "curves", "reason": "no epoch was measured"}]
    assert section["values"] == {"best": "altar", "share": None}
    assert section["tables"][0]["columns"] == ["Class | name", "F1", "Support"]
    assert section["tables"][0]["rows"][0] == ["<b>altar</b>", 0.987, 1200]
    assert section["figures"][0]["files"] == ["../figures/classes-line.svg"]
    assert section["figures"][0]["data"] == {"y": [3, None]}


def test_json_takes_numpy_values(small_report: Report) -> None:
    values = {"array": np.array([[1, 2]]), "number": np.float32(0.5), "count": np.int64(3), "nan": np.float64("nan")}
    section = replace(small_report.sections[0], values=values)

    found = json.loads(render_json(replace(small_report, sections=(section,))))["sections"][0]

    assert found["values"] == {"array": [[1, 2]], "number": 0.5, "count": 3, "nan": None}
    assert "files" not in found["figures"][0]


def test_files_in_a_run_folder_refer_to_each_other(small_report: Report) -> None:
    report, files = report_files(small_report, ["html", "md", "json", "png"], pages="report")

    assert report == small_report
    pages = ["report/report.html", "report/report.json", "report/report.md"]
    assert sorted(files) == ["figures/classes-line.png", "figures/classes-line.svg", *pages]
    assert b"(../figures/classes-line.svg)" in files["report/report.md"]
    assert files["figures/classes-line.png"].startswith(b"\x89PNG")


def test_files_in_one_folder_refer_to_each_other(small_report: Report) -> None:
    _, files = report_files(small_report, ["md"])

    assert sorted(files) == ["figures/classes-line.svg", "report.md"]
    assert b"(figures/classes-line.svg)" in files["report.md"]


@pytest.mark.parametrize(("form", "name"), [("html", "report.html"), ("json", "report.json")])
def test_format_alone_writes_one_file(small_report: Report, form: str, name: str) -> None:
    assert list(report_files(small_report, [form])[1]) == [name]  # type: ignore[list-item]


def test_same_report_makes_the_same_bytes(small_report: Report) -> None:
    formats: list[FileFormat] = ["html", "md", "json", "csv", "latex", "svg", "png", "pdf"]

    assert report_files(small_report, formats) == report_files(small_report, formats)


def test_figure_that_cannot_be_drawn_is_missing_and_the_rest_is_there(
    small_report: Report, line_figure: Figure
) -> None:
    def fail(figure: MplFigure) -> None:
        raise KeyError("pixels")

    section = replace(small_report.sections[0], figures=(replace(line_figure, name="bad", draw=fail), line_figure))

    report, files = report_files(replace(small_report, sections=(section,)), ["html", "png"])

    assert Missing("classes", "figure 'bad' can't be drawn: KeyError: 'pixels'") in report.missing
    assert [figure.name for figure in report.sections[0].figures] == ["line"]
    assert b"can&#39;t be drawn" in files["report.html"]
    assert list(files) == ["figures/classes-line.png", "report.html"]


def test_two_figures_of_one_name_do_not_overwrite_each_other(small_report: Report, line_figure: Figure) -> None:
    section = replace(small_report.sections[0], figures=(line_figure, line_figure))

    report, files = report_files(replace(small_report, sections=(section,)), ["png"])

    assert files == {}
    assert "two of that name" in report.missing[-1].reason


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "..", "a b\n"])
def test_figure_name_leads_to_no_other_folder(line_figure: Figure, name: str) -> None:
    stem = picture_name(Section("", "", name="mine"), replace(line_figure, name=name))

    assert stem.startswith("mine-")
    assert not {"/", "\\", "\n", " "} & set(stem)
    assert ".." not in stem


def test_png_has_the_size_of_its_figure(small_report: Report) -> None:
    _, files = report_files(small_report, ["png"])

    assert Image.open(BytesIO(files["figures/classes-line.png"])).size == (450, 300)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"size": (3000.0, 3000.0)}, "3000 x 3000 inches are too large"),
        ({"name": "line"}, "the section has two of that name"),
    ],
)
def test_figure_that_is_wrong_before_it_is_drawn_names_its_plugin(
    small_report: Report, line_figure: Figure, changes: dict[str, Any], fault: str
) -> None:
    bad = replace(line_figure, **{"name": "bad", **changes})
    section = replace(small_report.sections[0], figures=(bad, line_figure))

    report, _ = report_files(replace(small_report, sections=(section,)), ["html"])

    entry = next(entry for entry in REPORTERS.entries() if entry.name == "classes")
    reason = f"reporter 'classes' of {entry.provider} is broken: figure {bad.name!r} can't be drawn: {fault}"
    assert Missing("classes", reason) in report.missing


EVIL = 'a|b`c`<b>d</b>\x1b[2J\x07\x9b31m\u202e\u2066x\n# y $z$ &lt; "q"'


def hostile(report: Report) -> Report:
    """The report with one name everywhere, of all that a name may do."""
    table = Table(EVIL, (Column(EVIL), Column(EVIL)), ((EVIL, EVIL),), EVIL)
    figure = replace(report.sections[0].figures[0], title=EVIL, alt=EVIL, caption=EVIL)
    section = replace(report.sections[0], title=EVIL, reading=EVIL, tables=(table,), figures=(figure,), verdict=EVIL)
    missing = (Missing(EVIL, EVIL),)
    return replace(report, title=EVIL, subtitle=EVIL, facts=((EVIL, EVIL),), sections=(section,), missing=missing)


@pytest.mark.parametrize("file", ["report.html", "report.md", "report.json"])
def test_no_rendering_keeps_control_or_direction_marks_of_names(small_report: Report, file: str) -> None:
    _, files = report_files(hostile(small_report), ["html", "md", "json"])
    text = files[file].decode()

    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)


def test_names_are_no_markup_in_markdown(small_report: Report) -> None:
    _, files = report_files(hostile(small_report), ["md"])
    lines = files["report.md"].decode().splitlines()

    # Headings are our own: a line break in a name begins none.
    assert [line.split()[0] for line in lines if line.startswith("#")] == ["#", "##", "##"]
    rows = [line for line in lines if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [3, 3, 3]
    unescaped = re.compile(r"(?<!\\)[`<>$]")
    assert not [line for line in lines if unescaped.search(line.removeprefix("> ").removeprefix("!"))]
    assert r"- **a\|b\`c\`" in files["report.md"].decode()


@pytest.mark.parametrize("text", ["- no list", "1. no list", "12) no list", "+ no list", "=== no heading"])
def test_a_paragraph_stays_one_whatever_it_begins_with(small_report: Report, text: str) -> None:
    section = replace(small_report.sections[0], reading=text)

    markdown = render_markdown(replace(small_report, sections=(section,)), "figures")

    assert text not in markdown.splitlines()
    assert text in markdown.replace("\\", "").splitlines()


def test_tables_in_csv_keep_their_numbers_and_their_columns_apart(small_report: Report) -> None:
    columns = (Column("F1", ".2f", "right"), Column("95%"), Column("Recall", ".2f", "right"), Column("95%"))
    table = Table("Scores, by class", columns, ((0.98765, "0.9–1.0", None, "a,b"),))
    report = replace(small_report, sections=(replace(small_report.sections[0], tables=(table,)),))

    _, files = report_files(report, ["csv"])

    assert list(files) == ["tables/classes-1-scores-by-class.csv"]
    rows = list(csv.reader(files["tables/classes-1-scores-by-class.csv"].decode().splitlines()))
    assert rows == [["F1", "F1 95%", "Recall", "Recall 95%"], ["0.98765", "0.9–1.0", "", "a,b"]]


def test_predictions_of_each_image_in_csv(small_report: Report) -> None:
    logits = np.log(np.array([[0.9, 0.1], [0.25, 0.75]], dtype=np.float32))
    found = Predictions(("test/a,1.jpg", "test/2.jpg"), np.array([1, -1]), logits, ("altar", "vault"))

    _, files = report_files(replace(small_report, predictions={"test": found}), ["csv"])

    assert list(csv.DictReader(files["tables/predictions-test.csv"].decode().splitlines())) == [
        {"id": "test/a,1.jpg", "label": "vault", "predicted": "altar", "p(altar)": "0.9", "p(vault)": "0.1"},
        {"id": "test/2.jpg", "label": "", "predicted": "vault", "p(altar)": "0.25", "p(vault)": "0.75"},
    ]


def test_latex_is_balanced_whatever_the_names_hold(small_report: Report) -> None:
    text = report_files(hostile(small_report), ["latex"])[1]["report.tex"].decode()

    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    for row in (line for line in text.splitlines() if line.endswith(r" \\")):
        assert len(re.findall(r"(?<!\\)&", row)) == 1
        assert not re.search(r"(?<!\\)[%#_]", row)


def test_figures_are_written_as_pdf_and_png_when_asked(small_report: Report) -> None:
    _, files = report_files(small_report, ["pdf", "png"])

    assert files["figures/classes-line.pdf"].startswith(b"%PDF")
    assert files["figures/classes-line.png"].startswith(b"\x89PNG")


def test_addresses_are_links_and_totals_stand_at_the_foot(small_report: Report) -> None:
    table = replace(small_report.sections[0].tables[0], note="See (https://arxiv.org/abs/1911.00068).", totals=1)
    page = page_of(replace(small_report, sections=(replace(small_report.sections[0], tables=(table,)),)))

    assert {"href": "https://arxiv.org/abs/1911.00068", "rel": "noreferrer"} in page.all("a")
    assert len(page.all("tfoot")) == 1
    assert page.all("a")[0] == {"class": "skip", "href": "#--report"}

"""The writers that come with the package, by what they leave on the disk."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ahekit.errors import AhekitError, DataError, PartlyDone, UsageError
from ahekit.protocols import PhotoRow, SurveyFacts
from ahekit.testing import check_writer
from ahekit_plugins.writers.csv_table import CsvParams, CsvTable
from ahekit_plugins.writers.json_lines import JsonLines, JsonLinesParams
from ahekit_plugins.writers.xmp.vocabulary import read_vocabulary
from ahekit_plugins.writers.xmp.writer import Xmp, XmpParams

AWKWARD = ("a b.jpg", 'it\'s "<b>".jpg', "line\nbreak.jpg", os.fsdecode(b"caf\xe9.jpg"), "-rf.jpg", "=1+1.jpg")


@pytest.fixture
def facts(tmp_path: Path) -> SurveyFacts:
    folder = tmp_path / "survey"
    folder.mkdir()
    return SurveyFacts(folder, ("altar", "apse", "dome_outer"), "small 1", "ab" * 32, "2026-05-01T10:00:00+00:00")


@pytest.fixture
def rows(tmp_path: Path) -> list[PhotoRow]:
    """An outer dome, surely, under each awkward name."""
    made = []
    for name in AWKWARD:
        (tmp_path / name).write_bytes(b"photo")
        made.append(PhotoRow(name, tmp_path / name, "sure", "dome_outer", 0.97, "apse", 0.02))
    return made


@pytest.mark.parametrize("plugin", [CsvTable, JsonLines, Xmp])
def test_each_keeps_what_writers_promise(plugin: type) -> None:
    check_writer(plugin)


def test_csv_is_read_back_and_holds_no_formula(rows: list[PhotoRow], facts: SurveyFacts) -> None:
    rows = [*rows, PhotoRow("x.jpg", Path("/x.jpg"), "unreadable", reason="=cmd()", decision="")]
    assert CsvTable().write(rows, facts, CsvParams()) == f"7 photos in {facts.folder}/photos.csv"
    with (facts.folder / "photos.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["path"] for row in read] == [
        *AWKWARD[:3], r"caf\xe9.jpg", "./-rf.jpg", "./=1+1.jpg", "x.jpg",
    ]  # fmt: skip
    assert [read[0][name] for name in ("class", "confidence", "runner_up", "runner_up_confidence", "state")] == [
        *("dome_outer", "0.9700", "apse", "0.0200", "sure")
    ]
    assert (read[-1]["reason"], read[-1]["decision"], read[-1]["class"]) == ("'=cmd()", "none of them", "")


def test_jsonl_holds_the_bytes_of_names_that_are_no_utf_8(rows: list[PhotoRow], facts: SurveyFacts) -> None:
    JsonLines().write(rows, facts, JsonLinesParams(out=facts.folder / "x.jsonl"))
    read = [json.loads(line) for line in (facts.folder / "x.jsonl").read_bytes().splitlines()]
    assert [row["path"] for row in read] == [*AWKWARD[:3], r"caf\xe9.jpg", *AWKWARD[4:]]
    assert bytes.fromhex(read[3]["path_bytes"]) == b"caf\xe9.jpg"
    assert [sorted(row.keys() & {"path_bytes"}) for row in (read[0], read[3])] == [[], ["path_bytes"]]


@pytest.mark.parametrize("write", [CsvTable().write, JsonLines().write])
def test_a_list_that_cannot_be_written_is_a_line(write: Callable[..., str], facts: SurveyFacts) -> None:
    with pytest.raises(DataError, match="nowhere/x: can't be written"):
        write([], facts, CsvParams(out=facts.folder / "nowhere" / "x"))


def sidecars(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.xmp"))}


def test_sidecars_are_written_once_and_taken_away(rows: list[PhotoRow], facts: SurveyFacts, tmp_path: Path) -> None:
    (tmp_path / "a b.jpg.xmp").write_text('<RDF xmlns="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>')
    (tmp_path / "a b.jpg.xmp").chmod(0o640)
    before = sidecars(tmp_path)
    assert Xmp().write(rows, facts, XmpParams()) == "sidecars: 5 new, 1 changed"
    written = sidecars(tmp_path)
    assert set(written) == {f"{name}.xmp" for name in AWKWARD}
    assert (tmp_path / "a b.jpg.xmp").stat().st_mode & 0o777 == 0o640
    times = {name: (tmp_path / name).stat().st_mtime_ns for name in written}
    assert Xmp().write(rows, facts, XmpParams()) == "sidecars: 6 already as they should be"
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in written} == times
    assert Xmp().write(rows, facts, XmpParams(remove=True)) == "sidecars: 5 removed, 1 cleaned of our entries"
    assert sidecars(tmp_path) == before


def test_only_what_is_sure_or_decided_gets_a_keyword(rows: list[PhotoRow], facts: SurveyFacts, tmp_path: Path) -> None:
    first, second, third = rows[:3]
    given = [
        replace(first, state="review"),
        replace(second, state="review", decision="altar", decided_at="2026-06-01T00:00:00+00:00"),
        replace(third, decision=""),
        PhotoRow("d.jpg", tmp_path / "d.jpg", "unreadable"),
    ]
    assert Xmp().write(given, facts, XmpParams()) == "sidecars: 3 new; 1 unreadable photo passed over"
    written = sidecars(tmp_path)
    assert [b"dc:subject" in content for content in written.values()] == [False, True, False]
    assert b"<ahekit:Result>review</ahekit:Result>" in written["a b.jpg.xmp"]
    decided = written['it\'s "<b>".jpg.xmp']
    assert b"<rdf:li>altar</rdf:li>" in decided
    assert b"<ahekit:State>reviewed</ahekit:State>" in decided
    assert b"2026-06-01" in decided


def test_a_photo_that_is_no_longer_sure_loses_its_keyword(rows: list[PhotoRow], facts: SurveyFacts) -> None:
    Xmp().write(rows[:1], facts, XmpParams())
    Xmp().write([replace(rows[0], state="review")], facts, XmpParams())
    assert b"rdf:li" not in rows[0].file.with_name("a b.jpg.xmp").read_bytes()


def test_adobes_names_and_a_raw_file_that_shares_one(rows: list[PhotoRow], facts: SurveyFacts, tmp_path: Path) -> None:
    raw = tmp_path / "a b.cr2"
    raw.write_bytes(b"raw")
    shared = replace(rows[0], path="a b.cr2", file=raw)
    assert Xmp().write([rows[0], shared], facts, XmpParams(adobe=True)) == "sidecars: 1 new"
    assert list(sidecars(tmp_path)) == ["a b.xmp"]
    with pytest.raises(PartlyDone) as told:
        Xmp().write([rows[0], replace(shared, class_name="altar")], facts, XmpParams(adobe=True))
    assert told.value.lines == (
        f"{raw}: shares its sidecar with a b.jpg, which is another class",
        "sidecars: 1 already as they should be; 1 sidecar not, for the reasons above",
    )


def test_what_cannot_be_written_costs_itself_alone(rows: list[PhotoRow], facts: SurveyFacts, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 251 + ".jpg")
    long.write_bytes(b"photo")
    (tmp_path / "a b.jpg.xmp").write_text("<damaged")
    rows[1].file.unlink()
    with pytest.raises(PartlyDone) as told:
        Xmp().write([*rows, replace(rows[0], file=long)], facts, XmpParams())
    assert [line.partition(": ")[2] for line in told.value.problems] == [
        "damaged: unclosed token in line 1; left as it is",
        "its photo is gone; no sidecar written",
        "its sidecar's name would be too long",
    ]
    assert (tmp_path / "a b.jpg.xmp").read_text() == "<damaged"
    assert len(sidecars(tmp_path)) == 5


def test_a_full_disk_ends_it_in_a_line_and_nothing_is_half_written(
    rows: list[PhotoRow], facts: SurveyFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file = os.replace

    def full(source: Path, target: Path) -> None:
        if "line" in target.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace_file(source, target)

    monkeypatch.setattr("ahekit.files.os.replace", full)
    with pytest.raises(DataError, match="No space left on device; 2 sidecars written, all whole"):
        Xmp().write(rows, facts, XmpParams())
    assert len(os.listdir(tmp_path)) == len(AWKWARD) + 1 + 2


def test_an_identifier_that_is_not_confirmed_is_never_written(
    rows: list[PhotoRow], facts: SurveyFacts, tmp_path: Path
) -> None:
    given = [
        replace(row, class_name=name)
        for row, name in zip(rows, ("altar", "column", "apse", "stained_glass"), strict=False)
    ]
    Xmp().write(given, facts, XmpParams())
    written = b"".join(sidecars(tmp_path).values())
    for number, is_written in (("300001571", True), ("300263722", True), ("300003725", False), ("300052391", False)):
        assert (f"http://vocab.getty.edu/aat/{number}".encode() in written) is is_written
        assert written.count(number.encode()) == is_written


def test_titles_are_by_language_and_of_ones_own_file(rows: list[PhotoRow], facts: SurveyFacts, tmp_path: Path) -> None:
    Xmp().write(rows[:1], facts, XmpParams(language="de"))
    assert "<rdf:li>Architektur|Kuppel|Außenkuppel</rdf:li>".encode() in sidecars(tmp_path)["a b.jpg.xmp"]
    own = tmp_path / "own.yaml"
    own.write_text("concepts: {dome_outer: {titles: {nl: buitenkoepel}}}")
    Xmp().write(rows[:1], facts, XmpParams(language="nl", vocabulary=own))
    assert sidecars(tmp_path)["a b.jpg.xmp"].count(b"<rdf:li>buitenkoepel</rdf:li>") == 3
    with pytest.raises(UsageError, match="no language named 'xx'"):
        Xmp().write(rows[:1], facts, XmpParams(language="xx"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("concepts: {a: {titles: {en: a}, parent: b}}", "no concept named 'b'"),
        ("concepts: {a: {titles: {en: a}, parent: a}}", "stands under itself"),
        ("concepts: {a: {titles: {en: 'a|b'}}}", "concepts.a.titles.en"),
        ("concepts: {a: {titles: {en: a}, aat: {status: confirmed}}}", "needs its id"),
        ("[]", "mapping"),
    ],
)
def test_a_wrong_vocabulary_is_a_line_that_names_the_file(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(AhekitError) as told:
        read_vocabulary(tmp_path / "own.yaml")
    assert str(told.value).startswith(f"{tmp_path}/own.yaml: ")
    assert words in str(told.value)


def test_the_packaged_vocabulary_knows_all_classes_in_five_languages() -> None:
    vocabulary = read_vocabulary(None)
    assert vocabulary.languages == ["de", "en", "es", "fr", "it"]
    assert vocabulary.levels("dome_outer", "en") == ("architecture", "dome", "outer dome")
    assert vocabulary.levels("rose_window", "en") == ("rose window",)


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool isn't installed")
def test_exiftool_reads_what_was_written(rows: list[PhotoRow], facts: SurveyFacts, tmp_path: Path) -> None:
    Xmp().write(rows[:1], facts, XmpParams(language="de"))
    command = ["exiftool", "-json", "-charset", "utf8", "-G1", str(tmp_path / "a b.jpg.xmp")]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    (read,) = json.loads(done.stdout)
    assert read["XMP-dc:Subject"] == "Außenkuppel"
    assert read["XMP-lr:HierarchicalSubject"] == "Architektur|Kuppel|Außenkuppel"
    assert read["XMP-digiKam:TagsList"] == "Architektur/Kuppel/Außenkuppel"
    assert str(read["XMP-ahekit:Confidence"]) in ("0.97", "0.9700")
    # And what exiftool writes anew, with a person's keyword, is still understood.
    for arguments in (["-XMP-dc:Subject+=Rome"], ["-XMP-xmp:Rating=4"]):
        subprocess.run(["exiftool", "-q", "-overwrite_original", *arguments, command[-1]], check=True, timeout=60)
    Xmp().write(rows[:1], facts, XmpParams(remove=True))
    (read,) = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert (read["XMP-dc:Subject"], read["XMP-xmp:Rating"]) == ("Rome", 4)
    assert not [name for name in read if "ahekit" in name or "digiKam" in name or "XMP-lr" in name]

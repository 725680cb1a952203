"""Each photo is looked at once, whatever happens meanwhile, and its result depends on nothing but itself."""

from __future__ import annotations

import io
import os
import signal
import struct
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ahekit.data import image_files
from ahekit.errors import DataError
from ahekit.prediction import planning
from ahekit.prediction.deciding import Rule
from ahekit.prediction.engine import BATCH, first_come
from ahekit.prediction.survey import Survey
from ahekit.prediction.surveying import settle
from ahekit.signals import StopRequest
from tests.prediction.networks import (
    MODEL,
    ColourNetwork,
    Softmax,
    in_child,
    make_old,
    make_photos,
    predict,
    start_child,
    table,
)


def states(survey: Survey) -> dict[str, tuple[str, str]]:
    return {row.path: (row.state, row.reason) for row in survey.rows()}


def test_what_is_known_is_not_looked_at_again_and_what_came_or_changed_is(survey: Survey, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "p", 20)
    outcome, _ = predict(survey, tmp_path / "p")
    assert outcome.looked_at == 20
    before = table(survey)
    network = ColourNetwork()
    outcome, work = predict(survey, tmp_path / "p", network=network)
    assert (outcome.looked_at, work.plan.known, network.batches) == (0, 20, [])
    assert table(survey) == before

    Image.new("RGB", (40, 30), (0, 0, 200)).save(photos[0])
    make_old(photos[0])
    make_old(photos[1], 5000)  # another time, the same content
    Image.new("RGB", (40, 30), (200, 0, 0)).save(tmp_path / "p/new.png")
    photos[2].unlink()
    outcome, work = predict(survey, tmp_path / "p", network=network)
    assert (outcome.looked_at, outcome.unchanged, work.plan.known) == (2, 1, 17)
    assert work.gone == ["a/0002.jpg"]
    classes = {row.path: row.class_name for row in survey.rows()}
    assert (classes["a/0000.png"], classes["new.png"], len(classes)) == ("crypt", "arch", 21)


def test_a_change_within_a_clock_tick_is_seen(survey: Survey, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    path = tmp_path / "p/x.bmp"
    Image.new("RGB", (40, 30), (200, 0, 0)).save(path)
    status = path.stat()
    predict(survey, tmp_path / "p")
    Image.new("RGB", (40, 30), (0, 200, 0)).save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    predict(survey, tmp_path / "p")
    assert [row.class_name for row in survey.rows()] == ["beam"]


def test_a_result_depends_on_no_other_photo(survey: Survey, tmp_path: Path) -> None:
    make_photos(tmp_path / "p", BATCH * 2 + 3)
    network = ColourNetwork()
    predict(survey, tmp_path / "p", network=network, workers=3)
    assert set(network.batches) == {BATCH}
    with Survey.create(tmp_path / "alone", MODEL) as alone:
        for folder in ("a", "b"):
            for photo in sorted((tmp_path / "p" / folder).iterdir()):
                predict(alone, photo, workers=1)
        own = {row[1]: row[2:] for row in table(alone)}
    assert {row[1]: row[2:] for row in table(survey)} == own


def test_whatever_a_file_is_it_ends_as_a_row_with_a_reason(
    survey: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "p"
    make_photos(folder, 2)
    (folder / "empty.jpg").touch()
    (folder / "words.png").write_text("no picture")
    (folder / "raw.nef").write_bytes(b"II*\0" + bytes(100))
    (folder / "nowhere.jpg").symlink_to("gone")
    (folder / "a\nb.gif").write_bytes(b"GIF89a")
    predict(survey, folder)
    result = states(survey)
    assert [state for state, _ in result.values()].count("unreadable") == 5
    assert result["empty.jpg"] == ("unreadable", "empty file (0 bytes)")
    assert "No such file" in result["nowhere.jpg"][1]
    monkeypatch.setattr("ahekit.data.raw.reads_raw", lambda: False)
    monkeypatch.setattr(planning, "reads_raw", lambda: False)
    _, work = predict(survey, folder)
    # By another decoder all but the one without content are tried again.
    assert work.plan.retried == 5
    assert states(survey)["raw.nef"][1].endswith(image_files.RAW_HINT)
    _, work = predict(survey, folder)
    assert work.plan.retried == 1


@pytest.mark.skipif(find_spec("simplejpeg") is None, reason="needs the extra strict")
def test_jpegs_with_altered_bytes_are_refused_and_whole_ones_keep_their_pixels(survey: Survey, tmp_path: Path) -> None:
    from ahekit.data.decode import read_picture

    rng = np.random.default_rng(0)
    folder = tmp_path / "p"
    folder.mkdir()
    for number in range(12):
        buffer = io.BytesIO()
        pixels = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((200, 150)).save(buffer, "JPEG", progressive=number % 2 == 1)
        content = bytearray(buffer.getvalue())
        for side in (None, 40):
            strict = read_picture(bytes(content), shorter_side=side, strict=True)
            plain = read_picture(bytes(content), shorter_side=side)
            assert np.array_equal(np.asarray(strict.image), np.asarray(plain.image))
        start = content.index(b"\xff\xda") + 20
        # A marker in the middle of the coded data: no decoder can take it for pixels.
        for place in rng.integers(start, len(content) - 50, 8):
            content[place : place + 2] = b"\xff\xd9"
        (folder / f"{number}.jpg").write_bytes(content)
    predict(survey, folder)
    assert {state for state, _ in states(survey).values()} == {"unreadable"}
    assert all("damaged JPEG" in reason for _, reason in states(survey).values())


def test_a_raw_picture_is_developed_upright(survey: Survey, tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="needs the extra raw")
    (tmp_path / "p").mkdir()
    (tmp_path / "p/x.dng").write_bytes(raw_picture(64, 48, orientation=6))
    predict(survey, tmp_path / "p")
    assert [row[5:8] for row in table(survey)] == [(48, 64, "sure")]


def raw_picture(width: int, height: int, *, orientation: int) -> bytes:
    """A DNG of one colour: a plain TIFF whose samples are those behind a sensor's coloured filters."""
    mosaic = np.tile(np.array([[60000, 6000], [6000, 1000]], "<u2"), (height // 2, width // 2))
    data = mosaic.tobytes()
    words = struct.Struct("<I")
    unit = struct.pack("<18i", *(number for place in range(9) for number in (int(place % 4 == 0), 1)))
    tags: list[tuple[int, int, int, bytes]] = [
        *((tag, 4, 1, words.pack(value)) for tag, value in ((254, 0), (256, width), (257, height))),
        *((tag, 3, 1, words.pack(value)) for tag, value in ((258, 16), (259, 1), (262, 32803))),
        *((271, 2, 5, b"made\0"), (272, 2, 5, b"here\0"), (273, 4, 1, b"")),
        *((tag, 3, 1, words.pack(value)) for tag, value in ((274, orientation), (277, 1))),
        *((278, 4, 1, words.pack(height)), (279, 4, 1, words.pack(len(data))), (284, 3, 1, words.pack(1))),
        *((33421, 3, 2, struct.pack("<2H", 2, 2)), (33422, 1, 4, bytes([0, 1, 1, 2]))),
        *((50706, 1, 4, bytes([1, 4, 0, 0])), (50708, 2, 5, b"mine\0"), (50717, 3, 1, words.pack(65535))),
        *((50721, 10, 9, unit), (50728, 5, 3, struct.pack("<6I", *[1] * 6)), (50778, 3, 1, words.pack(21))),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    long = sum(len(value) for _, _, _, value in tags if len(value) > 4)
    entries = b""
    rest = b""
    for tag, kind, count, value in tags:
        entries += struct.pack("<HHI", tag, kind, count)
        if tag == 273:
            entries += words.pack(start + long)
        elif len(value) <= 4:
            entries += value.ljust(4, b"\0")
        else:
            entries += words.pack(start + len(rest))
            rest += value
    return b"II*\0" + words.pack(8) + struct.pack("<H", len(tags)) + entries + words.pack(0) + rest + data


def test_thumbnails_lie_where_the_survey_says_and_keep_their_shape(survey: Survey, tmp_path: Path) -> None:
    make_photos(tmp_path / "p", 2, size=(320, 80))
    predict(survey, tmp_path / "p")
    for row in survey.rows():
        with Image.open(survey.thumbnail_path(row.path)) as image:
            assert (image.size, image.format) == ((160, 40), "JPEG")


def test_a_stop_keeps_what_is_done(survey: Survey, tmp_path: Path) -> None:
    make_photos(tmp_path / "p", 120)
    before = threading.active_count()  # other tests' libraries keep some
    stop = StopRequest()

    def ask(pixels: int) -> None:
        stop.asked = True

    outcome, _ = predict(survey, tmp_path / "p", network=ColourNetwork(seconds=0.6), workers=1, stop=stop, progress=ask)
    assert outcome.stopped
    assert 0 < outcome.looked_at == survey.counts().total < 120
    assert threading.active_count() == before
    rest, _ = predict(survey, tmp_path / "p")
    assert outcome.looked_at + rest.looked_at == 120


def test_a_network_that_fails_costs_what_was_not_written_and_leaves_no_thread(survey: Survey, tmp_path: Path) -> None:
    make_photos(tmp_path / "p", 60)
    before = threading.active_count()

    class Failing(ColourNetwork):
        def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
            if len(self.batches) == 2:
                raise RuntimeError("out of something")
            return super().__call__(pixels)

    with pytest.raises(RuntimeError, match="out of something"):
        predict(survey, tmp_path / "p", network=Failing(), workers=1)
    assert survey.counts().total == 2 * BATCH
    assert threading.active_count() == before


def test_a_full_disk_is_one_line_and_what_was_written_stays(survey: Survey, tmp_path: Path) -> None:
    make_photos(tmp_path / "p", 300)
    (pages,) = survey.database.execute("PRAGMA page_count").fetchone()
    survey.database.execute(f"PRAGMA max_page_count = {pages + 14}")
    with pytest.raises(DataError, match=r"disk is full.*run the same command again"):
        predict(survey, tmp_path / "p", network=ColourNetwork(seconds=0.2))
    done = survey.counts().total
    assert done < 300
    survey.database.execute("PRAGMA max_page_count = 100000")
    outcome, _ = predict(survey, tmp_path / "p")
    assert outcome.looked_at == 300 - done


def test_thumbnails_that_cannot_be_written_are_one_line(survey: Survey, tmp_path: Path) -> None:
    make_photos(tmp_path / "p", 3)
    (survey.folder / "thumbnails").write_text("a file in the way")
    with pytest.raises(DataError, match=r"thumbnails.*can't be written"):
        predict(survey, tmp_path / "p")


def test_new_thresholds_open_no_photo(survey: Survey, tmp_path: Path) -> None:
    make_photos(tmp_path / "p", 40)
    predict(survey, tmp_path / "p", rule=Rule(min_confidence=0.99))
    strict = survey.counts()
    for photo in (tmp_path / "p").rglob("*.*"):
        os.truncate(photo, 0)
        make_old(photo)
    _, again = settle(survey, Softmax(), Rule(min_confidence=0.5))  # type: ignore[arg-type]
    loose = survey.counts()
    assert again
    assert sum(loose.sure.values()) > sum(strict.sure.values())
    assert loose.total == 40
    assert survey.settings.rule["min_confidence"] == 0.5
    _, again = settle(survey, Softmax(), None)  # type: ignore[arg-type]
    assert not again


@pytest.mark.parametrize("statement", [3, 30, 70, 110])
def test_killed_at_any_statement_it_ends_as_an_unbroken_one(tmp_path: Path, statement: int) -> None:
    make_photos(tmp_path / "p", 50)
    with Survey.create(tmp_path / "whole", MODEL) as whole:
        predict(whole, tmp_path / "p")
        expected = table(whole)

    def die_at_statement() -> None:
        with Survey.create(tmp_path / "killed", MODEL) as survey:
            left = iter(range(statement))
            survey.database.set_trace_callback(
                lambda text: None if next(left, None) is not None else os.kill(os.getpid(), signal.SIGKILL)
            )
            predict(survey, tmp_path / "p", network=ColourNetwork(seconds=0.05))

    assert in_child(die_at_statement) == signal.SIGKILL
    with Survey.create(tmp_path / "killed", MODEL) as survey:
        predict(survey, tmp_path / "p")
        assert table(survey) == expected


def test_two_processes_at_once_meet_in_the_middle(survey: Survey, tmp_path: Path) -> None:
    make_photos(tmp_path / "p", 160)
    with Survey.create(tmp_path / "whole", MODEL) as whole:
        predict(whole, tmp_path / "p")
        expected = table(whole)
    report = tmp_path / "looked at"

    def other() -> None:
        with Survey.open(survey.folder) as own, first_come(survey.folder) as is_first:
            outcome, _ = predict(
                own, tmp_path / "p", network=ColourNetwork(seconds=0.3), workers=1, is_backwards=not is_first
            )
            report.write_text(f"{is_first} {outcome.looked_at}")

    with first_come(survey.folder) as is_first:
        assert is_first
        child = start_child(other)
        outcome, _ = predict(survey, tmp_path / "p", network=ColourNetwork(seconds=0.3), workers=1)
        assert os.waitpid(child, 0)[1] == 0
    told, looked_at = report.read_text().split()
    assert told == "False"
    # Some are in flight in both when they meet; far from all.
    assert 160 <= outcome.looked_at + int(looked_at) < 300
    assert table(survey) == expected

"""`ahekit data`."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from ahekit import console
from ahekit.cli.data import complete_installed
from ahekit.cli.training import prepare_with_progress
from ahekit.data.dataset import load_dataset
from ahekit.data.folder import scan
from ahekit.preprocessing import Preprocessing
from ahekit.spec import DataSpec, RunSpec
from ahekit.training.processes import Processes

Cli = Callable[..., Any]
AHE64 = os.environ.get("AHE64", "")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test's own, with a sample that is drawn in no time."""

    def write_sample(root: Path, *, seed: int = 0) -> None:
        write(root, "train/altar/1.png", "train/apse/1.png", "test/apse/2.png")

    monkeypatch.setattr("ahekit.sample.write_sample", write_sample)
    monkeypatch.setenv("AHEKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes, one of AHE's, in two splits; with a file that is no image."""
    paths = ["train/Altar/1.png", "train/alter/2.png", "train/Window/3.png", "train/door/4.png", "test/door/5.png"]
    return write(tmp_path / "photos", *paths, "train/door/notes.txt")


def write(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (64, 64)).save(root / path, "PNG")
    return root


def words(text: str) -> list[list[str]]:
    """A table's lines as words."""
    return [line.split() for line in text.splitlines()]


def test_the_list_shows_the_sample_before_it_is_drawn(cli: Cli, home: Path) -> None:
    done = cli("data")
    assert done.code == 0
    assert ["sample", *"––––", "generated", "drawings,", "made", "when", "first", "used"] in words(done.out)
    assert "Used without --data: sample" in done.out
    assert not home.exists()


def test_the_list_shows_counts_and_broken_datasets(cli: Cli, photos: Path, home: Path) -> None:
    cli("data", "add", photos)
    (home / "datasets" / "broken").mkdir()
    done = cli("data", "list")
    assert ["photos", "4", "–", "1", "3", "–"] in words(done.out)
    assert ["broken", *"––––", "unreadable"] in words(done.out)
    assert done.err.startswith(f"warning: {home / 'datasets' / 'broken'}: no images here")
    assert done.code == 0


def test_the_list_as_json(cli: Cli, photos: Path, home: Path) -> None:
    cli("data", "add", photos)
    done = cli("data", "--json")
    first, second = json.loads(done.out)
    assert first == {
        "name": "photos",
        "root": str(home / "datasets" / "photos"),
        "images": {"train": 4, "test": 1},
        "classes": 3,
        "edition": None,
        "problem": "",
    }
    assert second["name"] == "sample"


def test_info_of_a_folder(cli: Cli, photos: Path) -> None:
    done = cli("data", "info", photos)
    assert done.code == 0
    assert done.out.startswith(f"data: the folder {photos}\n")
    for row in (["Window", "1", "0"], ["altar", "2", "0"], ["door", "1", "1"], ["all", "4", "1"]):
        assert row in words(done.out)
    assert "train: class altar is merged from 2 folders: Altar, alter" in done.out
    assert "AHE" not in done.out
    assert done.err == ("warning: 1 left out, not an image by its suffix (.txt): train/door/notes.txt\n")


def test_info_of_ahe_classes_stands_beside_the_published_counts(cli: Cli) -> None:
    done = cli("data", "info")
    assert done.out.startswith("data: the embedded sample (generated drawings, no photographs).")
    assert ["altar", "1", "0", "828", "140", "829"] in words(done.out)
    assert ["apse", "1", "1", "505", "50", "514"] in words(done.out)
    assert "Not a published edition of AHE, nor a part of one." in done.out
    table = done.out.split("\n", 1)[1]
    assert all(len(line) <= 80 for line in table.splitlines())


def test_info_recognizes_a_part_of_the_64_px_edition(cli: Cli, tmp_path: Path) -> None:
    spelt = ["altar", "apse", "bell_tower", "column", "dome(inner)", "dome(outer)", "flying_buttress"]
    spelt += ["gargoyle", "stained_glass", "vault"]
    root = write(tmp_path / "part", *(f"train/{name}/1.png" for name in spelt))
    done = cli("data", "info", root)
    assert "Recognized: 64-px edition of AHE, 10 of 10,130 training images, no test images" in done.out
    assert "No test split: training cuts one from the training images." in done.out
    assert ["all", "10", "10,130", "1,404", "10,235"] in words(done.out)
    assert json.loads(cli("data", "info", root, "--json").out)["edition"].startswith("64-px edition of AHE, 10 of")


def test_info_as_json(cli: Cli, photos: Path) -> None:
    done = cli("data", "info", photos, "--json")
    assert json.loads(done.out) == {
        "name": "photos",
        "kind": "folder",
        "root": str(photos),
        "archive": None,
        "notice": f"data: the folder {photos}",
        "classes": ["Window", "altar", "door"],
        "counts": {
            "train": {"Window": 1, "altar": 2, "door": 1},
            "test": {"Window": 0, "altar": 0, "door": 1},
        },
        "edition": None,
        "series": {
            "rule": "none",
            "series": 0,
            "images": 0,
            "training": 0,
            "crossing": {"test": 0},
            "counts": {"train": 4, "test": 1},
            "val_fraction": 0.08,
            "expected": 0.0,
        },
        "checked": False,
        "notes": ["train: class altar is merged from 2 folders: Altar, alter"],
        "refused": [{"id": "train/door/notes.txt", "reason": "not an image by its suffix (.txt)"}],
    }


def test_checking_decodes_every_file_and_names_those_that_training_would_leave_out(cli: Cli, photos: Path) -> None:
    (photos / "train" / "door" / "torn.png").write_bytes((photos / "train" / "door" / "4.png").read_bytes()[:60])
    (photos / "test" / "door" / "empty.png").touch()
    assert "torn.png" not in cli("data", "info", photos).err
    done = cli("data", "info", photos, "--check")
    assert done.code == 0
    assert "warning: 1 left out, empty file (0 bytes): test/door/empty.png\n" in done.err
    assert "train/door/torn.png" in done.err
    assert "Every image was decoded; see the warnings." in done.out
    facts = json.loads(cli("data", "info", photos, "--check", "--json").out)
    assert facts["checked"] is True
    assert [refusal["id"] for refusal in facts["refused"]] == [
        "test/door/empty.png",
        "train/door/notes.txt",
        "train/door/torn.png",
    ]


def test_the_hint_of_training_is_a_command_that_lists_what_was_left_out(
    cli: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = photos / "train" / "door" / "torn one.png"
    torn.write_bytes((photos / "train" / "door" / "4.png").read_bytes()[:60])
    place = photos.rename(photos.with_name("my photos"))
    dataset = load_dataset(scan(place), Preprocessing(8))
    spec = RunSpec(data=DataSpec(source=str(place)))
    setup = SimpleNamespace(dataset=dataset, spec=spec, metrics=SimpleNamespace(faults=()))
    monkeypatch.setattr("ahekit.training.setup.prepare", lambda spec, **options: setup)
    prepare_with_progress(spec, processes=Processes())
    hint = capsys.readouterr().err
    assert "2 file(s) left out, train/door/notes.txt first" in hint
    command = shlex.split(hint.split("`")[1])
    assert command == ["ahekit", "data", "info", str(place), "--check"]
    assert "train/door/torn one.png" in cli(*command[1:]).err


def test_checking_says_when_all_can_be_used(cli: Cli, tmp_path: Path) -> None:
    root = write(tmp_path / "clean", "apse/1.png", "dome/2.png")
    done = cli("data", "info", root, "--check")
    assert (done.err, done.code) == ("", 0)
    assert done.out.endswith("Every image was decoded: all can be used.\n")


def test_info_tells_series_and_the_siblings_that_cross(cli: Cli, tmp_path: Path) -> None:
    root = write(
        tmp_path / "visits",
        *(f"train/{name}/60000000{number}_0a1b2c3d.png" for name in ("apse", "dome") for number in range(4)),
        "test/apse/600000009_0a1b2c3d.png",
    )
    done = cli("data", "info", root)
    assert "9 of 9 images belong to 1." in done.out
    assert "1 of the 1 test images (100.0%) has a sibling in training." in done.out
    assert "100% of the validation images would have a sibling in training" in done.out
    assert "sibling" not in cli("data", "info", root, "--group-by", "none").out
    assert json.loads(cli("data", "info", root, "--group-by", "([a-z]+)/6", "--json").out)["series"]["series"] == 2
    done = cli("data", "info", root, "--group-by", "by-folder")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "neither auto, none, flickr" in done.err


def test_many_refused_files_are_counted_and_the_first_named(cli: Cli, photos: Path) -> None:
    for number in range(12):
        (photos / "train" / "door" / f"{number:02d}.csv").touch()
    done = cli("data", "info", photos)
    named = ", ".join(f"train/door/{number:02d}.csv" for number in range(10))
    assert f"12 left out, not an image by its suffix (.csv): {named} and 2 more (all with --json)" in done.err


def test_a_dataset_is_added_shown_and_removed(cli: Cli, photos: Path, home: Path) -> None:
    root = home / "datasets" / "mine"
    done = cli("data", "add", photos, "--name", "mine")
    assert done.out.startswith(f"Installed mine in {root}; use it with --data mine\n")
    assert ["all", "4", "1"] in words(done.out)
    assert "train/door/notes.txt" in done.err
    assert cli("data", "info", "mine").out.startswith(f"data: mine, installed in {root}\n")
    assert complete_installed("m") == ["mine"]
    assert complete_installed("x") == []
    done = cli("data", "remove", "mine", "--yes")
    assert (done.code, done.out) == (0, f"Removed {root}\n")
    assert not root.exists()


def test_adding_quietly_says_only_what_was_left_out(cli: Cli, photos: Path) -> None:
    done = cli("data", "add", photos, "--quiet")
    assert done.out == ""
    assert done.err.startswith("warning: 1 left out")


def test_adding_twice_needs_force(cli: Cli, photos: Path) -> None:
    cli("data", "add", photos)
    done = cli("data", "add", photos)
    assert (done.code, done.out) == (1, "")
    assert "photos is installed already" in done.err
    assert cli("data", "add", photos, "--force").code == 0


def test_removing_asks(cli: Cli, photos: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("data", "add", photos)
    asked: list[str] = []

    def confirm(question: str, *, option: str) -> bool:
        asked.append(question)
        return len(asked) > 1

    monkeypatch.setattr(console, "confirm", confirm)
    root = home / "datasets" / "photos"
    assert cli("data", "remove", "photos").out == "Nothing removed.\n"
    assert root.exists()
    assert cli("data", "remove", "photos").out == f"Removed {root}\n"
    assert asked == [f"Remove photos with all its images in {root}?"] * 2
    assert not root.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("info", "gone"), 2, "no dataset named 'gone'. Known: sample"),
        (("info", "./gone"), 1, "gone: no such folder or archive"),
        (("add", "./gone"), 1, "gone: no such folder or archive"),
        (("add", ".", "--name", "a b"), 2, "'a b' can't be a dataset's name"),
        (("remove", "gone"), 2, "no installed dataset named 'gone'. Known: none"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(cli: Cli, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = cli("data", *arguments)
    assert done.code == code
    assert message in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.skipif(not AHE64, reason="AHE64 names no folder with AHE-64 and half of its test images")
def test_ahe64_is_recognized(cli: Cli) -> None:
    done = cli("data", "info", AHE64)
    assert "64-px edition of AHE, all 10,130 training images, 727 of 1,404 test images" in done.out
    assert done.err == ""


def test_where_prints_the_folder_alone_for_a_shell_to_take_up(cli: Cli, home: Path, photos: Path) -> None:
    outcome = cli("data", "where", "sample")
    assert outcome.code == 0
    root = Path(outcome.out.removesuffix("\n"))
    assert (root / "test" / "apse" / "2.png").is_file()
    assert cli("data", "where", photos).out == f"{photos}\n"
    missing = cli("data", "where", "nowhere")
    assert missing.out == ""
    assert "nowhere" in missing.err

"""Folders become samples."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from ahekit.data import image_files
from ahekit.data.folder import Folder, Refusal, scan
from ahekit.errors import DataError

AHE64 = os.environ.get("AHE64", "")


def fill(root: Path, *paths: str) -> Path:
    """Make empty files, with their folders."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def ids(folder: Folder) -> list[str]:
    return [sample.id for sample in folder.samples]


def refused(folder: Folder) -> dict[str, str]:
    return {refusal.id: refusal.reason for refusal in folder.refused}


def error_of(root: Path) -> str:
    with pytest.raises(DataError) as raised:
        scan(root)
    message = str(raised.value)
    assert "\n" not in message
    return message.replace(str(root), "ROOT")


def test_class_folders_are_all_training_images(tmp_path: Path) -> None:
    folder = scan(fill(tmp_path / "set", "vault/b.jpg", "vault/a.jpg", "Dome (inner)/c.PNG"))
    assert ids(folder) == ["Dome (inner)/c.PNG", "vault/a.jpg", "vault/b.jpg"]
    assert folder.class_names == ("dome_inner", "vault")
    assert {sample.split for sample in folder.samples} == {"train"}
    assert [sample.class_name for sample in folder.samples] == ["dome_inner", "vault", "vault"]
    assert (folder.name, folder.root, folder.refused, folder.notes) == ("set", tmp_path / "set", (), ())


@pytest.mark.parametrize("train", ["train", "Training", "train_val", "trainval", "training-set"])
@pytest.mark.parametrize(("other", "split"), [("test", "test"), ("Testing", "test"), ("val", "val"), ("valid", "val")])
def test_split_folders_go_by_several_names(tmp_path: Path, train: str, other: str, split: str) -> None:
    fill(tmp_path, f"{train}/altar/1.jpg", f"{train}/apse/2.jpg", f"{other}/apse/3.jpg")
    folder = scan(tmp_path)
    assert folder.counts == {"train": {"altar": 1, "apse": 1}, split: {"altar": 0, "apse": 1}}
    assert f"{other}/apse/3.jpg" in ids(folder)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    folder = scan(fill(tmp_path, "train/1.jpg", "bus/2.jpg"))
    assert folder.class_names == ("bus", "train")
    assert list(folder.counts) == ["train"]


@pytest.mark.parametrize("around", ["wrapper", "wrapper/dataset"])
@pytest.mark.parametrize("inner", ["", "train/"])
def test_folders_around_the_dataset_change_no_id(tmp_path: Path, around: str, inner: str) -> None:
    fill(tmp_path / around, f"{inner}altar/1.jpg", f"{inner}apse/2.jpg")
    folder = scan(tmp_path)
    assert folder.root == tmp_path / around
    assert ids(folder) == [f"{inner}altar/1.jpg", f"{inner}apse/2.jpg"]


def test_what_lies_around_the_dataset_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "project/LICENSE", "project/shots/a.png", "project/shots/b.png", "project/set/single/x.jpg")
    fill(tmp_path, "project/set/train/altar/1.jpg", "project/set/train/apse/2.jpg")
    folder = scan(tmp_path)
    assert folder.root == tmp_path / "project" / "set"
    assert refused(folder) == {
        "../LICENSE": "outside the dataset's folder",
        "../shots/": "outside the dataset's folder",
        "single/": "not a split's folder with classes (1 file)",
    }


def test_folders_within_a_class_belong_to_it(tmp_path: Path) -> None:
    folder = scan(fill(tmp_path, "altar/1.jpg", "altar/2019/spring/2.jpg", "apse/3.jpg"))
    assert folder.counts == {"train": {"altar": 2, "apse": 1}}


def test_ids_are_spelt_as_on_disk_and_open_again(tmp_path: Path) -> None:
    names = ["re\u0301sume\u0301.jpg", "r\u00e9sum\u00e9.jpg", "拱 顶's [1] & (2).jpg"]
    folder = scan(fill(tmp_path, *(f"voûte/{name}" for name in names), "apse/1.jpg"))
    assert {sample.id for sample in folder.samples} == {"apse/1.jpg", *(f"voûte/{name}" for name in names)}
    assert all((folder.root / sample.id).is_file() and sample.path.is_file() for sample in folder.samples)


def test_ids_are_sorted_whatever_the_disk_says(tmp_path: Path) -> None:
    folder = scan(fill(tmp_path, *(f"{name}/{number}.jpg" for name in "ba" for number in (10, 9, 1))))
    assert ids(folder) == sorted(ids(folder))


def test_numbers_in_class_names_sort_by_their_value(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{name}/x.jpg" for name in ("10", "2", "1", "11", "b2", "b10", "B1", "a", "02", "2nd")))
    folder = scan(tmp_path)
    assert folder.class_names == ("1", "02", "2", "2nd", "10", "11", "B1", "a", "b2", "b10")
    stored = sorted(folder.class_names)
    assert folder.with_class_order(stored).class_names == tuple(stored)
    assert folder.with_class_order(["1", "2"]).class_names == folder.class_names


@pytest.mark.parametrize(
    "name", ["a.avif", "a.JP2", "a.jfif", "a.tga", "a.pnm", "a.pbm", "a.apng", "a.dib", "a.j2k", "a.mpo", "a.TIFF"]
)
def test_every_suffix_that_the_decoder_reads_is_taken(tmp_path: Path, name: str) -> None:
    fill(tmp_path, f"altar/{name}", f"apse/{name}")
    assert len(scan(tmp_path).samples) == 2


def test_files_without_a_suffix_are_told_by_how_they_begin(tmp_path: Path) -> None:
    for name in ("altar/12345", "altar/St. Mary", "altar/photo.8512", "apse/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name, "WEBP" if name.endswith("x") else "JPEG")
    (tmp_path / "apse" / "Makefile").write_text("all:\n")
    (tmp_path / "apse" / "void").touch()
    os.mkfifo(tmp_path / "apse" / "pipe")
    folder = scan(tmp_path)
    assert [sample.id for sample in folder.samples] == ["altar/12345", "altar/St. Mary", "altar/photo.8512", "apse/x"]
    assert set(refused(folder)) == {"apse/Makefile", "apse/pipe", "apse/void"}


def test_pictures_that_need_another_program_are_refused_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "reads_heif", lambda: False)
    fill(tmp_path, "altar/1.jpg", "apse/2.jpg", "apse/3.HEIC", "apse/4.nef")
    (tmp_path / "apse" / "phone").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    reasons = refused(scan(tmp_path))
    assert "pip install 'ahekit[heif]'" in reasons["apse/3.HEIC"]
    assert reasons["apse/phone"] == reasons["apse/3.HEIC"]
    assert reasons["apse/4.nef"] == "a camera's raw picture (.nef); develop it to JPEG or TIFF"
    monkeypatch.setattr(image_files, "reads_heif", lambda: True)
    assert "apse/3.HEIC" not in refused(scan(tmp_path))


def test_a_tree_too_deep_for_recursion_is_refused_where_it_gets_too_deep(tmp_path: Path) -> None:
    fill(tmp_path, "altar/1.jpg", "apse/2.jpg", "apse/a/b/3.jpg")
    here = os.getcwd()
    try:
        os.chdir(tmp_path / "apse")
        for _ in range(1100):
            os.mkdir("d")
            os.chdir("d")
        Path("4.jpg").touch()
        os.chdir(tmp_path)
        folder = scan(tmp_path)
        assert [sample.id for sample in folder.samples] == ["altar/1.jpg", "apse/2.jpg", "apse/a/b/3.jpg"]
        (reason,) = refused(folder).values()
        assert reason.startswith("more than 64 folders deep")
    finally:
        os.chdir(tmp_path / "apse")
        # pytest's own clean-up would run out of recursion over it.
        subprocess.run(["rm", "-rf", "d"], check=True)
        os.chdir(here)


def test_files_that_are_no_images_are_refused_by_name(tmp_path: Path) -> None:
    fill(tmp_path, "altar/1.jpg", "apse/2.jpg", "altar/notes.txt", "altar/LICENSE", "README.md", "empty/x.csv")
    (tmp_path / "nothing").mkdir()
    assert refused(scan(tmp_path)) == {
        "README.md": "not in a class folder",
        "altar/LICENSE": "not an image (no suffix, and it begins like none)",
        "altar/notes.txt": "not an image by its suffix (.txt)",
        "empty/": "holds no image",
        "empty/x.csv": "not an image by its suffix (.csv)",
        "nothing/": "holds no image",
    }


def test_images_outside_class_folders_are_refused_by_name(tmp_path: Path) -> None:
    fill(tmp_path, "train/altar/1.jpg", "train/apse/2.jpg", "train/stray.jpg", "test/unlabelled.jpg")
    assert refused(scan(tmp_path)) == {
        "train/stray.jpg": "not in a class folder",
        "test/": "not a split's folder with classes (1 file)",
    }


def test_what_systems_leave_behind_is_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, "altar/1.jpg", "apse/2.jpg", "altar/Thumbs.db", "altar/.DS_Store", "altar/._1.jpg", ".git/a/1.jpg")
    fill(tmp_path, "__MACOSX/altar/._1.jpg", "desktop.ini")
    folder = scan(tmp_path)
    assert (len(folder.samples), folder.refused) == (2, ())


def test_two_folders_of_one_class_are_merged_and_said(tmp_path: Path) -> None:
    folder = scan(fill(tmp_path, "altar/1.jpg", "alter/1.jpg", "apse/2.jpg"))
    assert folder.counts == {"train": {"altar": 2, "apse": 1}}
    assert folder.notes == ("train: class altar is merged from 2 folders: altar, alter",)


def test_spellings_may_differ_between_splits(tmp_path: Path) -> None:
    folder = scan(fill(tmp_path, "train/alter/1.jpg", "train/apse/2.jpg", "test/Altar/1.jpg"))
    assert folder.counts["test"] == {"altar": 1, "apse": 0}
    assert folder.notes == ()


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "altar/1.jpg", "apse/2.jpg")
    try:
        (tmp_path / "altar" / os.fsdecode(b"caf\xe9.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    folder = scan(tmp_path)
    assert folder.refused == (Refusal("altar/caf\\udce9.jpg", "its name is not UTF-8; rename it"),)
    assert len(folder.samples) == 2


def test_links_to_images_and_folders_are_followed(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "1.jpg", "2.jpg")
    root = fill(tmp_path / "set", "altar/0.jpg")
    (root / "altar" / "link.jpg").symlink_to(tmp_path / "elsewhere" / "1.jpg")
    (root / "apse").symlink_to(tmp_path / "elsewhere")
    folder = scan(root)
    assert ids(folder) == ["altar/0.jpg", "altar/link.jpg", "apse/1.jpg", "apse/2.jpg"]


def test_links_that_lead_nowhere_or_back_are_refused(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", "altar/1.jpg", "apse/2.jpg")
    (root / "altar" / "gone.jpg").symlink_to("nothing.jpg")
    (root / "altar" / "self.jpg").symlink_to("self.jpg")
    (root / "altar" / "up").symlink_to("..")
    (root / "again").symlink_to(".")
    folder = scan(root)
    assert ids(folder) == ["altar/1.jpg", "apse/2.jpg"]
    assert refused(folder) == {
        "again/": "a link that leads back to a folder it lies in",
        "altar/gone.jpg": "a link that leads nowhere",
        "altar/self.jpg": "a link that leads nowhere",
        "altar/up/": "a link that leads back to a folder it lies in",
    }


def test_two_links_that_lead_to_each_other_end(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", "altar/1.jpg", "apse/2.jpg")
    fill(tmp_path / "other", "3.jpg")
    (root / "altar" / "out").symlink_to(tmp_path / "other")
    (tmp_path / "other" / "back").symlink_to(root / "altar")
    folder = scan(root)
    assert ids(folder) == ["altar/1.jpg", "altar/out/3.jpg", "apse/2.jpg"]
    assert refused(folder) == {"altar/out/back/": "a link that leads back to a folder it lies in"}


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "altar/1.jpg", "apse/2.jpg")
    os.mkfifo(tmp_path / "altar" / "pipe.jpg")
    assert refused(scan(tmp_path)) == {"altar/pipe.jpg": "not a regular file"}


def test_a_folder_that_cannot_be_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fill(tmp_path, "altar/1.jpg", "altar/closed/2.jpg", "apse/2.jpg")
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert refused(scan(root)) == {"altar/closed/": "can't be opened (Permission denied)"}


def test_no_such_folder(tmp_path: Path) -> None:
    assert error_of(tmp_path / "gone").endswith(
        "ROOT: no such folder; a dataset is a folder with a folder of images for each class"
    )


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    assert error_of(fill(tmp_path, "a.jpg") / "a.jpg").startswith("ROOT: a file, not a folder; ")


def test_an_empty_folder(tmp_path: Path) -> None:
    assert error_of(fill(tmp_path, "altar/readme.txt")) == (
        "ROOT: no images here; a dataset is a folder with a folder of images for each class, "
        "or with train and test folders of such folders"
    )


def test_images_without_class_folders(tmp_path: Path) -> None:
    assert error_of(fill(tmp_path, "1.jpg", "2.jpg")) == (
        "ROOT: images but no class folders; put each class's images into a folder of its own"
    )


@pytest.mark.parametrize("path", ["altar/1.jpg", "wrapper/altar/1.jpg", "train/altar/1.jpg"])
def test_a_single_class(tmp_path: Path, path: str) -> None:
    assert error_of(fill(tmp_path, path)) == (
        "ROOT: a single class (altar); put a second class's images into a folder beside it"
    )


def test_test_images_without_training_images(tmp_path: Path) -> None:
    assert error_of(fill(tmp_path, "test/altar/1.jpg", "val/apse/2.jpg")) == (
        "ROOT: no training images, only test and val; put them into a folder named train"
    )


def test_a_class_without_training_images(tmp_path: Path) -> None:
    fill(tmp_path, "train/altar/1.jpg", "train/apse/2.jpg", "test/Window/3.jpg")
    assert error_of(tmp_path) == (
        "ROOT: Window in test but not in train; give every class training images, in folders spelt alike in every split"
    )


def test_two_folders_for_one_split(tmp_path: Path) -> None:
    fill(tmp_path, "train/altar/1.jpg", "train/apse/2.jpg", "train_val/altar/1.jpg")
    assert error_of(tmp_path) == "ROOT: 2 folders for the train split (train, train_val); keep one of them"


def test_several_datasets(tmp_path: Path) -> None:
    fill(tmp_path, "64/train/altar/1.jpg", "128/train/altar/1.jpg")
    assert error_of(tmp_path) == "ROOT: holds 2 datasets (128, 64); name one of them"


def test_classes_or_folders_around_them(tmp_path: Path) -> None:
    fill(tmp_path, "altar/2019/1.jpg", "altar/2020/2.jpg", "apse/2019/3.jpg")
    assert error_of(tmp_path) == (
        "ROOT: unclear which folders are the classes, since images lie both within the folders of altar and in apse; "
        "name the folder that holds the class folders, and let each hold images directly"
    )


@pytest.mark.skipif(not AHE64, reason="AHE64 names no folder with AHE-64")
def test_ahe64_is_read_whole() -> None:
    folder = scan(Path(AHE64))
    assert sum(folder.counts["train"].values()) == 10_130
    assert folder.refused == ()

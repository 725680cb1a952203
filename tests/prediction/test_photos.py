"""What is meant by files, folders, patterns and lists, whatever they are called and however they are linked."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from ahekit.errors import DataError
from ahekit.prediction.photos import (
    Listing,
    Photo,
    Root,
    find_photos,
    named_photos,
    read_list,
    shard_of,
    with_root,
)

JPEG = b"\xff\xd8\xff\xe0"
PNG = b"\x89PNG\r\n\x1a\n"


def lay(folder: Path, *names: str, content: bytes = JPEG) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def names(listing: Listing) -> list[str]:
    return [photo.path for photo in named_photos(listing, with_root([], listing))]


def test_a_folder_is_looked_through_in_the_order_of_the_bytes_of_names(tmp_path: Path) -> None:
    odd = [
        os.fsdecode(name) for name in (b"b 'c' \"d\".jpg", b"n\nl.png", b"-x.jpg", b"x\xff.jpg", b"z" * 251 + b".jpg")
    ]
    lay(tmp_path, *odd, "deep/er/a.JPG")
    assert names(find_photos([str(tmp_path)])) == sorted([*odd, "deep/er/a.JPG"], key=os.fsencode)


def test_photos_are_told_by_content_where_the_suffix_says_nothing_and_the_rest_is_counted(tmp_path: Path) -> None:
    lay(tmp_path, "a.txt", "none", content=PNG)
    lay(tmp_path, "b.txt", "P1.txt", content=b"P1 is a place")
    lay(tmp_path, "broken.jpg", "raw.nef", content=b"")
    lay(tmp_path, ".hidden.jpg", ".trash/x.jpg", "__MACOSX/y.jpg", "@eaDir/z.jpg")
    listing = find_photos([str(tmp_path)])
    assert names(listing) == ["a.txt", "broken.jpg", "none", "raw.nef"]
    assert listing.notes == ["passed over: 2 files that are no images and 4 hidden names"]


def test_what_is_named_is_a_photo_whatever_it_is_called(tmp_path: Path) -> None:
    lay(tmp_path, "notes.md", content=b"words")
    assert names(find_photos([str(tmp_path / "notes.md")])) == ["notes.md"]


def test_several_folders_are_told_apart_by_their_names(tmp_path: Path) -> None:
    lay(tmp_path, "a/x.jpg", "b/x.jpg")
    assert names(find_photos([str(tmp_path / "a"), str(tmp_path / "b")])) == ["a/x.jpg", "b/x.jpg"]
    assert names(find_photos([str(tmp_path / "b"), str(tmp_path / "b/x.jpg")])) == ["x.jpg"]


def test_links_are_followed_once_and_never_in_circles(tmp_path: Path) -> None:
    lay(tmp_path, "given/a/x.jpg", "other/y.jpg", "given/z.jpg")
    (tmp_path / "given/a/up").symlink_to("..")
    (tmp_path / "given/a/beyond").symlink_to("../..")
    (tmp_path / "given/0a").symlink_to("a")
    (tmp_path / "given/other").symlink_to("../other")
    (tmp_path / "given/z2.jpg").symlink_to("z.jpg")
    (tmp_path / "given/y2.jpg").symlink_to("../other/y.jpg")
    (tmp_path / "given/nowhere.jpg").symlink_to("gone")
    (tmp_path / "given/self").symlink_to("self")
    listing = find_photos([str(tmp_path / "given")])
    assert names(listing) == ["a/x.jpg", "nowhere.jpg", "other/y.jpg", "z.jpg"]
    assert listing.twice == 5
    assert len(listing.problems) == 1


def test_folders_of_ours_and_pipes_are_passed_over(tmp_path: Path) -> None:
    lay(
        tmp_path,
        "x.jpg",
        "survey/survey.sqlite",
        "survey/thumbnails/a.jpg",
        "sorted/.ahekit-sorted.jsonl",
        "sorted/x.jpg",
    )
    os.mkfifo(tmp_path / "pipe.jpg")
    listing = find_photos([str(tmp_path)])
    assert names(listing) == ["x.jpg"]
    assert (listing.own, listing.others) == (2, 1)


def test_a_deep_tree_is_no_recursion(tmp_path: Path) -> None:
    folders = [tmp_path / "d"]
    while len(folders) < 1200:
        folders.append(folders[-1] / "d")
    for folder in folders:
        folder.mkdir()
    lay(folders[-1], "x.jpg")
    assert len(find_photos([str(tmp_path)]).files) == 1
    # Recursion is what others would remove it by.
    (folders[-1] / "x.jpg").unlink()
    for folder in reversed(folders):
        folder.rmdir()


def test_patterns_match_files_and_folders_and_follow_no_links_round(tmp_path: Path) -> None:
    lay(tmp_path, "a/x.jpg", "a/b/y.jpg", "a/b/y.png", "a/.h/z.jpg")
    (tmp_path / "a/b/round").symlink_to("..")
    assert names(find_photos([f"{tmp_path}/a/*.jpg"])) == ["x.jpg"]
    assert names(find_photos([f"{tmp_path}/a/**/*.jpg"])) == ["b/y.jpg", "x.jpg"]
    assert names(find_photos([f"{tmp_path}/*/b"])) == ["y.jpg", "y.png"]
    lay(tmp_path, "[1].jpg")
    assert names(find_photos([f"{tmp_path}/[1].jpg"])) == ["[1].jpg"]
    with pytest.raises(DataError, match="nothing matches"):
        find_photos([f"{tmp_path}/*.gif"])


def test_a_list_holds_a_name_a_line_or_between_nuls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lay(tmp_path, "a b.jpg", "c\nd.jpg", "-e.jpg")
    assert names(find_photos(["-"], stdin=io.BytesIO(b"a b.jpg\r\n-e.jpg\n\n"))) == ["-e.jpg", "a b.jpg"]
    listing = find_photos(["-"], stdin=io.BytesIO(b"c\nd.jpg\0gone.jpg\0"))
    assert names(listing) == ["c\nd.jpg"]
    assert listing.notes == ["gone.jpg: no such file or folder"]
    assert read_list(b"\xff.jpg\n") == ["\udcff.jpg"]
    with pytest.raises(DataError, match="stdin"):
        find_photos(["-"], stdin=io.BytesIO(b""))


@pytest.mark.parametrize("name", ["gone", ""])
def test_what_is_not_there_is_told(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        find_photos([name])
    with pytest.raises(DataError, match="no photo in it"):
        find_photos([str(tmp_path)])


def test_a_survey_keeps_names_relative_to_what_it_was_begun_with(tmp_path: Path) -> None:
    lay(tmp_path, "all/new/x.jpg", "else/new/x.jpg", "all/else/y.jpg")
    roots = with_root([], find_photos([str(tmp_path / "all")]))
    below = find_photos([str(tmp_path / "all/new")])
    assert with_root(roots, below) == roots
    assert named_photos(below, roots) == [Photo("new/x.jpg", str(tmp_path / "all/new/x.jpg"))]
    aside = find_photos([str(tmp_path / "else")])
    # A folder of the first one is called the same.
    assert with_root(roots, aside) == [*roots, Root(str(tmp_path / "else"), "else-2/")]
    above = with_root(with_root([], below), find_photos([str(tmp_path / "all")]))
    assert [photo.path for photo in named_photos(find_photos([str(tmp_path / "all")]), above)] == [
        "all/else/y.jpg",
        "x.jpg",
    ]


def test_a_photo_stays_in_its_shard_and_all_shards_get_some() -> None:
    parts = [shard_of(f"{number}.jpg", 4) for number in range(400)]
    assert [parts.count(part) for part in range(4)] == [97, 109, 91, 103]

"""Images are decoded once; what changed is noticed, what can't be written leaves nothing behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from numpy.typing import NDArray
from PIL import Image

from ahekit.data import cache as caching
from ahekit.data import decode as decoding
from ahekit.data import pixel_store
from ahekit.data.cache import contents_of, load_pixels
from ahekit.data.decode import UnreadableError, decode
from ahekit.data.folder import Folder, Refusal, Sample
from ahekit.data.pixel_store import PixelStore, prune
from ahekit.errors import DataError
from ahekit.preprocessing import Preprocessing

AN_HOUR = 3600
STRETCH = Preprocessing(8)


def write(path: Path, seed: int) -> None:
    """A noise image of an hour ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    age(path)


def age(path: Path, seconds: float = AN_HOUR) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def listed(root: Path) -> Folder:
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    samples = tuple(Sample(name, root / name, name.split("/")[0], "train") for name in files)
    return Folder("d", root, samples, tuple(sorted({sample.class_name for sample in samples})))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed in range(6):
        write(tmp_path / "data" / "ab"[seed % 2] / f"{seed}.png", seed)
    return tmp_path / "data"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def load(root: Path, cache: Path) -> Callable[..., PixelStore]:
    def load(preprocessing: Preprocessing = STRETCH, **options: Any) -> PixelStore:
        store = load_pixels(listed(root), preprocessing, cache=cache, **options)
        expected = [decode(root / name, preprocessing) for name in store.ids]
        np.testing.assert_array_equal(store.images, np.stack(expected))
        return store

    return load


class Watch:
    """Counts the files that are read and decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[str] = []
        self.decoded = 0
        read = decoding.read
        read_image = decoding.read_image

        def count_read(path: Path) -> bytes:
            self.read.append(path.name)
            return read(path)

        def count_decoded(content: bytes, **options: Any) -> tuple[Image.Image, str]:
            self.decoded += 1
            return read_image(content, **options)

        monkeypatch.setattr(caching, "read", count_read)
        monkeypatch.setattr(caching, "read_image", count_decoded)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


def left(cache: Path) -> list[str]:
    """What lies in the pixel cache beside locks."""
    return sorted(path.name for path in (cache / "pixels").iterdir() if path.suffix != ".lock")


def test_images_are_a_read_only_map_in_the_order_of_ids(load: Callable[..., PixelStore]) -> None:
    store = load()
    assert store.ids == ("a/0.png", "a/2.png", "a/4.png", "b/1.png", "b/3.png", "b/5.png")
    assert isinstance(store.images, np.memmap)
    assert store.images.shape == (6, 8, 8, 3)
    assert store.thumbnails.shape == (6, 16, 16, 3)
    with pytest.raises(ValueError, match="read-only"):
        store.images[0] = 0


def test_second_start_reads_no_image_and_writes_nothing(
    load: Callable[..., PixelStore], cache: Path, watch: Watch
) -> None:
    first = load()
    assert (len(watch.read), watch.decoded) == (6, 6)
    index = next((cache / "index").iterdir())
    before = index.stat().st_mtime_ns
    second = load()
    assert (len(watch.read), watch.decoded) == (6, 6)
    assert index.stat().st_mtime_ns == before
    assert second.path == first.path
    assert second.fingerprint == first.fingerprint
    assert second.digests == first.digests


@pytest.mark.parametrize("is_writable", [True, False], ids=["writable cache", "no cache"])
def test_a_folder_is_told_from_another_without_decoding(
    root: Path, cache: Path, tmp_path: Path, watch: Watch, is_writable: bool
) -> None:
    (root / "a/4.png").write_bytes(b"no image")
    age(root / "a/4.png")
    expected = load_pixels(listed(root), STRETCH, cache=tmp_path / "other").fingerprint
    watch.decoded = 0
    if not is_writable:
        cache.write_text("a file where the folder should be")

    first = contents_of(listed(root), cache=cache)
    watch.read.clear()
    second = contents_of(listed(root), cache=cache)

    assert (first, second, watch.decoded) == (expected, expected, 0)
    assert len(watch.read) == (0 if is_writable else 6)
    write(root / "b/3.png", 99)
    assert contents_of(listed(root), cache=cache) != expected


def test_only_the_changed_file_is_read_and_decoded(load: Callable[..., PixelStore], root: Path, watch: Watch) -> None:
    first = load()
    write(root / "b/3.png", 99)
    age(root / "b/3.png", AN_HOUR / 2)
    watch.read.clear()
    second = load()
    assert set(watch.read) == {"3.png"}
    assert watch.decoded == 7
    assert second.fingerprint != first.fingerprint
    assert (second.images[4] != first.images[4]).any()


def test_added_and_removed_files_decode_nothing_else(load: Callable[..., PixelStore], root: Path, watch: Watch) -> None:
    load()
    write(root / "c/6.png", 6)
    (root / "a/0.png").unlink()
    assert load().ids == ("a/2.png", "a/4.png", "b/1.png", "b/3.png", "b/5.png", "c/6.png")
    assert watch.decoded == 7


def test_a_touched_file_is_hashed_again_but_not_decoded(
    load: Callable[..., PixelStore], root: Path, watch: Watch
) -> None:
    first = load()
    watch.read.clear()
    age(root / "a/0.png", 1000)
    assert load().path == first.path
    assert (watch.read, watch.decoded) == (["0.png"], 6)
    assert load().path == first.path
    assert watch.read == ["0.png"]


def test_a_file_changed_within_the_clocks_tick_is_noticed(load: Callable[..., PixelStore], root: Path) -> None:
    path = root / "a/0.png"
    now = time.time()
    Image.new("RGB", (12, 12), (1, 2, 3)).save(path, format="BMP")
    os.utime(path, (now, now))
    first = load()
    Image.new("RGB", (12, 12), (4, 5, 6)).save(path, format="BMP")
    os.utime(path, (now, now))
    second = load()  # compares the pixels with the file's
    assert first.fingerprint != second.fingerprint


def test_a_copy_of_the_folder_elsewhere_is_recognized_by_content(
    load: Callable[..., PixelStore], root: Path, cache: Path, watch: Watch, tmp_path: Path
) -> None:
    first = load()
    shutil.copytree(root, tmp_path / "copy")
    again = load_pixels(listed(tmp_path / "copy"), STRETCH, cache=cache)
    assert again.path == first.path
    assert watch.decoded == 6


def test_what_makes_no_pixels_makes_no_new_cache(load: Callable[..., PixelStore], cache: Path) -> None:
    first = load()
    assert load(Preprocessing(8, mean=(0, 0, 0), std=(1, 1, 1), crop_fraction=0.5)).path == first.path
    others = [
        Preprocessing(9),
        Preprocessing(8, interpolation="bicubic"),
        Preprocessing(8, fit="crop"),
        Preprocessing(8, fit="crop", crop_fraction=0.5),
        Preprocessing(8, detail=4),
    ]
    stores = [load(other) for other in others]
    assert len({first.path, *(store.path for store in stores)}) == 1 + len(others)
    assert {store.fingerprint for store in stores} == {first.fingerprint}
    for store in stores:
        np.testing.assert_array_equal(store.thumbnails, first.thumbnails)


def test_another_decoder_decodes_anew(
    load: Callable[..., PixelStore], watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    load()
    monkeypatch.setattr(caching, "DECODER_VERSION", "another")
    load()
    assert watch.decoded == 12


def test_refused_files_are_listed_with_their_reason_and_not_tried_again(
    load: Callable[..., PixelStore], root: Path, watch: Watch
) -> None:
    (root / "a/2.png").write_bytes(b"")
    (root / "b/3.png").write_bytes(b"no image")
    age(root / "a/2.png")
    age(root / "b/3.png")
    for _ in range(2):
        store = load()
        assert store.ids == ("a/0.png", "a/4.png", "b/1.png", "b/5.png")
        assert [refusal.id for refusal in store.refused] == ["a/2.png", "b/3.png"]
        assert store.refused[0] == Refusal("a/2.png", "empty file (0 bytes)")
        assert store.refused[1].reason.startswith("not an image")
    assert len(watch.read) == 6
    write(root / "a/9.png", 9)
    assert len(load().refused) == 2
    assert watch.decoded == 6  # five images and the file that is none; that one isn't tried a second time


def test_an_unreadable_file_is_refused_and_tried_again_the_next_time(
    load: Callable[..., PixelStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = decoding.read

    def deny(path: Path) -> bytes:
        if path.name == "4.png":
            raise UnreadableError("can't be read (Permission denied)")
        return read(path)

    monkeypatch.setattr(caching, "read", deny)
    for _ in range(2):
        store = load()
        assert store.refused == (Refusal("a/4.png", "can't be read (Permission denied)"),)
        assert len(store.ids) == 5
    monkeypatch.setattr(caching, "read", read)
    assert load().refused == ()


def test_an_unreadable_files_reason_is_todays(
    load: Callable[..., PixelStore], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = decoding.read

    def fail(reason: str) -> None:
        def deny(path: Path) -> bytes:
            if path.name == "4.png":
                raise UnreadableError(reason)
            return read(path)

        monkeypatch.setattr(caching, "read", deny)

    fail("can't be read (Permission denied)")
    load()
    fail("can't be read (Input/output error)")
    write(root / "a/8.png", 8)
    assert load().refused == (Refusal("a/4.png", "can't be read (Input/output error)"),)


def test_a_file_that_vanishes_after_listing_is_refused(root: Path, cache: Path) -> None:
    folder = listed(root)
    (root / "a/2.png").unlink()
    store = load_pixels(folder, STRETCH, cache=cache)
    assert store.refused == (Refusal("a/2.png", "can't be read (No such file or directory)"),)


def test_no_image_at_all_is_an_error_that_names_one(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "data/a").mkdir(parents=True)
    (tmp_path / "data/a/x.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"not one image can be used \(1 files refused, e\.g\. a/x\.png: not an"):
        load_pixels(listed(tmp_path / "data"), STRETCH, cache=cache)
    assert left(cache) == []


def test_pillows_warnings_stay_inside(load: Callable[..., PixelStore], root: Path) -> None:
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", 12_000, 13_000, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"\0"))
    framed = [struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data)) for data in chunks]
    # Pillow warns of its size, and warnings are errors here.
    (root / "a/0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))
    filters = list(warnings.filters)
    (refusal,) = load().refused
    assert refusal.reason == "too large: 12000 x 13000 pixels, more than 150 megapixels"
    assert list(warnings.filters) == filters


def test_progress_counts_up_to_all_files(load: Callable[..., PixelStore], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "BLOCK", 4)
    seen: list[tuple[int, int]] = []
    load(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 6), (4, 6), (6, 6)]
    seen.clear()
    load(progress=lambda done, total: seen.append((done, total)))
    assert seen == []


def test_too_little_space_is_told_before_anything_is_decoded(
    load: Callable[..., PixelStore], cache: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_store, "free_bytes", lambda path: 1000)
    with pytest.raises(DataError, match=r"need 1,\d{3},\d{3} bytes .* 1,000 bytes .* are free; free some space"):
        load()
    assert watch.decoded == 0
    assert left(cache) == []


@pytest.mark.parametrize("fails_at", ["append", "keep", "index"])
def test_a_disk_that_fills_up_leaves_no_half_cache(
    load: Callable[..., PixelStore], cache: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    def fill(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    append = pixel_store.Draft.append
    rows = []

    def fill_at_third(self: pixel_store.Draft, pixels: NDArray[np.uint8], small: NDArray[np.uint8]) -> None:
        append(self, pixels, small)
        rows.append(1)
        if len(rows) == 3:
            fill()

    with monkeypatch.context() as full:
        if fails_at == "append":
            full.setattr(pixel_store.Draft, "append", fill_at_third)
        elif fails_at == "keep":
            full.setattr(os, "fsync", fill)
        else:
            full.setattr(caching, "write_index", fill)
        with pytest.raises(DataError, match=r"need [\d,]+ bytes .* bytes .* are free") as caught:
            load()
    assert "\n" not in str(caught.value)
    assert len(left(cache)) == (1 if fails_at == "index" else 0)  # a whole one is no half cache
    assert len(load().ids) == 6


def test_an_unwritable_cache_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(
        DataError, match=r"cache: can't write the cache \(.*\); make the folder writable, or set AHEKIT_HOME"
    ):
        load_pixels(listed(root), STRETCH, cache=tmp_path / "cache")


def test_a_draft_left_by_a_killed_process_is_removed(load: Callable[..., PixelStore], cache: Path) -> None:
    left_over = cache / "pixels" / f".{caching.settings_key(STRETCH)}-abc"
    left_over.mkdir(parents=True)
    (left_over / "images.u8").write_bytes(b"half")
    load()
    assert len(left(cache)) == 1


@pytest.mark.parametrize("damage", ["shorter", "gone", "no json"])
def test_a_damaged_store_is_built_anew(load: Callable[..., PixelStore], damage: str) -> None:
    path = load().path
    if damage == "shorter":
        os.truncate(path / "images.u8", 100)
    elif damage == "gone":
        (path / "thumbnails.u8").unlink()
    else:
        (path / "store.json").write_text("{")
    assert load().path == path


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 1, "files": {"a/0.png": 3}}', '{"version": 0}'])
def test_a_torn_index_is_made_anew(load: Callable[..., PixelStore], cache: Path, content: str) -> None:
    load()
    index = next((cache / "index").iterdir())
    index.write_text(content)
    load()
    assert len(json.loads(index.read_text())["files"]) == 6


def test_two_processes_at_once_build_one_store(root: Path, cache: Path, tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from ahekit.data import cache
from ahekit.data.folder import Folder, Sample
from ahekit.protocols import Preprocessing
root, go = Path(sys.argv[1]), Path(sys.argv[3])
names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
read_image = cache.read_image
decoded = []
def slow(content, **options):
    decoded.append(1)
    time.sleep(0.05)
    return read_image(content, **options)
cache.read_image = slow
folder = Folder("d", root, tuple(Sample(name, root / name, name[0], "train") for name in names), ("a", "b"))
print("ready", flush=True)
while not go.exists():
    time.sleep(0.005)
store = cache.load_pixels(folder, Preprocessing(8), cache=Path(sys.argv[2]))
print(len(decoded), store.fingerprint, int(store.images.sum()))
"""
    command = [sys.executable, "-W", "error", "-c", script, str(root), str(cache), str(tmp_path / "go")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    answers = [process.communicate(timeout=60)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(int(answer[0]) for answer in answers) == [0, 6]
    assert answers[0][1:] == answers[1][1:]
    assert len(left(cache)) == 1


def test_the_least_recently_used_stores_go_first(load: Callable[..., PixelStore], cache: Path) -> None:
    old, used, new = (load(Preprocessing(size)).path for size in (8, 9, 10))
    for path, seconds in ((old, 3 * AN_HOUR), (used, 2 * AN_HOUR), (new, AN_HOUR)):
        age(path / "store.json", seconds)
    load(Preprocessing(8))
    size = sum(file.stat().st_size for file in new.iterdir())
    prune(cache / "pixels", limit=2 * size, spare=[])
    assert old.exists()
    assert not used.exists()
    assert new.exists()
    prune(cache / "pixels", limit=0, spare=[new])
    assert left(cache) == [new.name]


def test_a_new_store_makes_the_old_ones_go_when_the_limit_is_passed(
    load: Callable[..., PixelStore], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load()
    assert len(left(cache)) == 1
    load(Preprocessing(9))
    assert len(left(cache)) == 2
    monkeypatch.setattr(caching, "CACHE_LIMIT", 1)
    newest = load(Preprocessing(10)).path
    assert left(cache) == [newest.name]


def test_a_map_outlives_the_removal_of_its_store(load: Callable[..., PixelStore], cache: Path) -> None:
    store = load()
    before = np.array(store.images)
    prune(cache / "pixels", limit=0)
    assert left(cache) == []
    np.testing.assert_array_equal(store.images, before)


def test_abandoned_drafts_are_removed_and_fresh_ones_left(load: Callable[..., PixelStore], cache: Path) -> None:
    load()
    for name in (".1-old", ".1-new"):
        (cache / "pixels" / name).mkdir()
    age(cache / "pixels" / ".1-old", 8 * 24 * AN_HOUR)
    prune(cache / "pixels", limit=pixel_store.CACHE_LIMIT)
    assert ".1-old" not in left(cache)
    assert ".1-new" in left(cache)


def test_the_default_cache_is_the_users(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AHEKIT_HOME", str(tmp_path / "home"))
    assert load_pixels(listed(root), STRETCH).path.parent == tmp_path / "home/cache/pixels"


def test_the_decoder_version_names_pillows() -> None:
    assert PIL.__version__ in decoding.DECODER_VERSION

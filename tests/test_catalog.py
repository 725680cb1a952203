"""What `--data` names is found, unpacked or drawn; datasets are installed and removed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ahekit import catalog
from ahekit.catalog import Source, resolve
from ahekit.data.folder import scan
from ahekit.data.installed import install, installed, named, uninstall
from ahekit.data.places import cache_home, data_home, made_once
from ahekit.errors import AhekitError, DataError, UnknownNameError, UsageError

IMAGES = ("train/altar/1.jpg", "train/voûte/拱顶.jpg", "test/altar/2.jpg")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test's own."""
    monkeypatch.setenv("AHEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write(tmp_path / "photos")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where samples were drawn, by a far quicker hand."""
    places: list[Path] = []

    def write_sample(root: Path, *, seed: int = 0) -> None:
        places.append(write(root))

    monkeypatch.setattr("ahekit.sample.write_sample", write_sample)
    return places


def write(root: Path, *more: str) -> Path:
    for name in (*IMAGES, *more):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{name} ")
    return root


def pack(folder: Path, kind: str = "zip") -> Path:
    return Path(shutil.make_archive(str(folder), kind, folder.parent, folder.name))


def ids(source: Source) -> list[str]:
    return [sample.id for sample in scan(source.root).samples]


def files_of(folder: Path) -> list[str]:
    """Files below a folder, without locks."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and ".locks" not in path.parts
    )


def error_of(source: str | None, kind: type[AhekitError] = DataError) -> str:
    with pytest.raises(kind) as raised:
        resolve(source)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_everything_lives_in_ahekit_home_when_it_is_set(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (data_home(), cache_home()) == (home, home / "cache")
    monkeypatch.setenv("AHEKIT_HOME", "relative")
    assert data_home() == home.parent / "relative"


def test_everything_lives_in_the_users_directories_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AHEKIT_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    if sys.platform == "linux":
        assert (data_home(), cache_home()) == (tmp_path / "data" / "ahekit", tmp_path / "caches" / "ahekit")
    assert data_home() != cache_home()


def test_a_folder_is_used_where_it_lies(dataset: Path) -> None:
    found = resolve(str(dataset))
    assert found == Source("photos", dataset, "folder", f"data: the folder {dataset}")
    assert found.path == dataset
    assert resolve("photos").root == dataset
    assert resolve("./photos/../photos").name == "photos"


def test_without_anything_the_sample_is_drawn_once_and_says_how_to_get_real_images(drawn: list[Path]) -> None:
    said: list[tuple[str, int]] = []
    first = resolve(None, announce=lambda notice: said.append((notice, len(drawn))))
    assert (first.kind, first.name, first.archive) == ("sample", "sample", None)
    assert said == [(first.notice, 0)]
    assert "sample" in first.notice
    assert "generated" in first.notice
    assert "github.com/shuxinqiao/Architectural-Heritage-Elements-Classification" in first.notice
    assert "ahekit data add FILE_OR_FOLDER --name ahe64" in first.notice
    assert resolve("sample").root == first.root
    assert len(drawn) == 1
    assert ids(first) == sorted(IMAGES)


def test_a_half_drawn_sample_is_not_kept(home: Path, monkeypatch: pytest.MonkeyPatch, drawn: list[Path]) -> None:
    def write_sample(root: Path, *, seed: int = 0) -> None:
        write(root)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ahekit.sample.write_sample", write_sample)
        with pytest.raises(KeyboardInterrupt):
            resolve(None)
    assert files_of(home) == []
    assert ids(resolve(None)) == sorted(IMAGES)


def test_ahe64_is_used_when_it_is_installed(dataset: Path, drawn: list[Path]) -> None:
    install(dataset, name="ahe64")
    found = resolve(None)
    assert (found.name, found.kind, found.notice) == ("ahe64", "installed", f"data: ahe64, installed in {found.root}")
    assert drawn == []


def test_the_environment_names_the_default(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(dataset, name="ahe64")
    monkeypatch.setenv("AHEKIT_DATA", str(dataset))
    found = resolve(None)
    assert (found.kind, found.root) == ("folder", dataset)
    assert found.notice == f"data, by $AHEKIT_DATA: the folder {dataset}"
    assert resolve("ahe64").kind == "installed"
    monkeypatch.setenv("AHEKIT_DATA", "")
    assert resolve(None).name == "ahe64"


def test_a_wrong_default_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AHEKIT_DATA", "/gone/far")
    assert error_of(None) == "$AHEKIT_DATA: /gone/far: no such folder or archive"


def test_an_installed_dataset_wins_over_a_folder_and_says_so(dataset: Path) -> None:
    install(dataset)
    found = resolve("photos")
    assert found.kind == "installed"
    assert found.notice.endswith("; for the folder photos here, write ./photos")
    assert resolve("./photos").root == dataset


def test_an_unknown_name_lists_the_known_ones(dataset: Path) -> None:
    install(dataset, name="ahe64")
    assert error_of("ahe46", UnknownNameError) == (
        "no dataset named 'ahe46'; did you mean ahe64? Known: ahe64, sample. A folder of class folders or an archive "
        "of one (.zip, .tar, .tar.gz, .tar.bz2 or .tar.xz) can be given by its path too"
    )


@pytest.mark.parametrize("path", ["./gone", "gone/far", "gone.zip", "gone.tar.gz"])
def test_a_path_that_is_not_there(path: str, tmp_path: Path) -> None:
    assert error_of(path) == f"{Path(path).absolute()}: no such folder or archive"


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_is_unpacked_once_and_has_the_folders_ids(dataset: Path, kind: str) -> None:
    archive = pack(dataset, kind)
    unpacked: list[int] = []
    found = resolve(str(archive), advance=lambda: unpacked.append(1))
    assert (found.name, found.kind, found.path) == ("photos", "archive", archive)
    assert found.notice == f"data: the archive {archive}"
    assert ids(found) == ids(resolve(str(dataset)))
    again = resolve(str(archive), advance=lambda: unpacked.append(1))
    assert again == found
    assert len(unpacked) == len(IMAGES)


def test_an_unchanged_archive_is_not_read_again(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = pack(dataset)
    root = resolve(str(archive)).root
    monkeypatch.setattr("hashlib.file_digest", None)
    assert resolve(str(archive)).root == root
    os.utime(archive, ns=(0, 0))
    with pytest.raises(TypeError):
        resolve(str(archive))


def test_a_changed_archive_is_unpacked_anew_and_a_copied_one_is_not(dataset: Path, tmp_path: Path) -> None:
    archive = pack(dataset)
    root = resolve(str(archive)).root
    copy = Path(shutil.copy(archive, tmp_path / "copy.zip"))
    assert resolve(str(copy)).root == root
    write(dataset, "test/altar/3.jpg")
    pack(dataset)
    assert resolve(str(archive)).root != root
    assert "test/altar/3.jpg" in ids(resolve(str(archive)))


def test_a_torn_note_about_an_archive_is_no_matter(dataset: Path) -> None:
    archive = pack(dataset)
    root = resolve(str(archive)).root
    (note,) = (cache_home() / "archives" / "known").iterdir()
    note.write_bytes(note.read_bytes()[:9])
    assert resolve(str(archive)).root == root


def test_a_file_that_is_no_archive(tmp_path: Path, home: Path) -> None:
    (tmp_path / "a.jpg").write_text("a photo")
    assert error_of("a.jpg").startswith(f"{tmp_path / 'a.jpg'}: not an archive that can be read here (.zip, ")
    assert not any("archives" in name and "known" not in name for name in files_of(home))


def test_an_archive_without_a_dataset_is_named_and_not_kept(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    archive = pack(tmp_path / "notes")
    assert error_of(str(archive)).startswith(f"{archive}: no images here; ")
    assert error_of(str(archive)).startswith(f"{archive}: no images here; ")


def test_an_interrupted_unpacking_leaves_nothing_behind(dataset: Path, home: Path) -> None:
    def advance() -> None:
        raise KeyboardInterrupt

    archive = pack(dataset)
    with pytest.raises(KeyboardInterrupt):
        resolve(str(archive), advance=advance)
    assert all(name.startswith("cache/archives/known/") for name in files_of(home))
    assert ids(resolve(str(archive))) == sorted(IMAGES)


def test_a_full_disk_is_one_line(dataset: Path, home: Path) -> None:
    def advance() -> None:
        raise OSError(28, os.strerror(28))

    archive = pack(dataset)
    with pytest.raises(DataError) as raised:
        resolve(str(archive), advance=advance)
    assert str(raised.value).endswith(
        ": can't be written (No space left on device); "
        "free some space, or set AHEKIT_HOME to a folder that can be written"
    )
    assert all(name.startswith("cache/archives/known/") for name in files_of(home))


def test_a_home_that_cannot_be_written(dataset: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AHEKIT_HOME", str(tmp_path / "file"))
    assert "can't be written (Not a directory)" in error_of(str(pack(dataset)))
    with pytest.raises(DataError, match=r"can't be written \(Not a directory\)"):
        install(dataset)


def test_what_a_killed_process_left_is_cleared_away(dataset: Path, home: Path) -> None:
    archive = pack(dataset)
    script = (
        "import os, signal, sys; from ahekit.catalog import resolve\n"
        "resolve(sys.argv[1], advance=lambda: os.kill(os.getpid(), signal.SIGKILL))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(archive)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    left = {name for name in files_of(home) if ".new" in name}
    assert left
    assert ids(resolve(str(archive))) == sorted(IMAGES)
    assert not left & set(files_of(home))


def test_two_processes_unpack_an_archive_once(dataset: Path, home: Path, tmp_path: Path) -> None:
    archive = pack(write(dataset, *(f"train/altar/many-{number}.jpg" for number in range(300))))
    script = (
        "import pathlib, sys, time; from ahekit.catalog import resolve\n"
        "pathlib.Path(sys.argv[2]).touch()\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.001)\n"
        "count = []; root = resolve(sys.argv[1], advance=lambda: count.append(time.sleep(0.0005))).root\n"
        "print(len(count), root)"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", script, str(archive), name], stdout=subprocess.PIPE, text=True)
        for name in ("ready-1", "ready-2")
    ]
    while not (tmp_path / "ready-1").exists() or not (tmp_path / "ready-2").exists():
        assert all(process.poll() is None for process in both)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    counts, roots = zip(*(process.communicate(timeout=60)[0].split() for process in both), strict=True)
    assert sorted(counts) == ["0", "303"]
    assert len(set(roots)) == 1
    assert len(scan(Path(roots[0])).samples) == 303


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(path: Path) -> None:
        made.append(path)
        path.mkdir()

    assert made_once(tmp_path / "a" / "b", make) == made_once(tmp_path / "a" / "b", make) == tmp_path / "a" / "b"
    assert len(made) == 1
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("kind", ["folder", "zip", "gztar"])
def test_installing_takes_the_images_and_names_what_it_leaves(dataset: Path, kind: str) -> None:
    write(dataset, "README.md", "train/altar/notes.txt")
    folder = install(dataset if kind == "folder" else pack(dataset, kind), name="mine")
    assert folder.name == "mine"
    assert folder.root == installed()["mine"] == named("mine")
    assert files_of(folder.root) == sorted(IMAGES)
    assert [refusal.id for refusal in folder.refused] == ["README.md", "train/altar/notes.txt"]
    assert (folder.root / IMAGES[1]).read_text() == f"{IMAGES[1]} "


def test_an_installed_dataset_gets_the_folders_or_archives_name(dataset: Path) -> None:
    assert install(dataset).name == "photos"
    uninstall("photos")
    assert install(pack(dataset, "gztar")).name == "photos"


def test_links_are_installed_as_the_images_they_lead_to(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.jpg").write_text("kept elsewhere")
    (dataset / "train" / "altar" / "link.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    root = install(dataset).root
    assert (root / "train" / "altar" / "link.jpg").read_text() == "kept elsewhere"
    assert not (root / "train" / "altar" / "link.jpg").is_symlink()


def test_a_taken_name_needs_force(dataset: Path) -> None:
    root = install(dataset).root
    write(dataset, "test/altar/3.jpg")
    with pytest.raises(DataError) as raised:
        install(dataset)
    assert str(raised.value) == (
        f"photos is installed already, in {root}; replace it with --force or choose another --name"
    )
    assert len(scan(root).samples) == 3
    assert len(install(dataset, replace=True).samples) == 4
    assert files_of(root) == sorted([*IMAGES, "test/altar/3.jpg"])


def test_a_failed_replacement_keeps_what_was_there(dataset: Path, home: Path, tmp_path: Path) -> None:
    install(dataset)
    before = files_of(home)

    def advance() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        install(dataset, replace=True, advance=advance)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images here"):
        install(tmp_path / "empty", name="photos", replace=True)
    assert files_of(home) == before


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "a b", "", "-x"])
def test_names_that_cannot_be_folders_or_would_need_quoting(dataset: Path, name: str) -> None:
    with pytest.raises(UsageError) as raised:
        install(dataset, name=name)
    assert str(raised.value) == (
        f"{name!r} can't be a dataset's name; use letters, digits, dots, hyphens and underscores (--name NAME)"
    )


def test_nothing_else_can_be_called_sample(dataset: Path) -> None:
    with pytest.raises(UsageError, match="'sample' is the embedded sample's name; choose another with --name"):
        install(dataset, name="sample")


def test_installing_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: no such folder or archive$"):
        install(tmp_path / "gone")


def test_an_image_that_cannot_be_read_is_named(dataset: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    def copyfile(source: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", os.fspath(source))

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(DataError, match=r"1\.jpg: can't be read \(Permission denied\)|2\.jpg: can't be read"):
        install(dataset)
    assert files_of(home) == []


def test_an_installed_dataset_can_be_removed(dataset: Path, home: Path) -> None:
    install(dataset)
    install(dataset, name="photos.2")
    uninstall("photos")
    assert list(installed()) == ["photos.2"]
    assert files_of(home) == [f"datasets/photos.2/{name}" for name in sorted(IMAGES)]
    with pytest.raises(UnknownNameError, match=r"no installed dataset named 'photos'; did you mean photos\.2\?"):
        uninstall("photos")


def test_the_sample_cannot_be_removed() -> None:
    with pytest.raises(UnknownNameError, match="The sample comes with ahekit and is drawn anew when needed"):
        uninstall("sample")


def test_the_default_is_told_by_name(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert catalog.default_source() == "sample"
    install(dataset, name="ahe64")
    assert catalog.default_source() == "ahe64"
    monkeypatch.setenv("AHEKIT_DATA", "photos")
    assert catalog.default_source() == "photos"

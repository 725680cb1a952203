"""Archives become folders, or one line that says why not."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import random
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ahekit.data.archive import Limits, unpack
from ahekit.data.installed import unpack_dataset
from ahekit.errors import DataError

FORMATS = ["zip", "tar", "gztar", "bztar", "xztar"]
CONTENT = {"set/altar/1.jpg": b"one" * 300, "set/voûte/拱顶 (2).jpg": b"two", "set/apse/empty.jpg": b""}


def pack(folder: Path, kind: str) -> Path:
    """An archive of CONTENT as Python's own packers write it."""
    for name, content in CONTENT.items():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).write_bytes(content)
    return Path(shutil.make_archive(str(folder / "packed"), kind, folder / "source"))


def tar_of(path: Path, *members: tuple[str, bytes, bytes]) -> Path:
    """A tar of (name, type, content or link target)."""
    with tarfile.open(path, "w") as file:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(content)
            else:
                info.linkname = content.decode()
            file.addfile(info, io.BytesIO(content))
    return path


def zip_of(path: Path, *members: tuple[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, content)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def error_of(archive: Path, *, limits: Limits | None = None) -> str:
    """The refusal's text without the archive's path; nothing is left behind, beside or outside the destination."""
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(DataError) as raised:
        unpack(archive, archive.parent / "out", limits=limits)
    assert sorted(archive.parent.rglob("*")) == before
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(f"{archive}: ")
    return message.removeprefix(f"{archive}: ")


def unpacked_or_refused(archive: Path) -> str:
    """Nothing where the archive unpacks, else the one line that says why not; then nothing is left."""
    out = archive.parent / "out"
    with suppress(DataError):
        unpack(archive, out)
        return ""
    return error_of(archive)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_kind_of_archive_unpacks_whole(tmp_path: Path, kind: str) -> None:
    files = []
    unpack(pack(tmp_path, kind), tmp_path / "out", advance=lambda: files.append(1))
    assert contents(tmp_path / "out") == CONTENT
    assert len(files) == len(CONTENT)


def test_the_kind_is_told_by_content_not_by_suffix(tmp_path: Path) -> None:
    archive = pack(tmp_path, "gztar").rename(tmp_path / "download")
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == CONTENT


def test_permissions_of_the_archive_are_ignored(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", ("a.jpg", b"a"), mode=stat.S_IFREG | 0o4777)
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "a.jpg").stat().st_mode & 0o7111 == 0


def test_a_zip_with_backslashes_has_folders(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", ("set\\altar\\1.jpg", b"one"))
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {"set/altar/1.jpg": b"one"}


def test_a_zip_with_unmarked_utf8_names_is_read_as_utf8(tmp_path: Path) -> None:
    # Written as DOS names of the same length, then the bytes are put in place.
    archive = zip_of(tmp_path / "a.zip", ("vo__te.jpg", b"one"))
    archive.write_bytes(archive.read_bytes().replace(b"vo__te", "voûte".encode()))
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {"voûte.jpg": b"one"}


@pytest.mark.parametrize("name", ["../x.jpg", "a/../../x.jpg", "/x.jpg", "C:/x.jpg", "a/.."])
def test_entries_that_would_land_outside_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    expected = f"holds {name!r}, which would land outside its folder; don't trust this archive"
    assert error_of(zip_of(tmp_path / "in" / "a.zip", ("b.jpg", b""), (name, b"x"))) == expected
    assert error_of(tar_of(tmp_path / "in" / "a.tar", (name, tarfile.REGTYPE, b"x"))) == expected
    assert not (tmp_path / "x.jpg").exists()


def test_backslashes_do_not_escape_either(tmp_path: Path) -> None:
    assert "would land outside" in error_of(zip_of(tmp_path / "a.zip", ("..\\x.jpg", b"x")))


@pytest.mark.parametrize("target", [b"/etc/passwd", b"a.jpg"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar_are_refused(tmp_path: Path, kind: bytes, target: bytes) -> None:
    archive = tar_of(tmp_path / "a.tar", ("a.jpg", tarfile.REGTYPE, b"a"), ("link.jpg", kind, target))
    assert error_of(archive) == "holds a link ('link.jpg'); unpack it yourself and give the folder"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tar_of(tmp_path / "a.tar", ("null", kind, b""))
    assert error_of(archive) == "holds a device or pipe ('null'); unpack it yourself and give the folder"


def test_a_file_is_not_written_through_a_link_made_before(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    members = [("door", tarfile.SYMTYPE, b".."), ("door/x.jpg", tarfile.REGTYPE, b"x")]
    assert error_of(tar_of(tmp_path / "in" / "a.tar", *members)).startswith("holds a link ('door')")
    assert not (tmp_path / "in" / "x.jpg").exists()


@pytest.mark.parametrize(("kind", "word"), [(stat.S_IFLNK, "a link"), (stat.S_IFCHR, "a device or pipe")])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, kind: int, word: str) -> None:
    archive = zip_of(tmp_path / "a.zip", ("odd", b"/etc/passwd"), mode=kind | 0o777)
    assert error_of(archive) == f"holds {word} ('odd'); unpack it yourself and give the folder"


@pytest.mark.parametrize("make", [zip_of, lambda path, *m: tar_of(path, *((n, tarfile.REGTYPE, c) for n, c in m))])
@pytest.mark.parametrize("names", [("a.jpg", "a.jpg"), ("a.jpg", "a.jpg/b.jpg"), ("a/b.jpg", "a")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_in_one_place_are_refused(tmp_path: Path, make: Callable[..., Path], names: list[str]) -> None:
    archive = make(tmp_path / "a.bin", *((name, b"") for name in names))
    assert error_of(archive) == f"holds {names[1]!r} twice; pack it again"


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path, kind: str) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "zeros.jpg").write_bytes(bytes(3_000_000))
    archive = Path(shutil.make_archive(str(tmp_path / "bomb"), kind, tmp_path / "source"))
    assert error_of(archive, limits=Limits(ratio=50, ratio_from=1_000)) == (
        "unpacks to more than 50 times its size, as an archive made to fill disks would; "
        "unpack it yourself if you trust it"
    )
    unpack(archive, tmp_path / "out", limits=Limits(ratio=50, ratio_from=4_000_000))


@pytest.mark.parametrize("kind", FORMATS)
def test_the_size_limit_counts_what_is_written(tmp_path: Path, kind: str) -> None:
    archive = pack(tmp_path, kind)
    assert error_of(archive, limits=Limits(bytes=902)).startswith("unpacks to more than 8.4e-07 GiB, as an archive")


def test_a_sparse_file_counts_with_its_holes(tmp_path: Path) -> None:
    # Old GNU format: 2 MB of which nothing is stored.
    info = tarfile.TarInfo("holes.jpg")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"%011o\0" % 2_000_000
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    assert error_of(tmp_path / "a.tar", limits=Limits(ratio_from=500_000)).startswith("unpacks to more than")
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert contents(tmp_path / "out") == {"holes.jpg": bytes(2_000_000)}


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("b.jpg")
    info.pax_headers = {"comment": "x" * 3_000_000}
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as file:
        file.addfile(tarfile.TarInfo("a.jpg"))
        file.addfile(info)
    assert error_of(tmp_path / "a.tar.gz") == "damaged or cut short (a header is far too long); fetch it again"


def test_what_follows_the_last_entry_counts_too(tmp_path: Path) -> None:
    plain = tar_of(tmp_path / "a.tar", ("a.jpg", tarfile.REGTYPE, b"a")).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(plain + bytes(3_000_000)))
    assert error_of(tmp_path / "a.tar.gz", limits=Limits(ratio_from=100_000)).startswith("unpacks to more than")


def test_too_many_entries(tmp_path: Path) -> None:
    archive = pack(tmp_path, "zip")
    assert error_of(archive, limits=Limits(entries=3)) == (
        "holds more than 3 entries; unpack it yourself if you trust it"
    )


def test_an_encrypted_zip(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", ("a.jpg", b"secret"))
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    assert error_of(archive) == "encrypted; unpack it yourself and give the folder"


def test_a_zip_of_an_unknown_compression(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", ("a.jpg", b"x"))
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 10] = 97
    archive.write_bytes(content)
    assert error_of(archive) == "That compression method is not supported; pack it again, as plain zip or tar"


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_archive_leaves_nothing(tmp_path: Path, kind: str) -> None:
    content = pack(tmp_path, kind).read_bytes()
    # Of a plain tar the last 10 kB are padding; every other cut takes something away.
    for size in {len(content) // 3, len(content) // 2, len(content) - (9_000 if kind == "tar" else 1)}:
        (tmp_path / "cut").write_bytes(content[:size])
        assert error_of(tmp_path / "cut").startswith("damaged or cut short (")
        assert error_of(tmp_path / "cut").endswith("); fetch it again")


def test_a_tar_cut_between_two_files_is_not_taken_for_whole(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar", ("1.jpg", tarfile.REGTYPE, b"1"), ("2.jpg", tarfile.REGTYPE, b"2"))
    archive.write_bytes(archive.read_bytes()[:1024])
    assert error_of(archive) == "damaged or cut short (it ends too early); fetch it again"


@pytest.mark.parametrize("kind", ["zip", "gztar", "bztar", "xztar"])
def test_a_flipped_byte_is_found(tmp_path: Path, kind: str) -> None:
    archive = pack(tmp_path, kind)
    content = bytearray(archive.read_bytes())
    place = content.index(b"1.jpg") + 20 if kind == "zip" else len(content) // 2
    content[place] ^= 0xFF
    archive.write_bytes(content)
    assert "damaged" in error_of(archive)


def test_damage_deep_within_a_bz2_is_found(tmp_path: Path) -> None:
    plain = tar_of(tmp_path / "a.tar", ("a.jpg", tarfile.REGTYPE, random.Random(0).randbytes(400_000)))
    content = bytearray(bz2.compress(plain.read_bytes(), 1))
    content[len(content) * 2 // 3] ^= 0xFF
    (tmp_path / "a.tar.bz2").write_bytes(content)
    assert error_of(tmp_path / "a.tar.bz2") == "damaged (Invalid data stream); fetch it again"


def test_a_zip_name_that_is_not_the_utf8_it_claims_to_be(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", ("voûte.jpg", b"one"))
    archive.write_bytes(archive.read_bytes().replace("û".encode(), b"\xff\xff"))
    assert error_of(archive).startswith("damaged or cut short ('utf-8' codec can't decode")


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 a photo", b"7z\xbc\xaf\x27\x1c", b"BZ"])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    assert error_of(tmp_path / "a.zip") == (
        "not an archive that can be read here (.zip, .tar, .tar.gz, .tar.bz2 or .tar.xz), or a damaged one"
    )


def test_no_such_archive(tmp_path: Path) -> None:
    assert error_of(tmp_path / "gone.zip") == "can't be read (No such file or directory)"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("stop", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_unpacking_leaves_nothing(tmp_path: Path, kind: str, stop: type[BaseException]) -> None:
    archive = pack(tmp_path, kind)
    before = sorted(tmp_path.iterdir())

    def advance() -> None:
        raise stop

    with pytest.raises(stop):
        unpack(archive, tmp_path / "out", advance=advance)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("depth", [65, 1500])
def test_a_path_too_deep_to_be_removed_again_is_refused(tmp_path: Path, depth: int) -> None:
    name = "d/" * depth + "1.jpg"
    for archive in (
        tar_of(tmp_path / "a.tar", (name, tarfile.REGTYPE, b"x")),
        zip_of(tmp_path / "b.zip", (name, b"x")),
    ):
        message = error_of(archive)
        assert f"holds a path of {depth + 1:,} folders ('d/d/" in message
        assert len(message) < 300


def test_a_folder_too_deep_is_refused_as_a_file_there_would_be(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar", ("apse/" * 80, tarfile.DIRTYPE, b""))
    assert "more than 64; pack it again" in error_of(archive)


def test_a_name_longer_than_file_systems_take_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", ("apse/" + "ü" * 200 + ".jpg", b"x"))
    assert "a name of more than 255 bytes" in error_of(archive)


@pytest.mark.parametrize("name", ["C:1.jpg", "c:\\x\\1.jpg", "\\\\server\\share\\1.jpg"])
def test_drives_and_shares_of_windows_are_outside_too(tmp_path: Path, name: str) -> None:
    assert "would land outside its folder" in error_of(zip_of(tmp_path / "a.zip", (name, b"x")))


@pytest.mark.parametrize("name", ["", ".", "./", "//"])
def test_an_entry_without_a_name_is_refused_or_passed_over(tmp_path: Path, name: str) -> None:
    archive = tar_of(tmp_path / "a.tar", (name or "x", tarfile.DIRTYPE, b""), ("apse/1.jpg", tarfile.REGTYPE, b"x"))
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {"apse/1.jpg": b"x"}
    assert "without a name" in error_of(tar_of(tmp_path / "b.tar", (".", tarfile.REGTYPE, b"x")))


def test_names_that_differ_in_case_or_unicode_form_alone_are_both_kept(tmp_path: Path) -> None:
    names = ["apse/A.jpg", "apse/a.jpg", "apse/\u00e9.jpg", "apse/e\u0301.jpg"]
    archive = zip_of(tmp_path / "a.zip", *((name, name.encode()) for name in names))
    # On a file system that can't tell them apart it is refused, as holding one of them twice.
    refusal = unpacked_or_refused(archive)
    assert "twice" in refusal or contents(tmp_path / "out") == {name: name.encode() for name in names}


def pax(records: bytes, *, size: int | None = None) -> bytes:
    """A tar with an extended header of these records before one file."""
    header = tarfile.TarInfo("pax")
    header.type = tarfile.XHDTYPE
    header.size = len(records) if size is None else size
    file = tarfile.TarInfo("apse/1.jpg")
    padded = records + bytes(-len(records) % 512)
    return header.tobuf(tarfile.USTAR_FORMAT) + padded + file.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)


@pytest.mark.parametrize(
    "records",
    [
        b"999999999999999999999999 path=x\n",
        b"9" * 5000 + b" path=x\n",
        b"12 path=a/b",
        b"0 path=x\n",
        b"-5 path=x\n",
        b"junk without a length\n",
        b"16 size=-12345\n\n",
        b"13 size=abc\n\n",
        b"21 GNU.sparse.map=x,y\n",
        b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n",
        b"19 hdrcharset=\xff\xfe\n",
        b"\xff" * 512,
        b"20 path=" + b"\xff" * 11 + b"\n",
        b"20 mtime=nan\n\n\n\n\n\n\n\n\n",
    ],
)
def test_a_damaged_extended_header_is_one_line_or_does_no_harm(tmp_path: Path, records: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(pax(records))
    assert unpacked_or_refused(tmp_path / "a.tar") or len(contents(tmp_path / "out")) == 1


def test_a_chain_of_headers_without_end_is_damage(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type = tarfile.GNUTYPE_LONGNAME
    header.size = 2
    block = header.tobuf(tarfile.GNU_FORMAT) + b"x\0" + bytes(510)
    (tmp_path / "a.tar").write_bytes(block * 5000 + bytes(1024))
    assert "damaged" in error_of(tmp_path / "a.tar")


def test_a_negative_size_is_damage(tmp_path: Path) -> None:
    header = bytearray(tarfile.TarInfo("apse/1.jpg").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 11 + b"\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    assert "damaged" in error_of(tmp_path / "a.tar")


@pytest.mark.parametrize("seed", range(40))
def test_a_zip_with_bytes_of_its_directory_changed_is_whole_or_one_line(tmp_path: Path, seed: int) -> None:
    random.seed(seed)
    archive = zip_of(tmp_path / "a.zip", *((f"apse/{number}.jpg", b"x" * 50) for number in range(4)))
    content = bytearray(archive.read_bytes())
    start = content.index(b"PK\x01\x02")
    for _ in range(3):
        content[random.randrange(start, len(content))] = random.randrange(256)
    archive.write_bytes(bytes(content))
    assert unpacked_or_refused(archive) or len(contents(tmp_path / "out")) <= 4


def test_a_zip64_size_that_stands_nowhere_is_not_believed(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", ("apse/1.jpg", b"x"))
    content = archive.read_bytes()
    start = content.index(b"PK\x01\x02")
    # The size is said to stand in an extra field, and that field is not there; what is counted is what unpacks.
    archive.write_bytes(content[: start + 24] + b"\xff\xff\xff\xff" + content[start + 28 :])
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {"apse/1.jpg": b"x"}


def test_an_archive_of_archives_is_no_dataset(tmp_path: Path) -> None:
    inner = zip_of(tmp_path / "inner.zip", ("apse/1.jpg", b"x"), ("dome/1.jpg", b"x"))
    outer = zip_of(tmp_path / "outer.zip", ("inner.zip", inner.read_bytes()))
    with pytest.raises(DataError, match="no images here") as caught:
        unpack_dataset(outer, tmp_path / "out")
    assert "archives within it (inner.zip); unpack it and give one of them" in str(caught.value)


def test_a_full_disk_is_the_writers_error(tmp_path: Path) -> None:
    def advance() -> None:
        raise OSError(28, os.strerror(28))

    archive = pack(tmp_path, "gztar")
    with pytest.raises(OSError, match="No space left"):
        unpack(archive, tmp_path / "out", advance=advance)
    assert not (tmp_path / "out").exists()

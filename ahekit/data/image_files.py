"""Which files are images: by their suffix, and where they have none by how they begin."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm", ".pfm"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
    "HEIF": (".heic", ".heif", ".hif", ".heics", ".heifs"),
}
"""Formats that the decoder reads, and the suffixes of each."""

RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2"}
    | {".sr2", ".srw", ".x3f"}
)
"""What cameras write before they develop a picture."""

RAW_HINT = "a camera's raw picture, which needs the extra raw: pip install 'ahekit[raw]'"
HEIF_HINT = "HEIC (HEIF), which needs the extra heif: pip install 'ahekit[heif]'"

_FORMAT_OF = {suffix: name for name, suffixes in SUFFIXES.items() for suffix in suffixes}
# A name like "St. Mary" or "photo.12345" ends in a dot and something that is no suffix of any kind of file.
_SUFFIX = re.compile(r"\.(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{1,5}$")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_HEAD_BYTES = 32


def suffix_of(name: str) -> str:
    """A file name's suffix in lower case with its dot; nothing where it has none."""
    match = _SUFFIX.search(name)
    return "" if match is None else match[0].lower()


def format_of(head: bytes) -> str:
    """The image format that a file begins like; nothing for any other. TGA has no beginning of its own."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:2] == b"BM" and len(head) > 17 and head[14] in (12, 16, 40, 52, 56, 64, 108, 124):
        return "BMP"
    if re.match(rb"P[1-7fF]\s", head):
        return "PPM"
    if head[4:12] == b"jP  \r\n\x87\n" or head.startswith(b"\xff\x4f\xff\x51"):
        return "JPEG2000"
    if head[4:8] == b"ftyp":
        # The file's own brand comes first; AVIF is a kind of HEIF that says so there, or among those it is like.
        brands = (head[8:12], *(head[start : start + 4] for start in range(16, _HEAD_BYTES, 4)))
        if any(brand in (b"avif", b"avis") for brand in brands):
            return "AVIF"
        if any(brand in _HEIF_BRANDS for brand in brands):
            return "HEIF"
    return ""


def reads_heif() -> bool:
    """Whether the package that decodes HEIF is installed."""
    return find_spec("pillow_heif") is not None


def reads_raw() -> bool:
    """Whether the package that develops cameras' raw pictures is installed."""
    return find_spec("rawpy") is not None


def is_raw(head: bytes, suffix: str) -> bool:
    """Whether a file is a camera's raw picture: by its beginning where the maker has one of its own, else by suffix.

    Many raw formats begin as TIFF files do, and hold a small preview where a reader of TIFF looks for the picture.
    """
    if head[:4] in (b"IIRO", b"IIRS", b"MMOR", b"IIU\0") or head.startswith(b"FUJIFILMCCD-RAW"):
        return True
    if (head[:4] == b"II*\0" and head[8:10] == b"CR") or head[4:12] == b"ftypcrx ":
        return True
    return suffix in RAW_SUFFIXES and format_of(head) in ("", "TIFF")


def is_image_name(name: str) -> bool:
    """Whether a file's suffix says that it is an image, or a camera's raw picture."""
    suffix = suffix_of(name)
    return suffix in _FORMAT_OF or suffix in RAW_SUFFIXES


def problem_with(entry: os.DirEntry[str]) -> str | None:
    """Why a file isn't taken for an image; None for one that is.

    Only a file without a suffix is opened; what isn't a regular file is passed, for others to name.
    """
    suffix = suffix_of(entry.name)
    kind = _FORMAT_OF.get(suffix, "")
    if not suffix and _is_file(entry):
        try:
            with open(entry.path, "rb") as file:
                kind = format_of(file.read(_HEAD_BYTES))
        except OSError as error:
            return f"can't be read ({error.strerror})"
    if kind == "HEIF" and not reads_heif():
        return HEIF_HINT
    if kind:
        return None
    if suffix in RAW_SUFFIXES:
        return f"a camera's raw picture ({suffix}); develop it to JPEG or TIFF"
    return f"not an image by its suffix ({suffix})" if suffix else "not an image (no suffix, and it begins like none)"


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False  # a link that leads to itself

"""Large images take no more memory and time than they must, and hardly other pixels than decoded in full."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ahekit.data import colours, memory_budget
from ahekit.data import decode as decoding
from ahekit.data.dataset import load_dataset
from ahekit.data.decode import DecodeError, fit, needed_side, quiet_pillow, read_image, thumbnail, to_rgb
from ahekit.data.folder import scan
from ahekit.data.memory_budget import MemoryBudget
from ahekit.preprocessing import Preprocessing

STRETCH = Preprocessing(64)


def scene(width: int, height: int) -> Image.Image:
    """Something with edges, gradients and a little texture."""
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    red = 255 * across / width
    green = 127 + 100 * np.sin(down / height * 9) + 20 * ((across // (width / 37)) % 2)
    blue = 255 * ((across - width / 2) ** 2 + (down - height / 3) ** 2 < (height / 4) ** 2)
    return Image.fromarray(np.stack([red, green, blue], axis=2).clip(0, 255).astype(np.uint8))


def content(path: Path, image: Image.Image, **options: Any) -> bytes:
    image.save(path, **options)
    return path.read_bytes()


def test_the_side_that_is_needed() -> None:
    assert needed_side(Preprocessing(64)) == needed_side(Preprocessing(256)) == 512
    assert needed_side(Preprocessing(384)) == 768
    assert needed_side(Preprocessing(320, fit="crop", crop_fraction=0.8)) == 800
    assert needed_side(Preprocessing(320, fit="pad", crop_fraction=0.8)) == 640
    assert needed_side(Preprocessing(176, detail=128)) == 256
    assert needed_side(Preprocessing(176, detail=176)) == 512


def test_a_jpeg_of_up_to_twice_the_needed_side_keeps_its_very_pixels(tmp_path: Path) -> None:
    data = content(tmp_path / "a.jpg", scene(1400, 1023))
    with Image.open(tmp_path / "a.jpg") as image:
        expected = image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(fit(to_rgb(data, shorter_side=512), STRETCH), np.asarray(expected))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(("suffix", "options"), [("jpg", {}), ("jpg", {"progressive": True}), ("tif", {})])
def test_larger_ones_are_averaged_on_the_way_and_hardly_differ(
    tmp_path: Path, mode: str, suffix: str, options: dict[str, Any]
) -> None:
    data = content(tmp_path / f"a.{suffix}", scene(1701, 1305).convert(mode), **options)
    whole = to_rgb(data)
    small = to_rgb(data, shorter_side=512)
    assert whole.size == (1701, 1305)
    assert small.size == (851, 653)
    for preprocessing in (STRETCH, Preprocessing(128, fit="crop", crop_fraction=0.9), Preprocessing(96, fit="pad")):
        difference = fit(whole, preprocessing).astype(int) - fit(small, preprocessing)
        assert np.abs(difference).max() <= 25, "at an edge: less than a tenth of a pixel"
        assert np.abs(difference).mean() < 0.6
    difference = thumbnail(whole).astype(int) - thumbnail(small)
    assert np.abs(difference).max() <= 4


def values(image: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in np.unique(np.asarray(image).reshape(-1, 3), axis=0).tolist()}


def test_other_kinds_of_pixels_are_averaged_as_they_look(tmp_path: Path) -> None:
    """A palette's indices and transparent colours must not be averaged themselves."""
    checks = np.indices((1200, 1200)).sum(axis=0) % 2
    palette = Image.fromarray(checks.astype(np.uint8), mode=None)
    palette = palette.convert("P")
    palette.putpalette([200, 0, 0, 0, 100, 0])
    small = to_rgb(content(tmp_path / "p.png", palette), shorter_side=300)
    assert small.size == (300, 300)
    assert values(small) == {(100, 50, 0)}
    clear = np.zeros((1200, 1200, 4), dtype=np.uint8)
    clear[checks == 1] = (0, 0, 0, 255)
    assert values(to_rgb(content(tmp_path / "c.png", Image.fromarray(clear)), shorter_side=300)) == {(128,) * 3}
    bits = Image.fromarray((checks * 255).astype(np.uint8)).convert("1")
    assert values(to_rgb(content(tmp_path / "b.png", bits), shorter_side=300)) == {(128,) * 3}
    gray = Image.fromarray((checks * 65535).astype(np.uint16))
    assert values(to_rgb(content(tmp_path / "g.png", gray), shorter_side=300)) == {(128,) * 3}


def test_strips_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = content(tmp_path / "a.png", scene(130, 97).convert("RGBA"))
    expected = [np.asarray(to_rgb(data, shorter_side=side)) for side in (None, 30)]
    monkeypatch.setattr(colours, "STRIP_PIXELS", 600)
    for whole, side in zip(expected, (None, 30), strict=True):
        np.testing.assert_array_equal(np.asarray(to_rgb(data, shorter_side=side)), whole)


def test_a_turned_photo_is_averaged_before_it_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = content(tmp_path / "a.jpg", scene(1701, 1305), exif=exif)
    assert to_rgb(data, shorter_side=512).size == (653, 851)


def claimed(width: int, height: int, *, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG's header with nothing behind it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(b"\0")
    chunks = (
        struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data)) for data in (header, pixels)
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def reason(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught, quiet_pillow():
        read_image(data, shorter_side=512)
    assert "\n" not in caught.value.reason
    return caught.value.reason


def test_what_a_header_claims_is_weighed_before_anything_is_decoded() -> None:
    assert reason(claimed(12_500, 12_500)).startswith("too large: 12500 x 12500 pixels, more than 150 megapixels")
    # WebP's reader takes its canvas on opening; this one claims 16,384 x 16,384 in a file of 30 bytes.
    chunk = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + (16_383).to_bytes(3, "little") * 2
    assert "16384 x 16384" in reason(b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk)
    lossless = (11_999) | (11_999 << 14)
    data = b"RIFF\x20\0\0\0WEBPVP8L\x10\0\0\0\x2f" + struct.pack("<I", lossless) + b"\0" * 12
    assert reason(data) == "too large: decoding its 12000 x 12000 pixels takes 1.61 GiB, more than 1.25 GiB"


def test_memory_in_use_is_bounded_over_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = MemoryBudget(10_000)
    monkeypatch.setattr(decoding, "DECODING", budget)
    data = content(tmp_path / "a.png", scene(30, 20))
    most: list[int] = []
    load = Image.Image.load

    def watched(self: Image.Image) -> Any:
        most.append(budget.in_use)
        return load(self)

    monkeypatch.setattr(Image.Image, "load", watched)
    threads = [threading.Thread(target=read_image, args=(data,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 30 x 20 pixels of 4 bytes, and as many of the result: two at a time.
    assert 4_800 <= max(most) <= 9_600
    assert budget.in_use == 0


def test_a_budget_gives_back_what_a_failure_held_and_lets_the_largest_run_alone() -> None:
    budget = MemoryBudget(100)
    with pytest.raises(KeyError), budget.reserve(60):
        raise KeyError
    assert budget.in_use == 0
    with budget.reserve(1_000):
        assert budget.in_use == 100
    assert memory_budget.MemoryBudget(5).in_use == 0


def text_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


XMP = b"XML:com.adobe.xmp\0\0\0\0\0" + b'<x tiff:Orientation="6"/>' + b" " * 3_000_000
LONG = {
    "XMP": (b"iTXt", XMP),
    "compressed XMP": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP[22:])),
    "profile": (b"iCCP", b"name\0\0" + zlib.compress(bytes(3_000_000))),
    "text": (b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 3_000_000)),
}


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize("place", [33, -12])
def test_a_png_with_long_texts_or_profiles_is_read_wherever_they_stand(tmp_path: Path, kind: str, place: int) -> None:
    data = content(tmp_path / "a.png", scene(30, 20))
    if LONG[kind][0] == b"iCCP" and place < 0:
        pytest.skip("profiles stand before the pixels")
    long = data[:place] + text_chunk(*LONG[kind]) + data[place:]
    image = to_rgb(long)
    assert image.size == ((20, 30) if "XMP" in kind else (30, 20))
    assert PngImagePlugin.MAX_TEXT_CHUNK == 2**20


def test_a_text_that_unpacks_without_end_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_TEXT", 2**21)
    data = content(tmp_path / "a.png", scene(30, 20))
    bomb = data[:33] + text_chunk(*LONG["text"]) + data[33:]
    assert reason(bomb) == "PNG with a text or profile of more than 2 MiB"


def png_16(values: NDArray[Any], *, significant: int | None = None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values.astype(np.uint16)).save(file, "PNG")
    data = file.getvalue()
    return data if significant is None else data[:33] + text_chunk(b"sBIT", bytes([significant])) + data[33:]


def test_twelve_bits_in_sixteen_are_spread_where_the_file_tells_them() -> None:
    values = np.array([[0, 2048], [4095, 1024]])
    image, note = read_image(png_16(values, significant=12))
    assert np.asarray(image)[..., 0].tolist() == [[0, 128], [255, 64]]
    assert note == ""
    # A writer that spread them itself says the same of them.
    image, note = read_image(png_16(values * 16, significant=12))
    assert np.asarray(image)[..., 0].tolist() == [[0, 128], [255, 64]]
    assert note == ""


def test_twelve_bits_that_nothing_tells_of_are_left_dark_and_told() -> None:
    image, note = read_image(png_16(np.array([[0, 2048], [4095, 1024]])))
    assert np.asarray(image).max() == 16
    assert note.startswith("16-bit gray whose largest value is 4,095: nearly black")
    assert read_image(png_16(np.array([[0, 4096], [9, 9]])))[1] == ""


def test_a_tiff_tells_its_depth_and_which_end_is_white(tmp_path: Path) -> None:
    values = Image.fromarray(np.array([[0, 1023], [512, 256]], dtype=np.uint16))
    data = content(tmp_path / "a.tif", values, tiffinfo={281: 1023})
    image, note = read_image(data)
    assert np.asarray(image)[..., 0].tolist() == [[0, 255], [128, 64]]
    assert note == ""
    data = content(tmp_path / "b.tif", Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)), tiffinfo={262: 0})
    with Image.open(tmp_path / "b.tif") as image:
        white_is_zero = image.tag_v2[262] == 0  # type: ignore[attr-defined]
    # Pillow writes its own choice over the tag; turned in the file it is what other programs write.
    if not white_is_zero:
        data = data.replace(struct.pack("<HHIHH", 262, 3, 1, 1, 0), struct.pack("<HHIHH", 262, 3, 1, 0, 0))
    assert np.asarray(to_rgb(data))[0, :, 0].tolist() == [255, 0]


def test_dark_sixteen_bit_colour_is_told(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    line = b"\0" + struct.pack(">6H", 4095, 0, 0, 0, 2048, 0)
    chunks = [text_chunk(header[:4], header[4:]), text_chunk(b"IDAT", zlib.compress(line)), text_chunk(b"IEND", b"")]
    image, note = read_image(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert np.asarray(image).max() == 15
    assert note.startswith("16-bit colour that reaches no further than 1/16 of white")


def test_targa_is_known_by_its_end(tmp_path: Path) -> None:
    data = content(tmp_path / "a.tga", scene(30, 20))
    np.testing.assert_array_equal(np.asarray(to_rgb(data)), np.asarray(scene(30, 20)))
    assert "not an image" in reason(data[:-26])


def test_phone_pictures_without_their_decoder_say_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    if "HEIF" not in decoding._formats():
        assert "pip install 'ahekit[heif]'" in reason(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


def test_a_tiff_that_pillow_cannot_read_is_named_as_one(tmp_path: Path) -> None:
    data = bytearray(content(tmp_path / "a.tif", scene(30, 20)))
    # Three samples of 32-bit floating point, which Pillow knows no mode for.
    with Image.open(tmp_path / "a.tif") as image:
        offset = image.tag_v2._tagdata  # type: ignore[attr-defined]
    assert offset is not None
    index = data.index(struct.pack("<HHII", 277, 3, 1, 3)[:8])
    data[index + 8] = 9
    assert reason(bytes(data)).startswith(("TIFF of a kind that can't be read", "damaged header", "truncated"))


def test_jpeg_2000_avif_and_pictures_of_two_cameras_are_read(tmp_path: Path) -> None:
    for name, options in (("a.jp2", {}), ("a.avif", {"quality": 100}), ("a.ppm", {}), ("a.mpo", {"save_all": True})):
        try:
            data = content(tmp_path / name, scene(64, 48), **options)
        except (KeyError, OSError, ValueError):
            continue  # Pillow was built without it
        difference = np.asarray(to_rgb(data)).astype(int) - np.asarray(scene(64, 48))
        assert np.abs(difference).mean() < 8, name


def test_what_is_odd_about_an_image_is_kept_with_its_pixels(tmp_path: Path) -> None:
    root = tmp_path / "d"
    for name in ("a/1.png", "b/2.png"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(png_16(np.array([[0, 4095 if name == "a/1.png" else 65535]])))
    for size in (8, 8, 16):
        (note,) = load_dataset(scan(root), Preprocessing(size), cache=tmp_path / "cache").notes
        assert (note.id, note.reason[:26]) == ("a/1.png", "16-bit gray whose largest ")

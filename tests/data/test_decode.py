"""Every odd kind of image file is decoded to known pixels, or refused with a reason."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFile, ImageOps

from ahekit.data import decode as decoding
from ahekit.data.decode import DecodeError, UnreadableError, decode, fit, thumbnail
from ahekit.preprocessing import Preprocessing

RED = (255, 0, 0)
GREEN = (0, 255, 0)
BLUE = (0, 0, 255)
WHITE = (255, 255, 255)
SIZE = 8


def picture(width: int = SIZE, height: int = SIZE) -> Image.Image:
    """Smooth and without symmetry."""
    down, across = np.mgrid[0:height, 0:width]
    red = 255 * across / (width - 1)
    green = 255 * down / (height - 1)
    return Image.fromarray(np.stack([red, green, 255 - red], axis=2).astype(np.uint8))


def decoded(path: Path, size: int = SIZE, **options: Any) -> NDArray[np.uint8]:
    return decode(path, Preprocessing(size, **options))


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DecodeError) as caught:
        decoded(path)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    assert "\n" not in str(caught.value)
    return caught.value.reason


def png_header(width: int, height: int) -> bytes:
    """A PNG of that size by its header, whose pixels are missing."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = b"IDAT" + zlib.compress(b"\0")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data)) for data in (chunk, idat)
    )


def test_rgb_of_the_right_size_is_taken_as_it_is(tmp_path: Path) -> None:
    pixels = decoded(saved(tmp_path / "a.png", picture()))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.asarray(picture()))


def test_gray_becomes_three_equal_channels(tmp_path: Path) -> None:
    gray = picture().convert("L")
    pixels = decoded(saved(tmp_path / "a.png", gray))
    np.testing.assert_array_equal(pixels, np.repeat(np.asarray(gray)[:, :, None], 3, axis=2))


def test_one_bit_becomes_black_and_white(tmp_path: Path) -> None:
    bits = Image.new("1", (SIZE, SIZE))
    bits.putpixel((3, 2), 1)
    pixels = decoded(saved(tmp_path / "a.png", bits))
    assert pixels[2, 3].tolist() == [255] * 3
    assert pixels.sum() == 3 * 255


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bit_gray_is_scaled_not_clipped(tmp_path: Path, name: str) -> None:
    values = np.zeros((SIZE, SIZE), dtype=np.uint16)
    values[0, :4] = [257, 257 * 100, 257 * 100 + 129, 65535]
    pixels = decoded(saved(tmp_path / name, Image.fromarray(values)))
    assert pixels[0, :5, 0].tolist() == [1, 100, 101, 255, 0]


def test_big_endian_sixteen_bit_gray_is_read_as_such(tmp_path: Path) -> None:
    values = np.full((SIZE, SIZE), 257 * 3, dtype=">u2")
    pixels = decoded(saved(tmp_path / "a.tif", Image.frombytes("I;16B", (SIZE, SIZE), values.tobytes())))
    assert set(pixels.ravel().tolist()) == {3}


def test_the_transparent_gray_of_a_sixteen_bit_png_is_white(tmp_path: Path) -> None:
    values = np.full((SIZE, SIZE), 257 * 7, dtype=np.uint16)
    values[0, 0] = 1000
    pixels = decoded(saved(tmp_path / "a.png", Image.fromarray(values), transparency=1000))
    assert pixels[0, 0].tolist() == [255] * 3
    assert pixels[1, 1].tolist() == [7] * 3


def test_integers_beyond_sixteen_bits_are_refused(tmp_path: Path) -> None:
    wide = Image.fromarray(np.full((SIZE, SIZE), 70_000, dtype=np.int32))
    assert "beyond 16 bits" in refusal(saved(tmp_path / "a.tif", wide))


def test_floating_point_and_lab_pixels_are_refused(tmp_path: Path) -> None:
    assert "mode F" in refusal(saved(tmp_path / "a.tif", Image.new("F", (SIZE, SIZE), 0.5)))
    assert "mode LAB" in refusal(saved(tmp_path / "b.tif", Image.new("LAB", (SIZE, SIZE))))


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    inks = Image.new("CMYK", (SIZE, SIZE), (0, 255, 255, 0))
    assert decoded(saved(tmp_path / "a.tif", inks))[0, 0].tolist() == list(RED)


def test_an_inverted_cmyk_jpeg_as_adobe_writes_it_is_turned_round(tmp_path: Path) -> None:
    inks = Image.new("CMYK", (SIZE, SIZE), (0, 255, 255, 0))
    path = saved(tmp_path / "a.jpg", inks, quality=100)
    assert b"Adobe" in path.read_bytes()
    np.testing.assert_allclose(decoded(path)[0, 0], RED, atol=3)


def test_a_cmyk_jpeg_without_adobes_mark_is_not_inverted(tmp_path: Path) -> None:
    inks = Image.new("CMYK", (SIZE, SIZE), (0, 255, 255, 0))
    path = saved(tmp_path / "a.jpg", ImageChops.invert(inks), quality=100)
    content = path.read_bytes()
    start = content.index(b"\xff\xee")
    length = int.from_bytes(content[start + 2 : start + 4], "big")
    path.write_bytes(content[:start] + content[start + 2 + length :])
    np.testing.assert_allclose(decoded(path)[0, 0], RED, atol=3)


def test_palette_becomes_rgb(tmp_path: Path) -> None:
    image = Image.new("RGB", (SIZE, SIZE), BLUE)
    image.putpixel((1, 0), GREEN)
    pixels = decoded(saved(tmp_path / "a.png", image.quantize(2)))
    assert pixels[0, 0].tolist() == list(BLUE)
    assert pixels[0, 1].tolist() == list(GREEN)


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    half = saved(tmp_path / "a.png", Image.new("RGBA", (SIZE, SIZE), (0, 0, 0, 128)))
    assert decoded(half)[0, 0].tolist() == [127] * 3
    nothing = saved(tmp_path / "b.png", Image.new("LA", (SIZE, SIZE), (10, 0)))
    assert decoded(nothing)[0, 0].tolist() == [255] * 3
    keyed = saved(tmp_path / "c.png", Image.new("RGB", (SIZE, SIZE), RED), transparency=RED)
    assert decoded(keyed)[0, 0].tolist() == [255] * 3


def test_a_palette_with_alpha_per_entry_lies_on_white_without_a_warning(tmp_path: Path) -> None:
    image = Image.new("P", (SIZE, SIZE), 0)
    image.putpalette([*RED, *BLUE])
    image.putpixel((0, 0), 1)
    pixels = decoded(saved(tmp_path / "a.png", image, transparency=b"\x00\xff"))
    assert pixels[0, 0].tolist() == list(BLUE)
    assert pixels[1, 1].tolist() == list(WHITE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_every_orientation_of_the_camera_is_applied_once(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / f"a.{suffix}", picture(), exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(decoded(path), expected)
    assert (expected == np.asarray(picture())).all() == (orientation == 1)


def test_a_picture_taken_with_the_camera_turned_stands_upright(tmp_path: Path) -> None:
    lying = Image.new("RGB", (16, 8), BLUE)
    lying.paste(RED, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the file's left edge is the picture's top
    pixels = decoded(saved(tmp_path / "a.jpg", lying, exif=exif, quality=100))
    np.testing.assert_allclose(pixels[1, 4], RED, atol=3)
    np.testing.assert_allclose(pixels[6, 4], BLUE, atol=3)


def test_a_broken_exif_block_leaves_the_pixels_as_they_stand(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.new("RGB", (SIZE, SIZE), GREEN), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_allclose(decoded(path)[0, 0], GREEN, atol=3)


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    path = saved(tmp_path / "really a bitmap.jpg", picture(), format="BMP")
    np.testing.assert_array_equal(decoded(path), np.asarray(picture()))


@pytest.mark.parametrize("suffix", ["gif", "png", "tif", "webp"])
def test_the_first_frame_of_several_is_the_image(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (SIZE, SIZE), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
    with Image.open(path) as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]
    assert decoded(path)[0, 0].tolist() == list(RED)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "webp", "tif"])
def test_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path = saved(tmp_path / f"a.{suffix}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    assert refusal(path).startswith(("truncated or damaged", "damaged header", "not an image"))


def test_a_jpeg_that_lacks_its_last_bytes_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", picture(64, 64))
    path.write_bytes(path.read_bytes()[:-12])
    assert refusal(path).startswith("truncated or damaged JPEG")


def test_a_png_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", picture(64, 64))
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 40] ^= 1
    path.write_bytes(bytes(content))
    assert refusal(path).startswith("truncated or damaged PNG")


def test_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert refusal(tmp_path / "a.jpg") == "empty file (0 bytes)"


@pytest.mark.parametrize(
    "content", [b"not an image", b"<svg></svg>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_what_is_no_image_is_refused_and_no_program_is_run_for_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert refusal(tmp_path / "a.jpg").startswith("not an image that can be read (JPEG, PNG")


@pytest.mark.parametrize(
    ("width", "height", "said"),
    [(12_000, 13_000, "12000 x 13000 pixels, more than 150 megapixels"), (60_000, 60_000, "more than 150 megapixels")],
)
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, width: int, height: int, said: str) -> None:
    (tmp_path / "a.png").write_bytes(png_header(width, height))
    assert said in refusal(tmp_path / "a.png")


def test_a_file_too_large_to_read_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_BYTES", 10)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("read"))
    (tmp_path / "a.png").write_bytes(b"12345678901")
    assert "more than the 1 GiB" in refusal(tmp_path / "a.png")


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert refusal(tmp_path / "a.png") == "not a regular file"


def test_a_file_that_is_not_there_or_not_ours_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreadableError, match=r"gone\.png: can't be read \(No such file"):
        decoded(tmp_path / "gone.png")
    path = saved(tmp_path / "a.png", picture())

    def deny(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)
    with pytest.raises(UnreadableError, match="Permission denied"):
        decoded(path)


def test_running_out_of_memory_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", picture())

    def fail(self: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(MemoryError):
        decoded(path)


def test_pillow_and_warnings_are_left_as_they_were(tmp_path: Path) -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    decoded(saved(tmp_path / "a.png", picture()))
    (tmp_path / "b.png").write_bytes(png_header(12_000, 13_000))
    refusal(tmp_path / "b.png")
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))


def striped() -> Image.Image:
    """32 x 16: red, then the middle half green, then blue."""
    image = Image.new("RGB", (32, 16), GREEN)
    image.paste(RED, (0, 0, 8, 16))
    image.paste(BLUE, (24, 0, 32, 16))
    return image


def test_stretch_keeps_the_whole_image() -> None:
    pixels = fit(striped(), Preprocessing(8, interpolation="nearest", fit="stretch"))
    assert pixels.shape == (8, 8, 3)
    assert [row.tolist() for row in pixels[0]] == [[*RED]] * 2 + [[*GREEN]] * 4 + [[*BLUE]] * 2


def test_crop_cuts_the_centre_of_the_longer_side() -> None:
    pixels = fit(striped(), Preprocessing(8, fit="crop", interpolation="nearest"))
    assert pixels.shape == (8, 8, 3)
    assert (pixels == GREEN).all()


def test_crop_fraction_cuts_that_share_of_the_shorter_side() -> None:
    framed = Image.new("RGB", (16, 16), RED)
    framed.paste(GREEN, (4, 4, 12, 12))
    preprocessing = Preprocessing(8, fit="crop", crop_fraction=0.5, interpolation="nearest")
    assert (fit(framed, preprocessing) == GREEN).all()
    wider = fit(framed, Preprocessing(8, fit="crop", crop_fraction=0.75, interpolation="nearest"))
    assert (wider == GREEN).all(axis=2).sum() < 64


def test_detail_makes_a_sharp_image_as_coarse_as_a_small_one() -> None:
    rng = np.random.default_rng(0)
    sharp = Image.fromarray(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8))
    small = sharp.resize((8, 8), Image.Resampling.BICUBIC)
    preprocessing = Preprocessing(16, interpolation="bicubic", detail=8)
    enlarged = np.asarray(small.resize((16, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(fit(sharp, preprocessing), enlarged)
    assert np.array_equal(fit(small, preprocessing), enlarged), "an image of that size already is only enlarged"


def test_detail_finer_than_the_input_changes_nothing() -> None:
    image = striped()
    assert np.array_equal(fit(image, Preprocessing(8, detail=32)), fit(image, Preprocessing(8)))


def test_pad_puts_gray_around_the_whole_image() -> None:
    pixels = fit(striped(), Preprocessing(8, fit="pad", interpolation="nearest"))
    assert (pixels[:2] == 128).all()
    assert (pixels[-2:] == 128).all()
    assert pixels[3, 0].tolist() == list(RED)
    assert pixels[3, -1].tolist() == list(BLUE)


def test_a_line_one_pixel_high_is_padded_not_lost() -> None:
    pixels = fit(Image.new("RGB", (400, 1), RED), Preprocessing(8, fit="pad"))
    assert (pixels == RED).all(axis=2).sum() == 8


def test_bilinear_downscaling_averages() -> None:
    checks = Image.fromarray(np.indices((16, 16)).sum(axis=0).astype(np.uint8) % 2 * 200).convert("RGB")
    pixels = fit(checks, Preprocessing(4))
    np.testing.assert_allclose(pixels, 100, atol=15)


def test_thumbnail_is_the_area_average_of_the_whole_image() -> None:
    small = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    large = Image.fromarray(small.repeat(3, axis=0).repeat(5, axis=1))
    np.testing.assert_array_equal(thumbnail(large), small)

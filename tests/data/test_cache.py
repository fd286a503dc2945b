from __future__ import annotations

import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from tiny import noise

from ranzcr.data import cache
from ranzcr.errors import DataError
from ranzcr.submission import kernel


def encode(image: np.ndarray, suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, image, options)[1].tobytes()


def decode(data: bytes, size: int) -> np.ndarray:
    return kernel.square(kernel.decode(data), size)


def test_an_image_becomes_a_square_and_keeps_its_original_size(tmp_path):
    (tmp_path / "image.png").write_bytes(encode(noise(0, 40, 60), ".png"))
    image = cache.read_image(tmp_path / "image.png", 32)
    assert image.pixels.shape == (32, 32)
    assert image.pixels.dtype == np.uint8
    assert (image.width, image.height) == (60, 40)


def test_shrinking_averages_areas():
    image = np.zeros((64, 64), np.uint8)
    image[:, ::2] = 200
    pixels = decode(encode(image, ".png"), 32)
    assert (pixels == 100).all()


def test_sixteen_bits_are_scaled_from_their_own_range():
    image = noise(0, 32, 32).astype(np.uint16) * 4 + 1000
    pixels = decode(encode(image, ".png"), 32)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_a_blank_sixteen_bit_image_is_black():
    pixels = decode(encode(np.full((8, 8), 900, np.uint16), ".png"), 8)
    assert (pixels == 0).all()


def test_colour_becomes_luminance():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 255
    pixels = decode(encode(red, ".png"), 8)
    assert (pixels == 76).all()  # .299 x 255


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
def test_a_truncated_jpeg_is_refused(progressive, share):
    image = np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)
    whole = encode(image, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    decode(whole, 32)
    with pytest.raises(ValueError, match=r"the JPEG is truncated \(no end marker\)"):
        decode(whole[: int(len(whole) * share)], 32)


def test_a_jpeg_may_have_bytes_after_its_end():
    pixels = decode(encode(noise(0), ".jpg") + b"\0" * 100, 32)
    assert pixels.shape == (32, 32)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_png_is_refused(share):
    whole = encode(noise(0), ".png")
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode(whole[: int(len(whole) * share)], 32)


@pytest.mark.parametrize(
    "data", [b"StudyInstanceUID,1\n", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_image_is_refused(data):
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode(data, 32)


def test_an_empty_file_is_refused():
    with pytest.raises(ValueError, match="the file is empty"):
        decode(b"", 32)


@pytest.fixture
def files(tmp_path):
    """Three images, of which the second is empty."""
    names = [tmp_path / f"{number}.jpg" for number in range(3)]
    for number, file in enumerate(names):
        cv2.imwrite(str(file), noise(number))
    names[1].write_bytes(b"")
    return names


def test_the_cache_holds_the_good_images_in_order(files, tmp_path):
    facts = cache.build(tmp_path / "images.npy", files, 16, skip_bad=True)
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert images.shape == (2, 16, 16)
    assert (images[1] == decode(files[2].read_bytes(), 16)).all()
    assert facts["problem"].tolist() == ["", "the file is empty", ""]
    assert facts["width"].tolist() == [60, 0, 60]
    assert facts["cache_crc32"].iloc[2] == zlib.crc32(images[1].tobytes())


def test_a_bad_image_is_named_with_what_to_do(files, tmp_path):
    with pytest.raises(DataError, match=r"1\.jpg: the file is empty; .* --skip-bad"):
        cache.build(tmp_path / "images.npy", files, 16, skip_bad=False)


def test_memory_does_not_grow_with_the_number_of_images(files, tmp_path):
    many = [files[0]] * 400
    tracemalloc.start()
    cache.build(tmp_path / "images.npy", many, 256, skip_bad=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "images.npy").stat().st_size > 26_000_000
    assert peak < 10_000_000

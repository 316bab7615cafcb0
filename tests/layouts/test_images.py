"""Files of one flow: OpenCV's own readers and writers, formulas on paper, and files that are not what they say."""

import contextlib
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError, DecodeError
from flowstore.layouts.file_kind import MAX_PIXELS
from flowstore.layouts.images import (
    decode_flo,
    decode_kitti,
    decode_pair,
    decode_plane,
    encode_flo,
    encode_kitti,
    encode_pair,
    encode_plane,
)

RNG = np.random.default_rng(5)


def random_flow(height=7, width=11, largest=30):
    return RNG.uniform(-largest, largest, (2, height, width)).astype(np.float32)


def smooth_codes(height=48, width=64):
    y, x = np.mgrid[:height, :width]
    return np.stack([128 + 60 * np.sin(x / 9 + y / 13), 128 + 50 * np.cos(x / 11 - y / 7)]).astype(np.uint8)


def test_opencv_reads_the_flo_that_is_written(tmp_path):
    flow = random_flow()
    path = tmp_path / "a.flo"
    path.write_bytes(encode_flo(flow))
    np.testing.assert_array_equal(cv2.readOpticalFlow(str(path)), flow.transpose(1, 2, 0))


def test_the_flo_that_opencv_writes_is_read(tmp_path):
    flow = random_flow()
    path = tmp_path / "a.flo"
    assert cv2.writeOpticalFlow(str(path), np.ascontiguousarray(flow.transpose(1, 2, 0)))
    assert path.read_bytes() == encode_flo(flow)
    decoded, is_known = decode_flo(path.read_bytes())
    np.testing.assert_array_equal(decoded, flow)
    assert decoded.dtype == np.float32
    assert is_known.all()


def test_flo_of_one_pixel_on_paper():
    assert encode_flo(np.array([[[1.5]], [[-2]]], np.float32)) == b"PIEH" + struct.pack("<iiff", 1, 1, 1.5, -2)


def test_flo_says_where_nothing_is_known():
    flow = np.zeros((2, 2, 3), np.float32)
    flow[0, 0, 0] = flow[1, 1, 2] = 1.666666752e9
    flow[:, 1, 0] = 5
    decoded, is_known = decode_flo(encode_flo(flow))
    assert np.argwhere(~is_known).tolist() == [[0, 0], [1, 2]]
    assert decoded[:, 1, 0].tolist() == [5, 5]
    assert np.abs(decoded).max() == 5


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a .flo file"),
        (b"PIEH", "not a .flo file"),
        (b"HEIP" + struct.pack("<iiff", 1, 1, 0, 0), "not a .flo file"),
        (encode_flo(random_flow())[:-1], "cut off: 627 bytes, expected 628 for 11×7 px"),
        (encode_flo(random_flow()) + b"\0", "too long: 629 bytes"),
        (b"PIEH" + struct.pack("<ii", 2**31 - 1, 2**31 - 1), "2147483647×2147483647 px, expected 1 to"),
        (b"PIEH" + struct.pack("<ii", -1, 4), "-1×4 px"),
        (b"PIEH" + struct.pack("<ii", 0, 4), "0×4 px"),
    ],
)
def test_flo_that_is_none_is_refused(data, said):
    with pytest.raises(DecodeError, match=said):
        decode_flo(data)


def test_kitti_of_known_vectors_on_paper(tmp_path):
    flow = np.array([[[0, 1.5, -20.25]], [[0, -1 / 64, 511.984375]]], np.float32)
    path = tmp_path / "a.png"
    path.write_bytes(encode_kitti(flow, np.array([[True, True, False]])))
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    # Blue, green, red: valid, y, x.
    assert image.dtype == np.uint16
    assert image[0].tolist() == [[1, 32768, 32768], [1, 32767, 32864], [0, 0, 0]]
    decoded, is_known = decode_kitti(path.read_bytes())
    assert is_known.tolist() == [[True, True, False]]
    np.testing.assert_array_equal(decoded[..., :2], flow[..., :2])
    assert decoded[..., 2].tolist() == [[0], [0]]


@given(st.integers(1, 2**16 - 1), st.integers(1, 2**16 - 1))
def test_kitti_gives_back_every_level(x_level, y_level):
    flow = ((np.array([[[x_level]], [[y_level]]]) - 2**15) / 64).astype(np.float32)
    np.testing.assert_array_equal(decode_kitti(encode_kitti(flow))[0], flow)


def test_kitti_clips_what_its_16_bits_do_not_hold():
    decoded, _ = decode_kitti(encode_kitti(np.array([[[-600.0]], [[600]]], np.float32)))
    assert decoded.ravel().tolist() == [-512, 511.984375]


def test_the_ground_truth_of_kitti_is_read(real_data):
    path = real_data / "truth/kitti/kitti_occ_000010_10.png"
    flow, is_known = decode_kitti(path.read_bytes())
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float64)
    np.testing.assert_array_equal(is_known, image[..., 0] == 1)
    np.testing.assert_array_equal(flow[0][is_known], ((image[..., 2] - 2**15) / 64)[is_known])
    np.testing.assert_array_equal(flow[1][is_known], ((image[..., 1] - 2**15) / 64)[is_known])


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint16), np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 4), np.uint16)]
)
def test_another_png_is_no_kitti_flow(image):
    with pytest.raises(DecodeError, match="expected three channels of 16 bits"):
        decode_kitti(cv2.imencode(".png", image)[1].tobytes())


def test_planes_are_what_opencv_reads_and_writes(tmp_path):
    plane = smooth_codes()[0]
    (tmp_path / "a.png").write_bytes(encode_plane(plane, "png"))
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED), plane)
    cv2.imwrite(str(tmp_path / "b.jpg"), plane)
    assert (tmp_path / "b.jpg").read_bytes() == encode_plane(plane, "jpg")
    decoded = decode_plane((tmp_path / "b.jpg").read_bytes())
    np.testing.assert_array_equal(decoded, cv2.imread(str(tmp_path / "b.jpg"), cv2.IMREAD_GRAYSCALE))
    assert np.abs(decoded.astype(int) - plane).max() <= 4
    np.testing.assert_array_equal(decode_plane(encode_plane(plane, "png")), plane)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_gray_in_three_channels_is_gray(suffix):
    plane = smooth_codes()[0]
    data = cv2.imencode(suffix, cv2.cvtColor(plane, cv2.COLOR_GRAY2BGR))[1].tobytes()
    decoded = decode_plane(data)
    assert decoded.shape == plane.shape
    assert np.abs(decoded.astype(int) - plane).max() <= (0 if suffix == ".png" else 4)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.arange(48, dtype=np.uint8).reshape(4, 4, 3), "in color"),
        (np.zeros((4, 4), np.uint16), "found 1 of 16 bits"),
        (np.zeros((4, 4, 4), np.uint8), "found 4 of 8 bits"),
    ],
)
def test_other_pictures_are_no_planes(image, said):
    with pytest.raises(DecodeError, match=said):
        decode_plane(cv2.imencode(".png", image)[1].tobytes())


def test_a_pair_is_red_x_green_y_blue_128(tmp_path):
    codes = smooth_codes()
    path = tmp_path / "a.png"
    path.write_bytes(encode_pair(codes, "png"))
    blue, green, red = np.moveaxis(cv2.imread(str(path)), -1, 0)
    np.testing.assert_array_equal(red, codes[0])
    np.testing.assert_array_equal(green, codes[1])
    assert (blue == 128).all()
    np.testing.assert_array_equal(decode_pair(path.read_bytes()), codes)


def test_a_pair_as_jpeg_is_off_by_three_codes_at_most():
    codes = smooth_codes()
    errors = np.abs(decode_pair(encode_pair(codes, "jpg", 100)).astype(int) - codes)
    assert errors.max() <= 3


def test_a_gray_picture_is_no_pair():
    with pytest.raises(DecodeError, match="expected three channels"):
        decode_pair(encode_plane(smooth_codes()[0], "jpg"))


@pytest.mark.parametrize("file_format", ["jpg", "png"])
def test_an_image_that_is_cut_off_anywhere_is_refused(file_format):
    data = encode_plane(smooth_codes()[0], file_format)
    for length in range(0, len(data) - 2, 7):
        with pytest.raises(DecodeError):
            decode_plane(data[:length])


def test_fill_bytes_and_lone_markers_of_a_jpeg_are_passed_over():
    plane = smooth_codes()[0]
    data = encode_plane(plane, "jpg")
    # ITU-T T.81 §B.1.1.2 lets any number of 0xFF stand before a marker, and TEM (0xFF01) stands alone.
    for between in (b"\xff", b"\xff\xff\xff", b"\xff\x01"):
        np.testing.assert_array_equal(decode_plane(data[:2] + between + data[2:]), decode_plane(data))


@pytest.mark.parametrize("file_format", ["jpg", "png"])
def test_a_picture_of_no_pixels_is_refused(file_format):
    with pytest.raises(ArgumentError, match="0×4 px cannot be encoded"):
        encode_plane(np.zeros((4, 0), np.uint8), file_format)


def test_any_flipped_bit_of_a_png_is_found():
    data = bytearray(encode_plane(smooth_codes(12, 16)[0], "png"))
    for at in range(len(data)):
        for bit in (0, 7):
            data[at] ^= 1 << bit
            with pytest.raises(DecodeError):
                decode_plane(bytes(data))
            data[at] ^= 1 << bit


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"PIEH", b"GIF89a"]))
def test_any_bytes_are_decoded_or_refused(data, beginning):
    for decode in (decode_plane, decode_pair, decode_kitti, decode_flo):
        with contextlib.suppress(DecodeError):
            decode(beginning + data)


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def huge_png():
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    end = png_chunk(b"IDAT", zlib.compress(b"\0")) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + end


def huge_jpeg():
    data = bytearray(encode_plane(np.zeros((8, 8), np.uint8), "jpg"))
    at = data.find(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    return bytes(data)


@pytest.mark.parametrize("data", [huge_png(), huge_jpeg()])
def test_an_absurd_size_is_refused_before_room_is_made(data):
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match=f"expected 1 to {MAX_PIXELS} pixels"):
            decode_plane(data)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()

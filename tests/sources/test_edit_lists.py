import struct

import pytest
from datasets import frames_of, video_bytes
from hypothesis import given
from hypothesis import strategies as st
from input_cases import encode, mp4_with_index_first

from flowstore.sources.edit_lists import shown_share


def share_of(tmp_path, data):
    path = tmp_path / "video.mp4"
    path.write_bytes(data)
    return shown_share(str(path))


@pytest.mark.parametrize("n_hidden", [1, 6, 14])
@pytest.mark.parametrize("audio", [False, True])
def test_frames_before_time_zero_are_hidden(tmp_path, n_hidden, audio):
    path = str(tmp_path / "video.mp4")
    encode(path, frames_of(15), times=list(range(-n_hidden, 15 - n_hidden)), options={"bf": "0"}, audio=audio)
    assert shown_share(path) == pytest.approx((15 - n_hidden) / 15, abs=0.01)


def test_a_file_without_edits_shows_all(tmp_path):
    assert share_of(tmp_path, mp4_with_index_first()) == 1.0
    assert share_of(tmp_path, video_bytes(6, suffix=".mp4")) == 1.0


def box(kind, content):
    return struct.pack(">I4s", 8 + len(content), kind) + content


def movie(elst, movie_scale=1000, media_scale=600, media_duration=6000):
    mvhd = box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, movie_scale, 9))
    mdhd = box(b"mdhd", struct.pack(">IIIII", 0, 0, 0, media_scale, media_duration))
    hdlr = box(b"hdlr", bytes(8) + b"vide" + bytes(12))
    return box(b"moov", mvhd + box(b"trak", box(b"edts", box(b"elst", elst)) + box(b"mdia", mdhd + hdlr)))


def test_short_and_long_entries_and_empty_edits(tmp_path):
    short = struct.pack(">II", 0, 2) + struct.pack(">IiI", 700, -1, 1 << 16) + struct.pack(">IiI", 2500, 0, 1 << 16)
    assert share_of(tmp_path, movie(short)) == 0.25
    long = struct.pack(">II", 1 << 24, 1) + struct.pack(">QqI", 5000, 100, 1 << 16)
    assert share_of(tmp_path, movie(long)) == 0.5


def test_boxes_of_long_sizes_and_one_that_goes_on_to_the_end(tmp_path):
    whole = movie(struct.pack(">IIIiI", 0, 1, 2500, 0, 1 << 16))
    long = struct.pack(">I4sQ", 1, b"moov", 8 + len(whole)) + whole[8:]
    assert share_of(tmp_path, long) == 0.25
    assert share_of(tmp_path, struct.pack(">I4sQ", 1, b"mdat", 16 + 9) + bytes(9) + whole) == 0.25
    assert share_of(tmp_path, struct.pack(">I4s", 0, b"moov") + whole[8:]) == 0.25
    # A size below that of its own header ends the walk.
    assert share_of(tmp_path, struct.pack(">I4s", 7, b"free") + whole) == 1.0


@given(st.binary(max_size=300), st.integers(0, 200))
def test_no_file_stops_it(tmp_path_factory, noise, at):
    path = tmp_path_factory.getbasetemp() / "noise.mp4"
    data = bytearray(movie(struct.pack(">IIIiI", 0, 1, 2500, 0, 1 << 16)))
    data[at : at + len(noise)] = noise
    path.write_bytes(data)
    assert 0 <= shown_share(str(path)) <= 1


def test_a_missing_file_shows_all():
    assert shown_share("/nowhere/video.mp4") == 1.0

"""Fingerprints: a copy is the same source, a changed one is not."""

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import SourceError
from flowstore.fingerprints import fingerprint, is_unchanged
from flowstore.model import Fingerprint
from flowstore.sources import VideoSource

SPAN = 64 * 1024
SIZES = (0, 1, SPAN - 1, SPAN, SPAN + 1, 2 * SPAN - 1, 2 * SPAN, 2 * SPAN + 1, 5 * SPAN)


def video(path) -> VideoSource:
    return VideoSource("class", "name", str(path), "class/name.avi", "video")


def frames(path) -> VideoSource:
    return VideoSource("class", "name", str(path), "class/name", "frames")


@pytest.fixture
def folder(tmp_path):
    """Three images, one flow image and a text file."""
    path = tmp_path / "frames"
    path.mkdir()
    for number in range(3):
        (path / f"img_{number}.jpg").write_bytes(bytes(10 + number))
    (path / "flow_x_0.jpg").write_bytes(b"flow")
    (path / "notes.txt").write_bytes(b"notes")
    return path


def content(size: int) -> bytes:
    return hashlib.shake_128(b"content").digest(size)


def set_mtime(path, mtime_ns: int) -> None:
    os.utime(path, ns=(0, mtime_ns))


@pytest.mark.parametrize("size", SIZES)
def test_a_file_is_its_size_its_time_and_a_digest_of_both_ends(tmp_path, size):
    path = tmp_path / "v.avi"
    path.write_bytes(content(size))
    set_mtime(path, 1_700_000_000_123_456_789)
    data = content(size)
    ends = data if size <= 2 * SPAN else data[:SPAN] + data[-SPAN:]
    digest = hashlib.blake2b(ends, digest_size=16).hexdigest()
    assert fingerprint(video(path)) == Fingerprint(size, os.stat(path).st_mtime_ns, digest)


@pytest.mark.parametrize("size", SIZES)
def test_a_copy_with_another_time_is_the_same(tmp_path, size):
    path = tmp_path / "v.avi"
    path.write_bytes(content(size))
    before = fingerprint(video(path))
    set_mtime(path, 12345)
    after = fingerprint(video(path))
    assert after.is_same(before)
    assert after != before
    assert is_unchanged(video(path), before)


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("end", ["head", "tail"])
@pytest.mark.parametrize("inside", [0, SPAN - 1])
def test_one_changed_byte_at_an_end_is_another_source(tmp_path, size, end, inside):
    path = tmp_path / "v.avi"
    path.write_bytes(content(size))
    before = fingerprint(video(path))
    changed = bytearray(content(size))
    inside = min(inside, size - 1)
    changed[inside if end == "head" else size - 1 - inside] ^= 1
    path.write_bytes(changed)
    set_mtime(path, before.mtime_ns + 1)
    assert not fingerprint(video(path)).is_same(before)
    assert not is_unchanged(video(path), before)


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_two_small_files_are_the_same_only_if_equal(tmp_path_factory, one, other):
    folder = tmp_path_factory.mktemp("small")
    (folder / "a.avi").write_bytes(one)
    (folder / "b.avi").write_bytes(other)
    a, b = fingerprint(video(folder / "a.avi")), fingerprint(video(folder / "b.avi"))
    assert a.is_same(b) == (one == other)


def test_size_and_time_spare_the_reading(tmp_path, monkeypatch):
    path = tmp_path / "v.avi"
    path.write_bytes(content(10))
    before = fingerprint(video(path))
    monkeypatch.setattr("builtins.open", None)
    assert is_unchanged(video(path), before)


def test_another_size_with_the_same_time_is_another_source(tmp_path):
    path = tmp_path / "v.avi"
    path.write_bytes(content(10))
    before = fingerprint(video(path))
    path.write_bytes(content(11))
    set_mtime(path, before.mtime_ns)
    assert not is_unchanged(video(path), before)


def test_a_folder_is_its_images(folder):
    set_mtime(folder / "img_0.jpg", 5_000_000_000)
    set_mtime(folder / "img_1.jpg", 9_000_000_000)
    set_mtime(folder / "img_2.jpg", 7_000_000_000)
    found = fingerprint(frames(folder))
    assert (found.size_bytes, found.mtime_ns) == (10 + 11 + 12, 9_000_000_000)
    assert is_unchanged(frames(folder), found)
    (folder / "flow_x_0.jpg").write_bytes(b"other flow")
    (folder / "notes.txt").unlink()
    assert fingerprint(frames(folder)) == found


def test_a_touched_folder_is_the_same(folder):
    before = fingerprint(frames(folder))
    set_mtime(folder / "img_1.jpg", 1)
    set_mtime(folder / "img_2.jpg", 2**40)
    assert fingerprint(frames(folder)).is_same(before)
    assert is_unchanged(frames(folder), before)


@pytest.mark.parametrize("change", ["renamed", "resized", "removed", "added", "swapped"])
def test_a_changed_folder_is_another_source(folder, change):
    before = fingerprint(frames(folder))
    first, second = folder / "img_0.jpg", folder / "img_1.jpg"
    if change == "renamed":
        first.rename(folder / "img_00.jpg")
    elif change == "resized":
        first.write_bytes(bytes(11))
    elif change == "removed":
        first.unlink()
    elif change == "added":
        (folder / "img_9.jpg").write_bytes(b"")
    else:
        first.rename(folder / "third")
        second.rename(first)
        (folder / "third").rename(second)
    assert not fingerprint(frames(folder)).is_same(before)
    assert not is_unchanged(frames(folder), before)


def test_a_name_that_is_not_utf8(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"1")
    digest = hashlib.blake2b(b"caf\xe9.jpg\x001\n", digest_size=16).hexdigest()
    assert fingerprint(frames(folder)).digest == digest


@pytest.mark.parametrize("make", [video, frames])
def test_a_missing_source(tmp_path, make):
    with pytest.raises(SourceError, match="No such file or directory"):
        fingerprint(make(tmp_path / "gone"))
    assert not is_unchanged(make(tmp_path / "gone"), Fingerprint(0, 0, ""))
    assert not is_unchanged(make(tmp_path / "gone"), None)


def test_an_image_that_vanishes_is_a_missing_source(folder):
    os.symlink("gone.jpg", folder / "img_3.jpg")
    with pytest.raises(SourceError, match="cannot be read: No such file or directory"):
        fingerprint(frames(folder))


def test_a_fifo_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.avi")
    with pytest.raises(SourceError, match="not a regular file"):
        fingerprint(video(tmp_path / "pipe.avi"))
    assert not is_unchanged(video(tmp_path / "pipe.avi"), Fingerprint(0, 0, ""))

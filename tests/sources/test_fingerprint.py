"""Recognizing a source again: every change of content that the fingerprint promises to see, and no other."""

import hashlib
import os
import shutil
from dataclasses import replace

import pytest

from flowstore.errors import SourceError
from flowstore.sources.fingerprint import Fingerprint, SourceFiles
from flowstore.sources.source import VideoSource

KIB64 = 65536


def video(path):
    return VideoSource("c", path.stem, str(path), path.name, "video")


def folder(path):
    return VideoSource("c", path.name, str(path), path.name, "frames")


def pattern(size):
    return hashlib.shake_128(b"seed").digest(size)


@pytest.fixture
def frames(tmp_path):
    path = tmp_path / "frames"
    path.mkdir()
    for number in (1, 2, 10):
        (path / f"img_{number}.jpg").write_bytes(pattern(100 + number))
    return path


def blake2b(data):
    return hashlib.blake2b(data, digest_size=32).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 5000, 2 * KIB64, 2**20, 2**20 + 1])
def test_the_digest_is_blake2b_of_all_contents(tmp_path, size):
    path = tmp_path / "a.avi"
    path.write_bytes(pattern(size))
    assert video(path).files().fingerprint() == Fingerprint(size, path.stat().st_mtime_ns, blake2b(pattern(size)))


@pytest.mark.parametrize("place", [0, 150_000, -1])
def test_a_changed_byte_is_seen(tmp_path, place):
    path = tmp_path / "a.avi"
    data = bytearray(pattern(300_000))
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    before = video(path).files().fingerprint()
    data[place] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(2, 2))
    assert not video(path).is_unchanged(before)
    assert not video(path).holds(before)
    # Where the time stamp was set back, only reading all of it tells.
    os.utime(path, ns=(1, 1))
    assert video(path).is_unchanged(before)
    assert not video(path).holds(before)


def test_a_copy_with_another_time_is_the_same_video(tmp_path):
    path = tmp_path / "a.avi"
    path.write_bytes(pattern(200_000))
    before = video(path).files().fingerprint()
    os.utime(path, ns=(5, 5))
    assert video(path).files().fingerprint() != before
    assert not video(path).is_untouched(before)
    assert video(path).is_unchanged(before)
    shutil.copy(path, tmp_path / "moved.avi")
    assert video(tmp_path / "moved.avi").is_unchanged(before)


def test_another_size_is_another_video_whatever_the_time(tmp_path):
    path = tmp_path / "a.avi"
    path.write_bytes(pattern(200_000))
    before = video(path).files().fingerprint()
    path.write_bytes(pattern(200_001))
    os.utime(path, ns=(before.mtime_ns, before.mtime_ns))
    assert not video(path).is_unchanged(before)


def test_sizes_and_times_decide_without_reading(tmp_path, frames, monkeypatch):
    path = tmp_path / "a.avi"
    path.write_bytes(pattern(200_000))
    before = [source.files().fingerprint() for source in (video(path), folder(frames))]

    def refuse(*_):
        raise AssertionError("a file was read")

    monkeypatch.setattr(SourceFiles, "fingerprint", refuse)
    monkeypatch.setattr(SourceFiles, "hold", refuse)
    assert video(path).is_unchanged(before[0])
    assert folder(frames).is_unchanged(before[1])


def test_a_folder_is_the_names_and_contents_of_its_files(frames):
    newest = 10**18
    os.utime(frames / "img_2.jpg", ns=(newest * 2, newest * 2))
    found = folder(frames).files().fingerprint()
    lines = b"".join(b"img_%d.jpg\0%d\n" % (n, 100 + n) + pattern(100 + n) for n in (1, 2, 10))
    assert (found.size_bytes, found.mtime_ns, found.digest) == (313, newest * 2, blake2b(lines))


def test_new_contents_of_the_same_size_in_a_folder_are_seen_whichever_file_is_the_newest(frames):
    for number in (1, 2, 10):
        os.utime(frames / f"img_{number}.jpg", ns=(10**18 + number, 10**18 + number))
    before = folder(frames).files().fingerprint()
    (frames / "img_1.jpg").write_bytes(b"x" * 101)
    # As an archive or a copy that keeps time stamps leaves it.
    os.utime(frames / "img_1.jpg", ns=(10**17, 10**17))
    assert not folder(frames).is_unchanged(before)
    (frames / "img_1.jpg").write_bytes(pattern(101))
    assert folder(frames).is_unchanged(before)
    assert not folder(frames).is_untouched(before)


@pytest.mark.parametrize("size", [0, 5000, 2 * KIB64 + 1, 500_000])
def test_what_an_earlier_release_recorded_still_recognizes_a_file(tmp_path, size):
    """Of the first and last 64 KiB; `is_unchanged` and `holds` compare what that tells."""
    path = tmp_path / "a.avi"
    data = pattern(size)
    path.write_bytes(data)
    covered = data if size <= 2 * KIB64 else data[:KIB64] + data[-KIB64:]
    recorded = Fingerprint(size, 5, hashlib.blake2b(covered, digest_size=16).hexdigest())
    assert video(path).is_unchanged(recorded)
    assert video(path).holds(recorded)
    path.write_bytes(data[:-1] + b"?" if data else b"?")
    assert not video(path).is_unchanged(recorded)


def test_what_an_earlier_release_recorded_still_recognizes_a_folder(frames):
    lines = b"".join(b"img_%d.jpg\0%d\n" % (number, 100 + number) for number in (1, 2, 10))
    recorded = Fingerprint(313, 5, hashlib.blake2b(lines, digest_size=16).hexdigest())
    assert folder(frames).is_unchanged(recorded)
    (frames / "img_2.jpg").rename(frames / "img_3.jpg")
    assert not folder(frames).is_unchanged(recorded)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: (path / "img_2.jpg").rename(path / "img_3.jpg"),
        lambda path: (path / "img_2.jpg").unlink(),
        lambda path: (path / "img_11.png").write_bytes(b"x"),
        lambda path: (path / "img_2.jpg").write_bytes(b"x" * 103),
        lambda path: [(path / f"img_{a}.jpg").write_bytes(b"x" * n) for a, n in ((1, 102), (2, 101))],
    ],
    ids=["renamed", "removed", "added", "longer", "sizes exchanged"],
)
def test_a_changed_folder_is_seen(frames, change):
    before = folder(frames).files().fingerprint()
    change(frames)
    assert not folder(frames).is_unchanged(before)


@pytest.mark.parametrize(
    "name", ["notes.txt", "flow_x_0001.jpg", "flow_y_0001.jpg", "flows/flow_x_0001.jpg", ".DS_Store", "._img_1.jpg"]
)
def test_what_is_no_frame_does_not_change_a_folder(frames, name):
    before = folder(frames).files().fingerprint()
    (frames / name).parent.mkdir(exist_ok=True)
    (frames / name).write_bytes(b"x")
    patterns = ("flow_x_([0-9]+).jpg", "flow_y_([0-9]+).jpg")
    assert replace(folder(frames), flow_patterns=patterns).is_unchanged(before)


def test_nothing_recorded_is_never_unchanged(frames):
    assert not folder(frames).is_unchanged(None)


def test_a_source_that_is_gone(tmp_path, frames):
    before = folder(frames).files().fingerprint()
    (frames / "img_2.jpg").unlink()
    (frames / "img_2.jpg").symlink_to("nowhere")
    for source in (video(tmp_path / "no.avi"), folder(tmp_path / "no"), folder(frames)):
        assert not source.is_unchanged(before)
        with pytest.raises(SourceError, match=r"cannot (be opened|be read|list folder).*No such file"):
            source.files().fingerprint()


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.avi")
    with pytest.raises(SourceError, match="not a regular file"):
        video(tmp_path / "pipe.avi").files().fingerprint()
    assert not video(tmp_path / "pipe.avi").is_unchanged(Fingerprint(0, 1, "aa"))


def test_names_that_are_not_utf_8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9")
    path.mkdir()
    (path / os.fsdecode(b"img_\xff.jpg")).write_bytes(b"abc")
    assert folder(path).files().fingerprint().digest == blake2b(b"img_\xff.jpg\x003\nabc")

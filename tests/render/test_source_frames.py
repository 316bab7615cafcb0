"""The frames of a stored video: the right ones, from a source that is the one extracted."""

import os

import cv2
import numpy as np
import pytest
from datasets import call, frames_of, write_frames, write_video

import flowstore
from flowstore.errors import DecodeError, SourceError
from flowstore.render import render_video
from flowstore.render.source_frames import find_source_frames


@pytest.fixture
def videos(tmp_path):
    write_video(tmp_path / "videos" / "c" / "film.avi", n_frames=8)
    (tmp_path / "videos" / "d").mkdir()
    write_frames(tmp_path / "videos" / "d" / "folder", n_frames=8, suffix=".png")
    return tmp_path / "videos"


def extract(videos, place, *options):
    assert call("extract", videos, place, "-q", *options).code == 0
    return flowstore.open_store(place)


def decoded(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        is_read, frame = capture.read()
        if not is_read:
            return frames
        frames.append(frame[..., ::-1])


def test_the_frames_of_a_video(videos, tmp_path):
    store = extract(videos, tmp_path / "flow.zarr")
    source_frames, note = find_source_frames(store["c/film"], videos)
    assert note == ""
    expected = decoded(videos / "c" / "film.avi")
    for numbers in ([0], [7], [2, 3, 6], range(8)):
        found = list(source_frames.read(numbers))
        assert len(found) == len(numbers)
        for frame, number in zip(found, numbers, strict=True):
            np.testing.assert_array_equal(frame, expected[number])


def test_the_frames_of_a_folder(videos, tmp_path):
    store = extract(videos, tmp_path / "flow.zarr")
    source_frames, _ = find_source_frames(store["d/folder"], videos)
    for frame, expected in zip(source_frames.read([1, 5]), frames_of(8)[[1, 5]], strict=True):
        np.testing.assert_array_equal(frame, expected[..., ::-1])


def test_a_thinned_video_is_thinned_alike(videos, tmp_path):
    # 10 frames a second to 5: every second one.
    store = extract(videos, tmp_path / "flow.zarr", "--fps", "5", "--include", "film")
    assert store["c/film"].n_flows == 3
    source_frames, _ = find_source_frames(store["c/film"], videos)
    expected = decoded(videos / "c" / "film.avi")[::2]
    for frame, wanted in zip(source_frames.read([0, 1, 3]), [expected[n] for n in (0, 1, 3)], strict=True):
        np.testing.assert_array_equal(frame, wanted)


def test_a_thinned_folder_is_thinned_alike(videos, tmp_path):
    options = ["--fps", "5", "--source-fps", "10", "--include", "folder"]
    store = extract(videos, tmp_path / "flow.zarr", *options)
    source_frames, _ = find_source_frames(store["d/folder"], videos)
    # Read anew each time.
    for _ in range(2):
        for frame, wanted in zip(source_frames.read([0, 1, 3]), frames_of(8)[[0, 2, 6]], strict=True):
            np.testing.assert_array_equal(frame, wanted[..., ::-1])


def test_a_source_that_is_too_short_is_an_error(videos, tmp_path):
    store = extract(videos, tmp_path / "flow.zarr")
    source_frames, _ = find_source_frames(store["c/film"], videos)
    with pytest.raises(DecodeError, match=r"film\.avi: ends after 8 frames, frame 9 is wanted"):
        list(source_frames.read([1, 9]))


def test_where_it_is_looked_for(videos, tmp_path, monkeypatch):
    store = extract(videos, tmp_path / "flow.zarr")
    monkeypatch.chdir("/")
    assert find_source_frames(store["c/film"])[0].path == str(videos / "c" / "film.avi")
    videos = videos.rename(videos.parent / "moved")
    source_frames, note = find_source_frames(store["c/film"])
    assert source_frames is None
    assert note == (
        "without frames: c/film.avi is not in the recorded source, this folder or beside the store; "
        "--source gives the folder that was extracted"
    )
    monkeypatch.chdir(videos)
    assert find_source_frames(store["c/film"])[0].path == str(videos / "c" / "film.avi")
    monkeypatch.chdir("/")
    beside = extract(videos, videos.parent / "beside" / "flow.zarr")
    (videos / "c").rename(videos.parent / "beside" / "c")
    assert find_source_frames(beside["c/film"])[1] == ""


def test_one_video_as_the_source(videos, tmp_path):
    path = videos / "c" / "film.avi"
    store = extract(path, tmp_path / "flow.zarr")
    for place in (path, None):
        assert find_source_frames(store["unlabeled/film"], place)[0].path == str(path)


def test_a_list_file_as_the_source(videos, tmp_path, monkeypatch):
    (videos / "chosen.txt").write_text("c/film.avi\n")
    store = extract(videos / "chosen.txt", tmp_path / "away" / "flow.zarr")
    monkeypatch.chdir("/")
    assert find_source_frames(store["c/film"])[0].path == str(videos / "c" / "film.avi")


def test_another_file_of_that_name_is_not_shown(videos, tmp_path, monkeypatch):
    store = extract(videos, tmp_path / "flow.zarr")
    write_video(videos / "c" / "film.avi", n_frames=8, seed=5)
    with pytest.raises(SourceError, match=r"SOURCE .*videos: .*film\.avi is not the source that was extracted"):
        find_source_frames(store["c/film"], videos)
    monkeypatch.chdir(videos)
    source_frames, note = find_source_frames(store["c/film"])
    assert source_frames is None
    assert "film.avi is not the source that was extracted, it differs" in note


def test_a_source_that_holds_no_such_video_is_refused(videos, tmp_path):
    store = extract(videos, tmp_path / "flow.zarr")
    with pytest.raises(SourceError, match=r"SOURCE .*: c/film\.avi is not in it"):
        find_source_frames(store["c/film"], tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".gif", ".mp4"])
@pytest.mark.parametrize("style", ["color", "arrows", "planes"])
def test_pictures_with_frames(videos, tmp_path, suffix, style):
    store = extract(videos, tmp_path / "flow.zarr")
    with_frames = render_video(store["c/film"], tmp_path / f"a{suffix}", style=style, source=videos)
    assert with_frames.notes == ()
    videos.rename(tmp_path / "moved")
    without = render_video(store["c/film"], tmp_path / f"b{suffix}", style=style)
    assert len(without.notes) == 1
    assert (with_frames.width > without.width) == (style != "arrows")


def test_the_frame_stands_beside_its_flow(videos, tmp_path):
    store = extract(videos, tmp_path / "flow.zarr")
    render_video(store["c/film"], tmp_path / "a.png", frame=4, zoom=1, source=videos)
    picture = cv2.imread(str(tmp_path / "a.png"))[..., ::-1]
    frame = decoded(videos / "c" / "film.avi")[4]
    difference = cv2.matchTemplate(picture.astype(np.float32), frame.astype(np.float32), cv2.TM_SQDIFF)
    top, left = np.unravel_index(difference.argmin(), difference.shape)
    np.testing.assert_array_equal(picture[top : top + frame.shape[0], left : left + frame.shape[1]], frame)


def test_frames_that_cannot_be_decoded_end_the_film_and_leave_nothing(videos, tmp_path):
    store = extract(videos, tmp_path / "flow.zarr")
    path = videos / "c" / "film.avi"
    before, data = path.stat(), path.read_bytes()
    # What follows the third frame is gone; size and time are those that were recorded.
    third = [place for place in range(len(data)) if data[place : place + 4] == b"00dc"][3]
    path.write_bytes(data[:third].ljust(len(data), b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for name in ("film.mp4", "film.gif", "film.png"):
        done = call("render", f"{store.url}/c/film", "-o", tmp_path / name, "--source", videos)
        assert done.code == 1
        assert "the frames of the source cannot be shown: " in done.err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["flow.zarr", "videos"]

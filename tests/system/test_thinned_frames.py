"""A folder of frames is thinned as a video file of its rate is, and whatever goes back to its frames finds the same."""

import math
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from synthetic import write_frames
from torch_tests import import_torch

import flowstore
from flowstore.pipeline import extract
from flowstore.render.source_frames import find_source_frames
from flowstore.verify import verify

import_torch()

from flowstore.loaders import FlowClips  # noqa: E402

pytestmark = pytest.mark.system

N_FRAMES = 40


def write_lossless(path, frames):
    """Write BGR frames as a video of 30 frames per second whose stamps are whole frames."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=30)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "bgr0"
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, "bgr24").reformat(format="bgr0")
            picture.pts, picture.time_base = number, Fraction(1, 30)
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))


@pytest.fixture(scope="module")
def frames(real_data):
    capture = cv2.VideoCapture(str(real_data / "videos/SoccerJuggling/v_SoccerJuggling_g23_c01.avi"))
    return np.stack([capture.read()[1][::2, ::2] for _ in range(N_FRAMES)])


@pytest.fixture(scope="module")
def videos(frames, tmp_path_factory):
    root = tmp_path_factory.mktemp("thinned") / "videos"
    write_frames(root / "c/folder", frames, "img_{:05d}.png")
    write_lossless(root / "c/film.avi", frames)
    return root


@pytest.mark.parametrize("fps", [10, 12.5, 7, 24, 60])
def test_a_folder_of_frames_is_thinned_as_the_video_of_its_frames(frames, videos, tmp_path, fps):
    place = tmp_path / "s.zarr"
    assert extract(videos, place, fps=fps, source_fps=30, engine="opencv", scheduler="sync").is_all_well
    # In exact arithmetic: the nearest to tick k, the later of two that are as near.
    nearest = [math.floor(k * 30 / Fraction(fps) + Fraction(1, 2)) for k in range(2 * N_FRAMES)]
    taken = sorted({number for number in nearest if number < N_FRAMES})
    store = flowstore.open_store(place)
    folder, film = store["c/folder"], store["c/film"]
    np.testing.assert_array_equal(folder.codes[:], film.codes[:])
    for record in (folder.record, film.record):
        assert record.frame_numbers == tuple(taken)
        assert (record.fps, record.times_s) == (min(fps, 30), ())
    assert folder.record.flow_times_s == film.record.flow_times_s
    dataset = FlowClips(place, 1, sampling="all", frames=videos, return_info=True)
    assert len(dataset) == 2 * (len(taken) - 1)
    for number in range(len(dataset)):
        (rgb, _), _, info = dataset[number]
        flow = number % (len(taken) - 1)
        assert int(info["frames"]) == taken[flow]
        np.testing.assert_array_equal(rgb.permute(1, 2, 0), frames[taken[flow], ..., ::-1])
    for video in (folder, film):
        source_frames, note = find_source_frames(video, videos)
        assert note == ""
        for found, expected in zip(source_frames.read(range(len(taken))), frames[taken], strict=True):
            np.testing.assert_array_equal(found, expected[..., ::-1])
    report = verify(place, source=videos, deep=True)
    assert report.is_all_well
    assert report.notes == ("2 videos extracted again: the flow of 2 is the same to the last bit",)

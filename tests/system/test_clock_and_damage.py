"""A dataset of variable rates and damaged files: what is stored of each, what is said, what is tried again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from datasets import call, frames_of, process_environment
from video_files import encode, make

import flowstore

pytestmark = pytest.mark.system

# Two seconds of 60 frames per second, then two of 15; the scene moves 15 pixels per second.
TIMES = [*range(120), *range(120, 240, 4)]


def textures():
    wide = frames_of(60, 320, 48)[0]
    smooth = np.stack([np.interp(np.arange(1280) / 4, np.arange(320), wide[:, :, 0][row]) for row in range(48)])
    return [np.repeat(smooth[:, time : time + 640 : 4, None], 3, axis=2).astype(np.uint8) for time in TIMES]


def write(folder, name, data):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


@pytest.fixture(scope="module")
def variable(tmp_path_factory):
    folder = tmp_path_factory.mktemp("variable") / "videos" / "c"
    folder.mkdir(parents=True)
    for suffix, container in (("mp4", "mp4"), ("mkv", "matroska")):
        path = folder / f"{suffix}.{suffix}"
        encode(path, textures(), container, "libx264", rate=60, times=TIMES, options={"crf": "5", "bf": "0"})
    return folder.parent


@pytest.mark.parametrize("name", ["mp4", "mkv"])
def test_frames_are_thinned_by_their_time(variable, tmp_path, name):
    call("extract", variable, tmp_path / "s.zarr", "--fps", "15", "--dtype", "float16", "--engine", "opencv")
    video = flowstore.open_store(tmp_path / "s.zarr")["c"][name]
    assert (video.n_flows, video.fps, video.record.times_s) == (59, 15.0, ())
    # One pixel from tick to tick, where the camera was fast and where it was slow.
    for part in (video[:25], video[35:]):
        assert np.median(part[:, 0, 8:-8, 20:-20]) == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize("name", ["mp4", "mkv"])
def test_a_variable_rate_is_recorded_and_used(variable, tmp_path, name):
    call("extract", variable, tmp_path / "s.zarr", "--engine", "opencv")
    video = flowstore.open_store(tmp_path / "s.zarr")["c"][name]
    expected = np.array(TIMES) / 60
    np.testing.assert_allclose(video.record.times_s, expected, atol=2e-3)
    np.testing.assert_allclose(video.to_xarray().time, expected[:-1], atol=2e-3)
    assert np.isnan(flowstore.open_store(tmp_path / "s.zarr").flows.to_pandas().time_s).all()
    assert "(variable rate)" in call("info", f"{tmp_path / 's.zarr'}/c/{name}").out
    film = tmp_path / "film.mp4"
    assert call("render", f"{tmp_path / 's.zarr'}/c/{name}", "-o", film, "--start", "110", "--stop", "130").code == 0
    with av.open(str(film)) as file:
        shown = [frame.time for frame in file.decode(video=0)]
    np.testing.assert_allclose(np.diff(shown), np.diff(expected[110:130]), atol=2e-3)


def test_damage_is_a_failed_row_and_is_kept_up_to_it_if_asked(tmp_path):
    made = make("mkv", "hole")
    write(tmp_path / "videos" / "c", "hurt.mkv", made.data)
    write(tmp_path / "videos" / "c", "whole.mkv", make("mkv", "whole").data)
    store = tmp_path / "s.zarr"
    first = call("extract", tmp_path / "videos", store, "--engine", "opencv")
    assert first.code == 1
    record = flowstore.open_store(store)["c/hurt"].record
    assert record.reason.startswith("damaged at 0.73 of 1.33 s: ")
    assert {"av", "libavcodec"} <= record.versions.keys()
    # Nothing has changed: it is not tried again unless it is asked for.
    assert "1 failed before" in call("extract", tmp_path / "videos", store).err
    kept = call("extract", tmp_path / "videos", store, "--keep-damaged", "--retry-failed")
    assert kept.code == 0
    video = flowstore.open_store(store)["c/hurt"]
    assert 18 < video.n_flows < 24
    assert video.record.damage == record.reason
    whole = flowstore.open_store(store)["c/whole"]
    np.testing.assert_array_equal(video.codes[:], whole.codes[: video.n_flows])
    assert record.reason in call("info", f"{store}/c/hurt").out
    verified = call("verify", store, "--source", tmp_path / "videos", "--deep")
    assert verified.code == 0
    assert record.reason in verified.out + verified.err
    assert "nothing to do" in call("extract", tmp_path / "videos", store).out


def test_repair_makes_the_flow_of_a_kept_damaged_video_again(tmp_path):
    write(tmp_path / "videos" / "c", "hurt.mkv", make("mkv", "hole").data)
    store = tmp_path / "s.zarr"
    assert call("extract", tmp_path / "videos", store, "--engine", "opencv", "--keep-damaged").code == 0
    before = flowstore.open_store(store)["c/hurt"]
    codes = before.codes[:]
    chunk = next(path for path in Path(store, "c", "hurt", "flow").iterdir() if path.name != "zarr.json")
    chunk.write_bytes(b"x" * 8 + chunk.read_bytes()[8:])
    assert call("verify", store).code == 1
    assert call("verify", store, "--repair", "--source", tmp_path / "videos").code == 0
    after = flowstore.open_store(store)["c/hurt"]
    assert after.record.damage == before.record.damage
    np.testing.assert_array_equal(after.codes[:], codes)


def rewrite_record(store, change):
    path = Path(store, "c", "hurt", "zarr.json")
    document = json.loads(path.read_text())
    change(document["attributes"]["flowstore"])
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("change", ["decoder", "time stamp"])
def test_a_failed_row_is_tried_again_when_its_decoder_or_its_file_is_another(tmp_path, change):
    path = tmp_path / "videos" / "c" / "hurt.mkv"
    write(path.parent, path.name, make("mkv", "cut").data)
    write(path.parent, "whole.mkv", make("mkv", "whole").data)
    store = tmp_path / "s.zarr"
    call("extract", tmp_path / "videos", store, "--engine", "opencv")
    if change == "decoder":
        rewrite_record(store, lambda record: record["versions"].pop("av"))
    else:
        os.utime(path, ns=(5, 5))
    again = call("extract", tmp_path / "videos", store)
    assert "1 changed since" in again.err
    assert "1 failed" in again.out


def test_a_machine_without_file_handles_fails_no_video(tmp_path):
    folder = tmp_path / "videos" / "c"
    for number in range(2):
        write(folder, f"v{number}.mkv", make("mkv", "whole").data)
    code = (
        "import errno, sys\n"
        "import flowstore.sources.containers as containers\n"
        "def none_left(path, *_):\n"
        "    raise OSError(errno.EMFILE, 'Too many open files', path)\n"
        "containers.os.open = none_left\n"
        "from flowstore.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "extract", folder.parent, tmp_path / "s.zarr", "--engine", "opencv", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, env=process_environment())
    assert done.returncode == 2
    assert "Too many open files" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(Path(tmp_path / "s.zarr").glob("c/*/zarr.json"))
    assert call("extract", folder.parent, tmp_path / "s.zarr", "--engine", "opencv").code == 0


def test_a_decoder_that_cannot_be_loaded_ends_the_run_before_any_work(tmp_path):
    write(
        tmp_path / "broken" / "av", "__init__.py", b'raise ImportError("libavcodec.so: cannot open shared object file")'
    )
    write(tmp_path / "videos" / "c", "v.mkv", make("mkv", "whole").data)
    environment = process_environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "broken"), environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "flowstore", "extract", tmp_path / "videos", tmp_path / "s.zarr"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "PyAV, which decodes videos, cannot be loaded (libavcodec.so" in done.stderr
    assert not (tmp_path / "s.zarr").exists()

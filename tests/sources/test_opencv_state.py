"""OpenCV in the caller's process: its threads and its log are what they were when an operation has ended."""

import threading

import cv2
import pytest
from datasets import write_dataset

from flowstore.export import export
from flowstore.pipeline import extract
from flowstore.sources.images import configured_opencv

LOGGING = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging


def state():
    return cv2.getNumThreads(), LOGGING.getLogLevel()


@pytest.fixture(params=[(2, 3), (1, 5)])
def before(request):
    kept = state()
    cv2.setNumThreads(request.param[0])
    LOGGING.setLogLevel(request.param[1])
    yield request.param
    cv2.setNumThreads(kept[0])
    LOGGING.setLogLevel(kept[1])


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_an_operation_puts_it_back(tmp_path, before, scheduler):
    write_dataset(tmp_path / "videos", n_videos=2)
    (tmp_path / "videos/wave/broken.avi").write_bytes(b"RIFF no video")
    extract(tmp_path / "videos", tmp_path / "s.zarr", engine="opencv", scheduler=scheduler, workers=2)
    assert state() == before
    export(tmp_path / "s.zarr", tmp_path / "out", scheduler=scheduler, workers=2)
    assert state() == before


def test_the_last_of_several_at_once_puts_it_back(before):
    entered, leave = threading.Barrier(3), threading.Event()

    def work():
        with configured_opencv():
            entered.wait(60)
            leave.wait(60)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    entered.wait(60)
    assert state() == (1, 0)
    with pytest.raises(KeyError), configured_opencv():
        raise KeyError
    assert state() == (1, 0)
    leave.set()
    for thread in threads:
        thread.join()
    assert state() == before

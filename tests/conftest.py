"""What every test may ask for: the real clips, one OpenCV thread, no deadline for hypothesis on a busy machine."""

import os
import signal
from pathlib import Path

import cv2
import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts tests in the background has Ctrl-C ignored, by every process that they start too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("flowstore", deadline=None, print_blob=True)
settings.load_profile("flowstore")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real clips that FLOWSTORE_DATA names."""
    folder = os.environ.get("FLOWSTORE_DATA")
    if not folder:
        pytest.skip("FLOWSTORE_DATA is not set")
    assert Path(folder, "videos").is_dir(), f"FLOWSTORE_DATA is {folder}, which holds no folder 'videos'"
    return Path(folder)


@pytest.fixture
def one_opencv_thread():
    """Keep OpenCV to the calling thread, as the tasks do, and set it back."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)

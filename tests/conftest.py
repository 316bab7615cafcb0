"""What every test may ask for: the real clips, one OpenCV thread, no deadline for hypothesis on a busy machine."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import uuid
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


@pytest.fixture(scope="session")
def s3_server():
    """Return the URL of a real S3 server on loopback, in a process of its own."""
    for name in ("moto.server", "s3fs"):
        if importlib.util.find_spec(name.partition(".")[0]) is None:
            pytest.skip(f"{name} is not installed, so nothing is tested against S3: pip install 'flowstore[test]'")
    from s3_server import running_server

    with running_server() as url:
        yield url


@pytest.fixture
def s3(s3_server, monkeypatch):
    """Return the URL of an empty place on the S3 server, which the environment names."""
    from s3_server import BUCKET, CREDENTIALS

    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": s3_server}.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def guest_estimator(tmp_path_factory) -> Path:
    """The folder into which the example package of an estimator was installed, as a distribution of its own."""
    folder = tmp_path_factory.mktemp("guest")
    # Built from a copy: several test processes may build at once.
    shutil.copytree(Path(__file__).parents[1] / "examples" / "guest_estimator", folder / "source")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        folder / "site",
        folder / "source",
    ]
    subprocess.run(command, check=True)
    return folder / "site"


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels():
    """Have every kernel in the cache before the first test: what a command says does not hang on which comes first."""
    from flowstore.estimators import compile_engine
    from flowstore.quantize.encoder import compile_loops

    compile_engine("numba")
    compile_loops(is_choosing=True)

"""What all tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def real_data() -> Path:
    """Return the folder of real clips."""
    if "FLOWSTORE_DATA" not in os.environ:
        pytest.skip("FLOWSTORE_DATA is not set: no real clips")
    return Path(os.environ["FLOWSTORE_DATA"])

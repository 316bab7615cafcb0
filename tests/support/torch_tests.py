"""Whether tests that need torch run: on Python 3.11, where the test extra installs it, they do or they fail."""

import sys

import pytest


def import_torch():
    """Return torch; skip only above Python 3.11, where ``flowstore[test]`` does not install it."""
    if sys.version_info >= (3, 12):
        return pytest.importorskip("torch", reason="flowstore[test] installs torch on Python 3.11 only")
    import torch

    return torch

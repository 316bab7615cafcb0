"""Whether tests that need torch run: on Python 3.11, where the test extra installs it, they do or they fail."""

import contextlib
import sys

import pytest


def import_torch():
    """Return torch; skip only above Python 3.11, where ``flowstore[test]`` does not install it."""
    if sys.version_info >= (3, 12):
        return pytest.importorskip("torch", reason="flowstore[test] installs torch on Python 3.11 only")
    import torch

    return torch


def import_torchvision():
    """Return torchvision; skip only where ``flowstore[test]`` does not install it.

    Its own operators cannot be loaded beside a torch that was built for other hardware, and without the names of two of
    them it cannot be imported. RAFT needs none.
    """
    torch = import_torch()
    if sys.version_info >= (3, 12):
        return pytest.importorskip("torchvision", reason="flowstore[test] installs torchvision on Python 3.11 only")
    try:
        import torchvision
    except RuntimeError:
        for name in ("nms", "qnms"):
            with contextlib.suppress(RuntimeError):
                torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float limit) -> Tensor")
        import torchvision
    return torchvision

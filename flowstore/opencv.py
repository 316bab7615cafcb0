"""OpenCV, imported when it is first used: what reads a store needs none of it.

Owns the import of cv2 and what is said where that fails. Every other module takes `cv2` from here.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

from flowstore.errors import MissingExtraError

_HEADLESS = "opencv-python-headless"


@functools.cache
def _load() -> Any:
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        remedy = f"pip install {_HEADLESS}"
        if ".so" in str(error):
            # A wheel with windows, on a machine without a screen.
            remedy = (
                "install the system's library (libgl1 on Debian and Ubuntu), "
                f"or pip uninstall opencv-python && {remedy}, which needs none"
            )
        raise MissingExtraError(f"OpenCV cannot be loaded ({error}): {remedy}") from error


class _OpenCV:
    """Stands for the module `cv2`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_load(), name)


if TYPE_CHECKING:
    import cv2
else:
    cv2 = _OpenCV()


def check_opencv() -> None:
    """Refuse work that needs OpenCV where it cannot be loaded.

    Raises
    ------
    MissingExtraError
        If it cannot; the message names the ways out.
    """
    _load()


def has_opencv() -> bool:
    """Tell whether OpenCV can be loaded."""
    try:
        _load()
    except MissingExtraError:
        return False
    return True


def opencv_versions() -> dict[str, str]:
    """Return the version of OpenCV; nothing where it cannot be loaded."""
    return {"opencv": cv2.__version__} if has_opencv() else {}


__all__ = ["check_opencv", "cv2", "has_opencv", "opencv_versions"]

"""OpenCV, imported when it is first used: what reads a store needs none of it.

Owns the import of cv2 and what is said where that fails. Every other module takes `cv2` from here.
"""

from __future__ import annotations

import functools
import importlib
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING, Any

from flowstore.errors import MissingExtraError

# All four bring the module cv2, so that any of them serves, and two in one place overwrite each other.
_PACKAGES = ("opencv-python", "opencv-contrib-python", "opencv-python-headless", "opencv-contrib-python-headless")


@functools.cache
def _load() -> Any:
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        remedy = replace_command(is_headless=True)
        if ".so" in str(error):
            # A wheel with windows, on a machine without a screen.
            remedy = (
                "install the system's libraries (libgl1 and libglib2.0-0 on Debian and Ubuntu), "
                f"or {remedy}, which needs none"
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


def replace_command(is_contrib: bool = False, is_headless: bool = False) -> str:
    """Return the command that installs an OpenCV with contrib modules, or without windows, in place of what is there.

    It keeps what the one there has: its contrib modules, its lack of windows.
    """
    found = [name for name in _PACKAGES if _is_installed(name)]
    wanted = "opencv-contrib-python" if is_contrib or any("contrib" in name for name in found) else "opencv-python"
    if is_headless or (found and all("headless" in name for name in found)):
        wanted += "-headless"
    return (f"pip uninstall -y {' '.join(found)} && " if found else "") + f"pip install {wanted}"


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


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


__all__ = ["check_opencv", "cv2", "has_opencv", "opencv_versions", "replace_command"]

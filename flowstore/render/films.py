"""Writing a film picture by picture: `.mp4` by OpenCV, `.gif` by Pillow. Holds one picture; whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import IO, Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from flowstore.errors import ExportError, MissingExtraError
from flowstore.storage.atomic import making_path

Image = npt.NDArray[np.uint8]

FILM_SUFFIXES = (".gif", ".mp4")
# Players show pictures of a shorter time than this as slow ones.
_GIF_SHORTEST_CS = 2
# An application extension: play for ever.
_GIF_LOOP = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"


class FilmWriter(Protocol):
    """A film that is being written."""

    def write(self, picture: Image) -> None:
        """Append a picture, uint8 (H, W, 3), red, green, blue; all of one size, both sides even."""
        ...


def check_film_library(suffix: str) -> None:
    """Raise unless films of a suffix can be written here.

    Raises
    ------
    MissingExtraError
        If a library is missing.
    """
    if suffix == ".gif":
        _import_pillow()


def fastest_fps(suffix: str) -> float:
    """Return the highest frame rate that a film of a suffix keeps."""
    return 100 / _GIF_SHORTEST_CS if suffix == ".gif" else 1000.0


@contextlib.contextmanager
def open_film(path: str, height: int, width: int, fps: float) -> Iterator[FilmWriter]:
    """Open a film for writing; it appears under its name when the context is left without an error.

    Parameters
    ----------
    path : str
        Ends in ``.gif`` or ``.mp4``.
    height, width : int
        Of each picture, in pixels; even.
    fps : float
        Pictures a second.

    Yields
    ------
    FilmWriter

    Raises
    ------
    ExportError
        If the file cannot be written, or was not written whole.
    MissingExtraError
        If a library is missing.
    """
    suffix = os.path.splitext(path)[1].lower()
    # OpenCV chooses the container by the suffix.
    partial = making_path(path) + suffix
    try:
        with _open_gif(partial, fps) if suffix == ".gif" else _open_mp4(partial, height, width, fps) as writer:
            yield writer
        os.replace(partial, path)
    except OSError as error:
        if isinstance(error, ExportError) or error.strerror is None:
            raise
        raise ExportError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)


class _Mp4Writer:
    """MPEG-4 Part 2, which every build of OpenCV can write."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self.n_written = 0

    def write(self, picture: Image) -> None:
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self.n_written += 1


@contextlib.contextmanager
def _open_mp4(path: str, height: int, width: int, fps: float) -> Iterator[FilmWriter]:
    # OpenCV says neither why a file cannot be opened nor that the disk is full.
    open(path, "wb").close()
    writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height))
    film = _Mp4Writer(writer)
    try:
        if not writer.isOpened():
            raise ExportError(f"OpenCV cannot write an .mp4 of {width}x{height} at {fps:g} fps")
        yield film
    finally:
        writer.release()
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    n_found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    if n_found != film.n_written:
        raise ExportError(f"{n_found} of {film.n_written} pictures were written: free some room and try again")


class _GifWriter:
    """Pictures with a palette of 256 colors each, one block of the file after the other.

    Notes
    -----
    Pillow's own way to save several pictures keeps all of them; so each is encoded by Pillow and written at once.

    References
    ----------
    Graphics Interchange Format, version 89a, §17 to §27.
    """

    def __init__(self, file: IO[bytes], fps: float) -> None:
        self._file = file
        self._fps = fps
        self._n_written = 0

    def write(self, picture: Image) -> None:
        from PIL import Image as PillowImage
        from PIL.GifImagePlugin import getdata

        if self._n_written == 0:
            height, width = picture.shape[:2]
            # The screen's size; no palette for all, no background, square pixels.
            sizes = width.to_bytes(2, "little") + height.to_bytes(2, "little")
            self._file.write(b"GIF89a" + sizes + b"\x70\x00\x00" + _GIF_LOOP)
        # Palettes by frequency leave few colors to the wheel, which is small; this one spreads them. Every third pixel
        # gives as good a palette as all do, five times as fast.
        sample = PillowImage.fromarray(np.ascontiguousarray(picture[::3, ::3]))
        palette = sample.quantize(256, PillowImage.Quantize.MAXCOVERAGE)
        image = PillowImage.fromarray(picture).quantize(palette=palette, dither=PillowImage.Dither.NONE)
        times_cs = [round(100 * number / self._fps) for number in (self._n_written, self._n_written + 1)]
        duration_cs = max(_GIF_SHORTEST_CS, times_cs[1] - times_cs[0])
        for block in getdata(image, duration=10 * duration_cs, include_color_table=True):
            self._file.write(block)
        self._n_written += 1


@contextlib.contextmanager
def _open_gif(path: str, fps: float) -> Iterator[FilmWriter]:
    _import_pillow()
    with open(path, "wb") as file:
        yield _GifWriter(file, fps)
        file.write(b"\x3b")


def _import_pillow() -> None:
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "a .gif needs Pillow: pip install 'flowstore[notebook]'; an .mp4 needs nothing more"
        ) from error

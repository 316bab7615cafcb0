"""Writing a film picture by picture: `.mp4` by PyAV, `.gif` by Pillow. Holds one picture; whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import IO, Protocol, cast

import av
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from av.video.stream import VideoStream

from flowstore.errors import ExportError, MissingExtraError
from flowstore.storage.atomic import making_path

Image = npt.NDArray[np.uint8]

FILM_SUFFIXES = (".gif", ".mp4")
# Players show pictures of a shorter time than this as slow ones.
_GIF_SHORTEST_CS = 2
# An application extension: play for ever.
_MP4_TICK = Fraction(1, 90_000)
_ENCODERS = {"libx264": {"crf": "18", "preset": "veryfast"}, "libopenh264": {}, "libvpx-vp9": {"crf": "24", "b": "0"}}
_GIF_LOOP = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"


class FilmWriter(Protocol):
    """A film that is being written."""

    def write(self, picture: Image, shown_s: float | None = None) -> None:
        """Append a picture, uint8 (H, W, 3), red, green, blue; all of one size, both sides even.

        It is shown for so many seconds, by default as the film's frame rate has it.
        """
        ...


def check_film_library(suffix: str) -> None:
    """Raise unless films of a suffix can be written here."""
    if suffix == ".gif":
        _import_pillow()


def fastest_fps(suffix: str) -> float:
    """Return the highest frame rate that a film of a suffix keeps."""
    return 100 / _GIF_SHORTEST_CS if suffix == ".gif" else 1000.0


@contextlib.contextmanager
def open_film(path: str, height: int, width: int, fps: float) -> Iterator[FilmWriter]:
    """Open a film for writing; it appears under its name when the context is left without an error."""
    suffix = os.path.splitext(path)[1].lower()
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
    """Pictures to a video encoder, each at its time."""

    def __init__(self, file: OutputContainer, stream: VideoStream, fps: float) -> None:
        self._file = file
        self._stream = stream
        self._interval_s = 1 / fps
        self._time_s = 0.0

    def write(self, picture: Image, shown_s: float | None = None) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
        frame.pts, frame.time_base = round(self._time_s / _MP4_TICK), _MP4_TICK
        self._file.mux(self._stream.encode(frame))
        self._time_s += self._interval_s if shown_s is None else shown_s


@contextlib.contextmanager
def _open_mp4(path: str, height: int, width: int, fps: float) -> Iterator[FilmWriter]:
    codec, options = _video_encoder()
    # The index first: a browser begins to play before it has the file.
    with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as file:
        rate = Fraction(fps).limit_denominator(1001)
        stream = cast(VideoStream, file.add_stream(codec, rate=rate, options=options))
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.thread_count = 1
        stream.time_base = stream.codec_context.time_base = _MP4_TICK
        yield _Mp4Writer(file, stream, fps)
        file.mux(stream.encode(None))


def _video_encoder() -> tuple[str, dict[str, str]]:
    """Return an encoder whose films browsers play: H.264, or VP9 where FFmpeg was built without it."""
    for codec, options in _ENCODERS.items():
        with contextlib.suppress(ValueError):
            av.Codec(codec, "w")
            return codec, options
    raise ExportError(f"FFmpeg {av.ffmpeg_version_info} has none of the encoders {', '.join(_ENCODERS)}: use a .gif")


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
        self._interval_s = 1 / fps
        self._time_s = 0.0
        self._has_begun = False

    def write(self, picture: Image, shown_s: float | None = None) -> None:
        from PIL import Image as PillowImage
        from PIL.GifImagePlugin import getdata

        if not self._has_begun:
            height, width = picture.shape[:2]
            # The screen's size; no palette for all, no background, square pixels.
            sizes = width.to_bytes(2, "little") + height.to_bytes(2, "little")
            self._file.write(b"GIF89a" + sizes + b"\x70\x00\x00" + _GIF_LOOP)
        # Palettes by frequency leave few colors to the wheel, which is small; this one spreads them. Every third pixel
        # gives as good a palette as all do, five times as fast.
        sample = PillowImage.fromarray(np.ascontiguousarray(picture[::3, ::3]))
        palette = sample.quantize(256, PillowImage.Quantize.MAXCOVERAGE)
        image = PillowImage.fromarray(picture).quantize(palette=palette, dither=PillowImage.Dither.NONE)
        end_s = self._time_s + (self._interval_s if shown_s is None else shown_s)
        duration_cs = max(_GIF_SHORTEST_CS, round(100 * end_s) - round(100 * self._time_s))
        for block in getdata(image, duration=10 * duration_cs, include_color_table=True):
            self._file.write(block)
        self._time_s, self._has_begun = end_s, True


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

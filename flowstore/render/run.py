"""Flow as picture and film files: which flows, at what rate, into what file. What they show is `video_pictures`."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from flowstore.arguments import check_path, our_spelling
from flowstore.errors import ArgumentError, DecodeError, ExportError
from flowstore.jobs.operation import Operation
from flowstore.jobs.progress import Progress
from flowstore.names import count_text, printable_name
from flowstore.opencv import cv2
from flowstore.progress import choose_progress
from flowstore.render.contact_sheet import MAX_TILES, draw_contact_sheet
from flowstore.render.films import FILM_SUFFIXES, check_film_library, fastest_fps, open_film
from flowstore.render.pictures import Style, VideoPictures, plan_pictures
from flowstore.storage.atomic import write_whole
from flowstore.storage.keys import Storage
from flowstore.store.open import FlowClass, FlowStore
from flowstore.store.video import Video

Image = npt.NDArray[np.uint8]

PICTURE_SUFFIX = ".png"
DEFAULT_FPS = 25.0
# Half the bytes of OpenCV's default, for a few milliseconds; 9 takes ten times as long for hardly less.
_PNG_COMPRESSION = 6


@dataclass(frozen=True)
class RenderReport:
    """What was drawn.

    Parameters
    ----------
    path : str
        The file.
    what : str
        What it shows, in a few words.
    style : str
        See `render_video`.
    scale_px : float or None
        Full scale in pixels; None where each part of a picture states its own.
    scale_origin : str
        Where the scale came from.
    n_pictures : int
        1, or the pictures of a film.
    height, width : int
        Of each, in pixels.
    fps : float or None
        Of a film.
    notes : tuple of str
        What was left out and why, a line each.
    """

    path: str
    what: str
    style: str
    scale_px: float | None
    scale_origin: str
    n_pictures: int
    height: int
    width: int
    fps: float | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return asdict(self) | {"notes": list(self.notes)}

    def __str__(self) -> str:
        film = f"{self.n_pictures} pictures at {self.fps:g} fps, " if self.fps else ""
        scale = f", full scale {self.scale_px:g} px" if self.scale_px else ""
        return f"{self.path}: {self.what}, {film}{self.width}x{self.height}{scale} ({self.scale_origin})"


def render(
    place: FlowStore | FlowClass | Video,
    path: str | os.PathLike[str],
    *,
    limit: int | None = None,
    progress: Progress | bool | None = None,
    **options: Any,
) -> RenderReport:
    """Draw a video, or a class, into a file.

    Parameters
    ----------
    place : Video or FlowClass
        What to draw.
    path : path
        Ends in ``.png``, or for a video also in ``.gif`` or ``.mp4``.
    limit : int, optional
        Videos on the sheet of a class.
    progress : Progress, bool or None
        Is told what happens: one of your own, True for a display on stderr, False for none. None displays it at a
        terminal and in a notebook.
    **options
        See `render_video` and `render_class`.

    Returns
    -------
    RenderReport

    Raises
    ------
    ArgumentError
        If the place is a whole store, or an option does not go with it.

    Examples
    --------
    >>> import flowstore
    >>> store = flowstore.open_store("hmdb51.zarr")
    >>> report = render(store["wave/some_video"], "flow.mp4", style="arrows")  # doctest: +SKIP
    >>> report = render(store["wave"], "sheet.png")  # doctest: +SKIP
    """
    progress = choose_progress(progress, "render")
    if isinstance(place, Video):
        if limit is not None:
            raise ArgumentError("--limit: for a class; a video is drawn whole or from --start to --stop")
        return render_video(place, path, progress=progress, **options)
    if not isinstance(place, FlowClass):
        classes = ", ".join(printable_name(name) for name in place.classes[:3])
        raise ArgumentError(f"{place.url}: a store; give STORE/CLASS or STORE/CLASS/VIDEO (classes: {classes}, ...)")
    wrong = [f"--{name}" for name, value in options.items() if value is not None and name not in ("frame", "scale")]
    if options.get("style") == "color":
        wrong.remove("--style")
    if wrong:
        raise ArgumentError(f"{', '.join(wrong)}: for one video, not for the sheet of a class")
    return render_class(place, path, options.get("frame"), options.get("scale"), MAX_TILES if limit is None else limit)


def render_class(
    flow_class: FlowClass,
    path: str | os.PathLike[str],
    frame: int | None = None,
    scale: float | None = None,
    limit: int = MAX_TILES,
) -> RenderReport:
    """Draw a contact sheet of a class; the options are those of `render`.

    Returns
    -------
    RenderReport

    Raises
    ------
    ArgumentError
        If an argument cannot be used, or the file is no ``.png``; nothing is written then.
    ExportError
        If the file cannot be written.
    """
    target, suffix = check_target(path, flow_class.store.storage)
    if suffix != PICTURE_SUFFIX:
        raise ArgumentError(f"FILE {os.fspath(path)}: a class is drawn as a .png; a {suffix} shows one video")
    sheet = draw_contact_sheet(flow_class, frame, scale, limit)
    write_png(target, sheet.image)
    height, width = sheet.image.shape[:2]
    return RenderReport(
        path=target,
        what=f"{count_text(sheet.n_videos, 'video')} of {printable_name(flow_class.name)}",
        style="color",
        scale_px=scale,
        scale_origin="each flow has its own full scale" if scale is None else "given",
        n_pictures=1,
        height=height,
        width=width,
        notes=sheet.notes,
    )


def render_video(
    video: Video,
    path: str | os.PathLike[str],
    *,
    style: Style = "color",
    frame: int | None = None,
    start: int | None = None,
    stop: int | None = None,
    every: int | None = None,
    scale: float | None = None,
    fps: float | None = None,
    zoom: float | None = None,
    source: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> RenderReport:
    """Draw a flow of a video as a picture, or flows as a film.

    Parameters
    ----------
    video : Video
        Of a store.
    path : path
        Ends in ``.png``, ``.gif`` or ``.mp4``; what is there is replaced, once the new file is whole.
    style : {"color", "arrows", "planes"}
        The Middlebury color wheel; arrows over the frame, or over the colors where there is none; or x and y apart.
    frame : int, optional
        The flow of a picture, counted from 0, from the end where negative; by default a lively one, whose
        mean magnitude is the 90th percentile of all.
    start, stop, every : int, optional
        The flows of a film: ``[start, stop)``, each `every`-th.
    scale : float, optional
        Full scale in pixels; by default the 95th percentile of the magnitudes of the flow that is drawn; for a film
        the 99th of the video's, the same for all of its pictures.
    fps : float, optional
        Of a film; by default that of the video, divided by `every`.
    zoom : float, optional
        Size of what is drawn over that of the flow; by default a whole number for a small video, a fraction for one
        that is larger than a screen.
    source : path, optional
        Where the frames are, see `flowstore.render.source_frames.find_source_frames`.
    progress : Progress, optional
        Is told how a film goes on.

    Returns
    -------
    RenderReport

    Raises
    ------
    FailedVideoError
        If the video has no flow.
    ArgumentError
        If an argument cannot be used; nothing is written then.
    SourceError
        If `source` does not hold the video's frames.
    MissingExtraError
        If a ``.gif`` is asked for without Pillow.
    ExportError
        If the file cannot be written.

    Notes
    -----
    A film is read, drawn and written one flow at a time, whatever its length.
    """
    video.check_has_flow()
    target, suffix = check_target(path, video.storage)
    style = our_spelling(style)
    if style not in get_args(Style):
        raise ArgumentError(f"style is {style!r}, expected one of {', '.join(get_args(Style))}")
    if suffix == PICTURE_SUFFIX:
        _refuse_given({"--start": start, "--stop": stop, "--every": every, "--fps": fps}, "a film", "a .png shows one")
        numbers: Sequence[int] = [video.flow_number(frame)]
        rate, rate_note = None, ""
    else:
        _refuse_given({"--frame": frame}, "a picture", f"a {suffix} shows those from --start to --stop")
        numbers = film_flows(video, start, stop, every)
        check_film_library(suffix)
        rate, rate_note = _film_fps(video, fps, every or 1, suffix)
    pictures = plan_pictures(video, style, scale, zoom, source, numbers[0] if rate is None else None)
    page = pictures.page
    if rate is None:
        write_png(target, next(_drawn(pictures, numbers)))
        what = f"flow {numbers[0]} of {video.key}"
    else:
        shown_s = _shown_s(video, numbers) if fps is None else [None] * len(numbers)
        _write_film(target, pictures, numbers, rate, shown_s, progress)
        what = f"flows {numbers[0]} to {numbers[-1]} of {video.key}"
    return RenderReport(
        path=target,
        what=what,
        style=style,
        scale_px=pictures.scale_px,
        scale_origin=pictures.scale_origin,
        n_pictures=len(numbers),
        height=page.height,
        width=page.width,
        fps=rate,
        notes=tuple(note for note in (pictures.note, rate_note) if note),
    )


def _refuse_given(options: dict[str, Any], purpose: str, instead: str) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ArgumentError(f"{', '.join(given)}: for {purpose}; of a video's flows {instead}")


def _drawn(pictures: VideoPictures, numbers: Sequence[int]) -> Iterator[Image]:
    try:
        yield from pictures.draw(numbers)
    except DecodeError as error:
        raise ExportError(f"the frames of the source cannot be shown: {error}") from error


def _write_film(
    path: str,
    pictures: VideoPictures,
    numbers: Sequence[int],
    fps: float,
    durations_s: Sequence[float | None],
    progress: Progress | None,
) -> None:
    operation = Operation("sync", None, progress)
    with (
        operation.telling(1, len(numbers)),
        open_film(path, pictures.page.height, pictures.page.width, fps) as film,
    ):
        for picture, shown_s in zip(_drawn(pictures, numbers), durations_s, strict=True):
            film.write(picture, shown_s)
            operation.progress.add_flows(1)


def _shown_s(video: Video, numbers: Sequence[int]) -> Sequence[float | None]:
    """Return how long each picture is shown if the rate is not constant, the last as long as the one before it."""
    times = video.record.times_s
    if not times:
        return [None] * len(numbers)
    durations: list[float | None] = [times[after] - times[before] for before, after in itertools.pairwise(numbers)]
    return [*durations, durations[-1] if durations else None]


def check_target(path: str | os.PathLike[str], storage: Storage) -> tuple[str, str]:
    """Return the absolute path of a file to draw into, and its suffix."""
    target = os.path.abspath(check_path("FILE", path))
    suffix = os.path.splitext(target)[1].lower()
    if suffix not in (PICTURE_SUFFIX, *FILM_SUFFIXES):
        raise ArgumentError(f"FILE {os.fspath(path)}: its name must end in .png, .gif or .mp4, found {suffix!r}")
    folder = os.path.dirname(target)
    if os.path.isdir(target):
        raise ArgumentError(f"FILE {target}: a folder")
    if not os.path.isdir(folder):
        raise ArgumentError(f"FILE {target}: there is no folder {folder}")
    if storage.folder is not None:
        root = os.path.realpath(storage.folder)
        if os.path.commonpath([os.path.realpath(folder), root]) == root:
            raise ArgumentError(f"FILE {target}: inside the store; give a path outside it")
    return target, suffix


def film_flows(video: Video, start: int | None, stop: int | None, every: int | None) -> range:
    """Return the numbers of the flows of a film."""
    first, last, step = start or 0, video.n_flows if stop is None else stop, 1 if every is None else every
    if step < 1:
        raise ArgumentError(f"every is {step}, expected 1 or more")
    if not 0 <= first < last <= video.n_flows:
        raise ArgumentError(f"flows [{first}, {last}): {video.key} has [0, {video.n_flows})")
    return range(first, last, step)


def _film_fps(video: Video, fps: float | None, every: int, suffix: str) -> tuple[float, str]:
    """Return the frame rate of a film, and a line where it is not the one asked for."""
    if fps is not None and not (math.isfinite(fps) and 0 < fps <= fastest_fps(suffix)):
        raise ArgumentError(f"fps is {fps:g}, expected above 0 and at most {fastest_fps(suffix):g} for a {suffix}")
    if fps is not None:
        return fps, ""
    if video.fps is None:
        return DEFAULT_FPS, f"the video has no clock: played at {DEFAULT_FPS:g} fps (--fps)"
    natural = video.fps / every
    if natural > fastest_fps(suffix):
        return fastest_fps(suffix), f"slower than the video: a {suffix} has at most {fastest_fps(suffix):g} fps"
    return natural, ""


def write_png(path: str, image: Image) -> None:
    """Write a picture, uint8 (H, W, 3), red, green, blue; it appears whole or not at all."""
    is_encoded, data = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION])
    if not is_encoded:
        raise ExportError(f"OpenCV cannot encode a picture of {image.shape[1]}x{image.shape[0]} as PNG")
    try:
        write_whole(path, data.tobytes())
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror}") from error

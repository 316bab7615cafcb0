"""The demo: a small dataset of known motion, extracted, checked, exported and drawn."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from flowstore.colour import flow_to_color, plane_to_color, wheel_image
from flowstore.errors import ArgumentError, StoreError
from flowstore.export.run import ExportReport, export
from flowstore.jobs.progress import Progress
from flowstore.opencv import check_opencv, cv2
from flowstore.pipeline.report import ExtractReport
from flowstore.pipeline.run import extract
from flowstore.render.films import open_film
from flowstore.scenes import MOTIONS, Motion, Scene, Street
from flowstore.storage.atomic import write_whole
from flowstore.store.open import FlowStore, open_store

CLASSES: tuple[str, ...] = ("street", *MOTIONS)
N_FRAMES = 24
_SIZE = 120, 160
_SPEEDS = (1.5, 3.0)
_STREET_SPEEDS = (1.2, 2.4)
_FPS = 12.0
_FULL_SCALE_PX = 3.0
# Farneback's error grows towards the border, where what it compares leaves the picture.
_MARGIN = 20
ERROR_ALLOWED_PX = 0.5


@dataclass(frozen=True)
class DemoReport:
    """What the demo made.

    Parameters
    ----------
    folder, videos, store, images, picture, film : str
        Where everything is.
    extracted : ExtractReport
        Of the extraction.
    exported : ExportReport
        Of the export.
    errors_px : dict of str to float
        Mean distance of stored flow from the true flow, by video, in pixels.
    """

    folder: str
    videos: str
    store: str
    images: str
    picture: str
    film: str
    extracted: ExtractReport
    exported: ExportReport
    errors_px: dict[str, float]


class Filmed(Protocol):
    """What `write_video` takes: a scene, or anything that has frames."""

    @property
    def height(self) -> int:
        """Of its frames, in pixels."""
        ...

    @property
    def width(self) -> int:
        """Of its frames, in pixels."""
        ...

    def frames(self, n_frames: int) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield frames, uint8 (H, W, 3): blue, green, red."""
        ...


def scene_of(class_name: str, number: int) -> Scene | Street:
    """Return the scene of the demo's video `number` (0 or 1) of a class."""
    seed = 1 + 2 * CLASSES.index(class_name) + number
    if class_name == "street":
        return Street(*_SIZE, speed=_STREET_SPEEDS[number], seed=seed)
    return Scene(cast(Motion, class_name), *_SIZE, speed=_SPEEDS[number], seed=seed, view="landscape")


def true_flow(scene: Scene | Street, number: int) -> npt.NDArray[np.float32]:
    """Return the true flow (2, H, W), in pixels, from frame `number` of a scene to the next."""
    return scene.flow(first=number) if isinstance(scene, Street) else scene.flow()


def write_video(path: str, scene: Filmed, n_frames: int = N_FRAMES) -> None:
    """Write a scene as an AVI of JPEG frames.

    Raises
    ------
    StoreError
        If OpenCV cannot write the file.
    """
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), _FPS, (scene.width, scene.height))
    if not writer.isOpened():
        raise StoreError(f"OpenCV cannot write {path}")
    for frame in scene.frames(n_frames):
        writer.write(frame)
    writer.release()


def run_demo(folder: str | os.PathLike[str] = "flowstore-demo", progress: Progress | bool | None = None) -> DemoReport:
    """Make the demo's dataset, extract it, compare with the true motion, export and draw it.

    Parameters
    ----------
    folder : path
        Made where there is none. A folder that holds anything else than a former demo is refused.
    progress : Progress, optional
        Is told how the extraction goes.

    Returns
    -------
    DemoReport

    Raises
    ------
    ArgumentError
        If the folder holds something else.
    """
    root = os.path.abspath(os.fspath(folder))
    known = {"videos", "flow.zarr", "flow_images", "flow.png", "flow.mp4"}
    if os.path.exists(root) and (not os.path.isdir(root) or set(os.listdir(root)) - known):
        raise ArgumentError(f"DIR {root}: holds other files; give a new folder")
    videos, store, images = (os.path.join(root, name) for name in ("videos", "flow.zarr", "flow_images"))
    picture, film = os.path.join(root, "flow.png"), os.path.join(root, "flow.mp4")
    check_opencv()
    for class_name in CLASSES:
        os.makedirs(os.path.join(videos, class_name), exist_ok=True)
        for number in range(len(_SPEEDS)):
            path = os.path.join(videos, class_name, f"{class_name}_{number + 1}.avi")
            if not os.path.exists(path):
                write_video(path, scene_of(class_name, number))
    extracted = extract(videos, store, progress=progress)
    opened = open_store(store)
    errors_px = {video.key: _error_px(opened, video.key) for video in opened.iter_videos()}
    exported = export(opened, images, "notebook")
    _, data = cv2.imencode(".png", draw_demo(opened)[..., ::-1])
    write_whole(picture, data.tobytes())
    street = opened["street/street_2"][:]
    pictures = (draw_sheet([row], _FULL_SCALE_PX) for row in draw_rows(scene_of("street", 1), street, _FULL_SCALE_PX))
    write_film(film, pictures, _FPS)
    return DemoReport(root, videos, store, images, picture, film, extracted, exported, errors_px)


def _error_px(store: FlowStore, key: str) -> float:
    scene = scene_of(key.split("/")[0], int(key.rpartition("_")[2]) - 1)
    true = np.stack([true_flow(scene, number) for number in range(N_FRAMES - 1)])
    inner = np.s_[..., _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    difference = store[key][:][inner] - true[inner]
    return float(np.hypot(difference[:, 0], difference[:, 1]).mean())


_GAP = 6
_TITLES = ("frame", "flow", "x: right is red", "y: down is red")


def draw_rows(scene: Filmed, flow: npt.NDArray[np.float32], full_scale_px: float) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield each frame of a scene beside its flow in color, its x and its y.

    Parameters
    ----------
    scene : Filmed
        Whose frames are shown.
    flow : float32 array (T, 2, H, W)
        Of it, in pixels.
    full_scale_px : float
        Magnitude of the strongest color.

    Yields
    ------
    uint8 array (H, W, 3)
        Red, green, blue.
    """
    for frame, vectors in zip(scene.frames(len(flow) + 1), flow, strict=False):
        planes = [plane_to_color(plane, full_scale_px) for plane in vectors]
        panels = [frame[..., ::-1], flow_to_color(vectors, full_scale_px), *planes]
        space = np.full((len(frame), _GAP, 3), 255, np.uint8)
        yield np.concatenate([part for panel in panels for part in (panel, space)], axis=1)


def draw_sheet(rows: Sequence[npt.NDArray[np.uint8]], full_scale_px: float) -> npt.NDArray[np.uint8]:
    """Return rows of `draw_rows` below one another, titles above them and the wheel beside them.

    Returns
    -------
    uint8 array (H, W, 3)
        Red, green, blue; both sides are even, as films want it.
    """
    height, width = rows[0].shape[:2]
    size = height / 260
    title_height = round(22 + 12 * size)
    titles = np.full((title_height, width, 3), 255, np.uint8)
    for number, title in enumerate(_TITLES):
        _write(titles, title, number * width // len(_TITLES) + 2, title_height - 8, size)
    parts = [titles]
    for row in rows:
        parts += [row, np.full((_GAP, width, 3), 255, np.uint8)]
    picture = np.concatenate(parts)
    side = round(0.62 * height)
    legend = np.full((len(picture), side + _GAP, 3), 255, np.uint8)
    legend[title_height : title_height + side, :side] = wheel_image(side)
    for number, line in enumerate(("color: direction", f"rim: {full_scale_px:g} px")):
        _write(legend, line, 0, title_height + side + round((20 + 22 * number) * (0.5 + size / 2)), 0.72 * size)
    picture = np.concatenate([picture, legend], axis=1)
    odd_height, odd_width = picture.shape[0] % 2, picture.shape[1] % 2
    return np.pad(picture, ((0, odd_height), (_GAP, _GAP + odd_width), (0, 0)), constant_values=255)


def _write(image: npt.NDArray[np.uint8], text: str, x: int, y: int, size: float) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.3 + 0.3 * size, (40, 40, 40), 1, cv2.LINE_AA)


def draw_demo(store: FlowStore) -> npt.NDArray[np.uint8]:
    """Return a picture: a frame beside its flow beside x and y, of a street, a turn and a zoom.

    Returns
    -------
    uint8 array (H, W, 3)
        Red, green, blue.
    """
    middle, rows = N_FRAMES // 2, []
    for class_name, number in (("street", 1), ("rotate", 0), ("zoom", 0)):
        flow = store[f"{class_name}/{class_name}_{number + 1}"][: middle + 1]
        shown = draw_rows(scene_of(class_name, number), flow, _FULL_SCALE_PX)
        rows.append(next(islice(shown, middle, None)))
    return draw_sheet(rows, _FULL_SCALE_PX)


def write_film(path: str, pictures: Iterator[npt.NDArray[np.uint8]], fps: float) -> None:
    """Write pictures (H, W, 3) of one size as a film."""
    first = next(pictures)
    height, width = first.shape[:2]
    with open_film(path, height, width, fps) as film:
        film.write(first)
        for picture in pictures:
            film.write(picture)

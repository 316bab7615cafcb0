"""The demo: a small dataset of known motion, extracted, checked, exported and drawn."""

from __future__ import annotations

import os
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from flowstore.colour import flow_to_color, wheel_image
from flowstore.errors import ArgumentError, StoreError
from flowstore.export.run import ExportReport, export
from flowstore.jobs.progress import Progress
from flowstore.pipeline.report import ExtractReport
from flowstore.pipeline.run import extract
from flowstore.render.run import render_video
from flowstore.scenes import MOTIONS, Motion, Scene
from flowstore.storage.atomic import write_whole
from flowstore.store.open import FlowStore, open_store

N_FRAMES = 24
_SIZE = 120, 160
_SPEEDS = (1.5, 3.0)
_FPS = 12.0
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


def scene_of(motion: Motion, number: int) -> Scene:
    """Return the scene of the demo's video `number` (0 or 1) of a class."""
    return Scene(motion, *_SIZE, speed=_SPEEDS[number], seed=1 + 2 * list(MOTIONS).index(motion) + number)


def write_video(path: str, scene: Scene, n_frames: int = N_FRAMES) -> None:
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


def run_demo(folder: str | os.PathLike[str] = "flowstore-demo", progress: Progress | None = None) -> DemoReport:
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
    for motion in MOTIONS:
        os.makedirs(os.path.join(videos, motion), exist_ok=True)
        for number in range(len(_SPEEDS)):
            path = os.path.join(videos, motion, f"{motion}_{number + 1}.avi")
            if not os.path.exists(path):
                write_video(path, scene_of(motion, number))
    extracted = extract(videos, store, progress=progress)
    opened = open_store(store)
    errors_px = {video.key: _error_px(opened, video.key) for video in opened.iter_videos()}
    exported = export(opened, images, "notebook")
    _, data = cv2.imencode(".png", draw_demo(opened)[..., ::-1])
    write_whole(picture, data.tobytes())
    render_video(opened["rotate/rotate_2"], film, source=videos)
    return DemoReport(root, videos, store, images, picture, film, extracted, exported, errors_px)


def _error_px(store: FlowStore, key: str) -> float:
    motion, number = key.split("/")[0], int(key.rpartition("_")[2]) - 1
    true = scene_of(motion, number).flow()  # type: ignore[arg-type]
    inner = np.s_[..., _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    difference = store[key][:][inner] - true[inner]
    return float(np.hypot(difference[:, 0], difference[:, 1]).mean())


def draw_demo(store: FlowStore) -> npt.NDArray[np.uint8]:
    """Return a picture: a frame of each class, its flow in color below, and the wheel.

    Returns
    -------
    uint8 array (H, W, 3)
        Red, green, blue.
    """
    height, width = _SIZE
    gap = 8
    full_scale_px = 2 * _SPEEDS[-1]
    columns = []
    for motion in MOTIONS:
        frames = list(scene_of(motion, 1).frames(N_FRAMES // 2))
        flow = store[f"{motion}/{motion}_2"][N_FRAMES // 2 - 1]
        label = np.full((24, width, 3), 255, np.uint8)
        cv2.putText(label, motion, (2, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        space = np.full((gap, width, 3), 255, np.uint8)
        columns.append(np.concatenate([label, frames[-1][..., ::-1], space, flow_to_color(flow, full_scale_px)]))
    legend = np.full_like(columns[0], 255)
    side = height
    legend[24 + height + gap :, :side] = wheel_image(side)
    text = f"full scale {full_scale_px:g} px"
    cv2.putText(legend, text, (2, height + 12), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    columns.append(legend)
    space = np.full((len(legend), gap, 3), 255, np.uint8)
    parts = [part for column in columns for part in (column, space)][:-1]
    picture = np.concatenate(parts, axis=1)
    return np.pad(picture, ((gap, gap), (gap, gap), (0, 0)), constant_values=255)

"""Layouts: how existing training code names flow images. Pure: values and paths, no files.

A preset is a row of `LAYOUTS`. To add one, add a row.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from flowstore.errors import ArgumentError
from flowstore.names import MAX_COMPONENT_BYTES, printable_name, suggest_name
from flowstore.quantize import Encoding


@dataclass(frozen=True)
class Layout:
    """Where the flow images of a dataset stand, and how their gray levels encode flow.

    Parameters
    ----------
    name : str
        Of the preset.
    folder : str
        Template of a video's folder, with ``{class}`` and ``{video}``.
    file_x, file_y : str
        Template of an image's name, with ``{number}`` (``{number:05d}`` pads) and ``{step}``, which is empty for
        step 1 and else ``_p`` and the step.
    first : int
        Number of the first image.
    encoding : {"truncate", "denseflow", "centred"}
        The quantizer that the layout's readers expect.
    quality : int
        JPEG quality, 0 to 100.
    used_by : str
        Who writes or reads it.

    Examples
    --------
    >>> LAYOUTS["notebook"].paths("wave", "v1", 0)
    ('wave/v1/flow_x_0001.jpg', 'wave/v1/flow_y_0001.jpg')
    """

    name: str
    folder: str
    file_x: str
    file_y: str
    first: int
    encoding: Encoding
    quality: int = 95
    used_by: str = ""

    def video_folder(self, class_name: str, video: str) -> str:
        """Return the folder of a video's images, relative to the export's root.

        Raises
        ------
        ArgumentError
            If a name cannot be a folder's.
        """
        for name in (class_name, video):
            check_component(name)
        return self.folder.format(**{"class": class_name, "video": video})

    def paths(self, class_name: str, video: str, index: int, step: int = 1) -> tuple[str, str]:
        """Return the relative paths of the two images of a flow.

        Parameters
        ----------
        class_name, video : str
            Original names.
        index : int
            Number of the flow in its video, from 0.
        step : int
            Distance of its frames.

        Returns
        -------
        tuple of str
            Of x and of y.
        """
        folder = self.video_folder(class_name, video)
        values = {"number": self.first + index, "step": "" if step == 1 else f"_p{step}"}
        return f"{folder}/{self.file_x.format(**values)}", f"{folder}/{self.file_y.format(**values)}"

    @property
    def example(self) -> str:
        """Path of the first x image of some video."""
        return self.paths("wave", "some_video", 0)[0]


_ROWS = (
    Layout(
        "notebook",
        "{class}/{video}",
        "flow_x_{number:04d}.jpg",
        "flow_y_{number:04d}.jpg",
        1,
        "truncate",
        used_by="the common OpenCV loop over frame folders",
    ),
    Layout(
        "notebook-tidy",
        "{class}/{video}/flows",
        "flow_x_{number:04d}.jpg",
        "flow_y_{number:04d}.jpg",
        1,
        "truncate",
        used_by="the same after its files were moved into flows/",
    ),
    Layout(
        "denseflow",
        "{class}/{video}",
        "flow_x{step}_{number:05d}.jpg",
        "flow_y{step}_{number:05d}.jpg",
        0,
        "denseflow",
        used_by="open-mmlab/denseflow",
    ),
    Layout(
        "mmaction2",
        "{class}/{video}",
        "x_{number:05d}.jpg",
        "y_{number:05d}.jpg",
        1,
        "denseflow",
        used_by="mmaction2 raw frames, '{}_{:05d}.jpg'",
    ),
)
LAYOUTS = {layout.name: layout for layout in _ROWS}


def find_layout(name: str) -> Layout:
    """Return a preset.

    Raises
    ------
    ArgumentError
        If there is none of that name; the message lists them.
    """
    if name not in LAYOUTS:
        raise ArgumentError(f"no layout {name!r}{suggest_name(name, LAYOUTS)}; there are {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def check_component(name: str) -> None:
    """Refuse a name that cannot be one component of a path, or would lead out of its folder.

    Raises
    ------
    ArgumentError
        If it would.
    """
    separators = [separator for separator in (os.sep, os.altsep, "/", "\0") if separator]
    if not name or name in {".", ".."} or any(separator in name for separator in separators):
        raise ArgumentError(
            f"name {printable_name(name)!r} cannot be a file name, so it cannot be exported under its own"
        )
    if len(os.fsencode(name)) > MAX_COMPONENT_BYTES:
        raise ArgumentError(f"name {printable_name(name)[:40]!r}... is longer than {MAX_COMPONENT_BYTES} bytes")

"""Layouts: how existing training code names flow files, and what stands in them. Pure: values and paths, no files.

A preset is a row of `LAYOUTS`. To add one, add a row.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Literal, cast, get_args

from flowstore.arguments import check_whole, our_spelling
from flowstore.errors import ArgumentError
from flowstore.layouts.file_kind import FileKind, VideoFile
from flowstore.layouts.kinds import KINDS
from flowstore.layouts.templates import PathPattern, check_component, check_template, fill_template, template_fields
from flowstore.quantize.file_quantizer import FLOAT_ENCODINGS, FileEncoding

ClassFolder = Literal["always", "never", "optional"]

_CLASS_FOLDER = "{class}/"
# What an export writes beside the files of a layout: what it was, and lists for training code.
MANIFEST = "flowstore-export.json"
LISTS_FOLDER = "annotations"


@dataclass(frozen=True)
class Layout:
    """Where the flow files of a dataset stand, and how their numbers encode flow.

    Parameters
    ----------
    name : str
        Of the preset.
    x_template, y_template : str
        Paths of the files of x and of y, relative to the root, with ``{class}``, ``{video}``, ``{number}``
        (``{number:05d}`` pads) and ``{step}``, which is empty for step 1 and else ``_p`` and the step. One template,
        the first, where a file holds both.
    first : int
        Number of the first flow.
    file_format : str
        Of the files: a key of `flowstore.layouts.kinds.KINDS`.
    packing : {"planes", "rgb", "pair", "video"}
        What a file holds: one component of a flow; a flow as the first two channels, red and green, of a picture whose
        blue is 128; a flow; a video.
    encoding : {"centred", "denseflow", "truncate", "i3d-128", "mmcv", "i3d-float", "pixels"}
        What the layout's readers expect; see `flowstore.quantize.file_quantizer.FileQuantizer`.
    quality : int
        JPEG quality, 0 to 100; without meaning for other formats.
    class_folder : {"always", "never", "optional"}
        Whether paths begin with the class. Where it is optional, templates do, and `without_class_folder` leaves it
        out.
    is_padded : bool
        Whether the last flow stands twice, so that there are as many flows as frames.
    used_by : str
        Who writes or reads it.

    Raises
    ------
    ArgumentError
        If a template leads out of the root, lacks what tells videos or flows apart, or does not fit the rest.

    Examples
    --------
    >>> from flowstore.layouts import LAYOUTS
    >>> LAYOUTS["notebook"].paths("wave", "v1", 0)
    ('wave/v1/flow_x_0001.jpg', 'wave/v1/flow_y_0001.jpg')
    >>> LAYOUTS["npy"].paths("wave", "v1")
    ('wave/v1.npy',)
    """

    name: str
    x_template: str
    y_template: str = ""
    first: int = 1
    file_format: str = "jpg"
    packing: str = "planes"
    encoding: FileEncoding = "denseflow"
    quality: int = 95
    class_folder: ClassFolder = "always"
    is_padded: bool = False
    used_by: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoding", our_spelling(self.encoding))
        _check_choices(self)
        # Of NumPy's numbers JSON knows none.
        for name in ("first", "quality"):
            object.__setattr__(self, name, int(getattr(self, name)))
        for template in (self.x_template, self.y_template):
            if not isinstance(template, str):
                raise ArgumentError(
                    f"template is {template!r}, expected a text such as '{{video}}/x_{{number:05d}}.jpg'"
                )
        for template in self.templates:
            check_template(template, self.kind.suffixes, self.is_numbered)
            if self.class_folder == "optional" and not template.startswith(_CLASS_FOLDER):
                raise ArgumentError(f"template {template!r}: expected to begin with {{class}}/, which is optional")
        if self.packing == "planes" and (not self.y_template or self.x_template == self.y_template):
            raise ArgumentError(f"layout {self.name}: x and y need templates of their own; found {self.x_template!r}")
        if self.packing != "planes" and self.y_template:
            raise ArgumentError(
                f"layout {self.name}: packing {self.packing} has one file for x and y; y has a template"
            )

    @property
    def kind(self) -> FileKind:
        """What its files are."""
        return KINDS[self.file_format]

    @property
    def is_numbered(self) -> bool:
        """Whether a flow has files of its own."""
        return not isinstance(self.kind, VideoFile)

    @property
    def has_codes(self) -> bool:
        """Whether its files hold codes, of one quantizer or another."""
        return self.encoding not in FLOAT_ENCODINGS

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates of a flow's files: of x and of y, or of the one file."""
        return (self.x_template, self.y_template) if self.y_template else (self.x_template,)

    @property
    def has_class_folder(self) -> bool:
        """Whether paths hold the class."""
        return any("class" in template_fields(template) for template in self.templates)

    @property
    def has_own_folders(self) -> bool:
        """Whether a folder holds the files of one video only."""
        return all("{video}" in os.path.dirname(template) for template in self.templates)

    def paths(self, class_name: str, video: str, index: int = 0, step: int = 1) -> tuple[str, ...]:
        """Return the paths of a flow's files, relative to the root, with ``/``.

        Parameters
        ----------
        class_name, video : str
            Original names.
        index : int
            Number of the flow in its video, from 0; without meaning where a file holds a video.
        step : int
            Distance of its frames.

        Returns
        -------
        tuple of str
            Of x and of y, or of the one file that holds both.

        Raises
        ------
        ArgumentError
            If a name cannot be part of a file's.
        """
        patterns = self.path_patterns(class_name, video, step)
        return tuple(pattern.path(self.first + index) for pattern in patterns)

    def path_patterns(self, class_name: str, video: str, step: int = 1) -> tuple[PathPattern, ...]:
        """Return the paths of a video's files with only the number left open, one for each template.

        Raises
        ------
        ArgumentError
            If a name cannot be part of a file's.
        """
        for name in (class_name, video):
            check_component(name)
        values = {"class": class_name, "video": video, "step": "" if step == 1 else f"_p{step}"}
        patterns = tuple(fill_template(template, values) for template in self.templates)
        for pattern in patterns:
            pattern.check_length()
        return patterns

    @property
    def example(self) -> str:
        """Path of the first file of some video."""
        return self.paths("wave", "some_video")[0]

    def without_class_folder(self) -> Layout:
        """Return the layout without the folders of classes.

        Raises
        ------
        ArgumentError
            If the layout always has them.
        """
        if self.class_folder == "always":
            raise ArgumentError(f"layout {self.name} has class folders always; use --layout custom to leave them out")
        return dataclasses.replace(
            self,
            x_template=self.x_template.removeprefix(_CLASS_FOLDER),
            y_template=self.y_template.removeprefix(_CLASS_FOLDER),
            class_folder="never",
        )

    def with_image_format(self, file_format: Literal["jpg", "png"]) -> Layout:
        """Return the layout with images of another format.

        Raises
        ------
        ArgumentError
            If its files are no images of codes, or the format is none of images.
        """
        if file_format not in ("jpg", "png"):
            raise ArgumentError(f"image format is {file_format!r}, expected jpg or png")
        if not self.has_codes:
            raise ArgumentError(f"layout {self.name} has {self.file_format} files: they cannot be {file_format}")
        if file_format == self.file_format:
            return self
        return dataclasses.replace(
            self,
            file_format=file_format,
            x_template=os.path.splitext(self.x_template)[0] + KINDS[file_format].suffixes[0],
            y_template=self.y_template and os.path.splitext(self.y_template)[0] + KINDS[file_format].suffixes[0],
        )


def _check_choices(layout: Layout) -> None:
    packings = dict.fromkeys(packing for kind in KINDS.values() for packing in kind.packings)
    for value, choices, what in (
        (layout.file_format, KINDS, "format"),
        (layout.packing, packings, "packing"),
        (layout.encoding, get_args(FileEncoding), "encoding"),
        (layout.class_folder, get_args(ClassFolder), "class folder"),
    ):
        if not isinstance(value, str) or value not in choices:
            raise ArgumentError(f"layout {layout.name}: {what} is {value!r}, expected one of {', '.join(choices)}")
    kind = layout.kind
    if layout.packing not in kind.packings:
        raise ArgumentError(
            f"layout {layout.name}: packing is {layout.packing!r}, expected "
            f"{' or '.join(kind.packings)} for {layout.file_format} files"
        )
    if layout.encoding not in kind.encodings:
        raise ArgumentError(f"layout {layout.name}: {layout.file_format} files cannot hold encoding {layout.encoding}")
    check_whole(f"layout {layout.name}: first", layout.first, 0)
    check_whole(f"layout {layout.name}: quality", layout.quality, 0, 100)


def custom_layout(
    x_template: str,
    y_template: str = "",
    first: int = 1,
    file_format: str = "jpg",
    packing: str | None = None,
    encoding: FileEncoding | None = None,
    quality: int = 95,
) -> Layout:
    """Return a layout of one's own.

    Parameters
    ----------
    x_template, y_template : str
        Paths as `Layout` takes them; only the first where one file holds both components.
    first : int
        Number of the first flow.
    file_format : str
        Of the files: a key of `flowstore.layouts.kinds.KINDS`.
    packing : {"planes", "rgb", "pair", "video"}, optional
        What a file holds; by default what the format takes, images ``planes`` with two templates and ``rgb`` with one.
    encoding : str, optional
        By default ``denseflow`` for images and ``pixels`` for the others.
    quality : int
        Of JPEG.

    Returns
    -------
    Layout
        Named ``custom``; with class folders where the template has ``{class}``.

    Raises
    ------
    ArgumentError
        If they do not fit one another.

    Examples
    --------
    >>> custom_layout("{class}/{video}/{number:04d}_u.png", "{class}/{video}/{number:04d}_v.png", 0, "png").example
    'wave/some_video/0000_u.png'
    """
    kind = KINDS.get(file_format) if isinstance(file_format, str) else None
    if kind:
        packing = packing or kind.packings[0 if y_template else -1]
        encoding = encoding or cast(FileEncoding, kind.encodings[0])
    return Layout(
        "custom",
        x_template,
        y_template,
        first,
        file_format,
        packing or "planes",
        encoding or "denseflow",
        quality,
        "always" if "{class}" in str(x_template) else "never",
    )

"""From what a store holds to what a file holds: other codes, other sizes. Owns OpenCV's resizing of flow."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.arguments import check_whole
from flowstore.errors import ArgumentError
from flowstore.opencv import cv2
from flowstore.quantize.file_quantizer import FileQuantizer
from flowstore.quantize.quantizer import Quantizer
from flowstore.sources.sampling import scaled_size

Flow = npt.NDArray[np.float32]
Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Conversion:
    """What flow goes through between a store and a file. Picklable.

    Parameters
    ----------
    stored : Quantizer
        Of the store.
    exported : FileQuantizer
        Of the files.
    short_side : int, optional
        Length of the shorter side of the picture, in pixels.
    size : tuple of int, optional
        ``(height, width)`` of the picture, in pixels.
    max_error_px : float, optional
        Largest error of a stored component within the bound, in pixels; half a stored step by default.

    Raises
    ------
    ArgumentError
        If a side is no whole number of pixels, 1 to 65535, or both a size and a short side are given.
    """

    stored: Quantizer
    exported: FileQuantizer
    short_side: int | None = None
    size: tuple[int, int] | None = None
    max_error_px: float | None = None

    def __post_init__(self) -> None:
        if self.short_side is not None and self.size is not None:
            raise ArgumentError("give a short side or a size, not both")
        if self.size is not None:
            if not (isinstance(self.size, tuple | list) and len(self.size) == 2):
                raise ArgumentError(f"size is {self.size!r}, expected height and width")
            object.__setattr__(self, "size", tuple(self._side("size", side) for side in self.size))
        if self.short_side is not None:
            object.__setattr__(self, "short_side", self._side("short side", self.short_side))

    @staticmethod
    def _side(name: str, pixels: int) -> int:
        check_whole(f"{name} in pixels", pixels, 1, 65535)
        return int(pixels)

    @property
    def is_resizing(self) -> bool:
        """Whether pictures may change their size."""
        return self.short_side is not None or self.size is not None

    @property
    def stored_error_px(self) -> float:
        """Largest error of a stored component within the bound, in pixels; 0 for float16."""
        return self.stored.step_px / 2 if self.max_error_px is None else self.max_error_px

    @property
    def is_identity(self) -> bool:
        """Whether stored codes go out unchanged."""
        return not self.is_resizing and self.stored == self.exported.stored

    def new_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of a file's picture, ``(height, width)``."""
        return scaled_size(height, width, self.short_side, self.size)

    def convert(self, codes: Values) -> Values:
        """Return what files hold of some flows.

        `codes`: uint8 or float16 array (n, 2, H, W), as stored, C-contiguous. Gives uint8 or float32 array (n, 2,
        height, width).
        """
        if self.is_identity:
            return codes
        size = self.new_size(*codes.shape[-2:])
        table = _code_table(self)
        if table is not None and size == codes.shape[-2:]:
            return cv2.LUT(codes.reshape(-1, codes.shape[-1]), table).reshape(codes.shape)
        return self.exported.encode(resize_flow(self.stored.decode(codes), *size))

    def largest_code_difference(self, height: int, width: int) -> int:
        """Return by how much an exported code can differ from that of the float flow, where nothing is clipped.

        Notes
        -----
        Resizing multiplies a stored value's error by at most the larger of the two scales, and rounding to a code adds
        up to half a step.
        """
        new_height, new_width = self.new_size(height, width)
        error_px = self.stored_error_px * max(new_height / height, new_width / width)
        # The step of mmcv is the smaller, the smaller the side.
        shorter = min(new_height, new_width)
        # There are no more codes than 256, however small the bound.
        return min(255, int(np.ceil(error_px / self.exported.step_px(shorter, shorter) + 0.5)))


@functools.lru_cache(maxsize=16)
def _code_table(conversion: Conversion) -> npt.NDArray[np.uint8] | None:
    """Return the exported code of each stored code, (256,); None where it depends on more than the code."""
    stored, exported = conversion.stored, conversion.exported
    if stored.row is None or exported.row is None or exported.row.is_share:
        return None
    codes = np.arange(256, dtype=np.uint8).reshape(2, 1, 128)
    return exported.encode(stored.decode(codes)).reshape(256)


def resize_flow(flow: Flow, height: int, width: int) -> Flow:
    """Return flow of another size, its vectors scaled with the picture.

    `flow`: float32 array (n, 2, H, W), components x and y in pixels. Gives float32 array (n, 2, height, width),
    the mean of what falls into a pixel where the picture does not grow in either direction, else interpolated
    linearly; x times ``width/W`` and y times ``height/H``.

    Examples
    --------
    >>> resize_flow(np.ones((1, 2, 4, 4), np.float32), 4, 2)[0, :, 0, 0]
    array([0.5, 1. ], dtype=float32)
    """
    old_height, old_width = flow.shape[-2:]
    if (height, width) == (old_height, old_width):
        return flow
    is_smaller = height <= old_height and width <= old_width
    resized = np.empty((*flow.shape[:2], height, width), np.float32)
    for planes, out in zip(flow, resized, strict=True):
        for component, scale in enumerate((width / old_width, height / old_height)):
            how = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
            cv2.resize(planes[component], (width, height), dst=out[component], interpolation=how)
            out[component] *= np.float32(scale)
    return resized

"""A kind of flow file: what a layout, an export and an import ask of it. To add one, see `flowstore.layouts.kinds`.

A file holds one flow, or a component of it (`FlowFile`), or the flow of a video (`VideoFile`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Any, ClassVar

import numpy as np
import numpy.typing as npt

from flowstore.errors import DecodeError

# Twice the pixels of 8K video: what claims more is damaged or hostile.
MAX_PIXELS = 1 << 26

Flow = npt.NDArray[np.float32]
Values = npt.NDArray[Any]


@dataclass(frozen=True)
class FlowValues:
    """The numbers of one flow as its files have them.

    Parameters
    ----------
    values : uint8 or float32 array (2, H, W)
        Of x and y, or (1, H, W) of the one that a file holds; 0 where nothing is known.
    n_unknown : int
        Pixels of which nothing is known.
    """

    values: Values
    n_unknown: int = 0


@dataclass(frozen=True)
class VideoFlow:
    """The flow of a video in an open file; `read_flow` gives float32 (2, H, W) by the number of a flow."""

    n_flows: int
    height: int
    width: int
    read_flow: Callable[[int], Flow]


class FileKind(ABC):
    """What is true of every file of a kind.

    Attributes
    ----------
    name : str
        The `file_format` of its layouts.
    suffixes : tuple of str
        What their templates may end in.
    packings : tuple of str
        What a file can hold, see `flowstore.layouts.layout.Layout`; the last is for one template where none is chosen.
    encodings : tuple of str
        What its numbers can mean, the default first.
    longest_side : int, optional
        Of a picture, in pixels; None where files have no such limit.
    is_lossless : bool
        Whether numbers come back as they were, but for `step_px`. What is not takes a quality.
    step_px : float
        Distance of the values that pixels are rounded to; 0 where they are kept as float32.
    """

    name: str
    suffixes: tuple[str, ...]
    packings: ClassVar[tuple[str, ...]]
    encodings: ClassVar[tuple[str, ...]]
    longest_side: int | None = None
    is_lossless = True
    step_px = 0.0

    def check_usable(self) -> None:  # noqa: B027
        """Raise `MissingExtraError` unless the library that it needs is installed."""


class FlowFile(FileKind):
    """A file for each flow, or for each component of it."""

    @abstractmethod
    def encode(self, values: Values, packing: str, quality: int) -> Iterable[bytes]:
        """Return the files of a flow: that of x and that of y, or the one of both.

        `values`: uint8 or float32 array (2, H, W), as the layout's encoding has them.
        """

    @abstractmethod
    def decode(self, data: bytes, packing: str) -> FlowValues:
        """Return what a file holds; raises `DecodeError` before room is made for what it only claims to hold."""


class VideoFile(FileKind):
    """A file for the flow of a video; `overhead_bytes` are about those that it has beside its float32 numbers."""

    packings = ("video",)
    encodings = ("pixels", "i3d-float")
    overhead_bytes: ClassVar[int]

    @abstractmethod
    def write(self, file: Any, shape: Sequence[int], flows: Iterable[Flow], encoding: str) -> None:
        """Write flows, float32 (2, H, W) each, (n, H, W) = `shape` of them, to a file open for reading and writing."""

    @abstractmethod
    def open(self, path: str, file: IO[bytes]) -> AbstractContextManager[VideoFlow]:
        """Open a file that is open for reading already; raises `DecodeError` if it holds no flow."""


def check_size(height: int, width: int) -> None:
    """Raise `DecodeError` for the size of a picture that nobody makes: no pixel, or more than `MAX_PIXELS`."""
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise DecodeError(f"its header says {width}×{height} px, expected 1 to {MAX_PIXELS} pixels: damaged")


def check_bytes(found: int, expected: int, what: str) -> None:
    """Raise `DecodeError` unless a file has the bytes that its header asks for."""
    if found != expected:
        state = "cut off" if found < expected else "too long"
        raise DecodeError(f"{state}: {found} bytes, expected {expected} for {what}")

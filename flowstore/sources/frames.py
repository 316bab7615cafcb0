"""What every reader of frames gives, whatever holds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]


class FrameReader(Protocol):
    """The frames of one video.

    Attributes
    ----------
    fps : float or None
        Frames a second; None where the source has no clock.
    warnings : list of str
        What was worth saying, complete once the frames were read.
    """

    fps: float | None
    warnings: list[str]

    def read_frames(self) -> Iterator[Frame]:
        """Yield the frames in order.

        Yields
        ------
        uint8 array (H, W)
            Gray levels, OpenCV's ``COLOR_BGR2GRAY`` of the decoded frame, upright. All of one size.

        Raises
        ------
        DecodeError
            If a frame cannot be decoded or has another size, or the video ends early.
        """
        ...

    def read_color_frames(self) -> Iterator[Frame]:
        """Yield the frames in order as decoded.

        Yields
        ------
        uint8 array (H, W, 3)
            Blue, green, red, upright. All of one size.

        Raises
        ------
        DecodeError
            See `read_frames`.
        """
        ...

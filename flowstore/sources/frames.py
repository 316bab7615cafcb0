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
        Frames per second of the frames read, the mean where the rate is not constant; None where there is no clock.
    times_s : list of float
        Seconds from the first frame to each frame read; empty where the rate is constant or there is no clock.
    frame_numbers : list of int
        Of each frame read among all that the source holds; empty where it was not thinned by a clock.
    damage : str
        Where and how much the source is damaged, if its frames before the damage are wanted; empty where it is whole.
    warnings : list of str
        What was worth saying. All of these are complete once the frames were read.
    """

    fps: float | None
    times_s: list[float]
    frame_numbers: list[int]
    damage: str
    warnings: list[str]

    def read_frames(self, fps: float | None = None) -> Iterator[Frame]:
        """Yield the frames in order, or those nearest to the ticks of a clock of so many frames per second.

        Yields
        ------
        uint8 array (H, W)
            Gray levels, OpenCV's ``COLOR_BGR2GRAY`` of the decoded frame, upright. All of one size.

        Raises
        ------
        DecodeError
            If a frame cannot be decoded or has another size, the video ends early, or `fps` is given and there is no
            clock.
        """
        ...

    def read_color_frames(self, fps: float | None = None) -> Iterator[Frame]:
        """Yield the frames of `read_frames` as decoded.

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

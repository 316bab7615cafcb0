"""Scenes of known motion: frames and the flow that made them. Pure.

What the demo is made of: a smooth random texture that moves, turns, grows or stands still.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from flowstore.errors import ArgumentError

Motion = Literal["right", "down", "rotate", "zoom", "still"]
MOTIONS: tuple[Motion, ...] = get_args(Motion)
_SMOOTHNESS = 0.06


@dataclass(frozen=True)
class Scene:
    """A texture under one motion.

    Parameters
    ----------
    motion : {"right", "down", "rotate", "zoom", "still"}
        What it does.
    height, width : int
        Of its frames, in pixels.
    speed : float
        Pixels a frame for a translation; for a rotation or a zoom, at the middle of the longer sides.
    seed : int
        Of the texture.

    Examples
    --------
    >>> scene = Scene("right", 48, 64, speed=2.0)
    >>> scene.flow()[:, 10, 10]
    array([2., 0.], dtype=float32)
    """

    motion: Motion
    height: int = 120
    width: int = 160
    speed: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.motion not in MOTIONS:
            raise ArgumentError(f"motion is {self.motion!r}, expected one of {', '.join(MOTIONS)}")

    @property
    def _rate(self) -> float:
        return self.speed / (min(self.height, self.width) / 2)

    def _grid(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        y, x = np.mgrid[: self.height, : self.width].astype(np.float64)
        return x - (self.width - 1) / 2, y - (self.height - 1) / 2

    def _moved(self, frames: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return where each point, as seen from the center, is after some frames."""
        x, y = self._grid()
        if self.motion == "right":
            return x + self.speed * frames, y
        if self.motion == "down":
            return x, y + self.speed * frames
        if self.motion == "rotate":
            cosine, sine = np.cos(self._rate * frames), np.sin(self._rate * frames)
            return cosine * x - sine * y, sine * x + cosine * y
        scale = np.exp(self._rate * frames) if self.motion == "zoom" else 1.0
        return scale * x, scale * y

    def flow(self, step: int = 1) -> npt.NDArray[np.float32]:
        """Return the true flow from any frame to the one `step` later.

        Returns
        -------
        float32 array (2, H, W)
            Pixels, x right and y down; a rotation is clockwise on the screen.
        """
        x, y = self._grid()
        moved_x, moved_y = self._moved(step)
        return np.stack([moved_x - x, moved_y - y]).astype(np.float32)

    def frames(self, n_frames: int) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield the frames.

        Yields
        ------
        uint8 array (H, W, 3)
            Blue, green, red.
        """
        texture = _texture(self.seed)
        for number in range(n_frames):
            # A frame shows what has moved to each point, so the texture is read where that point came from. The texture
            # itself is seen in the middle of the scene, which keeps a zoom sharp.
            yield _sample(texture, *self._moved(n_frames / 2 - number))


def _texture(seed: int, size: int = 512) -> npt.NDArray[np.float64]:
    spectrum = np.fft.rfft2(np.random.default_rng(seed).standard_normal((3, size, size)))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    smooth = np.fft.irfft2(spectrum * np.exp(-((frequency / _SMOOTHNESS) ** 2)), s=(size, size))
    return np.clip(128 + 45 * smooth / smooth.std(), 0, 255)


def _sample(
    texture: npt.NDArray[np.float64], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    size = texture.shape[1]
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    wx, wy = x - left, y - top
    left, top, right, bottom = left % size, top % size, (left + 1) % size, (top + 1) % size
    upper = (1 - wx) * texture[:, top, left] + wx * texture[:, top, right]
    lower = (1 - wx) * texture[:, bottom, left] + wx * texture[:, bottom, right]
    return np.moveaxis(np.rint((1 - wy) * upper + wy * lower), 0, 2).astype(np.uint8)

"""Scenes of known motion: frames and the flow that made them. Pure.

What the demo is made of: a camera that moves over a texture or a drawn landscape, and a street on which things move.
Everything drawn is a function of the plane, known at every real point, so frames are sampled from what the flow moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from flowstore.errors import ArgumentError

Motion = Literal["right", "down", "rotate", "zoom", "still"]
MOTIONS: tuple[Motion, ...] = get_args(Motion)
View = Literal["texture", "landscape"]
VIEWS: tuple[View, ...] = get_args(View)
_SMOOTHNESS = 0.06

Plane = npt.NDArray[np.float64]
# At points (x, y): blue, green, red as (3, H, W), 0 to 255, and the share (H, W) of each point that is covered, 0 to 1.
Drawing = Callable[[Plane, Plane], tuple[Plane, Plane]]


@dataclass(frozen=True)
class Scene:
    """A picture under one motion.

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
    view : {"texture", "landscape"}
        What is seen: a smooth random texture, or a drawn landscape.

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
    view: View = "texture"

    def __post_init__(self) -> None:
        if self.motion not in MOTIONS:
            raise ArgumentError(f"motion is {self.motion!r}, expected one of {', '.join(MOTIONS)}")
        if self.view not in VIEWS:
            raise ArgumentError(f"view is {self.view!r}, expected one of {', '.join(VIEWS)}")

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
        unit = self.height / _DRAWN_HEIGHT
        for number in range(n_frames):
            # A frame shows what has moved to each point, so the picture is read where that point came from. The picture
            # itself is seen in the middle of the scene, which keeps a zoom sharp.
            x, y = self._moved(n_frames / 2 - number)
            if self.view == "texture":
                yield _to_image(_sample(texture, x, y))
            else:
                color, _ = draw_landscape(x / unit, y / unit)
                yield _to_image(color * _grain(self.seed, x / unit, y / unit))


def _texture(seed: int, size: int = 512) -> npt.NDArray[np.float64]:
    spectrum = np.fft.rfft2(np.random.default_rng(seed).standard_normal((3, size, size)))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    smooth = np.fft.irfft2(spectrum * np.exp(-((frequency / _SMOOTHNESS) ** 2)), s=(size, size))
    return np.clip(128 + 45 * smooth / smooth.std(), 0, 255)


def _sample(texture: Plane, x: Plane, y: Plane) -> Plane:
    size = texture.shape[1]
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    wx, wy = x - left, y - top
    left, top, right, bottom = left % size, top % size, (left + 1) % size, (top + 1) % size
    upper = (1 - wx) * texture[:, top, left] + wx * texture[:, top, right]
    lower = (1 - wx) * texture[:, bottom, left] + wx * texture[:, bottom, right]
    return (1 - wy) * upper + wy * lower


def _to_image(color: Plane) -> npt.NDArray[np.uint8]:
    return np.moveaxis(np.rint(np.clip(color, 0, 255)), 0, 2).astype(np.uint8)


# Drawings are in units of which a frame is so high; the origin is its middle, y points down.
_DRAWN_HEIGHT = 120
_HORIZON, _ROADSIDE = 14.0, 30.0


def _grain(seed: int, x: Plane, y: Plane) -> Plane:
    """Return a factor of brightness: without a grain of its surface nothing tells the points of a shape apart."""
    return 1 + 0.25 * (_sample(_grain_texture(seed), 2.0 * x, 2.0 * y)[0] - 128) / 128


@lru_cache(maxsize=8)
def _grain_texture(seed: int) -> Plane:
    return _texture(seed)


class _Canvas:
    """Shapes over one another at some points; edges are a unit wide."""

    def __init__(self, x: Plane, y: Plane) -> None:
        self.x, self.y = x, y
        self.color = np.zeros((3, *x.shape))
        self.cover = np.zeros(x.shape)

    def fill(self, distance: Plane, rgb: tuple[int, int, int]) -> None:
        """Paint where a distance to a shape's edge is negative."""
        share = np.clip(0.5 - distance, 0, 1)
        self.color += share * (np.array(rgb[::-1], float)[:, None, None] - self.color)
        self.cover += share * (1 - self.cover)

    def disk(self, x: float, y: float, radius: float) -> Plane:
        return np.hypot(self.x - x, self.y - y) - radius

    def box(self, x: float, y: float, width: float, height: float, corner: float = 1.0) -> Plane:
        dx = np.abs(self.x - x) - width / 2 + corner
        dy = np.abs(self.y - y) - height / 2 + corner
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
        return outside + np.minimum(np.maximum(dx, dy), 0) - corner


def draw_landscape(x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """Draw sky, hills, houses, trees and a road; without end to the left and right."""
    canvas = _Canvas(x, y)
    canvas.fill(np.full(x.shape, -1.0), (138, 188, 232))
    for center, height, size in ((-60.0, -44.0, 9.0), (15.0, -36.0, 7.0), (95.0, -50.0, 8.0)):
        canvas.x = (x - center + 110) % 220 - 110
        for dx, dy, share in ((-1.2, 0.3, 0.7), (0.0, 0.0, 1.0), (1.2, 0.25, 0.8)):
            canvas.fill(canvas.disk(dx * size, height + dy * size, share * size), (242, 246, 250))
    canvas.x = x
    canvas.fill(_HORIZON - 15 - 9 * np.sin(x / 33) - 4 * np.sin(x / 14 + 1) - y, (96, 142, 128))
    canvas.fill(_HORIZON - 5 * np.sin(x / 47 + 2) - y, (118, 168, 78))
    for place, rgb in ((-38.0, (196, 112, 84)), (52.0, (222, 196, 140))):
        canvas.x = (x - place + 90) % 180 - 90
        canvas.fill(canvas.box(0, 14, 26, 20), rgb)
        canvas.fill(np.maximum(0.7 * np.abs(canvas.x) - y - 7, y - 5.5), (110, 56, 48))
        canvas.fill(canvas.box(-6, 12, 6, 6, 0.5), (64, 84, 110))
        canvas.fill(canvas.box(6, 12, 6, 6, 0.5), (64, 84, 110))
        canvas.fill(canvas.box(0, 20, 5, 9, 0.5), (84, 58, 44))
    canvas.x = (x + 7 + 30) % 60 - 30
    canvas.fill(canvas.box(0, 22, 3, 14, 0.5), (92, 66, 46))
    canvas.fill(canvas.disk(0, 9, 8.5), (58, 116, 58))
    canvas.x = x
    canvas.fill(_ROADSIDE - y, (104, 104, 108))
    canvas.x = x % 24 - 12
    canvas.fill(canvas.box(0, 46, 12, 2, 0.3), (236, 232, 214))
    canvas.fill(58 - y, (118, 168, 78))
    return canvas.color, canvas.cover


def _draw_tower(x: Plane, y: Plane) -> tuple[Plane, Plane]:
    canvas = _Canvas(x, y)
    canvas.fill(np.maximum(np.abs(x) - 5 - 0.09 * y, np.abs(y - 22) - 24), (232, 222, 204))
    canvas.fill(np.maximum(np.abs(x) - y - 13, y), (128, 62, 52))
    canvas.fill(canvas.box(0, 38, 5, 10, 0.5), (84, 58, 44))
    canvas.fill(canvas.box(0, 18, 4, 5, 0.5), (64, 84, 110))
    return canvas.color, canvas.cover


def _draw_sails(x: Plane, y: Plane) -> tuple[Plane, Plane]:
    canvas = _Canvas(x, y)
    for along, across in ((x, y), (y, -x), (-x, -y), (-y, x)):
        canvas.x, canvas.y = along, across
        canvas.fill(canvas.box(17, 3, 20, 7, 0.5), (250, 246, 236))
        for bar in (10.0, 14.0, 18.0, 22.0, 26.0):
            canvas.fill(canvas.box(bar, 3, 1, 7, 0.2), (150, 110, 80))
        canvas.fill(canvas.box(14, 0, 28, 1.6, 0.5), (112, 72, 48))
    canvas.x, canvas.y = x, y
    canvas.fill(canvas.disk(0, 0, 2.5), (84, 54, 40))
    return canvas.color, canvas.cover


def _draw_balloon(x: Plane, y: Plane) -> tuple[Plane, Plane]:
    canvas = _Canvas(x, y)
    for side in (-1.0, 1.0):
        canvas.fill(np.maximum(np.abs(x - side * (4.5 - 0.14 * (y - 12))) - 0.4, np.abs(y - 18) - 5), (70, 60, 50))
    skirt = np.maximum(np.abs(x) - 9 + 0.7 * (y - 9), np.abs(y - 12) - 4)
    for shape in (canvas.disk(0, 0, 15), skirt):
        canvas.fill(shape, (222, 62, 56))
        meridian = 6 * np.sqrt(np.clip(1 - (y / 16) ** 2, 0, 1))
        canvas.fill(np.maximum(shape, np.abs(np.abs(x) - meridian) - 2.5), (248, 206, 74))
    canvas.fill(canvas.box(0, 25, 8, 6), (140, 96, 56))
    return canvas.color, canvas.cover


def _draw_car(x: Plane, y: Plane) -> tuple[Plane, Plane]:
    canvas = _Canvas(x, y)
    canvas.fill(np.maximum(np.abs(x + 2) - 15 - 0.5 * (y + 8), np.abs(y + 8) - 7), (46, 92, 190))
    canvas.fill(canvas.box(0, 3, 50, 13, 4), (46, 92, 190))
    for left in (-9.5, 5.0):
        canvas.fill(np.maximum(np.abs(x - left) - 5.5 - 0.2 * (y + 7), np.abs(y + 7) - 4.5), (206, 228, 240))
    canvas.fill(canvas.box(23, 1, 3, 4, 1), (255, 226, 120))
    canvas.fill(canvas.box(-24, 1, 2, 4, 1), (214, 50, 46))
    canvas.fill(canvas.box(0, 4, 46, 1.2, 0.3), (232, 236, 244))
    return canvas.color, canvas.cover


def _draw_wheel(x: Plane, y: Plane) -> tuple[Plane, Plane]:
    canvas = _Canvas(x, y)
    canvas.fill(canvas.disk(0, 0, 7.5), (38, 38, 42))
    canvas.fill(canvas.disk(0, 0, 5), (206, 208, 214))
    canvas.fill(np.minimum(canvas.box(0, 0, 9.5, 1.8, 0.2), canvas.box(0, 0, 1.8, 9.5, 0.2)), (70, 70, 78))
    canvas.fill(canvas.disk(0, 0, 1.6), (214, 60, 52))
    return canvas.color, canvas.cover


@dataclass(frozen=True)
class _Layer:
    """A drawing that moves and turns at an even pace; lengths in the drawings' units, times in frames."""

    draw: Drawing
    place: tuple[float, float]
    velocity: tuple[float, float]
    turn: float = 0.0

    def placed(self, x: Plane, y: Plane, time: float) -> tuple[Plane, Plane]:
        """Return the points of the drawing that are seen at points of the frame."""
        x, y = x - self.place[0] - self.velocity[0] * time, y - self.place[1] - self.velocity[1] * time
        return _turned(x, y, -self.turn * time)

    def moved(self, x: Plane, y: Plane, time: float, later: float) -> tuple[Plane, Plane]:
        """Return where what is seen at points of the frame at one time is at a later one."""
        x, y = _turned(*self.placed(x, y, time), self.turn * later)
        return x + self.place[0] + self.velocity[0] * later, y + self.place[1] + self.velocity[1] * later


def _turned(x: Plane, y: Plane, angle: float) -> tuple[Plane, Plane]:
    cosine, sine = np.cos(angle), np.sin(angle)
    return cosine * x - sine * y, sine * x + cosine * y


@dataclass(frozen=True)
class Street:
    """A street, over which the camera pans: a car passes, a balloon rises, a windmill turns.

    Parameters
    ----------
    height, width : int
        Of its frames, in pixels.
    speed : float
        Of the car over the road, in pixels a frame where a frame is 120 pixels high, and in proportion elsewhere.
    seed : int
        Of the grain of its surfaces.

    Examples
    --------
    >>> street = Street(120, 160, speed=2.0)
    >>> street.flow()[:, 110, 5]  # the road: the camera pans right
    array([-0.8,  0. ], dtype=float32)
    """

    height: int = 120
    width: int = 160
    speed: float = 2.0
    seed: int = 0

    @cached_property
    def _layers(self) -> tuple[_Layer, ...]:
        pan, drive = -0.4 * self.speed, 0.6 * self.speed
        wheel_turn = self.speed / 7.5
        return (
            _Layer(draw_landscape, (0.0, 0.0), (pan, 0.0)),
            _Layer(_draw_tower, (58.0, -18.0), (pan, 0.0)),
            _Layer(_draw_sails, (58.0, -20.0), (pan, 0.0), self.speed / 30),
            _Layer(_draw_balloon, (-38.0, 2.0), (0.15 * self.speed, -0.5 * self.speed)),
            _Layer(_draw_car, (-30.0, 36.0), (drive, 0.0)),
            _Layer(_draw_wheel, (-44.0, 44.0), (drive, 0.0), wheel_turn),
            _Layer(_draw_wheel, (-15.0, 44.0), (drive, 0.0), wheel_turn),
        )

    @property
    def _unit(self) -> float:
        return self.height / _DRAWN_HEIGHT

    def _grid(self) -> tuple[Plane, Plane]:
        y, x = np.mgrid[: self.height, : self.width].astype(np.float64)
        return (x - (self.width - 1) / 2) / self._unit, (y - (self.height - 1) / 2) / self._unit

    def flow(self, step: int = 1, first: int = 0) -> npt.NDArray[np.float32]:
        """Return the true flow from the frame numbered `first` to the one `step` later.

        Returns
        -------
        float32 array (2, H, W)
            Pixels, x right and y down, of what is seen at each point of the first frame.
        """
        x, y = self._grid()
        flow = np.zeros((2, self.height, self.width))
        for layer in self._layers:
            _, cover = layer.draw(*layer.placed(x, y, first))
            moved_x, moved_y = layer.moved(x, y, first, first + step)
            flow = np.where(cover >= 0.5, [moved_x - x, moved_y - y], flow)
        return (self._unit * flow).astype(np.float32)

    def frames(self, n_frames: int) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield the frames.

        Yields
        ------
        uint8 array (H, W, 3)
            Blue, green, red.
        """
        x, y = self._grid()
        for number in range(n_frames):
            image = np.zeros((3, self.height, self.width))
            for depth, layer in enumerate(self._layers):
                placed = layer.placed(x, y, number)
                color, cover = layer.draw(*placed)
                image += cover * (color * _grain(self.seed + depth, *placed) - image)
            yield _to_image(image)

"""Pictures of flow: panels, legends, arrows, and the page that holds them. Draws by OpenCV into arrays; writes no file.

Images are uint8 ``(H, W, 3)``, red, green, blue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flowstore.colour import plane_to_color, wheel_image
from flowstore.opencv import cv2
from flowstore.render.text import INK, LINE_HEIGHT, PALE_INK, draw_text, drawable_text, text_width, wrap_text

Flow = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
Point = tuple[float, float]

MARGIN = 10
_LEGEND_WIDTH = 130
_WHEEL_SIDE = 97
_BAR_HEIGHT, _BAR_WIDTH = 121, 16
_ARROW_SPACING, _SMALLEST_SPACING = 18, 8
_MIN_ARROWS_A_SIDE = 6
# Of an arrow at full scale, in units of the spacing.
_ARROW_LENGTH = 1.25
# In pixels: what is shorter has no room for a head, or for a direction.
_SHORTEST_ARROW, _SHORTEST_LINE = 7.0, 2.5
# Positions in sixteenths of a pixel.
_SHIFT = 4


def fit_image(image: Image, height: int, width: int) -> Image:
    """Return an image at another size: pixels stay squares where it grows, and are averaged where it shrinks.

    `image`: uint8 array (H, W, 3), any. Gives uint8 array (height, width, 3).
    """
    if image.shape[:2] == (height, width):
        return image
    is_shrunk = height < image.shape[0] or width < image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if is_shrunk else cv2.INTER_NEAREST)


def draw_arrows(image: Image, flow: Flow, full_scale_px: float) -> Image:
    """Return an image with arrows over it.

    `image`: uint8 array (H, W, 3), at any scale of the flow's size. `flow`: float32 array (2, h, w), components x
    and y in pixels. Gives uint8 array (H, W, 3), an arrow begins at the pixel whose flow it shows; a short one
    has no head, no motion is a dot.
    """
    drawn = image.copy()
    height, width = image.shape[:2]
    spacing = arrow_spacing(height, width, flow.shape[1])
    rows, columns = (_arrow_places(side, spacing) for side in (height, width))
    magnification = _ARROW_LENGTH * spacing / full_scale_px
    starts, ends = [], []
    for y in rows:
        for x in columns:
            vector = flow[:, int(y * flow.shape[1] / height), int(x * flow.shape[2] / width)]
            starts.append((x, y))
            ends.append((x + float(vector[0]) * magnification, y + float(vector[1]) * magnification))
    _draw_all(drawn, starts, ends)
    return drawn


def _draw_all(image: Image, starts: Sequence[Point], ends: Sequence[Point]) -> None:
    # All outlines go first, so that none covers the arrow beside it.
    for ink, thickness in ((0, 3), (255, 1)):
        for start, end in zip(starts, ends, strict=True):
            _draw_arrow(image, start, end, ink, thickness)


def arrow_spacing(height: int, width: int, flow_height: int) -> float:
    """Return how far from one another arrows stand on a panel, in pixels; one for a pixel of flow at most."""
    wanted = min(_ARROW_SPACING, max(_SMALLEST_SPACING, min(height, width) / _MIN_ARROWS_A_SIDE))
    return max(wanted, height / flow_height)


def _arrow_places(side: int, spacing: float) -> npt.NDArray[np.float64]:
    n_places = max(1, int(side / spacing))
    return (np.arange(n_places) + 0.5) * side / n_places


def _draw_arrow(image: Image, start: Point, end: Point, ink: int, thickness: int) -> None:
    # What leaves the picture far is cut off by OpenCV; its fixed-point numbers have limits of their own.
    points = [tuple(round(float(np.clip(v, -4000, 20000)) * 2**_SHIFT) for v in point) for point in (start, end)]
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    color = (ink, ink, ink)
    if length < _SHORTEST_LINE:
        # Without a core: a light one would make a ring of it.
        if ink == 0:
            cv2.circle(image, points[0], 2**_SHIFT, color, -1, cv2.LINE_AA, _SHIFT)
        return
    if length < _SHORTEST_ARROW:
        cv2.line(image, points[0], points[1], color, thickness, cv2.LINE_AA, _SHIFT)
        return
    tip = min(0.4, 5 / length)
    cv2.arrowedLine(image, points[0], points[1], color, thickness, cv2.LINE_AA, _SHIFT, tip)


def wheel_legend(lines: Sequence[str]) -> Image:
    """Return the color wheel with lines of text below."""
    wheel = np.full((_WHEEL_SIDE, _LEGEND_WIDTH, 3), 255, np.uint8)
    wheel[:, :_WHEEL_SIDE] = wheel_image(_WHEEL_SIDE)
    return _with_lines(wheel, lines)


def bar_legend(full_scale_px: float, lines: Sequence[str]) -> Image:
    """Return the colors of a component as a bar with its ends and middle written beside it, and lines below."""
    bar = np.full((_BAR_HEIGHT + LINE_HEIGHT, _LEGEND_WIDTH, 3), 255, np.uint8)
    top = LINE_HEIGHT // 2
    values = np.linspace(full_scale_px, -full_scale_px, _BAR_HEIGHT, dtype=np.float32)
    colors = plane_to_color(np.repeat(values[:, None], _BAR_WIDTH, axis=1), full_scale_px)
    bar[top : top + _BAR_HEIGHT, :_BAR_WIDTH] = colors
    cv2.rectangle(bar, (0, top), (_BAR_WIDTH - 1, top + _BAR_HEIGHT - 1), PALE_INK, 1)
    for share in (1.0, 0.5, 0.0, -0.5, -1.0):
        y = top + round((1 - share) / 2 * (_BAR_HEIGHT - 1))
        cv2.line(bar, (_BAR_WIDTH, y), (_BAR_WIDTH + 3, y), PALE_INK, 1)
        draw_text(bar, f"{share * full_scale_px:+.3g}" if share else "0", _BAR_WIDTH + 7, y - top)
    return _with_lines(bar, lines)


def arrow_legend(spacing: float, lines: Sequence[str]) -> Image:
    """Return an arrow as long as that of the full scale where arrows stand so far apart, with lines of text below."""
    length = _ARROW_LENGTH * spacing
    image = np.full((24, max(_LEGEND_WIDTH, int(length) + 12), 3), 200, np.uint8)
    _draw_all(image, [(6, 12)], [(6 + length, 12)])
    return _with_lines(image, lines)


def _with_lines(image: Image, lines: Sequence[str]) -> Image:
    texts = [drawable_text(line) for line in lines]
    width = max(image.shape[1], *(text_width(text) for text in texts))
    drawn = np.full((image.shape[0] + 4 + LINE_HEIGHT * len(texts), width, 3), 255, np.uint8)
    drawn[: image.shape[0], : image.shape[1]] = image
    for number, text in enumerate(texts):
        draw_text(drawn, text, 0, image.shape[0] + 4 + number * LINE_HEIGHT)
    return drawn


def draw_frame(image: Image, top: int, left: int, height: int, width: int) -> None:
    """Draw a line around a part of an image."""
    cv2.rectangle(image, (left - 1, top - 1), (left + width, top + height), PALE_INK, 1)


def stack_images(images: Sequence[Image]) -> Image:
    """Return images below one another, left-aligned, a margin between them."""
    width = max(image.shape[1] for image in images)
    parts = []
    for image in images:
        parts += [_padded(image, image.shape[0], width), np.full((MARGIN, width, 3), 255, np.uint8)]
    return np.concatenate(parts[:-1])


def _padded(image: Image, height: int, width: int) -> Image:
    return np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)), constant_values=255)


@dataclass(frozen=True)
class Page:
    """The layout of a picture, or of every picture of a film: title, status, panels side by side, legend.

    Parameters
    ----------
    title : str
        Broken into lines where it is long.
    panel_height, panel_width, n_panels : int
        Size of each panel in pixels, and how many there are.
    legend : uint8 array (H, W, 3)
        Stands right of the panels.
    widest_status, widest_caption : str
        The longest line that will be drawn below the title, and below a panel.
    """

    title: str
    panel_height: int
    panel_width: int
    n_panels: int
    legend: Image
    widest_status: str = ""
    widest_caption: str = ""

    @property
    def _column_width(self) -> int:
        return max(self.panel_width, text_width(drawable_text(self.widest_caption)))

    @property
    def _legend_left(self) -> int:
        return MARGIN + self.n_panels * (self._column_width + MARGIN)

    @property
    def width(self) -> int:
        """Of the page, in pixels; even, as films want it."""
        inner = max(self._legend_left + self.legend.shape[1] - MARGIN, text_width(drawable_text(self.widest_status)))
        return inner + 2 * MARGIN + inner % 2

    @property
    def _title_lines(self) -> list[str]:
        return wrap_text(drawable_text(self.title), self.width - 2 * MARGIN)

    @property
    def _panel_top(self) -> int:
        return MARGIN + LINE_HEIGHT * (len(self._title_lines) + 1) + 4

    @property
    def height(self) -> int:
        """Of the page, in pixels; even."""
        inner = max(self.panel_height + LINE_HEIGHT + 2, self.legend.shape[0])
        total = self._panel_top + inner + MARGIN
        return total + total % 2

    def blank(self) -> Image:
        """Return the page with all that does not change from one picture to the next."""
        image = np.full((self.height, self.width, 3), 255, np.uint8)
        for number, line in enumerate(self._title_lines):
            draw_text(image, line, MARGIN, MARGIN + number * LINE_HEIGHT)
        height, width = self.legend.shape[:2]
        image[self._panel_top : self._panel_top + height, self._legend_left : self._legend_left + width] = self.legend
        return image

    def draw(self, blank: Image, panels: Sequence[Image], captions: Sequence[str], status: str) -> Image:
        """Return a picture.

        `blank`: uint8 array (H, W, 3), what `blank` gave. `panels`: sequence of uint8 arrays (panel_height,
        panel_width, 3), from left to right. Gives uint8 array (H, W, 3).
        """
        image = blank.copy()
        top = self._panel_top
        draw_text(image, drawable_text(status), MARGIN, top - 4 - LINE_HEIGHT, PALE_INK)
        for number, (panel, caption) in enumerate(zip(panels, captions, strict=True)):
            left = MARGIN + number * (self._column_width + MARGIN)
            image[top : top + self.panel_height, left : left + self.panel_width] = panel
            draw_frame(image, top, left, self.panel_height, self.panel_width)
            draw_text(image, drawable_text(caption), left, top + self.panel_height + 3, INK)
        return image

"""The pictures of one video: what stands on them, in which colors, and how large. Writes no file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flowstore.colour import check_scale, flow_scale_px, flow_to_color, plane_to_color
from flowstore.errors import ArgumentError
from flowstore.format.settings import flow_unit
from flowstore.quantize.quantizer import Quantizer
from flowstore.render import drawing
from flowstore.render.source_frames import SourceFrames, find_source_frames
from flowstore.store.video import Video

Style = Literal["color", "arrows", "planes"]
Image = npt.NDArray[np.uint8]

SCALE_OF_FLOW, SCALE_OF_VIDEO = "p95 of the flow", "p99 of the video"
# A panel's longer side, where the zoom is left to choose.
_SMALLEST_PANEL, _LARGEST_PANEL = 240, 640
_SIDE_LIMIT = 16384


def choose_zoom(height: int, width: int) -> float:
    """Return the size at which flow is drawn, over its own: between 240 and 640 pixels on the longer side.

    Examples
    --------
    >>> choose_zoom(120, 160), choose_zoom(240, 320), choose_zoom(8, 8), choose_zoom(720, 1280)
    (2.0, 1.0, 30.0, 0.5)
    """
    longer = max(height, width)
    if longer < _SMALLEST_PANEL:
        return float(math.ceil(_SMALLEST_PANEL / longer))
    return min(1.0, _LARGEST_PANEL / longer)


def _panel_size(video: Video, zoom: float | None) -> tuple[int, int, float]:
    _, _, height, width = video.shape
    factor = choose_zoom(height, width) if zoom is None else zoom
    if not (math.isfinite(factor) and factor > 0 and max(height, width) * factor <= _SIDE_LIMIT):
        raise ArgumentError(
            f"zoom is {factor:g}, expected above 0 and at most {_SIDE_LIMIT / max(height, width):g} "
            f"for flow of {video.size_text}"
        )
    return max(1, round(height * factor)), max(1, round(width * factor)), factor


class FlowPainter:
    """Flow, as stored, to colors at one scale.

    Notes
    -----
    A color depends on two codes of 256 values each, so that the colors of all pairs are computed once and looked up:
    the same colors as those of the decoded flow, at a tenth of the time.
    """

    def __init__(self, quantizer: Quantizer, scale_px: float) -> None:
        self._quantizer = quantizer
        self._scale_px = scale_px
        self._colors: Image | None = None
        self._plane_colors: Image | None = None
        if quantizer.row is not None:
            pixels = quantizer.decode(np.arange(256, dtype=np.uint8))
            # Colors by the codes of y and x.
            self._colors = flow_to_color(np.stack(np.meshgrid(pixels, pixels)), scale_px)
            self._plane_colors = plane_to_color(pixels[None], scale_px)[0]

    def color(self, codes: npt.NDArray[Any]) -> Image:
        """Return the wheel's colors (H, W, 3) of one flow as stored (2, H, W)."""
        if self._colors is None:
            return flow_to_color(self._quantizer.decode(codes), self._scale_px)
        return self._colors[codes[1], codes[0]]

    def plane(self, codes: npt.NDArray[Any]) -> Image:
        """Return the colors (H, W, 3) of one component as stored (H, W)."""
        if self._plane_colors is None:
            return plane_to_color(self._quantizer.decode(codes), self._scale_px)
        return self._plane_colors[codes]


@dataclass(frozen=True)
class VideoPictures:
    """A video, and how its pictures are laid out."""

    video: Video
    style: str
    scale_px: float
    scale_origin: str
    source_frames: SourceFrames | None
    note: str
    page: drawing.Page

    def draw(self, numbers: Sequence[int]) -> Iterator[Image]:
        """Yield the pictures of some flows, in ascending order."""
        blank = self.page.blank()
        painter = FlowPainter(self.video.quantizer, self.scale_px)
        frames = iter(self.source_frames.read(numbers)) if self.source_frames else None
        for number in numbers:
            codes = self.video.read_codes(number, number + 1)[0]
            frame = next(frames) if frames else None
            panels = [drawing.fit_image(panel, *self._size) for panel in self._panels(codes, frame, painter)]
            if self.style == "arrows":
                flow = self.video.quantizer.decode(codes)
                panels = [drawing.draw_arrows(panels[0], flow, self.scale_px)]
            yield self.page.draw(blank, panels, self._captions(number), describe_flow(self.video, number))

    @property
    def _size(self) -> tuple[int, int]:
        return self.page.panel_height, self.page.panel_width

    def _panels(self, codes: npt.NDArray[Any], frame: Image | None, painter: FlowPainter) -> list[Image]:
        if self.style == "arrows":
            return [painter.color(codes) if frame is None else frame]
        flow = [painter.plane(codes[0]), painter.plane(codes[1])] if self.style == "planes" else [painter.color(codes)]
        return flow if frame is None else [frame, *flow]

    def _captions(self, number: int) -> list[str]:
        return _captions(self.style, self.source_frames is not None, number)


def _captions(style: str, has_frames: bool, number: int) -> list[str]:
    if style == "arrows":
        return [f"frame {number} and its flow" if has_frames else "flow"]
    flow = ["x, right is red", "y, down is red"] if style == "planes" else ["flow"]
    return [f"frame {number}", *flow] if has_frames else flow


def describe_flow(video: Video, number: int) -> str:
    """Return which flow is shown, and when it is, in one line."""
    times = video.record.flow_times_s
    clock = f", {times[number]:.2f} s" if times else ""
    return f"flow {number} of 0 to {video.n_flows - 1}{clock}"


def plan_pictures(
    video: Video,
    style: Style,
    scale: float | None,
    zoom: float | None,
    source: str | os.PathLike[str] | None,
    number: int | None = None,
) -> VideoPictures:
    """Decide what the pictures of a video look like; the same for each of its flows."""
    if scale is not None:
        check_scale(scale)
    if scale is not None:
        scale_px, origin = scale, "given"
    elif number is not None:
        scale_px, origin = flow_scale_px(video[number]), SCALE_OF_FLOW
    else:
        scale_px, origin = video.automatic_scale_px, SCALE_OF_VIDEO
    height, width, factor = _panel_size(video, zoom)
    source_frames, note = find_source_frames(video, source)
    unit = flow_unit(video.settings)
    legends = []
    if style == "planes":
        legends.append(drawing.bar_legend(scale_px, [unit, f"ends: {origin}"]))
    if style == "arrows":
        legends.append(
            drawing.arrow_legend(
                drawing.arrow_spacing(height, width, video.shape[2]), [f"= {scale_px:g} {unit}", origin]
            )
        )
    if style == "color" or (style == "arrows" and source_frames is None):
        legends.append(drawing.wheel_legend([f"rim: {scale_px:g} {unit}", origin, "darker: above"]))
    zoomed = "" if factor == 1 else f", drawn x{factor:.3g}"
    captions = _captions(style, source_frames is not None, video.n_flows - 1)
    page = drawing.Page(
        title=f"{video.key}  {video.shape[3]}x{video.shape[2]}{zoomed}",
        panel_height=height,
        panel_width=width,
        n_panels=len(captions),
        legend=drawing.stack_images(legends),
        widest_status=describe_flow(video, video.n_flows - 1),
        widest_caption=max(captions, key=len),
    )
    return VideoPictures(video, style, scale_px, origin, source_frames, note, page)

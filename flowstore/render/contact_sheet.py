"""A contact sheet: a thumbnail of each video of a class, with its name and scale. Writes no file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flowstore.colour import check_scale, flow_scale_px, flow_to_color, wheel_image
from flowstore.errors import ArgumentError, NameNotFoundError, StoreError
from flowstore.format.settings import flow_unit
from flowstore.names import count_text, printable_name
from flowstore.render import drawing
from flowstore.render.pictures import SCALE_OF_FLOW
from flowstore.render.text import INK, LINE_HEIGHT, PALE_INK, draw_text, drawable_text, text_width, wrap_text
from flowstore.store.open import FlowClass
from flowstore.store.video import Video

Image = npt.NDArray[np.uint8]

MAX_TILES = 60
_TILE_WIDTH, _TILE_HEIGHT = 176, 132
_NAME_LINES = 2
_MAX_COLUMNS = 8
_WHEEL_SIDE = 61
_GRAY = 225


@dataclass(frozen=True)
class ContactSheet:
    """A contact sheet that was drawn: red, green, blue (H, W, 3), and what is not on it, a line each."""

    image: Image
    n_videos: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Tile:
    thumbnail: Image
    lines: list[str]
    last_line: str


def draw_contact_sheet(
    flow_class: FlowClass, frame: int | None = None, scale: float | None = None, limit: int = MAX_TILES
) -> ContactSheet:
    """Draw a flow of each video of a class; the options are those of `flowstore.render.render`.

    Failed and damaged videos have a gray thumbnail and their reason.
    """
    if scale is not None:
        check_scale(scale)
    if limit < 1:
        raise ArgumentError(f"limit is {limit}, expected 1 or more")
    names = flow_class.names
    if not names:
        raise ArgumentError(f"class {printable_name(flow_class.name)} has no videos")
    notes = []
    if len(names) > limit:
        notes.append(f"the first {limit} of {len(names)} videos are drawn (--limit)")
    tiles = [_make_tile(flow_class, name, frame, scale) for name in names[:limit]]
    shown = f"the first {limit} of " if len(names) > limit else ""
    title = f"{printable_name(flow_class.name)}: {shown}{count_text(len(names), 'video')}"
    unit = flow_unit(flow_class.store.settings)
    statement = f"rim: {scale:g} {unit}" if scale else f"rim: what stands below each, in {unit}, {SCALE_OF_FLOW}"
    return ContactSheet(_arrange(tiles, title, statement), len(tiles), tuple(notes))


def _make_tile(flow_class: FlowClass, name: str, frame: int | None, scale: float | None) -> _Tile:
    lines = wrap_text(drawable_text(name), _TILE_WIDTH, _NAME_LINES)
    try:
        video = flow_class[name]
        return _Tile(*_thumbnail(video, frame, scale, lines))
    except (ArgumentError, NameNotFoundError, StoreError) as error:
        reason = error
    # A failed video, or one that is damaged or has no such flow: said in its place.
    record = _record_reason(flow_class, name)
    gray = np.full((_TILE_HEIGHT, _TILE_WIDTH, 3), _GRAY, np.uint8)
    for number, line in enumerate(wrap_text(drawable_text(record or str(reason)), _TILE_WIDTH - 12, 6)):
        draw_text(gray, line, 6, 8 + number * LINE_HEIGHT, PALE_INK)
    return _Tile(gray, lines, "failed" if record else "not drawn")


def _record_reason(flow_class: FlowClass, name: str) -> str:
    index = flow_class.store.videos
    row = index.row_of(flow_class.name, name)
    return "" if row is None else str(index.column("reason")[row])


def _thumbnail(video: Video, frame: int | None, scale: float | None, lines: list[str]) -> tuple[Image, list[str], str]:
    number = video.flow_number(frame)
    flow = video[number]
    scale_px = flow_scale_px(flow) if scale is None else scale
    image = flow_to_color(flow, scale_px)
    height, width = image.shape[:2]
    factor = min(_TILE_HEIGHT / height, _TILE_WIDTH / width)
    size = max(1, round(height * factor)), max(1, round(width * factor))
    return drawing.fit_image(image, *size), lines, f"{scale_px:g} px, flow {number}"


def _arrange(tiles: Sequence[_Tile], title: str, statement: str) -> Image:
    n_columns = min(_MAX_COLUMNS, math.ceil(math.sqrt(len(tiles))))
    n_rows = math.ceil(len(tiles) / n_columns)
    n_lines = max(len(tile.lines) for tile in tiles) + 1
    margin = drawing.MARGIN
    cell_width, cell_height = _TILE_WIDTH + margin, _TILE_HEIGHT + n_lines * LINE_HEIGHT + margin
    texts = [drawable_text(text) for text in (title, statement, "darker: above")]
    head_width = _WHEEL_SIDE + margin + max(text_width(text) for text in texts)
    head_height = _WHEEL_SIDE + margin
    width = max(n_columns * cell_width + margin, head_width + 2 * margin)
    image = np.full((margin + head_height + n_rows * cell_height, width, 3), 255, np.uint8)
    image[margin : margin + _WHEEL_SIDE, margin : margin + _WHEEL_SIDE] = wheel_image(_WHEEL_SIDE)
    for number, text in enumerate(texts):
        draw_text(image, text, 2 * margin + _WHEEL_SIDE, margin + 4 + number * LINE_HEIGHT, PALE_INK if number else INK)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, n_columns)
        top, left = margin + head_height + row * cell_height, margin + column * cell_width
        height, tile_width = tile.thumbnail.shape[:2]
        # Thumbnails stand on one line, whatever their shape.
        offset = _TILE_HEIGHT - height
        image[top + offset : top + _TILE_HEIGHT, left : left + tile_width] = tile.thumbnail
        drawing.draw_frame(image, top + offset, left, height, tile_width)
        for line_number, line in enumerate([*tile.lines, tile.last_line]):
            ink = PALE_INK if line_number == len(tile.lines) else INK
            draw_text(image, line, left, top + _TILE_HEIGHT + 2 + line_number * LINE_HEIGHT, ink)
    return image

"""What a notebook shows of a store, a class and a video: HTML with counts, settings and thumbnails.

Every name is escaped: it can hold markup. Draws with NumPy and zlib, so that reading loads no imaging library.
"""

from __future__ import annotations

import base64
import html
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.colour import flow_scale_px, flow_to_color, wheel_image
from flowstore.errors import StoreError
from flowstore.format.record import VideoRecord
from flowstore.format.settings import ExtractSettings, describe_settings
from flowstore.names import count_text, format_bytes, printable_name, videos_text
from flowstore.quantize.quantizer import Quantizer

Codes = npt.NDArray[Any]

MAX_THUMBNAILS = 6
MAX_ROWS = 12
_THUMBNAIL_SIDE = 160
_WHEEL_SIDE = 49
# Flow at rest is white, as many pages are.
_PICTURE = "image-rendering:pixelated;outline:1px solid rgba(128,128,128,.4)"
_FIGURE = "display:inline-block;margin:4px 12px 4px 0;vertical-align:bottom;font-size:85%"


def video_html(record: VideoRecord, settings: ExtractSettings, thumbnail: str) -> str:
    """Return what a notebook shows of a video."""
    rows = []
    if record.statistics:
        clock = f", {record.clock}" if record.clock else ""
        moved = record.statistics
        rows = [
            ("flow", f"{count_text(record.n_flows, 'flow')} of {record.width}×{record.height}{clock}"),
            (
                "motion",
                f"mean {moved.mean_magnitude:.3g}, p99 {moved.p99_magnitude:.3g}, max {moved.max_magnitude:.3g} px",
            ),
            ("clipped", f"{moved.clipped_share:.3%} of values"),
        ]
    else:
        rows = [("failed", record.reason)]
    rows += [("settings", describe_settings(settings)), ("source", f"{record.source_path} ({record.source_kind})")]
    rows += [("damage", f"{record.damage}; the flow is that of the frames before it")] if record.damage else []
    rows += [("warning", warning) for warning in record.warnings]
    return _view("Video", f"{record.class_name}/{record.name}", rows, [thumbnail] if thumbnail else [])


def class_html(name: str, n_failed: int, names: Sequence[str], n_flows: int, thumbnails: Sequence[str]) -> str:
    """Return what a notebook shows of a class."""
    rows = [("videos", videos_text(len(names) - n_failed, n_failed)), ("flows", f"{n_flows}")]
    rows += [("names", _some(names))] if names else []
    return _view("FlowClass", name, rows, thumbnails)


def store_html(
    url: str,
    settings: ExtractSettings,
    classes: Sequence[tuple[str, int, int, int]],
    notes: Sequence[tuple[str, str]],
    thumbnails: Sequence[str],
) -> str:
    """Return what a notebook shows of a store."""
    n_videos = sum(good for _, good, _, _ in classes)
    n_failed = sum(failed for _, _, failed, _ in classes)
    n_flows = sum(flows for _, _, _, flows in classes)
    rows = [
        ("videos", f"{videos_text(n_videos, n_failed)} in {count_text(len(classes), 'class')}"),
        ("flows", f"{n_flows}"),
        ("settings", f"{describe_settings(settings)}, step {settings.step}, compression {settings.compression}"),
        ("parameters", ", ".join(f"{name} {value}" for name, value in settings.params.items())),
        *notes,
    ]
    shown = [
        (name, videos_text(good, failed), count_text(flows, "flow")) for name, good, failed, flows in classes[:MAX_ROWS]
    ]
    more = len(classes) - len(shown)
    cells = "".join(f"<tr>{''.join(f'<td>{_escape(cell)}</td>' for cell in row)}</tr>" for row in shown)
    tail = f"<div>… and {count_text(more, 'more class')}</div>" if more else ""
    return _view("FlowStore", url, rows, thumbnails, f"<table>{cells}</table>{tail}" if shown else "")


def index_html(rows: Sequence[Mapping[str, Any]], n_videos: int) -> str:
    """Return what a notebook shows of an index: its first rows, one line per video."""
    names = ("class", "video", "flows", "size", "fps", "mean px", "clipped", "bytes")
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{_escape(cell)}</td>' for cell in _index_cells(row))}</tr>" for row in rows)
    more = n_videos - len(rows)
    tail = f"<div>… and {count_text(more, 'more video')}; to_pandas() gives all columns</div>" if more else ""
    return f"<div><b>VideoIndex</b> {count_text(n_videos, 'video')}<table><tr>{head}</tr>{body}</table>{tail}</div>"


def _index_cells(row: Mapping[str, Any]) -> list[str]:
    if row["status"] != "ok":
        return [row["class"], row["video"], f"failed: {row['reason']}", *[""] * 5]
    fps = f"{row['fps']:.4g}" if row["fps"] == row["fps"] else "-"
    size, mean = f"{row['width']}×{row['height']}", f"{row['mean_magnitude']:.2f}"
    clipped, stored = f"{row['clipped_share']:.3%}", format_bytes(row["size_bytes"])
    return [row["class"], row["video"], str(row["n_flows"]), size, fps, mean, clipped, stored]


def clips_html(
    url: str, rows: Sequence[tuple[str, str]], items: Sequence[tuple[str, str, str, str]], n_items: int
) -> str:
    """Return what a notebook shows of a dataset of clips: what it gives, and of its first items what they hold."""
    head = "".join(f"<th>{name}</th>" for name in ("item", "video", "label", "first flow"))
    body = "".join(f"<tr>{''.join(f'<td>{_escape(cell)}</td>' for cell in item)}</tr>" for item in items)
    more = n_items - len(items)
    tail = f"<div>… and {count_text(more, 'more item')}; flows_of() and return_info=True tell of each</div>"
    return _view("FlowClips", url, rows, (), f"<table><tr>{head}</tr>{body}</table>{tail if more else ''}")


def thumbnail_html(record: VideoRecord, quantizer: Quantizer, read: Callable[[int], Codes] | None) -> str:
    """Return a small picture of a lively flow of a video with its name and scale.

    `read`: callable or None, returns a flow as stored, (2, H, W), by its number; None where reading would take
    long.
    """
    name = _escape(record.name)
    if not record.statistics:
        return f'<div style="{_FIGURE}"><b>failed</b>: {_escape(record.reason)}<br>{name}</div>'
    number = record.statistics.lively_flow
    if read is None:
        return ""
    try:
        codes = read(number)
    except StoreError as error:
        return f'<div style="{_FIGURE}"><b>cannot be read</b>: {_escape(str(error))}<br>{name}</div>'
    # Every n-th pixel: an average would hide what moves.
    every = -(-max(record.height, record.width) // _THUMBNAIL_SIDE)
    flow = quantizer.decode(np.ascontiguousarray(codes[:, ::every, ::every]))
    scale_px = flow_scale_px(flow)
    image = flow_to_color(flow, scale_px)
    enlarge = max(1, _THUMBNAIL_SIDE // max(image.shape[:2]))
    size = f'width="{image.shape[1] * enlarge}" height="{image.shape[0] * enlarge}"'
    picture = f'<img src="{_data_uri(image)}" {size} style="{_PICTURE}" alt="flow {number}">'
    return f'<div style="{_FIGURE}">{picture}<br>{name}<br>flow {number}, full color {scale_px:g} px</div>'


def _view(kind: str, name: str, rows: Iterable[tuple[str, str]], thumbnails: Sequence[str], more: str = "") -> str:
    body = "".join(
        f'<tr><th style="text-align:left">{_escape(key)}</th><td style="text-align:left">{_escape(value)}</td></tr>'
        for key, value in rows
    )
    pictures = "".join(thumbnails)
    if "<img" in pictures:
        wheel = _data_uri(wheel_image(_WHEEL_SIDE))
        pictures += f'<div style="{_FIGURE}"><img src="{wheel}" alt="color wheel"><br>direction</div>'
    return f"<div><b>{kind} {_escape(name)}</b><table>{body}</table>{more}<div>{pictures}</div></div>"


def _escape(text: str) -> str:
    return html.escape(printable_name(text))


def _some(names: Sequence[str]) -> str:
    more = len(names) - MAX_ROWS
    return ", ".join(names[:MAX_ROWS]) + (f" … and {more} more" if more > 0 else "")


def _data_uri(image: npt.NDArray[np.uint8]) -> str:
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()


def png_bytes(image: npt.NDArray[np.uint8]) -> bytes:
    """Return a small image as a PNG file.

    `image`: uint8 array (H, W, 3), red, green, blue.

    References
    ----------
    RFC 2083, §3 and §4.1: signature, then the chunks IHDR, IDAT and IEND; each row begins with its filter, here none.
    """
    height, width, _ = image.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)

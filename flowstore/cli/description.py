"""What a store, a class or a video holds, as text for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from flowstore.cli.tables import Table
from flowstore.format.settings import IMPORTED, ExtractSettings, flow_unit
from flowstore.names import count_text, format_bytes, printable_name, sources_texts, videos_text
from flowstore.store.open import FlowClass, FlowStore, open_place
from flowstore.store.video import Video
from flowstore.store.video_index import VideoIndex
from flowstore.terminal import FittedText


@dataclass(frozen=True)
class Description:
    """What is to be shown.

    Parameters
    ----------
    values : dict
        Plain JSON values.
    text : rich renderable
        The same for people.
    """

    values: dict[str, Any]
    text: RenderableType

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return self.values

    def to_text(self) -> RenderableType:
        """Return what a terminal shows."""
        return self.text


def describe_place(place: str) -> Description:
    """Describe a store, or a class or a video in it."""
    found = open_place(place)
    if isinstance(found, Video):
        return describe_video(found)
    return describe_class(found.store, found.name) if isinstance(found, FlowClass) else describe_store(found)


def _totals(index: VideoIndex) -> dict[str, Any]:
    is_ok = index.column("status") == "ok"
    values = 2 * index.column("n_flows") * index.column("height").astype("int64") * index.column("width")
    clipped = index.column("clipped_x") + index.column("clipped_y")
    return {
        "videos": int(is_ok.sum()),
        "failed": int((~is_ok).sum()),
        "flows": int(index.column("n_flows").sum()),
        "bytes": int(index.column("size_bytes").sum()),
        "raw_values": int(values.sum()),
        "clipped_share": float(clipped.sum() / values.sum()) if values.sum() else 0.0,
    }


def describe_store(store: FlowStore) -> Description:
    """Describe a store: settings, classes, failures, saturation."""
    index, settings = store.videos, store.settings
    totals = _totals(index)
    classes = {
        index.class_name(rows[0]): _totals(index.where(_mask(index, rows))) for rows in index.rows_by_class.values()
    }
    failures = _failures(index)
    head = Text.assemble(
        (store.url, "bold"),
        f"\n{count_text(totals['videos'], 'video')}",
        " with flow, " if totals["failed"] else "",
        (f"{totals['failed']} failed" if totals["failed"] else "", "red"),
        f", {count_text(totals['flows'], 'flow')}, {format_bytes(totals['bytes'])}"
        f" ({_share(totals, settings)} of raw {settings.quantizer.dtype.name}), format {store.root.format}",
        f"\n{settings.algorithm} ({settings.engine}): {_pairs(settings.params)}",
        f"\n{_quantizer_text(store)}, step {settings.step}, compression {settings.compression}{_resize_text(store)}",
        f"\nmade {store.root.created} with {_pairs(store.root.versions)}\n",
        "".join(f"of {text}\n" for text in sources_texts(store.root.sources)),
        (f"{missing}\n" if (missing := store.missing) else "", "red"),
    )
    table = Table("class", "videos", "failed", "flows", "bytes", "clipped")
    for name, row in sorted(classes.items()):
        table.add(name, *_total_cells(row))
    if len(classes) > 1:
        table.add("all", *_total_cells(totals), style="bold")
    values = {
        "store": store.url,
        "format": store.root.format,
        "settings": settings.to_json(),
        "versions": store.root.versions,
        "created": store.root.created,
        "sources": list(store.root.sources),
        "planned": store.root.n_planned,
        "missing": store.n_missing,
        **totals,
        "classes": classes,
        "failures": failures,
    }
    return Description(values, Group(FittedText(head), table, *_failure_lines(failures)))


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _mask(index: VideoIndex, rows: range) -> Any:
    import numpy as np

    mask = np.zeros(len(index), bool)
    mask[rows.start : rows.stop] = True
    return mask


def _quantizer_text(store: FlowStore) -> str:
    quantizer = store.settings.quantizer
    if quantizer.bound_px is None:
        return "float16 pixels"
    step = f"uint8 {quantizer.encoding}, ±{quantizer.bound_px:g} px, step {quantizer.scale:.4g} px"
    # How far imported codes are from the flow that was computed, only those who wrote the files can say.
    if store.settings.algorithm == IMPORTED and store.settings.max_error_px is None:
        return step
    return f"{step}, error up to {store.settings.largest_error_px:.4g} px"


def _resize_text(store: FlowStore) -> str:
    settings = store.settings
    parts = [f", short side {settings.short_side} px"] if settings.short_side else []
    parts += [f", size {settings.size[1]}×{settings.size[0]}"] if settings.size else []
    parts += [f", {settings.fps:g} fps"] if settings.fps else []
    return "".join(parts)


def _share(totals: dict[str, Any], settings: ExtractSettings) -> str:
    raw_bytes = totals["raw_values"] * settings.quantizer.dtype.itemsize
    return f"{totals['bytes'] / raw_bytes:.0%}" if raw_bytes else "-"


def _total_cells(totals: dict[str, Any]) -> list[str]:
    failed = str(totals["failed"]) if totals["failed"] else "-"
    return [
        str(totals["videos"]),
        failed,
        str(totals["flows"]),
        format_bytes(totals["bytes"]),
        f"{totals['clipped_share']:.3%}",
    ]


def _failures(index: VideoIndex) -> list[dict[str, str]]:
    return [
        {"class": index.class_name(number), "video": index.name(number), "reason": str(index.column("reason")[number])}
        for number in (index.column("status") == "failed").nonzero()[0]
    ]


def _failure_lines(failures: list[dict[str, str]]) -> list[RenderableType]:
    if not failures:
        return []
    lines = [f"  {printable_name(row['class'])}/{printable_name(row['video'])}: {row['reason']}" for row in failures]
    return [Text("\nfailed", style="red"), FittedText(Text("\n".join(lines)))]


def describe_class(store: FlowStore, class_name: str) -> Description:
    """Describe a class: its videos."""
    index = store.select(class_name, status=None).videos
    totals = _totals(index)
    table = Table("video", "flows", "size", "fps", "mean", "p99", "max px", "clipped", "bytes")
    rows = []
    for number, row in enumerate(index):
        name = index.name(number)
        rows.append(row | {"video": name, "class": class_name})
        if row["status"] == "failed":
            table.add(name, *["-"] * 7, "failed", style="red")
            continue
        numbers = [f"{row[key]:.2f}" for key in ("mean_magnitude", "p99_magnitude", "max_magnitude")]
        size = f"{row['width']}×{row['height']}"
        fps = f"{row['fps']:.4g}" if row["fps"] == row["fps"] else "-"
        cells = [
            str(row["n_flows"]),
            size,
            fps,
            *numbers,
            f"{row['clipped_share']:.3%}",
            format_bytes(row["size_bytes"]),
        ]
        table.add(name, *cells)
    head = Text.assemble(
        (printable_name(class_name), "bold"),
        f": {videos_text(totals['videos'], totals['failed'])}, {count_text(totals['flows'], 'flow')}, "
        f"{format_bytes(totals['bytes'])}\n",
    )
    values = {"class": class_name, **totals, "rows": [_without_nan(row) for row in rows]}
    return Description(values, Group(FittedText(head), table, *_failure_lines(_failures(index))))


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    return {key: None if value != value else value for key, value in row.items()}


def describe_video(video: Video) -> Description:
    """Describe a video: its record."""
    record = video.record
    statistics = record.statistics
    rows: list[tuple[str, str]] = [("status", record.status if record.is_ok else f"failed: {record.reason}")]
    if statistics:
        clock = f", {record.clock}" if record.clock else ""
        rows += [
            ("flow", f"{count_text(record.n_flows, 'flow')} of {video.size_text} from {record.n_frames} frames{clock}"),
            (
                "motion",
                f"mean {statistics.mean_magnitude:.3f}, p99 {statistics.p99_magnitude:.2f}, "
                f"max {statistics.max_magnitude:.2f} {flow_unit(video.settings)}",
            ),
            (
                "clipped",
                f"{statistics.clipped_share:.4%} of values ({statistics.clipped_x} of x, {statistics.clipped_y} of y)",
            ),
            ("stored", f"{format_bytes(record.size_bytes)} in {count_text(len(record.shard_sizes), 'shard')}"),
        ]
    rows += [("source", f"{printable_name(record.source_path)} ({record.source_kind})")]
    rows += [("damage", f"{record.damage}; the flow is that of the frames before it")] if record.damage else []
    rows += [("warning", warning) for warning in record.warnings]
    rows += [("made", f"{record.created} with {_pairs(record.versions)}")]
    head = FittedText(Text(video.key, style="bold"))
    return Description(
        record.to_json(),
        Group(head, *(FittedText(Text.assemble((f"{name:9}", "bold"), value)) for name, value in rows)),
    )

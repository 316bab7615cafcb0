"""The values that pass between modules: what a video is, where it came from, how it moves.

Frozen dataclasses that validate on making and turn into plain JSON and back. Imports errors and limits only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from flowstore.errors import ArgumentError
from flowstore.limits import check_flow_size, is_count, is_number, is_text_mapping
from flowstore.quantize.motion import MotionStatistics
from flowstore.sources.fingerprint import Fingerprint, SourceKind

Status = Literal["ok", "failed"]


@dataclass(frozen=True)
class VideoRecord:
    """Everything a store says of one video; kept in the attributes of the video's group.

    Parameters
    ----------
    class_name, name : str
        Original names, before any escape.
    status : {"ok", "failed"}
        A failed video has a reason and no flow.
    source_path : str
        Where the frames came from, relative to the extracted source; the first file of imported flow.
    source_kind : {"video", "frames", "flow"}
        A video file, a folder of images, or files of flow.
    reason : str
        Why it failed; empty for a good one.
    fingerprint : Fingerprint or None
        None where the source could not be read at all.
    n_frames, n_flows : int
        Frames decoded and used, and flows stored: ``n_flows = n_frames - step``, of imported flow too.
    height, width : int
        Of each flow, in pixels; 0 for a failed video.
    fps : float or None
        Frames per second of the stored sequence, the mean where the rate is not constant; None for frame folders
        whose rate nobody said.
    size_bytes : int
        Bytes of the stored flow.
    shard_sizes : tuple of int
        Bytes of each shard file, in order: what a resumed run compares.
    shard_digests : tuple of str
        What tells each shard file from every other, see `flowstore.format.shards.shard_digest`; none in older stores.
    flow_digest : str
        Of the flow array's ``zarr.json``, see `flowstore.format.zarr_metadata.flow_digest`; empty in older stores.
    statistics : MotionStatistics or None
        None for a failed video.
    warnings : tuple of str
        What was worth saying and did not stop the video.
    created : str
        When the record was made, ISO 8601 in UTC.
    versions : dict of str to str
        Of flowstore and the libraries that made the flow, or failed to.
    times_s : tuple of float
        Seconds from the first frame to each; empty where the rate is constant or there is no clock.
    frame_numbers : tuple of int
        Number in the source of each frame, where frames were thinned by a clock; empty where all were taken.
    source_fps : float or None
        Of a folder of frames that was thinned: frames per second of the folder, as it was said. Else None.
    n_source_frames : int
        Of a folder of frames that was thinned: frames in the folder. Else 0.
    damage : str
        Where the video is damaged and how much, of one whose flow before the damage was kept; else empty.

    Raises
    ------
    ArgumentError
        If the status does not go with the reason and the counts.
    """

    class_name: str
    name: str
    status: Status
    source_path: str
    source_kind: SourceKind
    reason: str = ""
    fingerprint: Fingerprint | None = None
    n_frames: int = 0
    n_flows: int = 0
    height: int = 0
    width: int = 0
    fps: float | None = None
    size_bytes: int = 0
    shard_sizes: tuple[int, ...] = ()
    shard_digests: tuple[str, ...] = ()
    flow_digest: str = ""
    statistics: MotionStatistics | None = None
    warnings: tuple[str, ...] = ()
    created: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    times_s: tuple[float, ...] = ()
    frame_numbers: tuple[int, ...] = ()
    source_fps: float | None = None
    n_source_frames: int = 0
    damage: str = ""

    def __post_init__(self) -> None:
        if self.status not in ("ok", "failed"):
            raise ArgumentError(f"status is {self.status!r}, expected 'ok' or 'failed'")
        if self.is_ok and (self.reason or self.n_flows < 1 or self.statistics is None):
            raise ArgumentError(f"video {self.name!r} is ok, so it needs flows and statistics and no reason")
        if not self.is_ok and (not self.reason or self.n_flows):
            raise ArgumentError(f"video {self.name!r} failed, so it needs a reason and no flows")
        if self.shard_digests and len(self.shard_digests) != len(self.shard_sizes):
            raise ArgumentError(
                f"video {self.name!r} has {len(self.shard_digests)} digests of {len(self.shard_sizes)} shards"
            )
        for values, what in ((self.times_s, "time stamps"), (self.frame_numbers, "numbers of frames")):
            if values and len(values) != self.n_frames:
                raise ArgumentError(f"video {self.name!r} has {self.n_frames} frames, but {len(values)} {what}")

    @property
    def is_ok(self) -> bool:
        """Whether the video has flow."""
        return self.status == "ok"

    @property
    def key(self) -> str:
        """``class/name``, original names."""
        return f"{self.class_name}/{self.name}"

    @property
    def duration_s(self) -> float | None:
        """Length in seconds where the frame rate is known; each frame stands until the next."""
        return self.n_frames / self.fps if self.fps else None

    @property
    def clock(self) -> str:
        """Rate and length for people, such as ``25 fps, 4.00 s``; empty where there is no clock."""
        if not self.fps or self.duration_s is None:
            return ""
        return f"{self.fps:g} fps{' on average (variable rate)' if self.times_s else ''}, {self.duration_s:.2f} s"

    @property
    def flow_times_s(self) -> list[float] | None:
        """Seconds from the first frame to the frame that each flow starts from; None where there is no clock."""
        if self.times_s:
            return list(self.times_s[: self.n_flows])
        return [number / self.fps for number in range(self.n_flows)] if self.fps else None

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values; what most videos don't have is left out."""
        values = asdict(self)
        if self.fingerprint is not None and not self.fingerprint.stamps:
            del values["fingerprint"]["stamps"]
        return {name: value for name, value in values.items() if value or name not in _OPTIONAL_FIELDS}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> VideoRecord:
        """Make a record of what `to_json` gave, lists and tuples alike."""
        try:
            _check_fields(values, _RECORD_FIELDS)
            fingerprint, statistics = values.get("fingerprint"), values.get("statistics")
            return cls(
                **values
                | {
                    "fingerprint": Fingerprint(**fingerprint) if fingerprint else None,
                    "statistics": MotionStatistics.from_json(statistics) if statistics else None,
                    "shard_sizes": tuple(values.get("shard_sizes", ())),
                    "shard_digests": tuple(values.get("shard_digests", ())),
                    "warnings": tuple(values.get("warnings", ())),
                    "times_s": tuple(values.get("times_s", ())),
                    "frame_numbers": tuple(values.get("frame_numbers", ())),
                }
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ArgumentError(f"not the record of a video: {error}") from error

    def check_stated(self) -> None:
        """Refuse what a document can say and no flow can be."""
        if self.statistics is None:
            return
        if len(self.statistics.flow_means) != self.n_flows:
            raise ArgumentError(
                f"video {self.name!r} has {self.n_flows} flows, but {len(self.statistics.flow_means)} mean magnitudes"
            )
        check_flow_size(self.height, self.width, self.n_flows, sum(self.shard_sizes))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list_of(is_kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and all(map(is_kind, value))


_FINGERPRINT_FIELDS: dict[str, Callable[[Any], bool]] = {
    "size_bytes": is_count,
    "mtime_ns": lambda value: type(value) is int and abs(value) <= 2**63,
    "digest": _is_text,
    "stamps": _is_text,
}
_STATISTICS_FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("mean_magnitude", "max_magnitude", "p99_magnitude", "clipped_share"), is_number),
    **dict.fromkeys(("clipped_x", "clipped_y"), is_count),
    "flow_means": _is_list_of(is_number),
}
_RECORD_FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("class_name", "name", "status", "source_path", "source_kind", "reason"), _is_text),
    **dict.fromkeys(("flow_digest", "created", "damage"), _is_text),
    **dict.fromkeys(("n_frames", "n_flows", "height", "width", "size_bytes", "n_source_frames"), is_count),
    **dict.fromkeys(("fps", "source_fps"), lambda value: value is None or (is_number(value) and value > 0)),
    "shard_sizes": _is_list_of(is_count),
    "shard_digests": _is_list_of(_is_text),
    "warnings": _is_list_of(_is_text),
    "versions": is_text_mapping,
    "times_s": _is_list_of(is_number),
    "frame_numbers": _is_list_of(is_count),
    "fingerprint": lambda value: value is None or _check_fields(value, _FINGERPRINT_FIELDS),
    "statistics": lambda value: value is None or _check_fields(value, _STATISTICS_FIELDS),
}


_OPTIONAL_FIELDS = frozenset(("times_s", "frame_numbers", "source_fps", "n_source_frames", "damage"))


def _check_fields(values: Any, fields: Mapping[str, Callable[[Any], bool]]) -> bool:
    """Refuse a mapping with a value that is not of its field's kind; return True."""
    for name, value in values.items():
        if name not in fields or not fields[name](value):
            raise ArgumentError(f"{name} is {repr(value)[:80]}")
    return True

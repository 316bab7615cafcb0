"""Small stores and tiny videos for the tests: what they hold is known before flowstore touches it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np

from flowstore.format.record import VideoRecord
from flowstore.format.root import RootAttributes
from flowstore.format.settings import ExtractSettings
from flowstore.format.zarr_metadata import FORMAT
from flowstore.quantize import Quantizer
from flowstore.quantize.motion import MotionStatistics
from flowstore.sources.fingerprint import Fingerprint
from flowstore.storage.keys import Storage
from flowstore.storage.places import open_storage
from flowstore.store.index import write_index
from flowstore.store.tree import read_records
from flowstore.store.video_index import VideoIndex
from flowstore.store.writer import VideoWriter, write_class, write_failed, write_root

HEIGHT, WIDTH = 24, 32
CREATED = "2024-01-02T03:04:05Z"
VERSIONS = {"flowstore": "0.1.0", "zarr": "3", "numcodecs": "0"}


def make_codes(n_flows: int, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """Return uint8 codes (n_flows, 2, height, width): every flow differs from every other, code 0 never stands."""
    return np.random.default_rng(seed).integers(1, 256, (n_flows, 2, height, width), np.uint8)


def make_record(class_name: str, name: str, n_flows: int, step: int = 1, **changes) -> VideoRecord:
    """Return the record of a good video; its statistics are as good as any."""
    statistics = MotionStatistics(1.5, 9.0, 7.25, 3, 4, 0.125, tuple(float(number) for number in range(n_flows)))
    values = {
        "status": "ok",
        "source_path": f"{class_name}/{name}.avi",
        "source_kind": "video",
        "fingerprint": Fingerprint(1000, 1_700_000_000_000_000_000, "00ff"),
        "n_frames": n_flows + step,
        "n_flows": n_flows,
        "fps": 30.0,
        "statistics": statistics,
        "created": CREATED,
        "versions": VERSIONS,
    }
    return VideoRecord(class_name, name, **values | changes)


def failed_record(class_name: str, name: str, reason: str) -> VideoRecord:
    return VideoRecord(class_name, name, "failed", f"{class_name}/{name}.avi", "video", reason, created=CREATED)


def write_video(storage: Storage, class_name: str, name: str, codes: np.ndarray, settings=None) -> VideoRecord:
    """Write one video of given codes through `VideoWriter`, without its class."""
    settings = settings or ExtractSettings()
    _, _, height, width = codes.shape
    place = storage, class_name, name, height, width, settings.quantizer, settings.compression
    with VideoWriter(*place) as writer:
        for flow in codes:
            writer.append(flow)
        return writer.commit(make_record(class_name, name, len(codes), settings.step))


def write_store(
    place,
    videos: Mapping[str, np.ndarray],
    failed: Mapping[str, str] | None = None,
    settings: ExtractSettings | None = None,
    is_indexed: bool = True,
) -> Storage:
    """Write a store of videos ``class/name`` with given codes, and of failed ones with given reasons."""
    storage = open_storage(place, is_written=True)
    settings = settings or ExtractSettings()
    write_root(storage, RootAttributes(FORMAT, settings, VERSIONS, CREATED))
    for class_name in sorted({key.partition("/")[0] for key in (*videos, *(failed or {}))}):
        write_class(storage, class_name)
    for key, codes in videos.items():
        class_name, _, name = key.partition("/")
        write_video(storage, class_name, name, codes, settings)
    for key, reason in (failed or {}).items():
        class_name, _, name = key.partition("/")
        write_failed(storage, failed_record(class_name, name, reason))
    if is_indexed:
        write_index(storage, VideoIndex.from_records(read_records(storage)))
    return storage


def drop_digests(place, path: str = "") -> None:
    """Take the digests out of a node's document, as in a store of before there were any: others may change it then."""
    storage = open_storage(place, is_written=True)
    document = json.loads(storage.read(f"{path}/zarr.json".lstrip("/")))
    for name in ("digest", "flow_digest", "shard_digests"):
        document["attributes"]["flowstore"].pop(name, None)
    storage.write(f"{path}/zarr.json".lstrip("/"), json.dumps(document).encode())


def settings_of(encoding: str, bound_px: float | None = 20.0, **changes) -> ExtractSettings:
    return ExtractSettings(quantizer=Quantizer(encoding, bound_px), **changes)


def make_frames(n_frames: int, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> list[np.ndarray]:
    """Return BGR frames of a blurred texture that moves a pixel a frame."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width + n_frames, 3), np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    return [np.ascontiguousarray(texture[:, n : n + width]) for n in range(n_frames)]


def write_avi(path: Path, n_frames: int = 5, seed: int = 0, frames: Iterable[np.ndarray] | None = None) -> Path:
    """Write an AVI of JPEG frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = list(make_frames(n_frames, seed) if frames is None else frames)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def tree_files(root: Path) -> dict[str, bytes]:
    """Return every file below a folder by its relative path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(Path(root).rglob("*")) if path.is_file()}


def picture_scale(flow):
    """The full scale of one flow's picture: 95 % of its magnitudes are below."""
    return float(f"{np.percentile(np.sqrt(flow[0] ** 2 + flow[1] ** 2), 95):.3g}")

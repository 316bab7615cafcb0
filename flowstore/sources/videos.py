"""Video files as streams of frames, decoded by PyAV (FFmpeg) on one thread, with what each file shows of damage.

A file is judged by its packets and its clock, never by its name or by the number of frames its header claims.
Owns PyAV; holds one frame at a time. Must not import anything that computes flow.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import av.logging
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from flowstore.caches import RecentCache
from flowstore.errors import DecodeError
from flowstore.names import count_text
from flowstore.opencv import cv2
from flowstore.sources.containers import (
    ENDS_EARLY,
    Opened,
    expected_end_s,
    header_length_s,
    header_rate,
    judge_tail,
    open_video,
    raise_if_machine,
    timed_streams,
    whole_end_s,
    words_of,
)
from flowstore.sources.frames import Frame
from flowstore.sources.sampling import Thinning

# Besides one frame a byte: a file that gives more is one that makes a decoder go round in circles.
_FRAMES_ALWAYS_POSSIBLE = 1000
# Of gray or RGB levels, that are pictures and no measurements.
_MOST_BITS = 10
# HMDB51's AVI headers count one frame more than there is; a share, because long headers are rounded.
_MISSING_FRAMES_ALLOWED = 2
_MISSING_SHARE_ALLOWED = 0.01
# Sound is padded and cut by whole blocks of samples.
_SOUND_MISSING_ALLOWED_S = 0.5
_BLANK_BYTES = 16
_UNCOMPRESSED = frozenset(("rawvideo", "r210", "v210", "v410", "ayuv", "y41p", "yuv4", "wrapped_avframe"))
# So many frame intervals without a frame are a gap.
_GAP = 1.5
# Decoded on the way from a key frame to where a look begins: a tenth of a second's work.
_MOST_PIXELS_PASSED = 2**25
# The entry and its key.
_INDEX_OVERHEAD_BYTES = 600
# Of some 20 000 videos of 10 s.
_INDICES = RecentCache(limit_bytes=2**26)


class VideoFile:
    """A video file: its frames upright, in the order they are shown, and the time of each.

    `start`: where to begin, a share of the file's length, about: for a look at some frames.
    """

    def __init__(self, path: str, keep_damaged: bool = False, start: float = 0.0) -> None:
        self.path = path
        self.start = start
        self.keep_damaged = keep_damaged
        self.fps: float | None = None
        self.times_s: list[float] = []
        self.frame_numbers: list[int] = []
        self.damage = ""
        self.warnings: list[str] = []
        with open_video(path) as (container, stream, _):
            rate, length_s = header_rate(stream), header_length_s(container, stream)
            self.rate_header = rate
            self.n_frames_header = stream.frames or round((length_s or 0) * (rate or 0))
            self.height, self.width = stream.codec_context.height, stream.codec_context.width

    def read_frames(self, fps: float | None = None) -> Iterator[Frame]:
        """Yield gray frames, uint8 (H, W): OpenCV's ``COLOR_BGR2GRAY`` of the decoded frame, upright, all of one size.

        With `fps`, only those nearest to the ticks of such a clock.
        """
        for frame, converter in self._read(fps):
            yield converter.gray(frame)

    def read_color_frames(self, fps: float | None = None) -> Iterator[Frame]:
        """Yield frames as `read_frames`, uint8 (H, W, 3): blue, green, red."""
        for frame, converter in self._read(fps):
            yield converter.color(frame)

    def _read(self, fps: float | None) -> Iterator[tuple[VideoFrame, _Converter]]:
        thinning = Thinning(fps)
        self.damage, self.warnings, self.times_s, self.frame_numbers, self.fps = "", [], [], thinning.numbers, None
        with open_video(self.path) as opened:
            decoding, converter = _Decoding(self.path, opened), _Converter()
            for frame in thinning.take(self._sought(decoding.frames(), opened)):
                yield frame, converter
            self.fps, self.times_s = thinning.clock(header_rate(opened.stream), decoding.tick_s, decoding.longest_s)
            self.damage, self.warnings = decoding.judge()
        if self.damage and not (self.keep_damaged and thinning.times_s):
            raise DecodeError(self.damage)

    def _sought(self, frames: Iterator[tuple[float, VideoFrame]], opened: Opened) -> Iterator[tuple[float, VideoFrame]]:
        """Return the frames from where to begin on; none was decoded yet."""
        container, stream, _ = opened
        length_s = header_length_s(container, stream)
        if not self.start or not length_s or not stream.time_base:
            return frames
        first = (stream.start_time or 0) + round(self.start * length_s / stream.time_base)
        with contextlib.suppress(av.FFmpegError), av.logging.Capture():
            container.seek(first, stream=stream)
        # A group of pictures may be a whole film.
        passed = itertools.count()
        n_most, first_s = _MOST_PIXELS_PASSED // (self.height * self.width or 1), float(first * stream.time_base)
        return itertools.dropwhile(lambda timed: timed[0] < first_s and next(passed) < n_most, frames)


def decoder_versions() -> dict[str, str]:
    """Return the versions of what decodes video files."""
    return {"av": av.__version__, "libavcodec": ".".join(map(str, av.library_versions["libavcodec"]))}


def read_frames(path: str, numbers: Sequence[int]) -> Frame:
    """Read some frames of a video file, each the same as sequential decoding gives.

    Gives uint8 array (n, H, W, 3), red, green, blue, upright.

    Notes
    -----
    Frames are sought by the nearest key frame before them where the packets' time stamps tell the number of every
    frame, which are read once and kept while the file is the same; otherwise the file is decoded from its beginning.
    """
    wanted = sorted(set(map(int, numbers)))
    if wanted and wanted[0] < 0:
        raise DecodeError(f"there is no frame {wanted[0]}: frames count from 0")
    found: dict[int, Frame] = {}
    with open_video(path) as (container, stream, _):
        index = _kept_index(path, container, stream)
        if index is not None and wanted and wanted[-1] < len(index.pts):
            found = index.read(container, stream, wanted)
    if len(found) < len(wanted):
        found = _read_in_order(path, wanted)
    frames = [found[int(number)] for number in numbers]
    return np.stack(frames) if frames else np.empty((0, 0, 0, 3), np.uint8)


def count_frames(path: str) -> int | None:
    """Return the number of frames of a video file, None where only decoding all of it would tell."""
    with open_video(path) as (container, stream, _):
        index = _kept_index(path, container, stream)
        return None if index is None else len(index.pts)


def _kept_index(path: str, container: InputContainer, stream: VideoStream) -> _FrameIndex | None:
    info = os.stat(path)
    # A file that was written anew is another one.
    place = path, info.st_size, info.st_mtime_ns, info.st_ino
    kept: tuple[_FrameIndex | None] | None = _INDICES.get(place)
    if kept is None:
        kept = (_FrameIndex.of(container, stream),)
        _INDICES.put(place, kept, _INDEX_OVERHEAD_BYTES + (kept[0].size_bytes if kept[0] else 0))
    return kept[0]


def _read_in_order(path: str, wanted: Sequence[int]) -> dict[int, Frame]:
    found: dict[int, Frame] = {}
    with open_video(path) as opened:
        decoding, converter = _Decoding(path, opened), _Converter()
        chosen, number = set(wanted), -1
        for number, (_, frame) in enumerate(decoding.frames()):
            if number in chosen:
                found[number] = converter.rgb(frame)
                if len(found) == len(chosen):
                    return found
        if len(found) < len(chosen):
            damage = decoding.judge()[0]
            raise DecodeError(damage or f"ends after {number + 1} frames, frame {wanted[-1]} is wanted")
    return found


@dataclass
class _FrameIndex:
    """Time stamps of all frames as shown, and of the key frames among them; for files whose packets tell both."""

    # One packet is one shown frame, and a key frame is one from which every later frame can be decoded.
    CODECS = frozenset(("h264", "hevc", "mjpeg", "vp9", "libdav1d", "av1"))

    pts: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int64]

    @property
    def size_bytes(self) -> int:
        return self.pts.nbytes + self.keys.nbytes

    @classmethod
    def of(cls, container: InputContainer, stream: VideoStream) -> _FrameIndex | None:
        """Return the index of a file, or None where its packets don't tell."""
        if stream.codec_context.name not in cls.CODECS:
            return None
        pts: list[int] = []
        keys: list[int] = []
        for packet in container.demux(stream):
            if packet.size == 0 and packet.dts is None:
                continue
            if packet.pts is None or packet.is_corrupt or packet.is_discard:
                return None
            if packet.is_keyframe:
                keys.append(packet.pts)
            pts.append(packet.pts)
        if not keys or pts[0] != keys[0] or min(pts) != pts[0] or len(set(pts)) != len(pts):
            return None
        return cls(np.sort(np.array(pts, np.int64)), np.sort(np.array(keys, np.int64)))

    def read(self, container: InputContainer, stream: VideoStream, wanted: Sequence[int]) -> dict[int, Frame]:
        """Return those of some frames that seeking finds."""
        found: dict[int, Frame] = {}
        waiting: list[int] = self.pts[list(wanted)].tolist()
        number_of = dict(zip(waiting, wanted, strict=True))
        converter = _Converter()
        while waiting:
            following = int(np.searchsorted(self.keys, waiting[0], side="right"))
            start = int(self.keys[following - 1])
            beyond = int(self.keys[following]) if following < len(self.keys) else None
            container.seek(start, stream=stream, backward=True)
            last = waiting[0] - 1
            for frame in _decode_quietly(container, stream):
                if frame.pts is None or frame.is_corrupt:
                    return found
                # Frames shown before a key frame may need frames before it.
                if frame.pts >= start and frame.pts in number_of:
                    found[number_of[frame.pts]] = converter.rgb(frame)
                last = max(last, frame.pts)
                waiting = [pts for pts in waiting if pts > last]
                # Within a group of pictures, or into the next one, reading on is cheaper than seeking.
                if not waiting or (beyond is not None and waiting[0] >= beyond and last >= beyond):
                    break
            else:
                return found
        return found


def _decode_quietly(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decode from where the file was sought; end at the first thing that is wrong."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.FFmpegError:
            return


class _Decoding:
    """One pass through a video track: gives the frames before any damage, and counts what is damaged in all of it."""

    def __init__(self, path: str, opened: Opened) -> None:
        container, stream = opened.container, opened.stream
        self._path = path
        self._container = container
        self._stream = stream
        self._n_bytes = os.stat(path).st_size
        base = stream.time_base or Fraction(1, 1000)
        self._base_s = float(base)
        self._interval_s = 1 / (header_rate(stream) or 25.0)
        # AVI says when a frame is decoded, and leaves it to others to guess when it is shown.
        self._counts_frames = container.format.name == "avi"
        # Damage was met; and the frames since are its.
        self._is_damaged = self._is_over = False
        # Time stamps of packets before any damage whose frames the decoder holds.
        self._sound_stamps: set[int | None] = set()
        self._bad_stamp: int | None = None
        self._n_frames = self._n_bad_packets = 0
        self._n_bad_frames = self._n_packets = 0
        # Of AVI the index lists every packet, and those of dropped frames as empty.
        index = stream.index_entries if self._counts_frames else ()
        self._n_listed = sum(entry.size > 0 for entry in index)
        self._said: set[str] = set()
        # What was lost in the part that FFmpeg read ahead to know the file: a gap between frames tells where.
        self._said_ahead = words_of(opened.said)
        self._n_stamped = self._n_unstamped = 0
        self._first_s: float | None = None
        self._sound_s = 0.0
        self._reached_s = self._all_reached_s = -math.inf
        self._whole_end_s = whole_end_s(container, stream)
        self._is_compressed = stream.codec_context.name not in _UNCOMPRESSED
        self.longest_s = 0.0

    @property
    def tick_s(self) -> float:
        """Seconds by which a stamp can be off: one tick of the container's clock."""
        return self._base_s

    def frames(self) -> Iterator[tuple[float, VideoFrame]]:
        """Yield the seconds since the start of the clock and the frame, until damage; then read on to the end."""
        layout, last = None, -math.inf
        for frame in self._decoded():
            self._n_frames += 1
            if self._n_frames > self._n_bytes + _FRAMES_ALWAYS_POSSIBLE:
                raise DecodeError(f"does not end: more frames than bytes, {self._n_frames}")
            time = self._time_of(frame, last)
            end = time + (frame.duration * self._base_s if frame.duration else 0.0)
            self._reached_s = max(self._reached_s, end)
            if frame.is_corrupt:
                self._n_bad_frames += 1
                self._is_damaged = self._is_over = True
            if self._said_ahead and time - last > _GAP * self._interval_s and last > -math.inf:
                self._is_damaged = self._is_over = True
            # What the decoder took before the damage, and gives after it, is whole too.
            self._is_over = self._is_over or (self._is_damaged and not self._is_sound(frame.pts))
            self._sound_stamps.discard(frame.pts)
            found = frame.width, frame.height, frame.format.name
            layout = layout or found
            if self._is_over and found != layout:
                self._said.add(f"its frames change to {found[0]}×{found[1]} {found[2]}")
            if not self._is_over:
                if found != layout:
                    raise DecodeError(_changed(self._n_frames - 1, time - (self._first_s or 0.0), found, layout))
                if self._first_s is None:
                    _check_levels(frame)
                    self._first_s = time
                else:
                    self.longest_s = max(self.longest_s, time - last)
                self._sound_s = end
                yield time, frame
            last = time

    def _is_sound(self, stamp: int | None) -> bool:
        return stamp in self._sound_stamps and (self._bad_stamp is None or stamp is None or stamp < self._bad_stamp)

    def _time_of(self, frame: VideoFrame, last: float) -> float:
        stamp = frame.dts if frame.pts is None or self._counts_frames else frame.pts
        if stamp is not None and stamp * self._base_s > last:
            self._n_stamped += 1
            return stamp * self._base_s
        # A decoder gives its last frames without packets, and so without their place.
        self._n_unstamped += not (self._counts_frames and stamp is None)
        return 0.0 if last == -math.inf else last + self._interval_s

    def _decoded(self) -> Iterator[VideoFrame]:
        # Where only the length of all tracks is known, all tell where the file ends.
        others = timed_streams(self._container) if self._whole_end_s is not None else []
        packets = self._container.demux((self._stream, *(other for other in others if other is not self._stream)))
        has_begun = False
        while True:
            frames: list[VideoFrame] = []
            with av.logging.Capture() as said:
                try:
                    packet = next(packets)
                except StopIteration:
                    return
                except av.FFmpegError:
                    self._n_bad_packets += 1
                    self._is_damaged = True
                    return
                self._note_reached(packet)
                if packet.stream.index != self._stream.index:
                    continue
                self._n_packets += packet.size > 0
                has_begun = has_begun or packet.is_keyframe
                try:
                    frames = cast(list[VideoFrame], packet.decode())
                    is_bad = packet.is_corrupt or self._is_blank(packet)
                except av.FFmpegError as error:
                    raise_if_machine(error)
                    # A track may begin in the middle of a group of pictures, whose first frames nobody can decode.
                    is_bad = has_begun
            self._said |= words_of(said)
            self._n_bad_packets += is_bad
            if is_bad or self._said:
                if not self._is_damaged:
                    self._bad_stamp = packet.pts
                self._is_damaged = True
            elif not self._is_damaged:
                self._sound_stamps.add(packet.pts)
            yield from frames

    def _is_blank(self, packet: Any) -> bool:
        # A hole in a disk or a download; decoders pass over it. Pictures that are not compressed may begin so.
        return self._is_compressed and packet.size >= _BLANK_BYTES and not any(memoryview(packet)[:_BLANK_BYTES])

    def _note_reached(self, packet: Any) -> None:
        stamps = [stamp for stamp in (packet.pts, packet.dts) if stamp is not None]
        if stamps and packet.time_base:
            end_s = (max(stamps) + (packet.duration or 0)) * float(packet.time_base)
            self._all_reached_s = max(self._all_reached_s, end_s)
            if packet.stream_index == self._stream.index:
                self._reached_s = max(self._reached_s, end_s)

    def judge(self) -> tuple[str, list[str]]:
        """Return where and how the track is damaged, empty for a whole one, and what else is worth saying."""
        if not self._n_frames:
            return self._with_counts("no frame can be decoded"), []
        start, warnings = self._sound_s if self._first_s is None else self._first_s, []
        end_s = expected_end_s(self._container, self._stream)
        missing_s = -math.inf if end_s is None else end_s - max(self._reached_s, self._sound_s)
        length_s = max(self._reached_s if end_s is None else end_s, self._sound_s) - start
        of = f"{self._sound_s - start:.2f} of {length_s:.2f} s"
        allowed_s = max(
            _MISSING_FRAMES_ALLOWED * max(self._interval_s, self.longest_s), _MISSING_SHARE_ALLOWED * length_s
        )
        tail_damage, tail_warning = judge_tail(self._path, self._container.format.name)
        if tail_damage:
            self._said.add(tail_damage)
        if self._n_unstamped and self._n_stamped:
            warnings.append(f"{count_text(self._n_unstamped, 'frame')} without a time stamp")
        if tail_warning:
            warnings.append(tail_warning)
        is_short = missing_s > allowed_s + self._interval_s / 2
        if self._whole_end_s is not None:
            is_short |= self._whole_end_s - self._all_reached_s > max(allowed_s, _SOUND_MISSING_ALLOWED_S)
        is_sound = not (self._n_bad_packets or self._n_bad_frames) and self.longest_s < _GAP * self._interval_s
        if is_sound and self._said == {ENDS_EARLY} and -math.inf < missing_s < self._interval_s / 2:
            # What is missing is an index behind the last frame.
            return "", [*warnings, f"{ENDS_EARLY}, after its last frame"]
        if is_short or (self._is_damaged and self._sound_s >= self._reached_s - self._interval_s / 2):
            return self._with_counts(f"stops at {of}"), warnings
        if self._is_damaged or tail_damage:
            return self._with_counts(f"damaged at {of}"), warnings
        if self._said_ahead:
            raise DecodeError(self._with_counts(f"damaged near its beginning, of {length_s:.2f} s"))
        if self._n_packets < self._n_listed:
            raise DecodeError(f"damaged: {self._n_listed - self._n_packets} of {self._n_listed} packets are lost")
        if missing_s > 1.5 * self._interval_s:
            warnings.append(f"the header tells of {length_s:.2f} s, its frames take {self._sound_s - start:.2f} s")
        return "", warnings

    def _with_counts(self, text: str) -> str:
        counts = [(self._n_bad_packets, "damaged packet"), (self._n_bad_frames, "damaged frame")]
        parts = [f"{number} {what}{'s' if number > 1 else ''}" for number, what in counts if number]
        parts += sorted(self._said | self._said_ahead)
        return f"{text}: {', '.join(parts)}" if parts else text


def _check_levels(frame: VideoFrame) -> None:
    """Refuse depth and heat, of which 8 bits would keep a few levels; films of 10 bits use all of their range."""
    kind = frame.format
    if kind.components[0].bits > _MOST_BITS and (kind.name.startswith("gray") or kind.is_rgb):
        raise DecodeError(
            f"has levels of {kind.components[0].bits} bits ({kind.name}), of which 8 bits would keep few: scale it to "
            "8 bits over the range that it uses"
        )


def _changed(number: int, time_s: float, found: tuple[int, int, str], before: tuple[int, int, str]) -> str:
    told = "{0}×{1} {2}" if found[2] != before[2] else "{0}×{1}"
    return f"frame {number} at {time_s:.2f} s is {told.format(*found)}, the frames before it are {told.format(*before)}"


class _Converter:
    """Decoded frames to arrays, upright. One for a video: a new scaler per frame would cost more than its work."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._turn: tuple[bool, bool, bool] | None = None

    def color(self, frame: VideoFrame) -> Frame:
        """Return uint8 (H, W, 3), blue, green, red."""
        return self._upright(self._bgr(frame), frame).copy()

    def rgb(self, frame: VideoFrame) -> Frame:
        """Return uint8 (H, W, 3), red, green, blue."""
        return self._upright(cv2.cvtColor(self._bgr(frame), cv2.COLOR_BGR2RGB), frame)

    def gray(self, frame: VideoFrame) -> Frame:
        """Return uint8 (H, W), ``0.299 R + 0.587 G + 0.114 B`` in OpenCV's fixed-point arithmetic."""
        return self._upright(cv2.cvtColor(self._bgr(frame), cv2.COLOR_BGR2GRAY), frame)

    def _bgr(self, frame: VideoFrame) -> Frame:
        """Return a view into PyAV's memory. Bicubic, as OpenCV's decoder has it: it shapes the chroma planes."""
        with av.logging.Capture():
            plane = self._reformatter.reformat(frame, format="bgr24", interpolation="BICUBIC", threads=1).planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        return rows[: frame.height, : 3 * frame.width].reshape(frame.height, frame.width, 3)

    def _upright(self, picture: Frame, frame: VideoFrame) -> Frame:
        if self._turn is None:
            self._turn = _turn_of(frame)
        is_transposed, flips_x, flips_y = self._turn
        if is_transposed:
            picture = cv2.transpose(picture)
        if flips_x or flips_y:
            picture = cv2.flip(picture, -1 if flips_x and flips_y else int(flips_x))
        return picture


def _turn_of(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Return whether a frame is shown transposed, then mirrored in x, and in y.

    References
    ----------
    ISO/IEC 14496-12 §6.2.2, the matrix ``(a b u c d v x y w)``: ``x' = a x + c y``, ``y' = b x + d y``.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = struct.unpack("=9i", bytes(matrix)[:36])[:5]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0

"""Video containers as FFmpeg opens them: the video track, what the header tells, what FFmpeg says, how a file ends."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import re
import stat
import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import av
import av.logging
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from flowstore.errors import DecodeError, MachineError

# What FFmpeg says outside a capture is no word of flowstore's: Python would print it for want of a handler.
logging.getLogger("libav").addHandler(logging.NullHandler())

NO_VIDEO = "not a video that can be decoded, or damaged at its beginning"
# Titles are in any encoding: PyAV 19 takes them all and has no such argument.
_LENIENT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
# Formats that name other files, or are no recording: FFmpeg would follow them.
_FOLLOWING_FORMATS = frozenset(("concat", "dash", "hls", "imf", "rtsp", "sdp"))
# What FFmpeg only logs: data that it lost or made up. Errors that it raises and frames that it marks need no words.
ENDS_EARLY = "the file ends too early"
_LOST = {
    ENDS_EARLY: re.compile("File ended prematurely|partial file"),
    "its structure is broken": re.compile(
        "invalid as first byte of an EBML number|exceeds containing master element|Packet mismatch"
        "|ff asf bad|ff asf skip 0 "
    ),
    "a checksum is wrong": re.compile("CRC mismatch"),
    "a part is missing": re.compile("freeing incomplete packet"),
    "pictures lack data": re.compile("LZW decode failed|overread|illegal dc|ignoring overflow"),
}
_ATTACHED_PICTURE = 0x0400
_STILL_IMAGE = 0x100000
_UNKNOWN_CODEC = re.compile(r"Video: ([^\s,]+(?: \(.{4} / 0x[0-9A-F]+\))?)")
_TAIL_BYTES = 2**17
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_FROM_ZERO = frozenset(("asf", "avi", "flv", "matroska", "webm"))
_FASTEST_RATE = 10_000
_MACHINE_ERRORS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT))


class Opened(NamedTuple):
    """A file with its video track, and what FFmpeg said when it opened it."""

    container: InputContainer
    stream: VideoStream
    said: list[tuple[int, str, str]]


class _Listening:
    """Switches FFmpeg's messages on while anybody listens, for the whole process; off again, they cost nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_listeners = 0
        self._before: tuple[int | None, bool] = (None, True)

    def start(self) -> None:
        with self._lock:
            if self._n_listeners == 0:
                self._before = av.logging.get_level(), av.logging.get_skip_repeated()
                # A line that the file before gave too would be left out.
                av.logging.set_skip_repeated(False)
                av.logging.set_level(max(av.logging.INFO, self._before[0] or 0))
            self._n_listeners += 1

    def stop(self) -> None:
        with self._lock:
            self._n_listeners -= 1
            if self._n_listeners == 0:
                av.logging.set_level(self._before[0])
                av.logging.set_skip_repeated(self._before[1])


_LISTENING = _Listening()


@contextlib.contextmanager
def open_video(path: str) -> Iterator[Opened]:
    """Open a file and its video track, decoding on the calling thread alone."""
    with contextlib.ExitStack() as stack:
        # Until the file is closed: a message on its way through one thread must not meet another's silence.
        _LISTENING.start()
        stack.callback(_LISTENING.stop)
        try:
            info = os.stat(path)
            if not stat.S_ISREG(info.st_mode):
                # Opening a pipe would wait for its other end.
                raise DecodeError("not a regular file")
            if info.st_size == 0:
                raise DecodeError("empty file (0 bytes)")
            # FFmpeg gives no reason where a file may not be read.
            os.close(os.open(path, os.O_RDONLY))
            with av.logging.Capture() as said:
                container = stack.enter_context(_open_container(path))
            if not _FOLLOWING_FORMATS.isdisjoint(container.format.name.split(",")):
                raise DecodeError(NO_VIDEO)
            stream = _find_video(container, said)
        except (DecodeError, MachineError):
            raise
        except OSError as error:
            raise_if_machine(error)
            raise DecodeError(f"cannot be opened: {error.strerror}") from error
        yield Opened(container, stream, said)


def _open_container(path: str) -> InputContainer:
    try:
        # A playlist must not reach other places.
        return av.open(path, options={"protocol_whitelist": "file"}, **_LENIENT)
    except av.FFmpegError as error:
        raise_if_machine(error)
        raise DecodeError(NO_VIDEO) from error


def _find_video(container: InputContainer, said: Iterable[tuple[int, str, str]]) -> VideoStream:
    for stream in container.streams.video:
        if int(stream.disposition) & (_ATTACHED_PICTURE | _STILL_IMAGE):
            continue
        if stream.codec_context is None:
            named = next((match[1] for *_, line in said if (match := _UNKNOWN_CODEC.search(line))), "unknown")
            raise DecodeError(f"FFmpeg {av.ffmpeg_version_info} has no decoder for its video track: codec {named}")
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        return stream
    raise DecodeError(NO_VIDEO)


def header_rate(stream: VideoStream) -> float | None:
    """Return the frame rate that the container tells or FFmpeg guesses; a container's clock is none."""
    for rate in (stream.guessed_rate, stream.average_rate):
        # 1000 and 90 000 are the clocks of FLV, ASF and MPEG: what FFmpeg has when it knows nothing.
        if rate and 0 < rate < _FASTEST_RATE and not (stream.time_base and rate == 1 / stream.time_base >= 1000):
            return float(rate)
    return None


def header_length_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Return how long the video track is meant to be, in seconds; None where the container doesn't tell."""
    rate = header_rate(stream)
    if container.format.name == "avi" and stream.frames and rate:
        # Of a file that is cut FFmpeg gives the length that its size allows.
        return stream.frames / rate
    # ASF has one length for all of its tracks.
    if stream.duration and stream.time_base and container.format.name != "asf":
        return float(stream.duration * stream.time_base)
    stated = [_parse_duration(text) for key, text in stream.metadata.items() if key.upper().startswith("DURATION")]
    whole_s = container.duration / 1e6 if container.duration else None
    lengths = [length for length in stated if length]
    if lengths:
        # A tag that another tool left behind may tell of a longer track than the file.
        return min(lengths[0], whole_s or math.inf)
    return whole_s if len(timed_streams(container)) == 1 else None


def timed_streams(container: InputContainer) -> list[Stream]:
    """Return the video and audio tracks, pictures that are attached left out."""
    streams: list[Stream] = [*container.streams.video, *container.streams.audio]
    return [stream for stream in streams if not int(stream.disposition) & _ATTACHED_PICTURE]


def whole_end_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Return when the last track should end where the header tells only that, on the clock of all tracks."""
    if header_length_s(container, stream) is not None:
        return None
    if container.format.name == "asf":
        # FFmpeg adds to the file's length when a track begins.
        return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
    return container.duration / 1e6 if container.duration else None


def _parse_duration(text: str) -> float | None:
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", text.strip())
    return None if match is None else int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])


def expected_end_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the time, on the track's clock, at which its last frame should end."""
    length_s = header_length_s(container, stream)
    if length_s is None:
        return None
    # Of these the header counts from the start of the file, of others from the track's first frame.
    counts_from_zero = not _FROM_ZERO.isdisjoint(container.format.name.split(","))
    start = 0 if counts_from_zero or stream.start_time is None or not stream.time_base else stream.start_time
    return length_s + float(start * (stream.time_base or 0))


def judge_tail(path: str, formats: str) -> tuple[str, str]:
    """Return what the end of a file tells of damage, and of doubt, for formats that state no length."""
    judges = {"asf": _judge_asf, "avi": _judge_avi, "gif": _judge_gif, "mpegts": _judge_transport, "ogg": _judge_ogg}
    judge = judges.get(formats)
    return ("", "") if judge is None else judge(path)


def _judge_transport(path: str) -> tuple[str, str]:
    with open(path, "rb") as file:
        begins_with_sync = file.read(1) == b"\x47"
    # ISO/IEC 13818-1 §2.4.3.2: 188 bytes, with parity 204, with a time code before each 192.
    if all(os.path.getsize(path) % size for size in ((188, 204) if begins_with_sync else (192,))):
        return "", "may be cut off: it is no whole number of transport packets, and a stream states no length"
    return "", ""


def _judge_avi(path: str) -> tuple[str, str]:
    with open(path, "rb") as file:
        head = file.read(8)
    # The size of the first RIFF list; a recorder that was switched off leaves 0.
    is_cut = head[:4] == b"RIFF" and 8 + int.from_bytes(head[4:], "little") > os.path.getsize(path)
    return (ENDS_EARLY, "") if is_cut else ("", "")


def _judge_asf(path: str) -> tuple[str, str]:
    with open(path, "rb") as file:
        head = file.read(_TAIL_BYTES)
    # ASF 01.20.05 §3.2, the file properties: 24 bytes of head, 16 of identifier, the size of the file.
    at = head.find(_ASF_FILE_PROPERTIES)
    is_cut = at >= 0 and int.from_bytes(head[at + 40 : at + 48], "little") > os.path.getsize(path)
    return (ENDS_EARLY, "") if is_cut else ("", "")


def _judge_ogg(path: str) -> tuple[str, str]:
    """See RFC 3533 §6: a page's table tells its size, and a flag its stream's last page."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - _TAIL_BYTES))
        tail = file.read()
    start = tail.rfind(b"OggS")
    if start < 0 or len(tail) < start + 27:
        return "its last page is cut off", ""
    n_segments = tail[start + 26]
    if start + 27 + n_segments + sum(tail[start + 27 : start + 27 + n_segments]) > len(tail):
        return "its last page is cut off", ""
    return "", "" if tail[start + 5] & 4 else "may be cut off: its last page is not marked as the last"


def _judge_gif(path: str) -> tuple[str, str]:
    """Walk the blocks (GIF89a, appendix A): FFmpeg takes what is no block for the end."""
    with open(path, "rb") as file:
        data = file.read()
    at = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    while at < len(data) and data[at] != 0x3B:
        if data[at] == 0x2C and at + 10 < len(data):
            at += 11 + (3 * 2 ** ((data[at + 9] & 7) + 1) if data[at + 9] & 0x80 else 0)
        elif data[at] == 0x21:
            at += 2
        else:
            return f"no block begins at byte {at}", ""
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return ("", "") if at < len(data) else ("it has no end mark", "")


def raise_if_machine(error: BaseException) -> None:
    """Raise a `MachineError` for what would meet every video alike: no more open files, no room, a broken library."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ImportError) or getattr(cause, "errno", None) in _MACHINE_ERRORS:
            raise MachineError(f"no video can be worked on: {' '.join(str(cause).split())}") from error
        cause = cause.__cause__


def words_of(said: Iterable[tuple[int, str, str]]) -> set[str]:
    """Return which losses FFmpeg's messages tell of, in our words."""
    return {words for words, pattern in _LOST.items() if any(pattern.search(line) for _, _, line in said)}

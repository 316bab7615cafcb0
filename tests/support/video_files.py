"""Video files of every container, whole and harmed in known ways, written by PyAV's muxers and changed by bytes."""

import functools
import io
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from datasets import frames_of

RATE = 30
N_FRAMES = 40
# Container by FFmpeg's name, video encoder, audio encoder; the key is the suffix.
CONTAINERS = {
    "avi": ("avi", "mpeg4", "mp2"),
    "mp4": ("mp4", "libx264", "aac"),
    "mov": ("mov", "libx264", "aac"),
    "mkv": ("matroska", "libx264", "aac"),
    "webm": ("webm", "libvpx-vp9", "libopus"),
    "flv": ("flv", "flv1", "aac"),
    "ts": ("mpegts", "libx264", "mp2"),
    "m2ts": ("mpegts", "mpeg2video", "mp2"),
    "mpg": ("mpeg", "mpeg1video", "mp2"),
    "wmv": ("asf", "wmv2", "mp2"),
    "asf": ("asf", "wmv1", "mp2"),
    "ogv": ("ogg", "libvpx", "libopus"),
    "gif": ("gif", "gif", None),
    "apng": ("apng", "apng", None),
    "3gp": ("3gp", "h263", "aac"),
    "fragmented.mp4": ("mp4", "libx264", "aac"),
    "motion_jpeg.avi": ("avi", "mjpeg", "mp2"),
}
CONDITIONS = ("whole", "cut", "bad_packet", "hole", "long_audio", "variable_rate", "dropped", "late", "no_index")
_PIXELS = {"mjpeg": "yuvj420p", "gif": "rgb8", "apng": "rgb24"}
_OPTIONS = {
    "libx264": {"g": "12", "bf": "2"},
    "mpeg4": {"g": "12", "bf": "2"},
    "mpeg1video": {"g": "12", "bf": "2"},
    "mpeg2video": {"g": "12", "bf": "2"},
    "libvpx-vp9": {"g": "12", "deadline": "realtime", "cpu-used": "8"},
    "libvpx": {"g": "12", "deadline": "realtime", "cpu-used": "8"},
}


def encode(file, frames, container, codec, rate=RATE, times=None, audio=None, audio_s=0.0, options=None, muxing=None):
    """Write frames, uint8 (n, H, W, 3) BGR; `times` are in units of 1/rate s."""
    with av.open(str(file), "w", format=container, options=muxing or {}) as output:
        stream = output.add_stream(codec, rate=rate, options={**_OPTIONS.get(codec, {"g": "12"}), **(options or {})})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = _PIXELS.get(codec, "yuv420p")
        # Packets of similar sizes, so that a place in the file is a place in the video.
        stream.bit_rate = 2_000_000
        packets = []
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "bgr24").reformat(format=stream.pix_fmt)
            picture.pts, picture.time_base = number if times is None else times[number], Fraction(1, rate)
            packets += stream.encode(picture)
        packets += stream.encode(None)
        if audio_s:
            packets += _silence(output.add_stream(audio, rate=48000, layout="mono"), audio_s)
        for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
            output.mux(packet)


def _silence(stream, seconds):
    packets = []
    kind = stream.codec_context.format.name
    values = np.zeros((1, 1024), np.float32 if kind.startswith("flt") else np.int16)
    for start in range(0, int(seconds * 48000), 1024):
        frame = av.AudioFrame.from_ndarray(values, kind, "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


@dataclass(frozen=True)
class MadeFile:
    """A file's bytes, how many frames it was made of, and whether any of them is missing or harmed."""

    data: bytes
    n_frames: int
    is_whole: bool


@functools.cache
def make(suffix, condition):
    """Return a file of a container in a condition, or None where there is no such file."""
    container, codec, audio = CONTAINERS[suffix]
    if condition in ("cut", "bad_packet", "hole"):
        return _harm(suffix, condition)
    muxing = {}
    if container in ("mp4", "mov", "3gp"):
        muxing["movflags"] = "faststart"
    if suffix.startswith("fragmented"):
        muxing["movflags"] = "frag_keyframe+empty_moov+default_base_moof"
    times, audio_s = None, 0.0
    if condition == "long_audio":
        audio_s = 4.0
    elif condition == "variable_rate":
        times = [*range(20), *range(20, 100, 4)]
    elif condition == "dropped":
        times = [*range(15), *range(25, 50)]
    elif condition == "late":
        times, audio_s = list(range(15, 15 + N_FRAMES)), 2.0
    elif condition == "no_index" and container in ("matroska", "webm"):
        muxing["live"] = "1"
    elif condition == "no_index" and container != "avi":
        return None
    if audio_s and audio is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"video.{suffix}")
        frames = frames_of(N_FRAMES, 176, 144)
        encode(path, frames, container, codec, times=times, audio=audio, audio_s=audio_s, muxing=muxing)
        data = path.read_bytes()
    if condition == "no_index" and container == "avi":
        data = data[: data.rindex(b"idx1")]
    return MadeFile(data, N_FRAMES, True)


def _harm(suffix, condition):
    whole = bytearray(make(suffix, "whole").data)
    if condition == "cut":
        return MadeFile(bytes(whole[: int(0.6 * len(whole))]), N_FRAMES, False)
    if condition == "hole":
        start = int(0.55 * len(whole))
        whole[start : start + 4096] = bytes(min(4096, len(whole) - start))
        return MadeFile(bytes(whole), N_FRAMES, False)
    start, end = _packet_in_the_middle(bytes(whole))
    whole[start:end] = bytes(end - start)
    return MadeFile(bytes(whole), N_FRAMES, False)


def _packet_in_the_middle(data):
    """Where the largest packet of the middle of a file lies, which is a key frame; or a piece of it."""
    with av.open(io.BytesIO(data)) as file:
        packets = [bytes(packet) for packet in file.demux(video=0) if packet.size]
    packet = max(packets[len(packets) // 3 : -len(packets) // 3], key=len)
    for size in (len(packet), 1000, 150):
        start = data.find(packet[:size])
        if start >= 0:
            return start, start + size
    raise AssertionError("the packets of this file lie in pieces")

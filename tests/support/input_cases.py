"""Named cases of bad, odd and hostile input: each makes one entry of a class folder and says what has to come of it."""

import functools
import io
import os
import struct
import tempfile
import wave
from dataclasses import dataclass

import av
import cv2
import numpy as np
from datasets import frames_of, video_bytes, write_frames, write_video
from PIL import Image

GOOD = ""  # What is expected of a video that has to be stored.
CASES = {}


@dataclass(frozen=True)
class Case:
    """One entry: how it is made, why it fails (a regular expression; empty for one that is stored), how many flows."""

    make: object
    name: str
    reason: str
    n_flows: int


def case(suffix, reason=GOOD, n_flows=0):
    """Register a maker, which is given the path of the entry."""

    def register(make):
        name = make.__name__ + suffix
        assert name not in CASES
        CASES[name] = Case(make, make.__name__, reason, n_flows)
        return make

    return register


def encode(
    path,
    frames,
    codec="libx264",
    pixels="yuv420p",
    rate=10,
    times=None,
    options=None,
    audio=False,
    container_options=None,
):
    """Write a video with FFmpeg's encoders; `times` are presentation times in units of 1/rate s."""
    with av.open(path, "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixels
        if audio:
            sound = container.add_stream("aac", rate=8000)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "bgr24").reformat(format=pixels)
            picture.pts = number if times is None else times[number]
            for packet in stream.encode(picture):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
        if audio:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts = 8000, 0
            for packet in [*sound.encode(silence), *sound.encode(None)]:
                container.mux(packet)


def boxes(data):
    """Start and end of each box of an MP4 file by its path, boxes of `moov` among them (ISO/IEC 14496-12 §4.2)."""
    found, containers = {}, {b"moov", b"trak", b"mdia", b"minf", b"stbl"}

    def walk(start, end, above):
        while start + 8 <= end:
            size, kind = struct.unpack_from(">I4s", data, start)
            found[f"{above}{kind.decode()}"] = start, start + size
            if kind in containers:
                walk(start + 8, start + size, f"{above}{kind.decode()}/")
            start += max(size, 8)

    walk(0, len(data), "")
    return found


@functools.cache
def mp4_with_index_first(n_frames=12):
    """An MP4 whose `moov` stands before its `mdat`, so that a cut in the pictures leaves the index."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "video.mp4")
        encode(path, frames_of(n_frames), codec="mpeg4", container_options={"movflags": "faststart"})
        with open(path, "rb") as file:
            return file.read()


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


NO_VIDEO = "not a video that can be decoded, or damaged at its beginning"
EARLY = r"(stops|damaged) at \d+\.\d\d of \d+\.\d\d s: .*"
NO_FRAME = "no frame can be decoded(: .*)?"


# ---- nothing, or something else


@case(".mp4", r"empty file \(0 bytes\)")
def empty(path):
    write(path, b"")


@case(".avi", NO_VIDEO)
def one_byte(path):
    write(path, b"R")


@case(".mp4", NO_VIDEO)
def text(path):
    write(path, b"not a video\n" * 100)


@case(".avi", NO_VIDEO)
def zeros(path):
    write(path, bytes(100_000))


@case(".mkv", NO_VIDEO)
def noise(path):
    write(path, np.random.default_rng(0).bytes(100_000))


@case(".mp4", NO_VIDEO)
def web_page(path):
    write(path, b"<!DOCTYPE html><html><body>Sorry, this video is private</body></html>")


@case(".mp4", NO_VIDEO)
def playlist(path):
    write(path, b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n")


@case(".avi", NO_VIDEO)
def zip_archive(path):
    write(path, b"PK\x03\x04" + bytes(1000))


@case(".mp4", NO_VIDEO)
def audio_only_wav(path):
    with wave.open(path, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16_000))


@case(".mp4", NO_VIDEO)
def audio_only(path):
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


# ---- cut and damaged files


def _cut_at(path, data, end):
    write(path, data[:end])


@case(".mp4", NO_VIDEO)
def cut_in_ftyp(path):
    _cut_at(path, mp4_with_index_first(), 6)


@case(".mp4", NO_VIDEO)
def cut_after_ftyp(path):
    data = mp4_with_index_first()
    _cut_at(path, data, boxes(data)["ftyp"][1])


@case(".mp4", NO_VIDEO)
def cut_in_moov(path):
    data = mp4_with_index_first()
    start, end = boxes(data)["moov"]
    _cut_at(path, data, (start + end) // 2)


@case(".mp4", NO_VIDEO)
def cut_in_stsd(path):
    data = mp4_with_index_first()
    start, end = boxes(data)["moov/trak/mdia/minf/stbl/stsd"]
    _cut_at(path, data, (start + end) // 2)


@case(".mp4", NO_VIDEO)
def cut_in_stsz(path):
    data = mp4_with_index_first()
    start, end = boxes(data)["moov/trak/mdia/minf/stbl/stsz"]
    _cut_at(path, data, (start + end) // 2)


@case(".mp4", NO_FRAME)
def cut_before_mdat(path):
    data = mp4_with_index_first()
    _cut_at(path, data, boxes(data)["mdat"][0] + 8)


@case(".mp4", EARLY)
def cut_in_mdat(path):
    data = mp4_with_index_first(40)
    start, end = boxes(data)["mdat"]
    _cut_at(path, data, (start + end) // 2)


@case(".avi", NO_VIDEO)
def cut_in_riff(path):
    _cut_at(path, video_bytes(40), 12)


@case(".avi", NO_VIDEO)
def cut_in_avi_header(path):
    _cut_at(path, video_bytes(40), 100)


@case(".avi", EARLY)
def cut_in_movi(path):
    data = video_bytes(40)
    _cut_at(path, data, len(data) // 2)


@case(".avi", n_flows=39)
def cut_avi_index(path):
    data = video_bytes(40)
    _cut_at(path, data, data.rindex(b"idx1"))


@case(".avi", NO_FRAME)
def pictures_zeroed(path):
    data = bytearray(video_bytes(12))
    start, end = data.index(b"movi") + 4, data.rindex(b"idx1")
    data[start:end] = bytes(end - start)
    write(path, data)


@case(".mp4", f"{NO_VIDEO}|{NO_FRAME}|{EARLY}")
def mdat_of_noise(path):
    data = bytearray(mp4_with_index_first(40))
    start, end = boxes(data)["mdat"]
    data[start + 8 : end] = np.random.default_rng(1).bytes(end - start - 8)
    write(path, data)


@case(".avi", n_flows=5)
def mp4_by_another_name(path):
    write(path, video_bytes(6, suffix=".mp4"))


@case(".avi", n_flows=5)
def bytes_after_the_end(path):
    write(path, video_bytes(6) + bytes(5000))


# ---- odd videos that are stored


@case(".mp4", "1 frame: no flow")
def one_frame(path):
    write_video(path, 1)


@case(".mp4", n_flows=1)
def two_frames(path):
    encode(path, frames_of(2))


@case(".mp4", n_flows=5)
def with_sound(path):
    encode(path, frames_of(6), audio=True)


@case(".mp4", n_flows=5)
def ten_bits(path):
    encode(path, frames_of(6), pixels="yuv420p10le")


@case(".mp4", n_flows=5)
def full_color_resolution(path):
    encode(path, frames_of(6), pixels="yuv444p")


@case(".mkv", n_flows=5)
def gray_pixels(path):
    encode(path, frames_of(6), codec="ffv1", pixels="gray")


@case(".mkv", n_flows=5)
def with_alpha(path):
    encode(path, frames_of(6), codec="ffv1", pixels="bgra")


@case(".webm", n_flows=5)
def vp9(path):
    encode(path, frames_of(6, 64, 48), codec="libvpx-vp9")


@case(".mp4", n_flows=5)
def hevc(path):
    encode(path, frames_of(6, 64, 48), codec="libx265", options={"x265-params": "log-level=none"})


@case(".mpg", n_flows=5)
def mpeg1(path):
    encode(path, frames_of(6), codec="mpeg1video", rate=25)


@case(".flv", n_flows=5)
def flash(path):
    encode(path, frames_of(6), codec="flv1")


@case(".wmv", n_flows=5)
def windows_media(path):
    encode(path, frames_of(6), codec="wmv2")


@case(".ts", n_flows=5)
def transport_stream(path):
    encode(path, frames_of(6))


@case(".gif", n_flows=5)
def animated_gif_that_loops(path):
    first, *rest = [Image.fromarray(frame) for frame in frames_of(6)]
    first.save(path, save_all=True, append_images=rest, loop=0, duration=100)


@case(".gif", "1 frame: no flow")
def still_gif(path):
    Image.fromarray(frames_of(1)[0]).save(path)


@case(".mp4", n_flows=5)
def duplicate_frames(path):
    encode(path, [frames_of(1)[0]] * 6)


@case(".mkv", n_flows=5)
def uneven_times(path):
    encode(path, frames_of(6), times=[0, 1, 7, 8, 30, 31])


@case(".mkv", n_flows=5)
def times_that_start_late(path):
    encode(path, frames_of(6), times=[100, 101, 102, 103, 104, 105])


@case(".mp4", n_flows=8)
def negative_times(path):
    # A clip cut without encoding it anew: an edit list hides what comes before time zero.
    encode(path, frames_of(15), times=list(range(-6, 9)))


@case(".mkv", n_flows=5)
def a_thousand_frames_a_second(path):
    encode(path, frames_of(6), rate=1000)


@case(".avi", n_flows=3)
def one_pixel(path):
    encode(path, frames_of(4, 1, 1), codec="png", pixels="rgb24")


@case(".avi", n_flows=3)
def one_row(path):
    encode(path, frames_of(4, 64, 1), codec="png", pixels="rgb24")


@case(".avi", n_flows=3)
def one_column(path):
    encode(path, frames_of(4, 1, 64), codec="png", pixels="rgb24")


@case(".avi", n_flows=3)
def odd_sides(path):
    encode(path, frames_of(4, 33, 17), codec="png", pixels="rgb24")


@case(".avi", n_flows=2)
def very_wide(path):
    encode(path, frames_of(3, 8192, 16), codec="png", pixels="rgb24")


@case(".avi", n_flows=2)
def very_high(path):
    encode(path, frames_of(3, 16, 8192), codec="png", pixels="rgb24")


@case(".mkv", f"{EARLY}its frames change to 64×48 yuv420p")
def size_that_changes(path):
    # Two coded sizes in one stream, as a recorder writes it whose picture was switched.
    with open(path, "wb") as file:
        for number, (width, height) in enumerate(((32, 24), (64, 48))):
            part = f"{path}.{number}.ts"
            encode(part, frames_of(3, width, height), options={"g": "1", "bf": "0", "tune": "zerolatency"})
            with open(part, "rb") as read:
                file.write(read.read())
            os.unlink(part)


# ---- folders of frames


def folder_of(*images):
    """Return a maker of a folder of image files, given as bytes by name."""

    def make(path):
        os.makedirs(path)
        for name, data in images:
            write(os.path.join(path, name), data)

    return make


def jpegs(n_frames=4, width=32, height=24):
    return [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames_of(n_frames, width, height)]


def pillow(image, suffix, **options):
    target = io.BytesIO()
    image.save(target, suffix, **options)
    return target.getvalue()


def numbered(images, suffix="jpg"):
    return [(f"img_{number:05d}.{suffix}", data) for number, data in enumerate(images, 1)]


@case("", "no frame images in this folder")
def folder_of_nothing(path):
    os.makedirs(path)


@case("", "no frame images in this folder")
def folder_of_notes(path):
    folder_of(("notes.md", b"x"))(path)


@case("", r"img_00002.jpg is empty \(0 bytes\)")
def empty_jpeg(path):
    first, _, *rest = jpegs()
    folder_of(*numbered([first, b"", *rest]))(path)


@case("", r"img_00002.jpg is cut off after \d+ bytes")
def cut_jpeg(path):
    first, second, *rest = jpegs()
    folder_of(*numbered([first, second[: len(second) // 2], *rest]))(path)


@case("", "img_00002.png is cut off after .*|img_00002.png is not an image that can be decoded")
def cut_png(path):
    images = [pillow(Image.fromarray(frame), "PNG") for frame in frames_of(3)]
    folder_of(*numbered([images[0], images[1][: len(images[1]) // 2], images[2]], "png"))(path)


@case("", "img_00002.jpg is not an image that can be decoded")
def text_for_a_jpeg(path):
    first, _, *rest = jpegs()
    folder_of(*numbered([first, b"404 not found", *rest]))(path)


@case("", n_flows=3)
def gray_jpegs(path):
    images = [cv2.imencode(".jpg", frame[..., 0])[1].tobytes() for frame in frames_of(4)]
    folder_of(*numbered(images))(path)


@case("", n_flows=3)
def cmyk_jpegs(path):
    images = [pillow(Image.fromarray(frame).convert("CMYK"), "JPEG") for frame in frames_of(4)]
    folder_of(*numbered(images))(path)


@case("", n_flows=3)
def progressive_jpegs(path):
    images = [pillow(Image.fromarray(frame), "JPEG", progressive=True) for frame in frames_of(4)]
    folder_of(*numbered(images))(path)


@case("", n_flows=3)
def rotated_by_exif(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # A quarter turn to the right.
    images = [pillow(Image.fromarray(frame), "JPEG", exif=exif) for frame in frames_of(4)]
    folder_of(*numbered(images))(path)


@case("", n_flows=3)
def jpegs_with_bytes_after_the_end(path):
    folder_of(*numbered([data + b"trailing" for data in jpegs()]))(path)


@case("", n_flows=3)
def pngs_of_16_bits(path):
    images = [cv2.imencode(".png", frame.astype(np.uint16) * 257)[1].tobytes() for frame in frames_of(4)]
    folder_of(*numbered(images, "png"))(path)


@case("", n_flows=3)
def pngs_with_alpha(path):
    images = [pillow(Image.fromarray(frame).convert("RGBA"), "PNG") for frame in frames_of(4)]
    folder_of(*numbered(images, "png"))(path)


@case("", n_flows=3)
def pngs_with_a_palette(path):
    images = [pillow(Image.fromarray(frame).convert("P"), "PNG") for frame in frames_of(4)]
    folder_of(*numbered(images, "png"))(path)


@case("", "img_00001.webp is an animation, not one frame: .*")
def animated_webp(path):
    first, *rest = [Image.fromarray(frame) for frame in frames_of(4)]
    data = pillow(first, "WEBP", save_all=True, append_images=rest)
    folder_of(*numbered([data, data], "webp"))(path)


@case("", n_flows=3)
def webps(path):
    folder_of(*numbered([pillow(Image.fromarray(frame), "WEBP") for frame in frames_of(4)], "webp"))(path)


@case("", "img_00003.jpg is 64×24, the frames before it are 32×24")
def frames_of_two_sizes(path):
    folder_of(*numbered([*jpegs(2), *jpegs(1, 64)]))(path)


@case("", "two images for one frame: img_00001.jpg and img_00001.png|two images for one frame: .*")
def one_frame_twice(path):
    png = pillow(Image.fromarray(frames_of(1)[0]), "PNG")
    folder_of(*numbered(jpegs(2)), ("img_00001.png", png))(path)


@case("", "img_00002.jpg is not a regular file")
def frame_that_is_a_pipe(path):
    folder_of(*numbered(jpegs(3)))(path)
    os.unlink(os.path.join(path, "img_00002.jpg"))
    os.mkfifo(os.path.join(path, "img_00002.jpg"))


@case("", "img_00002.jpg cannot be opened: .*")
def frame_that_leads_nowhere(path):
    folder_of(*numbered(jpegs(3)))(path)
    os.unlink(os.path.join(path, "img_00002.jpg"))
    os.symlink("nowhere", os.path.join(path, "img_00002.jpg"))


@case("", "img_00002.jpg cannot be opened: .*")
def frame_that_leads_to_itself(path):
    folder_of(*numbered(jpegs(3)))(path)
    os.unlink(os.path.join(path, "img_00002.jpg"))
    os.symlink("img_00002.jpg", os.path.join(path, "img_00002.jpg"))


@case("", "img_00001.png is not an image that can be decoded|img_00001.png cannot be decoded: .*")
def png_that_claims_a_huge_size(path):
    data = bytearray(pillow(Image.fromarray(frames_of(1)[0]), "PNG"))
    data[16:24] = struct.pack(">II", 200_000, 200_000)
    folder_of(*numbered([bytes(data)] * 2, "png"))(path)


@case("", n_flows=3)
def links_to_frames(path):
    frames = os.path.join(path, *3 * [os.pardir], "frames")
    os.makedirs(path)
    folder_of(*numbered(jpegs()))(frames)
    for name in os.listdir(frames):
        os.symlink(os.path.join(frames, name), os.path.join(path, name))


# ---- what is no file, and names


@case(".avi", "not a regular file")
def pipe(path):
    os.mkfifo(path)


@case(".avi", "not a regular file")
def device(path):
    os.symlink("/dev/zero", path)


@case(".avi", "cannot be opened: No such file or directory")
def dangling_link(path):
    os.symlink("/nowhere/at/all.avi", path)


@case(".avi", "cannot be opened: .*symbolic links.*")
def link_to_itself(path):
    os.symlink(os.path.basename(path), path)


def _named(name, suffix):
    def make(path):
        write_video(path, 6)

    make.__name__ = name
    case(suffix, n_flows=5)(make)


for _name in (
    "name with [HD] (1) #2 %41 & 'more'",
    "name-größe-動作",
    "%d_%05d_name",
    "-leading-dash",
    " leading and trailing ",
    "c.0.0.0.0",
    "zarr.json",
    "__reserved",
    "index",
    "tab\tand\nnewline",
    "back\\slash",
    os.fsdecode(b"not-utf8-\xff"),
    "n" * 251,
):
    _named(_name, ".avi")


@case("", n_flows=5)
def good_frames(path):
    write_frames(path, 6)

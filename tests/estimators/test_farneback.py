"""The Farneback kernel against ``cv2.calcOpticalFlowFarneback``, and its behavior as a part of a process."""

import json
import os
import platform
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

import flowstore.estimators.farneback.stream as farneback
from flowstore.errors import ArgumentError, FlowStoreError
from flowstore.estimators.farneback.kernels import KERNELS
from flowstore.estimators.farneback.stream import FarnebackStream

DEFAULTS = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}
GAUSSIAN, INITIAL = 256, 4


def farneback_flow(before, after, **parameters):
    stream = FarnebackStream(*before.shape, **parameters)
    stream.push(before)
    return stream.push(after).copy()


@pytest.fixture(autouse=True, scope="module")
def _one_opencv_thread():
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


def opencv_flow(prev, next_, **parameters):
    p = DEFAULTS | parameters
    return cv2.calcOpticalFlowFarneback(
        np.ascontiguousarray(prev), np.ascontiguousarray(next_), None, *p.values()
    ).transpose(2, 0, 1)


def codes(flow, bound=20):
    return np.clip(128 + np.rint(flow * np.float32(127 / bound)), 1, 255).astype(int)


def check_same(flow, expected):
    difference = np.abs(codes(flow) - codes(expected))
    assert difference.max() <= 1
    assert (difference == 0).mean() >= 0.999


def texture(height, width, seed=0):
    random = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(random.integers(0, 256, (height, width)).astype(np.float32), (0, 0), 3)
    smooth = cv2.normalize(smooth, None, 0, 230, cv2.NORM_MINMAX)
    return (smooth + random.integers(0, 25, (height, width))).astype(np.uint8)


def moved(height, width, dx=3, dy=2, seed=0):
    """Two views of one texture; the scene moves by (-dx, -dy)."""
    image = texture(height + 2 * abs(dy) + 2, width + 2 * abs(dx) + 2, seed)
    y, x = abs(dy), abs(dx)
    return image[y : y + height, x : x + width], image[y + dy : y + dy + height, x + dx : x + dx + width]


def clip_frames(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        good, frame = capture.read()
        if not good:
            return frames
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))


@pytest.fixture(scope="module")
def data_folder():
    if "FLOWSTORE_DATA" not in os.environ:
        pytest.skip("FLOWSTORE_DATA is not set: no real clips to compare on")
    return Path(os.environ["FLOWSTORE_DATA"])


SIZES = [
    (240, 320), (256, 340), (33, 47), (64, 1000), (375, 1242), (17, 13), (9, 300), (300, 9), (5, 5), (2, 40),
    (40, 1), (1, 1), (32, 32), (31, 64), (63, 65),
]  # fmt: skip


class TestSameAsOpenCV:
    @pytest.mark.parametrize("size", SIZES, ids=str)
    def test_sizes(self, size):
        check_same(farneback_flow(*moved(*size)), opencv_flow(*moved(*size)))

    @pytest.mark.parametrize("size", [(33, 47), (64, 1000), (240, 320)], ids=str)
    @pytest.mark.parametrize("displacement", [(60, 0), (0, -60), (-60, 60)], ids=str)
    def test_displacements_of_60_pixels(self, size, displacement):
        pair = moved(*size, *displacement)
        check_same(farneback_flow(*pair), opencv_flow(*pair))

    @pytest.mark.parametrize("size", [(33, 47), (64, 1000), (240, 320), (5, 5)], ids=str)
    def test_noise(self, size):
        pair = np.random.default_rng(7).integers(0, 256, (2, *size), dtype=np.uint8)
        check_same(farneback_flow(*pair), opencv_flow(*pair))

    # Around the patch flow fades to ±1e-9 px. At the left and the upper border its sign, that is the last bit of all
    # that went before, decides whether a displaced point is inside.
    @pytest.mark.skipif(
        platform.machine() not in ("x86_64", "AMD64"), reason="elsewhere OpenCV may be built to fuse what it adds"
    )
    @pytest.mark.parametrize("flags", [0, GAUSSIAN])
    @pytest.mark.parametrize("seed", range(5))
    def test_borders_of_a_still_picture(self, seed, flags):
        before = texture(144, 176, seed)
        after = before.copy()
        after[60:80, 70:100] = texture(20, 30, seed + 99)
        np.testing.assert_allclose(
            farneback_flow(before, after, flags=flags), opencv_flow(before, after, flags=flags), rtol=0, atol=1e-6
        )

    @pytest.mark.parametrize(("before", "after"), [(0, 0), (255, 255), (0, 255), (201, 17)])
    def test_constant_frames(self, before, after):
        pair = [np.full((70, 90), value, np.uint8) for value in (before, after)]
        check_same(farneback_flow(*pair), opencv_flow(*pair))
        if before == after:
            assert np.abs(farneback_flow(*pair)).max() < 1e-3

    @pytest.mark.parametrize("size", [(33, 47), (120, 160)], ids=str)
    @pytest.mark.parametrize(
        "parameters",
        [{"pyr_scale": s} for s in (0.1, 0.3, 0.5, 0.6, 2**-0.5, 0.8, 0.9, 0.95, 0.99)]
        + [{"levels": n, "pyr_scale": s} for n in range(7) for s in (0.5, 0.8)]
        + [{"iterations": n} for n in range(1, 11)]
        + [{"poly_n": n} for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 15, 20)]
        + [{"poly_n": n, "poly_sigma": s} for n in (5, 7) for s in (0.5, 0.8, 1.1, 1.5, 2, 5)],
        ids=str,
    )
    def test_parameters(self, size, parameters):
        pair = moved(*size)
        check_same(farneback_flow(*pair, **parameters), opencv_flow(*pair, **parameters))

    @pytest.mark.parametrize("flags", [0, GAUSSIAN])
    @pytest.mark.parametrize("winsize", range(1, 42))
    def test_window_is_the_same_or_refused(self, winsize, flags):
        pair = moved(60, 80)
        for iterations, smallest in ((1, 6 if flags else 4), (3, 15 if flags else 8)):
            p = {"winsize": winsize, "flags": flags, "iterations": iterations}
            if winsize < smallest:
                with pytest.raises(ArgumentError, match=rf"winsize {winsize} .*winsize {smallest} .*`opencv`"):
                    farneback_flow(*pair, **p)
            else:
                check_same(farneback_flow(*pair, **p), opencv_flow(*pair, **p))

    @pytest.mark.slow
    def test_every_clip(self, data_folder):
        clips = [*sorted((data_folder / "videos").glob("*/*")), data_folder / "odd" / "rotated_90.mov"]
        assert len(clips) > 1
        for clip in clips:
            frames = clip_frames(clip)
            stream = FarnebackStream(*frames[0].shape)
            stream.push(frames[0])
            for before, after in pairwise(frames):
                check_same(stream.push(after), opencv_flow(before, after))

    def test_real_pairs_under_other_parameters(self, data_folder):
        frames = clip_frames(data_folder / "videos" / "SoccerJuggling" / "v_SoccerJuggling_g23_c01.avi")
        for p in (
            {"poly_n": 7, "poly_sigma": 1.5},
            {"pyr_scale": 0.8, "levels": 5},
            {"winsize": 21, "flags": GAUSSIAN},
            {"winsize": 10, "iterations": 2},
            {"iterations": 10},
        ):
            check_same(farneback_flow(*frames[100:102], **p), opencv_flow(*frames[100:102], **p))

    def test_frames_of_a_road(self, data_folder):
        folder = data_folder / "truth" / "kitti"
        pair = [cv2.imread(str(folder / f"kitti_000010_1{i}.png"), cv2.IMREAD_GRAYSCALE) for i in (0, 1)]
        check_same(farneback_flow(*pair), opencv_flow(*pair))


class TestStream:
    @pytest.mark.parametrize("step", [1, 2, 3, 5])
    def test_step(self, step):
        frames = [texture(48, 64 + 20)[:, i : i + 64] for i in range(12)]
        stream = FarnebackStream(48, 64, step=step)
        for index, frame in enumerate(frames):
            flow = stream.push(frame)
            if index < step:
                assert flow is None
            else:
                assert flow.shape == (2, 48, 64)
                assert flow.dtype == np.float32
                assert flow.flags.c_contiguous
                np.testing.assert_array_equal(flow, farneback_flow(frames[index - step], frame))

    def test_components_are_x_right_and_y_down(self):
        flow = farneback_flow(*moved(96, 128, dx=4, dy=0))
        assert np.median(flow[0]) == pytest.approx(-4, abs=0.2)
        assert np.median(flow[1]) == pytest.approx(0, abs=0.2)
        flow = farneback_flow(*moved(96, 128, dx=0, dy=-3))
        assert np.median(flow[1]) == pytest.approx(3, abs=0.2)

    def test_same_frame_gives_exactly_no_motion_inside(self):
        # The last row and column have no neighbor to sample, in OpenCV too, and windows reach 7 pixels.
        frame = texture(64, 80)
        flow = farneback_flow(frame, frame, levels=0, iterations=1)
        assert not flow[:, :-8, :-8].any()

    def test_any_strides(self):
        before, after = moved(50, 70)
        expected = farneback_flow(before.copy(), after.copy())
        wide = np.zeros((100, 210), np.uint8)
        wide[::2, ::3] = after
        for frame in (wide[::2, ::3], np.asfortranarray(after), after[::-1, ::-1].copy()[::-1, ::-1]):
            assert not frame.flags.c_contiguous
            np.testing.assert_array_equal(farneback_flow(before, frame), expected)

    def test_read_only_frames(self):
        before, after = (frame.copy() for frame in moved(50, 70))
        before.flags.writeable = after.flags.writeable = False
        assert farneback_flow(before, after).shape == (2, 50, 70)

    def test_push_keeps_its_memory(self):
        frames = [texture(240, 320, seed) for seed in range(4)]
        stream = FarnebackStream(240, 320)
        stream.push(frames[0])
        first = stream.push(frames[1])
        tracemalloc.start()
        try:
            for frame in frames * 2:
                assert np.shares_memory(stream.push(frame), first)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 20_000

    def test_refused_frame_leaves_the_stream_as_it_was(self):
        before, after = moved(40, 50)
        stream = FarnebackStream(40, 50)
        stream.push(before)
        with pytest.raises(ArgumentError):
            stream.push(after[:, :-1])
        np.testing.assert_array_equal(stream.push(after), farneback_flow(before, after))

    def test_repr_names_size_and_parameters(self):
        assert "FarnebackStream(40, 50, step=2" in repr(FarnebackStream(40, 50, step=2, winsize=21))
        assert "winsize=21" in repr(FarnebackStream(40, 50, step=2, winsize=21))


class TestRefusals:
    @pytest.mark.parametrize(
        ("frame", "message"),
        [
            (np.zeros((40, 50), np.float32), "uint8, not float32"),
            (np.zeros((40, 50), bool), "uint8, not bool"),
            (np.zeros((40, 50, 3), np.uint8), "gray"),
            (np.zeros((50, 40), np.uint8), r"shape \(40, 50\), not \(50, 40\)"),
            ([[0]], "NumPy array, not list"),
            (None, "NumPy array, not NoneType"),
        ],
    )
    def test_frames(self, frame, message):
        with pytest.raises(ArgumentError, match=message):
            FarnebackStream(40, 50).push(frame)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("pyr_scale", 0), ("pyr_scale", 1), ("pyr_scale", -0.5), ("pyr_scale", float("nan")),
            ("pyr_scale", "a"), ("levels", -1), ("levels", 1.5), ("winsize", 0), ("winsize", 2.0),
            ("iterations", 0), ("poly_n", 0), ("poly_n", "a"), ("poly_sigma", float("inf")),
            ("poly_sigma", None), ("poly_sigma", 0), ("flags", 1), ("flags", 256 + 8),
        ],
    )  # fmt: skip
    def test_parameters_are_named(self, name, value):
        with pytest.raises(ArgumentError, match=name):
            FarnebackStream(40, 50, **{name: value})

    def test_stream_takes_no_initial_flow(self):
        with pytest.raises(ArgumentError, match="flags is 4, expected 0"):
            FarnebackStream(40, 50, flags=INITIAL)

    @pytest.mark.parametrize(
        "arguments",
        [{"height": 0}, {"width": 0}, {"height": -3}, {"step": 0}, {"step": 1.5}, {"width": 3.0}],
        ids=str,
    )
    def test_sizes_and_step(self, arguments):
        with pytest.raises(ArgumentError, match=next(iter(arguments))):
            FarnebackStream(**({"height": 40, "width": 50} | arguments))

    def test_too_large(self):
        with pytest.raises(ArgumentError, match=r"height 30000 .*`opencv`"):
            FarnebackStream(30_000, 30_000)

    def test_empty_frames(self):
        empty = np.zeros((0, 5), np.uint8)
        with pytest.raises(ArgumentError, match="height"):
            farneback_flow(empty, empty)

    def test_error_is_also_a_value_error(self):
        assert issubclass(ArgumentError, FlowStoreError)
        assert issubclass(ArgumentError, ValueError)


class TestProcess:
    def test_many_threads_give_the_same(self):
        clips = [[texture(90, 150, seed)[:, i : i + 120] for i in range(6)] for seed in range(12)]

        def run(frames):
            stream = FarnebackStream(90, 120)
            return [flow.copy() for flow in map(stream.push, frames) if flow is not None]

        expected = [run(frames) for frames in clips]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(3):
                for flows, wanted in zip(pool.map(run, clips), expected, strict=True):
                    np.testing.assert_array_equal(flows, wanted)

    def test_gil_is_released(self):
        before, after = moved(600, 800)
        stream = FarnebackStream(600, 800, iterations=10)
        stream.push(before)
        engine, pyramid = stream._engine, stream._pyramids[0]
        engine.expand(after, pyramid)
        engine.iterate_at(0, pyramid[0], pyramid[0], engine.nowhere)
        entered, done = threading.Event(), []

        def work():
            entered.set()
            engine.iterate_at(0, pyramid[0], pyramid[0], engine.nowhere)
            done.append(True)

        interval = sys.getswitchinterval()
        thread = threading.Thread(target=work)
        # No thread is asked to hand the GIL over: this one goes on once the kernel releases it or ends.
        sys.setswitchinterval(1000)
        try:
            thread.start()
            entered.wait()
            assert not done
        finally:
            sys.setswitchinterval(interval)
            thread.join()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_works_after_fork(self):
        before, after = moved(60, 80)
        stream = FarnebackStream(60, 80)
        stream.push(before)
        expected = farneback_flow(before, after)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            same = np.array_equal(stream.push(after), expected)
            os.write(write, b"same" if same else b"else")
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            assert pipe.read() == b"same"
        assert os.waitpid(child, 0)[1] == 0
        np.testing.assert_array_equal(stream.push(after), expected)

    def test_one_specialization_of_each_kernel(self):
        farneback.compile_kernels()
        before, after = moved(60, 80)
        farneback_flow(before, after)
        farneback_flow(before, after, flags=GAUSSIAN)
        farneback_flow(before, after, levels=0)
        assert [len(kernel.signatures) for kernel, _ in KERNELS] == [1] * len(KERNELS)


READ_ONLY = """
import numba.core.caching
def refuse(self):
    raise PermissionError("read-only")
numba.core.caching._CacheLocator.ensure_cache_path = refuse
"""
SCRIPT = """
import json, sys
import numpy as np
import flowstore.estimators.farneback.stream as farneback
ready = farneback.is_compiled()
random = np.random.default_rng(0)
frames = random.integers(0, 256, (2, 80, 90), dtype=np.uint8)
stream = farneback.FarnebackStream(80, 90)
flow = [stream.push(frame) for frame in frames][1]
hits = sum(sum(kernel.stats.cache_hits.values()) for kernel, _ in farneback.KERNELS)
print(json.dumps({"ready": ready, "after": farneback.is_compiled(), "hits": hits,
                  "sum": float(abs(flow).sum()), "cv2": "cv2" in sys.modules}))
"""


def run_script(cache, before=""):
    root = str(Path(farneback.__file__).parents[3])
    env = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": root}
    return subprocess.Popen([sys.executable, "-c", before + SCRIPT], env=env, stdout=subprocess.PIPE, text=True)


def finish(process):
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(output)


@pytest.mark.system
class TestCache:
    def test_compiled_once_for_many_processes(self, tmp_path):
        together = [finish(process) for process in [run_script(tmp_path) for _ in range(3)]]
        assert {result["ready"] for result in together} == {False}
        assert len({result["sum"] for result in together}) == 1
        later = finish(run_script(tmp_path))
        assert later["ready"]
        assert later["hits"] == len(KERNELS)
        assert later["sum"] == together[0]["sum"]
        assert not later["cv2"]

    def test_cache_folder_that_cannot_be_made(self, tmp_path):
        blocked = tmp_path / "a_file"
        blocked.write_text("in the way")
        result = finish(run_script(blocked / "cache"))
        assert result["after"]
        assert result["sum"] > 0

    def test_no_folder_can_be_written(self, tmp_path):
        result = finish(run_script(tmp_path, before=READ_ONLY))
        assert not result["ready"]
        assert result["after"]
        assert result["hits"] == 0
        assert result["sum"] > 0
        assert not list(tmp_path.iterdir())

    def test_compile_kernels_makes_ready(self):
        farneback.compile_kernels()
        assert farneback.is_compiled()

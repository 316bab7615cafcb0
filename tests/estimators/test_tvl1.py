"""The TV-L1 kernel against OpenCV's flow, kept in golden/tvl1.npz, and its behavior as a part of a process."""

import os
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from datasets import write_video
from numba import njit
from synthetic import scene
from tvl1_cases import BRIEF, DEFAULTS, GOLDEN, PARAMETERS, SPARSE, SPARSER, clip_pair, drawn_cases, sparse, uneven_pair

import flowstore
from flowstore.errors import ArgumentError
from flowstore.estimators.parameters import tvl1_params
from flowstore.estimators.simd import (
    first_of_four,
    high,
    load,
    load_each_four_times,
    low,
    second_of_four,
    sqrt,
    store,
    store_interleaved,
    store_sum_of_fours,
    third_of_four,
    total,
)
from flowstore.estimators.tvl1 import kernels
from flowstore.estimators.tvl1.stream import Tvl1Stream, compile_kernels, level_shapes
from flowstore.pipeline import extract

OPENCV, CASES = np.load(GOLDEN), drawn_cases()
# Whole pyramids of warps let rounding grow where a picture says little: OpenCV's flow of a pair differs as much between
# its versions, and another CPU's multiply-adds give another flow too.
GROWN_PX = 0.02


def tvl1_flow(pair, params=None):
    stream = Tvl1Stream(*pair[0].shape, tvl1_params(params))
    assert stream.push(pair[0]) is None
    return stream.push(pair[1])


def codes(flow):
    return np.clip(128 + np.rint(flow * np.float32(127 / 20)), 1, 255).astype(int)


def check_same(flow, name, step, mean_px):
    kept = sparse(flow, step)
    assert kept.shape == OPENCV[name].shape
    assert np.abs(kept - OPENCV[name]).mean() < mean_px
    assert (np.abs(codes(kept) - codes(OPENCV[name])) <= 1).mean() >= 0.99


class TestAgainstOpenCV:
    @pytest.mark.parametrize("name", CASES)
    def test_drawn(self, name):
        pair, params = CASES[name]
        check_same(tvl1_flow(pair, params), name, SPARSE, GROWN_PX if name.startswith("motion") else 0.0005)

    @pytest.mark.parametrize("params", [params for params in PARAMETERS if params], ids=str)
    def test_each_parameter_matters_more_than_what_is_allowed(self, params):
        assert np.abs(OPENCV[f"params {params}"] - OPENCV["params {}"]).mean() > 0.005
        assert tvl1_params() == DEFAULTS

    def test_displacements_of_forty_pixels_are_found(self):
        assert OPENCV["40 px"].max() > 39
        assert tvl1_flow(*CASES["40 px"])[0].max() == pytest.approx(40, abs=0.5)

    def test_clips(self, real_data):
        clips = sorted((real_data / "videos").glob("*/*"))
        assert clips
        for clip in clips:
            check_same(tvl1_flow(clip_pair(clip)), f"clip {clip.name}", SPARSER, GROWN_PX)

    @pytest.mark.slow
    def test_error_on_a_road_is_opencvs(self, real_data):
        folder = real_data / "truth" / "kitti"
        pair = [cv2.imread(str(folder / f"kitti_000010_1{i}.png"), cv2.IMREAD_GRAYSCALE) for i in (0, 1)]
        picture = cv2.imread(str(folder / "kitti_occ_000010_10.png"), cv2.IMREAD_UNCHANGED).astype(np.float32)
        truth = sparse((picture[..., 2:0:-1].transpose(2, 0, 1) - 2**15) / 64, SPARSER)
        known = sparse(picture[None, ..., 0], SPARSER)[0] > 0
        ours, theirs = (
            np.hypot(*(flow - truth))[known].mean() for flow in (sparse(tvl1_flow(pair), SPARSER), OPENCV["road"])
        )
        assert ours == pytest.approx(theirs, rel=0.005)

    @pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 2), (15, 300)])
    def test_sizes_on_which_opencv_reads_beyond_its_arrays(self, size):
        pair = np.random.default_rng(0).integers(0, 256, (2, *size), np.uint8)
        flow = tvl1_flow(pair)
        assert flow.shape == (2, *size)
        assert np.isfinite(flow).all()

    def test_pyramid(self):
        assert level_shapes(240, 320, 5, 0.8) == [(240, 320), (192, 256), (154, 205), (123, 164), (98, 131)]
        assert level_shapes(20, 400, 5, 0.8) == [(20, 400), (16, 320)]
        assert level_shapes(8, 400, 5, 0.8) == [(8, 400)]

    def test_values_without_bound_give_finite_flow(self):
        pair = np.random.default_rng(0).integers(0, 2, (2, 30, 40), np.uint8) * np.uint8(255)
        for params in ({"lambda": 1e6}, {"tau": 1e6}, {"theta": 1e3}, {"epsilon": 1e-12}):
            assert np.isfinite(tvl1_flow(pair, params)).all()


class TestMedian:
    @pytest.mark.parametrize("side", [3, 5])
    @pytest.mark.parametrize("size", [(1, 1), (2, 9), (5, 16), (7, 17), (20, 33)])
    def test_is_that_of_numpy(self, side, size):
        h, w = size
        values = np.random.default_rng(side).normal(size=(2, h, w)).astype(np.float32)
        stride = -(-w // 16) * 16 + 16
        level = np.array([w, h, stride, 0], np.int64)
        flow, out = np.zeros((2, 2 * kernels.PAD + 2 * (h + 1) * stride), np.float32)
        pixels = np.s_[kernels.PAD + 2 * stride : -kernels.PAD]
        flow[pixels].reshape(h, 2, stride)[:, :, :w] = values.transpose(1, 0, 2)
        median = kernels.median_five if side == 5 else kernels.median_three
        median(flow, out, np.zeros(12 * stride, np.float32), level)
        wide = np.pad(values, ((0, 0), (side // 2, side // 2), (side // 2, side // 2)), "edge")
        expected = np.median(np.lib.stride_tricks.sliding_window_view(wide, (side, side), axis=(1, 2)), axis=(3, 4))
        found = out[pixels].reshape(h, 2, stride)[:, :, :w].transpose(1, 0, 2)
        np.testing.assert_array_equal(found, expected.astype(np.float32))


class TestVectors:
    def test_of_pixels_side_by_side(self):
        @njit
        def work(a, out):
            store_interleaved(out, 0, load(a, 0), load(a, 16), load(a, 32), load(a, 48))
            store(out, 64, first_of_four(out, 0))
            store(out, 80, second_of_four(out, 0))
            store(out, 96, third_of_four(out, 0))
            store(out, 112, load_each_four_times(a, 3))
            store_sum_of_fours(out, 128, load(a, 0))
            store(out, 144, sqrt(load(a, 0)))
            store(out, 160, low(load(a, 0), load(a, 16)))
            store(out, 176, high(load(a, 0), load(a, 16)))
            out[192] = total(load(a, 0))

        a = np.random.default_rng(0).uniform(0, 9, 64).astype(np.float32)
        out = np.zeros(256, np.float32)
        work(a, out)
        rows = a.reshape(4, 16)
        np.testing.assert_array_equal(out[:64], rows.T.ravel())
        np.testing.assert_array_equal(out[64:112], rows[:3].ravel())
        np.testing.assert_array_equal(out[112:128], np.repeat(a[3:7], 4))
        np.testing.assert_allclose(out[128:132], rows[0].reshape(4, 4).sum(axis=0), rtol=1e-6)
        np.testing.assert_allclose(out[144:160], np.sqrt(rows[0]), rtol=1e-6)
        np.testing.assert_array_equal(out[160:176], np.minimum(*rows[:2]))
        np.testing.assert_array_equal(out[176:192], np.maximum(*rows[:2]))
        assert out[192] == pytest.approx(rows[0].sum(), rel=1e-6)


class TestIterations:
    @pytest.mark.parametrize("height", [1, 2, 5, 40])
    def test_many_in_one_pass_are_those_one_by_one(self, height):
        states = []
        for together in (True, False):
            engine = Tvl1Stream(height, 37, tvl1_params({"nscales": 1}))._engine
            geometry, constants = engine.levels[0].geometry, engine.levels[0].constants
            engine.model[...] = np.random.default_rng(0).normal(size=engine.model.size)
            flow, dual = engine.levels[0].flow, engine.dual
            other_flow, other_dual = engine.other_flow, engine.other_dual
            errors = []
            for n in (5,) if together else (1,) * 5:
                sums = np.zeros(16 * n, np.float32)
                kernels.sweep(flow, dual, engine.model, other_flow, other_dual, n, constants, sums, geometry)
                errors += list(sums[:n])
                flow, other_flow, dual, other_dual = other_flow, flow, other_dual, dual
            states.append((flow, dual, np.array(errors)))
        for one, other in zip(*states, strict=True):
            np.testing.assert_array_equal(one, other)
        assert states[0][2].all()

    def test_few_are_made_twice(self, real_data):
        frames = clip_pair(real_data / "videos" / "SoccerJuggling" / "v_SoccerJuggling_g23_c01.avi")
        stream = Tvl1Stream(*frames[0].shape, tvl1_params())
        stream.push(frames[0])
        stream.push(frames[1])
        needed, made = stream._engine.counts[:2]
        assert needed <= made < 1.1 * needed


class TestStream:
    def test_push_keeps_its_memory(self):
        frames = [scene("zoom", 1, 120, 160, seed=seed)[0][0] for seed in range(3)]
        stream = Tvl1Stream(120, 160, tvl1_params(BRIEF))
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
        before, after = uneven_pair(40, 50)
        stream = Tvl1Stream(40, 50, tvl1_params())
        stream.push(before)
        for frame, message in (
            (after[:, :-1], r"shape \(40, 50\), not \(40, 49\)"),
            (after.astype(np.float32), "uint8, not float32"),
            (None, "NumPy array, not NoneType"),
        ):
            with pytest.raises(ArgumentError, match=message):
                stream.push(frame)
        np.testing.assert_array_equal(stream.push(after), tvl1_flow((before, after)))

    def test_refusals(self):
        for height, width, step, message in (
            (0, 5, 1, "height and width must be 1 or more"),
            (30_000, 30_000, 1, "too large: use the engine `opencv`"),
            (40, 50, 0, "step is 0"),
        ):
            with pytest.raises(ArgumentError, match=message):
                Tvl1Stream(height, width, tvl1_params(), step=step)


class TestProcess:
    def test_many_threads_give_the_same(self):
        clips = [scene("zoom", 4, 50, 70, seed=seed)[0] for seed in range(8)]

        def run(frames):
            stream = Tvl1Stream(50, 70, tvl1_params())
            return [flow.copy() for flow in map(stream.push, frames) if flow is not None]

        expected = [run(frames) for frames in clips]
        with ThreadPoolExecutor(8) as pool:
            for flows, wanted in zip(pool.map(run, clips), expected, strict=True):
                np.testing.assert_array_equal(flows, wanted)

    def test_gil_is_released(self):
        stream = Tvl1Stream(300, 400, tvl1_params({"epsilon": 1e-6}))
        frames = scene("zoom", 2, 300, 400)[0]
        stream.push(frames[0])
        stream._engine.reduce(frames[1], stream._pyramids[1])
        work = stream._engine.solve_at
        entered, done = threading.Event(), []

        def run():
            entered.set()
            work(4, stream._pyramids[0][4], stream._pyramids[1][4])
            done.append(True)

        interval = sys.getswitchinterval()
        thread = threading.Thread(target=run)
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
        before, after = uneven_pair(60, 80)
        stream = Tvl1Stream(60, 80, tvl1_params(BRIEF))
        stream.push(before)
        expected = tvl1_flow((before, after), BRIEF)
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
        compile_kernels()
        for params in ({}, {"median_filtering": 3}, {"nscales": 1}):
            tvl1_flow(uneven_pair(40, 50), params)
        assert [len(kernel.signatures) for kernel, _ in kernels.KERNELS] == [1] * len(kernels.KERNELS)


def test_a_store_of_it_records_every_parameter(tmp_path):
    write_video(tmp_path / "videos" / "wave" / "v.avi", n_frames=4, width=64, height=48)
    params = {"warps": 2, "lambda": "0.1"}
    extract(tmp_path / "videos", tmp_path / "t.zarr", algorithm="tvl1", params=params, scheduler="sync")
    store = flowstore.open_store(tmp_path / "t.zarr")
    assert (store.settings.algorithm, store.settings.engine) == ("tvl1", "numba")
    assert dict(store.settings.params) == DEFAULTS | {"warps": 2, "lambda": 0.1}
    assert len(store["wave"]["v"]) == 3

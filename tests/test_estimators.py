"""Estimators: flow of known motion, OpenCV's own calls, one contract for all, and the choice of an engine."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from synthetic import MOTIONS, moving_scene

import flowstore
from flowstore.errors import ArgumentError, EstimatorError
from flowstore.estimators import (
    ALGORITHMS,
    PairStream,
    compile_engine,
    estimator_versions,
    make_estimator,
    merge_params,
    needs_compiling,
    resolve_engine,
)

FARNEBACK = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}
DIS_PRESETS = ("ultrafast", "fast", "medium")
INSTALLED = [
    ("farneback", "opencv", {}),
    ("farneback", "numba", {}),
    *(("dis", "opencv", {"preset": preset}) for preset in DIS_PRESETS),
]
HAS_TVL1 = hasattr(getattr(cv2, "optflow", None), "DualTVL1OpticalFlow_create")
if HAS_TVL1:
    INSTALLED.append(("tvl1", "opencv", {}))
# Mean end-point error allowed 12 px and more from the border, in pixels. The motions are of 3.6 (translation), 1.1 and
# 0.9 px on average. Farneback's window blurs a rotation and a zoom; the coarser presets of DIS stop at a quarter size.
ALLOWED_PX = {"farneback": 0.1, "medium": 0.07, "fast": 0.13, "ultrafast": 0.2, "tvl1": 0.1}
BORDER = 12
HEIGHT, WIDTH = 96, 128


def estimate(frames, algorithm, engine, params=None, step=1):
    """Flow of each pair: float32 (n, 2, H, W)."""
    stream = make_estimator(algorithm, engine, params).stream(*frames.shape[1:], step=step)
    flows = [stream.push(frame) for frame in frames[:step]]
    assert flows == [None] * step
    return np.stack([stream.push(frame).copy() for frame in frames[step:]])


def opencv_farneback(frame0, frame1, **params):
    return np.moveaxis(cv2.calcOpticalFlowFarneback(frame0, frame1, None, *(FARNEBACK | params).values()), 2, 0)


@pytest.mark.parametrize(("algorithm", "engine", "params"), INSTALLED)
@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("seed", [0, 1])
def test_flow_of_known_motion(algorithm, engine, params, motion, seed):
    frames, true = moving_scene(motion, height=HEIGHT, width=WIDTH, seed=seed)
    flow = estimate(frames, algorithm, engine, params)[0]
    inner = np.s_[:, BORDER:-BORDER, BORDER:-BORDER]
    flow, true = flow[inner], true[inner]
    error = np.hypot(*(flow - true))
    if motion == "none":
        assert error.max() < 1e-3
    else:
        assert error.mean() < ALLOWED_PX[params.get("preset", algorithm)]
        # Neither near zero nor near the opposite.
        assert np.vdot(flow, true) > 0.9 * np.vdot(true, true)


@pytest.mark.parametrize(("algorithm", "engine", "params"), INSTALLED)
@pytest.mark.parametrize(("shift", "axis"), [((2.0, 0.0), 0), ((0.0, 2.0), 1)])
def test_x_is_right_and_y_is_down(algorithm, engine, params, shift, axis):
    frames, _ = moving_scene("translation", height=HEIGHT, width=WIDTH, shift=shift)
    means = estimate(frames, algorithm, engine, params)[0].mean(axis=(1, 2))
    assert means[axis] == pytest.approx(2, abs=0.25)
    assert means[1 - axis] == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(("algorithm", "engine", "params"), INSTALLED)
@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_one_contract_for_all(algorithm, engine, params, step):
    estimator = make_estimator(algorithm, engine, params)
    assert (estimator.algorithm, estimator.engine) == (algorithm, engine)
    assert set(params.items()) <= set(estimator.params.items())
    frames, _ = moving_scene("translation", 8, HEIGHT, WIDTH, shift=(1.0, 0.5))
    stream = estimator.stream(HEIGHT, WIDTH, step=step)
    wide = np.zeros((HEIGHT, 3 * WIDTH), np.uint8)
    reused = np.empty((HEIGHT, WIDTH), np.uint8)
    found = []
    for number, frame in enumerate(frames):
        if number % 2:
            # Any stride will do; a frame is the caller's again after the call.
            wide[:, ::3] = frame
            given = wide[:, ::3]
            assert not given.flags.c_contiguous
        else:
            reused[:] = frame
            given = reused
        flow = stream.push(given)
        np.testing.assert_array_equal(given, frame)
        reused[:] = 0
        wide[:] = 255
        if number < step:
            assert flow is None
            continue
        assert (flow.shape, flow.dtype) == ((2, HEIGHT, WIDTH), np.float32)
        assert flow.flags.c_contiguous
        assert np.isfinite(flow).all()
        found.append(flow.copy())
    assert len(found) == len(frames) - step
    # Each flow is that of its two frames alone, from a fresh stream of the same estimator.
    for number, flow in enumerate(found):
        fresh = estimator.stream(HEIGHT, WIDTH)
        assert fresh.push(frames[number]) is None
        np.testing.assert_array_equal(fresh.push(frames[number + step]), flow)


@pytest.mark.parametrize(("algorithm", "engine", "params"), INSTALLED)
def test_streams_of_one_estimator_are_independent(algorithm, engine, params):
    estimator = make_estimator(algorithm, engine, params)
    scenes = [moving_scene("translation", 4, HEIGHT, WIDTH, seed, shift=(seed, 1.0))[0] for seed in range(2)]
    streams = [estimator.stream(HEIGHT, WIDTH) for _ in scenes]
    together = [
        [stream.push(frame) for stream, frame in zip(streams, pair, strict=True)] for pair in zip(*scenes, strict=True)
    ]
    last = [flow.copy() for flow in together[-1]]
    for scene, flow in zip(scenes, last, strict=True):
        np.testing.assert_array_equal(estimate(scene, algorithm, engine, params)[-1], flow)


@pytest.mark.parametrize(("algorithm", "engine", "params"), INSTALLED)
@pytest.mark.parametrize("step", [2, 4])
def test_a_longer_step_sees_more_motion(algorithm, engine, params, step):
    frames, true = moving_scene("translation", 6, HEIGHT, WIDTH, shift=(1.0, -0.5))
    flow = estimate(frames, algorithm, engine, params, step)
    assert len(flow) == 6 - step
    error = np.hypot(*np.moveaxis(flow - step * true, 1, 0))[:, BORDER:-BORDER, BORDER:-BORDER]
    assert error.mean() < 0.2


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"winsize": 21},
        {"levels": 0},
        {"iterations": 1, "poly_n": 7, "poly_sigma": 1.5},
        {"pyr_scale": 0.8},
        {"flags": cv2.OPTFLOW_FARNEBACK_GAUSSIAN, "winsize": 25},
    ],
)
def test_farneback_is_opencvs_with_the_params_given(params):
    frames, _ = moving_scene("rotation", height=HEIGHT, width=WIDTH, degrees=3)
    expected = opencv_farneback(*frames, **params)
    opencv = estimate(frames, "farneback", "opencv", params)[0]
    np.testing.assert_array_equal(opencv, expected)
    numba = estimate(frames, "farneback", "numba", params)[0]
    np.testing.assert_allclose(numba, expected, atol=0.02)
    if params:
        # The parameter is used: the default's flow is another one, by more than the engines differ.
        assert np.abs(opencv_farneback(*frames) - expected).max() > 10 * np.abs(numba - expected).max()
    for engine in ("opencv", "numba"):
        assert make_estimator("farneback", engine, params).params == FARNEBACK | params


@pytest.mark.parametrize("preset", DIS_PRESETS)
def test_dis_is_opencvs_preset(preset):
    number = getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset.upper()}")
    frames, _ = moving_scene("rotation", height=HEIGHT, width=WIDTH)
    dis = cv2.DISOpticalFlow.create(number)
    flow = estimate(frames, "dis", "opencv", {"preset": preset})[0]
    np.testing.assert_array_equal(flow, np.moveaxis(dis.calc(*frames, None), 2, 0))
    params = make_estimator("dis", params={"preset": preset}).params
    assert params["preset"] == preset
    assert params["finest_scale"] == dis.getFinestScale()
    assert params["gradient_descent_iterations"] == dis.getGradientDescentIterations()


def test_dis_presets_differ_and_medium_is_the_default():
    frames, _ = moving_scene("rotation", height=HEIGHT, width=WIDTH)
    flows = [estimate(frames, "dis", "opencv", {"preset": preset})[0] for preset in DIS_PRESETS]
    assert np.abs(flows[0] - flows[1]).max() > 0.01
    assert np.abs(flows[1] - flows[2]).max() > 0.01
    np.testing.assert_array_equal(estimate(frames, "dis", "opencv")[0], flows[2])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("finest_scale", 0),
        ("patch_size", 12),
        ("patch_stride", 2),
        ("gradient_descent_iterations", 3),
        ("variational_refinement_iterations", 2),
        ("variational_refinement_alpha", 3.5),
        ("variational_refinement_delta", 9.5),
        ("variational_refinement_gamma", 1.5),
        ("use_mean_normalization", False),
        ("use_spatial_propagation", False),
    ],
)
def test_dis_params_are_recorded_and_used(name, value):
    frames, _ = moving_scene("rotation", height=HEIGHT, width=WIDTH)
    assert make_estimator("dis", params={name: str(value)}).params[name] == value
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    setter = "set" + name.title().replace("_", "")
    default = dis.calc(*frames, None)
    getattr(dis, setter)(value)
    expected = dis.calc(*frames, None)
    assert np.abs(expected - default).max() > 0
    np.testing.assert_array_equal(estimate(frames, "dis", "opencv", {name: value})[0], np.moveaxis(expected, 2, 0))


def test_recorded_params_make_the_same_estimator_again():
    for algorithm, engine, params in INSTALLED:
        estimator = make_estimator(algorithm, engine, params)
        assert make_estimator(algorithm, engine, estimator.params).params == estimator.params
        as_text = {name: str(value) for name, value in estimator.params.items()}
        assert make_estimator(algorithm, engine, as_text).params == estimator.params


@pytest.mark.skipif(HAS_TVL1, reason="the contrib modules are installed")
@pytest.mark.parametrize("params", [None, {"tau": 0.1}])
def test_tvl1_without_contrib_names_the_package(params):
    with pytest.raises(EstimatorError, match="pip install opencv-contrib-python"):
        make_estimator("tvl1", params=params)
    assert resolve_engine("tvl1", "auto") == ("opencv", "")


@pytest.mark.parametrize(
    ("algorithm", "name", "nearest"),
    [
        ("farneback", "winsze", "winsize"),
        ("farneback", "level", "levels"),
        ("farneback", "poly-n", "poly_n"),
        ("dis", "presett", "preset"),
        ("dis", "patch_sise", "patch_size"),
    ],
)
def test_an_unknown_parameter_is_refused_with_the_nearest(algorithm, name, nearest):
    for engine in ("auto", "opencv"):
        with pytest.raises(ArgumentError, match=f"{algorithm} has no parameter '{name}'; did you mean '{nearest}'"):
            make_estimator(algorithm, engine, {name: 1})


def test_an_unknown_parameter_like_no_other_lists_them_all():
    with pytest.raises(ArgumentError, match="has no parameter 'zzz'; it has pyr_scale, levels, winsize, iterations"):
        make_estimator("farneback", params={"zzz": 1})


@pytest.mark.parametrize("engine", ["opencv", "numba", "auto"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("pyr_scale", value) for value in (0, 1, 1.5, -0.5, "nan")),
        *(("levels", value) for value in (-1, 2.5, "three", "")),
        *(("winsize", value) for value in (0, -3, "inf")),
        *(("iterations", value) for value in (0, -1)),
        *(("poly_n", value) for value in (0, 32, "5.5")),
        *(("poly_sigma", value) for value in (0, 0.19, -1, "inf", "nan")),
        *(("flags", value) for value in (1, 4, 257, -256)),
    ],
)
def test_farneback_refuses_values_that_cannot_be_used(engine, name, value):
    with pytest.raises(ArgumentError, match=f"farneback: {name} is"):
        make_estimator("farneback", engine, {name: value})


@pytest.mark.parametrize("engine", ["opencv", "numba"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pyr_scale", 0.05),
        ("pyr_scale", 0.95),
        ("levels", 0),
        ("levels", 20),
        ("iterations", 1),
        ("poly_n", 1),
        ("poly_n", 31),
        ("poly_sigma", 0.2),
        ("poly_sigma", 50),
        ("flags", 256),
    ],
)
def test_farneback_takes_both_ends(engine, name, value):
    frames, _ = moving_scene("translation", height=48, width=64)
    params = {name: value} | ({"winsize": 25} if name == "flags" else {})
    flow = estimate(frames, "farneback", engine, params)[0]
    assert np.abs(flow).max() > 0.5
    np.testing.assert_allclose(flow, opencv_farneback(*frames, **params), atol=0.05)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("preset", "slow"),
        ("preset", 1),
        ("patch_size", 0),
        ("patch_stride", 0),
        ("gradient_descent_iterations", 0),
        ("finest_scale", -1),
        ("variational_refinement_iterations", -1),
        ("variational_refinement_alpha", "nan"),
        ("use_mean_normalization", "maybe"),
        ("patch_size", 2.5),
    ],
)
def test_dis_refuses_values_that_cannot_be_used(name, value):
    with pytest.raises(ArgumentError, match=f"dis: {name} is"):
        make_estimator("dis", params={name: value})


def test_params_become_the_type_of_their_default():
    defaults = {"whole": 3, "real": 0.5, "truth": True, "text": "a"}
    merged = merge_params("x", defaults, {"whole": "4", "real": "2", "truth": "false", "text": "b"})
    assert merged == {"whole": 4, "real": 2.0, "truth": False, "text": "b"}
    assert [type(value) for value in merged.values()] == [int, float, bool, str]
    assert list(merge_params("x", defaults, {"text": "c", "whole": 1})) == list(defaults)
    assert merge_params("x", defaults, None) == defaults
    assert defaults["whole"] == 3
    assert type(merge_params("x", defaults, {"whole": 4.0})["whole"]) is int


def test_a_size_that_opencv_refuses_is_an_estimator_error():
    stream = make_estimator("dis").stream(4, 4)
    stream.push(np.zeros((4, 4), np.uint8))
    with pytest.raises(EstimatorError, match="OpenCV refuses frames of 4×4"):
        stream.push(np.zeros((4, 4), np.uint8))


@pytest.mark.parametrize("step", [1, 2, 7])
def test_a_pair_stream_compares_frames_a_step_apart(step):
    stream = PairStream(lambda a, b: np.dstack([b.astype(np.float32) - a, b]), 2, 3, step)
    numbers = np.array([3, 1, 4, 15, 9, 26, 5, 35, 89, 79], np.uint8)
    flows = [stream.push(np.full((2, 3), number)) for number in numbers[:step]]
    assert flows == [None] * step
    for before, after in zip(numbers, numbers[step:], strict=False):
        flow = stream.push(np.full((2, 3), after))
        assert (flow[0] == float(after) - float(before)).all()
        assert (flow[1] == after).all()


class TestResolveEngine:
    def test_auto_takes_the_fastest(self):
        assert resolve_engine("farneback", "auto") == ("numba", "")
        assert resolve_engine("dis", "auto") == ("opencv", "")
        assert make_estimator().engine == "numba"

    @pytest.mark.parametrize("engine", ["numba", "opencv"])
    def test_an_engine_by_name_is_taken(self, engine):
        assert resolve_engine("farneback", engine) == (engine, "")
        assert make_estimator("farneback", engine).engine == engine

    @pytest.mark.parametrize("params", [{"winsize": 3}, {"winsize": 15, "flags": 256, "iterations": 4}])
    def test_params_that_only_opencv_has(self, params):
        engine, note = resolve_engine("farneback", "auto", params)
        assert engine == "opencv"
        assert note.startswith("engine: opencv in place of the faster numba (")
        assert f"winsize {params['winsize']} is too small" in note
        assert len(note.splitlines()) == 1
        with pytest.raises(ArgumentError, match=r"winsize .* is too small for iterations"):
            make_estimator("farneback", "numba", params)
        estimator = make_estimator("farneback", "auto", params)
        assert (estimator.engine, estimator.params) == ("opencv", FARNEBACK | params)

    def test_a_parameter_that_no_engine_takes_is_refused(self):
        with pytest.raises(ArgumentError, match="winsize is 0"):
            resolve_engine("farneback", "auto", {"winsize": 0})

    @pytest.mark.parametrize("algorithm", ["dis", "tvl1"])
    def test_an_engine_that_the_algorithm_lacks_is_refused(self, algorithm):
        with pytest.raises(ArgumentError, match=f"algorithm {algorithm} has no numba engine: use --engine opencv"):
            resolve_engine(algorithm, "numba")

    def test_unknown_names_are_refused(self):
        with pytest.raises(ArgumentError, match="algorithm is 'raft', expected one of farneback, dis, tvl1"):
            resolve_engine("raft", "auto")
        with pytest.raises(ArgumentError, match="engine is 'cuda', expected one of auto, numba, opencv"):
            resolve_engine("farneback", "cuda")
        assert ALGORITHMS == ("farneback", "dis", "tvl1")


# A finder in front of all others: "absent" finds nothing of Numba, "broken" finds it and fails at its import.
WITHOUT_NUMBA = """
import importlib.machinery, sys

class Blocker:
    def __init__(self, finders):
        self.finders = finders

    def find_spec(self, name, path=None, target=None):
        if name == "numba" and {is_broken}:
            return importlib.machinery.ModuleSpec(name, self)
        if name.partition(".")[0] in ("numba", "llvmlite"):
            return None
        return next(filter(None, (finder.find_spec(name, path, target) for finder in self.finders)), None)

    def create_module(self, spec):
        raise ImportError("Numba needs another Python")

    def exec_module(self, module):
        pass

sys.meta_path[:] = [Blocker(list(sys.meta_path))]
"""
REASONS = {"absent": "No module named 'numba'", "broken": "Numba needs another Python"}


def run_without_numba(how, script):
    before = WITHOUT_NUMBA.replace("{is_broken}", str(how == "broken"))
    environment = os.environ | {"PYTHONPATH": str(Path(flowstore.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-c", before + script], env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("how", REASONS)
class TestWithoutNumba:
    def test_auto_uses_opencv_and_says_why_in_one_line(self, how):
        done = run_without_numba(
            how,
            "from flowstore.estimators import make_estimator, needs_compiling, resolve_engine\n"
            "engine, note = resolve_engine('farneback', 'auto')\n"
            "print(engine); print(note)\n"
            "print(make_estimator().engine, needs_compiling('opencv'))\n",
        )
        assert done.returncode == 0, done.stderr
        engine, note, made = done.stdout.splitlines()
        assert engine == "opencv"
        assert note == (
            "engine: opencv in place of the faster numba (the numba engine needs Numba, which cannot be imported "
            f"({REASONS[how]}): pip install numba)"
        )
        assert made == "opencv False"

    def test_engine_numba_is_refused(self, how):
        done = run_without_numba(
            how,
            "from flowstore.errors import EstimatorError\n"
            "from flowstore.estimators import make_estimator\n"
            "try:\n    make_estimator('farneback', 'numba')\nexcept EstimatorError as error:\n    print(error)\n",
        )
        assert done.returncode == 0, done.stderr
        assert "needs Numba" in done.stdout
        assert "pip install numba" in done.stdout

    def test_extract_works_and_says_so(self, tmp_path, how):
        frames, _ = moving_scene("translation", 4, 48, 64)
        folder = tmp_path / "videos" / "moving" / "scene"
        folder.mkdir(parents=True)
        for number, frame in enumerate(frames, 1):
            assert cv2.imwrite(str(folder / f"img_{number:05d}.png"), frame)
        arguments = [
            "flowstore",
            "extract",
            str(tmp_path / "videos"),
            str(tmp_path / "flow.zarr"),
            "--scheduler",
            "sync",
        ]
        done = run_without_numba(how, f"sys.argv = {arguments!r}\nfrom flowstore.cli import main\nmain()\n")
        assert done.returncode == 0, done.stderr
        said = [line for line in done.stderr.splitlines() if "in place of the faster numba" in line]
        assert len(said) == 1
        video = flowstore.open_store(tmp_path / "flow.zarr")["moving/scene"]
        assert video[:].shape == (3, 2, 48, 64)
        arguments += ["--engine", "numba", "--overwrite"]
        refused = run_without_numba(how, f"sys.argv = {arguments!r}\nfrom flowstore.cli import main\nmain()\n")
        assert refused.returncode == 2
        assert "pip install numba" in refused.stderr


def test_only_numba_needs_compiling():
    for engine in ("opencv", "none"):
        assert not needs_compiling(engine)
        compile_engine(engine)
    compile_engine("numba")
    assert not needs_compiling("numba")


def test_versions_are_of_the_libraries_used():
    import numba

    assert estimator_versions() == {"opencv": cv2.__version__, "numpy": np.__version__, "numba": numba.__version__}

"""Estimators: one check for each of them, scenes of known motion, and OpenCV's own functions beside them."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from synthetic import MOTIONS, scene

from flowstore.errors import ArgumentError, EstimatorError
from flowstore.estimators import ALGORITHMS, make_estimator
from flowstore.estimators.opencv import PairStream
from flowstore.estimators.parameters import farneback_params, merge_params
from flowstore.estimators.registry import estimator_versions, library_versions, resolve_engine

# Each estimator, and the mean end-point error of a scene in pixels that it keeps below, per frame of distance.
ESTIMATORS = {
    "farneback by OpenCV": (("farneback", "opencv", None), 0.1),
    "farneback by Numba": (("farneback", "numba", None), 0.1),
    "tvl1 by Numba": (("tvl1", "numba", None), 0.1),
    "dis medium": (("dis", "opencv", {"preset": "medium"}), 0.1),
    "dis fast": (("dis", "opencv", {"preset": "fast"}), 0.2),
    "dis ultrafast": (("dis", "opencv", {"preset": "ultrafast"}), 0.25),
}
HAS_TVL1 = hasattr(getattr(cv2, "optflow", None), "DualTVL1OpticalFlow_create")
if HAS_TVL1:
    ESTIMATORS["tvl1 by OpenCV"] = (("tvl1", "opencv", None), 0.1)
every_estimator = pytest.mark.parametrize("name", ESTIMATORS)
HEIGHT, WIDTH = 96, 128
BORDER = 12

pytestmark = pytest.mark.usefixtures("one_opencv_thread")


def make(name):
    return make_estimator(*ESTIMATORS[name][0])


def run(estimator, frames, step=1):
    """Return every flow of a sequence, copied out of the stream's own array."""
    stream = estimator.stream(*frames[0].shape, step)
    flows = [stream.push(frame) for frame in frames[:step]]
    assert flows == [None] * min(step, len(frames))
    return [stream.push(frame).copy() for frame in frames[step:]]


def uneven_scene(n_frames=6, height=40, width=56):
    """Return frames between which the motion changes, so that no flow is like another."""
    return [scene([[1, 0, 0.6 * n * n], [0, 1, -0.9 * n]], 2, height, width)[0][1] for n in range(n_frames)]


def check_estimator(estimator, height=40, width=56):
    """Check what the protocol promises of every estimator."""
    assert isinstance(estimator.algorithm, str)
    assert isinstance(estimator.engine, str)
    # The parameters are complete: as JSON they make the same estimator again.
    again = make_estimator(estimator.algorithm, estimator.engine, json.loads(json.dumps(dict(estimator.params))))
    assert dict(again.params) == dict(estimator.params)
    frames = uneven_scene(6, height, width)
    originals = [frame.copy() for frame in frames]
    pairs = {}
    for step in (1, 2, 3):
        stream = estimator.stream(height, width, step)
        for number, frame in enumerate(frames):
            flow = stream.push(frame)
            if number < step:
                assert flow is None
                continue
            assert flow.shape == (2, height, width)
            assert flow.dtype == np.float32
            assert flow.flags.c_contiguous
            assert np.isfinite(flow).all()
            pairs[number - step, number] = flow.copy()
    # A flow depends on its two frames and on nothing that was seen before, whatever the step.
    for (first, second), flow in pairs.items():
        (alone,) = run(again, [frames[first], frames[second]])
        np.testing.assert_array_equal(flow, alone)
    # Frames of any stride; none is written to.
    strided = [np.asfortranarray(np.dstack([frame] * 3))[::-1][::-1, :, 1] for frame in frames]
    assert not any(frame.flags.c_contiguous for frame in strided)
    np.testing.assert_array_equal(run(estimator, strided), [pairs[n, n + 1] for n in range(len(frames) - 1)])
    np.testing.assert_array_equal(frames, originals)
    # Two videos at a time do not meet.
    one, other = estimator.stream(height, width), estimator.stream(height, width)
    for number, frame in enumerate(frames):
        flow, backward = one.push(frame), other.push(frames[-1 - number])
        if number:
            np.testing.assert_array_equal(flow, pairs[number - 1, number])
            np.testing.assert_array_equal(backward, run(again, [frames[-number], frames[-1 - number]])[0])


@every_estimator
def test_every_estimator_keeps_the_protocol(name):
    check_estimator(make(name))


@every_estimator
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("motion", MOTIONS)
def test_known_motion(name, motion, step):
    frames, truth = scene(motion, 4, HEIGHT, WIDTH, step)
    tolerance = ESTIMATORS[name][1] * step if motion != "none" else 0.001
    inside = np.s_[:, BORDER:-BORDER, BORDER:-BORDER]
    if motion != "none":
        # What stands still or looks elsewhere must not pass.
        assert np.hypot(*truth[inside]).mean() > 3 * tolerance
    for flow in run(make(name), frames, step):
        assert np.hypot(*(flow - truth)[inside]).mean() < tolerance


@every_estimator
def test_signs_are_right_and_down(name):
    for shift, signs in (((2, 0), (1, 0)), ((0, 2), (0, 1)), ((-2, 0), (-1, 0)), ((0, -2), (0, -1))):
        frames, _ = scene([[1, 0, shift[0]], [0, 1, shift[1]]], 2, HEIGHT, WIDTH)
        (flow,) = run(make(name), frames)
        assert tuple(np.rint(np.median(flow, axis=(1, 2)) / 2)) == signs


@every_estimator
def test_a_still_scene_does_not_move(name):
    still = np.broadcast_to(np.uint8(77), (HEIGHT, WIDTH))
    for flow in run(make(name), [still, still, still]):
        assert np.abs(flow).max() < 1e-3


@every_estimator
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (7, 5), (16, 16), (17, 200)])
def test_small_frames_give_flow_or_a_line(name, height, width):
    frames = [frame[:height] for frame in scene("none", 2, max(height, 2), width)[0]]
    try:
        (flow,) = run(make(name), frames)
    except EstimatorError as error:
        assert f"{width}×{height}" in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert flow.shape == (2, height, width)
        assert np.isfinite(flow).all()


@pytest.mark.parametrize(("height", "width"), [(12, 40), (12, 800), (17, 200), (16, 91), (24, 182), (400, 12)])
@pytest.mark.parametrize(
    "params",
    [
        {"preset": "ultrafast"},
        {"preset": "fast"},
        {"preset": "medium"},
        {"finest_scale": 4},
        {"finest_scale": 9, "patch_size": 12, "patch_stride": 10},
        {"patch_size": 3, "patch_stride": 3, "finest_scale": 3},
    ],
    ids=str,
)
def test_dis_refuses_sizes_on_which_opencv_crashes(height, width, params):
    # Without the refusal some of these end the process.
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width), np.uint8)
    try:
        (flow,) = run(make_estimator("dis", "opencv", params), frames)
    except EstimatorError as error:
        assert f"{width}×{height}" in str(error)  # noqa: PT017
    else:
        assert np.isfinite(flow).all()


def test_dis_names_what_helps_on_low_frames():
    frames = np.random.default_rng(0).integers(0, 256, (2, 17, 200), np.uint8)
    with pytest.raises(EstimatorError, match="frames of 200×17 are too small for finest_scale 2"):
        make_estimator("dis", "opencv", {"preset": "fast"}).stream(17, 200)
    assert len(run(make_estimator("dis", "opencv", {"preset": "fast", "finest_scale": 0}), frames)) == 1


FARNEBACK = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"pyr_scale": 0.7},
        {"levels": 1},
        {"winsize": 9},
        {"iterations": 1},
        {"poly_n": 7},
        {"poly_sigma": 1.5},
        {"flags": cv2.OPTFLOW_FARNEBACK_GAUSSIAN},
        {"winsize": 21, "levels": 2, "poly_n": 7, "poly_sigma": 1.5},
    ],
    ids=str,
)
def test_farneback_is_opencvs_with_each_parameter(params):
    # Two frames of nothing in common, so that every parameter matters.
    frames = [scene("none", 1, 160, 200, seed=seed)[0][0] for seed in (0, 1)]
    values = FARNEBACK | params
    direct = cv2.calcOpticalFlowFarneback(
        frames[0],
        frames[1],
        None,
        pyr_scale=values["pyr_scale"],
        levels=values["levels"],
        winsize=values["winsize"],
        iterations=values["iterations"],
        poly_n=values["poly_n"],
        poly_sigma=values["poly_sigma"],
        flags=values["flags"],
    )
    estimator = make_estimator("farneback", "opencv", params)
    assert dict(estimator.params) == values
    (flow,) = run(estimator, frames)
    np.testing.assert_array_equal(flow, np.moveaxis(direct, 2, 0))
    if params:
        default = cv2.calcOpticalFlowFarneback(frames[0], frames[1], None, *FARNEBACK.values())
        assert np.abs(direct - default).max() > 0.1, "a value that changes nothing proves nothing"


def test_the_notebooks_defaults():
    assert tuple(farneback_params().values()) == (0.5, 3, 15, 3, 5, 1.2, 0)


DIS_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


@pytest.mark.parametrize("preset", DIS_PRESETS)
def test_dis_is_opencvs_with_each_preset(preset):
    frames, _ = scene("zoom", 2, HEIGHT, WIDTH)
    dis = cv2.DISOpticalFlow_create(DIS_PRESETS[preset])
    estimator = make_estimator("dis", "auto", {"preset": preset})
    (flow,) = run(estimator, frames)
    np.testing.assert_array_equal(flow, np.moveaxis(dis.calc(frames[0], frames[1], None), 2, 0))
    assert estimator.params["preset"] == preset
    assert estimator.params["finest_scale"] == dis.getFinestScale()
    assert estimator.params["gradient_descent_iterations"] == dis.getGradientDescentIterations()


def test_dis_is_medium_by_default():
    assert make_estimator("dis").params["preset"] == "medium"


@pytest.mark.parametrize(
    ("name", "setter", "value"),
    [
        ("finest_scale", "setFinestScale", 2),
        ("patch_size", "setPatchSize", 12),
        ("patch_stride", "setPatchStride", 5),
        ("gradient_descent_iterations", "setGradientDescentIterations", 2),
        ("variational_refinement_iterations", "setVariationalRefinementIterations", 1),
        ("variational_refinement_alpha", "setVariationalRefinementAlpha", 2.5),
        ("variational_refinement_delta", "setVariationalRefinementDelta", 0.5),
        ("variational_refinement_gamma", "setVariationalRefinementGamma", 0.5),
        ("use_mean_normalization", "setUseMeanNormalization", False),
        ("use_spatial_propagation", "setUseSpatialPropagation", False),
    ],
)
def test_each_parameter_of_dis_is_recorded_and_used(name, setter, value):
    frames, _ = scene("zoom", 2, HEIGHT, WIDTH)
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    default = dis.calc(frames[0], frames[1], None)
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    getattr(dis, setter)(value)
    direct = dis.calc(frames[0], frames[1], None)
    estimator = make_estimator("dis", "opencv", {name: value})
    assert estimator.params[name] == value
    (flow,) = run(estimator, frames)
    np.testing.assert_array_equal(flow, np.moveaxis(direct, 2, 0))
    assert np.abs(direct - default).max() > 1e-6, "a value that changes nothing proves nothing"


def test_tvl1_needs_no_contrib_package_but_for_opencvs_own(monkeypatch):
    monkeypatch.delattr(cv2, "optflow", raising=False)
    assert make_estimator("tvl1").engine == "numba"
    with pytest.raises(EstimatorError, match=r"take the engine numba, or .*pip install opencv-contrib-python"):
        make_estimator("tvl1", "opencv")
    # What the kernel does not take is refused by name, with the engine that has it.
    for engine in ("numba", "auto"):
        with pytest.raises(ArgumentError, match=r"tvl1: gamma is 0\.5, which the engine opencv alone takes"):
            make_estimator("tvl1", engine, {"gamma": 0.5})
    with pytest.raises(ArgumentError, match=r"tvl1: tau is -1\.0, expected above 0"):
        make_estimator("tvl1", "auto", {"tau": -1})


def test_tvl1_is_called_as_its_documentation_has_it(monkeypatch):
    # OpenCV's reference of cv::optflow::DualTVL1OpticalFlow::create gives this order and these defaults.
    def create(
        tau=0.25,
        lambda_=0.15,
        theta=0.3,
        nscales=5,
        warps=5,
        epsilon=0.01,
        inner_iterations=30,
        outer_iterations=10,
        scale_step=0.8,
        gamma=0.0,
        median_filtering=5,
        use_initial_flow=False,
    ):
        created.append(locals())
        return SimpleNamespace(calc=lambda frame0, frame1, _: np.dstack([frame1, frame0]).astype(np.float32))

    created = []
    monkeypatch.setattr(cv2, "optflow", SimpleNamespace(DualTVL1OpticalFlow_create=create), raising=False)
    create()
    (defaults,) = created
    names = {"lambda": "lambda_"}
    estimator = make_estimator("tvl1", "opencv")
    assert make_estimator("tvl1").params == estimator.params
    assert resolve_engine("tvl1", "auto", {"gamma": 0.5})[0] == "opencv"
    assert {names.get(name, name): value for name, value in estimator.params.items()} == {
        name: value for name, value in defaults.items() if name not in ("created", "use_initial_flow")
    }
    changed = {"lambda": 0.05, "warps": 2, "outer_iterations": 3, "median_filtering": 1, "gamma": 0.5}
    frames = [np.full((4, 5), 10, np.uint8), np.full((4, 5), 20, np.uint8)]
    (flow,) = run(make_estimator("tvl1", "opencv", changed), frames)
    expected = {name: value for name, value in defaults.items() if name != "created"}
    expected |= {names.get(name, name): value for name, value in changed.items()}
    assert {name: value for name, value in created[-1].items() if name != "created"} == expected
    assert (flow[0] == 20).all()
    assert (flow[1] == 10).all()
    with pytest.raises(ArgumentError, match=r"tvl1: scale_step is 1\.5, expected above 0 and below 1"):
        make_estimator("tvl1", "opencv", {"scale_step": 1.5})


@pytest.mark.parametrize(
    ("algorithm", "mistyped", "nearest"),
    [
        ("farneback", "winsiez", "winsize"),
        ("farneback", "level", "levels"),
        ("farneback", "polysigma", "poly_sigma"),
        ("dis", "presets", "preset"),
        ("dis", "patchsize", "patch_size"),
    ],
)
def test_an_unknown_parameter_suggests_the_nearest(algorithm, mistyped, nearest):
    with pytest.raises(ArgumentError) as error:
        make_estimator(algorithm, "opencv", {mistyped: 1})
    assert f"{algorithm} has no parameter '{mistyped}'; did you mean '{nearest}'?; it has " in str(error.value)


def test_an_unknown_parameter_that_is_like_none_lists_them():
    with pytest.raises(ArgumentError, match="farneback has no parameter 'zzz'; it has pyr_scale, levels, winsize"):
        make_estimator("farneback", "opencv", {"zzz": 1})


@pytest.mark.parametrize(
    ("algorithm", "params", "message"),
    [
        ("farneback", {"pyr_scale": 1}, "pyr_scale is 1.0, expected above 0 and below 1"),
        ("farneback", {"pyr_scale": 0}, "pyr_scale is 0.0"),
        ("farneback", {"levels": -1}, "levels is -1, expected 0 or more"),
        ("farneback", {"winsize": 0}, "winsize is 0, expected 1 or more"),
        ("farneback", {"iterations": 0}, "iterations is 0"),
        ("farneback", {"poly_n": 0}, "poly_n is 0, expected 1 to 31"),
        ("farneback", {"poly_sigma": 0}, "poly_sigma is 0.0, expected 0.2 or more"),
        ("farneback", {"poly_sigma": "inf"}, "poly_sigma is 'inf', expected a value such as 1.2"),
        ("farneback", {"poly_sigma": "nan"}, "poly_sigma is 'nan'"),
        ("farneback", {"flags": 4}, "flags is 4, expected 0"),
        ("farneback", {"winsize": "15.5"}, "winsize is '15.5', expected a whole number"),
        ("farneback", {"winsize": "wide"}, "winsize is 'wide', expected a value such as 15"),
        ("farneback", {"winsize": "inf"}, "winsize is 'inf', expected a value such as 15"),
        ("farneback", {"winsize": None}, "winsize is None, expected a value such as 15"),
        ("dis", {"preset": "slow"}, "preset is 'slow', expected one of ultrafast, fast, medium"),
        ("dis", {"patch_size": 0}, "patch_size is 0, expected 1 or more"),
        ("dis", {"patch_stride": 0}, "patch_stride is 0"),
        ("dis", {"finest_scale": -1}, "finest_scale is -1"),
        ("dis", {"variational_refinement_iterations": -1}, "variational_refinement_iterations is negative"),
        ("dis", {"use_mean_normalization": "maybe"}, "use_mean_normalization is 'maybe', expected a value such"),
        ("dis", {"patch_size": 5, "patch_stride": 6}, "patch_stride is 6, expected at most patch_size, 5"),
    ],
)
def test_values_that_cannot_be_used_are_refused(algorithm, params, message):
    with pytest.raises(ArgumentError, match=f"^{algorithm}: ") as error:
        make_estimator(algorithm, "opencv", params)
    assert message in str(error.value)


def test_text_becomes_the_type_of_the_default():
    merged = merge_params("x", {"a": 1, "b": 1.5, "c": True, "d": "e"}, {"a": "7", "b": "2", "c": "FALSE", "d": "f"})
    assert merged == {"a": 7, "b": 2.0, "c": False, "d": "f"}
    assert [type(value) for value in merged.values()] == [int, float, bool, str]
    assert farneback_params({"winsize": "21", "poly_sigma": "1.5", "levels": 2.0})["levels"] == 2


def test_engines():
    assert set(ALGORITHMS) == {"farneback", "dis", "tvl1"}
    assert resolve_engine("farneback", "opencv") == ("opencv", "")
    assert resolve_engine("farneback", "auto") == ("numba", "")
    assert resolve_engine("tvl1", "auto") == ("numba", "")
    assert resolve_engine("dis", "auto") == ("opencv", "")
    with pytest.raises(ArgumentError, match="algorithm is 'raft', expected one of farneback, dis, tvl1"):
        resolve_engine("raft", "auto")
    with pytest.raises(ArgumentError, match="engine is 'cuda', expected one of auto, numba, opencv"):
        resolve_engine("farneback", "cuda")
    with pytest.raises(ArgumentError, match="algorithm dis has no numba engine: use --engine opencv"):
        resolve_engine("dis", "numba")


def test_auto_says_when_it_cannot_take_the_fastest(monkeypatch):
    def without_numba(algorithm):
        raise EstimatorError(f"no numba for {algorithm}")

    monkeypatch.setattr("flowstore.estimators.registry._import_kernel", without_numba)
    engine, line = resolve_engine("farneback", "auto")
    assert engine == "opencv"
    assert "opencv in place of the faster numba (no numba for farneback)" in line
    with pytest.raises(EstimatorError, match="no numba"):
        make_estimator("farneback", "numba")
    # Where nothing is left, the line says what a person lacks who has installed flowstore as it is.
    monkeypatch.delattr(cv2, "optflow", raising=False)
    with pytest.raises(EstimatorError, match="no numba for tvl1"):
        make_estimator("tvl1")


def test_a_pair_stream_keeps_no_more_than_its_step():
    pairs = []

    def difference(frame0, frame1):
        pairs.append((int(frame0[0, 0]), int(frame1[0, 0])))
        return np.dstack([frame1.astype(np.float32) - frame0, frame0]).astype(np.float32)

    stream = PairStream(difference, 2, 3, step=3)
    results = [stream.push(np.full((2, 3), 10 * number, np.uint8)) for number in range(6)]
    assert pairs == [(0, 30), (10, 40), (20, 50)]
    assert results[:3] == [None, None, None]
    # The array is the stream's own: it holds the last flow.
    assert results[3] is results[5]
    assert (results[5][0] == 30).all()
    assert (results[5][1] == 20).all()


def test_what_opencv_refuses_is_one_line():
    def refuse(*_):
        return cv2.resize(np.zeros((0, 0), np.uint8), (3, 3))

    stream = PairStream(refuse, 4, 5, 1)
    stream.push(np.zeros((4, 5), np.uint8))
    with pytest.raises(EstimatorError, match="OpenCV refuses frames of 5×4: ") as error:
        stream.push(np.zeros((4, 5), np.uint8))
    assert "\n" not in str(error.value)


def test_versions_name_the_libraries():
    versions = estimator_versions()
    assert versions["opencv"] == cv2.__version__
    assert versions["numpy"] == np.__version__
    assert set(versions) == {"opencv", "numpy", "numba"}


def test_what_is_installed_is_looked_through_once_not_with_each_video(monkeypatch):
    expected = library_versions("farneback")
    assert expected.items() >= estimator_versions().items()

    def look(*_, **__):
        raise AssertionError

    for place in "registry.version", "guests.version", "guests.entry_points", "guests.packages_distributions":
        monkeypatch.setattr(f"flowstore.estimators.{place}", look)
    assert library_versions("farneback") == expected


@pytest.mark.parametrize(("arguments", "bound"), ESTIMATORS.values(), ids=ESTIMATORS)
def test_a_caller_may_use_one_buffer_for_every_frame(arguments, bound, one_opencv_thread):
    frames = [np.roll(np.arange(64 * 96, dtype=np.uint8).reshape(64, 96) * 7, 2 * n, axis=1) for n in range(4)]
    kept, reused = (make_estimator(*arguments).stream(64, 96) for _ in range(2))
    buffer = np.empty((64, 96), np.uint8)
    for frame in frames:
        expected = kept.push(frame)
        buffer[:] = frame
        found = reused.push(buffer)
        buffer[:] = 0
        assert (expected is None) == (found is None)
        if expected is not None:
            np.testing.assert_array_equal(found, expected)

"""Estimators of other packages in the pipeline: what they may be, and what is said of each that breaks its promise."""

import importlib
import json
import re
import sys
from functools import partial

import numpy as np
import pytest
from datasets import call, write_dataset
from faulty_guests import FAULTS, Batched, Color, Mean, Shuffled
from processes import cluster

import flowstore
from flowstore.errors import ArgumentError, EstimatorError
from flowstore.estimators import check_estimator, make_estimator
from flowstore.estimators.checked import CheckedStream
from flowstore.pipeline import extract

N_FRAMES = 6


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    write_dataset(root, n_videos=1, n_frames=N_FRAMES)
    return root


def extract_with(videos, store, algorithm, **options):
    return extract(videos, store, algorithm=f"faulty_guests:{algorithm}", scheduler="sync", dtype="float16", **options)


@pytest.mark.parametrize("make", [Mean, Batched, Color])
def test_sound_guests_keep_the_protocol(make):
    check_estimator(make)


@pytest.mark.parametrize("algorithm", ["farneback", "dis", "tvl1"])
def test_the_houses_own_keep_the_protocol(algorithm, one_opencv_thread):
    check_estimator(partial(make_estimator, algorithm, "auto"))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_finds_each_fault(fault):
    make, message = FAULTS[fault]
    own = re.sub("^(ZeroDivisionError|SystemExit): ", "", message)
    with pytest.raises((EstimatorError, ZeroDivisionError, SystemExit), match=re.escape(own)):
        check_estimator(make, sizes=[(24, 32)])


def test_the_check_finds_flows_in_another_order():
    with pytest.raises(EstimatorError, match="Shuffled: flows come in another order than frames, step 1 on frames of"):
        check_estimator(Shuffled)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_guest_at_fault_is_a_failed_row_with_its_reason(videos, tmp_path, fault):
    report = extract_with(videos, tmp_path / "s.zarr", fault)
    assert report.n_extracted == 0
    assert len(report.failures) == 2
    for record in report.failures:
        assert FAULTS[fault][1] in record.reason
        assert "\n" not in record.reason


def test_a_fault_in_one_video_leaves_the_others_whole(videos, tmp_path):
    # Its third frame is where a guest of this kind begins to fail.
    write_dataset(tmp_path / "mixed", classes=("long",), n_videos=1, n_frames=N_FRAMES)
    write_dataset(tmp_path / "mixed", classes=("short",), n_videos=1, n_frames=2)
    report = extract_with(tmp_path / "mixed", tmp_path / "s.zarr", "Raises")
    assert (report.n_extracted, [record.class_name for record in report.failures]) == (1, ["long"])


@pytest.mark.parametrize("n_frames", [2, 3, 4, 5, 7])
@pytest.mark.parametrize("step", [1, 3])
def test_a_batch_gives_the_flow_of_single_pairs(tmp_path, n_frames, step):
    if n_frames <= step:
        return
    write_dataset(tmp_path / "v", classes=("a",), n_videos=1, n_frames=n_frames)
    stores = [tmp_path / name for name in ("Mean", "Batched")]
    codes = []
    for store in stores:
        assert extract_with(tmp_path / "v", store, store.name, step=step).n_flows == n_frames - step
        codes.append(np.asarray(flowstore.open_store(store)["a/v0"].codes[:]))
    np.testing.assert_array_equal(*codes)
    assert np.ptp(codes[0][:, 0, 0, 0].astype(float)) > 0 or n_frames - step == 1


def test_frames_come_in_color_as_red_green_blue(tmp_path):
    import cv2

    folder = tmp_path / "v" / "a" / "red"
    folder.mkdir(parents=True)
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((24, 32, 3), (10, 0, 200), np.uint8))
    extract_with(tmp_path / "v", tmp_path / "s.zarr", "Color", size=(12, 16))
    codes = flowstore.open_store(tmp_path / "s.zarr")["a/red"].codes[:]
    assert codes.shape == (2, 2, 12, 16)
    assert np.unique(codes).tolist() == [190]


def test_settings_record_what_ran_and_another_version_is_said(videos, tmp_path, monkeypatch):
    module = tmp_path / "own_flow.py"
    text = "from faulty_guests import Mean\nclass Own(Mean):\n    pass\n"
    module.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    store = tmp_path / "s.zarr"
    command = ["extract", videos, store, "--algorithm", "own_flow:Own", "--scheduler", "sync"]
    assert call(*command, "--param", "gain=0.5", "--limit", "1").code == 0
    settings = flowstore.open_store(store).settings
    assert (settings.algorithm, settings.engine) == ("own_flow:Own", "unpackaged")
    assert settings.params == {"gain": 0.5}
    assert "other settings" in call(*command, "--param", "gain=0.25").err
    module.write_text(text + "# another\n")
    resumed = call(*command, "--param", "gain=0.5", "--json")
    assert resumed.code == 0
    assert "own_flow is sha256" in resumed.err
    assert "the store was begun with sha256" in resumed.err
    opened = flowstore.open_store(store)
    assert len({opened[key].record.versions["own_flow"] for key in ("run/v0", "wave/v0")}) == 2
    deep = call("verify", store, "--source", videos, "--deep", "--scheduler", "sync")
    assert deep.code == 0, deep.out + deep.err


def test_what_failed_is_tried_again_with_another_version(videos, tmp_path, monkeypatch):
    module = tmp_path / "mended_flow.py"
    module.write_text("from faulty_guests import Raises as Own\n")
    monkeypatch.syspath_prepend(tmp_path)
    command = ["extract", videos, tmp_path / "s.zarr", "--algorithm", "mended_flow:Own", "--scheduler", "sync"]
    assert [call(*command).code, call(*command).code] == [1, 1]
    assert "2 failed before" in call(*command, "--dry-run").out
    module.write_text("from faulty_guests import Mean as Own\n")
    monkeypatch.delitem(sys.modules, "mended_flow")
    importlib.invalidate_caches()
    mended = call(*command, "--json")
    assert (mended.code, json.loads(mended.out)["extracted"]) == (0, 2), mended.err


def test_a_guest_that_ends_the_process_when_imported_is_refused(videos, tmp_path, monkeypatch):
    (tmp_path / "leaving_flow.py").write_text("import sys\nsys.exit('no license')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EstimatorError, match=r"leaving_flow:Own cannot be imported .SystemExit: no license"):
        extract(videos, tmp_path / "s.zarr", algorithm="leaving_flow:Own")


@pytest.mark.parametrize(
    ("algorithm", "listed"), [("farneback", "winsize=15"), ("dis", "preset=medium"), ("faulty_guests:Mean", "gain=1.0")]
)
def test_the_command_line_lists_parameters(algorithm, listed):
    outcome = call("extract", "--list-params", algorithm)
    assert outcome.code == 0
    assert listed in outcome.out.splitlines()


@pytest.mark.parametrize("words", ["torch", None, ("",), (1,)])
@pytest.mark.parametrize("name", ["libraries", "incidental", "notes"])
def test_words_that_are_no_tuple_of_words_are_refused(monkeypatch, name, words):
    monkeypatch.setattr(Mean, name, words)
    with pytest.raises(EstimatorError, match=f"{name} of estimator .* is .*, expected a tuple of words"):
        make_estimator("faulty_guests:Mean")


def test_parameters_of_what_is_no_estimator_are_refused():
    outcome = call("extract", "--list-params", "collections:OrderedDict")
    assert outcome.code == 2
    assert "OrderedDict, expected a class made of flowstore.estimators.Estimator" in outcome.err


@pytest.mark.parametrize(
    ("algorithm", "error", "message"),
    [
        ("horn", ArgumentError, "expected one of farneback, dis, tvl1"),
        ("faulty_guests:None_", EstimatorError, "cannot be imported .AttributeError"),
        ("no_such_module:Flow", EstimatorError, "cannot be imported .ModuleNotFoundError.*PYTHONPATH"),
        ("faulty_guests:FAULTS", EstimatorError, "is dict, expected a class"),
        ("collections:Counter", EstimatorError, "expected a class made of flowstore.estimators.Estimator"),
        ("faulty_guests:Vanishing", EstimatorError, "cannot be made .RuntimeError: no weights"),
    ],
)
def test_what_is_no_estimator_is_refused_before_work(videos, tmp_path, algorithm, error, message):
    with pytest.raises(error, match=message):
        extract(videos, tmp_path / "s.zarr", algorithm=algorithm)
    assert not (tmp_path / "s.zarr").exists()


def test_parameters_of_a_guest_are_checked_and_the_engine_is_its_own(videos, tmp_path):
    with pytest.raises(ArgumentError, match="has no parameter 'gian'"):
        make_estimator("faulty_guests:Mean", params={"gian": 1})
    with pytest.raises(ArgumentError, match="leave out --engine"):
        make_estimator("faulty_guests:Mean", "numba")


def test_a_guest_of_a_houses_name_is_said_and_asked_for_by_its_path(videos, tmp_path, monkeypatch):
    folder = tmp_path / "packages" / "near_flow-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: near-flow\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[flowstore.estimators]\ndis = faulty_guests:Mean\n")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    done = call("extract", videos, tmp_path / "s.zarr", "--algorithm", "dis", "--dry-run")
    said = "algorithm dis is flowstore's own; that of near-flow is asked for as faulty_guests:Mean"
    assert (done.code, done.out.count(said)) == (0, 1)
    report = extract(videos, tmp_path / "s.zarr", algorithm="dis", scheduler="sync")
    assert report.n_extracted == 2
    assert "near-flow" not in flowstore.open_store(tmp_path / "s.zarr")["wave/v0"].record.versions


def test_a_lone_warning_is_one_and_not_its_letters():
    for warnings, expected in (("dark\nscene", ("dark scene",)), (["a", "b"], ("a", "b")), (None, ()), ("", ())):
        stream = CheckedStream(Mean(), 24, 32, 1, is_guest=True)
        stream._stream.warnings = warnings
        assert stream.warnings == expected


def test_memory_of_a_pair_is_foretold(videos, tmp_path):
    plans = {}
    for name in ("Mean", "Batched"):
        outcome = call(
            "extract", videos, tmp_path / "s.zarr", "--algorithm", f"faulty_guests:{name}", "--dry-run", "--json"
        )
        plans[name] = json.loads(outcome.out)["memory_per_worker"]
    held = 2 * (8 + 1) * 24 * 32
    assert plans["Batched"] - plans["Mean"] == 3 * 1000 * 24 * 32 + held


def test_a_stream_is_counted_to_its_end():
    class Forgetful(Batched):
        class stream_class(Mean.stream_class):  # noqa: N801
            def finish(self):
                given = super().finish()
                return given if len(given) == 3 else []

    stream = CheckedStream(Forgetful(), 24, 32, 1, is_guest=False)
    for number in range(3):
        stream.push(np.full((24, 32), number, np.uint8))
    with pytest.raises(EstimatorError, match="gave 0 flows for the 2 pairs of 3 frames, expected one a pair"):
        stream.finish()


@pytest.mark.slow
@pytest.mark.system
def test_a_worker_that_cannot_import_it_refuses_the_run(videos, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "only_here.py").write_text("from flowstore.estimators import Estimator as Own\n")
    store = tmp_path / "mean.zarr"
    with cluster(tmp_path) as (address, _):
        monkeypatch.syspath_prepend(tmp_path / "here")
        outcome = call("extract", videos, tmp_path / "s.zarr", "--algorithm", "only_here:Own", "--scheduler", address)
        (tmp_path / "here" / "mean_here.py").write_text("from faulty_guests import Mean\n")
        assert call("extract", videos, store, "--algorithm", "mean_here:Mean", "--scheduler", "sync").code == 0
        verified = call("verify", store, "--source", videos, "--deep", "--scheduler", address)
    assert verified.code == 2
    assert "mean_here:Mean cannot be imported" in verified.err
    assert outcome.code == 2
    assert re.search(r"worker tcp://\S+ cannot run flowstore .*only_here:Own cannot be imported", outcome.err)
    assert not (tmp_path / "s.zarr").exists()


@pytest.mark.slow
@pytest.mark.system
def test_a_guest_that_hangs_is_ended_and_the_others_are_whole(tmp_path, monkeypatch):
    write_dataset(tmp_path / "v", classes=("long",), n_videos=1, n_frames=N_FRAMES)
    write_dataset(tmp_path / "v", classes=("short",), n_videos=1, n_frames=3)
    monkeypatch.setattr("flowstore.pipeline.run._STALL_S", 10.0)
    report = extract(
        tmp_path / "v", tmp_path / "s.zarr", algorithm="faulty_guests:Hangs", scheduler="processes", workers=2
    )
    (record,) = report.failures
    assert record.class_name == "long"
    assert "its decoder or estimator hangs" in record.reason
    assert (report.n_extracted, report.n_flows) == (1, 2)

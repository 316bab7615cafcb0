"""Statistics of a store: each figure against NumPy on the whole arrays, on every scheduler, damage and samples."""

import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from datasets import call, process_environment
from processes import cluster
from store_factory import make_codes, make_record, write_store

import flowstore
from flowstore.errors import ArgumentError, StoreNotFoundError
from flowstore.format.settings import ExtractSettings
from flowstore.quantize import Quantizer
from flowstore.stats import stats
from flowstore.stats.plot import plot_stats
from flowstore.stats.task import FlowSample
from flowstore.storage.local import LocalStorage
from flowstore.store.index import write_index
from flowstore.store.tree import read_records
from flowstore.store.video_index import VideoIndex
from flowstore.store.writer import VideoWriter


def make_flow(n_flows, height, width, seed, speed=3.0):
    return np.random.default_rng(seed).normal(0.5, speed, (n_flows, 2, height, width)).astype(np.float32)


FLOWS = {
    "wave/a": make_flow(5, 24, 32, 1),
    "wave/b [HD] é": make_flow(3, 17, 19, 2),
    "run/$a_{b}$": make_flow(4, 24, 32, 3, speed=9.0),
    "_still/x": 0 * make_flow(2, 6, 8, 4),
}


def write_flows(place, flows, quantizer):
    """Write a store of given flow, with the clipped counts and maxima that an extraction keeps."""
    settings = ExtractSettings(quantizer=quantizer)
    storage = write_store(place, {}, {"wave/bad": "0 frames"}, settings)
    for key, flow in flows.items():
        class_name, _, name = key.partition("/")
        clipped = np.sum([quantizer.count_clipped(part) for part in flow], axis=0).tolist()
        magnitudes = np.hypot(flow[:, 0], flow[:, 1])
        record = make_record(class_name, name, len(flow))
        statistics = replace(
            record.statistics,
            clipped_x=clipped[0],
            clipped_y=clipped[1],
            max_magnitude=float(magnitudes.max()),
            p99_magnitude=float(np.quantile(magnitudes, 0.99)),
        )
        with VideoWriter(storage, class_name, name, *flow.shape[2:], quantizer, "fast") as writer:
            for part in flow:
                writer.append(quantizer.encode(part))
            writer.commit(replace(record, statistics=statistics))
    write_index(storage, VideoIndex.from_records(read_records(storage)))
    return str(place)


QUANTIZERS = [
    Quantizer("centred", 10),
    Quantizer("denseflow", 20),
    Quantizer("truncate", 20),
    Quantizer("float16", None),
]


@pytest.fixture(scope="module", params=QUANTIZERS, ids=lambda quantizer: quantizer.encoding)
def root(request, tmp_path_factory):
    return write_flows(tmp_path_factory.mktemp("stats") / "s.zarr", FLOWS, request.param)


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    return write_flows(tmp_path_factory.mktemp("coded") / "s.zarr", FLOWS, Quantizer("centred", 10))


def whole(root, keys):
    """All pixels of some videos: x and y, float64."""
    store = flowstore.open_store(root)
    parts = [np.moveaxis(store[key][:].astype(np.float64), 1, 0).reshape(2, -1) for key in keys]
    return np.concatenate(parts, axis=1)


def assert_group_is(group, report, x, y):
    magnitudes = np.hypot(x, y)
    assert group.counts.n_pixels == len(x)
    assert group.mean_magnitude_px == pytest.approx(magnitudes.mean(), rel=1e-9)
    assert group.counts.magnitude_max == pytest.approx(magnitudes.max(), rel=1e-9)
    assert group.moving_share == np.mean(magnitudes >= 0.5)
    expected, _ = np.histogram(magnitudes, [*report.edges_px, np.inf])
    assert group.counts.histogram.tolist() == expected.tolist()
    degrees = np.degrees(np.arctan2(y, x))[magnitudes >= 0.5]
    expected, _ = np.histogram((degrees + 7.5) % 360, 24, (0, 360))
    assert group.counts.angles.tolist() == expected.tolist()
    assert group.channels.mean_px == pytest.approx([x.mean(), y.mean()], abs=1e-6)
    assert group.channels.std_px == pytest.approx([x.std(), y.std()], rel=1e-6)
    exact = np.quantile(magnitudes, 0.99, method="inverted_cdf")
    assert exact <= group.percentile_px(0.99) <= exact + report.edges_px[1] / 16 + 1e-9 or exact > report.edges_px[-1]


def test_every_class_and_all_together_are_what_numpy_gives(root):
    report = stats(root, scheduler="sync")
    assert list(report.classes) == ["_still", "run", "wave"]
    for name, group in report.classes.items():
        keys = [key for key in FLOWS if key.startswith(f"{name}/")]
        assert_group_is(group, report, *whole(root, keys))
        assert (group.n_videos, group.n_flows) == (len(keys), sum(len(FLOWS[key]) for key in keys))
    assert_group_is(report.overall, report, *whole(root, FLOWS))
    assert report.overall.counts.n_flows == report.overall.n_flows == 14
    assert (report.is_all_well, report.is_sampled, report.n_left_out) == (True, False, 1)


def test_moments_of_codes_for_training(coded):
    channels = stats(coded, scheduler="sync").overall.channels
    store = flowstore.open_store(coded)
    codes = np.concatenate([np.moveaxis(store[key].codes[:], 1, 0).reshape(2, -1) for key in FLOWS], axis=1) / 255
    assert channels.mean_normalized == pytest.approx(codes.mean(1), rel=1e-12)
    assert channels.std_normalized == pytest.approx(codes.std(1), rel=1e-12)


def test_float16_has_no_codes(tmp_path):
    root = write_flows(tmp_path / "s.zarr", FLOWS, Quantizer("float16", None))
    channels = stats(root, scheduler="sync").overall.channels
    assert (channels.mean_normalized, channels.std_normalized) == (None, None)


def test_clipped_shares_hold_the_truth(root):
    """The share that each bound clips of the flow before it was stored."""
    flow = np.concatenate([flow.ravel() for flow in FLOWS.values()])
    largest = max(np.hypot(flow[:, 0], flow[:, 1]).max() for flow in FLOWS.values())
    bounds = [1, 2.5, 5, 10, 15, 20, 25, 32, 64]
    report = stats(root, bounds=bounds, scheduler="sync")
    own = report.rules.quantizer.bound_px
    assert [row.bound_px for row in report.clipped] == bounds
    for row in report.clipped:
        true = np.mean(np.abs(flow) > row.bound_px)
        assert own is None or row.at_least <= true <= row.at_most
        if own is None:
            # Of stored float16, which rounds.
            assert row.at_least == row.at_most == np.mean(np.abs(flow.astype(np.float16)) > row.bound_px)
        elif row.bound_px == own:
            assert (row.at_least, row.at_most, row.origin) == (true, true, "record")
        elif row.bound_px > own:
            assert (row.at_least, row.origin) == (0, "record")
            assert row.at_most <= np.mean(np.abs(flow) > own)
            assert (row.at_most == 0) == (row.bound_px > largest)
        else:
            assert (row.at_most - row.at_least) < 0.1
            assert row.origin == "codes"


def test_the_bound_of_the_store_is_always_asked_for(coded):
    assert [row.bound_px for row in stats(coded, bounds=[64, 5], scheduler="sync").clipped] == [5, 10, 64]


def test_shares_in_words(coded):
    texts = {row.bound_px: str(row) for row in stats(coded, bounds=[5, 15, 64], scheduler="sync").clipped}
    assert texts[64] == "none"
    assert texts[15].startswith("at most ")
    assert " to " in texts[5]
    assert texts[10].count("%") == 1


def as_plain(report):
    return {name: value for name, value in report.to_json().items() if name != "seconds"}


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_every_scheduler_counts_the_same(root, scheduler):
    expected = as_plain(stats(root, scheduler="sync", sample=2))
    assert as_plain(stats(root, scheduler=scheduler, workers=2, sample=2)) == expected


@pytest.mark.slow
def test_a_cluster_counts_the_same(coded, tmp_path):
    with cluster(tmp_path, n_workers=2) as (address, _):
        assert as_plain(stats(coded, scheduler=address)) == as_plain(stats(coded, scheduler="sync"))


def test_with_and_without_numba_the_same_is_counted(coded, monkeypatch):
    expected = as_plain(stats(coded, scheduler="sync"))
    monkeypatch.setattr("flowstore.stats.run._COMPILED_FLOWS", 1)
    assert as_plain(stats(coded, scheduler="sync")) == expected
    monkeypatch.setitem(sys.modules, "flowstore.stats.kernels", None)
    assert as_plain(stats(coded, scheduler="sync")) == expected


def test_sums_do_not_depend_on_which_task_ends_first(coded, monkeypatch):
    monkeypatch.setattr("flowstore.stats.run._FEWEST_TASK_FLOWS", 1)
    expected, later = as_plain(stats(coded, scheduler="sync")), []

    def backwards(job, where, n_workers):
        for task in job.tasks:
            later.append((task, job.function(task, job.on_tick)))
        for task, result in reversed(later):
            job.on_result(task, result)

    monkeypatch.setattr("flowstore.jobs.operation.run_job", backwards)
    assert as_plain(stats(coded, scheduler="sync")) == expected
    assert len(later) == 4


def test_a_selection_counts_its_own_videos(coded):
    report = stats(flowstore.open_store(coded).select("wave", min_flows=4), scheduler="sync")
    assert list(report.classes) == ["wave"]
    assert (report.overall.n_videos, report.overall.counts.n_flows) == (1, 5)
    assert_group_is(report.overall, report, *whole(coded, ["wave/a"]))


def test_many_small_videos_are_counted_in_groups(tmp_path):
    videos = {f"c{number % 2}/v{number}": make_codes(2, 4, 6, seed=number) for number in range(150)}
    write_store(tmp_path / "s.zarr", videos)
    seen = []

    class Listener:
        def start(self, n_videos, n_flows):
            seen.append(("start", n_videos, n_flows))

        def add_flows(self, n_flows):
            seen.append(("flows", n_flows))

        def finish_video(self, key, problem):
            seen.append(("video", key, problem))

        def stop(self):
            seen.append(("stop",))

    report = stats(tmp_path / "s.zarr", scheduler="sync", progress=Listener())
    assert report.overall.counts.n_flows == 300
    assert seen[0] == ("start", 150, 300)
    assert seen[-1] == ("stop",)
    assert sum(entry[1] for entry in seen if entry[0] == "flows") == 300
    assert {entry[1] for entry in seen if entry[0] == "video"} == set(videos)


# ---- samples


def test_a_sample_of_flows_is_counted_exactly(coded):
    sample = FlowSample(2, seed=7)
    report = stats(coded, sample=2, seed=7, scheduler="sync")
    store = flowstore.open_store(coded)
    parts = []
    for key in FLOWS:
        video = store[key]
        numbers = sample.choose(key, video.n_flows)
        assert len(set(numbers.tolist())) == 2
        parts.append(np.moveaxis(video[:][numbers].astype(np.float64), 1, 0).reshape(2, -1))
    assert_group_is(report.overall, report, *np.concatenate(parts, axis=1))
    assert (report.overall.counts.n_flows, report.overall.n_flows, report.is_sampled) == (8, 14, True)
    assert "2 flows of each video, seed 7" in str(report)


def test_the_seed_decides_the_sample(coded):
    one, same, other = (stats(coded, sample=1, seed=seed, scheduler="sync") for seed in (1, 1, 2))
    assert as_plain(one) == as_plain(same)
    assert as_plain(one)["all"] != as_plain(other)["all"]


def test_a_sample_is_drawn_evenly():
    drawn = np.concatenate([FlowSample(3, seed).choose("a/b", 10) for seed in range(2000)])
    assert np.bincount(drawn, minlength=10) == pytest.approx(600, rel=0.15)
    assert FlowSample(3).choose("a/b", 100).tolist() != FlowSample(3).choose("a/c", 100).tolist()


def test_a_sample_of_all_is_no_sample(coded):
    assert not stats(coded, sample=1000, scheduler="sync").is_sampled


@pytest.mark.parametrize("size", [0, -1, 0.0, 1.0, 1.5, float("nan"), True, "10"])
def test_samples_that_cannot_be_drawn(coded, size):
    with pytest.raises(ArgumentError, match="sample is"):
        stats(coded, sample=size)


def test_choices_that_cannot_be_used(coded, tmp_path):
    for options in (
        {"seed": -1},
        {"seed": "1"},
        {"moving": 0},
        {"bounds": [0]},
        {"bounds": [-3]},
        {"workers": 0},
        {"scheduler": "x"},
    ):
        with pytest.raises(ArgumentError):
            stats(coded, **options)
    with pytest.raises(StoreNotFoundError):
        stats(tmp_path / "nowhere.zarr")


# ---- damage


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_damaged_videos_are_named_and_the_others_counted(tmp_path, scheduler):
    root = write_flows(tmp_path / "s.zarr", FLOWS, Quantizer("centred", 10))
    shard = tmp_path / "s.zarr/wave/a/flow/c.0.0.0.0"
    data = bytearray(shard.read_bytes())
    # The last flow: what was counted of the ones before it must not stay.
    data[-200] ^= 1
    shard.write_bytes(bytes(data))
    (tmp_path / "s.zarr/run/$a_{b}$/flow/zarr.json").unlink()
    # What a system refuses to read: here a folder, elsewhere a bad sector.
    shard = tmp_path / "s.zarr/_still/x/flow/c.0.0.0.0"
    shard.unlink()
    shard.mkdir()
    report = stats(root, scheduler=scheduler)
    assert not report.is_all_well
    assert list(report.failures) == ["_still/x", "run/$a_{b}$", "wave/a"]
    assert report.failures["_still/x"] == f"cannot read {shard}: Is a directory"
    assert "zarr.json is missing" in report.failures["run/$a_{b}$"]
    assert_group_is(report.classes["wave"], report, *whole(root, ["wave/b [HD] é"]))
    assert report.classes["run"].counts.n_flows == 0
    assert np.isnan(report.classes["run"].mean_magnitude_px)
    json.dumps(report.to_json(), allow_nan=False)
    plot_stats(report, tmp_path / "p.png")


def test_a_video_that_is_gone_since_the_index_was_made_is_named(coded, tmp_path):
    root = write_flows(tmp_path / "s.zarr", FLOWS, Quantizer("centred", 10))
    store = flowstore.open_store(root)
    assert len(store.videos.column("path")) == 5
    (tmp_path / "s.zarr/wave/a/zarr.json").unlink()
    report = stats(store, scheduler="sync")
    assert "no video with flow in the store any more" in report.failures["wave/a"]


def test_an_empty_store_and_one_of_failed_videos(tmp_path):
    write_store(tmp_path / "none.zarr", {})
    write_store(tmp_path / "failed.zarr", {}, {"a/b": "bad"})
    for name in ("none", "failed"):
        report = stats(tmp_path / f"{name}.zarr")
        assert (report.is_all_well, report.overall.n_flows) == (True, 0)
        json.dumps(report.to_json(), allow_nan=False)
        plot_stats(report, tmp_path / "p.png")


def test_memory_does_not_grow_with_the_store(coded):
    """What is kept of a class is a few tens of kilobytes, whatever its size."""
    report = stats(coded, scheduler="sync")
    assert len(pickle.dumps(report.classes["wave"].counts)) < 50_000


class DeadlyStorage(LocalStorage):
    """Ends the process that reads the flow of one video, as a system does that runs out of memory."""

    def read_range(self, key, start, size):
        if key.startswith("wave/a/"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read_range(key, start, size)


@pytest.mark.slow
def test_a_killed_worker_is_survived_and_its_videos_are_named(coded, monkeypatch):
    monkeypatch.setattr("flowstore.stats.run._FEWEST_TASK_FLOWS", 1)
    opened = flowstore.open_store(coded)
    report = stats(flowstore.FlowStore(DeadlyStorage(coded), opened.root), scheduler="processes", workers=2)
    assert list(report.failures) == ["wave/a"]
    assert "a worker process was killed" in report.failures["wave/a"]
    assert_group_is(report.classes["wave"], report, *whole(coded, ["wave/b [HD] é"]))
    assert report.overall.counts.n_flows == 9


# ---- the command


def test_the_command_prints_tables(coded):
    done = call("stats", coded)
    assert (done.code, done.err) == (0, "")
    lines = [line.split() for line in done.out.splitlines()]
    assert done.out.startswith("4 videos, 14 of 14 flows counted (all flows)")
    assert "1 failed video left out" in done.out
    (wave,) = (line for line in lines if line[:1] == ["wave"])
    assert wave[1:4] == ["2", "8", "8"]
    assert float(wave[4]) == pytest.approx(np.hypot(*whole(coded, list(FLOWS)[:2])).mean(), abs=5.1e-4)
    (pixels,) = (line for line in lines if line[:1] == ["pixels"])
    x, y = whole(coded, FLOWS)
    assert [float(text) for text in pixels[1:]] == pytest.approx([x.mean(), y.mean(), x.std(), y.std()], abs=1e-5)
    assert "±10 px (the store)" in done.out
    assert any(line[:3] == ["±64", "px", "none"] for line in lines)
    assert "stored flow ends at ±10 px" in done.out


def test_the_command_gives_json(coded):
    done = call("stats", coded, "--json", "--sample", "50%", "--bounds", "5,32", "--moving", "1", "--seed", "3")
    values = json.loads(done.out)
    expected = as_plain(stats(coded, sample=0.5, bounds=(5, 32), moving=1.0, seed=3, scheduler="sync"))
    assert {name: value for name, value in values.items() if name != "seconds"} == expected
    assert values["sample"] == "a sample: 0.5 of the flows of each video, seed 3"


def test_the_command_takes_a_class(coded):
    values = json.loads(call("stats", f"{coded}/wave", "--json").out)
    assert list(values["classes"]) == ["wave"]
    refused = call("stats", f"{coded}/wave/a")
    assert refused.code == 2
    assert "a video; give a store or a class" in refused.error_line


def test_the_command_says_what_is_damaged(tmp_path):
    root = write_flows(tmp_path / "s.zarr", FLOWS, Quantizer("centred", 10))
    (tmp_path / "s.zarr/wave/a/flow/zarr.json").unlink()
    for flags in ([], ["--json"], ["--quiet"]):
        done = call("stats", root, *flags)
        assert done.code == 1
        assert "failed wave/a: " in done.err
    assert done.out == ""
    assert json.loads(call("stats", root, "--json").out)["failed"][0]["video"] == "wave/a"


@pytest.mark.parametrize(
    "options",
    [
        ["--sample", "none"], ["--sample", "0"], ["--sample", "120%"], ["--bounds", "5,x"], ["--bounds", "0"],
        ["--moving", "0"], ["--plot", "p.bmp"], ["--plot", "nowhere/p.png"], ["--plot", "folder.png"],
        ["--workers", "0"],
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_before_the_work(coded, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    done = call("stats", coded, *options)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


# ---- the picture


@pytest.mark.parametrize("n_classes", [1, 4, 60])
def test_a_picture_is_drawn_whole(tmp_path, n_classes):
    videos = {
        f"class {number} {'long ' * 9}$_{{x}}$/v": make_codes(2, 6, 8, seed=number) for number in range(n_classes)
    }
    write_store(tmp_path / "s.zarr", videos)
    done = call("stats", tmp_path / "s.zarr", "--plot", tmp_path / "p.png")
    assert (done.code, done.err) == (0, "")
    assert f"drawn in {tmp_path / 'p.png'}" in done.out
    picture = cv2.imread(str(tmp_path / "p.png"))
    assert picture.shape == (1080, 1560, 3)
    # Nothing is cut: the outermost pixels are paper.
    for border in (picture[:3], picture[-3:], picture[:, :3], picture[:, -3:]):
        assert (border == 255).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.png", "s.zarr"]


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89PNG")])
def test_other_formats(coded, tmp_path, suffix, start):
    plot_stats(stats(coded, scheduler="sync"), tmp_path / f"p.{suffix}")
    assert (tmp_path / f"p.{suffix}").read_bytes().startswith(start)


BLOCKED = """
import sys
sys.modules["matplotlib"] = None
from flowstore.cli import main
sys.argv = ["flowstore", "stats", *sys.argv[1:]]
main()
"""


def test_without_matplotlib_the_install_line_is_named_before_the_work(coded, tmp_path):
    command = [sys.executable, "-c", BLOCKED, coded, "--plot", str(tmp_path / "p.png")]
    done = subprocess.run(command, capture_output=True, text=True, env=process_environment(), check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["flowstore: a plot needs matplotlib: pip install 'flowstore[notebook]'"]
    plain = subprocess.run(command[:-2], capture_output=True, text=True, env=process_environment(), check=False)
    assert plain.returncode == 0, plain.stderr

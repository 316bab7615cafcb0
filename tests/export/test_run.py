"""Exporting: the files that others read, whole, inside the target, and under the videos' own names."""

import json
import os
import re
import resource
import shutil
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from store_factory import drop_digests, make_codes, settings_of, tree_files, write_store, write_video

import flowstore
from flowstore.errors import ArgumentError, ExportError
from flowstore.export import ExportReport, export
from flowstore.export.run import MANIFEST
from flowstore.pipeline import extract
from flowstore.quantize import Quantizer
from flowstore.store.index import write_index
from flowstore.store.tree import read_records
from flowstore.store.video_index import VideoIndex
from flowstore.store.writer import write_class

HD = "Scene_Part_1_[HD]_avi (x) & 'y' ünïcode 100%"
VIDEOS = {f"fencing/{HD}": make_codes(18, 12, 16, seed=1), "wave/b": make_codes(3, 12, 20, seed=2)}


def jpeg(plane, tmp_path, quality=95) -> bytes:
    """Return what `cv2.imwrite` makes of gray levels."""
    path = tmp_path / "expected.jpg"
    assert cv2.imwrite(str(path), plane, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path.read_bytes()


def exact_codes(encoding: str, flow: np.ndarray, bound: float) -> np.ndarray:
    """Return codes by the formulas on paper, in float64, of flow that is on no border of two codes."""
    if encoding == "denseflow":
        return np.clip(np.rint(255 * (flow.astype(np.float64) + bound) / (2 * bound)), 0, 255).astype(np.uint8)
    # The notebook's: ((clip(flow) + 20) * (255 / 40)).astype(uint8), in float32 as it runs there.
    clipped = np.clip(flow, -bound, bound).astype(np.float32)
    return ((clipped + np.float32(bound)) * np.float32(255 / (2 * bound))).astype(np.uint8)


NAMES = {
    "notebook": ("{}/flow_{}_{:04d}.jpg", 1, "truncate"),
    "notebook-tidy": ("{}/flows/flow_{}_{:04d}.jpg", 1, "truncate"),
    "denseflow": ("{}/flow_{}_{:05d}.jpg", 0, "denseflow"),
    "mmaction2": ("{}/{}_{:05d}.jpg", 1, "denseflow"),
}


@pytest.mark.parametrize("stored", ["centred", "truncate", "denseflow"])
@pytest.mark.parametrize("layout", NAMES)
def test_every_layout(tmp_path, layout, stored):
    root, dest = tmp_path / "s.zarr", tmp_path / "out"
    write_store(root, VIDEOS, {"wave/bad": "no frame"}, settings_of(stored))
    report = export(root, dest, layout, scheduler="sync")
    pattern, first, encoding = NAMES[layout]
    scale, offset = {
        "centred": (20 / 127, -128 * 20 / 127),
        "truncate": (40 / 255, -20 + 20 / 255),
        "denseflow": (40 / 255, -20),
    }[stored]
    expected = {}
    for key, codes in VIDEOS.items():
        flow = (codes * np.float64(scale) + offset).astype(np.float32)
        out = codes if stored == encoding else exact_codes(encoding, flow, 20.0)
        for number, planes in enumerate(out, first):
            for axis, plane in zip("xy", planes, strict=True):
                expected[pattern.format(key, axis, number)] = jpeg(plane, tmp_path)
    found = tree_files(dest)
    assert set(found) == {*expected, MANIFEST}
    assert [name for name in expected if found[name] != expected[name]] == []
    assert (report.n_videos, report.n_flows, report.n_written, report.n_present) == (2, 21, 42, 0)
    assert (report.n_left_out, report.failures, report.is_all_well) == (1, (), True)
    assert ("as stored" in report.encoding_note) == (stored == encoding)
    manifest = json.loads(found[MANIFEST])
    assert manifest["complete"] is True
    assert (manifest["layout"], manifest["encoding"], manifest["bound_px"]) == (layout, encoding, 20.0)


@pytest.fixture
def root(tmp_path):
    write_store(tmp_path / "s.zarr", VIDEOS, settings=settings_of("truncate"))
    return tmp_path / "s.zarr"


@pytest.mark.parametrize("scheduler", ["threads", pytest.param("processes", marks=pytest.mark.system)])
def test_every_scheduler_writes_the_same(root, tmp_path, scheduler):
    export(root, tmp_path / "sync", scheduler="sync")
    export(root, tmp_path / "other", scheduler=scheduler, workers=2)
    assert tree_files(tmp_path / "other") == tree_files(tmp_path / "sync")


def test_keep_writes_stored_codes(tmp_path):
    write_store(tmp_path / "s.zarr", VIDEOS, settings=settings_of("centred"))
    report = export(tmp_path / "s.zarr", tmp_path / "out", "mmaction2", encoding="keep", scheduler="sync")
    for number, (x, y) in enumerate(VIDEOS["wave/b"], 1):
        assert (tmp_path / f"out/wave/b/x_{number:05d}.jpg").read_bytes() == jpeg(x, tmp_path)
        assert (tmp_path / f"out/wave/b/y_{number:05d}.jpg").read_bytes() == jpeg(y, tmp_path)
    assert report.encoding_note == "centred codes as stored"
    assert json.loads((tmp_path / "out" / MANIFEST).read_bytes())["encoding"] == "centred"


def test_another_bound_and_quality(root, tmp_path):
    export(root, tmp_path / "out", "notebook", bound=5.0, quality=60, scheduler="sync")
    flow = (VIDEOS["wave/b"][1] * np.float64(40 / 255) - 20 + 20 / 255).astype(np.float32)
    expected = jpeg(exact_codes("truncate", flow, 5.0)[0], tmp_path, quality=60)
    assert (tmp_path / "out/wave/b/flow_x_0002.jpg").read_bytes() == expected


def test_a_float16_store(tmp_path):
    flow = np.random.default_rng(3).normal(0, 12, (3, 2, 8, 8)).astype(np.float16)
    write_store(tmp_path / "s.zarr", {"a/b": flow}, settings=settings_of("float16", None))
    export(tmp_path / "s.zarr", tmp_path / "out", "denseflow", scheduler="sync")
    expected = jpeg(exact_codes("denseflow", flow.astype(np.float32), 20.0)[2, 1], tmp_path)
    assert (tmp_path / "out/a/b/flow_y_00002.jpg").read_bytes() == expected
    with pytest.raises(ArgumentError, match="no codes to keep"):
        export(tmp_path / "s.zarr", tmp_path / "keep", encoding="keep")


def test_step_two_takes_denseflows_names(tmp_path):
    write_store(tmp_path / "s.zarr", {"a/b": make_codes(2, 8, 8)}, settings=settings_of("denseflow", step=2))
    export(tmp_path / "s.zarr", tmp_path / "out", "denseflow", scheduler="sync")
    names = {f"a/b/flow_{axis}_p2_{number:05d}.jpg" for axis in "xy" for number in range(2)}
    assert set(tree_files(tmp_path / "out")) == {*names, MANIFEST}


def test_a_selection_exports_its_own_videos(root, tmp_path):
    report = export(flowstore.open_store(root).select("wave"), tmp_path / "out", scheduler="sync")
    assert sorted(os.listdir(tmp_path / "out")) == [MANIFEST, "wave"]
    assert (report.n_videos, report.n_flows) == (1, 3)


# Running again


def test_running_again_writes_what_is_missing(root, tmp_path):
    dest = tmp_path / "out"
    export(root, dest, scheduler="sync")
    whole = tree_files(dest)
    (dest / "wave/b/flow_x_0002.jpg").unlink()
    shutil.rmtree(dest / "fencing")
    kept = dest / "wave/b/flow_y_0002.jpg"
    before = kept.stat().st_mtime_ns
    report = export(root, dest, scheduler="sync")
    assert tree_files(dest) == whole
    assert (report.n_written, report.n_present) == (37, 5)
    assert kept.stat().st_mtime_ns == before
    again = export(root, dest, scheduler="sync")
    assert (again.n_written, again.n_present, again.n_videos, again.n_flows) == (0, 42, 2, 21)


def test_overwrite_writes_anew(root, tmp_path):
    dest = tmp_path / "out"
    export(root, dest, scheduler="sync")
    whole = tree_files(dest)
    (dest / "wave/b/flow_x_0002.jpg").write_bytes(b"mine")
    assert export(root, dest, scheduler="sync").n_written == 0
    assert export(root, dest, overwrite=True, scheduler="sync").n_written == 42
    anew = tree_files(dest)
    manifest = json.loads(anew[MANIFEST])
    assert manifest == json.loads(whole[MANIFEST])
    assert anew | {MANIFEST: b""} == whole | {MANIFEST: b""}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layout": "notebook-tidy"}, "layout: notebook against notebook-tidy"),
        ({"layout": "denseflow"}, "encoding: truncate against denseflow"),
        ({"quality": 90}, "quality: 95 against 90"),
        ({"bound": 10.0}, r"bound_px: 20.0 against 10.0"),
    ],
)
def test_other_settings_are_refused(root, tmp_path, options, said):
    dest = tmp_path / "out"
    export(root, dest, scheduler="sync")
    before = tree_files(dest)
    with pytest.raises(ArgumentError, match=re.escape(said)):
        export(root, dest, **options)
    assert tree_files(dest) == before
    if "layout" not in options:
        export(root, dest, **options, overwrite=True, scheduler="sync")
        return
    # Readers that count the files of a folder would count those of both.
    with pytest.raises(ArgumentError, match="remove this one: its files would stay among the new ones"):
        export(root, dest, **options, overwrite=True)
    assert tree_files(dest) == before


def test_a_damaged_manifest_is_not_ignored(root, tmp_path):
    export(root, tmp_path / "out", scheduler="sync")
    (tmp_path / "out" / MANIFEST).write_bytes(b"{")
    with pytest.raises(ExportError, match=r"remove it or use --overwrite"):
        export(root, tmp_path / "out")


def test_a_half_written_image_is_never_taken_for_whole(root, tmp_path):
    dest = tmp_path / "out"
    export(root, tmp_path / "whole", scheduler="sync")
    child = os.fork()
    if child == 0:
        # Dies at the rename of the seventh image, when its bytes are on disk under another name.
        count, replace = 0, os.replace

        def deadly(*args):
            nonlocal count
            count += 1
            if count == 8:
                os.kill(os.getpid(), signal.SIGKILL)
            return replace(*args)

        os.replace = deadly
        try:
            export(root, dest, scheduler="sync")
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = tree_files(dest)
    partial = [name for name in left if name.endswith(".partial")]
    assert len(partial) == 1
    assert len([name for name in left if name.endswith(".jpg")]) == 6
    assert json.loads(left[MANIFEST])["complete"] is False
    report = export(root, dest, scheduler="sync")
    assert (report.n_written, report.n_present) == (36, 6)
    assert tree_files(dest) == tree_files(tmp_path / "whole")


@pytest.mark.parametrize("layout", ["notebook", "coclr", "npy", "i3d-npy", "flo", "kitti", "hdf5"])
def test_a_file_too_large_stops_the_export_and_leaves_no_half_file(tmp_path, layout):
    """By a limit on the size of files, which every system has; a full disk gives another number."""
    write_store(tmp_path / "s.zarr", {"a/b": make_codes(3, 60, 80)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2500, before[1]))
    try:
        with pytest.raises(ExportError, match=r"cannot write to .*/out: File too large$"):
            export(tmp_path / "s.zarr", tmp_path / "out", layout, scheduler="sync")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tree_files(tmp_path / "out")) == [MANIFEST]
    assert json.loads((tmp_path / "out" / MANIFEST).read_bytes())["complete"] is False
    assert export(tmp_path / "s.zarr", tmp_path / "out", layout, scheduler="sync").is_all_well


# Where it may write


def test_a_target_in_the_store_is_refused(root, tmp_path):
    before = tree_files(root)
    (tmp_path / "link").symlink_to(root)
    for dest in (root, root / "out", root / "wave" / "b" / "x", tmp_path / "link" / "out", tmp_path / "link"):
        with pytest.raises(ArgumentError, match=r"inside the store|a Zarr store"):
            export(root, dest)
    with pytest.raises(ArgumentError, match=r"inside the store"):
        export(tmp_path / "link", root / "out")
    assert tree_files(root) == before


def test_a_class_that_has_the_name_of_the_store_is_refused(tmp_path):
    """The target holds the store, and the layout would put a class's folder into it."""
    write_store(tmp_path / "wave", {"wave/b": make_codes(2, 8, 8)})
    before = tree_files(tmp_path)
    with pytest.raises(ArgumentError, match=r"wave/b would go into the store"):
        export(tmp_path / "wave", tmp_path)
    assert tree_files(tmp_path) == before


def test_a_target_that_is_a_file_or_another_store_is_refused(root, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ArgumentError, match="a file; give the path of a folder"):
        export(root, tmp_path / "file")
    write_store(tmp_path / "other.zarr", {"a/b": make_codes(1)})
    with pytest.raises(ArgumentError, match="a Zarr store; give another folder"):
        export(root, tmp_path / "other.zarr")


@pytest.mark.parametrize(
    "options", [{"layout": "notebok"}, {"quality": 101}, {"quality": -1}, {"bound": 0.0}, {"bound": float("nan")},
                {"encoding": "kept"}, {"encoding": "keep", "bound": 5.0}, {"scheduler": "magic"}, {"workers": 0}],
    ids=str,
)  # fmt: skip
def test_wrong_options_are_refused_before_writing(root, tmp_path, options):
    with pytest.raises(ArgumentError):
        export(root, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def rename_in_record(root: Path, folder: str, **names) -> None:
    """Change the names in a video's record, as no writer of flowstore would."""
    path = root / folder / "zarr.json"
    document = json.loads(path.read_bytes())
    document["attributes"]["flowstore"] |= names
    path.write_text(json.dumps(document))


HOSTILE = [
    ("wave", ".."),
    ("wave", "a/b"),
    ("wave", "/tmp/x"),
    ("..", "b"),
    ("../..", "b"),
    ("/etc", "b"),
    ("wave", "x\0y"),
]


@pytest.mark.parametrize("names", HOSTILE, ids=str)
@pytest.mark.parametrize("layout", NAMES)
def test_hostile_names_lead_nowhere_else(tmp_path, names, layout):
    work = tmp_path / "work"
    storage = write_store(work / "s.zarr", {"a/good": make_codes(2, 8, 8)})
    write_class(storage, names[0])
    write_video(storage, *names, make_codes(2, 8, 8))
    before = tree_files(tmp_path)
    with pytest.raises(ArgumentError, match="cannot be a file name"):
        export(work / "s.zarr", work / "deep" / "out", layout)
    assert tree_files(tmp_path) == before
    assert not (work / "deep").exists()


@pytest.mark.parametrize("names", [*HOSTILE, ("wave", ""), ("a", "good")], ids=str)
def test_a_record_of_other_names_than_its_place_is_a_failure(tmp_path, names):
    write_store(tmp_path / "s.zarr", {"a/good": make_codes(2, 8, 8), "wave/b": make_codes(2, 8, 8)})
    rename_in_record(tmp_path / "s.zarr", "wave/b", class_name=names[0], name=names[1])
    for problem in ("their digest differs", "the record of another video|an empty name"):
        report = export(tmp_path / "s.zarr", tmp_path / "out")
        (failure,) = report.failures
        assert failure.key == "wave/b"
        assert re.search(f"wave/b/zarr.json: .*({problem})", failure.problem)
        drop_digests(tmp_path / "s.zarr", "wave/b")
    assert {path.partition("/")[0] for path in tree_files(tmp_path / "out")} == {"a", MANIFEST}
    assert json.loads((tmp_path / "out" / MANIFEST).read_bytes())["complete"] is False
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "s.zarr"]


OWN_NAMES = ["a b", "[HD]", "-v", "__x", "index", "zarr.json", "new\nline", "...", "{video}", "a\\b", "cafe\u0301"]


@pytest.mark.parametrize("name", [*OWN_NAMES, "x" * 250, "not utf-8 \udcff", "flow_x_0001.jpg"], ids=ascii)
def test_a_video_is_exported_under_its_own_name(tmp_path, name):
    storage = write_store(tmp_path / "s.zarr", {}, is_indexed=False)
    write_class(storage, name)
    codes = make_codes(1, 8, 8)
    write_video(storage, name, name, codes)
    write_index(storage, VideoIndex.from_records(read_records(storage)))
    export(storage, tmp_path / "out", "mmaction2", encoding="keep", scheduler="sync")
    assert (tmp_path / "out" / name / name / "x_00001.jpg").read_bytes() == jpeg(codes[0, 0], tmp_path)
    assert len(tree_files(tmp_path / "out")) == 3


# Damage


def damage_shard(root):
    path = root / "wave/b/flow/c.0.0.0.0"
    path.write_bytes(path.read_bytes()[:-1] + b"\x5a")


def damage_flow_document(root):
    (root / "wave/b/flow/zarr.json").write_bytes(b"{")


def remove_flow(root):
    shutil.rmtree(root / "wave/b/flow")


@pytest.mark.parametrize("damage", [damage_shard, damage_flow_document, remove_flow])
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_a_damaged_video_is_reported_and_the_others_go_on(root, tmp_path, damage, scheduler):
    damage(root)
    report = export(root, tmp_path / "out", scheduler=scheduler, workers=2)
    assert not report.is_all_well
    ((key, problem),) = [(failure.key, failure.problem) for failure in report.failures]
    assert key == "wave/b"
    assert "wave/b" in problem
    assert (report.n_videos, report.n_written) == (1, 36)
    assert json.loads((tmp_path / "out" / MANIFEST).read_bytes())["complete"] is False
    assert len(list((tmp_path / "out/fencing" / HD).iterdir())) == 36
    assert list((tmp_path / "out").glob("wave/b/*")) == []
    assert "1 video could not be exported" in str(report)
    assert report.to_json()["failed"] == [{"video": "wave/b", "reason": problem}]


def test_progress_is_told(root, tmp_path):
    said = []

    class Listener:
        def start(self, n_videos, n_flows):
            said.append(("start", n_videos, n_flows))

        def add_flows(self, n_flows):
            said.append(("flows", n_flows))

        def finish_video(self, key, problem):
            said.append(("done", key, problem))

        def stop(self):
            said.append(("stop",))

    report = export(root, tmp_path / "out", scheduler="sync", progress=Listener())
    assert said[0] == ("start", 2, 21)
    assert said[-1] == ("stop",)
    assert sum(entry[1] for entry in said if entry[0] == "flows") == 21
    # The longest video first.
    assert [entry[1:] for entry in said if entry[0] == "done"] == [(f"fencing/{HD}", ""), ("wave/b", "")]
    assert repr(report).startswith("<ExportReport: 2 videos, 21 flows, 42 files written in ")
    assert isinstance(report, ExportReport)


def test_the_longest_video_goes_first(tmp_path):
    write_store(tmp_path / "s.zarr", {f"a/{n}": make_codes(n, 8, 8) for n in (1, 3, 2)})
    order = []

    class Listener:
        start = stop = add_flows = lambda *given: None

        def finish_video(self, key, problem):
            order.append(key)

    export(tmp_path / "s.zarr", tmp_path / "out", scheduler="sync", progress=Listener())
    assert order == ["a/3", "a/2", "a/1"]


def test_names_that_the_target_does_not_keep_apart_are_refused(tmp_path, monkeypatch):
    write_store(tmp_path / "s.zarr", {"a/Clip": make_codes(1, 8, 8), "a/clip": make_codes(1, 8, 8)})
    monkeypatch.setattr("flowstore.export.paths.is_case_blind", lambda path: True)
    with pytest.raises(ArgumentError, match="does not keep apart: a/Clip and a/clip"):
        export(tmp_path / "s.zarr", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_stated_difference_of_codes_holds(tmp_path):
    """The report states how far codes can be from those of the float flow; here flow covers every case."""
    flow = np.linspace(-25, 25, 2 * 1 * 64 * 64, dtype=np.float32).reshape(1, 2, 64, 64)
    for stored in ("centred", "denseflow", "truncate"):
        root = tmp_path / f"{stored}.zarr"
        write_store(root, {"a/b": Quantizer(stored, 20.0).encode(flow)}, settings=settings_of(stored))
        for layout, wanted in (("notebook", "truncate"), ("denseflow", "denseflow")):
            if stored == wanted:
                continue
            report = export(root, tmp_path / f"{stored}-{layout}", layout, scheduler="sync")
            stated = int(re.search(r"within (\d+) of the code", report.encoding_note)[1])
            exported = Quantizer(wanted, 20.0).encode(flowstore.open_store(root)["a/b"][:])
            difference = np.abs(exported.astype(int) - exact_codes(wanted, flow, 20.0).astype(int))
            assert difference.max() <= stated
            assert stated <= 2


def test_images_of_a_flow_that_was_replaced_are_written_anew(tmp_path):
    """A folder that is there is not trusted: an older or longer flow leaves no image behind."""
    frames = tmp_path / "videos" / "wave" / "a"
    frames.mkdir(parents=True)
    texture = np.random.default_rng(0).integers(0, 256, (24, 64, 3), np.uint8)
    for number in range(5):
        cv2.imwrite(str(frames / f"img_{number}.png"), np.roll(texture, number, axis=1)[:, :32])
    place, dest = tmp_path / "s.zarr", tmp_path / "images"
    extract(tmp_path / "videos", place, engine="opencv", scheduler="sync")
    export(place, dest, "notebook", scheduler="sync")
    assert len(list(dest.rglob("*.jpg"))) == 8
    hour_ago = time.time() - 3600
    for image in dest.rglob("*.jpg"):
        os.utime(image, (hour_ago, hour_ago))
    for number in range(3):
        cv2.imwrite(str(frames / f"img_{number}.png"), np.roll(texture, -2 * number, axis=1)[:, :32])
    for number in (3, 4):
        (frames / f"img_{number}.png").unlink()
    extract(tmp_path / "videos", place, engine="opencv", scheduler="sync")
    report = export(place, dest, "notebook", scheduler="sync")
    assert (report.n_written, report.n_present) == (4, 0)
    export(place, tmp_path / "fresh", "notebook", scheduler="sync")
    assert {path.name: path.read_bytes() for path in dest.rglob("*.jpg")} == {
        path.name: path.read_bytes() for path in (tmp_path / "fresh").rglob("*.jpg")
    }


def test_images_without_a_manifest_are_not_trusted(tmp_path):
    frames = tmp_path / "videos" / "wave" / "a"
    frames.mkdir(parents=True)
    for number in range(3):
        cv2.imwrite(str(frames / f"img_{number}.png"), np.full((24, 32, 3), 40 * number, np.uint8))
    extract(tmp_path / "videos", tmp_path / "s.zarr", engine="opencv", scheduler="sync")
    junk = tmp_path / "images" / "wave" / "a" / "flow_x_0001.jpg"
    junk.parent.mkdir(parents=True)
    junk.write_bytes(b"junk")
    with pytest.raises(ArgumentError, match=r"files of something else .* such as wave/a/flow_x_0001\.jpg: use another"):
        export(tmp_path / "s.zarr", tmp_path / "images", "notebook", scheduler="sync")
    assert junk.read_bytes() == b"junk"
    report = export(tmp_path / "s.zarr", tmp_path / "images", "notebook", scheduler="sync", overwrite=True)
    assert report.n_written == 4
    assert cv2.imread(str(junk)) is not None


def test_an_export_of_other_flow_is_refused(tmp_path):
    frames = tmp_path / "videos" / "wave" / "a"
    frames.mkdir(parents=True)
    for number in range(3):
        cv2.imwrite(str(frames / f"img_{number}.png"), np.full((64, 64, 3), 40 * number, np.uint8))
    for algorithm in ("farneback", "dis"):
        extract(
            tmp_path / "videos", tmp_path / f"{algorithm}.zarr", algorithm=algorithm, engine="opencv", scheduler="sync"
        )
    export(tmp_path / "farneback.zarr", tmp_path / "images", "notebook", scheduler="sync")
    with pytest.raises(ArgumentError, match="holds an export with other settings"):
        export(tmp_path / "dis.zarr", tmp_path / "images", "notebook", scheduler="sync")

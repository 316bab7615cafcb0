"""Copies hold what their source holds, wherever they are and however they are packed; nothing half copied passes."""

import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from datasets import call, command_line, partial_files, process_environment, write_dataset
from store_factory import drop_digests, make_codes, settings_of, tree_files, write_store

import flowstore
from flowstore.copying import copy
from flowstore.copying.plan import plan_copy
from flowstore.copying.run import run_copy
from flowstore.errors import ArgumentError, ChecksumError, NameNotFoundError, StoreError, StoreFormatError
from flowstore.format.root import read_root
from flowstore.storage.local import LocalStorage
from flowstore.store.tree import read_record, video_paths

pytestmark = pytest.mark.system

VIDEOS = {
    "wave/clip [HD] 1": make_codes(11, 6, 7, seed=1),
    "wave/b": make_codes(3, 24, 32, seed=2),
    "run/50%25": make_codes(5, 16, 8, seed=3),
}
FAILED = {"run/broken": "no frame can be decoded"}
ESCAPED = {"run/50%25": "run/50%2525"}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Return a store of three videos, one of them in several shards, and a failed one."""
    monkeypatch.setattr("flowstore.format.shards.MAX_SHARD_BYTES", 4 * 2 * 6 * 7)
    write_store(tmp_path / "s.zarr", VIDEOS, FAILED)
    return tmp_path / "s.zarr"


def check_copy(place):
    """Compare a store with what was written, by flowstore and by zarr-python alone."""
    opened = flowstore.open_store(place)
    assert {f"{row['class']}/{row['video']}" for row in opened.videos} == {*VIDEOS, *FAILED}
    assert opened["run/broken"].record.reason == FAILED["run/broken"]
    path = str(place)
    kind = zarr.storage.ZipStore(path, mode="r") if path.endswith(".zip") else zarr.storage.LocalStore(path)
    for key, codes in VIDEOS.items():
        np.testing.assert_array_equal(opened[key].codes[:], codes)
        array = zarr.open_array(kind, path=f"{ESCAPED.get(key, key)}/flow", mode="r")
        np.testing.assert_array_equal(array[:], codes)
    return opened


def test_a_copy_is_the_same_bytes(store, tmp_path):
    report = copy(store, tmp_path / "c.zarr")
    assert report.is_all_well
    assert (report.n_videos, report.n_failed_rows, report.n_flows, report.n_done) == (4, 1, 19, 0)
    assert tree_files(tmp_path / "c.zarr") == tree_files(store)
    check_copy(tmp_path / "c.zarr")


@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes"])
def test_every_scheduler_makes_the_same_copy(store, tmp_path, scheduler):
    copy(store, tmp_path / "c.zarr", scheduler=scheduler, workers=2)
    assert tree_files(tmp_path / "c.zarr") == tree_files(store)


@pytest.mark.parametrize("compression", ["balanced", "small", "none"])
def test_another_compression_keeps_every_code(store, tmp_path, compression):
    copy(store, tmp_path / "c.zarr", compression=compression)
    opened = check_copy(tmp_path / "c.zarr")
    assert opened.settings.compression == compression
    for key in VIDEOS:
        ours, theirs = opened[key].record, flowstore.open_store(store)[key].record
        assert (ours.created, ours.statistics, ours.fingerprint) == (
            theirs.created,
            theirs.statistics,
            theirs.fingerprint,
        )
        folder = tmp_path / "c.zarr" / ESCAPED.get(key, key) / "flow"
        assert [os.path.getsize(folder / f"c.{n}.0.0.0") for n in range(len(ours.shard_sizes))] == list(
            ours.shard_sizes
        )


def test_packed_anew_is_what_would_have_been_extracted(store, tmp_path):
    # The writer of an extraction and a copy must agree on every byte.
    write_store(tmp_path / "direct.zarr", VIDEOS, FAILED, settings_of("centred", compression="balanced"))
    copy(store, tmp_path / "c.zarr", compression="balanced")
    assert tree_files(tmp_path / "c.zarr") == tree_files(tmp_path / "direct.zarr")


def test_there_and_back_again_is_the_same_store(store, tmp_path):
    copy(store, tmp_path / "small.zip", compression="small")
    copy(tmp_path / "small.zip", tmp_path / "back.zarr", compression="fast")
    assert tree_files(tmp_path / "back.zarr") == tree_files(store)


def test_float16_is_packed_anew(tmp_path):
    codes = np.random.default_rng(0).normal(size=(4, 2, 9, 11)).astype(np.float16)
    write_store(tmp_path / "s.zarr", {"a/b": codes}, settings=settings_of("float16", None))
    copy(tmp_path / "s.zarr", tmp_path / "c.zarr", compression="small")
    np.testing.assert_array_equal(flowstore.open_store(tmp_path / "c.zarr")["a/b"].codes[:], codes)


def test_a_zip_is_one_file_that_zarr_reads(store, tmp_path):
    report = copy(store, tmp_path / "new folder" / "c.zip")
    assert report.is_all_well
    check_copy(tmp_path / "new folder" / "c.zip")
    assert os.listdir(tmp_path / "new folder") == ["c.zip"]
    with zipfile.ZipFile(tmp_path / "new folder" / "c.zip") as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {name: archive.read(name) for name in archive.namelist()} == tree_files(store)


def test_two_zips_of_a_store_are_the_same_bytes(store, tmp_path):
    copy(store, tmp_path / "a.zip")
    copy(store, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_class_is_selected(store, tmp_path):
    copy(store, tmp_path / "c.zarr", select=["run"])
    opened = flowstore.open_store(tmp_path / "c.zarr")
    assert opened.classes == ["run"]
    assert opened["run"].names == ["50%25", "broken"]
    assert "1 other" not in "\n".join(plan_copy(store, tmp_path / "c.zarr").lines())
    report = copy(store, tmp_path / "c.zarr", select=["wave"])
    assert (report.n_videos, report.n_done) == (2, 0)
    check_copy(tmp_path / "c.zarr")
    with pytest.raises(NameNotFoundError, match=r"no class 'wav' .*did you mean 'wave'"):
        copy(store, tmp_path / "d.zarr", select=["wav"])
    assert not (tmp_path / "d.zarr").exists()


def test_a_selection_copies_its_own_videos(store, tmp_path):
    copy(flowstore.open_store(store).select(min_flows=4), tmp_path / "c.zarr")
    assert flowstore.open_store(tmp_path / "c.zarr").videos.column("video").tolist() == ["50%25", "clip [HD] 1"]


def test_a_second_run_does_nothing(store, tmp_path):
    copy(store, tmp_path / "c.zarr")
    copy(store, tmp_path / "c.zip")
    before = {path: os.stat(path).st_mtime_ns for path in [*(tmp_path / "c.zarr").rglob("*"), tmp_path / "c.zip"]}
    for name in ("c.zarr", "c.zip"):
        report = copy(store, tmp_path / name)
        assert (report.n_videos, report.n_done) == (0, 4)
    assert {path: os.stat(path).st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    "lost", ["wave/b/zarr.json", "wave/b/flow/c.0.0.0.0", "wave/b/flow/zarr.json", "index/zarr.json"]
)
def test_what_is_missing_is_copied(store, tmp_path, lost):
    copy(store, tmp_path / "c.zarr")
    (tmp_path / "c.zarr" / lost).unlink()
    report = copy(store, tmp_path / "c.zarr")
    assert report.n_videos == (0 if lost.startswith("index") else 1)
    assert tree_files(tmp_path / "c.zarr") == tree_files(store)


def test_a_video_that_was_made_anew_is_copied_again(store, tmp_path):
    copy(store, tmp_path / "c.zarr")
    changed = VIDEOS | {"wave/b": make_codes(4, 24, 32, seed=9)}
    write_store(store, changed, FAILED)
    assert copy(store, tmp_path / "c.zarr").n_videos == 1
    np.testing.assert_array_equal(flowstore.open_store(tmp_path / "c.zarr")["wave/b"].codes[:], changed["wave/b"])


@pytest.mark.parametrize("compression", [None, "small"])
def test_a_damaged_video_is_named_and_left_out(store, tmp_path, compression):
    path = store / "wave/clip [HD] 1/flow/c.1.0.0.0"
    data = bytearray(path.read_bytes())
    data[30] ^= 4
    path.write_bytes(data)
    report = copy(store, tmp_path / "c.zarr", compression=compression)
    (failure,) = report.failures
    assert failure.key == "wave/clip [HD] 1"
    assert "checksum differs" in failure.problem
    assert "shard 1 from flow 4" in failure.problem
    assert report.n_videos == 3
    assert not (tmp_path / "c.zarr/wave/clip [HD] 1").exists()
    assert "clip [HD] 1" not in flowstore.open_store(tmp_path / "c.zarr")["wave"].names
    with pytest.raises(ChecksumError, match=r"z.zip is not made.*wave/clip \[HD\] 1.*shard 1"):
        copy(store, tmp_path / "z.zip", compression=compression)
    assert sorted(os.listdir(tmp_path)) == ["c.zarr", "s.zarr"]


@pytest.mark.parametrize("damage", ["cut", "longer", "gone", "its document"])
def test_every_damage_is_found_on_the_way(store, tmp_path, damage):
    folder = store / "wave/b/flow"
    shard = folder / "c.0.0.0.0"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] if damage == "cut" else data + b"x" if damage == "longer" else data)
    if damage == "gone":
        shard.unlink()
    if damage == "its document":
        (folder / "zarr.json").write_bytes(b"{")
    assert [failure.key for failure in copy(store, tmp_path / "c.zarr").failures] == ["wave/b"]


def test_a_damaged_record_is_named(store, tmp_path):
    (store / "wave/b/zarr.json").write_bytes(b"{}")
    report = copy(store, tmp_path / "c.zarr")
    assert [failure.key for failure in report.failures] == ["wave/b"]
    with pytest.raises(ChecksumError, match="whole or not at all: wave/b"):
        copy(store, tmp_path / "c.zip")


def test_a_layout_of_others_is_not_copied(store, tmp_path):
    folder = store / "wave/b/flow"
    codes = zarr.open_array(folder, mode="r")[:]
    shutil.rmtree(folder)
    zarr.create_array(folder, shape=codes.shape, dtype="uint8", chunks=(2, 1, 24, 32), fill_value=128)[:] = codes
    drop_digests(store, "wave/b")
    (failure,) = copy(store, tmp_path / "c.zarr", compression="small").failures
    assert failure.key == "wave/b"
    assert "laid out by another program than flowstore; xarray and zarr read it" in failure.problem


def test_a_copy_does_not_go_into_itself(store, tmp_path):
    os.symlink(store, tmp_path / "link")
    for dest in (store, f"{store}/", tmp_path / "link", tmp_path / "x" / ".." / "s.zarr"):
        with pytest.raises(ArgumentError, match="is STORE itself"):
            copy(store, dest)
    for dest in (store / "copy.zarr", store / "wave", tmp_path / "link" / "in.zip"):
        with pytest.raises(ArgumentError, match="one lies in the other"):
            copy(store, dest)
    copy(store, tmp_path / "c.zip")
    with pytest.raises(ArgumentError, match="is STORE itself"):
        copy(tmp_path / "c.zip", tmp_path / "c.zip", overwrite=True)
    check_copy(store)


def test_a_target_that_is_something_else_is_refused(store, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("a file")
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("thesis.tex", "years of work")
    before = tree_files(tmp_path)
    for overwrite in (False, True):
        for name, why in (
            ("folder", "not a flowstore store"),
            ("file", "a file; give the path"),
            ("bad.zip", "cannot open"),
            ("other.zip", "not a flowstore store"),
            ("file/below", "a file"),
        ):
            with pytest.raises((StoreFormatError, ArgumentError, StoreError), match=why):
                copy(store, tmp_path / name, overwrite=overwrite)
    with pytest.raises(ArgumentError, match="made on a disk"):
        copy(store, "memory://bucket/c.zip")
    assert tree_files(tmp_path) == before


def test_the_store_of_another_dataset_is_refused(store, tmp_path):
    other = tmp_path / "other.zarr"
    write_store(other, {"a/b": make_codes(2)}, settings=settings_of("denseflow", 10.0))
    before = tree_files(other)
    with pytest.raises(ArgumentError, match=r"other settings \(there against the copy\): encoding: denseflow against"):
        copy(store, other)
    write_store(other, {"a/b": make_codes(2)})
    document = json.loads((other / "zarr.json").read_bytes())
    (other / "zarr.json").write_bytes((other / "zarr.json").read_bytes().replace(b"2024-01-02", b"2023-01-02"))
    assert document["zarr_format"] == 3
    with pytest.raises((ArgumentError, StoreError)):
        copy(store, other)
    assert {*tree_files(other)} == {*before}
    write_store(other, {"a/b": make_codes(2)}, settings=settings_of("denseflow", 10.0))
    copy(store, other, overwrite=True)
    assert tree_files(other) == tree_files(store)


def test_a_copy_of_other_compression_is_refused(store, tmp_path):
    copy(store, tmp_path / "c.zarr")
    with pytest.raises(ArgumentError, match=r"compression: fast against small; .*--overwrite"):
        copy(store, tmp_path / "c.zarr", compression="small")
    copy(store, tmp_path / "c.zarr", compression="small", overwrite=True)
    assert check_copy(tmp_path / "c.zarr").settings.compression == "small"


def test_a_zip_is_never_changed_in_place(store, tmp_path):
    copy(store, tmp_path / "c.zip", select=["run"])
    before = (tmp_path / "c.zip").read_bytes()
    with pytest.raises(ArgumentError, match="never changed in place"):
        copy(store, tmp_path / "c.zip")
    assert (tmp_path / "c.zip").read_bytes() == before
    copy(store, tmp_path / "c.zip", overwrite=True)
    check_copy(tmp_path / "c.zip")


def test_nothing_is_written_into_a_zip(store, tmp_path):
    copy(store, tmp_path / "c.zip")
    before = (tmp_path / "c.zip").read_bytes()
    write_dataset(tmp_path / "source")
    for command in (("extract", tmp_path / "source", tmp_path / "c.zip"), ("verify", tmp_path / "c.zip", "--repair")):
        outcome = call(*command)
        assert outcome.code == 2
        assert "a zip is never changed in place" in outcome.error_line
    assert call("verify", tmp_path / "c.zip", "--quiet").code == 0
    assert (tmp_path / "c.zip").read_bytes() == before


def test_a_target_that_loses_bytes_is_noticed(store, tmp_path, monkeypatch):
    write = LocalStorage.write

    def write_wrongly(self, key, value, is_durable=False):
        write(self, key, value[:-1] + b"?" if "c.2.0.0.0" in key else value, is_durable)

    monkeypatch.setattr(LocalStorage, "write", write_wrongly)
    with pytest.raises(StoreError, match=r"c\.2\.0\.0\.0: bytes \[0, \d+\) are not the ones that were just written"):
        copy(store, tmp_path / "c.zarr", scheduler="sync")
    monkeypatch.undo()
    monkeypatch.setattr("flowstore.format.shards.MAX_SHARD_BYTES", 4 * 2 * 6 * 7)
    copy(store, tmp_path / "c.zarr")
    assert tree_files(tmp_path / "c.zarr") == tree_files(store)


def test_a_failure_at_any_write_leaves_a_copy_that_resumes(store, tmp_path, monkeypatch):
    expected = tree_files(store)
    write = LocalStorage.write
    for number in range(1000):
        dest = tmp_path / f"c{number}.zarr"
        left = [number]

        def fail(self, key, value, is_durable=False, left=left):
            if left[0] == 0:
                raise OSError(28, "No space left on device")
            left[0] -= 1
            write(self, key, value, is_durable)

        with monkeypatch.context() as patched:
            patched.setattr(LocalStorage, "write", fail)
            outcome = call("copy", store, dest, "--scheduler", "sync", "--quiet")
        if outcome.code == 0:
            break
        assert outcome.code == 1
        assert "No space left on device: free some room and run again" in outcome.error_line
        for path in video_paths(LocalStorage(str(dest))):
            record = read_record(LocalStorage(str(dest)), path)
            assert record is None or record == read_record(LocalStorage(str(store)), path)
        copy(store, dest, scheduler="sync")
        assert tree_files(dest) == expected
    assert number > 15


@pytest.mark.parametrize("name", ["c.zarr", "c.zip"])
def test_a_full_disk_is_a_clear_line_and_resumes(tmp_path, small_disk, name):
    videos = {f"wave/{number}": make_codes(8, 160, 200, seed=number) for number in range(6)}
    write_store(tmp_path / "s.zarr", videos)
    outcome = call("copy", tmp_path / "s.zarr", small_disk / name, "--quiet", "--workers", "1")
    assert outcome.code == 1
    assert "No space left on device: free some room and run again" in outcome.error_line
    if name == "c.zip":
        assert not any(name.startswith("c.zip") for name in os.listdir(small_disk))
    else:
        assert partial_files(small_disk) == []
        assert 0 < len(flowstore.open_store(small_disk / name).videos) < 6
    (small_disk / "filler").unlink()
    assert call("copy", tmp_path / "s.zarr", small_disk / name, "--quiet").code == 0
    for key, codes in videos.items():
        np.testing.assert_array_equal(flowstore.open_store(small_disk / name)[key].codes[:], codes)


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of 8 MB, all but one and a half of them filled by ``filler``."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a tmpfs of 8 MB cannot be mounted here: {mounted.stderr.strip()}")
    try:
        (place / "filler").write_bytes(bytes(6_500_000))
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c.zarr", "c.zip"])
def test_a_killed_copy_resumes(tmp_path, name):
    videos = {f"wave/{number}": make_codes(40, 120, 160, seed=number) for number in range(30)}
    write_store(tmp_path / "s.zarr", videos)
    dest = tmp_path / "out" / name
    command = command_line("copy", tmp_path / "s.zarr", dest, "--compression", "small", "--workers", "2", "--quiet")
    process = subprocess.Popen(command, env=process_environment())
    while not [*dest.parent.glob("c.*/wave/1*/zarr.json"), *dest.parent.glob("c.zip.*.partial")]:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if name == "c.zip":
        assert not dest.exists()
    assert subprocess.run(command, env=process_environment()).returncode == 0
    if name == "c.zarr":
        assert partial_files(dest) == []
    opened = flowstore.open_store(dest)
    assert opened.n_videos == 30
    for key, codes in videos.items():
        np.testing.assert_array_equal(opened[key].codes[:], codes)


def test_the_plan_writes_nothing(store, tmp_path):
    planned = plan_copy(store, tmp_path / "c.zarr", compression="small")
    assert not (tmp_path / "c.zarr").exists()
    text = "\n".join(planned.lines())
    assert f"to:     {tmp_path}/c.zarr (new)" in text
    assert "4 to copy, 0 done; 19 flows" in text
    assert "(packed anew, small)" in text
    assert run_copy(planned).n_videos == 4


@pytest.mark.parametrize("options", [{}, {"compression": "small"}, {"compression": "none"}, {"max_error": 0.2}])
def test_the_plan_foretells_bytes_within_a_quarter(store, tmp_path, options):
    planned = plan_copy(store, tmp_path / "c.zarr", **options)
    assert planned.size_bytes == pytest.approx(run_copy(planned).size_bytes, rel=0.25)
    assert ("about" in planned.lines()[2]) is bool(options)


def test_the_command(store, tmp_path):
    outcome = call("copy", store, tmp_path / "c.zarr", "--dry-run", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["n_todo"] == 4
    outcome = call("copy", store, tmp_path / "c.zarr", "--dry-run", "--verbose")
    assert outcome.code == 0
    listed = [line.removeprefix("to do:  ") for line in outcome.out.splitlines() if line.startswith("to do:")]
    assert sorted(listed) == sorted([*VIDEOS, *FAILED])
    assert call("copy", store, tmp_path / "c.zarr", "--dry-run", "--quiet").out == ""
    assert not (tmp_path / "c.zarr").exists()
    outcome = call("copy", store, tmp_path / "c.zarr", "--select", "wave", "--compression", "small", "--json")
    assert outcome.code == 0
    values = json.loads(outcome.out)
    assert (values["videos"], values["flows"], values["failed"]) == (2, 14, [])
    assert read_root(LocalStorage(str(tmp_path / "c.zarr"))).settings.compression == "small"
    outcome = call("copy", store, store)
    assert outcome.code == 2
    assert outcome.error_line == f"flowstore: DEST {store} is STORE itself; give another place"
    assert call("copy", tmp_path / "none.zarr", tmp_path / "d.zarr").code == 2
    assert call("copy", store, tmp_path / "d.zarr", "--scheduler", "quantum").code == 2
    assert sorted(os.listdir(tmp_path)) == ["c.zarr", "s.zarr"]


def test_the_command_says_what_could_not_be_copied(store, tmp_path):
    Path(store, "wave/b/flow/c.0.0.0.0").unlink()
    outcome = call("copy", store, tmp_path / "c.zarr", "--quiet")
    assert outcome.code == 1
    assert outcome.error_line.startswith("failed wave/b: wave/b: shard 0 from flow 0 on: the file is missing")


def test_a_second_copy_to_one_place_is_refused(store, tmp_path):
    from flowstore.storage.locks import writers_lock

    with writers_lock(str(tmp_path / "c.zarr"), is_shared=False), pytest.raises(ArgumentError, match="another run"):
        copy(store, tmp_path / "c.zarr")

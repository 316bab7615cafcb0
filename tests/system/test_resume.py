"""Running again does what is missing and nothing else, and ends where an uninterrupted run would."""

import os
import shutil
import signal
import subprocess

import numpy as np
import pytest
from datasets import call, command_line, process_environment, tree, write_dataset, write_frames, write_video
from interrupted import SLOW, commits, content
from processes import DEADLINE_S, started, wait_until

import flowstore
from flowstore.errors import ArgumentError
from flowstore.names import count_text
from flowstore.storage.locks import writers_lock

pytestmark = pytest.mark.system


@pytest.fixture
def source(tmp_path):
    write_dataset(tmp_path / "videos", n_videos=2)
    write_frames(tmp_path / "videos" / "wave" / "frames", 5, seed=7)
    return tmp_path / "videos"


def test_a_second_run_does_nothing_and_says_so(source, tmp_path):
    store = tmp_path / "flow.zarr"
    assert call("extract", source, store).code == 0
    before = tree(store)
    for _ in range(2):
        again = call("extract", source, store)
        assert again.code == 0
        assert again.out == f"nothing to do: 5 videos already in {store}\n"
        assert "videos:   5 in 2 classes: 0 to extract, 5 done" in again.err
        assert tree(store) == before


def test_another_path_or_time_stamp_of_the_same_source_is_nothing_to_do(source, tmp_path):
    store = tmp_path / "flow.zarr"
    assert call("extract", source, store).code == 0
    before = tree(store)
    shutil.move(source, tmp_path / "elsewhere")
    os.utime(tmp_path / "elsewhere" / "wave" / "v0.avi")
    os.utime(tmp_path / "elsewhere" / "wave" / "frames" / "img_00002.jpg")
    assert "nothing to do" in call("extract", tmp_path / "elsewhere", store).out
    after = tree(store)
    assert flowstore.open_store(store).root.sources == (str(tmp_path / "elsewhere"),)
    assert {path for path in before.keys() | after.keys() if after.get(path) != before.get(path)} == {"zarr.json"}


@pytest.mark.parametrize("lost", ["wave/v0", "wave/v0/zarr.json", "wave/v0/flow/c.0.0.0.0", "wave/v0/flow", "wave"])
def test_only_what_is_missing_is_done(source, tmp_path, lost):
    store = tmp_path / "flow.zarr"
    assert call("extract", source, store).code == 0
    before, whole = tree(store), content(store)
    target = store / lost
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    again = call("extract", source, store)
    assert again.code == 0
    n_lost = 3 if lost == "wave" else 1
    assert f"{count_text(n_lost, 'video')}, " in again.out
    assert f"; {5 - n_lost} were there already" in again.out
    assert content(store) == whole
    after = tree(store)
    kept = "run/" if lost == "wave" else ("run/", "wave/v1", "wave/frames")
    untouched = [path for path in before if path.startswith(kept)]
    assert len(untouched) > 6
    assert {path: after[path] for path in untouched} == {path: before[path] for path in untouched}


def test_a_cut_shard_is_made_again(source, tmp_path):
    store = tmp_path / "flow.zarr"
    assert call("extract", source, store).code == 0
    whole = content(store)
    os.truncate(store / "run" / "v1" / "flow" / "c.0.0.0.0", 100)
    assert "1 video, 5 flows" in call("extract", source, store).out
    assert content(store) == whole


def test_a_lost_index_is_written_again(source, tmp_path):
    store = tmp_path / "flow.zarr"
    assert call("extract", source, store).code == 0
    whole = content(store)
    shutil.rmtree(store / "index")
    assert len(flowstore.open_store(store).videos) == 5
    assert "nothing to do" in call("extract", source, store).out
    assert content(store) == whole


@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes"])
def test_a_run_that_was_killed_resumes_to_the_store_of_one_that_was_not(tmp_path, scheduler):
    source, store = tmp_path / "videos", tmp_path / "killed.zarr"
    for number in range(6):
        write_video(source / "c" / f"v{number}.avi", 40, seed=number)
    options = ["--scheduler", scheduler, "--workers", "2", *SLOW]
    with started("extract", source, store, *options) as process:
        wait_until(lambda: commits(store), process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=DEADLINE_S)
    there = commits(store)
    assert 0 < len(there) < 6
    before = tree(store)
    resumed = call("extract", source, store, *options)
    assert resumed.code == 0, resumed.err
    assert f"{count_text(6 - len(there), 'video')}, {39 * (6 - len(there))} flows in" in resumed.out
    assert f"; {len(there)} were there already" in resumed.out
    after = tree(store)
    kept = [path for path in before if path.startswith(tuple(f"c/{name}/" for name in there))]
    assert {path: after[path] for path in kept} == {path: before[path] for path in kept}

    assert call("extract", source, tmp_path / "whole.zarr", "--scheduler", "sync", *SLOW).code == 0
    assert content(store) == content(tmp_path / "whole.zarr")


def test_a_run_killed_before_the_root_was_whole_resumes(source, tmp_path):
    store = tmp_path / "flow.zarr"
    store.mkdir()
    (store / "zarr.json.4321.partial").write_bytes(b'{"zarr_')
    assert call("extract", source, store).code == 0
    assert flowstore.open_store(store).n_videos == 5


def test_schedulers_give_one_store(source, tmp_path):
    stores = []
    for scheduler in ("sync", "threads", "processes"):
        stores.append(
            content(tmp_path / scheduler)
            if call("extract", source, tmp_path / scheduler, "--scheduler", scheduler).code == 0
            else None
        )
    assert stores[0] == stores[1] == stores[2]


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--bound", "10"], "bound_px: 20.0 against 10.0"),
        (["--encoding", "truncate"], "encoding: centred against truncate"),
        (["--dtype", "float16"], "encoding: centred against float16"),
        (["--step", "2"], "step: 1 against 2"),
        (["--short-side", "20"], "short_side: none against 20"),
        (["--size", "16x12"], "size: none against 16x12"),
        (["--compression", "small"], "compression: fast against small"),
        (["--param", "winsize=21"], "param winsize: 15 against 21"),
        (["--algorithm", "dis"], "algorithm: farneback against dis"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_other_settings_are_refused_with_both_values(source, tmp_path, options, difference):
    store = tmp_path / "flow.zarr"
    assert call("extract", source, store, "--limit", "1").code == 0
    before = tree(store)
    refused = call("extract", source, store, *options)
    assert refused.code == 2
    assert refused.out == ""
    assert difference in refused.error_line
    assert "--overwrite" in refused.error_line
    assert tree(store) == before


def test_overwrite_makes_everything_anew(source, tmp_path):
    store = tmp_path / "flow.zarr"
    assert call("extract", source, store).code == 0
    (source / "wave" / "v0.avi").unlink()
    planned = call("extract", source, store, "--bound", "10", "--overwrite", "--dry-run")
    assert "(emptied first)" in planned.out
    assert flowstore.open_store(store).settings.quantizer.bound_px == 20
    done = call("extract", source, store, "--bound", "10", "--overwrite")
    assert done.code == 0
    assert "4 videos, " in done.out
    assert call("extract", source, tmp_path / "new.zarr", "--bound", "10").code == 0
    assert content(store) == content(tmp_path / "new.zarr")


@pytest.mark.parametrize("kind", ["video", "frames"])
def test_a_replaced_source_is_extracted_again(source, tmp_path, kind):
    store = tmp_path / "flow.zarr"
    assert call("extract", source, store).code == 0
    if kind == "video":
        write_video(source / "wave" / "v0.avi", 9, seed=99)
        name, n_flows = "v0", 8
    else:
        shutil.rmtree(source / "wave" / "frames")
        write_frames(source / "wave" / "frames", 9, seed=99)
        name, n_flows = "frames", 8
    again = call("extract", source, store)
    assert again.code == 0
    assert "1 changed since and extracted again" in again.err
    assert f"1 video, {n_flows} flows in" in again.out
    opened = flowstore.open_store(store)
    assert len(opened["wave"][name]) == n_flows
    assert call("extract", source, tmp_path / "new.zarr").code == 0
    new = flowstore.open_store(tmp_path / "new.zarr")
    np.testing.assert_array_equal(opened["wave"][name].codes[:], new["wave"][name].codes[:])
    assert content(store) == content(tmp_path / "new.zarr")


def test_more_videos_join_and_those_that_left_stay(source, tmp_path):
    store = tmp_path / "flow.zarr"
    assert call("extract", source, store, "--include", "wave").code == 0
    assert call("extract", source, store, "--include", "run").code == 0
    assert flowstore.open_store(store).classes == ["run", "wave"]
    assert len(flowstore.open_store(store).videos) == 5
    shutil.rmtree(source / "run")
    assert "nothing to do: 3 videos" in call("extract", source, store).out
    assert len(flowstore.open_store(store).videos) == 5


def test_parts_of_several_processes_at_once_make_the_whole(source, tmp_path):
    store = tmp_path / "flow.zarr"
    parts = [
        subprocess.Popen(
            command_line("extract", source, store, "--part", f"{number}/3", "--quiet"),
            env=process_environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in (1, 2, 3)
    ]
    said = [part.communicate(timeout=DEADLINE_S)[1] for part in parts]
    assert [part.returncode for part in parts] == [0, 0, 0], said
    assert said == ["", "", ""]
    # Readers find every video without an index.
    assert not (store / "index").exists()
    assert len(flowstore.open_store(store).videos) == 5
    assert "nothing to do: 5 videos" in call("extract", source, store).out
    assert call("extract", source, tmp_path / "whole.zarr").code == 0
    assert content(store) == content(tmp_path / "whole.zarr")


def test_a_part_cannot_empty_what_the_others_made(source, tmp_path):
    assert call("extract", source, tmp_path / "flow.zarr", "--part", "1/2").code == 0
    before = tree(tmp_path)
    refused = call("extract", source, tmp_path / "flow.zarr", "--part", "2/2", "--overwrite")
    assert refused.code == 2
    assert "would empty what the other parts have made" in refused.error_line
    assert tree(tmp_path) == before


def test_an_export_writes_what_is_missing(source, tmp_path):
    images = tmp_path / "images"
    assert call("extract", source, tmp_path / "flow.zarr").code == 0
    assert call("export", tmp_path / "flow.zarr", images).code == 0
    before = tree(images)
    (images / "wave" / "v0" / "flow_y_0003.jpg").unlink()
    shutil.rmtree(images / "run")
    again = call("export", tmp_path / "flow.zarr", images)
    assert again.code == 0
    assert "21 files written" in again.out
    after = tree(images)
    assert {path: data and data[1] for path, data in after.items()} == {
        path: data and data[1] for path, data in before.items()
    }
    kept = [path for path in before if path.startswith("wave/v1/")]
    assert {path: after[path] for path in kept} == {path: before[path] for path in kept}
    refused = call("export", tmp_path / "flow.zarr", images, "--bound", "10")
    assert refused.code != 0
    assert "bound_px: 20.0 against 10.0" in refused.error_line


def test_a_second_run_is_refused_while_one_writes(tmp_path):
    """Two runs at once would remove each other's files; parts of one dataset agree on who writes what."""
    root = str(tmp_path / "s.zarr")
    with writers_lock(root, is_shared=False):
        for is_shared in (False, True):
            with pytest.raises(ArgumentError, match="another run is writing to"), writers_lock(root, is_shared):
                pass
    with (
        writers_lock(root, is_shared=True),
        writers_lock(root, is_shared=True),
        pytest.raises(ArgumentError, match="another run is writing to"),
        writers_lock(root, is_shared=False),
    ):
        pass
    assert list(tmp_path.iterdir()) == []

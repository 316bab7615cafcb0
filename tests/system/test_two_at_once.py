"""Two runs at once, in real processes: refused, or safe."""

import os
import signal
import subprocess

import pytest
from datasets import call, command_line, process_environment, write_dataset, write_video
from dying import content
from processes import DEADLINE_S, started, wait_until

import flowstore
from flowstore.copying.plan import plan_copy
from flowstore.copying.run import run_copy
from flowstore.errors import ArgumentError, SettingsMismatchError
from flowstore.format.settings import ExtractSettings
from flowstore.pipeline import extract, plan_extract
from flowstore.pipeline.run import run_plan
from flowstore.quantize import Quantizer
from flowstore.verify import verify

pytestmark = pytest.mark.system

# Some 5 ms a flow on frames of 32×24.
SLOW = ["--engine", "opencv", "--param", "iterations=400"]


@pytest.fixture
def source(tmp_path):
    write_dataset(tmp_path / "videos", n_videos=3, n_frames=5)
    return tmp_path / "videos"


def whole_store(source, folder, *options):
    """What one run makes that nothing disturbs."""
    assert call("extract", source, folder / "whole.zarr", "--scheduler", "sync", *options).code == 0
    return content(folder / "whole.zarr")


def at_once(*commands):
    """Start commands at once; return what they said and how they ended."""
    processes = [
        subprocess.Popen(
            command_line(*command, "--quiet"), env=process_environment(), stderr=subprocess.PIPE, text=True
        )
        for command in commands
    ]
    return [(process.communicate(timeout=DEADLINE_S)[1], process.returncode) for process in processes]


def parts(source, store, numbers, count, *options):
    """Start parts at once; return what they said and how they ended."""
    return at_once(*(("extract", source, store, "--part", f"{number}/{count}", *options) for number in numbers))


@pytest.mark.parametrize("command", ["extract", "part", "overwrite", "verify", "repair"])
def test_what_would_disturb_a_run_is_refused_and_the_run_goes_on(source, tmp_path, command):
    store = tmp_path / "s.zarr"
    write_video(source / "run/long.avi", 120)
    other = {
        "extract": ["extract", source, store, *SLOW],
        "part": ["extract", source, store, "--part", "1/2", *SLOW],
        "overwrite": ["extract", source, store, "--overwrite", "--engine", "opencv"],
        "verify": ["verify", store],
        "repair": ["verify", store, "--repair", "--source", source],
    }[command]
    with started("extract", source, store, "--scheduler", "sync", *SLOW) as process:
        wait_until(lambda: list(store.rglob("c.*.partial")), process)
        refused = call(*other)
        assert refused.code == 2
        assert refused.err.splitlines()[-1].startswith(f"flowstore: another run is writing to {store}: wait for it")
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, err
    assert content(store) == whole_store(source, tmp_path, *SLOW)
    assert verify(store, source=source).faults == ()
    assert sorted(os.listdir(tmp_path)) == ["s.zarr", "videos", "whole.zarr"]


def test_disjoint_parts_at_once_and_a_run_after_them(source, tmp_path):
    store = tmp_path / "s.zarr"
    assert parts(source, store, (1, 2, 3), 3) == [("", 0)] * 3
    # Without an index, readers find every video in the tree.
    assert not (store / "index").exists()
    assert flowstore.open_store(store).n_videos == 6
    assert verify(store, source=source).faults == ()
    assert "nothing to do: 6 videos" in call("extract", source, store).out
    assert content(store) == whole_store(source, tmp_path)
    assert verify(store, source=source).faults == ()


def test_the_same_part_twice_at_once_corrupts_nothing(source, tmp_path):
    """A mistake that no lock keeps apart: the parts of a dataset agree on who writes what, and these do not."""
    store = tmp_path / "s.zarr"
    ended = parts(source, store, (1, 1, 1), 2, *SLOW)
    for err, code in ended:
        assert code in (0, 1), err
        assert "Traceback" not in err
    found = verify(store)
    assert {fault.kind for fault in found.faults} <= {"leftover"}
    assert call("extract", source, store, *SLOW).code == 0
    assert content(store) == whole_store(source, tmp_path, *SLOW)
    assert verify(store, source=source).faults == ()


def test_parts_of_other_settings_that_start_together_make_one_store(source, tmp_path):
    """Each plans while there is none; under the lock one makes the root, and the other reads it."""
    store = tmp_path / "s.zarr"
    plans = [
        plan_extract(source, store, ExtractSettings(quantizer=Quantizer("centred", bound)), part=(number, 2))
        for number, bound in ((1, 20), (2, 5))
    ]
    assert run_plan(plans[0], scheduler="sync").is_all_well
    made = content(store)
    with pytest.raises(SettingsMismatchError, match=r"bound_px: 20\.0 against 5\.0"):
        run_plan(plans[1], scheduler="sync")
    assert content(store) == made
    ended = at_once(
        *(("extract", source, tmp_path / "t.zarr", "--part", f"{n}/2", "--bound", bound, "--engine", "opencv")
          for n, bound in ((1, "20"), (2, "5")))
    )  # fmt: skip
    assert sorted(code for _, code in ended) == [0, 2], ended
    assert verify(tmp_path / "t.zarr").faults == ()
    assert flowstore.open_store(tmp_path / "t.zarr").n_videos == 3


@pytest.mark.parametrize("change", ["settings", "another"])
def test_a_copy_whose_target_was_made_meanwhile(source, tmp_path, monkeypatch, change):
    extract(source, tmp_path / "s.zarr", engine="opencv", scheduler="sync")
    planned = plan_copy(tmp_path / "s.zarr", tmp_path / "c.zarr")
    monkeypatch.setattr("flowstore.pipeline.run.now_utc", lambda: "2020-01-01T00:00:00Z")
    extract(source, tmp_path / "c.zarr", engine="opencv", bound=5 if change == "settings" else 20, scheduler="sync")
    made = content(tmp_path / "c.zarr")
    said = r"bound_px: 5\.0 against 20\.0" if change == "settings" else "holds another store"
    with pytest.raises(ArgumentError, match=said):
        run_copy(planned, scheduler="sync")
    assert content(tmp_path / "c.zarr") == made


def test_a_part_that_is_killed_disturbs_no_other(source, tmp_path):
    store = tmp_path / "s.zarr"
    write_video(source / "run/long.avi", 120)
    write_video(source / "run/longer.avi", 140)
    with (
        started("extract", source, store, "--part", "1/2", "--scheduler", "sync", *SLOW) as one,
        started("extract", source, store, "--part", "2/2", "--scheduler", "sync", *SLOW) as two,
    ):
        wait_until(lambda: len(list(store.rglob("c.*.partial"))) == 2, one)
        os.killpg(one.pid, signal.SIGKILL)
        one.communicate(timeout=DEADLINE_S)
        _, err = two.communicate(timeout=DEADLINE_S)
        assert two.returncode == 0, err
    assert {fault.kind for fault in verify(store).faults} <= {"leftover"}
    assert parts(source, store, (1,), 2, *SLOW) == [("", 0)]
    assert call("extract", source, store, *SLOW).code == 0
    assert content(store) == whole_store(source, tmp_path, *SLOW)
    assert verify(store, source=source).faults == ()


def test_a_group_that_is_terminated_leaves_nothing_after_the_next_run(source, tmp_path):
    """A batch system tells every process of a job to end, the workers too, which cannot clean up then."""
    store = tmp_path / "s.zarr"
    for number in range(2):
        write_video(source / f"run/long{number}.avi", 200, seed=number)
    with started("extract", source, store, "--scheduler", "processes", "--workers", "2", *SLOW) as process:
        wait_until(lambda: len(list(store.rglob("c.*.partial"))) == 2, process)
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)
        assert process.returncode != 0
    (source / "run/long0.avi").unlink()
    assert call("extract", source, store, *SLOW).code == 0
    assert list(store.rglob("*.partial")) == []
    assert not (store / "run/long0").exists()
    assert {fault.kind for fault in verify(store, source=source).faults} <= {"missing"}

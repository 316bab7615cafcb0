"""Exports killed at random and run again: the tree is that of a run that nobody killed, file by file."""

import contextlib
import json
import os
import random
import signal
import subprocess

import pytest
from datasets import call, command_line, partial_files, process_environment
from interrupted import small_disk
from processes import started, wait_until
from store_factory import make_codes, settings_of, tree_files, write_store

from flowstore.errors import ArgumentError
from flowstore.export import export
from flowstore.export.run import MANIFEST

pytestmark = pytest.mark.system

N_KILLS = 20
VIDEOS = {f"{label}/v{n}": make_codes(n, 24, 32, seed=n) for label in "ab" for n in (1, 9, 30)}
STEPS = ("open", "write", "close", "replace", "mkdir", "unlink")


@pytest.fixture
def root(tmp_path):
    write_store(tmp_path / "s.zarr", VIDEOS, settings=settings_of("centred"))
    return tmp_path / "s.zarr"


def run_until_step(step, function):
    """Run a function in a child that dies by SIGKILL at the n-th step that touches the disk; tell whether it died."""
    child = os.fork()
    if child == 0:
        left = step

        def deadly(call_it):
            def called(*args, **options):
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call_it(*args, **options)

            return called

        for name in STEPS:
            setattr(os, name, deadly(getattr(os, name)))
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("layout", ["notebook", "twostream", "kitti", "npy", "hdf5"])
def test_killed_at_random_twenty_times(tmp_path, layout):
    videos = {key.replace("/", "/" + key[0]): codes for key, codes in VIDEOS.items()}
    write_store(tmp_path / "named.zarr", videos, settings=settings_of("centred"))
    whole, dest = tmp_path / "whole", tmp_path / "out"

    def run():
        export(tmp_path / "named.zarr", dest, layout, scheduler="sync", lists=("all",))

    export(tmp_path / "named.zarr", whole, layout, scheduler="sync", lists=("all",))
    chance = random.Random(layout)
    n_died = 0
    for _ in range(N_KILLS):
        # Few steps, so that the first runs do not finish; whatever is there is whole.
        n_died += run_until_step(chance.randrange(1, 60), run)
        for name, data in tree_files(dest).items():
            if not name.endswith((".partial", MANIFEST)):
                assert data == (whole / name).read_bytes(), name
    assert n_died > N_KILLS // 2
    run()
    assert tree_files(dest) == tree_files(whole)


@pytest.mark.slow
@pytest.mark.parametrize(("scheduler", "n_kills"), [("threads", N_KILLS), ("processes", 8)])
def test_the_command_killed_again_and_again(tmp_path, scheduler, n_kills):
    """Real processes, killed with all that they started when they have written a random number of files more."""
    videos = {f"{label}/v{n}": make_codes(150, 24, 32, seed=n) for label in "ab" for n in range(2)}
    write_store(tmp_path / "s.zarr", videos)
    arguments = ["--scheduler", scheduler, "--workers", "2"]
    dest, whole = tmp_path / "out", tmp_path / "whole"
    assert call("export", tmp_path / "s.zarr", whole, "--scheduler", "sync").code == 0
    chance = random.Random(scheduler)

    def n_files():
        return sum(len(files) for _, _, files in os.walk(dest))

    for _ in range(n_kills):
        wanted = n_files() + chance.randrange(1, 800 // n_kills)
        # It may be done before it is killed; the next one then has nothing to do.
        with started("export", tmp_path / "s.zarr", dest, *arguments) as process, contextlib.suppress(AssertionError):
            wait_until(lambda wanted=wanted: n_files() > wanted, process)
    done = call("export", tmp_path / "s.zarr", dest, *arguments)
    assert done.code == 0, done.err
    assert tree_files(dest) == tree_files(whole)


def test_a_second_run_at_the_same_time_is_refused(root, tmp_path):
    class Intruder:
        start = stop = add_flows = lambda *given: None

        def finish_video(self, key, problem):
            with pytest.raises(ArgumentError, match=r"another run is writing to .*: wait for it$"):
                export(root, tmp_path / "out", scheduler="sync")

    assert export(root, tmp_path / "out", scheduler="sync", progress=Intruder()).is_all_well


def test_files_of_others_are_no_strays(root, tmp_path):
    mine = tmp_path / "out" / "a" / "v9" / "notes.partial"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    (mine.parent / "flowstore-0123456789ab.partial").write_bytes(b"half")
    export(root, tmp_path / "out", scheduler="sync")
    assert partial_files(tmp_path / "out") == ["notes.partial"]


@pytest.mark.parametrize("layout", ["notebook", "npy", "hdf5"])
def test_a_full_disk_is_one_clear_line(tmp_path, layout):
    write_store(tmp_path / "s.zarr", {f"a/v{n}": make_codes(10, 96, 128, seed=n) for n in range(3)})
    with small_disk(tmp_path / "disk", 400 * 1024) as disk:
        if disk is None:
            pytest.skip("a file system may not be mounted here")
        full = subprocess.run(
            command_line("export", tmp_path / "s.zarr", disk / "out", "--layout", layout, "--scheduler", "sync"),
            capture_output=True,
            text=True,
            env=process_environment(),
            check=False,
        )
        assert full.returncode == 1
        note, line = full.stderr.splitlines()
        assert "are needed and" in note
        assert line == f"flowstore: cannot write to {disk}/out: No space left on device: free some room and run again"
        assert partial_files(disk) == []
        assert json.loads((disk / "out" / MANIFEST).read_bytes())["complete"] is False
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        assert call("export", tmp_path / "s.zarr", disk / "out", "--layout", layout).code == 0
        export(tmp_path / "s.zarr", tmp_path / "whole", layout, scheduler="sync")
        assert tree_files(disk / "out") == tree_files(tmp_path / "whole")

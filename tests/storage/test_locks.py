"""Who may change a folder: one run alone or several parts, by whatever path; and what is done where nothing locks."""

import contextlib
import errno
import fcntl
import os

import pytest

from flowstore.errors import ArgumentError, FlowStoreWarning
from flowstore.storage import locks
from flowstore.storage.locks import writers_lock


def refused(root, is_shared=False):
    lock = writers_lock(str(root), is_shared, "wait for it")
    try:
        is_held = lock.__enter__()
    except ArgumentError as error:
        return str(error) == f"another run is writing to {root}: wait for it"
    lock.__exit__(None, None, None)
    return not is_held


def test_one_alone_or_several_that_share(tmp_path):
    root = str(tmp_path / "s.zarr")
    with writers_lock(root, is_shared=True) as one, writers_lock(root, is_shared=True) as other:
        assert one is True
        assert other is True
        assert refused(root)
        assert not refused(root, is_shared=True)
    with writers_lock(root, is_shared=False):
        assert refused(root)
        assert refused(root, is_shared=True)
    assert os.listdir(tmp_path) == []


def test_a_folder_is_one_whatever_path_leads_there(tmp_path):
    (tmp_path / "disk/s.zarr").mkdir(parents=True)
    (tmp_path / "link.zarr").symlink_to(tmp_path / "disk/s.zarr")
    (tmp_path / "other").symlink_to("disk")
    with writers_lock(str(tmp_path / "disk/s.zarr"), is_shared=False):
        assert refused(tmp_path / "link.zarr")
        assert refused(tmp_path / "other/s.zarr")
    assert sorted(os.listdir(tmp_path)) == ["disk", "link.zarr", "other"]


def test_a_link_that_leads_to_nothing_yet(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link.zarr").symlink_to("disk/s.zarr")
    with writers_lock(str(tmp_path / "link.zarr"), is_shared=False):
        assert refused(tmp_path / "disk/s.zarr")


def test_a_folder_that_was_there_or_that_is_filled_stays(tmp_path):
    (tmp_path / "empty.zarr").mkdir()
    for name in ("empty.zarr", "new.zarr"):
        with writers_lock(str(tmp_path / name), is_shared=False):
            if name == "new.zarr":
                (tmp_path / name / "zarr.json").write_bytes(b"{}")
    assert sorted(os.listdir(tmp_path)) == ["empty.zarr", "new.zarr"]


def test_one_that_leaves_takes_away_nothing_that_another_locks(tmp_path):
    with writers_lock(str(tmp_path / "s.zarr"), is_shared=True):
        with writers_lock(str(tmp_path / "s.zarr"), is_shared=True):
            pass
        assert os.listdir(tmp_path) == ["s.zarr"]
        assert refused(tmp_path / "s.zarr")
    assert os.listdir(tmp_path) == []


def test_what_forked_meanwhile_does_not_hold_on(tmp_path):
    ready, go = os.pipe(), os.pipe()
    with writers_lock(str(tmp_path / "s.zarr"), is_shared=False):
        child = os.fork()
        if not child:
            os.write(ready[1], b".")
            os.read(go[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
        assert refused(tmp_path / "s.zarr")
    assert not refused(tmp_path / "s.zarr")
    os.write(go[1], b".")
    os.waitpid(child, 0)


def test_a_folder_that_cannot_be_made_holds_no_lock(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with writers_lock(str(tmp_path / "file" / "s.zarr"), is_shared=False) as is_held:
        assert not is_held


def test_a_file_system_without_locks_holds_none_and_says_so(tmp_path, monkeypatch):
    def refuse(handle, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    n_open = len(os.listdir("/dev/fd"))
    said = r"s\.zarr cannot be locked here \(No locks available\): let one run at a time write to it"
    with pytest.warns(FlowStoreWarning, match=said), writers_lock(str(tmp_path / "s.zarr"), False) as is_held:
        assert not is_held
    assert len(os.listdir("/dev/fd")) == n_open


@pytest.mark.parametrize("is_made_again", [False, True])
def test_a_folder_that_its_last_holder_takes_away_meanwhile_is_no_lock(tmp_path, monkeypatch, is_made_again):
    root, flock, taken = tmp_path / "s.zarr", fcntl.flock, []

    def take_away_first(handle, kind):
        if not taken:
            taken.append(os.fstat(handle).st_ino)
            # Kept under another name, so that the next folder cannot get its number.
            root.rename(tmp_path / "gone")
            if is_made_again:
                root.mkdir()
        flock(handle, kind)

    monkeypatch.setattr(fcntl, "flock", take_away_first)
    with writers_lock(str(root), is_shared=False) as is_held:
        assert is_held
        assert root.stat().st_ino != taken[0]
        assert refused(root)


def test_on_a_network_a_file_beside_the_folder_tells_other_machines(tmp_path, monkeypatch):
    """Played: the mounts of this machine as it would see them if the folder were on NFS."""
    number = os.stat(tmp_path).st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"36 35 {os.major(number)}:{os.minor(number)} / /mnt rw,noatime master:1 - nfs4 host:/ rw\n")
    monkeypatch.setattr(locks, "_MOUNTS", str(mounts))
    root, lock = tmp_path / "s.zarr", tmp_path / "s.zarr.lock"
    with contextlib.ExitStack() as elsewhere:
        with writers_lock(str(root), is_shared=True):
            other_machine = elsewhere.enter_context(open(lock))
            with pytest.raises(BlockingIOError):
                fcntl.flock(other_machine, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(other_machine, fcntl.LOCK_SH | fcntl.LOCK_NB)
            assert not refused(root, is_shared=True)
        # It is the other machine's to take away.
        assert lock.exists()
        assert refused(root)
        assert not refused(root, is_shared=True)
    assert not refused(root)
    assert not lock.exists()

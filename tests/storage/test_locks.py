"""Who may change a store: one run alone or several parts; and what is done where nothing can be locked."""

import errno
import fcntl
import os

import pytest

from flowstore.errors import ArgumentError
from flowstore.storage.locks import writers_lock


def test_one_alone_or_several_that_share(tmp_path):
    root = str(tmp_path / "s.zarr")
    with writers_lock(root, is_shared=True) as one, writers_lock(root, is_shared=True) as other:
        assert one is True
        assert other is True
        with (
            pytest.raises(ArgumentError, match=r"another run is writing to .*s\.zarr: wait"),
            writers_lock(root, False),
        ):
            pass
    with writers_lock(root, is_shared=False):
        for is_shared in (True, False):
            with pytest.raises(ArgumentError, match="another run"), writers_lock(root, is_shared):
                pass
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_holds_no_lock(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with writers_lock(str(tmp_path / "file" / "s.zarr"), is_shared=False) as is_held:
        assert not is_held


def test_a_file_system_without_locks_holds_none(tmp_path, monkeypatch):
    def refuse(handle, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    n_open = len(os.listdir("/dev/fd"))
    with writers_lock(str(tmp_path / "s.zarr"), is_shared=False) as is_held:
        assert not is_held
    assert len(os.listdir("/dev/fd")) == n_open


@pytest.mark.parametrize("is_made_again", [False, True])
def test_a_file_that_its_last_holder_takes_away_meanwhile_is_no_lock(tmp_path, monkeypatch, is_made_again):
    lock, flock, taken = tmp_path / "s.zarr.lock", fcntl.flock, []

    def take_away_first(handle, kind):
        if not taken:
            taken.append(os.fstat(handle).st_ino)
            # Kept under another name, so that the next file cannot get its number.
            lock.rename(tmp_path / "gone")
            if is_made_again:
                lock.write_bytes(b"")
        flock(handle, kind)

    monkeypatch.setattr(fcntl, "flock", take_away_first)
    with writers_lock(str(tmp_path / "s.zarr"), is_shared=False) as is_held:
        assert is_held
        assert lock.stat().st_ino != taken[0]
        with pytest.raises(ArgumentError, match="another run"), writers_lock(str(tmp_path / "s.zarr"), False):
            pass
    assert not lock.exists()

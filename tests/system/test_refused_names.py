"""A file system that refuses a name: that video is named and left out at every run, and the others are all there.

exFAT, NTFS and SMB refuse ``?``, some encrypted file systems more than 143 bytes. Played by patched calls of this
process: a mount needs rights.
"""

import errno
import os

import pytest
from datasets import call, write_video

import flowstore
from flowstore.copying import copy
from flowstore.export import export
from flowstore.pipeline import extract
from flowstore.verify import verify

pytestmark = pytest.mark.system

REFUSED = "What is love?"
ERRORS = [errno.EINVAL, errno.ENOENT, errno.ENAMETOOLONG, errno.EILSEQ]


@pytest.fixture
def source(tmp_path):
    for key in ("c/a", f"c/{REFUSED}", "c/z", "why?/only"):
        write_video(tmp_path / f"videos/{key}.avi")
    return tmp_path / "videos"


@pytest.fixture(params=ERRORS, ids=errno.errorcode.get)
def disk(request, tmp_path, monkeypatch):
    """A folder in which no name has a question mark."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def refusing(real, missing):
        def patched(path, *args, **more):
            if isinstance(path, str | bytes) and os.fsdecode(path).startswith(str(disk)) and "?" in os.fsdecode(path):
                raise OSError(missing, os.strerror(missing), path)
            return real(path, *args, **more)

        return patched

    for name in ("mkdir", "open", "stat", "listdir", "scandir", "unlink"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name), request.param))
    return disk


def test_extract_copy_and_export(source, disk, tmp_path):
    for n_done in (0, 2):
        report = extract(source, disk / "s.zarr", engine="opencv", scheduler="sync")
        assert (report.n_extracted, report.n_done) == (2 - n_done, n_done)
        assert [record.key for record in report.failures] == [f"c/{REFUSED}", "why?/only"]
        for record in report.failures:
            assert f"the file system of {disk / 's.zarr'} refuses its name" in record.reason
            assert "rename it" in record.reason
    assert [video.key for video in flowstore.open_store(disk / "s.zarr").iter_videos()] == ["c/a", "c/z"]
    assert verify(disk / "s.zarr").faults == ()
    extract(source, tmp_path / "whole.zarr", engine="opencv", scheduler="sync")
    copied = copy(tmp_path / "whole.zarr", disk / "copy.zarr", scheduler="sync")
    assert (copied.n_videos, len(copied.failures)) == (2, 2)
    assert verify(disk / "copy.zarr").faults == ()
    exported = export(tmp_path / "whole.zarr", disk / "out", scheduler="sync")
    assert exported.n_videos == 2
    assert [failure.key for failure in exported.failures] == [f"c/{REFUSED}", "why?/only"]
    assert "refuses its name" in exported.failures[0].problem
    assert sorted(os.listdir(disk / "out/c")) == ["a", "z"]


def test_the_command_says_it_and_ends_with_1(source, disk):
    outcome = call("extract", source, disk / "s.zarr", "--engine", "opencv", "--scheduler", "sync", "--quiet")
    assert outcome.code == 1
    assert len([line for line in outcome.err.splitlines() if "refuses its name" in line]) == 2

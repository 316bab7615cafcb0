"""Files that appear whole or not at all."""

import errno
import os

import pytest

from flowstore.storage.atomic import FaultKeepingFile, WholeWriter, is_stray, remove_strays, replacing, write_whole
from flowstore.store.unfinished import is_partial


def test_a_file_is_written_and_replaced(tmp_path):
    path = str(tmp_path / "a.bin")
    for data in (b"one", b"", b"x" * 3_000_000):
        write_whole(path, data)
        assert (tmp_path / "a.bin").read_bytes() == data
    assert os.listdir(tmp_path) == ["a.bin"]


def test_nothing_is_there_before_all_is(tmp_path):
    path = tmp_path / "a.bin"

    def parts():
        yield b"first"
        assert not path.exists()
        (stray,) = os.listdir(tmp_path)
        assert is_stray(stray)
        yield b"second"

    WholeWriter().write(str(path), parts())
    assert path.read_bytes() == b"firstsecond"


def test_what_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")

    def parts():
        yield b"half"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        WholeWriter().write(str(path), parts())
    with pytest.raises(ValueError, match="no more"), WholeWriter().open(str(path)) as file:
        file.writelines(parts())
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_writers_do_not_meet(tmp_path):
    one, other = WholeWriter(), WholeWriter()
    with one.open(str(tmp_path / "a")) as first, other.open(str(tmp_path / "a")) as second:
        first.write(b"first")
        second.write(b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a"]


def test_strays_are_only_those_of_writers(tmp_path):
    names = ["flowstore-0123456789ab.partial", "a.partial", "flowstore-0123456789ab.partial.jpg", "flowstore.partial"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    assert [is_stray(name) for name in names] == [True, False, False, False]
    remove_strays(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted(names[1:])
    remove_strays(str(tmp_path / "nowhere"))
    remove_strays(str(tmp_path / "a.partial"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
def test_the_first_error_is_kept_and_the_rest_dropped():
    with open("/dev/full", "r+b", buffering=0) as full:
        kept = FaultKeepingFile(full)
        kept.check()
        assert kept.write(b"lost") == 4
        assert kept.write(memoryview(b"more")) == 4
        assert kept.truncate(100) == 100
        with pytest.raises(OSError, match="No space left") as caught:
            kept.check()
        assert caught.value.errno == errno.ENOSPC


def test_a_file_without_faults_is_a_file(tmp_path):
    with open(tmp_path / "a", "w+b", buffering=0) as file:
        kept = FaultKeepingFile(file)
        assert kept.write(b"abcdef") == 6
        kept.seek(2)
        assert kept.read(2) == b"cd"
        kept.truncate(3)
        kept.flush()
        kept.check()
        assert kept.tell() == 4
    assert (tmp_path / "a").read_bytes() == b"abc"


def half_and_stop():
    yield b"half"
    raise KeyboardInterrupt


@pytest.mark.parametrize("is_durable", [False, True])
def test_a_file_in_the_making_replaces_the_one_that_is_there_at_its_end(tmp_path, is_durable):
    path = tmp_path / "sub/a.bin"
    for data in (b"one", b"other"):
        with replacing(str(path), is_durable) as file:
            file.write(data)
            (partial,) = {*os.listdir(path.parent)} - {path.name}
            assert is_partial(partial)
        assert path.read_bytes() == data
    with pytest.raises(KeyboardInterrupt), replacing(str(path), is_durable) as file:
        file.writelines(half_and_stop())
    assert path.read_bytes() == b"other"
    assert os.listdir(tmp_path / "sub") == ["a.bin"]


def test_processes_of_one_number_in_two_containers_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 7)
    path = str(tmp_path / "a.bin")
    with replacing(path, is_durable=False) as one, replacing(path, is_durable=False) as other:
        one.write(b"one")
        other.write(b"other")
    assert (tmp_path / "a.bin").read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["a.bin"]

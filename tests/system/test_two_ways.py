"""Two runs at once that reach one folder by two ways: one is refused or the folder is whole; never a third thing.

The first is stopped (SIGSTOP) at its first change under the lock, the second comes by another way, then the first goes
on to its end.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from datasets import call, process_environment, write_dataset
from dying import content
from processes import DEADLINE_S
from store_factory import tree_files

from flowstore.copying import copy
from flowstore.export import export
from flowstore.pipeline import extract
from flowstore.verify import verify

pytestmark = pytest.mark.system

SUPPORT = Path(__file__).parents[1] / "support"
NOBODY = 65534
OPTIONS = ("--scheduler", "sync")
ENGINE = ("--engine", "opencv")
LIBC = ctypes.CDLL(None, use_errno=True)
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MNT_DETACH = 1, 32, 4096, 2

WAYS = ["same path", "link", "bind mount", "other user", "read-only parent"]
COMMANDS = ["extract", "part", "import", "copy", "export", "repair", "overwrite"]
# Those that want a store that is there; the others make it.
_ON_A_STORE = ("export", "repair", "overwrite")


@dataclass(frozen=True)
class Place:
    """A world of its own: sources, what to import and to copy, and the folder that two runs meet at."""

    base: Path

    @property
    def store(self):
        return self.base / "disk/s.zarr"

    def target(self, command):
        return self.base / "disk/flow" if command == "export" else self.store

    def arguments(self, command, target):
        return {
            "extract": ["extract", self.base / "videos", target, *ENGINE],
            "part": ["extract", self.base / "videos", target, *ENGINE, "--part", "1/2"],
            "import": ["import", self.base / "flow", target],
            "copy": ["copy", self.base / "other.zarr", target],
            "export": ["export", self.store, target],
            "repair": ["verify", target, "--repair", "--source", self.base / "videos"],
            "overwrite": ["extract", self.base / "videos", target, *ENGINE, "--overwrite"],
        }[command] + list(OPTIONS)

    def prepare(self, command):
        """Make what the first command finds."""
        if command in _ON_A_STORE:
            copy(self.base / "other.zarr", self.store, **SYNC)
        if command == "repair":
            (self.store / "wave/v0/flow/c.0.0.0.0").write_bytes(b"damaged")

    def found(self, command):
        """What stands at the target, whatever the time."""
        if command != "export":
            return content(self.store)
        return {name: data for name, data in tree_files(self.target(command)).items() if name.endswith(".jpg")}


SYNC = {"scheduler": "sync"}


def make_sources(base):
    write_dataset(base / "videos", n_videos=2, n_frames=4)
    extract(base / "videos", base / "other.zarr", engine="opencv", **SYNC)
    export(base / "other.zarr", base / "flow", **SYNC)


@pytest.fixture(scope="module")
def sources():
    # Not below pytest's own folder, into which no other user may look.
    base = Path(tempfile.mkdtemp(prefix="flowstore-two-"))
    make_sources(base)
    yield base
    shutil.rmtree(base)


@pytest.fixture
def place(sources):
    base = Path(tempfile.mkdtemp(prefix="flowstore-two-"))
    base.chmod(0o755)
    for name in ("videos", "other.zarr", "flow"):
        shutil.copytree(sources / name, base / name)
    (base / "disk").mkdir()
    yield Place(base)
    shutil.rmtree(base)


@contextlib.contextmanager
def mounted(source, path, is_read_only=False):
    """Mount a folder at another one, as root can."""
    made = LIBC.mount(os.fsencode(source), os.fsencode(path), None, _MS_BIND, None)
    assert made == 0, os.strerror(ctypes.get_errno())
    try:
        if is_read_only:
            flags = _MS_BIND | _MS_REMOUNT | _MS_RDONLY
            assert LIBC.mount(None, os.fsencode(path), None, flags, None) == 0, os.strerror(ctypes.get_errno())
        yield
    finally:
        LIBC.umount2(os.fsencode(path), _MNT_DETACH)


@contextlib.contextmanager
def read_only_parent(place, target):
    """Leave nothing writable of the folder that holds the target, as a container does that is given the target."""
    target.mkdir(exist_ok=True)
    kept = place.base / "kept"
    kept.mkdir()
    with mounted(target, kept), mounted(target.parent, target.parent, is_read_only=True), mounted(kept, target):
        with pytest.raises(OSError, match="Read-only"):
            (target.parent / "other").mkdir()
        yield


@contextlib.contextmanager
def reached(place, way, target):
    """Give the path by which the second run comes, and be who it is."""
    path = place.base / "elsewhere" / target.name
    path.parent.mkdir()
    with contextlib.ExitStack() as stack:
        if way == "link":
            path.symlink_to(target)
        elif way == "bind mount":
            path.mkdir()
            stack.enter_context(mounted(target, path))
        else:
            path = target
        if way == "other user":
            groups = os.getgroups()
            os.setgroups([])
            os.setegid(NOBODY)
            os.seteuid(NOBODY)
            stack.callback(os.setgroups, groups)
            stack.callback(os.setegid, 0)
            stack.callback(os.seteuid, 0)
        yield path


@contextlib.contextmanager
def stopped(place, command):
    """The first run, stopped where it holds the lock."""
    target = place.target(command)
    process = subprocess.Popen(
        [sys.executable, SUPPORT / "paused.py", target, *map(str, place.arguments(command, target))],
        env=process_environment(HOME=str(place.base)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        umask=0,
    )
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            process.returncode = os.waitstatus_to_exitcode(status)
            raise AssertionError(process.communicate())
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def check_can_be_made(way):
    if way in WAYS[2:] and os.geteuid() != 0:
        pytest.skip(f"{way}: only root can make one")
    if way in ("bind mount", "read-only parent"):
        with tempfile.TemporaryDirectory() as folder:
            if LIBC.mount(os.fsencode(folder), os.fsencode(folder), None, _MS_BIND, None) != 0:
                pytest.skip(f"{way}: {os.strerror(ctypes.get_errno())}")
            LIBC.umount2(os.fsencode(folder), _MNT_DETACH)


@pytest.mark.parametrize(
    "first",
    [command if command == "extract" else pytest.param(command, marks=pytest.mark.slow) for command in COMMANDS],
)
@pytest.mark.parametrize("way", WAYS)
def test_one_is_refused_or_what_is_there_is_whole(place, sources, way, first):
    check_can_be_made(way)
    place.prepare(first)
    target = place.target(first)
    with contextlib.ExitStack() as world:
        if way == "read-only parent":
            world.enter_context(read_only_parent(place, target))
        process = world.enter_context(stopped(place, first))
        with reached(place, way, target) as path:
            # An export has a target of its own.
            for second in ["export"] if first == "export" else [name for name in COMMANDS if name != "export"]:
                arguments = place.arguments(second, path)
                if (first, second) == ("part", "part"):
                    arguments[arguments.index("1/2")] = "2/2"
                    assert call(*arguments).code == 0
                    continue
                before = tree_files(target)
                ended = call(*arguments)
                # One that finds nothing to do takes no lock.
                assert tree_files(target) == before, (second, ended)
                assert ended.code == 2 or first == "overwrite", (second, ended)
                if second == first:
                    assert f"another run is writing to {path}: wait for it" in ended.err
        process.send_signal(signal.SIGCONT)
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, err
    undisturbed = place.found(first)
    if first == "part":
        assert call(*place.arguments("extract", place.store)).code == 0
        undisturbed, first = place.found("extract"), "extract"
    if first != "export":
        assert verify(place.store).faults == ()
    shutil.rmtree(target)
    place.prepare(first)
    assert call(*place.arguments(first, target)).code in (0, 1)
    assert place.found(first) == undisturbed
    assert not list(place.base.rglob("*.lock"))
    assert not list(place.base.rglob("*.partial"))

"""Commands that die at their n-th change of the file system, and what the same command makes of it when run again.

Run as ``python dying.py FOLDER JOB FIRST EVERY`` it takes what a job leaves that dies at the changes FIRST,
FIRST + EVERY, ... and prints a line of JSON for each: what the job was about to do, and what is wrong after it was run
again. It forks, so it has to be a process in which no thread was ever started.

A job that dies leaves the files as they are at that moment, and nothing else: one run, copied at each change, gives
what as many deaths do. With ``killed`` as a last argument the job does die each time, and has to leave what was copied.
"""

import contextlib
import importlib
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

from datasets import call, write_frames, write_video
from store_factory import tree_files

from flowstore.verify import verify

DIED = 77
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"}


class AtEveryChange:
    """An audit hook that is told of each change below a folder before it takes effect.

    Parameters
    ----------
    root : str
        The folder; what stands beside it under a longer name, such as its lock, is part of it.
    act : callable
        ``act(number, change)``: the number of the change, from 0, and what the process was about to do.
    """

    def __init__(self, root, act):
        self.root, self.act = str(root), act
        self.number, self.is_acting = 0, False

    def __call__(self, event, arguments):
        if self.is_acting:
            return
        if event == "open":
            path, _, flags = arguments
            is_change = bool(flags & _WRITING) and self._is_below(path)
        elif event in _CHANGES:
            # What shutil.rmtree removes is named relative to an open folder.
            path = arguments[0]
            is_relative = isinstance(path, str) and not os.path.isabs(path) and arguments[-1] not in (None, -1)
            is_change = is_relative or self._is_below(path)
        else:
            return
        if is_change:
            self.is_acting = True
            name = os.fsdecode(path)
            self.act(self.number, f"{event} {os.path.relpath(name, self.root) if os.path.isabs(name) else name}")
            self.number, self.is_acting = self.number + 1, False

    def _is_below(self, path):
        return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(self.root)


def in_child(work, *arguments):
    """Run work in a forked process; return its exit code and what it returned."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            with open(writing, "w", buffering=1) as pipe:
                code = work(lambda text: pipe.write(json.dumps(text) + "\n"), *arguments) or 0
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading) as pipe:
        told = [json.loads(line) for line in pipe]
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), told


def content(root):
    """Every file of a store; times left out, and with them the digests of what holds them."""
    files = tree_files(root)
    for name, data in files.items():
        if name.endswith("zarr.json"):
            document = json.loads(data)
            own = document.get("attributes", {}).get("flowstore", {})
            if "sources" in own:
                own["sources"] = [os.path.relpath(source, root.parent) for source in own["sources"]]
            if own.pop("created", None):
                del own["digest"]
            files[name] = json.dumps(document).encode()
    return files


# Jobs: how the work begins, and the command.

OPTIONS = ("--scheduler", "sync", "--engine", "opencv")


def write_sources(folder):
    """Two classes: videos, a frame folder, and a file that is no video."""
    write_video(folder / "videos/run/a.avi", 4, seed=1)
    write_video(folder / "videos/wave/b.avi", 5, seed=2)
    write_frames(folder / "videos/wave/c", 3, seed=3)
    (folder / "videos/wave/broken.avi").write_bytes(b"RIFF no video")


def extract(folder, *more):
    outcome = call("extract", folder / "videos", folder / "s.zarr", *OPTIONS, *more)
    assert outcome.code in (0, 1), outcome.err
    return outcome.code


def repair(folder):
    outcome = call("verify", folder / "s.zarr", "--source", folder / "videos", "--repair", "--scheduler", "sync")
    assert outcome.code in (0, 1), outcome.err
    return outcome.code


def prepare_new(folder):
    write_sources(folder)


def prepare_changed(folder):
    """A store in which a video is another by now, one is new, one was cut off and one failed."""
    write_sources(folder)
    extract(folder)
    write_video(folder / "videos/wave/b.avi", 7, seed=5)
    write_video(folder / "videos/new/d.avi", 3, seed=6)
    os.truncate(folder / "s.zarr/run/a/flow/c.0.0.0.0", 50)


def prepare_overwritten(folder):
    write_sources(folder)
    extract(folder)


def prepare_ruined(folder):
    """A store with a video of each kind of damage, and a lost index."""
    write_sources(folder)
    write_video(folder / "videos/run/e.avi", 3, seed=8)
    extract(folder)
    os.truncate(folder / "s.zarr/run/a/flow/c.0.0.0.0", 50)
    os.truncate(folder / "s.zarr/run/e/flow/zarr.json", 50)
    os.truncate(folder / "s.zarr/wave/b/zarr.json", 50)
    os.truncate(folder / "s.zarr/wave/zarr.json", 50)
    os.truncate(folder / "s.zarr/index/zarr.json", 50)
    (folder / "s.zarr/wave/c/zarr.json").unlink()
    shutil.rmtree(folder / "s.zarr/wave/broken")


# What comes before, and the command: it returns its exit code.
JOBS = {
    "new": (prepare_new, extract),
    "changed": (prepare_changed, lambda folder: extract(folder, "--retry-failed")),
    "overwritten": (prepare_overwritten, lambda folder: extract(folder, "--bound", "10", "--overwrite")),
    "mended": (prepare_ruined, repair),
}


def _prepare(tell, folder, job):
    JOBS[job][0](folder)


def _die(tell, folder, job, number):
    def act(at, change):
        if at == number:
            tell(change)
            # As by SIGKILL: no handler, no exit function, nothing flushed.
            os._exit(DIED)

    sys.addaudithook(AtEveryChange(folder / "s.zarr", act))
    JOBS[job][1](folder)


def _copy(tell, folder, job, place, first, every):
    """Run a job, and copy at every so many changes what it would leave."""

    def act(at, change):
        if at >= first and (at - first) % every == 0:
            shutil.copytree(folder, place / str(at))
            tell([at, change])

    sys.addaudithook(AtEveryChange(folder / "s.zarr", act))
    JOBS[job][1](folder)


def _run(tell, folder, job):
    tell(JOBS[job][1](folder))


def _run_again(tell, folder, job, whole, worst):
    """Run a job again; tell what is wrong with its exit code and with the store."""
    code = JOBS[job][1](folder)
    if code > worst:
        tell(f"run again it ends with {code}, not {worst}")
    left = content(folder / "s.zarr")
    for name in sorted(left.keys() | whole.keys()):
        if left.get(name) != whole.get(name):
            tell(f"{name} is {'stray' if name not in whole else 'missing' if name not in left else 'another'}")
    for fault in verify(folder / "s.zarr", source=folder / "videos", scheduler="sync").faults:
        tell(str(fault))
    for name in set(os.listdir(folder)) - {"videos", "s.zarr"}:
        tell(f"{name} is stray")


def _left(folder):
    """What a job left; of files in the making, which hold the time, the sizes, without the numbers in their names."""
    files = {}
    for name, data in content(folder / "s.zarr").items():
        is_partial = name.endswith(".partial")
        files[re.sub(r"\.\d+\.partial$", "", name), is_partial] = len(data) if is_partial else data
    return files, set(os.listdir(folder))


def kill_everywhere(folder, job, first, every, is_killed=False):
    """Run a job again on what it leaves if it dies at every n-th change, and yield what came of it."""
    start, reference, work, copies = (folder / name for name in ("start", "reference", "work", "copies"))
    start.mkdir(parents=True)
    assert in_child(_prepare, start, job) == (0, [])
    shutil.copytree(start, reference)
    code, (worst,) = in_child(_run, reference, job)
    assert code == 0
    whole = content(reference / "s.zarr")
    shutil.copytree(start, work)
    code, changes = in_child(_copy, work, job, copies, first, every)
    assert code == 0
    for number, change in changes:
        problems = []
        shutil.rmtree(work)
        # All of it where the job ran: a store knows its source by the path.
        (copies / str(number)).rename(work)
        if is_killed:
            copied = _left(work)
            shutil.rmtree(work)
            shutil.copytree(start, work)
            code, told = in_child(_die, work, job, number)
            assert (code, len(told)) == (DIED, 1), (code, told)
            if _left(work) != copied:
                problems.append("a death leaves something else than the copy")
        code, found = in_child(_run_again, work, job, whole, worst)
        problems += found if code == 0 else [*found, f"run again it ends with {code}"]
        yield {"number": number, "before": change, "problems": problems}


if __name__ == "__main__":
    place, name, begin, step, *how = sys.argv[1:]
    # Here, and not in each of the processes that are forked.
    for module in ("cli.extract", "cli.verify", "estimators.opencv"):
        importlib.import_module(f"flowstore.{module}")
    with contextlib.redirect_stderr(io.StringIO()):
        for result in kill_everywhere(Path(place), name, int(begin), int(step), is_killed=how == ["killed"]):
            print(json.dumps(result), flush=True)

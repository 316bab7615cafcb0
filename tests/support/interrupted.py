"""What is left of a run that was stopped, and small disks to stop it on."""

import contextlib
import json
import subprocess

from datasets import tree

# Some 5 ms a flow on frames of 32×24.
SLOW = ["--engine", "opencv", "--param", "iterations=400"]


def commits(store):
    return sorted(path.parent.name for path in store.glob("c/*/zarr.json"))


def unfinished(store):
    return [path for path in store.glob("c/*") if path.is_dir() and not (path / "zarr.json").exists()]


@contextlib.contextmanager
def small_disk(place, size):
    """A file system of its own of that many bytes; None where this user may not mount one."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, check=False
    )
    try:
        yield place if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", str(place)], check=True)


def without_time(document):
    """A JSON document without the time at which it was made."""
    values = json.loads(document)
    own = values.get("attributes", {}).get("flowstore", {})
    if own.pop("created", None):
        # Which is in the digest too.
        del own["digest"]
    return values


def content(store):
    """What a store holds, by path; time of making and names of partial files left out."""
    return {
        path: None if data is None else without_time(data[1]) if path.endswith("zarr.json") else data[1]
        for path, data in tree(store).items()
    }

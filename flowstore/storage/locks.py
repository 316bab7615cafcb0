"""The right to change a folder: one run alone, or several parts of one dataset together.

The lock is on the folder's own open descriptor. So it is one lock whatever path leads there (a link, a bind mount, a
container's volume), whoever owns it and whatever may be written beside it; it leaves nothing on disk, and the system
drops it when its process ends, however that may be. Network file systems keep a folder's lock within one machine:
there a file beside the folder is locked too.

Object stores have no locks (`flowstore.storage.keys.Storage.lock`). What holds there too, whoever writes: the root is
made by one run only (`flowstore.store.writer.settle_root`), and a video's commit goes last.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import warnings
from collections.abc import Callable, Iterator

from flowstore.errors import ArgumentError, FlowStoreWarning

SHARE_ADVICE = "wait for it, or share the work by --part I/N"

_NETWORK_KINDS = {"nfs", "nfs4", "lustre", "beegfs", "gpfs", "cifs", "smb3", "9p", "fuse.glusterfs", "fuse.sshfs"}
_MOUNTS = "/proc/self/mountinfo"


@contextlib.contextmanager
def writers_lock(root: str, is_shared: bool, advice: str = SHARE_ADVICE) -> Iterator[bool]:
    """Hold the right to change a folder: one run alone, or several that have agreed on disjoint parts."""
    kind = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
    is_made = not os.path.isdir(root)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(_locked(_open_folder, root, kind, os.rmdir if is_made else None))
            if _is_on_a_network(root):
                held.enter_context(_locked(_open_file, f"{os.path.realpath(root)}.lock", kind, os.unlink))
            is_held = True
        except BlockingIOError:
            raise ArgumentError(f"another run is writing to {root}: {advice}") from None
        except OSError as error:
            is_held = False
            # Where there can be no folder at all, what is written first says why.
            if os.path.isdir(root):
                warnings.warn(
                    f"{root} cannot be locked here ({error.strerror}): let one run at a time write to it",
                    FlowStoreWarning,
                    stacklevel=3,
                )
        yield is_held


def _open_folder(path: str) -> int:
    while True:
        # Of a link that leads to nothing yet, its target is made.
        os.makedirs(os.path.realpath(path), exist_ok=True)
        # Its last holder may take it away in between.
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def _open_file(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)


@contextlib.contextmanager
def _locked(open_: Callable[[str], int], path: str, kind: int, remove: Callable[[str], None] | None) -> Iterator[None]:
    """Lock what is at a path; the last to leave takes it away if it can be."""
    while True:
        handle = open_(path)
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            # Its last holder may have taken it away after it was opened here.
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                break
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if remove is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(path)
        with contextlib.suppress(OSError):
            # A process that was forked meanwhile has the same descriptor, and would hold on.
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _is_on_a_network(path: str) -> bool:
    """Tell whether other machines may have the file system of a folder."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open(_MOUNTS) as file:
            mounts = [line.split() for line in file]
    except OSError:
        return False
    # Fields 3 and, behind the optional ones and a hyphen, the kind: see proc(5).
    return any(fields[2] == number and fields[fields.index("-") + 1] in _NETWORK_KINDS for fields in mounts)

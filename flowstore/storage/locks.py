"""The right to change a store on a local disk: one run alone, or several parts of one dataset together."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from flowstore.errors import ArgumentError

SHARE_ADVICE = "wait for it, or share the work by --part I/N"


@contextlib.contextmanager
def writers_lock(root: str, is_shared: bool, advice: str = SHARE_ADVICE) -> Iterator[bool]:
    """Hold the right to change the store: one run alone, or several that have agreed on disjoint parts.

    Parameters
    ----------
    root : str
        Absolute path of the store's folder.
    is_shared : bool
        Whether others that share may run too.
    advice : str
        What the error tells to do.

    Yields
    ------
    bool
        Whether it is held: some file systems have no locks, and some folders cannot be written.

    Raises
    ------
    ArgumentError
        If a run holds it that does not share, or this one does not and another runs.

    Notes
    -----
    An advisory lock on ``STORE.lock`` beside the store. The system drops it when its process ends, however that
    may be.
    """
    handle = _lock(root, is_shared, advice)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            # The last one takes the file away; a newcomer that has opened it sees that it is another by then.
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(_lock_path(root))
            os.close(handle)


def _lock_path(root: str) -> str:
    return f"{root}.lock"


def _lock(root: str, is_shared: bool, advice: str) -> int | None:
    """Return the descriptor that holds the lock; None where there are no locks, or no place to keep one."""
    kind = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
    while True:
        try:
            os.makedirs(os.path.dirname(root), exist_ok=True)
            handle = os.open(_lock_path(root), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError:
            return None
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.stat(_lock_path(root))):
                return handle
        except BlockingIOError:
            os.close(handle)
            raise ArgumentError(f"another run is writing to {root}: {advice}") from None
        except FileNotFoundError:
            # The run that held it has just taken the file away.
            pass
        except OSError:
            # A file system without locks: what protects there is that each video has one writer.
            os.close(handle)
            return None
        os.close(handle)

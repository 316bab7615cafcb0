"""A command that stops itself (SIGSTOP) just before its first change strictly below a folder, and goes on when told to.

Run as ``python paused.py FOLDER COMMAND...``. Nothing is changed below a folder but under its lock, so who is stopped
there holds it.
"""

import os
import signal
import sys

from dying import Dying


class Pausing(Dying):
    """An audit hook, see `dying.Dying`; ``left`` is below 0 once it has stopped the process."""

    def __call__(self, event, arguments):
        if self.left < 0:
            return
        try:
            super().__call__(event, arguments)
        except _ReachedError:
            self.left = -1
            os.kill(os.getpid(), signal.SIGSTOP)


class _ReachedError(Exception):
    pass


def reach(text):
    raise _ReachedError


if __name__ == "__main__":
    from flowstore.cli.program import main

    folder, sys.argv[1:] = sys.argv[1], sys.argv[2:]
    sys.addaudithook(Pausing(folder.rstrip("/") + "/", 0, reach))
    main()

"""A command that stops itself (SIGSTOP) just before its first change strictly below a folder, and goes on when told to.

Run as ``python paused.py FOLDER COMMAND...``. Nothing is changed below a folder but under its lock, so who is stopped
there holds it.
"""

import os
import signal
import sys

from dying import AtEveryChange


def stop(number, change):
    if number == 0:
        os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    from flowstore.cli.program import main

    folder, sys.argv[1:] = sys.argv[1], sys.argv[2:]
    sys.addaudithook(AtEveryChange(folder.rstrip("/") + "/", stop))
    main()

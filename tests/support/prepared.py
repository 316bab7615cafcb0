"""Programs run in processes that are forked from one in which all was imported: a start costs milliseconds, no second.

Run as ``python prepared.py NAME ...`` it imports the modules NAME and every command, reads requests from standard
input, a line of JSON each, and forks for each. So it has to be a process in which no thread was ever started.
"""

import importlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading

from flowstore.cli.program import cli


class Prepared:
    """Runs programs as ``python -c`` does, each in a process of its own.

    Parameters
    ----------
    *modules : str
        What is imported beforehand, besides every command of flowstore.
    address_space : int
        The bytes of address space that each may take.
    limit_s : int
        The seconds after which each is killed.
    environment : dict
        The environment of all of them.
    """

    def __init__(self, *modules, address_space, limit_s, environment):
        command = [sys.executable, "-W", "ignore", __file__, str(address_space), str(limit_s), *modules]
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, code, *args, text=""):
        """Run a program; return it as `subprocess.run` does: below 0 is the signal that ended it."""
        self._server.stdin.write(json.dumps([code, [*map(str, args)], text]) + "\n")
        self._server.stdin.flush()
        return subprocess.CompletedProcess(args, *json.loads(self._server.stdout.readline()))

    def close(self):
        """End the process that the others are forked from."""
        self._server.communicate()


def _run(code, args, text, out, err, address_space, limit_s):
    """Run a program in this process, and leave it as the interpreter does."""
    signal.alarm(limit_s)
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    sys.argv, sys.stdin = ["-c", *args], io.StringIO(text)
    exec(compile(code, "-c", "exec"), {"__name__": "__main__"})


def _serve(address_space, limit_s):
    for line in sys.stdin:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if child == 0:
                _run(*json.loads(line), out, err, address_space, limit_s)
                return
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said = [os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in (out, err)]
        print(json.dumps([code, *said]), flush=True)


if __name__ == "__main__":
    for name in cli.list_commands(None):
        cli.get_command(None, name)
    for name in sys.argv[3:]:
        importlib.import_module(name)
    assert threading.active_count() == 1
    _serve(int(sys.argv[1]), int(sys.argv[2]))

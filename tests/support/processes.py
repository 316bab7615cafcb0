"""Commands and Dask clusters in processes of their own, and waiting for what they do."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

from datasets import command_line, process_environment
from distributed import Client

DEADLINE_S = 60


def wait_until(is_reached, process=None):
    """Poll for a state of the world; a process that ends first will not reach it."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_reached():
        assert time.monotonic() < deadline, "the state was not reached"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.005)


@contextlib.contextmanager
def started(*args, **more):
    """A command in a process group of its own, which nothing of survives."""
    process = subprocess.Popen(
        command_line(*args),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=process_environment(**more),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@contextlib.contextmanager
def cluster(folder, n_workers=2, worker_flags=(), worker_environment=None, **scheduler_environment):
    """A Dask scheduler and workers, as a user starts them; gives the address, and the processes, scheduler first."""
    address_file = folder / "scheduler.json"
    flags = ["--scheduler-file", str(address_file)]
    commands = [["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", *flags]]
    commands += n_workers * [["worker", "--nthreads", "1", "--no-dashboard", *worker_flags, *flags]]
    processes = []
    log = (folder / "cluster.log").open("w")
    try:
        for command in commands:
            more = scheduler_environment if command[0] == "scheduler" else worker_environment or {}
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *command],
                    env=process_environment(**more),
                    cwd=folder,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
            wait_until(lambda: address_file.exists() and address_file.stat().st_size, processes[0])
        address = json.loads(address_file.read_text())["address"]
        if n_workers:
            with Client(address, set_as_default=False) as client:
                client.wait_for_workers(n_workers, timeout=DEADLINE_S)
        yield address, processes
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        log.close()

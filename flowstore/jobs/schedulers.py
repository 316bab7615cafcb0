"""Where the tasks of a job run: in turn, in threads, or on a Dask cluster."""

from __future__ import annotations

import os
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

from flowstore.arguments import check_whole
from flowstore.errors import ArgumentError, StoppedError
from flowstore.jobs.distributed import run_distributed
from flowstore.jobs.job import Job

SCHEDULERS = ("auto", "processes", "threads", "sync")


def count_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_scheduler(scheduler: str, workers: int | None) -> None:
    """Refuse a scheduler or a number of workers that cannot be used."""
    if workers is not None:
        check_whole("workers", workers, 1)
    if not isinstance(scheduler, str) or (scheduler not in SCHEDULERS and "://" not in scheduler):
        raise ArgumentError(
            f"scheduler is {scheduler!r}, expected one of {', '.join(SCHEDULERS)} or an address such as tcp://HOST:PORT"
        )


def choose_scheduler(scheduler: str, workers: int | None, n_tasks: int, is_small: bool) -> tuple[str, int]:
    """Choose where tasks run and how many at a time."""
    check_scheduler(scheduler, workers)
    n_workers = workers or count_cores()
    if "://" not in scheduler:
        n_workers = max(1, min(n_workers, n_tasks))
    if scheduler == "auto":
        return "threads" if is_small or n_workers == 1 else "processes", n_workers
    return scheduler, n_workers


def run_job(job: Job[Any, Any], scheduler: str, n_workers: int) -> None:
    """Run every task of a job."""
    if scheduler == "sync":
        for task in job.tasks:
            job.on_result(task, job.function(task, job.on_tick))
    elif scheduler == "threads":
        _run_threads(job, n_workers)
    else:
        run_distributed(job, scheduler, n_workers)


def _run_threads(job: Job[Any, Any], n_workers: int) -> None:
    is_stopped = threading.Event()

    def tick(amount: int) -> None:
        if is_stopped.is_set():
            raise StoppedError("the run was stopped")
        job.on_tick(amount)

    pool = ThreadPoolExecutor(n_workers)
    try:
        # A window of tasks, so that memory does not grow with the dataset.
        waiting = iter(job.tasks)
        running = {pool.submit(job.function, task, tick): task for task in islice(waiting, 2 * n_workers)}
        while running:
            wait(running, return_when=FIRST_COMPLETED)
            for future in [future for future in running if future.done()]:
                job.on_result(running.pop(future), future.result())
                for task in islice(waiting, 1):
                    running[pool.submit(job.function, task, tick)] = task
    except BaseException:
        is_stopped.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

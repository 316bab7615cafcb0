"""Tasks on a Dask cluster: a running one, or one of processes of this machine that ends with the job.

What happens when a worker dies: Dask tells at once (no failures are allowed), the tasks that it held are set aside,
and each runs again alone at the end. One that kills its worker alone is lost, and `Job.on_lost` says what becomes of
it: of a video a failed record (`flowstore.pipeline.run`).

What happens when a task hangs: each has a watch in its worker. A task that gives no tick for `Job.stall_limit_s` has
the watch say so on a topic of its own and end the process; it is not tried again, and `Job.on_lost` is told that it
stalled.

What happens when a worker leaves: its tasks go to the others. When the scheduler goes away the run ends with a
`ClusterError`; what was finished is kept. When this process is told to stop, tasks end at their next tick and remove
what they have half written.

A window of tasks is handed over, not all at once, so that the scheduler's memory does not grow with the dataset.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from flowstore.errors import ClusterError, StoppedError
from flowstore.jobs.clusters import open_client
from flowstore.jobs.job import WORKER, Job, Tick

_TICK_EVERY_S = 0.5
_TASKS_AHEAD = 4
# How long the word that a task has stalled may take to the scheduler, before the process is ended.
_STALL_NEWS_S = 2.0
# How long tasks that were told to stop may take to get to their next tick, before their processes are ended.
_STOP_TIMEOUT_S = 5.0
# In a worker process: the jobs whose tasks are to end at their next tick.
_STOPPED_JOBS: set[str] = set()


def run_distributed(job: Job[Any, Any], scheduler: str, n_workers: int) -> None:
    """Run a job on the cluster at an address, or on processes of this machine; see `run_job`."""
    from distributed import as_completed

    job_id = f"flowstore-{uuid.uuid4().hex}"
    with open_client(scheduler, n_workers) as client:
        futures: dict[Any, Any] = {}
        stalled: set[str] = set()

        def hear(event: tuple[float, int]) -> None:
            job.on_tick(event[1])

        async def hear_of_stall(event: tuple[float, str]) -> None:
            key = event[1]
            stalled.add(key)
            # Its worker dies in a moment; on a cluster it would be tried again there.
            for future in [future for future in list(futures) if future.key == key]:
                await future.cancel(asynchronous=True)

        client.subscribe_topic(job_id, hear)
        client.subscribe_topic(_stall_topic(job_id), hear_of_stall)
        waiting = iter(job.tasks)
        # A window of tasks, not all at once: the scheduler's memory does not grow with the dataset.
        window = _TASKS_AHEAD * max(n_workers, sum(client.nthreads().values()))
        for _, task in zip(range(window), waiting, strict=False):
            futures[_submit(client, job, job_id, task)] = task
        try:
            killed = []
            completed = as_completed(list(futures), loop=client.loop)
            for future in completed:
                task = futures.pop(future)
                if future.key in stalled:
                    job.on_result(task, job.on_lost(task, "stalled"))
                elif not _take_result(client, scheduler, job, task, future):
                    killed.append(task)
                following = next(waiting, None)
                if following is not None:
                    replacement = _submit(client, job, job_id, following)
                    futures[replacement] = following
                    completed.add(replacement)
            for task in killed:
                # A worker that dies takes down what waits beside it; run alone, a task shows whether it was the cause.
                alone = _submit(client, job, job_id, task)
                futures[alone] = task
                if not _take_result(client, scheduler, job, task, alone):
                    job.on_result(task, job.on_lost(task, "killed"))
        except ClusterError:
            raise
        except BaseException:
            _stop_tasks(client, job_id, list(futures))
            raise


def _take_result(client: Any, scheduler: str, job: Job[Any, Any], task: Any, future: Any) -> bool:
    """Hand a task's result over; return False where its worker died of it."""
    from distributed.scheduler import KilledWorker

    # What a worker had finished and not yet handed over is lost with it, and done again; what a scheduler had goes with
    # it.
    if future.status == "cancelled" or (future.status == "lost" and client.status != "running"):
        raise ClusterError(
            f"lost the Dask scheduler at {scheduler}; what was finished is kept: start it again, and the same command "
            "goes on from there"
        )
    try:
        result = future.result()
    except KilledWorker:
        return False
    job.on_result(task, result)
    return True


def _stop_tasks(client: Any, job_id: str, futures: list[Any]) -> None:
    # Tasks that end by themselves remove what they have half written; a process that is killed cannot.
    from distributed import wait

    client.run(_stop_job, job_id, on_error="ignore")
    with contextlib.suppress(TimeoutError), client.as_current():
        wait(futures, timeout=_STOP_TIMEOUT_S)
    client.cancel(futures)


def _stall_topic(job_id: str) -> str:
    return f"{job_id}-stalled"


def _stop_job(job_id: str) -> None:
    _STOPPED_JOBS.add(job_id)


def _submit(client: Any, job: Job[Any, Any], job_id: str, task: Any) -> Any:
    limit_s = job.stall_limit_s(task) if job.stall_limit_s else None
    return client.submit(_run_on_worker, job.function, task, job_id, limit_s, pure=False)


def _run_on_worker(function: Callable[[Any, Tick], Any], task: Any, job_id: str, limit_s: float | None) -> Any:
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    untold, told_at = 0, time.monotonic()
    watch = _StallWatch(limit_s, lambda: worker.log_event(_stall_topic(job_id), key))

    def tick(amount: int) -> None:
        nonlocal untold, told_at
        if job_id in _STOPPED_JOBS:
            raise StoppedError("the run was stopped")
        watch.restart()
        untold += amount
        if time.monotonic() - told_at > _TICK_EVERY_S:
            worker.log_event(job_id, untold)
            untold, told_at = 0, time.monotonic()

    number = str(worker.name)
    token = WORKER.set(int(number) if number.isdecimal() else None)
    try:
        with watch:
            tick(0)
            result = function(task, tick)
    finally:
        WORKER.reset(token)
    if untold:
        worker.log_event(job_id, untold)
    return result


class _StallWatch:
    """Ends this process when it is not restarted for too long: code that never returns cannot be ended otherwise."""

    def __init__(self, limit_s: float | None, tell: Callable[[], None]) -> None:
        self._limit_s = limit_s
        self._tell = tell
        self._restarted_at = time.monotonic()
        self._is_over = threading.Event()

    def restart(self) -> None:
        self._restarted_at = time.monotonic()

    def __enter__(self) -> None:
        if self._limit_s is not None:
            threading.Thread(target=self._watch, args=(self._limit_s,), daemon=True).start()

    def __exit__(self, *reason: object) -> None:
        self._is_over.set()

    def _watch(self, limit_s: float) -> None:
        left_s = limit_s
        while left_s > 0:
            if self._is_over.wait(left_s):
                return
            left_s = self._restarted_at + limit_s - time.monotonic()
        self._tell()
        if not self._is_over.wait(_STALL_NEWS_S):
            os._exit(1)

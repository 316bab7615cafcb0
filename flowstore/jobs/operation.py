"""How every operation runs: check the workers, tell how it goes on, run a task for each video, gather.

An operation makes one `Operation` of what the caller asked for before any work, checks its workers, holds its lock
(`flowstore.storage.keys.Storage.lock`), and hands over tasks.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence

from flowstore.arguments import check_progress, existing_place
from flowstore.jobs.clusters import check_cluster
from flowstore.jobs.job import Job, Loss, Result, Task, Tick
from flowstore.jobs.progress import Progress, SilentProgress
from flowstore.jobs.schedulers import check_scheduler, choose_scheduler, run_job

# Below so many flows the start of worker processes costs more than threads lose.
SMALL_FLOWS = 20_000


class Operation:
    """One run of an operation."""

    def __init__(self, scheduler: str, workers: int | None, progress: Progress | None) -> None:
        check_scheduler(scheduler, workers)
        check_progress(progress)
        self._scheduler = scheduler
        self._workers = workers
        self._started = time.monotonic()
        self.progress: Progress = progress or SilentProgress()

    @property
    def seconds(self) -> float:
        """Wall-clock time since it was made."""
        return time.monotonic() - self._started

    def check_workers(self, *paths: str | None, needs: Callable[[], dict[str, str]] | None = None) -> None:
        """Refuse a cluster whose workers have other versions, or do not see some paths or the folders above them.

        What the work `needs` besides is called here and on each worker: it raises, or gives versions to compare.
        """
        check_cluster(self._scheduler, [existing_place(path) for path in paths if path is not None], needs)

    @contextlib.contextmanager
    def telling(self, n_videos: int, n_flows: int) -> Iterator[None]:
        """Tell that so much begins, and that it ended, whichever way."""
        self.progress.start(n_videos, n_flows)
        try:
            yield
        finally:
            self.progress.stop()

    def run(
        self,
        function: Callable[[Task, Tick], Result],
        tasks: Sequence[Task],
        take: Callable[[Task, Result], None],
        lost: Callable[[Task, Loss], Result],
        is_small: bool,
        stall_limit_s: Callable[[Task], float] | None = None,
    ) -> None:
        """Run every task, and take what each gives; see `flowstore.jobs.job.Job`."""
        where, n_workers = choose_scheduler(self._scheduler, self._workers, len(tasks), is_small)
        if where == "processes" and multiprocessing.current_process().daemon:
            self.progress.note("threads in place of processes: this process is daemonic, and may start none")
            where = "threads"
        run_job(Job(function, tasks, take, self.progress.add_flows, lost, stall_limit_s), where, n_workers)

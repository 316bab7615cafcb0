"""Running tasks: the same results everywhere, the order kept, a dead worker told, an error not hidden."""

import os
import signal
import threading
import time

import dask
import pytest

from flowstore.errors import ArgumentError, StoppedError
from flowstore.jobs.job import Job
from flowstore.jobs.schedulers import check_scheduler, count_cores, run_job

pytestmark = pytest.mark.system

LOCAL = ["sync", "threads"]
EVERYWHERE = [*LOCAL, "processes"]


# Tasks stand at module level: worker processes import them by name.


def square(task, tick):
    for _ in range(task):
        tick(1)
    return task * task


def process_id(task, tick):
    return os.getpid()


def when(task, tick):
    return time.monotonic()


def die_on_three(task, tick):
    if task == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return task * task


def fail_on_three(task, tick):
    if task == 3:
        raise ZeroDivisionError("three")
    return task


def hang_on_three(task, tick):
    tick(1)
    if task == 3:
        threading.Event().wait()
    return task * task


class Gathered:
    """Keeps what a job says, in order."""

    def __init__(self) -> None:
        self.results: list = []
        self.killed: list = []
        self.threads: set = set()
        self.n_ticks = 0
        self._lock = threading.Lock()

    def take(self, task, result):
        self.results.append((task, result))
        self.threads.add(threading.current_thread())

    def tick(self, amount):
        with self._lock:
            self.n_ticks += amount

    def mourn(self, task, how):
        if how == "killed":
            self.killed.append(task)
        return how

    def job(self, function, tasks):
        return Job(function, tasks, self.take, self.tick, self.mourn)


@pytest.mark.parametrize("scheduler", EVERYWHERE)
def test_every_scheduler_gives_the_same(scheduler):
    gathered = Gathered()
    tasks = [5, 3, 9, 1, 0, 7, 2]
    run_job(gathered.job(square, tasks), scheduler, 2)
    assert sorted(gathered.results) == [(n, n * n) for n in sorted(tasks)]
    assert gathered.n_ticks == sum(tasks)
    assert gathered.killed == []
    assert gathered.threads == {threading.main_thread()}


@pytest.mark.parametrize("scheduler", LOCAL)
def test_the_order_of_tasks_is_kept(scheduler):
    """More than ten and more than a hundred tasks: an order by text would put 10 before 2."""
    gathered, started = Gathered(), []

    def note(task, tick):
        started.append(task)
        return task

    tasks = list(range(250, 0, -1))
    run_job(gathered.job(note, tasks), scheduler, 1)
    assert started == tasks
    assert [task for task, _ in gathered.results] == tasks


def test_one_worker_process_keeps_the_order():
    gathered = Gathered()
    tasks = list(range(30, 0, -1))
    run_job(gathered.job(when, tasks), "processes", 1)
    assert [task for task, _ in sorted(gathered.results, key=lambda entry: entry[1])] == tasks


def test_threads_are_as_many_as_asked():
    # Both tasks have to be at work at once, or neither gets through the barrier.
    gathered, barrier = Gathered(), threading.Barrier(2, timeout=30)

    def meet(task, tick):
        barrier.wait()
        return threading.current_thread().name

    run_job(gathered.job(meet, [1, 2]), "threads", 2)
    assert len({name for _, name in gathered.results}) == 2


def test_tasks_that_look_like_dasks_keys_are_only_values():
    gathered = Gathered()
    tasks = ["task-000000001", ("task-000000000", 1), {"a": "task-000000000"}, [square, 2], None]
    run_job(gathered.job(lambda task, tick: repr(task), tasks), "threads", 1)
    assert gathered.results == [(task, repr(task)) for task in tasks]


@pytest.mark.parametrize("scheduler", EVERYWHERE)
def test_no_task_is_no_work(scheduler):
    gathered = Gathered()
    run_job(gathered.job(square, []), scheduler, 1)
    assert gathered.results == []


@pytest.mark.parametrize("scheduler", EVERYWHERE)
def test_a_raising_task_ends_the_job(scheduler):
    gathered = Gathered()
    with pytest.raises(ZeroDivisionError, match="three"):
        run_job(gathered.job(fail_on_three, [3, *range(100, 200)]), scheduler, 1)
    assert 3 not in [task for task, _ in gathered.results]
    assert len(gathered.results) < 100


def test_an_error_stops_the_tasks_beside_it():
    """The other task runs until its tick tells it to stop; were it not told, it would never end."""
    gathered, is_running, stopped = Gathered(), threading.Event(), []

    def work(task, tick):
        if task == "bad":
            is_running.wait(30)
            raise ZeroDivisionError
        try:
            while True:
                tick(1)
                is_running.set()
        except StoppedError:
            stopped.append(task)
            raise

    with pytest.raises(ZeroDivisionError):
        run_job(gathered.job(work, ["endless", "bad"]), "threads", 2)
    assert stopped == ["endless"]


def test_what_takes_results_may_end_the_job():
    gathered = Gathered()

    def refuse(task, result):
        raise KeyboardInterrupt

    for scheduler in LOCAL:
        with pytest.raises(KeyboardInterrupt):
            run_job(Job(square, [1, 2, 3], refuse, gathered.tick, gathered.mourn), scheduler, 2)


def test_processes_are_other_processes_and_one_thread_each():
    gathered = Gathered()
    run_job(gathered.job(process_id, list(range(6))), "processes", 2)
    found = {result for _, result in gathered.results}
    assert os.getpid() not in found
    assert 1 <= len(found) <= 2


def test_a_killed_worker_is_told_and_the_others_finish():
    gathered = Gathered()
    run_job(gathered.job(die_on_three, [5, 4, 3, 2, 1]), "processes", 2)
    assert gathered.killed == [3]
    assert sorted(gathered.results, key=lambda entry: entry[0]) == [(1, 1), (2, 4), (3, "killed"), (4, 16), (5, 25)]
    assert gathered.threads == {threading.main_thread()}


def test_a_running_cluster_is_used_and_left_running():
    from distributed import Client, LocalCluster

    options = {"threads_per_worker": 1, "dashboard_address": None, "processes": True}
    with dask.config.set({"distributed.diagnostics.nvml": False}), LocalCluster(n_workers=1, **options) as cluster:
        for _ in range(2):
            gathered = Gathered()
            run_job(gathered.job(square, [3, 2, 1]), cluster.scheduler_address, 1)
            assert sorted(gathered.results) == [(1, 1), (2, 4), (3, 9)]
        with Client(cluster, set_as_default=False) as client:
            assert client.submit(sum, [1, 2]).result() == 3


def test_an_address_where_nothing_answers_is_refused(monkeypatch):
    from flowstore.jobs import clusters

    monkeypatch.setattr(clusters, "_CONNECT_TIMEOUT", "0.3s")
    with pytest.raises(ArgumentError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 "):
        run_job(Gathered().job(square, [1]), "tcp://127.0.0.1:9", 1)


@pytest.mark.parametrize(("scheduler", "workers"), [("auto", None), ("sync", 1), ("tcp://h:1", 3), ("processes", 64)])
def test_schedulers_that_can_be_used(scheduler, workers):
    check_scheduler(scheduler, workers)


@pytest.mark.parametrize(("scheduler", "workers"), [("auto", 0), ("sync", -1), ("gpu", 1), ("", None), ("h:1", 1)])
def test_schedulers_that_cannot(scheduler, workers):
    with pytest.raises(ArgumentError, match=r"workers is|scheduler is"):
        check_scheduler(scheduler, workers)


def test_cores_are_those_of_this_process():
    assert count_cores() == len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def test_a_task_that_hangs_is_ended_and_the_others_finish():
    gathered = Gathered()
    tasks = [5, 3, 4, 2, 1]
    job = Job(hang_on_three, tasks, gathered.take, gathered.tick, gathered.mourn, lambda task: 1.0)
    run_job(job, "processes", 2)
    assert gathered.killed == []
    expected = [(1, 1), (2, 4), (3, "stalled"), (4, 16), (5, 25)]
    assert sorted(gathered.results, key=lambda entry: entry[0]) == expected


def tick_for_two_seconds(task, tick):
    for _ in range(20):
        # Work that takes time, in pieces shorter than the limit.
        threading.Event().wait(0.1)
        tick(1)
    return "done"


def test_a_slow_task_that_ticks_is_no_hanging_one():
    gathered = Gathered()
    job = Job(tick_for_two_seconds, [1], gathered.take, gathered.tick, gathered.mourn, lambda task: 1.0)
    run_job(job, "processes", 1)
    assert gathered.results == [(1, "done")]
    assert gathered.n_ticks == 20

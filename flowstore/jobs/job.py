"""Many tasks of one kind, as a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Loss = Literal["killed", "stalled"]

Task = TypeVar("Task")


Result = TypeVar("Result")


# Called by a task's function with the amount of work done since its last call; raises StoppedError to end the task.
Tick = Callable[[int], None]

# Of a task that runs in one of several processes: which of them, from 0.
WORKER: ContextVar[int | None] = ContextVar("flowstore_worker", default=None)


@dataclass(frozen=True)
class Job(Generic[Task, Result]):
    """Tasks of one kind, and what to do with what comes of them.

    Parameters
    ----------
    function : callable
        ``function(task, tick) -> result``; importable by name, for other processes.
    tasks : sequence
        In the order in which they are to start. Picklable.
    on_result : callable
        ``on_result(task, result)``, called in the caller's thread as each task ends.
    on_tick : callable
        Told how much work was done, from any thread.
    on_lost : callable
        ``on_lost(task, how) -> result`` for a task whose worker process died although it ran alone (``"killed"``), or
        was ended because the task gave no tick for too long (``"stalled"``).
    stall_limit_s : callable, optional
        ``stall_limit_s(task)``: seconds that a task may go without a tick before its worker process is ended. Has no
        effect on the schedulers of this process: a thread cannot be ended.
    """

    function: Callable[[Task, Tick], Result]
    tasks: Sequence[Task]
    on_result: Callable[[Task, Result], None]
    on_tick: Tick
    on_lost: Callable[[Task, Loss], Result]
    stall_limit_s: Callable[[Task], float] | None = None

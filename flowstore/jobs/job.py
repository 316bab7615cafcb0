"""Many tasks of one kind, as a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

# Below so many flows the start of worker processes costs more than threads lose.
AUTO_PROCESSES_FLOWS = 20_000


Task = TypeVar("Task")


Result = TypeVar("Result")


# Called by a task's function with the amount of work done since its last call; raises StoppedError to end the task.
Tick = Callable[[int], None]


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
    on_killed : callable
        ``on_killed(task) -> result`` for a task whose worker process died although it ran alone.
    stall_limit_s : callable, optional
        ``stall_limit_s(task)``: seconds that a task may go without a tick before its worker process is ended. Has no
        effect on the schedulers of this process: a thread cannot be ended.
    on_stalled : callable, optional
        ``on_stalled(task) -> result`` for a task that was ended so; as `on_killed` by default.
    """

    function: Callable[[Task, Tick], Result]
    tasks: Sequence[Task]
    on_result: Callable[[Task, Result], None]
    on_tick: Tick
    on_killed: Callable[[Task], Result]
    stall_limit_s: Callable[[Task], float] | None = None
    on_stalled: Callable[[Task], Result] | None = None

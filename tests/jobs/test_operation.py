"""The driver of every operation: what it refuses, tells and gathers."""

import pytest

from flowstore.errors import ArgumentError
from flowstore.jobs.operation import Operation


class Heard:
    """A progress that writes down what it hears."""

    def __init__(self):
        self.said = []

    def start(self, n_videos, n_flows):
        self.said.append(("start", n_videos, n_flows))

    def add_flows(self, n_flows):
        self.said.append(("flows", n_flows))

    def finish_video(self, key, problem="", warnings=(), share=None):
        self.said.append(("video", key, problem))

    def note(self, text):
        self.said.append(("note", text))

    def stop(self):
        self.said.append(("stop",))


def double(task, tick):
    tick(task)
    return 2 * task


def never(task, how):
    raise AssertionError("no worker was lost")


@pytest.mark.parametrize("scheduler", ["auto", "sync", "threads"])
def test_tasks_run_and_flows_are_told(scheduler):
    heard, taken = Heard(), {}
    operation = Operation(scheduler, 2, heard)
    with operation.telling(3, 6):
        operation.run(double, [1, 2, 3], taken.__setitem__, never, is_small=True)
    assert taken == {1: 2, 2: 4, 3: 6}
    assert heard.said[0] == ("start", 3, 6)
    assert sorted(heard.said[1:-1]) == [("flows", 1), ("flows", 2), ("flows", 3)]
    assert heard.said[-1] == ("stop",)
    assert operation.seconds >= 0


def test_an_error_ends_the_telling():
    heard = Heard()
    with pytest.raises(ZeroDivisionError), Operation("sync", None, heard).telling(1, 1):
        raise ZeroDivisionError
    assert heard.said == [("start", 1, 1), ("stop",)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("gpu", None, None), "scheduler"), (("sync", 0, None), "workers"), (("sync", 1, "yes"), "progress")],
)
def test_what_cannot_be_used_is_refused_at_once(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Operation(*arguments)


def test_only_a_clusters_workers_are_asked_for_paths():
    Operation("threads", 1, None).check_workers("/no/such/path", None)

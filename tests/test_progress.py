"""Progress: the arithmetic of a meter under a clock held by hand, and what a console gets to see."""

import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from flowstore import progress
from flowstore.progress import ConsoleProgress, Meter, format_eta
from flowstore.sources.source import VideoSource


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


class WatchedFile(io.StringIO):
    """A file that tells when a text was written to it."""

    def __init__(self, awaited: str) -> None:
        super().__init__()
        self._awaited = awaited
        self.is_written = threading.Event()

    def write(self, text: str) -> int:
        if self._awaited in text:
            self.is_written.set()
        return super().write(text)


def plain_console(file=None, width=40) -> Console:
    return Console(file=file or io.StringIO(), width=width, highlight=False)


def make_plan(*costs: float, n_frames: int = 100):
    """What `start` needs of a plan."""
    todo = tuple(VideoSource("c", f"v{n}", f"/v{n}", f"v{n}", "video", cost) for n, cost in enumerate(costs))
    return SimpleNamespace(todo=todo, estimate=SimpleNamespace(n_frames=n_frames))


def lines_of(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()


# Times.


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-:--"),
        (0, "00:00"),
        (-1e-9, "00:00"),
        (0.4, "00:00"),
        (59.6, "01:00"),
        (61, "01:01"),
        (3599.4, "59:59"),
        (3599.6, "1:00:00"),
        (3600, "1:00:00"),
        (86399, "23:59:59"),
        (90061, "1 day, 1:01:01"),
    ],
)
def test_format_eta(seconds, text):
    assert format_eta(seconds) == text


# The meter.


def test_a_new_meter_knows_nothing(clock):
    meter = Meter(3, 100)
    assert (meter.share_done, meter.flows_per_s, meter.eta_s) == (0.0, 0.0, None)
    assert meter.describe() == "0/3 videos, 0 flows, 0 flows/s, ETA -:--"


def test_a_meter_by_flows(clock):
    meter = Meter(4, 400)
    meter.add_flows(60)
    meter.add_flows(40)
    clock.now += 50
    assert meter.share_done == 0.25
    assert meter.flows_per_s == 2.0
    assert meter.eta_s == 150.0
    assert meter.describe() == "0/4 videos, 100 flows, 2 flows/s, ETA 02:30"


def test_a_meter_by_videos(clock):
    meter = Meter(3, 1000)
    meter.finish_video(is_failed=False, share=0.5)
    meter.finish_video(is_failed=True, share=0.3)
    clock.now += 80
    assert meter.share_done == pytest.approx(0.8)
    assert meter.eta_s == pytest.approx(20)
    assert meter.describe() == "2/3 videos, 1 failed, 0 flows, 0 flows/s, ETA 00:20"


def test_an_estimate_that_was_too_low_never_says_done(clock):
    meter = Meter(2, 10)
    meter.add_flows(1000)
    clock.now += 99
    assert meter.share_done == 0.99
    assert meter.eta_s == pytest.approx(1)
    meter.finish_video(is_failed=False, share=0.5)
    assert meter.share_done == 0.99
    meter.finish_video(is_failed=False, share=0.5)
    assert (meter.share_done, meter.eta_s) == (1.0, 0.0)


def test_an_estimate_that_was_too_high_ends_all_the_same(clock):
    meter = Meter(1, 10**9)
    meter.add_flows(1)
    clock.now += 10
    assert meter.eta_s is None
    meter.finish_video(is_failed=False, share=0.2)
    assert (meter.share_done, meter.eta_s) == (1.0, 0.0)


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1), st.booleans()), max_size=20))
def test_the_share_grows_and_stays_below_one_until_the_end(videos):
    meter = Meter(len(videos) + 1, 100)
    total = sum(cost for _, cost, _ in videos) + 1
    last = 0.0
    for n_flows, cost, is_failed in videos:
        meter.add_flows(n_flows)
        meter.finish_video(is_failed, cost / total)
        assert last <= meter.share_done < 1
        last = meter.share_done
    meter.finish_video(is_failed=False, share=1 / total)
    assert meter.share_done == 1
    assert meter.n_failed == sum(is_failed for _, _, is_failed in videos)
    assert meter.flows_done == sum(n_flows for n_flows, _, _ in videos)


def test_nothing_to_do_is_done(clock):
    meter = Meter(0, 0)
    assert (meter.share_done, meter.eta_s, meter.flows_per_s) == (1.0, 0.0, 0.0)


def test_threads_lose_no_count():
    meter = Meter(800, 10**6)

    def work(_):
        for _ in range(100):
            meter.add_flows(3)
            meter.finish_video(is_failed=True, share=0.0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert (meter.flows_done, meter.videos_done, meter.n_failed) == (2400, 800, 800)


# A console that is no terminal.


def test_a_plain_console_gets_plain_lines(clock):
    console = plain_console()
    shown = ConsoleProgress(console, "extract")
    shown.start(3, 15)
    shown.add_flows(10)
    shown.finish_video("wave/a", share=1 / 6)
    shown.finish_video("wave/b", "no frame can be decoded", share=2 / 6)
    shown.finish_video("wave/c", warnings=("one", "two"), share=3 / 6)
    shown.note("a note")
    shown.stop()
    assert lines_of(console) == [
        "failed wave/b: no frame can be decoded",
        "warning wave/c: one",
        "warning wave/c: two",
        "a note",
    ]
    assert "\x1b" not in console.file.getvalue()


def test_an_export_names_what_failed(clock):
    console = plain_console()
    shown = ConsoleProgress(console, "export")
    shown.start(2, 50)
    shown.finish_video("wave/a", "")
    shown.finish_video("wave/b", "it is in the way")
    shown.stop()
    assert lines_of(console) == ["failed wave/b: it is in the way"]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_failure_is_seen_at_once(is_terminal):
    """The bytes are out, not in a buffer, when the call returns."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")
    console = Console(file=file, force_terminal=is_terminal, width=80, color_system=None, highlight=False)
    shown = ConsoleProgress(console, "extract")
    shown.start(2, 10)
    shown.finish_video("wave/b", "damaged", share=0.5)
    written = raw.getvalue().decode()
    shown.stop()
    assert "failed wave/b: damaged" in written


def test_a_plain_console_tells_the_state_now_and_then(monkeypatch):
    monkeypatch.setattr(progress, "_PLAIN_LINE_EVERY_S", 0.001)
    file = WatchedFile("3 flows")
    shown = ConsoleProgress(plain_console(file), "extract")
    shown.start(1, 4)
    shown.add_flows(3)
    assert file.is_written.wait(30)
    shown.stop()
    state = r"extract: 0/1 video, [03] flows, \d+ flows/s, ETA (-:--|00:00)"
    assert all(re.fullmatch(state, line) for line in file.getvalue().splitlines())


def test_a_long_line_is_not_broken():
    console = plain_console(width=20)
    shown = ConsoleProgress(console, "extract")
    reason = "a reason of many words " * 10
    shown.finish_video("wave/b", reason.strip(), share=1)
    shown.note(reason.strip())
    assert lines_of(console) == [f"failed wave/b: {reason.strip()}", reason.strip()]


@pytest.mark.parametrize(
    "text",
    [
        "[bold]x[/bold]",
        "[/]",
        "[red",
        "a\\",
        "\\[red]x",
        ":warning: :x:",
        "[link=http://x]y[/link]",
        "{0} %s 100%",
        "動",
    ],
)
def test_names_and_reasons_are_no_markup(text):
    console = plain_console()
    shown = ConsoleProgress(console, "extract")
    shown.finish_video(f"{text}/{text}", text, share=1)
    shown.finish_video(f"c/{text}", warnings=(text,), share=1)
    shown.finish_video(text, text)
    shown.note(text)
    assert lines_of(console) == [
        f"failed {text}/{text}: {text}",
        f"warning c/{text}: {text}",
        f"failed {text}: {text}",
        text,
    ]


def test_control_characters_never_reach_the_console():
    console = plain_console()
    shown = ConsoleProgress(console, "extract")
    text = "\x1b[31ma\x07\r\nb\udcff"
    shown.finish_video(f"{text}/{text}", text, share=1)
    shown.finish_video(text, text)
    shown.note(text)
    escaped = r"\x1b[31ma\x07\r\nb\udcff"
    assert lines_of(console) == [f"failed {escaped}/{escaped}: {escaped}", f"failed {escaped}: {escaped}", escaped]


# A terminal.


def test_a_terminal_gets_a_bar_that_goes_away(clock):
    file = WatchedFile("1/2 videos")
    console = Console(file=file, force_terminal=True, width=120, highlight=False)
    shown = ConsoleProgress(console, "extract")
    shown.start(2, 100)
    clock.now += 2
    shown.add_flows(30)
    shown.finish_video("wave/b", "damaged", share=0.5)
    assert file.is_written.wait(30)
    shown.stop()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    assert "extract" in text
    assert "1/2 videos  15 flows/s  ETA 00:02  1 failed" in text
    assert "failed wave/b: damaged" in text
    # The line is cleared and the cursor shown again.
    assert file.getvalue().rstrip().endswith("\x1b[2K")
    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().rindex("\x1b[?25l")


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize("is_started", [False, True])
def test_no_thread_is_left(is_terminal, is_started):
    before = set(threading.enumerate())
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=80)
    shown = ConsoleProgress(console, "extract")
    if is_started:
        shown.start(1, 10)
        shown.finish_video("c/v", share=0.0)
    else:
        shown.start(0, 0)
    shown.stop()
    left = set(threading.enumerate()) - before
    for thread in left:
        # Told to stop, it may have yet to notice.
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in left)

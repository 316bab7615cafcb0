"""Everything that commands show on a terminal of 60 columns: no row breaks, no number is cut; a pipe gets it whole."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

import pytest
from datasets import Screen, call, command_line, process_environment, screen_lines, write_video
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from store_factory import make_codes, write_store

from flowstore.cli.console import stderr_console
from flowstore.cli.program import cli
from flowstore.cli.tables import Table

COLUMNS = 60
STORE, IMAGES = "flow of the year.zarr", "images of it"
HD = "Throwing_a_ball_over_the_fence_and_back_[HD]"
SPACES = "a name of words with spaces between them"
WIDE = "走る人たちの動画とても長い名前の走る人たち"
LONG = "Die_Another_Day_-_Fencing_Scene_Part_1_[HD]_avi_fencing_f_cm_np2_le_goo_0"
ACCENTS = "ünïcödé_très_long_nom_de_vidéo_avec_accents"
KEYS = (f"{HD}/{LONG}", f"{HD}/{ACCENTS}", f"{WIDE}/{SPACES}", f"{WIDE}/{WIDE}", f"{SPACES}/v1", "wave/v1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a place with a name that is rather long")
    sizes = ((12, 16), (120, 160))
    videos = {key: make_codes(12, *sizes[number % 2]) for number, key in enumerate(KEYS)}
    write_store(folder / STORE, videos, {"wave/bad": "empty file (0 bytes)", f"{HD}/bad": SPACES})
    for key in KEYS:
        write_video(folder / "videos" / f"{key}.avi", 3)
    (folder / "videos/wave/bad.avi").write_bytes(b"")
    assert (
        call("export", folder / "flow of the year.zarr", folder / "images of it", "-q", "--scheduler", "sync").code == 0
    )
    return folder


@pytest.fixture
def screen(monkeypatch):
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    monkeypatch.setenv("TERM", "xterm-256color")
    # It looks at COLUMNS when it is made.
    stderr_console.cache_clear()
    yield
    stderr_console.cache_clear()


def bare(text):
    return "".join(text.split())


SHOWN = [
    ["info", STORE],
    ["info", f"{STORE}/{HD}"],
    ["info", f"{STORE}/{WIDE}"],
    ["info", f"{STORE}/wave"],
    ["info", f"{STORE}/{HD}/{LONG}"],
    ["info", f"{STORE}/wave/bad"],
    ["stats", STORE],
    ["stats", f"{STORE}/{WIDE}", "--sample", "3"],
    ["verify", STORE],
    ["verify", STORE, "--source", "videos"],
    ["extract", "videos", "new.zarr", "--dry-run", "--verbose"],
    ["extract", "videos", STORE, "--dry-run", "--short-side", "128"],
    ["export", STORE, "new images", "--dry-run"],
    ["export", STORE, "new images", "--layout", "mmaction2", "--lists", "all", "--dry-run"],
    ["export", STORE, IMAGES],
    ["export", "--list-layouts"],
    ["import", IMAGES, "imported.zarr", "--dry-run", "--verbose"],
    ["copy", STORE, "copied.zarr", "--dry-run", "--verbose"],
    ["remove", f"{STORE}/{HD}", "--dry-run"],
    ["render", f"{STORE}/{HD}/{LONG}", "-o", "a picture of what moves.png"],
    ["extract", "--list-params", "farneback"],
    ["info", f"nowhere at all, {SPACES}.zarr"],
    ["--help"],
    *([name, "--help"] for name in cli.list_commands(None)),
]


@pytest.mark.parametrize("args", SHOWN, ids=lambda args: " ".join(args)[:40])
def test_every_line_fits(folder, screen, monkeypatch, args):
    monkeypatch.chdir(folder)
    shown = call(*args, stream=Screen)
    lines = screen_lines(shown.out) + screen_lines(shown.err)
    assert {line: cell_len(line) for line in lines if cell_len(line) > COLUMNS} == {}
    # Wrapped, not cut: every word that a pipe gets is there, but for how long it took.
    is_timed = args[0] in ("stats", "verify", "extract") or args == ["export", STORE, IMAGES]
    on_screen = bare("\n".join(lines))
    words = call(*args).out.split() if "--help" not in args else []
    assert [word for word in words if word not in on_screen and not (is_timed and re.search(r"\d", word))] == []


def test_progress_shows_every_number(folder, screen, monkeypatch):
    monkeypatch.chdir(folder)
    err = call("stats", STORE, stream=Screen).err
    assert re.search(r"6/6 videos  \d+ flows/s  ETA \S*00:00", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", err))


def test_a_terminal_says_how_wide_it_is(folder):
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    environment = process_environment(TERM="xterm-256color")
    environment.pop("COLUMNS", None)
    command = command_line("info", folder / STORE)
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=environment)
    os.close(child)
    data = b""
    while part := _read(parent):
        data += part
    os.close(parent)
    assert process.wait(60) == 0, data
    lines = screen_lines(data.decode())
    assert max(map(cell_len, lines)) <= COLUMNS
    assert HD in lines


def _read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's end of a terminal
        return b""


NAMES = st.text(st.sampled_from("ab動_ [-"), min_size=1, max_size=50).map(str.strip).filter(bool)


@given(
    st.lists(st.tuples(NAMES, st.lists(st.from_regex(r"[0-9]{1,9}", fullmatch=True), min_size=4, max_size=4))),
    st.integers(20, 100),
)
def test_a_table_keeps_names_and_numbers_whole(rows, columns):
    table = Table("name", "one", "two", "three", "four")
    for name, cells in rows:
        table.add(name, *cells)
    lines = [line for line, _ in table.lines(columns)]
    assert all(cell_len(line) <= columns for line in lines)
    assert bare("".join(lines)) == bare("nameonetwothreefour" + "".join(name + "".join(cells) for name, cells in rows))
    words = "\n".join(lines).split()
    assert all(cell in words for _, cells in rows for cell in cells)
    # On a wide screen, and in a pipe, a row is a line.
    assert len(list(table.lines(10_000))) == len(rows) + 1

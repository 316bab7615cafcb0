"""Lines that fit: none is wider than the screen, nothing is lost, and what can stay whole does."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from flowstore.terminal import FittedText, fit_lines, terminal_columns

# Letters of one column, of two and of none, and what words break at.
TEXTS = st.text(st.sampled_from("aé動\u0301 1/_-.:,[]"), max_size=200)


def bare(text):
    return "".join(text.split())


@given(TEXTS, st.integers(10, 60))
def test_no_line_is_wider_and_no_character_is_lost(text, columns):
    fitted = fit_lines(text, columns)
    assert all(cell_len(line) <= columns for line in fitted.split("\n"))
    assert bare(fitted) == bare(text)
    file = io.StringIO()
    Console(file=file, width=columns).print(FittedText(Text(text)))
    assert bare(file.getvalue()) == bare(text)
    assert all(cell_len(line) <= columns for line in file.getvalue().split("\n"))


@given(st.lists(st.text("abc动1.", min_size=1, max_size=15), max_size=40), st.integers(40, 60))
def test_words_that_fit_stay_whole(words, columns):
    text = " ".join(words)
    assert fit_lines(text, columns).split() == words
    assert fit_lines(text, None) == text


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("", [""]),
        # Below the text that a label names; a number keeps its unit.
        ("store:    /sets of videos/hmdb51.zarr", ["store:    /sets of", "          videos/", "          hmdb51.zarr"]),
        ("within 12 of the code, up to 20 px off", ["within 12 of the code, up", "  to 20 px off"]),
        ("  wave/bad: an empty file (0 bytes)", ["  wave/bad: an empty file", "    (0 bytes)"]),
        # A path is moved as a whole where a line holds it, else it breaks where its parts meet.
        ("is in /data/of/the/flow.zarr", ["is in", "  /data/of/the/flow.zarr"]),
        ("/data/of/the/year/in/a/flow.zarr", ["/data/of/the/year/in/a/", "  flow.zarr"]),
        ("a_b_[HD]_cd_left_handed_throw", ["a_b_[HD]_cd_left_handed_", "  throw"]),
    ],
)
def test_where_lines_break(text, lines):
    assert fit_lines(text, 25).split("\n") == lines


def test_how_wide_a_stream_is(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert terminal_columns(io.StringIO()) is None
    parent, child = os.openpty()
    with os.fdopen(parent), os.fdopen(child, "w") as stream:
        assert terminal_columns(stream) == 60
        for odd in ("", "0", "wide"):
            monkeypatch.setenv("COLUMNS", odd)
            # A new terminal does not know its size.
            assert terminal_columns(stream) == 80

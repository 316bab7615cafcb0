"""Text in pictures: what is drawn can be read back as it was written, or as an escape."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstore.render.text import LINE_HEIGHT, draw_text, drawable_text, text_width, wrap_text


def drawn(text, width=600):
    image = np.full((LINE_HEIGHT, width, 3), 255, np.uint8)
    draw_text(image, text, 0, 0)
    return image


def test_ascii_stays_and_control_characters_are_escaped():
    assert drawable_text("Fencing_[HD]_100% ~") == "Fencing_[HD]_100% ~"
    assert drawable_text("a\nb\x1b") == "a\\nb\\x1b"
    assert drawable_text("\udcff") == "\\udcff"


@pytest.mark.parametrize("text", ["é", "名", "Ж", "😀", "ก", "±"])
def test_no_character_becomes_a_question_mark(text):
    shown = drawable_text(text)
    if shown == text:
        # It has a shape of its own.
        assert not np.array_equal(drawn(text), drawn("?"))
    else:
        assert shown.encode("ascii").decode("unicode_escape") == text


def test_a_question_mark_stays_one():
    assert drawable_text("why?") == "why?"


@settings(max_examples=50)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60), st.integers(20, 300))
def test_wrapped_lines_hold_all_and_fit(text, width):
    lines = wrap_text(text, width)
    assert "".join(lines) == text
    assert all(text_width(line) <= width or len(line) == 1 for line in lines)


def test_lines_break_at_spaces_where_they_can():
    assert wrap_text("not a video that can be decoded", text_width("not a video that ca")) == [
        "not a video that ",
        "can be decoded",
    ]


def test_names_break_between_their_words():
    name = "SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0"
    assert wrap_text(name, text_width(name[:33])) == ["SchoolRulesHowTheyHelpUs_wave_f_", "nm_np1_ba_med_0"]
    first, last = wrap_text(name, text_width(name[:22]), 2)
    # Where the dots fall depends on the font, which differs from OpenCV 4 to 5.
    start, end = (first + last).split("...")
    assert name.startswith(start)
    assert end.startswith("_")
    assert name.endswith(end)


def test_what_does_not_fit_leaves_out_the_middle():
    name = "start_" + "x" * 200 + "_end"
    lines = wrap_text(name, 150, 2)
    assert len(lines) == 2
    assert "".join(lines).startswith("start_")
    assert "".join(lines).endswith("_end")
    assert "..." in "".join(lines)
    assert all(text_width(line) <= 150 for line in lines)


@pytest.mark.parametrize("text", ["wave/some_video_1", "flow 12 of 0 to 71, 0.40 s", "gjpqy|WM@"])
def test_a_line_is_within_its_measure(text):
    ink = np.argwhere((drawn(text) < 250).any(axis=-1))
    assert ink[:, 1].max() < text_width(text)
    # Nothing is cut at the top or the bottom of the line: a taller image has no more ink.
    image = np.full((3 * LINE_HEIGHT, 600, 3), 255, np.uint8)
    draw_text(image, text, 0, LINE_HEIGHT)
    rows = np.flatnonzero((image < 250).any(axis=(1, 2)))
    assert rows.min() >= LINE_HEIGHT
    assert rows.max() < 2 * LINE_HEIGHT
    assert cv2.countNonZero(255 - image[..., 0]) > 20

# ruff: noqa: E501 - names and what is said of them are read as one line each
"""The order of frames: what their numbers say, and each kind of doubt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.sources.series import order_frames


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["1.jpg"],
        ["cover.jpg"],
        ["img_8.jpg", "img_9.jpg", "img_10.jpg"],
        ["img_0005.jpg", "img_0010.jpg", "img_0015.jpg"],
        ["001.jpg", "002.tif", "003.PNG"],
        ["v_Archery_g01_c02_0001.jpg", "v_Archery_g01_c02_0002.jpg"],
        ["f_0001_t0.033.jpg", "f_0002_t0.067.jpg", "f_0003_t0.100.jpg"],
        ["0.04.png", "0.12.png", "0.2.png", "0.28.png"],
        ["0.8.png", "1.0.png", "1.2.png"],
        ["1.8.png", "1.9.png", "1.10.png"],
        ["a1_b5.jpg", "a2_b3.jpg", "a3_b9.jpg"],
    ],
)
def test_a_series_is_taken_in_the_order_of_its_numbers(names):
    assert order_frames(names[::-1]) == (names, "")


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["img_6.jpg", "img_7.jpg", "img_8.jpg", "img_11.jpg"], "after img_8.jpg comes img_11.jpg, 3 on where others are 1 on"),
        (["2.jpg", "4.jpg", "6.jpg", "7.jpg"], "after 6.jpg comes 7.jpg, 1 on where others are 2 on"),
        (["img_00002.jpg", "img_00003.jpg", "img_3.jpg", "img_00004.jpg"], "one number twice: img_00003.jpg and img_3.jpg"),
        (["img_00003.jpg", "img_3.jpg"], "one number twice: img_00003.jpg and img_3.jpg"),
        (["cover.jpg", "1.jpg", "2.jpg"], "names of 2 series in one folder: 1.jpg (2), cover.jpg (1)"),
        (["img_1.jpg", "img_2.jpg", "img_2 (1).jpg"], "names of 2 series in one folder: img_1.jpg (2), img_2 (1).jpg (1)"),
        (["img_1.jpg", "depth_1.png", "img_2.jpg", "depth_2.png", "img_3.jpg"], "names of 2 series in one folder: img_1.jpg (3), depth_1.png (2)"),
        (["front.jpg", "back.jpg"], "no number says which comes first, back.jpg or front.jpg"),
        (["1.9.jpg", "1.10.jpg"], "the numbers can be read in two ways: 1.10.jpg, 1.9.jpg or 1.9.jpg, 1.10.jpg"),
        (["000010_10.png", "000010_11.png", "000011_10.png", "000011_11.png"], "after 000010_11.png comes 000011_10.png"),
        (["1403636579763.png", "1403636579813.png", "1403636579862.png"], "after 1403636579813.png comes"),
    ],
)  # fmt: skip
def test_what_is_no_series_is_named_with_its_place(names, problem):
    assert order_frames(names)[1].startswith(problem)
    assert sorted(order_frames(names)[0]) == sorted(names)


@given(st.integers(0, 10**6), st.integers(1, 1000), st.integers(2, 60), st.integers(0, 8), st.randoms())
def test_every_constant_stride_is_a_series_and_a_missing_frame_is_a_gap(first, stride, n, n_digits, shuffler):
    names = [f"img_{first + stride * k:0{n_digits}d}.jpg" for k in range(n)]
    shuffled = names[:]
    shuffler.shuffle(shuffled)
    assert order_frames(shuffled) == (names, "")
    if n >= 4:
        del shuffled[shuffled.index(names[n // 2])]
        ordered, problem = order_frames(shuffled)
        assert ordered == names[: n // 2] + names[n // 2 + 1 :]
        assert problem


@given(st.lists(st.text("012 ._ab-", min_size=1, max_size=7), unique=True, max_size=12))
def test_no_names_are_lost_or_make_it_stumble(names):
    assert sorted(order_frames(names)[0]) == sorted(names)

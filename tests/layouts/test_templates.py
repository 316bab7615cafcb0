"""Templates and the paths that they give; what layouts make of them is in test_layouts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError
from flowstore.layouts.templates import PathPattern, check_template, fill_template, template_fields

VALUES = {"class": "wave", "video": "v 1", "step": "_p2"}


def test_filled():
    pattern = fill_template("{class}/{video}/flow_x{step}_{number:05d}.jpg", VALUES)
    assert pattern == PathPattern("wave/v 1/flow_x_p2_", 5, ".jpg")
    assert pattern.path(7) == "wave/v 1/flow_x_p2_00007.jpg"
    assert pattern.path(1_234_567) == "wave/v 1/flow_x_p2_1234567.jpg"
    assert fill_template("{class}/{video}.npy", VALUES).path(3) == "wave/v 1.npy"
    assert fill_template("{{{video}}}/{number}.jpg", VALUES).path(3) == "{v 1}/3.jpg"


@given(st.text(max_size=20), st.integers(0, 10**9))
def test_names_are_taken_as_they_are(name, number):
    pattern = fill_template("{video}/x_{number:04d}.jpg", {**VALUES, "video": name})
    assert pattern.path(number) == name + "/x_" + str(number).zfill(4) + ".jpg"


def test_fields():
    assert template_fields("{class}/{video}/{{x}}_{number:03d}{step}_.jpg") == ["class", "video", "number", "step"]


def test_a_number_stands_in_the_files_name():
    with pytest.raises(ArgumentError, match="must stand in the file's name, not in a folder's"):
        check_template("{video}/{number}/x.jpg", (".jpg",), is_numbered=True)
    check_template("{video}/x.{number}.jpg", (".jpg",), is_numbered=True)


@pytest.mark.parametrize("length", [240, 241])
def test_the_longest_name(length):
    pattern = PathPattern("c/" + "v" * length + "/x_" + "w" * length, 5, "_.jpg")
    if length == 240:
        pattern.check_length()
    else:
        with pytest.raises(ArgumentError, match="longer than 255 bytes"):
            pattern.check_length()

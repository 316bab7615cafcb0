"""Layouts: paths as the tools that read them expect, and no way out of the export's folder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError
from flowstore.layouts import LAYOUTS, check_component, find_layout

# Written out from the tools' own documentation and code, not from the table of layouts.
EXPECTED = {
    ("notebook", 0, 1): ("wave/v 1/flow_x_0001.jpg", "wave/v 1/flow_y_0001.jpg"),
    ("notebook", 9999, 1): ("wave/v 1/flow_x_10000.jpg", "wave/v 1/flow_y_10000.jpg"),
    ("notebook", 4, 3): ("wave/v 1/flow_x_0005.jpg", "wave/v 1/flow_y_0005.jpg"),
    ("notebook-tidy", 0, 1): ("wave/v 1/flows/flow_x_0001.jpg", "wave/v 1/flows/flow_y_0001.jpg"),
    ("denseflow", 0, 1): ("wave/v 1/flow_x_00000.jpg", "wave/v 1/flow_y_00000.jpg"),
    ("denseflow", 12, 2): ("wave/v 1/flow_x_p2_00012.jpg", "wave/v 1/flow_y_p2_00012.jpg"),
    ("mmaction2", 0, 1): ("wave/v 1/x_00001.jpg", "wave/v 1/y_00001.jpg"),
    ("mmaction2", 122, 1): ("wave/v 1/x_00123.jpg", "wave/v 1/y_00123.jpg"),
}
ENCODINGS = {"notebook": "truncate", "notebook-tidy": "truncate", "denseflow": "denseflow", "mmaction2": "denseflow"}


@pytest.mark.parametrize(("layout", "index", "step"), EXPECTED)
def test_paths(layout, index, step):
    assert find_layout(layout).paths("wave", "v 1", index, step) == EXPECTED[layout, index, step]


def test_the_presets():
    assert {name: layout.encoding for name, layout in LAYOUTS.items()} == ENCODINGS
    assert {layout.quality for layout in LAYOUTS.values()} == {95}
    assert all(layout.name == name for name, layout in LAYOUTS.items())
    assert LAYOUTS["notebook"].example == "wave/some_video/flow_x_0001.jpg"


def test_an_unknown_layout_lists_the_known_ones():
    with pytest.raises(ArgumentError, match=r"no layout 'notebok'; did you mean 'notebook'\?; there are notebook, "):
        find_layout("notebok")


BAD = ["", ".", "..", "a/b", "/", "/etc", "a\0b", "x" * 256, "é" * 128]


@pytest.mark.parametrize("name", BAD, ids=ascii)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_that_lead_elsewhere_are_refused(layout, name):
    for names in ((name, "video"), ("class", name)):
        with pytest.raises(ArgumentError, match=r"cannot be a file name|is longer than 255 bytes"):
            LAYOUTS[layout].paths(*names, 0)


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60))
def test_every_other_name_is_one_component(name):
    if name in {".", ".."}:
        return
    check_component(name)
    for layout in LAYOUTS.values():
        for path in layout.paths(name, "video", 0) + layout.paths("class", name, 0):
            parts = path.split("/")
            assert name in parts
            assert len(parts) == 3 + (layout.name == "notebook-tidy")


@pytest.mark.parametrize("name", ["{video}", "{class}", "{number}", "{}", "{0}", "%s", "$x", "{step}"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_braces_in_names_are_only_characters(layout, name):
    assert LAYOUTS[layout].paths(name, "v", 0)[0].split("/")[:2] == [name, "v"]
    assert LAYOUTS[layout].paths("c", name, 0)[0].split("/")[:2] == ["c", name]


@given(st.sampled_from(sorted(LAYOUTS)), st.integers(0, 200_000), st.integers(1, 4))
def test_no_two_flows_share_a_file(layout, index, step):
    layout = LAYOUTS[layout]
    paths = {path for number in (index, index + 1, index + 10) for path in layout.paths("c", "v", number, step)}
    assert len(paths) == 6

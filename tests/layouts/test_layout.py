"""Layouts: paths as the tools that read them expect, and no way out of the export's folder."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError
from flowstore.layouts import LAYOUTS, Layout, custom_layout, find_layout
from flowstore.layouts.templates import check_component

# Written out from the tools' own documentation and code, not from the table of layouts: number 0, then 122.
EXPECTED = {
    "notebook": "wave/v 1/flow_{}_0001.jpg wave/v 1/flow_{}_0123.jpg",
    "notebook-tidy": "wave/v 1/flows/flow_{}_0001.jpg wave/v 1/flows/flow_{}_0123.jpg",
    "denseflow": "wave/v 1/flow_{}_00000.jpg wave/v 1/flow_{}_00122.jpg",
    "tsn": "v 1/flow_{}_00001.jpg v 1/flow_{}_00123.jpg",
    "mmaction2": "wave/v 1/{}_00001.jpg wave/v 1/{}_00123.jpg",
    "mmaction2-activitynet": "v 1/flow_{}_00001.jpg v 1/flow_{}_00123.jpg",
    "gpu-flow": "{}/wave/v 1/frame000001.jpg {}/wave/v 1/frame000123.jpg",
    "charades": "v 1/v 1-000001{}.jpg v 1/v 1-000123{}.jpg",
    "tsm-sthv1": "v 1/v 1-{}_00001.jpg v 1/v 1-{}_00123.jpg",
    "mars": "wave/v 1/TVL1jpg_{}_00001.jpg wave/v 1/TVL1jpg_{}_00123.jpg",
}
EXPECTED_UV = {
    "twostream": "{}/v 1/frame000001.jpg {}/v 1/frame000123.jpg",
    "flowty": "v 1/{}/frame_00001.jpg v 1/{}/frame_00123.jpg",
    "epic": "v 1/{}/frame_0000000001.jpg v 1/{}/frame_0000000123.jpg",
}
EXPECTED_WHOLE = {
    "coclr": ("wave/v 1/flow_00001.jpg", "wave/v 1/flow_00123.jpg"),
    "i3d-npy": ("wave/v 1.npy", "wave/v 1.npy"),
    "npy": ("wave/v 1.npy", "wave/v 1.npy"),
    "flo": ("wave/v 1/000001.flo", "wave/v 1/000123.flo"),
    "kitti": ("wave/v 1/000001_10.png", "wave/v 1/000123_10.png"),
    "hdf5": ("wave/v 1.h5", "wave/v 1.h5"),
}
PIXELS = {"npy", "flo", "kitti", "hdf5"}
TRUNCATE = {"notebook", "notebook-tidy", "flowty", "mars"}
FLAT = {"tsn", "mmaction2-activitynet", "twostream", "flowty", "epic", "charades", "tsm-sthv1"}


def test_each_row_is_expected_here():
    assert {*EXPECTED, *EXPECTED_UV, *EXPECTED_WHOLE} == set(LAYOUTS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_paths(name):
    layout = find_layout(name)
    for index, which in ((0, 0), (122, 1)):
        found = layout.paths("wave", "v 1", index)
        if name in EXPECTED_WHOLE:
            assert found == (EXPECTED_WHOLE[name][which],)
            continue
        text, axes = (EXPECTED[name], "xy") if name in EXPECTED else (EXPECTED_UV[name], "uv")
        at = text.index(".jpg") + 4
        template = (text[:at], text[at + 1 :])[which]
        assert found == tuple(template.format(axis) for axis in axes)


@pytest.mark.parametrize(
    ("name", "index", "step", "x_path"),
    [
        ("notebook", 9999, 1, "wave/v/flow_x_10000.jpg"),
        ("notebook", 4, 3, "wave/v/flow_x_0005.jpg"),
        ("denseflow", 12, 2, "wave/v/flow_x_p2_00012.jpg"),
        ("epic", 10**11, 1, "v/u/frame_100000000001.jpg"),
    ],
)
def test_large_numbers_and_steps(name, index, step, x_path):
    assert find_layout(name).paths("wave", "v", index, step)[0] == x_path


def test_the_presets():
    for name, layout in LAYOUTS.items():
        encoding = "pixels" if name in PIXELS else "truncate" if name in TRUNCATE else "denseflow"
        assert layout.encoding == ("i3d-float" if name == "i3d-npy" else encoding)
        assert layout.quality == (100 if name == "coclr" else 95)
        assert layout.first == (0 if name == "denseflow" else 1)
        assert layout.has_class_folder == (name not in FLAT)
        assert layout.kind.is_lossless == (name in EXPECTED_WHOLE and name != "coclr")
        assert layout.name == name
        assert layout.used_by
        assert not layout.is_padded
    assert LAYOUTS["notebook"].example == "wave/some_video/flow_x_0001.jpg"


def test_an_unknown_layout_lists_the_known_ones():
    with pytest.raises(ArgumentError, match=r"no layout 'notebok'; did you mean 'notebook'\?; there are notebook, "):
        find_layout("notebok")


BAD = ["", ".", "..", "a/b", "/", "/etc", "a\0b", "C:", "c:evil", "x" * 256, "é" * 128]


@pytest.mark.parametrize("name", BAD, ids=ascii)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_that_lead_elsewhere_are_refused(layout, name):
    for names in ((name, "video"), ("class", name)):
        with pytest.raises(ArgumentError, match=r"cannot be a file name|is longer than 255 bytes"):
            LAYOUTS[layout].paths(*names, 0)


def test_a_file_name_that_gets_too_long_is_refused():
    assert LAYOUTS["mmaction2"].paths("c", "v" * 255)
    assert LAYOUTS["npy"].paths("c", "v" * 251) == ("c/" + "v" * 251 + ".npy",)
    for layout, length in (("npy", 252), ("charades", 250)):
        with pytest.raises(ArgumentError, match="longer than 255 bytes"):
            LAYOUTS[layout].paths("c", "v" * length)


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0:"), min_size=1, max_size=60))
def test_every_other_name_is_one_component(name):
    if name in {".", ".."}:
        return
    check_component(name)
    for layout in LAYOUTS.values():
        depth = len(layout.example.split("/"))
        for path in layout.paths(name, "video", 0) + layout.paths("class", name, 0):
            assert len(path.split("/")) == depth
        if layout.has_class_folder:
            assert name in layout.paths(name, "video", 0)[0].split("/")


@pytest.mark.parametrize("name", ["{video}", "{class}", "{number}", "{}", "{0}", "%s", "$x", "{step}", "ab:c"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_braces_in_names_are_only_characters(layout, name):
    layout = LAYOUTS[layout]
    plain = layout.paths("CLASS", "VIDEO", 3)
    assert layout.paths(name, "VIDEO", 3) == tuple(path.replace("CLASS", name) for path in plain)
    assert layout.paths("CLASS", name, 3) == tuple(path.replace("VIDEO", name) for path in plain)


@given(st.sampled_from(sorted(LAYOUTS)), st.integers(0, 200_000), st.integers(1, 4))
def test_no_two_flows_share_a_file(layout, index, step):
    layout = LAYOUTS[layout]
    paths = {path for number in (index, index + 1, index + 10) for path in layout.paths("c", "v", number, step)}
    assert len(paths) == (1 if layout.packing == "video" else 3 * len(layout.templates))


def test_patterns_give_the_paths():
    for layout in LAYOUTS.values():
        patterns = layout.path_patterns("c", "v", 2)
        for index in (0, 99_998, 99_999):
            assert tuple(p.path(layout.first + index) for p in patterns) == layout.paths("c", "v", index, 2)


# Changes of a layout


def test_the_class_folder_of_denseflow_can_be_left_out():
    flat = LAYOUTS["denseflow"].without_class_folder()
    assert flat.paths("wave", "v", 0) == ("v/flow_x_00000.jpg", "v/flow_y_00000.jpg")
    assert LAYOUTS["i3d-npy"].without_class_folder().paths("wave", "v") == ("v.npy",)
    assert flat.without_class_folder() == flat
    with pytest.raises(ArgumentError, match="layout mmaction2 has class folders always"):
        LAYOUTS["mmaction2"].without_class_folder()


def test_images_can_be_png():
    layout = LAYOUTS["mmaction2"].with_image_format("png")
    assert layout.paths("wave", "v") == ("wave/v/x_00001.png", "wave/v/y_00001.png")
    assert layout.kind.is_lossless
    assert layout.with_image_format("jpg") == LAYOUTS["mmaction2"]
    assert LAYOUTS["coclr"].with_image_format("png").paths("wave", "v") == ("wave/v/flow_00001.png",)
    with pytest.raises(ArgumentError, match="layout kitti has kitti files: they cannot be png"):
        LAYOUTS["kitti"].with_image_format("png")


def test_a_custom_layout():
    layout = custom_layout("all/{class}-{video}/x{number:03d}.png", "all/{class}-{video}/y{number:03d}.png", 7, "png")
    assert layout.paths("wave", "v", 1) == ("all/wave-v/x008.png", "all/wave-v/y008.png")
    assert (layout.packing, layout.encoding, layout.has_class_folder) == ("planes", "denseflow", True)
    assert custom_layout("{video}/{number}.jpg").packing == "rgb"
    assert custom_layout("{video}/{number}.jpg").paths("c", "v", 11) == ("v/12.jpg",)
    whole = custom_layout("{video}.npy", file_format="npy", encoding="i3d-float")
    assert (whole.packing, whole.paths("c", "v", 5)) == ("video", ("v.npy",))
    assert custom_layout("{video}/{{{number}}}.flo", file_format="flo").paths("c", "v") == ("v/{1}.flo",)


@pytest.mark.parametrize(
    ("templates", "said"),
    [
        (("../{video}/{number}.jpg",), "relative path below the root"),
        (("/{video}/{number}.jpg",), "relative path below the root"),
        (("{video}/../../{number}.jpg",), "relative path below the root"),
        (("C:/{video}/{number}.jpg",), "relative path below the root"),
        (("{video}\\{number}.jpg",), "relative path below the root"),
        (("{video}//{number}.jpg",), "relative path below the root"),
        (("{video}/\0{number}.jpg",), "null character"),
        (("flow/{number}.jpg",), r"without \{video\} all videos"),
        (("{video}/flow.jpg",), "which tells flows apart"),
        (("{video}/{number}/{number}.jpg",), "which tells flows apart"),
        (("{video}/{number}.png",), "expected to end in .jpg or .jpeg"),
        (("{video}/{frame}.jpg",), r"unknown field \{frame\}"),
        (("{video}/{0}.jpg",), "unknown field"),
        (("{video.__class__}/{number}.jpg",), "unknown field"),
        (("{video!r}/{number}.jpg",), "unknown field"),
        (("{video:>99999999}/{number}.jpg",), "unknown field"),
        (("{video}/{number:0999999999d}.jpg",), "format '0999999999d' of the number"),
        (("{video}/{number:x}.jpg",), "format 'x' of the number"),
        (("{video}/{number.jpg",), "template"),
        (("{video}{number}.jpg",), "no digit must stand on both sides"),
        (("{video}/2{number}.jpg",), "no digit must stand on both sides"),
        (("{number}{video}.jpg",), "no digit must stand on both sides"),
        (("{video}/{number}.jpg", "{video}/{number}.jpg"), "x and y need templates of their own"),
    ],
    ids=ascii,
)
def test_templates_that_cannot_be_are_refused(templates, said):
    with pytest.raises(ArgumentError, match=said):
        custom_layout(*templates)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"file_format": "gif"}, "format is 'gif', expected one of jpg, png"),
        ({"packing": "video"}, "packing is 'video', expected planes or rgb for jpg files"),
        ({"encoding": "pixels"}, "jpg files cannot hold encoding pixels"),
        ({"encoding": "linear"}, "encoding is 'linear'"),
        ({"class_folder": "maybe"}, "class folder is 'maybe'"),
        ({"class_folder": "optional", "x_template": "a/{class}/{video}/{number}.jpg"}, "which is optional"),
        ({"first": -1}, "first is -1, expected a whole number, 0 or more"),
        ({"quality": 101}, "quality is 101, expected a whole number, 0 to 100"),
        ({"packing": "rgb"}, "one file for x and y"),
        ({"y_template": ""}, "x and y need templates"),
    ],
    ids=str,
)
def test_values_that_do_not_fit_are_refused(changes, said):
    with pytest.raises(ArgumentError, match=said):
        dataclasses.replace(LAYOUTS["mmaction2"], **changes)
    with pytest.raises(ArgumentError, match="npy files cannot hold encoding denseflow"):
        Layout("mine", "{video}.npy", file_format="npy", packing="video", encoding="denseflow")

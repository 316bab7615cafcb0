"""Flow beside frames is told by the layouts' own names, and never by a name alone."""

import json
import os

import cv2
import numpy as np
import pytest

from flowstore.errors import ArgumentError
from flowstore.layouts import LAYOUTS, custom_layout
from flowstore.layouts.flow_names import flow_finder
from flowstore.layouts.images import encode_kitti, encode_pair, encode_plane
from flowstore.layouts.templates import source_pattern
from flowstore.sources.discovery import discover

IMAGES = [layout for layout in LAYOUTS.values() if layout.file_format in ("jpg", "png", "kitti")]
CUSTOM = [
    custom_layout("{class}/{video}/{number:04d}_u.png", "{class}/{video}/{number:04d}_v.png", 0, "png"),
    custom_layout("{class}/{video}/horizontal/{number:04d}.jpg", "{class}/{video}/vertical/{number:04d}.jpg"),
    custom_layout("{class}/{video}/both_{number:04d}.png", file_format="png"),
]


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def write_frames(root, n_frames=6):
    color = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
    for number in range(1, n_frames + 1):
        write(os.path.join(root, "wave", "v0", f"img_{number:05d}.jpg"), cv2.imencode(".jpg", color)[1].tobytes())


def write_flow(root, layout, n_flows=5, components=(0, 1)):
    flow = np.random.default_rng(1).normal(0, 3, (2, 16, 20)).astype(np.float32)
    codes = np.clip(np.rint(128 + flow * 6), 0, 255).astype(np.uint8)
    for index in range(n_flows):
        paths = layout.paths("wave", "v0", index)
        for at, path in enumerate(paths):
            if layout.file_format == "kitti":
                data = encode_kitti(flow)
            elif layout.packing == "rgb":
                data = encode_pair(codes, layout.file_format, layout.quality)
            else:
                data = encode_plane(codes[at], layout.file_format)
            if len(paths) == 1 or at in components:
                write(os.path.join(root, path), data)


def find(root):
    return [(found.key, found.cost, found.problem) for found in discover(root, find_flow=flow_finder()).sources]


@pytest.mark.parametrize("layout", IMAGES, ids=lambda layout: layout.name)
def test_an_export_beside_the_frames_is_not_frames(tmp_path, layout):
    write_frames(tmp_path)
    write_flow(tmp_path, layout)
    assert [found for found in find(tmp_path) if found[0] == "wave/v0"] == [("wave/v0", 6, "")]
    assert {problem for _, _, problem in find(tmp_path)} == {""}


@pytest.mark.parametrize("layout", CUSTOM, ids=lambda layout: layout.x_template)
def test_a_layout_of_ones_own_is_known_by_the_manifest_above_it(tmp_path, layout):
    write_frames(tmp_path)
    write_flow(tmp_path, layout)
    found = {"layout": "custom", "format": layout.file_format, "x_template": layout.x_template}
    (tmp_path / "flowstore-export.json").write_text(json.dumps(found | {"y_template": layout.y_template or None}))
    assert find(tmp_path) == [("wave/v0", 6, "")]
    assert find(tmp_path / "wave") == [("unlabeled/v0", 6, "")]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "jpg", "x_template": "{nothing}/{"}', "\0", "[" * 10**5])
def test_a_manifest_that_says_nothing_changes_nothing(tmp_path, text):
    write_frames(tmp_path)
    (tmp_path / "flowstore-export.json").write_text(text)
    assert find(tmp_path) == [("wave/v0", 6, "")]


@pytest.mark.parametrize("name", ["notebook", "denseflow", "mmaction2", "tsn", "twostream", "epic", "charades", "mars"])
def test_one_component_alone_is_no_flow(tmp_path, name):
    write_flow(tmp_path, LAYOUTS[name], components=(0,))
    assert [cost for _, cost, _ in find(tmp_path)] == [5]


@pytest.mark.parametrize("name", ["flow_{:05d}.jpg", "{:06d}_10.png"])
def test_frames_that_are_called_as_files_of_both_components_stay_frames(tmp_path, name):
    color = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
    for number in range(5):
        write(tmp_path / "wave" / "v0" / name.format(number), cv2.imencode(name[-4:], color)[1].tobytes())
    assert [cost for _, cost, _ in find(tmp_path)] == [5]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{class}/*", "expected {video} once"),
        ("{video}/{video}", "expected {video} once"),
        ("{class}/{class}/{video}", "{class} at most once"),
        ("{class}/{number}/{video}", "no other field"),
        ("{class}/{what}", "unknown field {what}"),
        ("/{video}", "expected a path below SOURCE"),
        ("../{video}", "expected a path below SOURCE"),
        ("{video", "fields are"),
        (3, "source template is 3"),
    ],
)
def test_templates_of_sources_that_cannot_be_are_refused(template, message):
    with pytest.raises(ArgumentError) as error:
        source_pattern(template)
    assert message in str(error.value)

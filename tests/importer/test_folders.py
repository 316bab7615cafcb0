"""Templates read backwards: what was filled in comes out again, and what is found of a video's files."""

import dataclasses
import os

import pytest
from datasets import call
from hypothesis import given
from hypothesis import strategies as st
from layout_files import smooth_flow, truncate_codes, write_video

from flowstore.errors import ArgumentError, SourceError
from flowstore.importer.folders import find_flow
from flowstore.layouts import LAYOUTS, custom_layout
from flowstore.layouts.templates import check_component, component_pattern, fill_template
from flowstore.quantize import FileQuantizer

QUANTIZER = FileQuantizer("denseflow", 20)
TEMPLATES = sorted({template for layout in LAYOUTS.values() for template in layout.templates})


def is_component(name):
    try:
        check_component(name)
        os.fsencode(name)
    except (ArgumentError, UnicodeEncodeError):
        return False
    return True


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(is_component)


def read_backwards(template, path):
    known = {}
    for component, name in zip(template.split("/"), path.split("/"), strict=True):
        match = component_pattern(component, known).fullmatch(name)
        assert match, (component, name)
        known |= match.groupdict()
    return known


@given(st.sampled_from(TEMPLATES), names, names, st.integers(0, 10**7), st.sampled_from(["", "_p2", "_p17"]))
def test_every_template_gives_back_what_was_filled_in(template, class_name, video, number, step):
    path = fill_template(template, {"class": class_name, "video": video, "step": step}).path(number)
    known = read_backwards(template, path)
    assert known["video"] == video
    assert known.get("class", class_name) == class_name
    assert known.get("step", step) == step
    assert int(known.get("number", number)) == number


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


def find(root, layout, step=None):
    chosen = LAYOUTS[layout] if isinstance(layout, str) else layout
    discovery, found_step = find_flow(str(root), chosen, QUANTIZER, step)
    return discovery, found_step


def test_a_source_says_where_its_files_are(tmp_path):
    touch(tmp_path, *(f"c/v/{axis}_{number:05d}.jpg" for axis in "xy" for number in (1, 2, 3)))
    discovery, step = find(tmp_path, "mmaction2")
    (source,) = discovery.sources
    assert (source.class_name, source.name, source.kind, source.problem, step) == ("c", "v", "flow", "", 1)
    assert source.paths(2) == ("c/v/x_00003.jpg", "c/v/y_00003.jpg")
    assert sorted(source.iter_paths()) == [f"c/v/{axis}_0000{number}.jpg" for axis in "xy" for number in (1, 2, 3)]


def test_videos_of_one_flat_folder_are_told_apart(tmp_path):
    layout = custom_layout("{video}_{number:03d}.png", first=0, file_format="png")
    touch(tmp_path, "a_000.png", "a_001.png", "a_1_000.png", "b_000.png", "b_002.png")
    found = {source.name: (source.n_files, source.problem) for source in find(tmp_path, layout)[0].sources}
    assert found == {
        "a": (2, ""),
        "a_1": (1, ""),
        "b": (2, "1 missing among the files 0 to 2, the first b_001.png"),
    }


def test_numbers_may_outgrow_their_padding(tmp_path):
    layout = custom_layout("{video}/{number:02d}.png", first=98, file_format="png")
    touch(tmp_path, "v/98.png", "v/99.png", "v/100.png")
    (source,) = find(tmp_path, layout)[0].sources
    assert (source.n_files, source.problem) == (3, "")


def test_a_number_that_nobody_has_makes_no_long_list(tmp_path):
    touch(tmp_path, *(f"c/v/{axis}_{number}.jpg" for axis in "xy" for number in ("00001", "9" * 100)))
    (source,) = find(tmp_path, "mmaction2")[0].sources
    assert source.problem.endswith("the first c/v/x_00002.jpg")
    assert source.n_files == 2


def test_a_video_without_files_is_found_where_its_folder_says_so(tmp_path):
    touch(tmp_path, "u/v/frame000001.jpg", "v/v/frame000001.jpg")
    (tmp_path / "u/w").mkdir()
    problems = {source.name: source.problem for source in find(tmp_path, "twostream")[0].sources}
    assert problems == {"v": "", "w": "no flow files, expected such as u/w/frame000001.jpg"}


def test_what_is_no_file_of_the_layout_is_counted(tmp_path):
    touch(tmp_path, "c/v.npy", "c/v.txt", "notes.md", "flowstore-export.json", "annotations/all.txt")
    discovery, _ = find(tmp_path, "npy")
    assert discovery.notes == ("2 items left out, not being the layout's: c/v.txt, …",)


def test_a_folder_without_a_file_of_the_layout_says_what_it_has(tmp_path):
    touch(tmp_path, "c/v/img_00001.jpg")
    with pytest.raises(ArgumentError, match=r"such as wave/some_video/x_00001\.jpg; it has c/v/img_00001\.jpg"):
        find(tmp_path, "mmaction2")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArgumentError, match="it is empty"):
        find(tmp_path / "empty", "mmaction2")
    with pytest.raises(SourceError, match="cannot be listed"):
        find(tmp_path / "nowhere", "mmaction2")


def test_what_systems_leave_about_and_stores_are_no_videos(tmp_path):
    touch(tmp_path, "c/v.npy", "c/._v.npy", "@eaDir/v.npy", "c/.DS_Store", "s.zarr/v.npy", "s.zarr/zarr.json")
    discovery, _ = find(tmp_path, "npy")
    assert [source.key for source in discovery.sources] == ["c/v"]
    assert discovery.notes == ("1 item left out, not being the layout's: s.zarr",)


def test_a_step_that_is_not_there_is_refused(tmp_path):
    touch(tmp_path, "c/v/flow_x_p2_00000.jpg", "c/v/flow_y_p2_00000.jpg")
    assert find(tmp_path, "denseflow")[1] == 2
    with pytest.raises(ArgumentError, match="no files of step 3, there are those of step 2"):
        find(tmp_path, "denseflow", 3)


@pytest.mark.parametrize(
    ("written", "asked", "fits"),
    [
        ("notebook-tidy", "notebook", "--layout notebook-tidy"),
        ("denseflow", "notebook", "--layout denseflow"),
        ("denseflow", "mmaction2", "--layout denseflow"),
        ("mmaction2", "notebook-tidy", "--layout mmaction2"),
        ("twostream", "charades", "--layout twostream"),
        ("flo", "kitti", "--layout flo"),
    ],
)
def test_a_wrong_layout_is_refused_in_the_plan_and_the_right_one_named(tmp_path, written, asked, fits):
    values = smooth_flow(3) if LAYOUTS[written].encoding == "pixels" else truncate_codes(smooth_flow(3))
    for name in ("v", "w"):
        write_video(tmp_path / "files", written, "c", name, values)
    done = call("import", tmp_path / "files", tmp_path / "s.zarr", "--layout", asked, "--bound", "20")
    assert done.code == 2
    assert done.error_line.endswith(f"; what fits is {fits}")
    assert not (tmp_path / "s.zarr").exists()
    named = fits.split()
    assert call("import", tmp_path / "files", tmp_path / "s.zarr", *named, "--bound", "20").code == 0


def test_another_first_number_is_named(tmp_path):
    layout = dataclasses.replace(LAYOUTS["notebook"], first=0)
    write_video(tmp_path / "files", layout, "c", "v", truncate_codes(smooth_flow(3)))
    done = call("import", tmp_path / "files", tmp_path / "s.zarr", "--layout", "notebook", "--bound", "20")
    assert done.code == 2
    assert done.error_line.endswith("; what fits is --first 0")

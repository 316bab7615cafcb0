"""``flowstore import``: its options, its output, its exit codes."""

import json

import pytest
from datasets import call, run
from layout_files import smooth_flow, truncate_codes, write_video

import flowstore


@pytest.fixture
def files(tmp_path):
    for name in "ab":
        write_video(tmp_path / "files", "notebook", "c", name, truncate_codes(smooth_flow(3)))
    return tmp_path / "files"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give its layout with --layout"),
        (["--layout", "nothing"], "no layout 'nothing'"),
        (["--layout", "custom"], "--layout custom needs --x-template"),
        (
            ["--layout", "notebook", "--x-template", "a"],
            "--x-template: of --layout custom only, found --layout notebook",
        ),
        (["--format", "png"], "name it with --layout"),
        (["--layout", "notebook", "--no-class-folder"], "layout notebook has class folders always"),
        (["--layout", "npy", "--format", "png"], "layout npy has npy files: they cannot be png"),
        (["--layout", "notebook", "--bound", "x"], "'x' is not a valid float"),
        (["--layout", "notebook", "--bound", "20", "--workers", "0"], "workers is 0"),
        (["--layout", "notebook", "--bound", "20", "--include", "z*"], "no video is left to import"),
    ],
)
def test_what_is_refused_before_any_work(files, tmp_path, options, said):
    result = call("import", files, tmp_path / "s", *options)
    assert result.code == 2
    assert said in result.error_line
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("place", ["nowhere", "file", "store"])
def test_a_folder_that_is_none_is_refused(files, tmp_path, place):
    (tmp_path / "file").write_text("")
    options = ["--layout", "notebook", "--bound", "20"]
    assert call("import", files, tmp_path / "store", *options).code == 0
    result = call("import", tmp_path / place, tmp_path / "s", *options)
    assert result.code == 2
    assert "FOLDER" in result.error_line


@pytest.mark.parametrize("command", ["extract", "import"])
def test_a_path_that_nearly_exists_is_named(files, tmp_path, command):
    for place, meant in (("fils", "files"), ("files/cc", "files/c"), ("flies/c", "files/c")):
        result = call(command, tmp_path / place, tmp_path / "s")
        assert result.code == 2
        assert result.error_line.endswith(f"; did you mean {tmp_path / meant}?")
    assert "did you mean" not in call(command, tmp_path / "zoom", tmp_path / "s").err


@pytest.mark.parametrize("place", ["c", "c/a"])
def test_a_part_of_a_folder_names_the_whole(files, tmp_path, place):
    options = ["--layout", "notebook", "--bound", "20"]
    result = call("import", files / place, tmp_path / "s", *options)
    assert result.code == 2
    assert result.error_line.endswith(f"below {files}: give that, and --include '{place}/*' for these alone")
    done = call("import", files, tmp_path / "s", *options, "--include", f"{place}/*", "--json")
    assert json.loads(done.out)["extracted"] == len(list((files / place).glob("**/flow_x_0001.jpg")))
    (files / "flowstore-export.json").write_text("{}")
    assert call("import", files / place, tmp_path / "s2").error_line.endswith(f"{files} has one: give that folder")


def test_json_is_one_object(files, tmp_path):
    result = run("import", files, tmp_path / "s", "--layout", "notebook", "--bound", "20", "--json")
    report = json.loads(result.out)
    assert (report["extracted"], report["flows"], report["failed"]) == (2, 6, [])


def test_quiet_says_nothing_but_what_failed(files, tmp_path):
    (files / "c/a/flow_y_0002.jpg").unlink()
    result = call("import", files, tmp_path / "s", "--layout", "notebook", "--bound", "20", "--quiet")
    assert (result.code, result.out) == (1, "")
    assert result.error_line.startswith("failed c/a: files without a partner")


def test_some_of_the_videos_can_be_taken(files, tmp_path):
    options = ["--layout", "notebook", "--bound", "20", "--exclude", "c/a"]
    assert call("import", files, tmp_path / "s", *options).code == 0
    assert [video.key for video in flowstore.open_store(tmp_path / "s").iter_videos()] == ["c/b"]

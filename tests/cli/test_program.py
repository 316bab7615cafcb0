"""The command line as a terminal, a pipe and a script see it."""

import json
import os
import pty
import re
import subprocess
import sys

import click
import pytest
from datasets import call, command_line, process_environment, run, screen_lines, tree, write_dataset, write_video
from rich.cells import cell_len

import flowstore
from flowstore.cli.program import cli

pytestmark = pytest.mark.system

COMMANDS = ["verify", "extract", "import", "info", "stats", "export", "copy", "render", "demo", "remove"]


@pytest.fixture
def source(tmp_path):
    write_dataset(tmp_path / "videos", n_videos=2, n_frames=4)
    return tmp_path / "videos"


@pytest.fixture
def store(source, tmp_path):
    assert call("extract", source, tmp_path / "flow.zarr").code == 0
    return tmp_path / "flow.zarr"


# ---- help


def test_module_runs_and_tells_its_version():
    assert run("--version").out == f"flowstore, version {flowstore.__version__}\n"


def test_without_arguments_the_help_is_shown_with_examples():
    shown = run()
    assert "Usage:" in shown.out + shown.err
    assert "flowstore extract videos/ flow.zarr" in shown.out + shown.err


@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)], ids=" ".join)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_fits_a_terminal(command, flag):
    shown = call(*command, flag)
    assert shown.code == 0
    assert shown.err == ""
    assert shown.out.startswith("Usage: ")
    assert max(map(len, shown.out.splitlines())) <= 80


def test_every_command_is_in_the_help():
    assert sorted(cli.list_commands(None)) == sorted(COMMANDS)
    shown = call("--help").out
    # A screen has 24 lines, and the prompt takes one.
    assert len(shown.splitlines()) <= 23
    assert "..." not in shown.partition("Commands:")[2]
    for command in COMMANDS:
        assert re.search(rf"(?m)^  {command} +\w", shown)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("flowstore ex", ["plain,extract", "plain,export"]),
        ("flowstore info som", ["file,som"]),
        ("flowstore export --layout ts", ["plain,tsn", "plain,tsm-sthv1"]),
        ("flowstore import --layout cu", ["plain,custom"]),
        ("flowstore extract --scheduler t", ["plain,threads", "plain,tcp://"]),
        ("flowstore extract --compression s", ["plain,small"]),
        ("flowstore render --sty", ["plain,--style"]),
    ],
)
def test_a_shell_completes(typed, offered):
    shell = {"_FLOWSTORE_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    command = [sys.executable, "-c", "import sys; sys.argv[0] = 'flowstore'; from flowstore.cli import main; main()"]
    done = subprocess.run(command, env=process_environment(**shell), capture_output=True, text=True)
    assert done.stderr == ""
    assert sorted(done.stdout.split()) == sorted(offered)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_does_and_takes_by_default(command):
    found = cli.get_command(None, command)
    context = click.Context(found)
    for option in found.params:
        if isinstance(option, click.Option):
            name, text = option.get_help_record(context)
            assert len(text) > 10, name
            if not option.is_flag and not (command == "export" and option.name == "layouts"):
                assert "[default: " in text or option.required, name


def test_options_with_a_unit_state_it():
    shown = " ".join(call("extract", "--help").out.split())
    for text in ("--bound PX", "--short-side PX", "--step FRAMES", "in pixels", "frames per second"):
        assert text in shown


def test_layouts_are_listed_without_a_store():
    shown = call("export", "--list-layouts")
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert lines[0].split()[:3] == ["notebook", "wave/some_video/flow_x_0001.jpg", "truncate"]
    assert "twostream" in {line.split()[0] for line in lines}
    assert len(lines) == 19


# ---- wrong usage


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["extrct"], "No such command 'extrct'"),
        (["--bogus"], "No such option"),
        (["extract"], "Missing argument 'SOURCE'"),
        (["extract", "videos"], "Missing argument 'STORE'"),
        (["extract", "videos", "flow.zarr", "more"], "unexpected extra argument (more)"),
        (["extract", "videos", "flow.zarr", "--bound"], "'--bound' requires an argument"),
        (["info"], "Missing argument 'STORE'"),
        (["info", ""], "an empty path"),
        (["export", "flow.zarr"], "Missing argument 'DEST'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_that_points_to_the_help(args, reason):
    refused = call(*args)
    assert refused.code == 2
    assert refused.out == ""
    assert reason in refused.error_line
    assert refused.error_line.endswith("--help)")


def test_a_traceback_only_with_verbose(tmp_path):
    assert "Traceback" not in call("info", tmp_path / "nowhere").err
    verbose = call("extract", tmp_path / "nowhere", tmp_path / "flow.zarr", "--verbose")
    assert verbose.code == 2
    assert "Traceback" in verbose.err
    assert verbose.err.splitlines()[-1].startswith("flowstore: SOURCE ")


# ---- output


def test_extract_says_plan_on_stderr_and_report_on_stdout(source, tmp_path):
    done = run("extract", source, tmp_path / "flow.zarr")
    assert done.code == 0
    assert re.fullmatch(r"4 videos, 12 flows in [\d.]+ s \(\d+ flows/s\) -> .*/flow.zarr\n", done.out)
    assert [line.split(":")[0] for line in done.err.splitlines()] == [
        "store",
        "settings",
        "videos",
        "estimate",
        "memory",
        "workers",
    ]


def test_json_is_one_object_on_stdout(source, tmp_path):
    store = tmp_path / "flow.zarr"
    done = run("extract", source, store, "--json")
    values = json.loads(done.out)
    assert (values["extracted"], values["flows"], values["failed"]) == (4, 12, [])
    assert values["store"] == str(store)
    again = json.loads(call("extract", source, store, "--json", "--quiet").out)
    assert (again["extracted"], again["done_before"]) == (0, 4)
    for place, key, value in (("", "videos", 4), ("/run", "flows", 6), ("/run/v0", "n_flows", 3)):
        assert json.loads(call("info", f"{store}{place}", "--json").out)[key] == value
    exported = call("export", store, tmp_path / "images", "--json")
    values = json.loads(exported.out)
    assert (values["videos"], values["files_written"], values["failed"]) == (4, 24, [])
    assert exported.err == ""


def test_quiet_is_silent(source, tmp_path):
    for args in (
        ["extract", source, tmp_path / "flow.zarr", "--dry-run"],
        ["extract", source, tmp_path / "flow.zarr"],
        ["extract", source, tmp_path / "flow.zarr"],
        ["export", tmp_path / "flow.zarr", tmp_path / "images"],
    ):
        done = call(*args, "--quiet")
        assert (done.code, done.out, done.err) == (0, "", "")
    assert (
        run("extract", source, tmp_path / "flow.zarr", "--overwrite", "--quiet", "--scheduler", "processes").err == ""
    )


def test_dry_run_prints_the_plan_and_writes_nothing(source, tmp_path):
    before = tree(tmp_path)
    planned = call("extract", source, tmp_path / "flow.zarr", "--dry-run", "--verbose")
    assert planned.code == 0
    assert planned.err == ""
    assert "videos:   4 in 2 classes: 4 to extract, 0 done\n" in planned.out
    assert re.search(
        r"estimate: 1[0-9] frames, about [\d.]+ kB of flow and 1 s of one worker, as measured on \d+ flows", planned.out
    )
    assert re.search(r"memory:   at most [\d.]+ MB per worker process \(frames up to 32×24", planned.out)
    assert "to do:    run/v0 (run/v0.avi)\n" in planned.out
    values = json.loads(call("extract", source, tmp_path / "flow.zarr", "--dry-run", "--json").out)
    assert values["n_todo"] == 4
    assert {"class": "wave", "video": "v1"} in values["todo"]
    assert values["memory_per_worker"] > 2**20
    assert tree(tmp_path) == before


def test_info_shows_settings_classes_videos_and_one_video(store):
    shown = call("info", store).out
    for text in (
        "4 videos, 12 flows, ",
        "format 1",
        "farneback (",
        "winsize 15",
        "uint8 centred, ±20 px",
        "step 1, compression fast",
    ):
        assert text in shown
    assert re.search(r"(?m)^run +2 +- +6 ", shown)
    assert re.search(r"(?m)^all +4 +- +12 ", shown)
    assert re.search(r"(?m)^v1 +3 +32×24 +10 +\d", call("info", f"{store}/wave").out)
    video = call("info", f"{store}/wave/v1/").out
    assert "3 flows of 32×24 from 4 frames, 10 fps, 0.40 s" in video
    assert "wave/v1.avi (video)" in video
    assert call("info", store / "wave" / "v1").code == 0


def test_a_table_keeps_its_names_when_narrow_or_piped(tmp_path):
    name = "Die_Another_Day_-_Fencing_Scene_Part_1_[HD]_avi_fencing_f_cm_np2_le_goo_0"
    write_video(tmp_path / "videos" / "fencing" / f"{name}.avi", 3)
    assert call("extract", tmp_path / "videos", tmp_path / "flow.zarr").code == 0
    for columns in ("20", "40", "200"):
        shown = run("info", tmp_path / "flow.zarr" / "fencing", COLUMNS=columns)
        assert any(line.startswith(name + " ") for line in shown.out.splitlines())
        assert re.search(r"(?m)^fencing ", run("info", tmp_path / "flow.zarr", COLUMNS=columns).out)
        text = on_terminal("info", tmp_path / "flow.zarr", COLUMNS=columns)
        assert re.search(r"(?m)^fencing( |$)", re.sub(r"\x1b\[[\d;]*m", "", text))


def test_a_reader_that_goes_away_is_no_error_message(store):
    command = f"{' '.join(command_line('info', store))} | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=process_environment(), check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict", "latin-1"])
def test_a_terminal_that_lacks_characters_ends_no_command(store, encoding):
    environment = process_environment(PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    shown = subprocess.run(command_line("info", store), capture_output=True, env=environment, check=True)
    assert b"20 px" in shown.stdout
    assert shown.stderr == b""


def test_paths_that_are_not_unicode_can_be_shown(source, tmp_path):
    place = os.path.join(tmp_path, os.fsdecode(b"fl\xf6w.zarr"))
    environment = process_environment(PYTHONIOENCODING="utf-8:strict")
    for args in (["extract", source, place], ["info", place], ["info", place, "--json"]):
        done = subprocess.run(command_line(*args), capture_output=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr


# ---- progress


def on_terminal(*args, code=0, **more):
    """What a command shows on a terminal 100 columns wide."""
    parent, child = pty.openpty()
    environment = process_environment(**{"TERM": "xterm-256color", "COLUMNS": "100"} | more)
    process = subprocess.Popen(command_line(*args), stdin=child, stdout=child, stderr=child, env=environment)
    os.close(child)
    shown = b""
    while True:
        try:
            data = os.read(parent, 65536)
        except OSError:  # Linux's end of a terminal
            break
        if not data:
            break
        shown += data
    os.close(parent)
    assert process.wait(60) == code, shown
    return shown.decode().replace("\r\n", "\n")


# Enough that the display is drawn with something done.
SLOW = ["--engine", "opencv", "--param", "iterations=400", "--workers", "1"]


def test_progress_on_a_terminal(tmp_path):
    for number in range(2):
        write_video(tmp_path / "videos" / "c" / f"v{number}.avi", 150, seed=number)
    (tmp_path / "videos" / "c" / "bad.avi").write_bytes(b"")
    shown = on_terminal("extract", tmp_path / "videos", tmp_path / "flow.zarr", *SLOW, code=1)
    assert re.search(r"extract .*[0-3]/3 videos +[1-9]\d* flows/s", shown)
    # Counted while it goes on, and named above the display.
    assert re.search(r"1 failed(\x1b\[\d*m)? +", shown)
    assert re.search(r"failed(\x1b\[\d*m)? c/bad: empty file \(0 bytes\)", shown)
    assert re.search(r"ETA (\x1b\[[\d;]*m)?\d+:\d\d", shown)
    assert "2 videos with flow, 1 failed, 298 flows in" in shown
    # The display goes when it is over: the cursor is shown again.
    assert shown.rindex("\x1b[?25h") > shown.rindex("ETA")
    (tmp_path / "videos" / "c" / "bad.avi").unlink()
    assert on_terminal("extract", tmp_path / "videos", tmp_path / "quiet.zarr", "--quiet") == ""


def test_no_color_is_honored(store):
    assert "\x1b[" in on_terminal("info", store)
    plain = on_terminal("info", store, NO_COLOR="1")
    assert not re.search(r"\x1b\[[\d;]*3\dm", plain)


def test_no_escape_codes_where_there_is_no_terminal(source, tmp_path):
    (source / "run" / "bad.avi").write_bytes(b"")
    for args in (
        ["extract", source, tmp_path / "flow.zarr"],
        ["info", tmp_path / "flow.zarr"],
        ["info", tmp_path / "flow.zarr" / "run"],
        ["export", tmp_path / "flow.zarr", tmp_path / "images"],
    ):
        done = run(*args, TERM="xterm-256color")
        assert "\x1b" not in done.out + done.err
        assert "\r" not in done.out + done.err


def test_plain_progress_lines_where_there_is_no_terminal(tmp_path):
    write_video(tmp_path / "videos" / "c" / "v.avi", 150)
    program = (
        "import sys, flowstore.progress as progress; progress._PLAIN_LINE_EVERY_S = 0.05; "
        "from flowstore.cli import main; main()"
    )
    arguments = command_line("extract", tmp_path / "videos", tmp_path / "flow.zarr", *SLOW)[3:]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env=process_environment(),
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("extract: ")]
    assert len(lines) > 2
    for line in lines:
        assert re.fullmatch(r"extract: [01]/1 video, \d+ flows?, \d+ flows/s, ETA (-:--|\d+:\d\d)", line)
    assert re.search(r" [1-9]\d* flows/s, ETA \d+:\d\d", lines[-1])


# ---- export and demo


@pytest.mark.parametrize("layout", ["notebook", "notebook-tidy", "denseflow", "mmaction2"])
def test_export_layouts(store, tmp_path, layout):
    done = call("export", store, tmp_path / "images", "--layout", layout)
    assert done.code == 0
    assert "24 files written" in done.out
    names = {
        "notebook": ["flow_x_0001.jpg", "flow_y_0003.jpg"],
        "notebook-tidy": ["flows/flow_x_0001.jpg", "flows/flow_y_0003.jpg"],
        "denseflow": ["flow_x_00000.jpg", "flow_y_00002.jpg"],
        "mmaction2": ["x_00001.jpg", "y_00003.jpg"],
    }[layout]
    for name in names:
        assert (tmp_path / "images" / "run" / "v0" / name).is_file()


def test_export_of_a_store_without_flow(tmp_path):
    (tmp_path / "videos" / "c").mkdir(parents=True)
    (tmp_path / "videos" / "c" / "bad.avi").write_bytes(b"")
    assert call("extract", tmp_path / "videos", tmp_path / "flow.zarr").code == 1
    done = call("export", tmp_path / "flow.zarr", tmp_path / "images")
    assert done.code == 0
    assert "1 failed video left out" in done.out


@pytest.mark.slow
def test_demo_runs_from_nothing_and_again(tmp_path):
    lines = screen_lines(on_terminal("demo", tmp_path / "demo", COLUMNS="60"))
    assert "mean error 0." in " ".join(" ".join(lines).split())
    assert max(map(cell_len, lines)) <= 60
    assert (tmp_path / "demo" / "flow.png").stat().st_size > 1000
    again = run("demo", tmp_path / "demo", "--json")
    assert again.code == 0, again.err
    values = json.loads(again.out)
    assert values["extract"]["extracted"] == 0
    assert max(values["errors_px"].values()) < 0.5
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    refused = call("demo", tmp_path / "mine")
    assert refused.code == 2
    assert os.listdir(tmp_path / "mine") == ["thesis.tex"]

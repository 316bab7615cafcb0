"""What `info` shows of a store, a class and a video, as text and as JSON."""

import io
import json
import shutil
from dataclasses import replace

import pytest
from rich.console import Console
from store_factory import CREATED, VERSIONS, make_codes, settings_of, write_store

import flowstore
from flowstore.cli.description import describe_place
from flowstore.errors import NameNotFoundError, StoreError, StoreFormatError, StoreNotFoundError
from flowstore.format.root import read_root, state_plan
from flowstore.names import escape_name
from flowstore.storage.places import open_storage
from flowstore.store.open import open_inside

NAME = "clip [HD] 100%"
VIDEOS = {f"wave/{NAME}": make_codes(5, 6, 8), "wave/b": make_codes(3, 6, 8), "run/a": make_codes(4, 12, 16)}
FAILED = {"run/bad": "no frame can be decoded", "jump/bad": "1 frame: no flow"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("info") / "s.zarr"
    write_store(root, VIDEOS, FAILED, settings_of("centred", 15.0, short_side=120, fps=12.5))
    return str(root)


def shown(place: str) -> str:
    file = io.StringIO()
    Console(file=file, width=200, color_system=None).print(describe_place(place).to_text())
    return file.getvalue()


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_store(root):
    values = json.loads(json.dumps(describe_place(root).to_json(), allow_nan=False))
    assert (values["store"], values["format"], values["created"], values["versions"]) == (root, 1, CREATED, VERSIONS)
    assert (values["videos"], values["failed"], values["flows"]) == (3, 2, 12)
    assert values["settings"]["bound_px"] == 15.0
    assert values["failures"] == [
        {"class": "jump", "video": "bad", "reason": "1 frame: no flow"},
        {"class": "run", "video": "bad", "reason": "no frame can be decoded"},
    ]
    # Seven clipped values a video by its record, of 2·H·W a flow.
    assert values["clipped_share"] == pytest.approx(3 * 7 / (2 * (5 * 48 + 3 * 48 + 4 * 192)))
    text = shown(root)
    for part in (root, "farneback", "centred", "±15 px", "short side 120 px", "12.5 fps"):
        assert part in text
    assert "run/bad: no frame can be decoded" in text
    lines = words(text)
    assert any(line[:4] == ["wave", "2", "-", "8"] for line in lines)
    assert any(line[:4] == ["run", "1", "1", "4"] for line in lines)
    assert any(line[:4] == ["jump", "0", "1", "0"] for line in lines)


@pytest.mark.parametrize("suffix", ["", "/"])
def test_a_class(root, suffix):
    values = json.loads(json.dumps(describe_place(f"{root}/run{suffix}").to_json(), allow_nan=False))
    assert (values["class"], values["videos"], values["failed"], values["flows"]) == ("run", 1, 1, 4)
    assert [row["video"] for row in values["rows"]] == ["a", "bad"]
    assert values["rows"][1]["fps"] is None
    text = shown(f"{root}/run{suffix}")
    assert any(line[:4] == ["a", "4", "16×12", "30"] for line in words(text))
    assert "bad: no frame can be decoded" in text


def test_a_video(root):
    values = json.loads(json.dumps(describe_place(f"{root}/wave/{NAME}").to_json(), allow_nan=False))
    assert (values["name"], values["class_name"], values["n_flows"], values["n_frames"]) == (NAME, "wave", 5, 6)
    text = shown(f"{root}/wave/{NAME}")
    assert f"wave/{NAME}" in text
    assert "5 flows of 8×6 from 6 frames, 30 fps, 0.20 s" in text
    assert "mean 1.500, p99 7.25, max 9.00 px per frame" in text
    assert "12.5000% of values (3 of x, 4 of y)" in text
    assert f"made {CREATED}" in " ".join(text.split())


def test_a_failed_video(root):
    assert "failed: 1 frame: no flow" in shown(f"{root}/jump/bad")
    assert describe_place(f"{root}/jump/bad").to_json()["status"] == "failed"


def test_an_escaped_name_is_found_as_the_folder_shows_it(tmp_path):
    write_store(tmp_path / "s.zarr", {"__w/index": make_codes(2, 6, 8)})
    assert escape_name("__w") == "%5F_w"
    for place in ("__w/index", "%5F_w/%69ndex", "__w/%69ndex"):
        assert describe_place(f"{tmp_path}/s.zarr/{place}").to_json()["name"] == "index"


def test_markup_in_names_is_only_text(tmp_path):
    write_store(tmp_path / "s.zarr", {"[red]wave/[b]x": make_codes(2, 6, 8)}, {"[bold]/[i]": "[/] is no tag"})
    for place in ("", "/[red]wave", "/[bold]"):
        text = shown(f"{tmp_path}/s.zarr{place}")
        assert place.strip("/") in text
    assert "[bold]/[i]: [/] is no tag" in shown(f"{tmp_path}/s.zarr")


def test_open_inside(root):
    for names in ([], ["wave"], ["wave", NAME]):
        store, found = open_inside("/".join([root, *names]))
        assert (store.url, found) == (root, names)


def test_what_is_not_there(root, tmp_path):
    with pytest.raises(NameNotFoundError, match=r"no class 'wav'.*did you mean 'wave'"):
        describe_place(f"{root}/wav")
    with pytest.raises(NameNotFoundError, match="no video 'c' in class 'wave'"):
        describe_place(f"{root}/wave/c")
    with pytest.raises(StoreNotFoundError, match="nowhere"):
        describe_place(str(tmp_path / "nowhere"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("x")
    with pytest.raises(StoreFormatError, match="not a flowstore store"):
        describe_place(str(tmp_path / "notes"))
    with pytest.raises(StoreError):
        describe_place("")


def test_an_empty_store(tmp_path):
    write_store(tmp_path / "s.zarr", {})
    assert describe_place(str(tmp_path / "s.zarr")).to_json()["videos"] == 0
    assert "0" in shown(str(tmp_path / "s.zarr"))


def test_of_many_sources_the_latest_are_named(root, tmp_path):
    place = shutil.copytree(root, tmp_path / "s.zarr")
    storage = open_storage(place, is_written=True)
    state_plan(storage, replace(read_root(storage), sources=tuple(f"/in/{number}.avi" for number in range(9))))
    lines = [line for line in shown(str(place)).splitlines() if line.startswith("of ")]
    assert lines == ["of 6 earlier sources", "of /in/6.avi", "of /in/7.avi", "of /in/8.avi"]
    html = flowstore.open_store(place)._repr_html_()
    assert ("6 earlier sources" in html, "/in/5.avi" in html, "/in/6.avi" in html) == (True, False, True)
    assert len(describe_place(str(place)).to_json()["sources"]) == 9

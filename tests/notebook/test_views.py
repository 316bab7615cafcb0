"""What notebooks show: the counts, the thumbnail's pixels, hostile names as text, and no heavy library."""

import base64
import html.parser
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import zarr
from datasets import process_environment
from store_factory import make_codes, picture_scale, write_store

import flowstore
from flowstore.colour import flow_to_color
from flowstore.notebook.views import MAX_ROWS, png_bytes

HOSTILE = '<script>alert("x")</script>&amp;'


class Reader(html.parser.HTMLParser):
    """The text and the tags of a page, as a browser would take them."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "

    @property
    def images(self):
        sources = [attrs["src"].partition("base64,")[2] for tag, attrs in self.tags if tag == "img"]
        return [cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), -1)[..., ::-1] for data in sources]


def shown(value):
    reader = Reader(value._repr_html_())
    assert reader.open == []
    return reader


@pytest.fixture
def store(tmp_path):
    videos = {"wave/a": make_codes(6, 12, 16), "wave/b": make_codes(3, 16, 12, seed=1), "run/c": make_codes(2, 8, 8)}
    failed = {"wave/broken": "ends early", "none/x": f"because {HOSTILE}"}
    write_store(tmp_path / "flow.zarr", videos, failed=failed)
    return flowstore.open_store(tmp_path / "flow.zarr")


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (31, 3), (160, 120)])
def test_a_png_that_others_read(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    read = cv2.imdecode(np.frombuffer(png_bytes(image), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read[..., ::-1], image)


def test_a_video(store):
    page = shown(store["wave/a"])
    for text in ("wave/a", "6 flows of 16×12", "30 fps", "p99 7.25", "12.500%", "farneback (opencv)", "wave/a.avi"):
        assert text in page.text
    scale = picture_scale(store["wave/a"][4])
    assert f"flow 4, full color {scale:g} px" in page.text
    thumbnail, wheel = page.images
    np.testing.assert_array_equal(thumbnail, flow_to_color(store["wave/a"][4], scale))
    assert wheel.shape[0] == wheel.shape[1]


def test_a_large_flow_is_thinned(tmp_path):
    codes = make_codes(1, 300, 500)
    write_store(tmp_path / "flow.zarr", {"c/v": codes})
    video = flowstore.open_store(tmp_path / "flow.zarr")["c/v"]
    thinned = video[0][:, ::4, ::4]
    np.testing.assert_array_equal(shown(video).images[0], flow_to_color(thinned, picture_scale(thinned)))


def test_a_failed_video_shows_its_reason(store):
    page = shown(store["wave/broken"])
    assert "ends early" in page.text
    assert page.images == []


def test_a_class(store):
    page = shown(store["wave"])
    assert "2 videos with flow, 1 failed" in page.text
    assert "a, b, broken" in page.text
    assert "ends early" in page.text
    assert len(page.images) == 3


def test_a_store(store):
    page = shown(store)
    for text in (
        "3 videos with flow, 2 failed in 3 classes",
        "flows 11",
        "±20 px",
        store.url,
        "0 videos with flow, 1 failed",
    ):
        assert re.sub(r"\s+", " ", text) in re.sub(r"\s+", " ", page.text)
    assert len(page.images) == 3
    chosen = shown(store.select("run"))
    assert "1 video in 1 class" in chosen.text
    empty = shown(store.select("run", min_flows=99))
    assert "0 videos in 0 classes" in empty.text
    assert empty.images == []


def test_a_store_of_many_classes_is_cut(tmp_path):
    write_store(tmp_path / "flow.zarr", {f"class{n:02}/v": make_codes(1, 4, 4) for n in range(20)})
    page = shown(flowstore.open_store(tmp_path / "flow.zarr"))
    assert "… and 8 more classes" in page.text
    assert "20 videos in 20 classes" in page.text
    assert len(page.images) == 6 + 1


@pytest.mark.parametrize(
    "name", [HOSTILE.replace("/", "⁄"), "a\nb\x00\x1b[31m", "\udcff\udcfe", "'\" onerror=alert(1)"]
)
def test_a_hostile_name_is_text(tmp_path, name):
    write_store(tmp_path / "flow.zarr", {f"{name}/{name}": make_codes(2, 4, 4)}, failed={f"{name}/bad": name})
    store = flowstore.open_store(tmp_path / "flow.zarr")
    for value in (store, store.videos, store[name], store[name][name], store[name]["bad"]):
        page = shown(value)
        value._repr_html_().encode()
        assert {tag for tag, _ in page.tags} <= {"div", "b", "table", "tr", "th", "td", "img", "br"}
        assert {key for _, attrs in page.tags for key in attrs} <= {"style", "src", "alt", "width", "height"}
        assert "\x00" not in page.text
        assert "\x1b" not in page.text


def test_a_damaged_video_says_so_in_place_of_a_picture(store):
    shard = next(Path(store.url).glob("wave/a/flow/c.0*"))
    shard.write_bytes(bytes(len(shard.read_bytes())))
    for value in (store["wave/a"], store["wave"], store):
        assert "cannot be read" in shown(value).text


def test_pixels_are_read_from_a_local_disk_only(tmp_path):
    memory = zarr.storage.MemoryStore()
    write_store(memory, {"c/v": make_codes(2, 8, 8)})
    store = flowstore.open_store(memory)
    for value in (store, store["c"], store["c/v"]):
        page = shown(value)
        assert page.images == []
        assert "2 flows" in page.text or "flows 2" in page.text


def test_nothing_heavy_is_loaded(store):
    program = (
        "import sys, flowstore; store = flowstore.open_store(sys.argv[1]);"
        "assert all('data:image' in v._repr_html_() for v in (store, store['wave'], store['wave/a']));"
        "print(sorted({'cv2', 'PIL', 'matplotlib', 'pandas', 'xarray', 'dask', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, store.url], capture_output=True, text=True, env=process_environment()
    )
    assert done.stdout == "[]\n", done.stderr


def test_the_index_shows_its_first_rows(tmp_path):
    videos = {f"c/v{number:02}": make_codes(2, 4, 6) for number in range(MAX_ROWS + 1)}
    write_store(tmp_path / "flow.zarr", videos, failed={"a/bad": "no frame"})
    page = shown(flowstore.open_store(tmp_path / "flow.zarr").videos)
    # A head, then the failed video of the first class.
    assert [tag for tag, _ in page.tags].count("tr") == 1 + MAX_ROWS
    for text in ("a bad failed: no frame", "c v00 2 6×4 30 1.50", "… and 2 more videos", f"{MAX_ROWS + 2} videos"):
        assert text in " ".join(page.text.split())

"""The lines that the README shows for a notebook and for counting motion run as they stand there."""

import re
from pathlib import Path

import matplotlib as mpl
import pytest
from store_factory import make_codes, write_store

import flowstore
from flowstore.transforms import Normalize

README = Path(__file__).resolve().parents[2] / "README.md"


def code_of(title):
    """Return the Python below a heading of the README."""
    (section,) = re.findall(rf"(?ms)^### {title}\n(.*?)(?=^##)", README.read_text(encoding="utf-8"))
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```", section)
    assert blocks
    return "\n".join(blocks)


@pytest.mark.parametrize("title", ["Look at it in a notebook", "Count its motion"])
def test_the_lines_run(tmp_path, monkeypatch, title):
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    write_store("hmdb51.zarr", {"wave/some_video": make_codes(12), "run/a": make_codes(3)})
    store = flowstore.open_store("hmdb51.zarr")
    names = {"store": store, "video": store["wave/some_video"], "Normalize": Normalize}
    exec(compile(code_of(title), str(README), "exec"), names)
    if "tree" in names:
        assert (len(names["videos"]), len(names["flows"])) == (2, 15)
        assert list(names["tree"].children) == ["some_video"]
    else:
        assert len(names["channels"].std_px) == 2

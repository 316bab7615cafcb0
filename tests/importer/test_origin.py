"""What is known of flow files before they are looked for: what is said, what a manifest says, what layouts say."""

import json

import pytest

from flowstore.errors import ArgumentError
from flowstore.format.settings import ExtractSettings
from flowstore.importer.origin import ImportOptions, find_origin
from flowstore.layouts import LAYOUTS
from flowstore.quantize import FileQuantizer, Quantizer

SETTINGS = ExtractSettings("dis", "opencv", {"preset": "medium"}, Quantizer("denseflow", 32), 2).to_json()


def origin_of(folder, layout=None, manifest=None, **options):
    if manifest is not None:
        (folder / "flowstore-export.json").write_text(json.dumps(manifest))
    return find_origin(str(folder), layout, ImportOptions(**options))


def test_without_a_manifest_all_is_as_asked(tmp_path):
    origin = origin_of(tmp_path, "tsn", bound=15, step=3, first=0, pad_last=True)
    assert (origin.layout.first, origin.layout.is_padded, origin.step) == (0, True, 3)
    assert origin.read == FileQuantizer("denseflow", 15)
    assert origin.stored == Quantizer("denseflow", 15)
    assert origin.computed_by == "unknown"


@pytest.mark.parametrize(
    ("layout", "options", "read", "stored"),
    [
        ("i3d-npy", {}, FileQuantizer("i3d-float", 20), Quantizer("centred", 20)),
        ("i3d-npy", {"bound": 10}, FileQuantizer("i3d-float", 10), Quantizer("centred", 10)),
        ("npy", {"bound": 32}, FileQuantizer("pixels", None), Quantizer("centred", 32)),
        ("npy", {"store_encoding": "float16"}, FileQuantizer("pixels", None), Quantizer("float16", None)),
        ("tsn", {"encoding": "i3d-128"}, FileQuantizer("i3d-128", 20), Quantizer("centred", 20)),
        ("tsn", {"encoding": "mmcv", "bound": 8}, FileQuantizer("mmcv", None), Quantizer("centred", 8)),
        ("tsn", {"bound": 20, "store_encoding": "truncate"}, FileQuantizer("denseflow", 20), Quantizer("truncate", 20)),
    ],
)
def test_quantizers_follow_from_layout_and_options(tmp_path, layout, options, read, stored):
    origin = origin_of(tmp_path, layout, **options)
    assert (origin.read, origin.stored) == (read, stored)


def test_the_manifest_of_an_older_export_has_no_templates(tmp_path):
    manifest = {"layout": "denseflow", "encoding": "truncate", "bound_px": 20.0, "quality": 95, "first": 0, "step": 2}
    origin = origin_of(tmp_path, manifest=manifest | {"source_settings": SETTINGS})
    assert origin.layout.x_template == LAYOUTS["denseflow"].x_template
    assert (origin.read, origin.step) == (FileQuantizer("truncate", 20), 2)
    assert origin.computed_by == "dis (opencv)"


def test_pixels_go_back_into_the_codes_that_they_came_from(tmp_path):
    layout = LAYOUTS["flo"]
    manifest = {"layout": "flo", "x_template": layout.x_template, "y_template": None, "format": "flo",
                "packing": "pair", "first": 1, "padded": False, "encoding": "pixels", "bound_px": None, "step": 2,
                "source_settings": SETTINGS}  # fmt: skip
    assert origin_of(tmp_path, manifest=manifest).stored == Quantizer("denseflow", 32)
    assert origin_of(tmp_path, bound=20).stored == Quantizer("centred", 20)


def test_a_missing_bound_is_asked_for(tmp_path):
    with pytest.raises(ArgumentError, match="give it with --bound PX"):
        origin_of(tmp_path, "tsn")
    with pytest.raises(ArgumentError, match="--store-encoding float16"):
        origin_of(tmp_path, "tsn", encoding="mmcv")

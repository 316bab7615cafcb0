"""Names: the escape is reversible, injective and always a component that every place can take."""

import os
import re
import unicodedata
from urllib.parse import unquote

import pytest
import zarr
from hypothesis import example, given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError
from flowstore.names import (
    escape_name,
    fold_name,
    is_shortened,
    is_unicode,
    printable_name,
    suggest_name,
    unescape_name,
    video_path,
)

NASTY = ["%", "%2", "%25", "%2F", "%~", "%%", "_", "__", "/", "\\", ".", "index", "zarr.json", "\n", "\x7f", "\x85"]
unicode_names = st.lists(st.sampled_from(NASTY) | st.text(max_size=4), min_size=1, max_size=8).map("".join).filter(bool)
# Every name a POSIX file system can give, as os.listdir gives it: bytes that are not UTF-8 come as surrogate escapes.
disk_names = st.binary(min_size=1, max_size=70).map(os.fsdecode)
names = (unicode_names | disk_names).filter(lambda name: not any("\ud800" <= c <= "\udc7f" for c in name))

LEFT_ALONE = [
    "Die_Another_Day_-_Fencing_Scene_Part_1_[HD]_avi_fencing_f_cm_np2_le_goo_0",
    "Ab_Workout__(_6_pack_abs_)_[_ab_exercises_]_situp",
    "two words",
    " spaces around ",
    "wow!",
    "a & b; c",
    "#1",
    "it's",
    'say "hi"',
    "$HOME",
    "(1)",
    "-rf",
    "100%",
    "50% off",
    "a%zz",
    "...x",
    "x.",
    ".hidden",
    "_x",
    "x__",
    "a.b.c",
    "indexes",
    "index.",
    "zarr.jso",
    "caf\u00e9",
    "cafe\u0301",
    "動画",
    "🎬",
    "~",
    "*?<>|:",
]
ESCAPED = {
    "a/b": "a%2Fb",
    "a\\b": "a%5Cb",
    ".": "%2E",
    "..": "%2E.",
    # The Zarr v3 specification, "Node names": not a string of periods only.
    "...": "%2E..",
    "__x": "%5F_x",
    "__": "%5F_",
    "index": "%69ndex",
    "Index": "%49ndex",
    "INDEX": "%49NDEX",
    "zarr.json": "%7Aarr.json",
    "Zarr.JSON": "%5Aarr.JSON",
    "a\nb": "a%0Ab",
    "a\x00b": "a%00b",
    "a\x7fb": "a%7Fb",
    "a\x85b": "a%C2%85b",
    "50%25": "50%2525",
    "%~": "%25~",
    "\udcff": "%FF",
    "caf\udce9.avi": "caf%E9.avi",
    "%2F": "%252F",
}


def check_component(component):
    data = component.encode()  # strict: no surrogate passes
    assert 1 <= len(data) <= 255
    assert component.strip(".")
    assert not any(unicodedata.category(character) == "Cc" for character in component)
    assert not set("/\\") & set(component)
    assert not component.startswith("__")
    assert component.casefold() not in {"index", "zarr.json"}


@given(names)
@example("%\udcff")
@example("%\n2F")
@example("\udcc3")
@example("%4\x01")
def test_escape_is_reversible_and_valid(name):
    component = escape_name(name)
    check_component(component)
    assert not is_shortened(component)
    assert unescape_name(component) == name


@given(names)
def test_escape_is_plain_percent_encoding(name):
    # The library of RFC 3986 takes it back without knowing anything of this module.
    assert unquote(escape_name(name), errors="surrogateescape") == name


@given(st.lists(names, min_size=2, max_size=6, unique=True))
def test_different_names_have_different_components(several):
    assert len({escape_name(name) for name in several}) == len(several)


@given(names)
def test_an_escaped_name_is_itself_a_name(name):
    twice = escape_name(escape_name(name))
    assert unescape_name(unescape_name(twice)) == name


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_harmless_names_are_left_alone(name):
    assert escape_name(name) == name
    assert unescape_name(name) == name


@pytest.mark.parametrize(("name", "component"), ESCAPED.items(), ids=[ascii(name) for name in ESCAPED])
def test_known_escapes(name, component):
    assert escape_name(name) == component
    assert unescape_name(component) == name


@pytest.mark.parametrize("name", [*LEFT_ALONE, *ESCAPED], ids=ascii)
def test_zarr_takes_every_component(tmp_path, name):
    component = escape_name(name)
    root = zarr.create_group(tmp_path / "root.zarr")
    root.create_group(f"{component}/{component}")
    assert os.listdir(tmp_path / "root.zarr" / component) != []
    assert [key for key, _ in zarr.open_group(tmp_path / "root.zarr", mode="r").groups()] == [component]


def test_both_normal_forms_keep_apart_and_fold_together():
    composed, decomposed = (unicodedata.normalize(form, "Ünïcödé_가") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert escape_name(composed) == composed
    assert escape_name(decomposed) == decomposed
    assert fold_name(composed) == fold_name(decomposed)


@pytest.mark.parametrize(
    ("left", "right", "is_same"),
    [("Wave", "wAVE", True), ("straße", "STRASSE", True), ("Å", "a\u030a", True), ("wave", "waves", False)],
)
def test_fold_name(left, right, is_same):
    assert (fold_name(left) == fold_name(right)) is is_same


@given(names)
def test_folding_twice_changes_nothing(name):
    assert fold_name(fold_name(name)) == fold_name(name)


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "%" * 255, "[" * 255])
def test_255_bytes_are_kept(name):
    assert escape_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["x" * 256, "é" * 128, "動" * 200, "/" * 100, "index" + "x" * 300, "__" + "y" * 300, "x" * 220 + "%41" * 40]
    # The cut falls at each place within a character and within an escape.
    + ["x" * start + "動" * 90 for start in range(3)]
    + ["x" * start + "\n" * 90 for start in range(3)],
    ids=lambda name: f"{name[:3]!a}{len(name)}",
)
def test_long_names_are_shortened(name):
    component = escape_name(name)
    check_component(component)
    assert is_shortened(component)
    head, digest = component[:-34], component[-34:]
    assert re.fullmatch(r"%~[0-9a-f]{32}", digest)
    assert name.startswith(unescape_name(head))
    assert len(unescape_name(head)) > 60
    assert escape_name(name) == component


def test_long_names_that_differ_at_the_end_differ():
    assert len({escape_name("x" * 300 + str(number)) for number in range(50)}) == 50


@given(names)
def test_no_short_name_passes_for_a_shortened_one(name):
    forged = name[:5] + "%~" + "0123456789abcdef" * 2
    assert not is_shortened(escape_name(forged))
    assert unescape_name(escape_name(forged)) == forged


def test_names_that_cannot_be_kept_are_refused():
    with pytest.raises(ArgumentError, match="empty name"):
        escape_name("")
    with pytest.raises(ArgumentError, match="not valid UTF-8: rename it"):
        escape_name("\udcff" * 100)


def test_video_path():
    assert video_path("a/b", "index") == "a%2Fb/%69ndex"


@pytest.mark.parametrize(("name", "expected"), [("é動", True), ("a\udcff", False), ("\ud800", False), ("", True)])
def test_is_unicode(name, expected):
    assert is_unicode(name) is expected


@given(names)
def test_printable_names_fit_on_one_line_of_any_terminal(name):
    shown = printable_name(name)
    shown.encode()
    assert shown.isprintable()
    assert printable_name(shown) == shown


def test_printable_name_and_suggestions():
    assert printable_name("a\nb\udcffé [x]") == r"a\nb\udcffé [x]"
    assert suggest_name("brush_hare", ["brush_hair", "wave"]) == "; did you mean 'brush_hair'?"
    assert suggest_name("entirely else", ["brush_hair", "wave"]) == ""

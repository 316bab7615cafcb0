"""Names of classes and videos as path components: reversible, valid everywhere, and untouched where they can be."""

import os
import re
import unicodedata

import pytest
from hypothesis import assume, example, given
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

PIECES = [
    *("%", "%41", "%2f", "%zz", "~", "%~", "%25", "_", "__", ".", "..", "index", "INDEX", "zarr.json", "Zarr.JSON"),
    *(".partial", "partial", "/", "\\", "\0", "\n", "\x1f", "\x7f", " ", "a", "4", "F", "é", "e\u0301", "视频", "😀"),
    *("\udcff", "\udcc3", "\u2028", "\u200b", "ſ", "0" * 32),
]
# What a file system can give: any bytes but none, decoded with surrogate escapes; a long name only as valid Unicode.
names = st.one_of(
    st.binary(min_size=1, max_size=80).map(os.fsdecode),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=7)
    .map("".join)
    .map(lambda name: os.fsdecode(os.fsencode(name))),
)
long_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=64, max_size=400).filter(
    lambda name: len(name.encode()) > 255
)

UNTOUCHED = [
    *("Fencing_[HD]_100%", "[HD]", "a b", " a", "a ", "!", "&", ";", "#", "'", '"', "$", "(", ")", "-rf", "--help"),
    *("100%", "%", "%%", "% 4", "%g1", "a.partial.avi", ".hidden", "...", "_x", "a__b", "index.avi", "zarr.json.bak"),
    *("indexes", "myindex", "~", "a~b", "*", "?", "<>|:", "a\u00a0b", "é", "e\u0301", "视频", "😀", "ﬁ", "CON", "nul"),
    *("a" * 255, "é" * 127, "v_ApplyEyeMakeup_g01_c01.avi", "{0}", "%(name)s", "\u200b"),
]


def check_component(component):
    """What every file system, object store and Zarr takes as one component of a path."""
    data = component.encode()
    assert 1 <= len(data) <= 255
    assert "/" not in component
    assert "\\" not in component
    assert component not in {".", ".."}
    assert all(character >= " " and character != "\x7f" for character in component)
    assert not component.startswith("__")
    assert component.lower() not in {"index", "zarr.json"}
    assert not component.endswith(".partial")


@given(names)
@example("%~" + "0" * 32)
@example("%\n")
@example("%5\x01")
@example("%.partial")
@example("__.partial")
@example(".partial")
@example("zarr.jſon")
@example("\udce9\udcff")
def test_escape_is_reversed_and_valid(name):
    component = escape_name(name)
    check_component(component)
    assert not is_shortened(component)
    assert unescape_name(component) == name


@given(long_names)
@example("é" * 128)
@example("a" * 256)
@example("\n" * 86)
@example("/" * 300)
@example("a" * 220 + "%41" * 40)
@example("__" + "x" * 300)
@example("." * 300)
@example("x" * 300 + ".partial")
def test_long_names_are_valid_and_marked(name):
    component = escape_name(name)
    check_component(component)
    assert is_shortened(component)
    # As much of the name as fits stands before the digest.
    assert name.startswith(unescape_name(component[:-34]))
    assert len(component.encode()) >= 255 - 5


@given(names, names)
@example("a/b", "a%2Fb")
@example("%2F", "/")
@example("__x", "%5F_x")
@example(".", "%2E")
@example("é", "e\u0301")
@example("index", "Index")
@example("\udcc3", "Ã")
def test_different_names_get_different_components(one, other):
    assume(one != other)
    assert escape_name(one) != escape_name(other)


@given(long_names, st.text("ab/", min_size=1, max_size=3))
def test_different_long_names_get_different_components(name, end):
    assert escape_name(name) != escape_name(name + end)


@pytest.mark.parametrize("name", [*(character * 256 for character in "a%/"), "é" * 128, "a" * 300])
def test_a_short_name_cannot_pose_as_a_shortened_one(name):
    component = escape_name(name)
    assert is_shortened(component)
    assert escape_name(component) != component
    assert not is_shortened(escape_name(component[-40:]))


@pytest.mark.parametrize("name", UNTOUCHED)
def test_names_that_need_no_escape_are_left_alone(name):
    assert escape_name(name) == name
    assert unescape_name(name) == name


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("a/b", "a%2Fb"),
        ("a\\b", "a%5Cb"),
        ("..", "%2E."),
        (".", "%2E"),
        ("__init__", "%5F_init__"),
        ("index", "%69ndex"),
        ("INDEX", "%49NDEX"),
        ("zarr.json", "%7Aarr.json"),
        ("Zarr.Json", "%5Aarr.Json"),
        ("a\nb", "a%0Ab"),
        ("a\0b", "a%00b"),
        ("a\x7f", "a%7F"),
        ("50%25", "50%2525"),
        ("%41", "%2541"),
        ("%~", "%25~"),
        ("\udcff", "%FF"),
        ("x.partial", "x%2Epartial"),
    ],
)
def test_escapes_are_those_of_rfc_3986(name, component):
    assert escape_name(name) == component
    assert unescape_name(component) == name


@pytest.mark.parametrize("n_bytes", [254, 255, 256, 257])
@pytest.mark.parametrize("letter", ["a", "é", "视", "😀"])
def test_names_are_shortened_beyond_255_bytes_only(letter, n_bytes):
    name = (letter * n_bytes).encode()[:n_bytes].decode(errors="ignore")
    name += "a" * (n_bytes - len(name.encode()))
    assert is_shortened(escape_name(name)) is (n_bytes > 255)
    check_component(escape_name(name))


def test_composed_and_decomposed_names_stay_as_given():
    composed, decomposed = unicodedata.normalize("NFC", "Café"), unicodedata.normalize("NFD", "Café")
    assert escape_name(composed) == composed
    assert escape_name(decomposed) == decomposed
    assert escape_name(composed) != escape_name(decomposed)


def test_an_empty_name_is_refused():
    with pytest.raises(ArgumentError, match="empty name"):
        escape_name("")


@pytest.mark.parametrize("name", ["\udcff" * 86, "a" * 255 + "\udcff"])
def test_a_long_name_that_is_no_unicode_is_refused(name):
    with pytest.raises(ArgumentError, match="longer than 255 bytes"):
        escape_name(name)


def test_video_path_is_two_components():
    assert video_path("a/b", "..") == "a%2Fb/%2E."


@given(names, names)
def test_video_path_holds_one_separator(label, name):
    one, other = video_path(label, name).split("/")
    assert (unescape_name(one), unescape_name(other)) == (label, name)


@pytest.mark.parametrize(("name", "expected"), [("a", True), ("é", True), ("a\udcff", False), ("\ud800", False)])
def test_is_unicode(name, expected):
    assert is_unicode(name) is expected


@given(st.text())
def test_is_unicode_tells_what_utf_8_can_hold(name):
    try:
        name.encode()
    except UnicodeEncodeError:
        assert not is_unicode(name)
    else:
        assert is_unicode(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Wave", "wAVE"), ("Caf\u00e9", "CAFE\u0301"), ("straße", "STRASSE"), ("Σας", "ΣΑΣ"), ("\u212b", "å")],
)
def test_fold_name_joins_what_a_case_blind_file_system_joins(one, other):
    assert fold_name(one) == fold_name(other)


@pytest.mark.parametrize(("one", "other"), [("wave", "waves"), ("é", "e"), ("a b", "ab"), ("ﬀ2", "2ff")])
def test_fold_name_keeps_the_rest_apart(one, other):
    assert fold_name(one) != fold_name(other)


@given(st.text())
def test_fold_name_does_not_see_normalization(name):
    assert fold_name(unicodedata.normalize("NFC", name)) == fold_name(unicodedata.normalize("NFD", name))


@given(names)
@example("a\r\nb\x1b[31m")
@example("\u2028\u0085\u202e")
def test_printable_name_is_one_harmless_line_of_utf_8(name):
    shown = printable_name(name)
    shown.encode()
    assert shown.isprintable()
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize("name", ["wave", "Fencing_[HD]_100%", "视频 é 😀", "a'b\"c"])
def test_printable_name_leaves_printable_names_alone(name):
    assert printable_name(name) == name


@pytest.mark.parametrize(
    ("name", "shown"), [("a\nb", r"a\nb"), ("a\tb", r"a\tb"), ("\x1b[0m", r"\x1b[0m"), ("\udcff", r"\udcff")]
)
def test_printable_name_shows_escapes(name, shown):
    assert printable_name(name) == shown


def test_suggest_name_offers_the_nearest():
    assert suggest_name("winsze", ["levels", "winsize", "poly_n"]) == "; did you mean 'winsize'?"
    assert suggest_name("xyz", ["levels", "winsize"]) == ""
    assert suggest_name("wave", []) == ""


def test_suggest_name_shows_a_printable_name():
    assert re.fullmatch(r"; did you mean '[ -~]+'\?", suggest_name("wave", ["wave\n"]))

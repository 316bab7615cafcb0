"""The settings of an extraction: what they refuse, through JSON and back, and how two differ."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError
from flowstore.quantize import UINT8_ENCODINGS, Quantizer
from flowstore.settings import ExtractSettings, describe_settings

PARAMS = {"pyr_scale": 0.5, "levels": 3, "winsize": 15, "flags": 0}
quantizers = st.one_of(
    st.builds(Quantizer, st.sampled_from(UINT8_ENCODINGS), st.floats(0.01, 1000)),
    st.just(Quantizer("float16", None)),
)
settings_without_size = st.builds(
    ExtractSettings,
    algorithm=st.sampled_from(["farneback", "dis", "tvl1"]),
    engine=st.sampled_from(["numba", "opencv"]),
    params=st.dictionaries(
        st.text("abc_", min_size=1, max_size=4), st.one_of(st.integers(), st.floats(-9, 9), st.booleans(), st.text())
    ),
    quantizer=quantizers,
    step=st.integers(1, 100),
    fps=st.none() | st.floats(0.1, 240),
    compression=st.sampled_from(["fast", "balanced", "small", "none"]),
)
any_settings = st.builds(
    lambda settings, sizes: dataclasses.replace(settings, **sizes),
    settings_without_size,
    st.one_of(
        st.just({}),
        st.fixed_dictionaries({"short_side": st.integers(1, 65535)}),
        st.fixed_dictionaries({"size": st.tuples(st.integers(1, 65535), st.integers(1, 65535))}),
    ),
)


@given(any_settings)
def test_json_gives_the_same_settings_back(settings):
    again = ExtractSettings.from_json(json.loads(json.dumps(settings.to_json())))
    assert again == settings
    assert again.size is None or isinstance(again.size, tuple)
    assert again.differences(settings) == []


def test_json_by_hand():
    settings = ExtractSettings(params=PARAMS, size=(24, 32), fps=10.0, step=2)
    assert settings.to_json() == {
        "algorithm": "farneback",
        "engine": "opencv",
        "params": PARAMS,
        "encoding": "centred",
        "bound_px": 20.0,
        "step": 2,
        "short_side": None,
        "size": [24, 32],
        "fps": 10.0,
        "compression": "fast",
    }


@pytest.mark.parametrize("name", ExtractSettings().to_json())
def test_json_without_a_field_of_no_default_is_refused_or_default(name):
    values = ExtractSettings().to_json()
    del values[name]
    if name in {"encoding", "bound_px", "size"}:
        with pytest.raises(ArgumentError, match=f"not the settings of an extraction: '{name}'"):
            ExtractSettings.from_json(values)
    else:
        assert ExtractSettings.from_json(values) == ExtractSettings()


def test_json_with_an_unknown_field_is_refused():
    with pytest.raises(ArgumentError, match=r"not the settings of an extraction: .*color"):
        ExtractSettings.from_json(ExtractSettings().to_json() | {"color": "red"})


def test_json_with_a_value_that_cannot_be_used_is_refused():
    with pytest.raises(ArgumentError, match="step is 0"):
        ExtractSettings.from_json(ExtractSettings().to_json() | {"step": 0})
    with pytest.raises(ArgumentError, match="not the settings of an extraction"):
        ExtractSettings.from_json(ExtractSettings().to_json() | {"size": 5})
    with pytest.raises(ArgumentError, match="not the settings of an extraction"):
        ExtractSettings.from_json(ExtractSettings().to_json() | {"step": "two"})


def test_json_is_left_as_it_was():
    values = ExtractSettings(size=(3, 4)).to_json()
    before = json.dumps(values)
    ExtractSettings.from_json(values)
    assert json.dumps(values) == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": 0}, "step is 0, expected 1 or more frames"),
        ({"step": -1}, "step is -1"),
        ({"short_side": 0}, "short side is 0 px, expected 1 to 65535"),
        ({"short_side": -5}, "short side is -5 px"),
        ({"short_side": 65536}, "short side is 65536 px"),
        ({"size": (0, 10)}, "size is 0 px"),
        ({"size": (10, 0)}, "size is 0 px"),
        ({"size": (10, 65536)}, "size is 65536 px"),
        ({"size": (10, 10), "short_side": 10}, "both given: choose one"),
        ({"fps": 0}, "fps is 0, expected a finite number above 0"),
        ({"fps": -1.0}, "fps is -1.0"),
        ({"fps": math.nan}, "fps is nan"),
        ({"fps": math.inf}, "fps is inf"),
        ({"compression": "zip"}, "compression is 'zip', expected one of fast, balanced, small, none"),
        ({"compression": None}, "compression is None"),
    ],
)
def test_values_that_cannot_be_used_are_refused(values, message):
    with pytest.raises(ArgumentError, match=message):
        ExtractSettings(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"step": 1},
        {"step": 1000},
        {"short_side": 1},
        {"short_side": 65535},
        {"size": (1, 65535)},
        {"size": (65535, 1)},
        {"fps": 1e-3},
        {"fps": 1000},
        *({"compression": name} for name in ("fast", "balanced", "small", "none")),
    ],
)
def test_both_ends_are_taken(values):
    settings = ExtractSettings(**values)
    assert {name: getattr(settings, name) for name in values} == values


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ExtractSettings().step = 2


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"algorithm": "dis"}, "algorithm: farneback against dis"),
        ({"engine": "numba"}, "engine: opencv against numba"),
        ({"quantizer": Quantizer("truncate")}, "encoding: centred against truncate"),
        ({"quantizer": Quantizer("centred", 32)}, "bound_px: 20.0 against 32.0"),
        ({"step": 2}, "step: 1 against 2"),
        ({"short_side": 120}, "short_side: None against 120"),
        ({"size": (24, 32)}, "size: None against [24, 32]"),
        ({"fps": 10.0}, "fps: None against 10.0"),
        ({"compression": "small"}, "compression: fast against small"),
        ({"params": PARAMS | {"winsize": 21}}, "param winsize: 15 against 21"),
        ({"params": PARAMS | {"new": 1}}, "param new: None against 1"),
        ({"params": {key: value for key, value in PARAMS.items() if key != "levels"}}, "param levels: 3 against None"),
    ],
)
def test_one_difference_is_one_line(change, line):
    settings = ExtractSettings(params=PARAMS)
    assert settings.differences(dataclasses.replace(settings, **change)) == [line]


@given(any_settings, any_settings)
def test_equal_settings_are_those_without_differences(one, other):
    assert (one == other) is (one.differences(other) == [])
    assert len(one.differences(other)) == len(other.differences(one))


def test_several_differences_are_all_told():
    one = ExtractSettings(params=PARAMS)
    other = ExtractSettings(params=PARAMS | {"winsize": 9}, quantizer=Quantizer("float16", None), step=3)
    assert sorted(one.differences(other)) == [
        "bound_px: 20.0 against None",
        "encoding: centred against float16",
        "param winsize: 15 against 9",
        "step: 1 against 3",
    ]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (ExtractSettings(), "farneback (opencv), uint8 centred ±20 px"),
        (
            ExtractSettings(engine="numba", quantizer=Quantizer("truncate", 7.5)),
            "farneback (numba), uint8 truncate ±7.5 px",
        ),
        (ExtractSettings("dis", quantizer=Quantizer("float16", None)), "dis (opencv), float16 float16"),
    ],
)
def test_describe_settings(settings, text):
    assert describe_settings(settings) == text

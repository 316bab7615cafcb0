"""The settings of a store: values that survive JSON, name their differences and refuse what cannot be used."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError
from flowstore.format.settings import ExtractSettings, describe_settings
from flowstore.quantize import UINT8_ENCODINGS, Quantizer

quantizers = st.builds(
    Quantizer, st.sampled_from(UINT8_ENCODINGS), st.integers(1, 10**6).map(lambda number: number / 1000)
) | st.just(Quantizer("float16", None))
sides = st.integers(1, 65535)
sizes = st.builds(dict, short_side=st.none() | sides) | st.builds(dict, size=st.tuples(sides, sides))
values = st.integers() | st.floats(allow_nan=False) | st.booleans() | st.text()
parameters = st.dictionaries(st.text(max_size=8), values)
everything = st.builds(
    lambda size, **rest: ExtractSettings(**size, **rest),
    sizes,
    algorithm=st.sampled_from(["farneback", "dis"]),
    engine=st.sampled_from(["numba", "opencv"]),
    params=parameters,
    quantizer=quantizers,
    step=st.integers(1, 1000),
    fps=st.none() | st.floats(0.01, 1000),
    compression=st.sampled_from(["fast", "balanced", "small", "none"]),
)


@given(everything)
def test_settings_survive_json(settings):
    text = json.dumps(settings.to_json())
    assert ExtractSettings.from_json(json.loads(text)) == settings
    assert settings.differences(ExtractSettings.from_json(json.loads(text))) == []


def test_the_json_of_the_defaults():
    assert ExtractSettings(params={"winsize": 15}).to_json() == {
        "algorithm": "farneback",
        "engine": "opencv",
        "params": {"winsize": 15},
        "encoding": "centred",
        "bound_px": 20.0,
        "step": 1,
        "short_side": None,
        "size": None,
        "fps": None,
        "compression": "fast",
    }


def test_each_difference_is_named_with_both_values():
    ours = ExtractSettings(params={"winsize": 15, "levels": 3}, quantizer=Quantizer("centred", 20), size=(240, 320))
    theirs = ExtractSettings(params={"winsize": 21, "levels": 3}, quantizer=Quantizer("denseflow", 32), step=2)
    assert sorted(ours.differences(theirs)) == [
        "bound_px: 20.0 against 32.0",
        "encoding: centred against denseflow",
        "param winsize: 15 against 21",
        "size: 320x240 against none",
        "step: 1 against 2",
    ]


def test_a_parameter_that_only_one_side_has_is_a_difference_within_an_algorithm_and_none_of_two():
    ours, theirs = ExtractSettings(params={"preset": "fast"}), ExtractSettings()
    assert ours.differences(theirs) == ["param preset: fast against none"]
    assert theirs.differences(ours) == ["param preset: none against fast"]
    other = ExtractSettings("dis", params={"finest_scale": 1}, quantizer=Quantizer("centred", 10.0))
    assert ours.differences(other) == ["algorithm: farneback against dis", "bound_px: 20.0 against 10.0"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": 0}, "step in frames is 0, expected"),
        ({"step": -3}, "step in frames is -3"),
        ({"short_side": 0}, "short side in pixels is 0, expected a whole number, 1 to 65535"),
        ({"short_side": 65536}, "short side in pixels is 65536"),
        ({"size": (0, 0)}, "size in pixels is 0, expected"),
        ({"size": (240, -1)}, "size in pixels is -1"),
        ({"size": (1, 1), "short_side": 1}, "short side and size are both given: choose one"),
        ({"fps": 0}, "fps is 0, expected a finite number above 0"),
        ({"fps": math.nan}, "fps is nan"),
        ({"fps": math.inf}, "fps is inf"),
        ({"compression": "zip"}, "compression is 'zip', expected one of fast, balanced, small, none"),
    ],
)
def test_values_that_cannot_be_used_are_refused(values, message):
    with pytest.raises(ArgumentError, match=message):
        ExtractSettings(**values)


GOOD = ExtractSettings().to_json()


@pytest.mark.parametrize(
    "values",
    [
        {name: value for name, value in GOOD.items() if name != "encoding"},
        {name: value for name, value in GOOD.items() if name != "bound_px"},
        {name: value for name, value in GOOD.items() if name != "size"},
        GOOD | {"colour": "red"},
        GOOD | {"step": "1"},
        GOOD | {"size": 5},
        GOOD | {"size": [5]},
        GOOD | {"size": [5, 6, 7]},
        GOOD | {"size": [5.5, 6]},
        GOOD | {"bound_px": "20"},
        GOOD | {"encoding": ["centred"]},
        GOOD | {"params": None},
        GOOD | {"params": ["winsize"]},
        GOOD | {"step": 1.5},
        {},
    ],
    ids=lambda values: ", ".join(f"{k}={v}" for k, v in values.items() if GOOD.get(k) != v) or f"{len(values)} fields",
)
def test_what_is_not_settings_is_refused(values):
    with pytest.raises(ArgumentError):
        ExtractSettings.from_json(values)


def test_settings_are_described_in_a_few_words():
    assert describe_settings(ExtractSettings()) == "farneback (opencv), uint8 centred ±20 px"
    resized = ExtractSettings(short_side=120, fps=5)
    assert describe_settings(resized) == "farneback (opencv), uint8 centred ±20 px, short side 120 px, 5 fps"
    assert describe_settings(ExtractSettings(size=(24, 32))).endswith(", size 32×24")
    tenth = ExtractSettings(algorithm="dis", engine="opencv", quantizer=Quantizer("denseflow", 0.1))
    assert describe_settings(tenth) == "dis (opencv), uint8 denseflow ±0.1 px"

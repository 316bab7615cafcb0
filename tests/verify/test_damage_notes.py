"""The line that says where flow ends before the damage of its video."""

from types import SimpleNamespace

from flowstore.verify.run import damage_notes


def record(key, damage=""):
    return SimpleNamespace(key=key, damage=damage)


def test_one_video_is_one():
    good, cut, torn = record("c/good"), record("c/cut", "cut off after 4 s"), record("c/torn", "a bad packet")
    assert damage_notes([good]) == []
    assert damage_notes([good, cut]) == ["1 video is damaged, its flow ends before the damage: c/cut cut off after 4 s"]
    assert damage_notes([torn, cut]) == [
        "2 videos are damaged, their flow ends before the damage: c/cut cut off after 4 s; c/torn a bad packet"
    ]

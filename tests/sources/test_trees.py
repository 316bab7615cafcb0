# ruff: noqa: E501 - a tree and what is said of it are read as one line each
"""Trees of public datasets as people have them: which classes and videos are found, and what is said of the rest."""

import itertools
import os
import re

import cv2
import numpy as np
import pytest

from flowstore.errors import SourceError
from flowstore.layouts.flow_names import flow_finder
from flowstore.layouts.templates import source_pattern
from flowstore.sources.discovery import discover


def expand(text):
    """Return what braces stand for: ``{a,b}`` and ``{1..3}``, the numbers padded as the first is."""
    found = re.search(r"\{([^{}]*)\}", text)
    if found is None:
        return [text]
    first, dots, last = found[1].partition("..")
    if dots:
        choices = [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    else:
        choices = found[1].split(",")
    return list(
        itertools.chain.from_iterable(
            expand(text[: found.start()] + choice + text[found.end() :]) for choice in choices
        )
    )


GRAY, COLOR = (
    cv2.imencode(".jpg", image)[1].tobytes()
    for image in (np.full((8, 8), 128, np.uint8), np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
)


def plant(root, tree):
    paths = [(path, line.startswith("~")) for line in tree.split() for path in expand(line.removeprefix("~"))]
    for path, is_gray in paths:
        place = os.path.join(root, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(GRAY if is_gray else COLOR)


def look(root, template=None):
    pattern = None if template is None else source_pattern(template)
    discovery = discover(root, find_flow=flow_finder(), pattern=pattern)
    classes = {}
    for source in discovery.sources:
        assert source.problem == "", source
        classes.setdefault(source.class_name, []).append(source.name)
    return {name: " ".join(videos) for name, videos in classes.items()}, list(discovery.notes)


# Name of the shape; the tree, `~` before gray pictures; --source-template; videos of each class; notes.
FOUND = [
    (
        "HMDB51",
        "brush_hair/{Aussie,April}_brush_hair_u_nm_np1_ba_goo_0.avi wave/50_FIRST_DATES_wave_u_cm_np1_fr_goo_30.avi",
        None,
        {
            "brush_hair": "April_brush_hair_u_nm_np1_ba_goo_0 Aussie_brush_hair_u_nm_np1_ba_goo_0",
            "wave": "50_FIRST_DATES_wave_u_cm_np1_fr_goo_30",
        },
        [],
    ),
    (
        "HMDB51, each archive in a folder of its name",
        "brush_hair/brush_hair/v{0..1}.avi wave/wave/v{2..3}.avi",
        None,
        {"brush_hair": "v0 v1", "wave": "v2 v3"},
        ["4 videos (brush_hair/brush_hair/v0.avi, ...) read as {class}/*/{video}"],
    ),
    (
        "HMDB51 and its splits",
        "wave/v0.avi testTrainMulti_7030_splits/wave_test_split{1..3}.txt",
        None,
        {"wave": "v0"},
        [
            "left out, folders without videos: testTrainMulti_7030_splits",
            "left out, neither videos nor frames by their suffix: 3 .txt",
        ],
    ),
    (
        "UCF101",
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c0{1..2}.avi Archery/v_Archery_g01_c01.avi",
        None,
        {"ApplyEyeMakeup": "v_ApplyEyeMakeup_g01_c01 v_ApplyEyeMakeup_g01_c02", "Archery": "v_Archery_g01_c01"},
        [],
    ),
    (
        "UCF101, one folder up, said outright",
        "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c0{1..2}.avi UCF-101/Archery/v_Archery_g01_c01.avi",
        "UCF-101/{class}/{video}",
        {"ApplyEyeMakeup": "v_ApplyEyeMakeup_g01_c01 v_ApplyEyeMakeup_g01_c02", "Archery": "v_Archery_g01_c01"},
        [],
    ),
    (
        "UCF11, said outright",
        "biking/v_biking_01/v_biking_01_0{1..2}.avi biking/Annotation/v_biking_01.xgtf diving/v_diving_01/v_diving_01_01.avi",
        "{class}/*/{video}",
        {"biking": "v_biking_01_01 v_biking_01_02", "diving": "v_diving_01_01"},
        ["left out, neither videos nor frames by their suffix: 1 .xgtf"],
    ),
    (
        "UCF Sports, its films",
        "Diving-Side/001/2538-5_70133{001..004}.jpg Diving-Side/001/2538-5_70133.avi Diving-Side/001/gt/2538-5_70133{001..004}.txt",
        "{class}/*/{video}.avi",
        {"Diving-Side": "2538-5_70133"},
        [
            "left out, not as --source-template has it: Diving-Side/001",
            "left out, neither videos nor frames by their suffix: 4 .txt",
        ],
    ),
    (
        "Kinetics, classes below the parts, said outright",
        "train/abseiling/{a,b}_000001_000011.mp4 train/yoga/d_000001_000011.mp4 val/yoga/c_000001_000011.mp4",
        "*/{class}/{video}",
        {"abseiling": "a_000001_000011 b_000001_000011", "yoga": "c_000001_000011 d_000001_000011"},
        [],
    ),
    (
        "Kinetics, parts without classes",
        "train/{a,b}_000001_000011.mp4 val/c_000001_000011.mp4 annotations/{train,val}.csv",
        None,
        {"train": "a_000001_000011 b_000001_000011", "val": "c_000001_000011"},
        [
            "the classes are train, val, which name parts of a dataset: --source-template '*/{video}' takes videos without a class, --list those of a part",
            "left out, folders without videos: annotations",
            "left out, neither videos nor frames by their suffix: 2 .csv",
        ],
    ),
    (
        "Something-Something v2",
        "{1..3}.webm",
        None,
        {"unlabeled": "1 2 3"},
        [],
    ),
    (
        "Something-Something v1",
        "{1..2}/{00001..00003}.jpg",
        None,
        {"unlabeled": "1 2"},
        [],
    ),
    (
        "Jester, with its lists",
        "20bn-jester-v1/{1..2}/{00001..00003}.jpg jester-v1-{labels,train}.csv",
        None,
        {"20bn-jester-v1": "1 2"},
        ["left out, neither videos nor frames by their suffix: 2 .csv"],
    ),
    (
        "Diving48",
        "rgb/_8Vy3dlHg2w_0000{0..1}.mp4 Diving48_vocab.json",
        None,
        {"rgb": "_8Vy3dlHg2w_00000 _8Vy3dlHg2w_00001"},
        ["left out, neither videos nor frames by their suffix: 1 .json"],
    ),
    (
        "FineGym",
        "A0xAXXysHUo_E_002184_002237_0035_0036.mp4 A0xAXXysHUo_E_002184_002237_0036_0037.mp4",
        None,
        {"unlabeled": "A0xAXXysHUo_E_002184_002237_0035_0036 A0xAXXysHUo_E_002184_002237_0036_0037"},
        [],
    ),
    (
        "NTU RGB+D",
        "nturgb+d_rgb/S001C001P001R001A00{1..2}_rgb.avi nturgb+d_skeletons/S001C001P001R001A001.skeleton",
        None,
        {"nturgb+d_rgb": "S001C001P001R001A001_rgb S001C001P001R001A002_rgb"},
        [
            "left out, folders without videos: nturgb+d_skeletons",
            "left out, neither videos nor frames by their suffix: 1 .skeleton",
        ],
    ),
    (
        "EPIC-KITCHENS, said outright",
        "P01/rgb_frames/P01_0{1..2}/frame_{0000000001..0000000003}.jpg ~P01/flow_frames/P01_0{1..2}/{u,v}/frame_{0000000001..0000000002}.jpg",
        "*/rgb_frames/{video}",
        {"unlabeled": "P01_01 P01_02"},
        [
            "left out, flow beside frames: P01/flow_frames/P01_01/u (2 images), P01/flow_frames/P01_01/v (2 images), P01/flow_frames/P01_02/u (2 images), ... (4 in all)"
        ],
    ),
    (
        "Charades, frames and flow",
        "Charades_v1_rgb/{001YG,003WS}/{001YG,003WS}-{000001..000003}.jpg ~Charades_v1_flow/001YG/001YG-{000001..000002}{x,y}.jpg",
        None,
        {"Charades_v1_rgb": "001YG 003WS"},
        [
            "left out, flow beside frames: Charades_v1_flow/001YG (4 images)",
            "left out, folders without videos: Charades_v1_flow/001YG",
        ],
    ),
    (
        "AVA",
        "trainval/{-5KQ66BBWC4,053oq2xB3oU}.mkv test/1j20qq1JyX4.mp4",
        None,
        {"test": "1j20qq1JyX4", "trainval": "-5KQ66BBWC4 053oq2xB3oU"},
        [
            "the classes are test, trainval, which name parts of a dataset: --source-template '*/{video}' takes videos without a class, --list those of a part"
        ],
    ),
    (
        "ActivityNet, said outright",
        "v1-2/train/v_{a,b}.mp4 v1-2/val/v_c.mp4 v1-3/train_val/v_d.mp4",
        "*/*/{video}",
        {"unlabeled": "v_a v_b v_c v_d"},
        [],
    ),
    (
        "KTH",
        "boxing/person0{1..2}_boxing_d1_uncomp.avi walking/person01_walking_d1_uncomp.avi",
        None,
        {"boxing": "person01_boxing_d1_uncomp person02_boxing_d1_uncomp", "walking": "person01_walking_d1_uncomp"},
        [],
    ),
    (
        "Weizmann",
        "{daria,denis}_bend.avi",
        None,
        {"unlabeled": "daria_bend denis_bend"},
        [],
    ),
    (
        "THUMOS14",
        "validation/video_validation_000005{1..2}.mp4 TH14_test_set_mp4/video_test_0000004.mp4",
        None,
        {"TH14_test_set_mp4": "video_test_0000004", "validation": "video_validation_0000051 video_validation_0000052"},
        [],
    ),
    (
        "DAVIS, said outright",
        "JPEGImages/480p/{bear,camel}/{00000..00002}.jpg Annotations/480p/{bear,camel}/{00000..00002}.png",
        "JPEGImages/480p/{video}",
        {"unlabeled": "bear camel"},
        ["left out, not as --source-template has it: Annotations/480p/bear, Annotations/480p/camel"],
    ),
    (
        "Penn Action",
        "frames/000{1..2}/{000001..000003}.jpg labels/000{1..2}.mat",
        None,
        {"frames": "0001 0002"},
        ["left out, folders without videos: labels", "left out, neither videos nor frames by their suffix: 2 .mat"],
    ),
    (
        "mmaction2's raw frames",
        "wave/v{0..1}/img_{00001..00003}.jpg ~wave/v{0..1}/flow_{x,y}_{00001..00002}.jpg",
        None,
        {"wave": "v0 v1"},
        ["left out, flow beside frames: wave/v0 (4 images), wave/v1 (4 images)"],
    ),
    (
        "TSN's frames",
        "v_Archery_g01_c0{1..2}/img_{00001..00003}.jpg ~v_Archery_g01_c0{1..2}/flow_{x,y}_{00001..00002}.jpg",
        None,
        {"unlabeled": "v_Archery_g01_c01 v_Archery_g01_c02"},
        ["left out, flow beside frames: v_Archery_g01_c01 (4 images), v_Archery_g01_c02 (4 images)"],
    ),
    (
        "two-stream frames and flow",
        "jpegs_256/v_a/frame{000001..000003}.jpg ~tvl1_flow/{u,v}/v_a/frame{000001..000002}.jpg",
        None,
        {"jpegs_256": "v_a"},
        ["left out, flow beside frames: tvl1_flow/u/v_a (2 images), tvl1_flow/v/v_a (2 images)"],
    ),
    (
        "frames with masks and thumbnails",
        "wave/v0/img_{00001..00005}.jpg wave/v0/masks/{00001..00005}.png wave/v0/thumbs/{1..3}.jpg",
        None,
        {"wave": "v0"},
        ["left out, beside the frames of their folder: wave/v0/masks, wave/v0/thumbs"],
    ),
    (
        "frames with masks, no classes",
        "v0/img_{00001..00005}.jpg v0/masks/{00001..00005}.png v0/thumbs/{1..3}.jpg",
        None,
        {"unlabeled": "v0"},
        ["left out, beside the frames of their folder: v0/masks, v0/thumbs"],
    ),
    (
        "frames with flow in u and v, no classes",
        "v0/frame_{0000000001..0000000003}.jpg ~v0/{u,v}/frame_{0000000001..0000000002}.jpg",
        None,
        {"unlabeled": "v0"},
        ["left out, flow beside frames: v0/u (2 images), v0/v (2 images)"],
    ),
    (
        "one folder for each film",
        "wave/v{0..1}/video.mp4 run/v2/video.mp4",
        None,
        {"run": "v2", "wave": "v0 v1"},
        ["3 videos (run/v2/video.mp4, ...) read as {class}/{video}/video"],
    ),
    (
        "frames one folder deeper",
        "wave/v{0..1}/frames/{00001..00003}.jpg run/v2/frames/{00001..00003}.jpg",
        None,
        {"run": "v2", "wave": "v0 v1"},
        ["3 videos (run/v2/frames, ...) read as {class}/{video}/frames"],
    ),
    (
        "a NAS and a trash",
        "wave/a.avi .Trash-1000/files/b.avi @eaDir/wave/a.jpg #recycle/c.avi $RECYCLE.BIN/d.avi .cache/huggingface/e.mp4 .snapshot/wave/a.avi .done/f.avi wave/.g.avi",
        None,
        {"wave": "a"},
        ["left out, hidden or a system's own: #recycle, $RECYCLE.BIN, .Trash-1000, ... (8 in all)"],
    ),
    (
        "letters of a sign language",
        "{u,v,x,y}/p1/frame{000001..000003}.jpg",
        None,
        {"u": "p1", "v": "p1", "x": "p1", "y": "p1"},
        [],
    ),
    (
        "ids that begin with x_",
        "x_abc/x_{00001..00003}.jpg y_def/y_{00001..00003}.jpg",
        None,
        {"unlabeled": "x_abc y_def"},
        [],
    ),
    (
        "a film and its parts",
        "wave/a.avi wave/b.avi.part wave/c.srt wave/d.wav",
        None,
        {"wave": "a"},
        ["left out, neither videos nor frames by their suffix: 1 .srt, 1 .wav, 1 .part"],
    ),
]

# Trees that can be read in several ways: the message names each, and what it would give.
REFUSED = [
    (
        "UCF101, one folder up",
        "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c0{1..2}.avi UCF-101/Archery/v_Archery_g01_c01.avi",
        "3 videos (UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi, ...) stand deeper than class/video, and which part is the class is not clear: --source-template '{class}/*/{video}' gives 1 class (UCF-101); --source-template '*/{class}/{video}' gives 2 classes (ApplyEyeMakeup, Archery)",
    ),
    (
        "UCF11",
        "biking/v_biking_01/v_biking_01_0{1..2}.avi biking/v_biking_02/v_biking_02_01.avi biking/Annotation/v_biking_01.xgtf diving/v_diving_01/v_diving_01_0{1..2}.avi",
        "5 videos (biking/v_biking_01/v_biking_01_01.avi, ...) stand deeper than class/video, and which part is the class is not clear: --source-template '{class}/*/{video}' gives 2 classes (biking, diving); --source-template '*/{class}/{video}' gives 3 classes (v_biking_01, v_biking_02, v_diving_01)",
    ),
    (
        "UCF Sports",
        "Diving-Side/001/2538-5_70133{001..004}.jpg Diving-Side/001/2538-5_70133.avi Diving-Side/001/gt/2538-5_70133{001..004}.txt",
        "Diving-Side/001 holds 4 images and also Diving-Side/001/2538-5_70133.avi (1 in all): it may be one video of frames or a folder of videos. Move the one or the other out, or say which by --source-template '{class}/{video}' or '{class}/*/{video}'",
    ),
    (
        "Kinetics, classes below the parts",
        "train/{abseiling,yoga}/{a,b}_000001_000011.mp4 val/{abseiling,yoga}/c_000001_000011.mp4",
        "6 videos (train/abseiling/a_000001_000011.mp4, ...) stand deeper than class/video, and which part is the class is not clear: --source-template '*/{class}/{video}' gives 2 classes (abseiling, yoga); --source-template '{class}/*/{video}' gives 2 classes (train, val), but train/abseiling/a_000001_000011.mp4 and train/yoga/a_000001_000011.mp4 one name",
    ),
    (
        "EPIC-KITCHENS, frames and flow",
        "P01/rgb_frames/P01_0{1..2}/frame_{0000000001..0000000003}.jpg ~P01/flow_frames/P01_0{1..2}/{u,v}/frame_{0000000001..0000000002}.jpg",
        "2 videos (P01/rgb_frames/P01_01, ...) stand deeper than class/video, and which part is the class is not clear: --source-template '{class}/*/{video}' gives 1 class (P01); --source-template '*/{class}/{video}' gives 1 class (rgb_frames)",
    ),
    (
        "EPIC-KITCHENS, films",
        "P01/videos/P01_0{1..2}.MP4 P02/videos/P02_01.MP4",
        "3 videos (P01/videos/P01_01.MP4, ...) stand deeper than class/video, and which part is the class is not clear: --source-template '{class}/*/{video}' gives 2 classes (P01, P02); --source-template '*/{class}/{video}' gives 1 class (videos)",
    ),
    (
        "ActivityNet",
        "v1-2/train/v_{a,b}.mp4 v1-2/val/v_c.mp4 v1-3/train_val/v_d.mp4",
        "4 videos (v1-2/train/v_a.mp4, ...) stand deeper than class/video, and which part is the class is not clear: --source-template '{class}/*/{video}' gives 2 classes (v1-2, v1-3); --source-template '*/{class}/{video}' gives 3 classes (train, train_val, val)",
    ),
    (
        "Moments in Time",
        "training/{aiming,yawning}/flickr-{1..2}.mp4 validation/{aiming,yawning}/flickr-3.mp4",
        "6 videos (training/aiming/flickr-1.mp4, ...) stand deeper than class/video, and which part is the class is not clear: --source-template '*/{class}/{video}' gives 2 classes (aiming, yawning); --source-template '{class}/*/{video}' gives 2 classes (training, validation), but training/aiming/flickr-1.mp4 and training/yawning/flickr-1.mp4 one name",
    ),
    (
        "DAVIS",
        "JPEGImages/480p/{bear,camel}/{00000..00002}.jpg Annotations/480p/{bear,camel}/{00000..00002}.png",
        "4 videos (Annotations/480p/bear, ...) stand deeper than class/video, and which part is the class is not clear: --source-template '{class}/*/{video}' gives 2 classes (Annotations, JPEGImages); --source-template '*/{class}/{video}' gives 1 class (480p), but Annotations/480p/bear and JPEGImages/480p/bear one name",
    ),
    (
        "covers beside the videos of a class",
        "wave/cover_{1..3}.jpg wave/v{0..2}/img_{1..9}.jpg",
        "wave holds 3 images and also wave/v0 (3 in all): it may be one video of frames or a folder of videos. Move the one or the other out, or say which by --source-template '{video}' or '{class}/{video}'",
    ),
]


@pytest.mark.parametrize(
    ("tree", "template", "classes", "notes"), [row[1:] for row in FOUND], ids=[row[0] for row in FOUND]
)
def test_what_is_found(tmp_path, tree, template, classes, notes):
    plant(tmp_path, tree)
    assert look(tmp_path, template) == (classes, notes)


@pytest.mark.parametrize(("tree", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_can_be_read_in_several_ways_is_refused(tmp_path, tree, message):
    plant(tmp_path, tree)
    with pytest.raises(SourceError) as error:
        look(tmp_path)
    assert str(error.value) == f"SOURCE {tmp_path}: {message}"
    # What is advised was tried: it gives the classes that the message says.
    for template, n_classes, clash in re.findall(
        r"--source-template '([^']+)' gives (\d+) class(?:es)? \([^)]*\)(, but)?", message
    ):
        assert clash or len(look(tmp_path, template)[0]) == int(n_classes)

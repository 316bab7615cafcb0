"""Stores that somebody hostile made: refused with a line, in bounded memory, and nothing outside is written or run.

Each is opened, read, exported, copied and verified in a process that may take 3 GiB of address space and a minute. The
folder beside the target holds a file that must stay as it is, and no other may appear.
"""

import gzip
import json
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from datasets import process_environment
from numcodecs import blosc
from numcodecs.zstd import Zstd
from prepared import Prepared
from store_factory import drop_digests, make_codes, write_store

from flowstore.format.zarr_metadata import group_document

pytestmark = pytest.mark.system

KEY = "wave/clip"
ADDRESS_SPACE = 3 * 2**30
LIMIT_S = 100
N_FLOWS = 4


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """Return a store of two videos."""
    root = tmp_path_factory.mktemp("honest") / "s.zarr"
    write_store(root, {KEY: make_codes(N_FLOWS), "wave/other": make_codes(3, seed=1)}, {"run/bad": "a reason"})
    return root


# ---- changing what a store says, with digests that agree: whoever is hostile can count too


def read_own(root, path):
    document = json.loads((root / path / "zarr.json").read_bytes())
    return {name: value for name, value in document["attributes"]["flowstore"].items() if name != "digest"}


def write_own(root, path, attributes):
    (root / path / "zarr.json").write_text(json.dumps(group_document(attributes)))


def change_record(root, key=KEY, **changes):
    drop_digests(root, key)
    write_own(root, key, read_own(root, key) | changes)


def change_flow(root, change, key=KEY):
    drop_digests(root, key)
    path = root / key / "flow/zarr.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def huge_flow(root, shape):
    """Make record and array of one mind about a huge shape."""
    n_flows, _, height, width = shape
    statistics = read_own(root, KEY)["statistics"] | {"flow_means": [0.0] * min(n_flows, 10**6)}
    change_record(root, n_flows=n_flows, height=height, width=width, statistics=statistics)

    def change(document):
        document["shape"] = list(shape)
        document["chunk_grid"]["configuration"]["chunk_shape"] = [min(4, n_flows), *shape[1:]]
        document["codecs"][0]["configuration"]["chunk_shape"] = [1, *shape[1:]]

    change_flow(root, change)


def shard_of(chunks):
    """Return a shard of given chunks, their checksums and an index that agrees."""
    data, entries = b"", []
    for chunk in chunks:
        chunk += struct.pack("<I", google_crc32c.value(chunk))
        entries.append((len(data), len(chunk)))
        data += chunk
    index = np.array(entries, "<u8").tobytes()
    return data + index + struct.pack("<I", google_crc32c.value(index))


def replace_shard(root, data):
    (root / KEY / "flow/c.0.0.0.0").write_bytes(data)
    change_record(root, size_bytes=len(data), shard_sizes=[len(data)])


def foreign(root, codecs, chunk, data, chunk_shape=(1, 2, 24, 32)):
    """Lay the flow out as others do, each chunk of the same bytes."""
    folder = root / KEY / "flow"
    for file in folder.iterdir():
        file.unlink() if file.name != "zarr.json" else None

    def change(document):
        document["chunk_grid"]["configuration"]["chunk_shape"] = list(chunk_shape)
        document["codecs"] = codecs

    change_flow(root, change)
    for number in range(-(-N_FLOWS // chunk_shape[0])):
        (folder / f"c.{number}.0.0.0").write_bytes(data)


BYTES = {"name": "bytes", "configuration": {"endian": "little"}}


def blosc_bomb(size=2**40):
    """A buffer of Blosc that states a huge size; its header's sizes have 32 bits, so this is the largest."""
    packed = bytearray(blosc.compress(bytes(4096), b"lz4", 5))
    struct.pack_into("<I", packed, 4, min(size, 2**31 - 1))
    return bytes(packed)


def zstd_bomb(size):
    """A frame of Zstandard that states a huge size."""
    return b"\x28\xb5\x2f\xfd" + bytes([0b11100000]) + struct.pack("<Q", size) + b"\x01\x00\x00"


def gzip_bomb():
    """A buffer of gzip that becomes 4 GiB, in members of 64 MiB."""
    return 64 * gzip.compress(bytes(2**26))


class Runs:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def pickled_v2(root, outside):
    """An array of Zarr v2 whose filter unpickles, where a reader that takes either format would look."""
    folder = root / "index/class"
    shutil.rmtree(folder)
    folder.mkdir()
    document = {
        "zarr_format": 2,
        "shape": [3],
        "chunks": [3],
        "dtype": "|O",
        "compressor": None,
        "fill_value": None,
        "order": "C",
        "filters": [{"id": "pickle", "protocol": 5}],
    }
    (folder / ".zarray").write_text(json.dumps(document))
    (folder / "0").write_bytes(pickle.dumps([Runs(outside / "run"), (3,)]))


def column(root, name, **changes):
    path = root / "index" / name / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


def change_index(root, **changes):
    write_own(root, "index", read_own(root, "index") | changes)


def rename_video(root, name, folder="clip"):
    change_record(root, f"wave/{folder}", name=name)
    change_index(root)


def link(root, path, target):
    place = root / path
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    place.symlink_to(target)


def deep(n):
    return '{"a":' * n + "1" + "}" * n


def sparse(path, size):
    with open(path, "r+b") as file:
        file.truncate(size)


def make_fifo(path):
    path.unlink()
    os.mkfifo(path)


HOSTILE = {
    # Names that would lead out of a target.
    "name ..": lambda root, out: rename_video(root, ".."),
    "name ../../x": lambda root, out: rename_video(root, "../../x"),
    "name absolute": lambda root, out: rename_video(root, f"{out}/x"),
    "name of a drive": lambda root, out: rename_video(root, "C:\\x"),
    "name with NUL": lambda root, out: rename_video(root, "a\0b"),
    "name is no text": lambda root, out: rename_video(root, 7),
    "class ../..": lambda root, out: change_record(root, class_name="../.."),
    "class document ..": lambda root, out: write_own(root, "wave", {"class_name": "../.."}),
    "folder %2E%2E of that name": lambda root, out: (
        (root / KEY).rename(root / "wave/%2E."),
        change_record(root, "wave/%2E.", name=".."),
        shutil.rmtree(root / "index"),
    ),
    "folder of a path's name": lambda root, out: (
        (root / KEY).rename(root / "wave/..%2F..%2Fx"),
        change_record(root, "wave/..%2F..%2Fx", name="../../x"),
        shutil.rmtree(root / "index"),
    ),
    # Links and things that are no files.
    "class links out": lambda root, out: link(root, "wave", out),
    "video links out": lambda root, out: link(root, KEY, out),
    "record links to a device": lambda root, out: link(root, f"{KEY}/zarr.json", "/dev/zero"),
    "record links to itself": lambda root, out: link(root, f"{KEY}/zarr.json", "zarr.json"),
    "shard links to a device": lambda root, out: link(root, f"{KEY}/flow/c.0.0.0.0", "/dev/zero"),
    "shard links out": lambda root, out: link(root, f"{KEY}/flow/c.0.0.0.0", out / "precious"),
    "record is a pipe": lambda root, out: make_fifo(root / KEY / "zarr.json"),
    "shard is a pipe": lambda root, out: make_fifo(root / KEY / "flow/c.0.0.0.0"),
    "root is a pipe": lambda root, out: make_fifo(root / "zarr.json"),
    # Documents.
    "root of 100 GB": lambda root, out: sparse(root / "zarr.json", 10**11),
    "record of 100 GB": lambda root, out: sparse(root / KEY / "zarr.json", 10**11),
    "flow document of 100 GB": lambda root, out: sparse(root / KEY / "flow/zarr.json", 10**11),
    "root nested deep": lambda root, out: (root / "zarr.json").write_text(deep(10**6)),
    "record nested deep": lambda root, out: (root / KEY / "zarr.json").write_text(deep(10**6)),
    "record of many lists": lambda root, out: (root / KEY / "zarr.json").write_text("[" + "[]," * 10**7 + "[]]"),
    "a number of a million digits": lambda root, out: (root / KEY / "zarr.json").write_text("1" * 10**6),
    "not a number": lambda root, out: change_record(root, fps=float("nan")),
    "settings that nest": lambda root, out: write_own(
        root, "", read_own(root, "") | {"settings": read_own(root, "")["settings"] | {"params": {"a": {"b": []}}}}
    ),
    "settings are a list": lambda root, out: write_own(root, "", read_own(root, "") | {"settings": []}),
    "format 10^300": lambda root, out: write_own(root, "", read_own(root, "") | {"format": 10**300}),
    # Numbers.
    "10^18 flows": lambda root, out: change_record(root, n_flows=10**18),
    "flows below 0": lambda root, out: change_record(root, n_flows=-1),
    "flows of no kind": lambda root, out: change_record(root, n_flows="many"),
    "flows of 10^9 px": lambda root, out: huge_flow(root, (4, 2, 10**9, 10**9)),
    "flows of 60000×60000 px": lambda root, out: huge_flow(root, (4, 2, 60000, 60000)),
    "flows of 20000×20000 px": lambda root, out: huge_flow(root, (4, 2, 20000, 20000)),
    "10^6 flows of 1×1 px": lambda root, out: huge_flow(root, (10**6, 2, 1, 1)),
    "flow of no size": lambda root, out: huge_flow(root, (4, 2, 0, 0)),
    "shards of 10^12 bytes": lambda root, out: change_record(root, shard_sizes=[10**12], size_bytes=10**12),
    "a shard size below 0": lambda root, out: change_record(root, shard_sizes=[-5]),
    "shards with room for 2^40 flows": lambda root, out: change_flow(
        root, lambda d: d["chunk_grid"]["configuration"]["chunk_shape"].__setitem__(0, 2**40)
    ),
    # Shards.
    "sparse shard of 100 GB": lambda root, out: (
        sparse(root / KEY / "flow/c.0.0.0.0", 10**11),
        change_record(root, shard_sizes=[10**11], size_bytes=10**11),
    ),
    "chunks that span a sparse file": lambda root, out: spanning(root),
    "blosc bombs": lambda root, out: replace_shard(root, shard_of([blosc_bomb()] * N_FLOWS)),
    "blosc that lies inside": lambda root, out: replace_shard(root, shard_of([lying_blosc()] * N_FLOWS)),
    # Layouts of others.
    "zstd bomb": lambda root, out: foreign(root, [BYTES, {"name": "zstd", "configuration": {}}], 0, zstd_bomb(2**50)),
    "zstd of an unknown size": lambda root, out: foreign(
        root, [BYTES, {"name": "zstd", "configuration": {}}], 0, b"\x28\xb5\x2f\xfd\x00\x58\x01\x00\x00"
    ),
    "blosc bomb of zarr's": lambda root, out: foreign(root, [BYTES, {"name": "blosc"}], 0, blosc_bomb()),
    "gzip bomb": lambda root, out: foreign(
        root, [BYTES, {"name": "gzip", "configuration": {"level": 9}}], 0, gzip_bomb()
    ),
    "chunks of 2^50 bytes": lambda root, out: foreign(root, [BYTES], 0, b"", (2**20, 2, 2**15, 2**15)),
    "codec pickle": lambda root, out: foreign(
        root, [BYTES, {"name": "numcodecs.pickle"}], 0, pickle.dumps(Runs(out / "run"))
    ),
    "a codec of an installed package": lambda root, out: foreign(
        root, [BYTES, {"name": "numcodecs.zlib", "configuration": {"level": 1}}], 0, zlib.compress(bytes(1536))
    ),
    "shards in shards": lambda root, out: change_flow(
        root, lambda d: d["codecs"][0]["configuration"].__setitem__("codecs", json.loads(json.dumps(d["codecs"])))
    ),
    "a type of objects": lambda root, out: change_flow(root, lambda d: d.__setitem__("data_type", "object")),
    # The index.
    "pickle in the index": lambda root, out: pickled_v2(root, out),
    "index of 10^15 videos": lambda root, out: change_index(root, n_videos=10**15),
    "index of 10^15 flows": lambda root, out: change_index(root, n_flows=10**15),
    "index of no number": lambda root, out: change_index(root, n_videos="three"),
    "column of 10^12 rows": lambda root, out: column(root, "n_flows", shape=[10**12]),
    "column in chunks of 10^12": lambda root, out: column(
        root, "n_flows", chunk_grid={"name": "regular", "configuration": {"chunk_shape": [10**12]}}
    ),
    "zstd bomb in the index": lambda root, out: (root / "index/status/c/0").write_bytes(zstd_bomb(2**45)),
    "texts without end in the index": lambda root, out: (root / "index/status/c/0").write_bytes(
        Zstd().encode(struct.pack("<I", 2**32 - 1))
    ),
    "index that leads out": lambda root, out: lead_out(root, out),
}


def spanning(root):
    """Give a chunk that begins and one that ends a sparse file of 100 GB."""
    path = root / KEY / "flow/c.0.0.0.0"
    data = path.read_bytes()
    size = 10**11
    entries = np.frombuffer(data[-4 - 16 * N_FLOWS : -4], "<u8").reshape(-1, 2).copy()
    entries[1, 0] = size - 10_000
    index = entries.tobytes() + struct.pack("<I", google_crc32c.value(entries.tobytes()))
    sparse(path, size)
    with open(path, "r+b") as file:
        file.seek(size - len(index))
        file.write(index)
    change_record(root, shard_sizes=[size], size_bytes=size)


def lying_blosc():
    """A buffer whose header is right and whose blocks lead nowhere."""
    packed = bytearray(blosc.compress(make_codes(1).tobytes(), b"lz4", 5))
    packed[16:40] = b"\xff" * 24
    return bytes(packed)


def lead_out(root, outside):
    """Write an index whose paths lead out of the store."""
    from flowstore.storage.local import LocalStorage
    from flowstore.store.index import write_index
    from flowstore.store.tree import read_records
    from flowstore.store.video_index import VideoIndex

    storage = LocalStorage(str(root))
    index = VideoIndex.from_records(read_records(storage))
    columns = dict(index.columns)
    columns["path"] = np.array([f"../{outside.name}/x"] * len(index), columns["path"].dtype)
    write_index(storage, VideoIndex(columns, len(index), index.flow_means))


# ---- what is done with each

COMMANDS = {
    "info": ["info", "STORE"],
    "info of the video": ["info", "STORE/wave/clip"],
    "export": ["export", "STORE", "TARGET/jpeg", "--workers", "2"],
    "copy": ["copy", "STORE", "TARGET/copy.zarr", "--workers", "2"],
    "copy packed anew": ["copy", "STORE", "TARGET/small.zarr", "--compression", "small", "--workers", "2"],
    "copy to a zip": ["copy", "STORE", "TARGET/copy.zip"],
    "verify": ["verify", "STORE", "--workers", "2"],
    "verify and repair": ["verify", "STORE", "--repair", "--workers", "2"],
    "stats": ["stats", "STORE"],
}
READ = """
import sys, flowstore
for read in (
    lambda store: repr(store),
    lambda store: store.videos[0],
    lambda store: store.select(label="wave", status=None).videos.column("video").tolist(),
    lambda store: store["wave/clip"][:],
    lambda store: store["wave/clip"].codes[1:3],
    lambda store: store.read_clips(["wave/clip", "wave/other"], [0, 0], 2),
    lambda store: [video[0] for video in store.iter_videos()],
    lambda store: store["wave/other"][:],
):
    try:
        read(flowstore.open_store(sys.argv[1]))
    except flowstore.FlowStoreError as error:
        assert "\\n" not in str(error), str(error)
        print("refused:", str(error)[:300])
print("done")
"""
RUN = """
import sys
from flowstore.cli import main
for line in sys.stdin.read().splitlines():
    sys.argv = ["flowstore", *line.split("\\t")]
    try:
        main()
    except SystemExit as end:
        print("exit", end.code, *sys.argv[1:2], file=sys.stderr, flush=True)
print("done")
"""


@pytest.fixture(scope="module")
def limited():
    """Return processes that may take so much and so long."""
    # One thread for each library: every thread's stack counts as address space.
    environment = process_environment(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")
    processes = Prepared(address_space=ADDRESS_SPACE, limit_s=LIMIT_S, environment=environment)
    yield processes
    processes.close()


def tree_names(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if not path.is_symlink())


@pytest.fixture
def place(honest, tmp_path):
    """Return a copy of the store, the target, and a folder outside of both."""
    root, target, outside = tmp_path / "s.zarr", tmp_path / "target", tmp_path / "outside"
    shutil.copytree(honest, root)
    target.mkdir()
    outside.mkdir()
    (outside / "precious").write_bytes(b"years of work")
    return root, target, outside


def check_outside(outside):
    assert tree_names(outside) == ["precious"]
    assert (outside / "precious").read_bytes() == b"years of work"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_store_is_read_without_harm(limited, place, tmp_path, name):
    root, _, outside = place
    HOSTILE[name](root, outside)
    before = tree_names(tmp_path)
    done = limited.run(READ, root)
    assert done.stdout.endswith("done\n"), done.stdout + done.stderr
    assert done.returncode == 0
    check_outside(outside)
    assert tree_names(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_no_command_is_harmed_by_a_hostile_store(limited, place, tmp_path, name):
    root, target, outside = place
    HOSTILE[name](root, outside)
    lines = ["\t".join(part.replace("STORE", str(root)).replace("TARGET", str(target)) for part in command)
             for command in COMMANDS.values()]  # fmt: skip
    done = limited.run(RUN, text="\n".join(lines))
    assert done.stdout.endswith("done\n"), done.stdout[-500:] + done.stderr[-3000:]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    codes = [int(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("exit ")]
    assert len(codes) == len(COMMANDS)
    assert set(codes) <= {0, 1, 2}
    check_outside(outside)
    assert set(os.listdir(tmp_path)) <= {"s.zarr", "target", "outside"}
    for path in target.rglob("*"):
        assert not path.is_symlink()


def test_the_honest_store_passes_under_the_same_limits(limited, place):
    root, target, _ = place
    done = limited.run(READ, root)
    assert done.stdout == "done\n", done.stdout + done.stderr
    lines = ["\t".join(part.replace("STORE", str(root)).replace("TARGET", str(target)) for part in command)
             for command in COMMANDS.values()]  # fmt: skip
    done = limited.run(RUN, text="\n".join(lines))
    assert [line.split()[1] for line in done.stderr.splitlines() if line.startswith("exit ")] == ["0"] * len(COMMANDS)


# ---- refusals name the numbers


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("record of 100 GB", "100000000000 bytes or more, a document has at most 33554432"),
        ("flows of 60000×60000 px", "flow of 60000×60000 px takes 7200000000 bytes per flow, at most 1073741824"),
        ("flows of 20000×20000 px", "4 flows of 20000×20000 px in"),
        ("10^6 flows of 1×1 px", "1000000 flows of 1×1 px in"),
        ("blosc bombs", "a chunk of 2147483647 bytes where 1536 are expected"),
        ("zstd bomb", "laid out by another program than flowstore; xarray and zarr read it"),
        ("chunks of 2^50 bytes", "laid out by another program than flowstore"),
        ("codec pickle", "laid out by another program than flowstore"),
        ("record nested deep", "nested deeper"),
        ("name ../../x", "the record of another video"),
        ("chunks that span a sparse file", "for 4 chunks of at most 1536 bytes"),
    ],
)
def test_a_refusal_names_the_numbers(limited, place, name, why):
    root, _, outside = place
    HOSTILE[name](root, outside)
    assert why in limited.run(READ, root).stdout


# ---- hostile zips


def zip_of(honest, path, change=lambda name, data: data, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(honest.rglob("*")):
            if file.is_file():
                name = str(file.relative_to(honest))
                archive.writestr(name, change(name, file.read_bytes()))
    return path


def bomb_in_zip(name):
    return lambda found, data: bytes(200 * 2**20) if found == name else data


HOSTILE_ZIPS = {
    "a record of 200 MB, deflated": lambda honest, path: zip_of(
        honest, path, bomb_in_zip(f"{KEY}/zarr.json"), zipfile.ZIP_DEFLATED
    ),
    "a shard of 200 MB, deflated": lambda honest, path: zip_of(
        honest, path, bomb_in_zip(f"{KEY}/flow/c.0.0.0.0"), zipfile.ZIP_DEFLATED
    ),
    "names that lead out": lambda honest, path: add_to(zip_of(honest, path), "../outside/x", b"x"),
    "absolute names": lambda honest, path: add_to(zip_of(honest, path), "/tmp/flowstore-hostile", b"x"),
    "a size that is a lie": lambda honest, path: lie_about_sizes(zip_of(honest, path)),
    "cut off": lambda honest, path: path.write_bytes(zip_of(honest, path).read_bytes()[:-100]),
    "an offset beyond": lambda honest, path: path.write_bytes(
        zip_of(honest, path).read_bytes().replace(b"PK\x03\x04", b"PK\x03\x05")
    ),
}


def add_to(path, name, data):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, data)


def lie_about_sizes(path):
    """State 4 GB for every member in the central directory."""
    data = bytearray(path.read_bytes())
    place = data.find(b"PK\x01\x02")
    while place >= 0:
        struct.pack_into("<II", data, place + 20, 2**32 - 2, 2**32 - 2)
        place = data.find(b"PK\x01\x02", place + 4)
    path.write_bytes(data)


@pytest.mark.parametrize("name", HOSTILE_ZIPS)
def test_a_hostile_zip_is_read_without_harm(limited, place, tmp_path, name):
    root, target, outside = place
    path = tmp_path / "s.zip"
    HOSTILE_ZIPS[name](root, path)
    done = limited.run(READ, path)
    assert done.stdout.endswith("done\n"), done.stdout + done.stderr
    command = f"copy\t{path}\t{target}/copy.zarr\ncopy\t{path}\t{target}/copy.zip\nverify\t{path}\ninfo\t{path}"
    done = limited.run(RUN, text=command)
    assert done.stdout.endswith("done\n")
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    check_outside(outside)


# ---- writing into a hostile store


@pytest.mark.parametrize("linked", ["wave", "wave/clip", "wave/clip/flow", "index"])
def test_nothing_is_written_through_a_link(place, linked):
    from flowstore.errors import StoreError
    from flowstore.storage.local import LocalStorage
    from flowstore.store.writer import remove_video

    root, _, outside = place
    link(root, linked, outside)
    storage = LocalStorage(str(root))
    with pytest.raises(StoreError, match="is a symbolic link"):
        storage.write(f"{linked}/precious", b"gone")
    with pytest.raises(StoreError, match="is a symbolic link"):
        storage.delete(f"{linked}/precious")
    with pytest.raises(StoreError, match="is a symbolic link"):
        storage.delete_tree(f"{linked}/below")
    if linked == "wave":
        with pytest.raises(StoreError, match="is a symbolic link"):
            remove_video(storage, "wave", "clip")
    storage.delete_tree(linked)
    assert not (root / linked).exists()
    check_outside(outside)


def test_a_file_in_the_making_follows_no_link(place):
    from flowstore.storage.local import LocalStorage

    root, _, outside = place
    (root / f"zarr.json.{os.getpid()}.partial").symlink_to(outside / "precious")
    LocalStorage(str(root)).write("zarr.json", b"{}")
    assert (root / "zarr.json").read_bytes() == b"{}"
    check_outside(outside)


def test_a_key_does_not_lead_out(place):
    from flowstore.errors import StoreError
    from flowstore.storage.local import LocalStorage

    root, _, outside = place
    for key in ("../outside/precious", "wave/../../outside/precious", f"{outside}/precious"):
        for change in ("delete", "delete_tree"):
            with pytest.raises(StoreError, match="leads out of the store"):
                getattr(LocalStorage(str(root)), change)(key)
        with pytest.raises(StoreError, match="leads out of the store"):
            LocalStorage(str(root)).write(key, b"gone")
    check_outside(outside)

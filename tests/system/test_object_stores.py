"""Stores on S3, by a real server in a process of its own: whole or not at all, whatever drops, dies or is missing."""

import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr
from datasets import call, command_line, process_environment, run, write_dataset
from s3_server import CREDENTIALS, CuttingProxy, free_port
from store_factory import make_codes, tree_files, write_store

import flowstore
from flowstore.copying import copy
from flowstore.errors import ArgumentError, StoreError, StoreUnreachableError
from flowstore.pipeline import extract
from flowstore.storage.objects import ObjectStorage
from flowstore.storage.places import open_storage
from flowstore.storage.zarr_stores import ZarrStorage
from flowstore.store.tree import read_record, video_paths

pytestmark = pytest.mark.system

NAMES = ("clip [HD] 1", "50%25", "a?b*c", "#1 & é", "with space ", "a+b=c;d")
VIDEOS = {f"wave/{name}": make_codes(5, seed=number) for number, name in enumerate(NAMES)}
FAILED = {"run/broken": "no frame can be decoded"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Return a dataset of six videos."""
    folder = tmp_path_factory.mktemp("source")
    write_dataset(folder)
    return folder


@pytest.fixture(scope="module")
def expected(source, tmp_path_factory):
    """Return what an extraction of the dataset on a local disk gives."""
    path = tmp_path_factory.mktemp("local") / "flow.zarr"
    extract(source, path, scheduler="sync")
    return flowstore.open_store(path)


def check_same(url, expected):
    """Compare a store with another: every code, every record but its time, the index."""
    opened = flowstore.open_store(url)
    assert opened.videos.column("path").tolist() == expected.videos.column("path").tolist()
    for name in ("n_flows", "mean_magnitude", "clipped_x", "size_bytes"):
        np.testing.assert_array_equal(opened.videos.column(name), expected.videos.column(name))
    for video in expected.iter_videos():
        theirs = opened[f"{video.class_name}/{video.name}"]
        np.testing.assert_array_equal(theirs.codes[:], video.codes[:])
        assert theirs.record.shard_digests == video.record.shard_digests


def extract_command(source, url):
    return command_line("extract", source, url, "--scheduler", "threads", "--workers", "2", "--quiet")


# ---- reading and writing


def test_a_store_is_written_and_read(s3):
    write_store(s3, VIDEOS, FAILED)
    store = flowstore.open_store(s3)
    assert store.classes == ["run", "wave"]
    assert sorted(store["wave"].names) == sorted(NAMES)
    assert store["run/broken"].record.reason == FAILED["run/broken"]
    for key, codes in VIDEOS.items():
        np.testing.assert_array_equal(store[key].codes[:], codes)
        np.testing.assert_array_equal(store[key].codes[2:4], codes[2:4])
    clips = store.read_clips([*VIDEOS], [1] * len(VIDEOS), 3, out=np.empty((6, 3, 2, 24, 32), np.uint8))
    np.testing.assert_array_equal(clips, [codes[1:4] for codes in VIDEOS.values()])


def test_zarr_reads_the_same(s3):
    write_store(s3, VIDEOS)
    store = zarr.storage.FsspecStore.from_url(s3, read_only=True)
    for key, codes in list(VIDEOS.items())[:1]:
        np.testing.assert_array_equal(zarr.open_array(store, path=f"{key}/flow", mode="r")[:], codes)


def test_a_store_of_zarr_brings_its_options(s3, s3_server, monkeypatch):
    write_store(s3, VIDEOS)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    place = zarr.storage.FsspecStore.from_url(s3, storage_options={"endpoint_url": s3_server}, read_only=True)
    storage = open_storage(place)
    assert isinstance(storage, ObjectStorage)
    store = pickle.loads(pickle.dumps(flowstore.open_store(place)))
    np.testing.assert_array_equal(store["wave/50%25"].codes[:], VIDEOS["wave/50%25"])


def test_fsspecs_own_configuration_counts(s3, s3_server, tmp_path):
    write_store(s3, VIDEOS)
    environment = {"AWS_ENDPOINT_URL": "", "FSSPEC_S3": f'{{"endpoint_url": "{s3_server}"}}'}
    outcome = run("info", s3, **environment)
    assert outcome.code == 0, outcome.err
    assert "6 videos, 30 flows" in outcome.out


def _read_in_child(store, key, queue):
    queue.put(store[key].codes[:])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_what_this_one_has_opened(s3, method):
    write_store(s3, VIDEOS)
    store = flowstore.open_store(s3)
    store["wave/50%25"].codes[:]
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_read_in_child, args=(store, "wave/a?b*c", queue))
    process.start()
    np.testing.assert_array_equal(queue.get(timeout=60), VIDEOS["wave/a?b*c"])
    process.join()


def test_a_key_is_made_once_however_many_try(s3):
    storages = [ObjectStorage(s3) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda pair: pair[1].write_new("zarr.json", b"%d" % pair[0]), enumerate(storages)))
    assert made.count(True) == 1
    assert storages[0].read("zarr.json") == b"%d" % made.index(True)
    # Asked again with what is there, as after an answer that was lost.
    assert ObjectStorage(s3).write_new("zarr.json", b"%d" % made.index(True))


def test_a_name_that_s3_takes_for_a_version_is_refused(s3):
    with pytest.raises(ArgumentError, match="version of another object"):
        ObjectStorage(s3).read("wave/a?versionId=1/zarr.json")


# ---- the commands


@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes"])
def test_an_extraction_into_s3_is_that_on_a_disk(s3, source, expected, scheduler):
    report = extract(source, s3, scheduler=scheduler, workers=2)
    assert report.is_all_well
    assert report.n_extracted == 6
    check_same(s3, expected)
    again = extract(source, s3)
    assert (again.n_extracted, again.n_done) == (0, 6)


def test_commits_come_last(s3, source, monkeypatch):
    write, keys = ObjectStorage.write, []

    def write_down(self, key, value, is_durable=False):
        write(self, key, value, is_durable)
        keys.append(key)

    monkeypatch.setattr(ObjectStorage, "write", write_down)
    extract(source, s3, scheduler="sync")
    for path in ("wave/v0", "run/v2"):
        own = [key.removeprefix(f"{path}/") for key in keys if key.startswith(f"{path}/")]
        assert own == ["flow/c.0.0.0.0", "flow/zarr.json", "zarr.json"]
    assert keys[-1] == "index/zarr.json"


def test_every_command_takes_a_url(s3, source, expected, tmp_path):
    outcome = call("extract", source, s3, "--json")
    assert outcome.code == 0, outcome.err
    assert "6 videos" in call("info", s3).out
    assert "wave/v1" in call("info", f"{s3}/wave/v1").out
    assert call("export", s3, tmp_path / "jpeg", "--quiet").code == 0
    assert call("export", expected.url, tmp_path / "local", "--quiet").code == 0
    assert call("verify", s3, "--source", source, "--quiet").code == 0
    storage, key = ObjectStorage(s3), "wave/v1/flow/c.0.0.0.0"
    storage.write(key, bytes(storage.size_bytes(key)))
    assert "wave/v1" in call("verify", s3, "--quiet").err
    ours, theirs = (tree_files(tmp_path / name) for name in ("jpeg", "local"))
    ours.pop("flowstore-export.json"), theirs.pop("flowstore-export.json")
    assert ours == theirs


def test_copies_go_up_and_down(s3, tmp_path):
    write_store(tmp_path / "s.zarr", VIDEOS, FAILED)
    report = copy(tmp_path / "s.zarr", s3)
    assert (report.n_videos, report.failures) == (7, ())
    assert copy(tmp_path / "s.zarr", s3).n_done == 7
    copy(s3, f"{s3}-small", compression="small")
    copy(s3, tmp_path / "down.zip")
    copy(f"{s3}-small", tmp_path / "down.zarr", compression="fast")
    copy(tmp_path / "down.zip", tmp_path / "unzipped.zarr")
    expected = tree_files(tmp_path / "s.zarr")
    assert tree_files(tmp_path / "down.zarr") == tree_files(tmp_path / "unzipped.zarr") == expected
    for dest, why in ((s3, "is STORE itself"), (f"{s3}/wave", "one lies in the other")):
        with pytest.raises(ArgumentError, match=why):
            copy(s3, dest)


def test_what_a_copy_lost_on_s3_is_copied_again(s3, tmp_path):
    write_store(tmp_path / "s.zarr", VIDEOS, FAILED)
    copy(tmp_path / "s.zarr", s3)
    storage = ObjectStorage(s3)
    storage.delete("wave/50%25/zarr.json".replace("50%25", "50%2525"))
    storage.write("wave/a?b*c/flow/c.0.0.0.0", b"cut off")
    assert copy(tmp_path / "s.zarr", s3).n_videos == 2
    np.testing.assert_array_equal(flowstore.open_store(s3)["wave/a?b*c"].codes[:], VIDEOS["wave/a?b*c"])


# ---- what dies


@pytest.mark.slow
def test_a_killed_extraction_resumes(s3, tmp_path, expected):
    write_dataset(tmp_path / "source", n_videos=12, n_frames=20)
    command = extract_command(tmp_path / "source", s3)
    process = subprocess.Popen(command, env=process_environment())
    storage = ObjectStorage(s3)
    while not any(storage.read(f"{path}/zarr.json") for path in video_paths(storage) if "index" not in path):
        assert process.poll() is None
    process.kill()
    process.wait()
    committed = [path for path in video_paths(storage) if read_record(storage, path)]
    for path in committed:
        record = read_record(storage, path)
        sizes = [storage.size_bytes(f"{path}/flow/c.{n}.0.0.0") for n in range(len(record.shard_sizes))]
        assert sizes == list(record.shard_sizes)
    assert len(committed) < 24
    outcome = run("extract", tmp_path / "source", s3, "--scheduler", "threads", "--json")
    assert outcome.code == 0, outcome.err
    extract(tmp_path / "source", tmp_path / "local.zarr")
    check_same(s3, flowstore.open_store(tmp_path / "local.zarr"))


@pytest.mark.slow
def test_two_extractions_at_once_leave_a_whole_store(s3, source, expected):
    processes = [
        subprocess.Popen(extract_command(source, s3), env=process_environment(), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [(process.communicate()[1], process.returncode) for process in processes]
    for text, code in ended:
        assert code == 0 or len(text.splitlines()) == 1, text
    assert extract(source, s3).is_all_well
    check_same(s3, expected)


# ---- connections that drop


def through(proxy, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)


def port_of(url):
    return int(url.rpartition(":")[2])


@pytest.mark.parametrize("every", [2, 3, 7])
def test_connections_that_drop_now_and_then_are_tried_again(s3, s3_server, source, expected, monkeypatch, every):
    # Each of these is cut on its way up, in the middle of a request.
    with CuttingProxy(port_of(s3_server), cut_after=lambda n: 700 if n % every == 0 else None) as proxy:
        through(proxy, monkeypatch)
        report = extract(source, s3, scheduler="threads", workers=2)
    assert report.is_all_well
    assert proxy.n_cut > 0
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    check_same(s3, expected)


def test_answers_that_are_cut_off_are_asked_for_again(s3, s3_server, monkeypatch):
    write_store(s3, VIDEOS)
    with CuttingProxy(port_of(s3_server), answers_cut_after=lambda n: 4000 if n % 2 == 0 else None) as proxy:
        through(proxy, monkeypatch)
        for key, codes in VIDEOS.items():
            np.testing.assert_array_equal(flowstore.open_store(s3)[key].codes[:], codes)
    assert proxy.n_cut > 0


def test_a_network_that_goes_away_ends_in_one_line_and_resumes(s3, s3_server, source, expected):
    stores = {n_whole: f"{s3}/after_{n_whole}" for n_whole in (3, 8, 20)}

    def lose_the_network(n_whole):
        # Connections are kept, so that the number of bytes on each decides when it ends.
        with CuttingProxy(port_of(s3_server), cut_after=lambda n: 600 * n_whole if n == 0 else 0) as proxy:
            started = time.monotonic()
            command = "extract", source, stores[n_whole], "--scheduler", "sync", "--quiet"
            return run(*command, AWS_ENDPOINT_URL=proxy.url), time.monotonic() - started

    # Most of each is waiting for a network that does not come back.
    with ThreadPoolExecutor() as pool:
        outcomes = dict(zip(stores, pool.map(lose_the_network, stores), strict=True))
    for n_whole, (outcome, seconds) in outcomes.items():
        store = stores[n_whole]
        assert outcome.code in (1, 2)
        assert outcome.error_line.startswith(f"flowstore: {store}: ")
        assert "run again" in outcome.error_line
        assert seconds < 60
        storage = ObjectStorage(store)
        for path in video_paths(storage):
            record = read_record(storage, path)
            assert record is None or record.shard_sizes == expected[path].record.shard_sizes
        assert extract(source, store).is_all_well
        check_same(store, expected)


def test_an_upload_that_is_cut_off_leaves_nothing(s3, s3_server, monkeypatch):
    with CuttingProxy(port_of(s3_server), cut_after=lambda n: 500_000) as proxy:
        through(proxy, monkeypatch)
        with pytest.raises(StoreUnreachableError, match="check the network"):
            ObjectStorage(s3).write("wave/a/flow/c.0.0.0.0", bytes(2_000_000))
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    assert ObjectStorage(s3).read("wave/a/flow/c.0.0.0.0") is None


@pytest.mark.slow
def test_an_upload_of_several_parts_that_is_cut_off_leaves_nothing(s3, s3_server, monkeypatch):
    # The first part arrives, the second does not.
    value = bytes(101 * 2**20)
    with CuttingProxy(port_of(s3_server), cut_after=lambda n: 70_000_000 if n == 0 else 1_000_000) as proxy:
        through(proxy, monkeypatch)
        with pytest.raises(StoreError):
            ObjectStorage(s3).write("c.0.0.0.0", value)
        assert proxy.n_cut > 0
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    assert ObjectStorage(s3).list_children("") == []
    ObjectStorage(s3).write("c.0.0.0.0", value)
    assert ObjectStorage(s3).size_bytes("c.0.0.0.0") == len(value)


# ---- what is missing


def check_refused(why, *args, **environment):
    """Run a command that must be refused with one line, soon."""
    started = time.monotonic()
    outcome = run(*args, **environment)
    assert outcome.code == 2, outcome
    assert why in outcome.error_line
    assert time.monotonic() - started < 30
    assert "Traceback" not in outcome.err + outcome.out


def test_no_bucket(s3, source, tmp_path):
    url = "s3://no-such-bucket/flow.zarr"
    write_store(tmp_path / "s.zarr", VIDEOS)
    for command in (("info", url), ("extract", source, url), ("copy", tmp_path / "s.zarr", url)):
        check_refused("there is no bucket 'no-such-bucket': make it first", *command)


def test_no_store(s3, tmp_path):
    check_refused(f"{s3}: no store here", "info", s3)
    ObjectStorage(s3).write("thesis.tex", b"years of work")
    check_refused("not a flowstore store", "info", s3)
    write_store(tmp_path / "s.zarr", VIDEOS)
    check_refused("not a flowstore store", "copy", tmp_path / "s.zarr", s3)


def test_no_credentials(s3, source, tmp_path):
    environment = {
        "AWS_ACCESS_KEY_ID": "",
        "AWS_SECRET_ACCESS_KEY": "",
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_CONFIG_FILE": os.devnull,
    }
    check_refused("set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "info", s3, **environment)
    check_refused("set AWS_PROFILE", "extract", source, s3, **environment)
    check_refused("set AWS_PROFILE", "info", s3, AWS_PROFILE="nobody", AWS_CONFIG_FILE=os.devnull)


def test_no_endpoint(s3, source):
    nobody = f"http://127.0.0.1:{free_port()}"
    check_refused("check the network and AWS_ENDPOINT_URL", "info", s3, AWS_ENDPOINT_URL=nobody)
    check_refused("check the network and AWS_ENDPOINT_URL", "extract", source, s3, AWS_ENDPOINT_URL=nobody)
    check_refused("Invalid endpoint", "info", s3, AWS_ENDPOINT_URL="nonsense")


@pytest.mark.parametrize(
    ("missing", "url", "why"),
    [
        ("s3fs", "s3://flows/a.zarr", "pip install 'flowstore[s3]'"),
        ("fsspec", "s3://flows/a.zarr", "pip install 'flowstore[s3]'"),
        ("gcsfs", "gs://flows/a.zarr", "pip install 'gcsfs'"),
    ],
)
def test_what_is_not_installed_is_named(missing, url, why):
    code = f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['flowstore', 'info', {url!r}]; " + (
        "from flowstore.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=process_environment(**CREDENTIALS), timeout=60
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert why in line


@pytest.mark.parametrize(
    ("url", "why"), [("s3://", "not the URL of a store"), ("nothing://a/b", "nothing://"), ("s3://a::b", "not the URL")]
)
def test_no_url_of_a_store(url, why):
    with pytest.raises((ArgumentError, StoreError), match=why):
        open_storage(url)


def test_a_store_in_memory_stays_zarrs():
    assert isinstance(open_storage(zarr.storage.MemoryStore()), ZarrStorage)

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ConfigError, Damaged, Missing, StoreError
from orchestrator.folder_manifest import FolderManifest, check_file_name, parse_manifest
from orchestrator.store import open_store

HELLO = hashlib.sha256(b"hello").hexdigest()
ABSENT = "0" * 64


@pytest.fixture(params=["folder", "memory", "local-by-fsspec"])
def store(request, tmp_path):
    """One store of each kind; the last takes the path of remote file systems to real files."""
    if request.param == "memory":
        yield open_store(f"memory://{uuid.uuid4().hex}/blobs", cache=tmp_path / "cache")
    elif request.param == "folder":
        yield open_store(str(tmp_path / "store of “Ü”"))
    else:
        yield open_store(f"dir::file://{tmp_path}/remote", cache=tmp_path / "cache")


@pytest.fixture
def local(tmp_path):
    return open_store(str(tmp_path / "store"))


def test_bytes_come_back(store):
    assert store.put_bytes(b"hello") == HELLO
    assert store.read_bytes(HELLO) == b"hello"
    assert store.open_local(HELLO).read_bytes() == b"hello"
    assert (store.has(HELLO), store.size(HELLO), store.has(ABSENT)) == (True, 5, False)
    store.verify(HELLO)
    assert store.put_bytes(b"hello") == HELLO
    store.put_bytes(b"")
    usage = store.usage()
    assert (usage.blobs, usage.size_bytes, usage.unfinished) == (2, 5, 0)
    assert {blob.name for blob in store.list()} == {HELLO, hashlib.sha256(b"").hexdigest()}


def test_a_file_comes_back_under_a_name(store, tmp_path):
    source = tmp_path / "a model.bin"
    source.write_bytes(os.urandom(3_000_000))
    sha256 = store.put_file(source)
    for _ in range(2):
        path = store.open_local(sha256, name="model.onnx")
        assert path.name == "model.onnx"
        assert path.read_bytes() == source.read_bytes()
    assert store.open_local(sha256, name="model.ort").suffix == ".ort"


def test_what_is_not_there_is_missing(store):
    for ask in (store.size, store.verify, store.open_local, store.read_bytes, store.folder):
        with pytest.raises(Missing, match=ABSENT):
            ask(ABSENT)
    assert not store.delete(ABSENT)
    assert store.usage().blobs == 0


def test_deleting_leaves_nothing(store):
    store.put_bytes(b"hello")
    view = store.open_local(HELLO, name="x.onnx")
    assert not store.delete(HELLO, unless_young=True)
    store.verify(HELLO)
    assert store.delete(HELLO)
    assert not store.has(HELLO)
    assert not view.exists()
    with pytest.raises(Missing):
        store.open_local(HELLO)
    assert store.put_bytes(b"hello") == HELLO
    assert store.open_local(HELLO, name="x.onnx").read_bytes() == b"hello"


@pytest.mark.parametrize("bad", ["", "abc", "../../etc/passwd", "A" * 64, "a" * 63 + "/", "a" * 65, "a" * 64 + "\n"])
def test_only_a_sha256_is_an_address(store, bad):
    for ask in (store.has, store.size, store.verify, store.open_local, store.read_bytes, store.delete, store.folder):
        with pytest.raises(StoreError, match="not a sha256"):
            ask(bad)


@pytest.mark.parametrize("bad", ["", ".", "..", "../x", "a/b", "/x", "a\\b", "a\0b", "a\nb", "x" * 300])
def test_only_a_plain_name_is_a_view(store, bad):
    store.put_bytes(b"hello")
    with pytest.raises(StoreError):
        store.open_local(HELLO, name=bad)


def test_a_folder_comes_back(store, tmp_path):
    source = tmp_path / "source"
    (source / "weights").mkdir(parents=True)
    (source / "model.onnx").write_bytes(b"graph")
    (source / "weights" / "läyer 1.bin").write_bytes(b"numbers")
    sha256 = store.put_folder(source)
    assert store.put_folder(source) == sha256
    assert set(store.folder(sha256).files) == {"model.onnx", "weights/läyer 1.bin"}
    assert all(store.has(member) for member in store.folder(sha256).files.values())
    for _ in range(2):
        into = store.open_folder(sha256, tmp_path / "deep" / "into")
        assert (into / "model.onnx").read_bytes() == b"graph"
        assert (into / "weights" / "läyer 1.bin").read_bytes() == b"numbers"
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["into"]


def test_a_folder_is_never_laid_out_over_something_else(local, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(b"a")
    sha256 = local.put_folder(tmp_path / "source")
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "mine").write_text("keep")
    (tmp_path / "file").write_text("keep")
    for target in ("into", "file"):
        with pytest.raises(StoreError, match="something else"):
            local.open_folder(sha256, tmp_path / target)
    assert (tmp_path / "into" / "mine").read_text() == "keep"
    assert (tmp_path / "file").read_text() == "keep"
    (tmp_path / "empty").mkdir()
    assert (local.open_folder(sha256, tmp_path / "empty") / "a").read_bytes() == b"a"


def test_links_out_of_a_folder_are_refused(local, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "secret").symlink_to("/etc/passwd")
    with pytest.raises(StoreError, match="neither a file nor a folder"):
        local.put_folder(tmp_path / "source")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="1 to"):
        local.put_folder(tmp_path / "empty")
    with pytest.raises(StoreError, match="cannot be read"):
        local.put_folder(tmp_path / "absent")


@pytest.mark.parametrize(
    "manifest",
    [
        b"not json",
        b"[]",
        b"{}",
        b'{"thresher_folder":2,"files":{}}',
        b'{"thresher_folder":1,"files":{"a":1}}',
        b'{"thresher_folder":1,"files":{"a":"../../etc/passwd"}}',
        b'{"thresher_folder":1,"files":{"../a":"' + b"a" * 64 + b'"}}',
        b'{"thresher_folder":1,"files":{"/a":"' + b"a" * 64 + b'"}}',
        b'{"thresher_folder":1,"files":{"a":"' + b"a" * 64 + b'","a/b":"' + b"a" * 64 + b'"}}',
        b"[" * 100_000,
        b" " * 5_000_000,
    ],
)
def test_a_hostile_manifest_lays_out_nothing(local, tmp_path, manifest):
    sha256 = local.put_bytes(manifest)
    with pytest.raises(StoreError, match=sha256):
        local.open_folder(sha256, tmp_path / "into")
    assert not (tmp_path / "into").exists()


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=12), st.just("a" * 64), min_size=1, max_size=4))
def test_a_manifest_is_refused_or_comes_back_and_stays_inside(files):
    try:
        manifest = FolderManifest(files)
    except StoreError:
        return
    assert dict(parse_manifest(manifest.to_json()).files) == files
    for name in files:
        check_file_name(name)
        assert Path("/root", name).resolve().is_relative_to("/root")


def test_blobs_are_read_only_and_damage_is_noticed(local):
    local.put_bytes(b"hello")
    path = local.open_local(HELLO)
    assert stat.S_IMODE(path.stat().st_mode) & 0o222 == 0
    path.chmod(0o644)
    path.write_bytes(b"hellO")
    for ask in (local.verify, local.open_local, local.read_bytes):
        with pytest.raises(Damaged, match=HELLO):
            ask(HELLO)
    path.write_bytes(b"hel")
    local.put_bytes(b"hello")
    local.verify(HELLO)


def test_a_damaged_cache_of_a_remote_store_is_fetched_again(tmp_path):
    store = open_store(f"memory://{uuid.uuid4().hex}", cache=tmp_path / "cache")
    store.put_bytes(b"hello")
    path = store.open_local(HELLO)
    assert tmp_path in path.parents
    path.chmod(0o644)
    path.write_bytes(b"rotten")
    assert store.open_local(HELLO).read_bytes() == b"hello"


def test_damage_in_a_remote_store_is_noticed(tmp_path):
    store = open_store(f"dir::file://{tmp_path}/remote", cache=tmp_path / "cache")
    store.put_bytes(b"hello")
    next((tmp_path / "remote").rglob(HELLO)).write_bytes(b"hellO")
    for ask in (store.verify, store.open_local):
        with pytest.raises(Damaged):
            ask(HELLO)
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_many_writers_of_one_blob(store):
    data = os.urandom(300_000)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(store.put_bytes(data))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [hashlib.sha256(data).hexdigest()] * 8
    store.verify(found[0])
    assert (store.usage().blobs, store.usage().unfinished) == (1, 0)


def test_storing_again_makes_a_blob_young(local):
    local.put_bytes(b"hello")
    path = local.open_local(HELLO)
    os.utime(path, (0, 0))
    local.put_bytes(b"hello")
    assert next(iter(local.list())).modified_at > 1e9


def test_what_killed_writers_left_is_counted_and_swept_when_old(local, tmp_path):
    local.put_bytes(b"hello")
    shard = tmp_path / "store" / HELLO[:2]
    old, young = (shard / f"{HELLO[:40]}.{uuid.uuid4().hex}.part" for _ in range(2))
    old.write_bytes(b"xxx")
    young.write_bytes(b"xxxx")
    (shard / "README").write_text("not ours")
    os.utime(old, (0, 0))
    assert (local.usage().blobs, local.usage().unfinished, local.usage().unfinished_bytes) == (1, 2, 7)
    assert local.sweep() == 3
    assert not old.exists()
    assert young.exists()
    assert (shard / "README").exists()


def test_a_file_that_cannot_be_read(local, tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(StoreError, match="cannot be read to be stored"):
            local.put_file(path)


def test_a_full_disk_keeps_nothing_of_the_write(on_small_disk):
    code = """
import sys
from pathlib import Path
from orchestrator.errors import OutOfSpace
from orchestrator.store import open_store
store = open_store(sys.argv[1])
kept = store.put_bytes(b"k" * 300_000)
for attempt in range(2):
    try:
        store.put_bytes(b"x" * 900_000)
    except OutOfSpace as error:
        assert "900000 bytes" in str(error) and sys.argv[1] in str(error), error
    else:
        raise SystemExit("it fitted")
assert store.usage().blobs == 1 and store.usage().unfinished == 0, store.usage()
store.verify(kept)
store.put_bytes(b"y" * 300_000)
print("fine")
"""
    done = on_small_disk(code)
    assert done.stdout == "fine\n", done.stderr


def test_a_file_size_limit_is_no_space_too(local, tmp_path):
    """Quotas and limits refuse with other error numbers than a full disk."""
    (tmp_path / "big").write_bytes(b"x" * 500_000)
    code = (
        "import resource, sys; from pathlib import Path; from orchestrator.store import open_store\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "open_store(sys.argv[1]).put_file(Path(sys.argv[2]))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "store", tmp_path / "big"], check=False, capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1].startswith("orchestrator.errors.OutOfSpace"), done.stderr
    assert (local.usage().blobs, local.usage().unfinished) == (0, 0)


def test_an_unwritable_folder_is_named_with_the_user(tmp_path, unprivileged):
    (tmp_path / "store").mkdir(mode=0o555)
    done = unprivileged(
        "import sys; from orchestrator.store import open_store; open_store(sys.argv[1]).put_bytes(b'x')", tmp_path / "store"
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("orchestrator.errors.StoreError"), done.stderr
    assert str(tmp_path / "store") in last
    assert "user " in last


@pytest.mark.parametrize("url", ["nosuchprotocol://x/y", "adl://x/y"])
def test_a_url_that_cannot_be_used(url):
    with pytest.raises(ConfigError, match=url.split(":")[0]):
        open_store(url)

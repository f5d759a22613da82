import errno
import hashlib
import os
import random
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilnas_agent.cache import CacheError, ModelCache, WrongContentError, is_digest

HOSTILE = ["", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "\n", "/" + "a" * 63, "g" * 64, "a" * 65]


def digest_of(content):
    return hashlib.sha256(content).hexdigest()


def put(cache, content):
    partial = cache.begin(digest_of(content), len(content))
    partial.write(content[partial.offset :])
    partial.commit()
    return digest_of(content)


def has(cache, digest, size):
    held = cache.hold(digest, size)
    if held is None:
        return False
    held.close()
    return True


@pytest.fixture
def cache(tmp_path):
    return ModelCache(tmp_path / "cache", 1000)


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_but_a_digest_becomes_a_file_name(cache, name):
    assert not is_digest(name)
    for call in (cache.hold, cache.begin):
        with pytest.raises(CacheError, match="no SHA-256 digest"):
            call(name, 10)
    assert list(cache.root.iterdir()) == []


@settings(deadline=None)
@given(st.text(max_size=80))
def test_a_digest_is_64_lower_case_hexadecimal_digits(text):
    assert is_digest(text) == (len(text) == 64 and set(text) <= set("0123456789abcdef"))


def test_what_is_put_is_held_with_its_content(cache):
    digest = put(cache, b"model")
    held = cache.hold(digest, 5)
    assert held.path.read_bytes() == b"model"
    assert held.path == cache.root / digest
    held.close()
    assert cache.hold("0" * 64, 5) is None


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=3000), st.lists(st.integers(0, 3000), max_size=4), st.integers(0, 2**32))
def test_a_transfer_cut_anywhere_ends_in_the_same_file(tmp_path_factory, content, cuts, seed):
    cache = ModelCache(tmp_path_factory.mktemp("cache"), 5000)
    rng = random.Random(seed)
    digest = digest_of(content)
    for cut in [*sorted(cuts), len(content)]:
        assert not (cache.root / digest).exists()
        partial = cache.begin(digest, len(content))
        while partial.offset < min(cut, len(content)):
            end = min(partial.offset + rng.randint(1, 700), cut)
            partial.write(content[partial.offset : end])
        if cut == len(content):
            partial.commit()
            break
        partial.close()
    assert (cache.root / digest).read_bytes() == content
    assert [path.name for path in cache.root.iterdir()] == [digest]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=15))
def test_the_quota_always_holds(tmp_path_factory, sizes):
    cache = ModelCache(tmp_path_factory.mktemp("cache"), 1000)
    for number, size in enumerate(sizes):
        put(cache, bytes([number]) * size)
        assert sum(path.stat().st_size for path in cache.root.iterdir()) <= 1000


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 400)), min_size=1, max_size=15))
def test_the_quota_holds_for_two_that_share_a_directory(tmp_path_factory, puts):
    root = tmp_path_factory.mktemp("cache")
    caches = ModelCache(root, 1000), ModelCache(root, 1000)
    for number, (second, size) in enumerate(puts):
        time.sleep(0.01)  # a file system's clock ticks every few ms
        put(caches[second], bytes([number]) * size)
        assert sum(path.stat().st_size for path in root.iterdir()) <= 1000


def test_a_transfer_that_was_given_up_takes_no_room_for_good(cache):
    for number in range(20):
        partial = cache.begin(digest_of(b"%d" % number), 300)
        partial.write(b"x")
        partial.close()
    kept = [put(cache, bytes([number]) * 300) for number in range(3)]
    assert all(has(cache, digest, 300) for digest in kept)


def test_the_longest_unused_is_dropped_first(cache):
    digests = [put(cache, bytes([number]) * 400) for number in range(2)]
    for age, digest in enumerate(digests):
        os.utime(cache.root / digest, ns=(age, age))
    assert has(cache, digests[0], 400)
    put(cache, b"new" * 100)
    assert has(cache, digests[0], 400)
    assert not has(cache, digests[1], 400)


def test_nothing_is_remembered_of_what_was_dropped(cache):
    for number in range(200):
        content = b"%100d" % number
        assert has(cache, put(cache, content), len(content))
    assert len(cache._verified) <= 11


def test_a_model_in_use_is_never_dropped(cache):
    digest = put(cache, b"u" * 600)
    held = cache.hold(digest, 600)
    with pytest.raises(CacheError, match="--cache-mib"):
        put(cache, b"n" * 600)
    assert held.path.exists()
    held.close()
    put(cache, b"n" * 600)
    assert not held.path.exists()


def test_wrong_content_is_deleted(cache):
    partial = cache.begin("0" * 64, 5)
    partial.write(b"other")
    with pytest.raises(WrongContentError, match="0000"):
        partial.commit()
    assert list(cache.root.iterdir()) == []


def test_more_than_was_declared_is_refused(cache):
    partial = cache.begin("0" * 64, 5)
    with pytest.raises(WrongContentError, match="longer"):
        partial.write(b"123456")
    assert list(cache.root.iterdir()) == []


def test_a_model_over_the_quota_is_refused_before_anything_is_written(cache):
    with pytest.raises(CacheError, match="--cache-mib"):
        cache.begin("0" * 64, 1001)
    assert list(cache.root.iterdir()) == []


def test_a_torn_model_under_its_final_name_is_not_believed(tmp_path):
    root = tmp_path / "cache"
    digest = put(ModelCache(root, 1000), b"whole model")
    (root / digest).write_bytes(b"whole m\0del")
    fresh = ModelCache(root, 1000)
    assert fresh.hold(digest, 11) is None
    assert not (root / digest).exists()


def test_a_model_of_another_size_is_not_believed(cache):
    digest = put(cache, b"model")
    assert cache.hold(digest, 6) is None


def test_a_change_after_the_first_check_is_noticed(cache):
    digest = put(cache, b"model")
    assert has(cache, digest, 5)
    (cache.root / digest).write_bytes(b"m0del")
    os.utime(cache.root / digest, ns=(1, 1))
    assert cache.hold(digest, 5) is None


def test_a_link_in_the_place_of_a_model_is_not_followed(cache, tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"model")
    (cache.root / digest_of(b"model")).symlink_to(target)
    assert cache.hold(digest_of(b"model"), 5) is None
    (cache.root / f"{'0' * 64}.part").symlink_to(target)
    with pytest.raises(CacheError):
        cache.begin("0" * 64, 5)
    assert target.read_bytes() == b"model"


def test_two_writers_of_one_model_do_not_mix(cache):
    content = b"x" * 100
    first = cache.begin(digest_of(content), 100)
    first.write(content[:60])
    second = ModelCache(cache.root, 1000).begin(digest_of(content), 100)
    assert second.offset == 0
    second.write(content)
    second.commit()
    first.write(content[60:])
    first.commit()
    assert (cache.root / digest_of(content)).read_bytes() == content
    assert len(list(cache.root.iterdir())) == 1


@pytest.fixture
def small_disk(tmp_path):
    """A disk that is smaller than the cache may be."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", tmp_path]
    mounted = subprocess.run(mount, check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk needs the right to mount one: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_a_disk_smaller_than_the_quota_is_made_room_on_too(small_disk):
    cache = ModelCache(small_disk / "cache", 64 << 20)
    first = cache.hold(put(cache, b"in use" * 5000), 30000)
    kept = [put(cache, bytes([number]) * 40_000) for number in range(20)]
    assert first is not None and first.path.exists(), "what is in use stays"
    assert cache.hold(kept[-1], 40_000) and not (cache.root / kept[0]).exists()
    with pytest.raises(CacheError, match="free at least 300000 bytes"):
        put(cache, bytes(300_000))  # all that is not in use would not do
    first.close()


def test_a_full_disk_is_named_with_its_remedy(cache, monkeypatch):
    partial = cache.begin("0" * 64, 5)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(CacheError) as caught:
        partial.write(b"12345")
    assert str(cache.root) in str(caught.value)
    assert "free at least 5 bytes" in str(caught.value)


def test_a_large_model_whose_writing_out_fails_is_not_there(tmp_path, monkeypatch):
    cache, content = ModelCache(tmp_path, 4 << 20), random.Random(0).randbytes(2 << 20)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", full)
        with pytest.raises(CacheError, match="is full"):
            put(cache, content)
    assert not has(cache, digest_of(content), len(content))
    assert has(cache, put(cache, content), len(content))


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="--cache-dir"):
        ModelCache(tmp_path / "file" / "cache", 1000)


def test_strangers_in_the_directory_are_left_alone(cache):
    (cache.root / "epoch").write_text("5" * 900)
    put(cache, b"x" * 900)
    assert (cache.root / "epoch").exists()


def test_a_transfer_that_finds_no_room_leaves_nothing_open(tmp_path):
    cache = ModelCache(tmp_path, 100)
    digest = put(cache, b"a" * 80)
    held = cache.hold(digest, 80)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(CacheError, match="no room"):
            cache.begin(digest_of(b"b" * 50), 50)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    held.close()
    put(cache, b"b" * 50)

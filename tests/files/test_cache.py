"""Vectors in a folder that others may write to: numbers that are checked, or none."""

import os
import pickle
import warnings

import numpy as np
import pytest

from skmm.files._cache import VectorCache

VECTOR = np.array([1.5, -2.0, 0.25], dtype=np.float32)


@pytest.fixture
def cache(tmp_path):
    cache = VectorCache(tmp_path, "model", 3)
    cache.write("content", VECTOR)
    return cache


def entry(cache):
    return next(cache.folder.iterdir())


def test_what_was_written_is_read_by_content_model_and_size(cache, tmp_path):
    found = VectorCache(tmp_path, "model", 3).read("content")
    assert found.dtype == np.float32
    assert found.tolist() == VECTOR.tolist()
    assert cache.read("other") is None
    assert VectorCache(tmp_path, "another", 3).read("content") is None
    assert VectorCache(tmp_path, "model", 2).read("content") is None


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def flipped(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content + b"x",
        flipped,
        lambda content: b"\0" * len(content),
        lambda content: pickle.dumps(Harm()),
        lambda content: content[:32] + np.full(3, np.nan, np.float32).tobytes(),
    ],
    ids=["empty", "cut", "longer", "flipped", "zeros", "pickle", "nan"],
)
def test_a_damaged_entry_counts_as_absent_and_is_written_anew(cache, tmp_path, monkeypatch, change):
    monkeypatch.chdir(tmp_path)
    entry(cache).write_bytes(change(entry(cache).read_bytes()))
    with pytest.warns(UserWarning, match=r"the cached vector '.*\.vector' is damaged, and is computed anew"):
        assert cache.read("content") is None
    cache.write("content", VECTOR)
    assert cache.read("content").tolist() == VECTOR.tolist()
    assert not (tmp_path / "harm").exists()


def test_an_entry_that_was_put_in_the_place_of_another_is_not_believed(cache):
    cache.write("other", -VECTOR)
    first, second = sorted(cache.folder.iterdir(), key=lambda file: cache._file("other") == file)
    first.write_bytes(second.read_bytes())
    with pytest.warns(UserWarning, match="is damaged"):
        assert cache.read("content") is None
    assert cache.read("other").tolist() == (-VECTOR).tolist()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_not_opened(cache, tmp_path, kind):
    file = entry(cache)
    kept = file.rename(tmp_path / "elsewhere")
    {"link": lambda: file.symlink_to(kept), "pipe": lambda: os.mkfifo(file), "folder": file.mkdir}[kind]()
    with pytest.warns(UserWarning, match="is damaged"):
        assert cache.read("content") is None


def test_vectors_that_are_not_finite_are_not_kept(cache):
    cache.write("odd", np.array([1.0, np.nan, 2.0]))
    assert cache.read("odd") is None


def full_disk(self, *args, **kwargs):
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_one_warning_and_leaves_nothing(cache, monkeypatch):
    before = sorted(cache.folder.iterdir())
    opened = type(cache.folder).open

    class Full:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.stream.close()

        write = full_disk

    monkeypatch.setattr(type(cache.folder), "open", lambda self, mode: Full(opened(self, mode)))
    with pytest.warns(UserWarning, match=r"vectors cannot be kept in .*No space left on device"):
        cache.write("other", VECTOR)
    cache.write("more", VECTOR)  # and nothing is said again
    assert sorted(cache.folder.iterdir()) == before
    monkeypatch.undo()
    assert cache.read("content").tolist() == VECTOR.tolist()


def test_an_interrupted_write_leaves_nothing(cache, monkeypatch):
    def interrupt(self, target):
        raise KeyboardInterrupt

    before = sorted(cache.folder.iterdir())
    monkeypatch.setattr(type(cache.folder), "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.write("other", VECTOR)
    assert sorted(cache.folder.iterdir()) == before


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("no folder")
    cache = VectorCache(tmp_path / "file", "model", 3)
    with pytest.warns(UserWarning, match="vectors cannot be kept in"):
        cache.write("content", VECTOR)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.read("content") is None

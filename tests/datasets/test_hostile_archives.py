"""Archives and HDF5 files that were made to do harm, or were damaged: one error, which names the file."""

import os
import pickle
import struct
import warnings

import h5py
import numpy as np
import pytest
from test_archives import csd, mmsa_part, mult_part, three, write

from skmm import Blocks
from skmm.datasets import load_csd, load_feature_archive
from skmm.files._reading import Budget
from skmm.preprocessing.sequences import TimedSequence, align, read_csd

FEATURES, INTERVALS = [[1.0], [3.0]], [[0.0, 1.0], [1.0, 2.0]]

# -- .csd: nothing outside of the file -----------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path):
    """What another file holds, once as plain bytes and once as a sequence."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "secret.bin").write_bytes(np.arange(2.0).tobytes())
    return csd(folder / "secret.csd", {"v1": (FEATURES, INTERVALS)})


def outside_link(file, secret, place):
    link = h5py.ExternalLink(str(secret), "/secret/data/v1/features")
    if place == "features":
        file["s/data/v1/features"], file["s/data/v1/intervals"] = link, INTERVALS
    elif place == "data":
        file["s/data"] = h5py.ExternalLink(str(secret), "/secret/data")
    elif place == "group":
        file["s"] = h5py.ExternalLink(str(secret), "/secret")
    elif place == "metadata":
        file["s/data/v1/features"], file["s/data/v1/intervals"] = FEATURES, INTERVALS
        file["s/metadata/note"] = link
    elif place == "soft":
        file["s/out"] = h5py.ExternalLink(str(secret), "/secret")
        file["s/data/v1/features"] = h5py.SoftLink("/s/out/data/v1/features")
        file["s/data/v1/intervals"] = INTERVALS


@pytest.mark.parametrize("place", ["features", "data", "group", "metadata", "soft"])
def test_a_link_to_another_file_is_refused(tmp_path, secret, place):
    path = tmp_path / "bad.csd"
    with h5py.File(path, "w") as file:
        outside_link(file, secret, place)
    with pytest.raises(ValueError, match=r"bad\.csd' cannot be .*: .* link to another file, .*secret\.csd"):
        read_csd(path)


def outside_storage(group, name, secret):
    group.create_dataset(name, (2, 1), "f8", external=[(str(secret.with_suffix(".bin")), 0, 16)])


def virtual(group, name, secret):
    layout = h5py.VirtualLayout(shape=(2, 1), dtype="f8")
    layout[:] = h5py.VirtualSource(str(secret), "/secret/data/v1/features", shape=(2, 1))
    group.create_virtual_dataset(name, layout)


@pytest.mark.parametrize(
    ("make", "message"),
    [(outside_storage, r"stand in another file, .*secret\.bin"), (virtual, "is a virtual data set")],
)
def test_values_that_stand_in_another_file_are_refused(tmp_path, secret, make, message):
    path = tmp_path / "bad.csd"
    with h5py.File(path, "w") as file:
        make(file.create_group("s/data/v1"), "features", secret)
        file["s/data/v1/intervals"] = INTERVALS
    with pytest.raises(ValueError, match=rf"bad\.csd' cannot be read as HDF5: .*{message}"):
        load_csd({"s": path}, path)
    with h5py.File(path) as file, pytest.raises(ValueError, match=f"modality 's': .*{message}"):
        Blocks(s=file["s/data/v1/features"])


def test_a_link_inside_the_file_is_followed_and_one_in_a_circle_is_not(tmp_path):
    path = csd(tmp_path / "good.csd", {"v1": (FEATURES, INTERVALS)})
    with h5py.File(path, "a") as file:
        file["good/data/v2"] = h5py.SoftLink("/good/data/v1")
        file["good/data/v3/features"] = h5py.SoftLink("../v1")  # HDF5 knows no way up
        file["good/data/v3/intervals"] = INTERVALS
    with pytest.raises(ValueError, match=r"good\.csd', video 'v3': there is no array 'features'"):
        read_csd(path)
    with h5py.File(path, "a") as file:
        del file["good/data/v3"]
    assert read_csd(path).features["v2"].tolist() == FEATURES
    with h5py.File(path, "a") as file:
        file["good/data/v3"] = h5py.SoftLink("/good/data/v4")
        file["good/data/v4"] = h5py.SoftLink("/good/data/v3")
    with pytest.raises(ValueError, match=r"good\.csd' .*is a link to a link, and so on"):
        read_csd(path)


def test_hard_links_in_a_circle_have_no_arrays(tmp_path):
    path = csd(tmp_path / "good.csd", {"v1": (FEATURES, INTERVALS)})
    with h5py.File(path, "a") as file:
        file["good/data/v2"] = file["good"]
    with pytest.raises(ValueError, match=r"good\.csd', video 'v2': there is no array 'intervals'"):
        read_csd(path)


# -- .csd: more than the file holds --------------------------------------------------------------------------------


def declared(group):
    group.create_dataset("features", (10**9, 8), "f8", chunks=(1000, 8), compression="gzip")


def large_chunk(group):
    group.create_dataset("features", (2, 1), "f8", chunks=(2, 10**8), maxshape=(None, None))


def repeated_strings(group):
    """Strings that all point at the same one."""
    words = group.create_dataset("features", (300,), h5py.string_dtype())
    words[:] = "x"
    words[0] = "y" * 2**21


@pytest.mark.parametrize("make", [declared, large_chunk, repeated_strings])
def test_more_than_a_file_of_its_size_may_hold_is_refused(tmp_path, make):
    path = tmp_path / "bad.csd"
    with h5py.File(path, "w") as file:
        make(file.create_group("s/data/v1"))
        file["s/data/v1/intervals"] = INTERVALS
    with pytest.raises(ValueError, match=r"bad\.csd' cannot be read as HDF5: its content takes .* bytes or more"):
        read_csd(path)


def test_one_array_in_many_places_counts_in_each(tmp_path, monkeypatch):
    monkeypatch.setattr(Budget, "small", 2**22)
    path = csd(tmp_path / "bad.csd", {"v": (np.zeros((2**10, 8)), np.zeros((2**10, 2)))})
    with h5py.File(path, "a") as file:
        for i in range(90):
            file[f"bad/data/w{i}"] = file["bad/data/v"]
    with pytest.raises(ValueError, match=r"bad\.csd' .*its content takes"):
        read_csd(path)


def test_what_is_neither_number_nor_string_is_refused(tmp_path):
    path = tmp_path / "bad.csd"
    for make in (
        lambda group: group.create_dataset("features", (2, 1), h5py.ref_dtype),
        lambda group: group.create_dataset("features", (2, 1), h5py.vlen_dtype("f4")),
        lambda group: group.create_dataset("features", data=np.zeros((2, 1), [("a", "f4")])),
        lambda group: group.create_dataset("features", data=h5py.Empty("f4")),
    ):
        with h5py.File(path, "w") as file:
            make(file.create_group("s/data/v1"))
            file["s/data/v1/intervals"] = INTERVALS
        with pytest.raises(ValueError, match=r"bad\.csd' .*features' holds neither numbers nor strings"):
            read_csd(path)


def test_a_filter_that_would_be_loaded_is_refused(tmp_path):
    path = tmp_path / "bad.csd"
    with h5py.File(path, "w") as file:
        group = file.create_group("s/data/v1")
        data = group.create_dataset("features", data=np.zeros((8, 64)), chunks=(8, 64), fletcher32=True)
        place = data.id.get_chunk_info(0).byte_offset
        group["intervals"] = np.zeros((8, 2))
    content = path.read_bytes()
    # the message of the filters: version 2 has no name for those below 256; Fletcher's is number 3
    entry = struct.pack("<HHHHH", 3, 0, 1, 0, 0)[:8]
    at = [i for i in range(place) if content[i : i + 2] == entry[:2] and b"fletcher" in content[i : i + 40]]
    assert len(at) == 1
    path.write_bytes(content[: at[0]] + struct.pack("<H", 32015) + content[at[0] + 2 :])
    with pytest.raises(ValueError, match=r"bad\.csd' .*needs the filter 32015"):
        read_csd(path)


def test_steps_that_all_overlap_are_refused_before_they_are_paired():
    everywhere = np.tile([0.0, 1.0], (20_000, 1))
    many = TimedSequence({"v": everywhere}, {"v": np.zeros((20_000, 1))}, "many")
    with pytest.raises(ValueError, match="sequence 'many', video 'v': 20000 steps and 20000 intervals have 4.0e"):
        align({"a": many, "b": many}, to="a")


def test_numbers_of_another_byte_order_are_read(tmp_path):
    path = csd(tmp_path / "big.csd", {"v1": (np.array(FEATURES, ">f4"), np.array(INTERVALS, ">f8"))})
    with h5py.File(path) as file:
        assert file["big/data/v1/features"].dtype == np.dtype(">f4")
    read = read_csd(path)
    assert read.features["v1"].dtype == np.dtype("=f4")
    assert read.features["v1"].tolist() == FEATURES
    assert load_csd({"a": path}, path).target.tolist() == [1.0, 3.0]


def test_videos_of_other_widths_are_named(tmp_path):
    path = csd(tmp_path / "odd.csd", {"v1": (FEATURES, INTERVALS), "v2": ([[1.0, 2.0]], [[0, 1]])})
    with pytest.raises(ValueError, match=r"odd\.csd', video 'v2': its features are 2 numbers a step, .*'v1'"):
        read_csd(path)


def test_metadata_of_too_many_brackets_stay_text(tmp_path):
    path = csd(tmp_path / "deep.csd", {"v1": (FEATURES, INTERVALS)})
    with h5py.File(path, "a") as file:
        file["deep/metadata/note"] = "[" * 100_000
    assert read_csd(path).metadata["note"] == "[" * 100_000


# -- pickles that run nothing, and still ---------------------------------------------------------------------------

START = b"\x80\x04"
TUPLES, DOUBLED = b")" + b"\x85" * 50_000, b")" + b"2\x86" * 30


def encoded_again(times):
    text = b"x" * 1_000_000
    call = b"h\x00h\x01h\x02\x86R"
    start = b"c_codecs\nencode\n\x94X" + struct.pack("<I", len(text)) + text + b"\x94\x8c\x06latin1\x94"
    return start + b"](" + call * times + b"e"


def state_of(shape, dtype, raw):
    class Made:
        def __reduce__(self):
            whole, made, _ = np.zeros(2).__reduce__()
            return whole, made, (1, shape, np.dtype(dtype), False, raw)

    return pickle.dumps({"train": {"text": Made(), "labels": np.zeros(2)}}, protocol=4)


@pytest.mark.parametrize(
    ("content", "message"),
    {
        "tuples in one another": (TUPLES, "a tuple inside 100 others"),
        "lists in one another": (b"]" * 50_000 + b"a" * 49_999, "a list inside 100 others"),
        "tuples in one another as a key": (b"}" + TUPLES + b"Ns", "a tuple as a key"),
        "doubled as a key": (b"}" + DOUBLED + b"Ns", "a tuple as a key"),
        "doubled in a set": (b"\x8f(" + DOUBLED + b"\x90", "a tuple as a key"),
        "doubled in a frozenset": (b"(" + DOUBLED + b"\x91", "a tuple as a key"),
        "doubled": (b"]" + DOUBLED + b"a", r"a tuple of .*e\+08 values"),
        "encoded again and again": (encoded_again(300), "its content takes"),
        "numbers of one hash": (
            b"}(" + b"".join(pickle.dumps(i * (2**61 - 1), 2)[2:-1] + b"N" for i in range(1, 9)) + b"u",
            "a key from",
        ),
        "more bytes than there are": (b"\x8e" + struct.pack("<Q", 2**62), "cut off: 4611686018427387904 bytes"),
        "negative bytes": (b"T" + struct.pack("<i", -5), "cut off: -5 bytes"),
        "what was not kept": (b"j" + struct.pack("<I", 2**31), "recalls the value 2147483648"),
        "one long string among many": (
            b"](" + b"X" + struct.pack("<I", 10**6) + b"x" * 10**6 + b"\x8c\x01a" * 1000 + b"e",
            r"a list of 1\.0e\+09 values and characters",
        ),
    }.values(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_small_file_takes_little_time_and_memory(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"archive\.pkl' cannot be read as a pickle of plain arrays: .*{message}"):
        load_feature_archive(write(tmp_path, START + content + b"."))


def test_values_that_take_more_than_the_file_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(Budget, "small", 2**22)
    with pytest.raises(ValueError, match=r"archive\.pkl' .*its content takes 4\.2e\+06 bytes or more"):
        load_feature_archive(write(tmp_path, START + b"\x8f" * 50_000 + b"."))


def test_a_number_in_the_memo_costs_no_memory(tmp_path):
    """Python's own reader keeps a list as long as the largest number."""
    path = write(tmp_path, START + b"}r" + struct.pack("<I", 2**31) + b"j" + struct.pack("<I", 2**31) + b".")
    with pytest.raises(ValueError, match="is no feature archive"):
        load_feature_archive(path)


@pytest.mark.parametrize(
    ("shape", "raw", "message"),
    [
        ((2**40, 4), bytes(16), "more than the file has room for"),
        ((2**40, 0), b"", "more than the file has room for"),
        ((3, 4), bytes(16), "cannot reshape"),
    ],
)
def test_a_shape_of_more_than_the_bytes_is_refused(tmp_path, shape, raw, message):
    with pytest.raises(ValueError, match=rf"archive\.pkl' .*{message}"):
        load_feature_archive(write(tmp_path, state_of(shape, "f4", raw)))


def test_one_array_in_many_subsets_counts_in_each(tmp_path):
    part = {"text": np.zeros((5_000, 10, 20)), "labels": np.zeros(5_000)}
    content = pickle.dumps({f"part{i}": part for i in range(200)})
    with pytest.raises(ValueError, match=r"a dict of .*e\+08 values"):
        load_feature_archive(write(tmp_path, content))


def test_ids_of_tokens_are_numbers_that_can_be_some(tmp_path):
    for wrong in (np.nan, np.inf, -1.0, 1e12):
        part = mmsa_part(3)
        part["text_bert"][0, 0, 0] = wrong
        part["text_bert"][0, 1, 0] = 1
        with pytest.raises(ValueError, match=r"archive\.pkl', subset 'train', .*'text_bert': .* is no id of"):
            load_feature_archive(write(tmp_path, {"train": part}), modalities="text_bert")


def test_strings_of_the_first_protocol_are_read(tmp_path):
    part = mult_part(3)
    for protocol in (0, 1):
        read = load_feature_archive(write(tmp_path, {"train": part}, protocol), subset="train")
        np.testing.assert_array_equal(read.data["text"], part["text"])
    two = b"(dp0\nS'a\\xe9'\np1\nI5\nsS'b'\nL7L\nsS'c'\nF1.5\nsS'd'\nI01\ns."
    path = write(tmp_path, two)
    with pytest.raises(
        ValueError, match=r"the keys found are \{'aé': 'int', 'b': 'int', 'c': 'float', 'd': 'bool'\}"
    ):
        load_feature_archive(path)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_not_waited_for(tmp_path, kind):
    path = tmp_path / "odd"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    for read in (load_feature_archive, read_csd):
        with pytest.raises(ValueError, match=r"odd' is (a folder|no regular file)"):
            read(path)


# -- damage --------------------------------------------------------------------------------------------------------


def damaged(content, rng):
    """A copy that is cut off, or in which bytes or bits are others."""
    content = bytearray(content)
    if rng.random() < 0.2:
        return bytes(content[: rng.integers(len(content))])
    for _ in range(rng.choice([1, 3, 20])):
        content[rng.integers(len(content))] ^= int(rng.integers(1, 256))
    return bytes(content)


def outcome(read, name):
    """Whether it was read; what is raised is a ValueError with the name of the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of infinite features, which damage makes
            read()
    except ValueError as error:
        if name not in str(error):
            raise
        return False
    return True


def test_damaged_sequences_are_read_or_named(tmp_path):
    rng = np.random.default_rng(0)
    path = csd(tmp_path / "good.csd", {f"v{i}": (rng.normal(size=(2, 3)), INTERVALS) for i in range(3)})
    with h5py.File(path, "a") as file:
        group = file.create_group("good/data/v4")
        group["intervals"] = INTERVALS
        group.create_dataset("features", data=np.ones((2, 3)), chunks=(1, 3), compression="gzip")
        file["good/metadata/note"] = '{"a": [1, 2]}'
    content = path.read_bytes()
    read = 0
    for _ in range(150):
        (tmp_path / "bad.csd").write_bytes(damaged(content, rng))
        read += outcome(lambda: read_csd(tmp_path / "bad.csd"), "bad.csd")
    assert 0 < read < 150


@pytest.mark.parametrize("part", [mmsa_part, mult_part])
def test_damaged_archives_are_read_or_named(tmp_path, part):
    rng = np.random.default_rng(0)
    content = pickle.dumps(three(part))
    read = 0
    for _ in range(75):
        path = write(tmp_path, damaged(content, rng), name="bad.pkl")
        read += outcome(lambda path=path: load_feature_archive(path), "bad.pkl")
    assert 0 < read < 75

"""Archives of features: both layouts read as they were written, and a pickle that would run code is refused."""

import io
import os
import pickle
import re
import struct

import h5py
import numpy as np
import pytest

from skmm import MultimodalRegressor
from skmm.datasets import load_csd, load_feature_archive
from skmm.datasets._pickles import read_pickle

PROTOCOLS = [2, 3, 4, 5]


def write(folder, content, protocol=4, name="archive.pkl"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol))
    return path


def mmsa_part(n, first=0, seed=0, unaligned=True):
    """One subset as MMSA lays it out."""
    rng = np.random.default_rng(seed)
    score = rng.uniform(-3, 3, n)
    mask = np.arange(7) < rng.integers(3, 8, n)[:, None]
    part = {
        "raw_text": np.array([f"sentence {i}" for i in range(n)]),
        "text": (score[:, None, None] + rng.normal(size=(n, 7, 5))).astype(np.float32),
        "text_bert": np.stack([rng.integers(1, 99, (n, 7)) * mask, mask, 0 * mask], axis=1).astype(np.float32),
        "audio": rng.normal(size=(n, 9, 3)),
        "vision": rng.normal(size=(n, 8, 2)).astype(">f8"),
        "id": [f"03bSni_{(first + i) // 3}$_${i % 3}" for i in range(n)],
        "regression_labels": score,
        "classification_labels": np.sign(score) + 1,
        "annotations": ["Positive" if s > 0 else "Negative" for s in score],
    }
    if unaligned:
        part["audio_lengths"] = rng.integers(1, 10, n).tolist()
        part["vision_lengths"] = rng.integers(1, 9, n)
    return part


def mult_part(n, seed=0):
    """One subset as MulT lays it out."""
    rng = np.random.default_rng(seed)
    ids = [[f"v_{i // 2}".encode(), b"%.1f" % i, b"%.1f" % (i + 1)] for i in range(n)]
    return {
        "text": rng.normal(size=(n, 6, 4)).astype(np.float32),
        "vision": rng.normal(size=(n, 6, 3)).astype(np.float32),
        "audio": rng.normal(size=(n, 6, 2)).astype(np.float32),
        "labels": rng.uniform(-3, 3, (n, 1, 1)),
        "id": np.array(ids, dtype=object),
    }


def three(part):
    return {"train": part(12, seed=0), "valid": part(4, seed=1), "test": part(6, seed=2)}


# -- what is read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_mmsa_archives_give_back_what_was_written(tmp_path, protocol):
    content = three(mmsa_part)
    archive = load_feature_archive(write(tmp_path, content, protocol))
    assert list(archive) == ["train", "valid", "test"]
    for name, part in content.items():
        read = archive[name]
        assert list(read.data) == ["text", "audio", "vision"]
        np.testing.assert_array_equal(read.data["text"], part["text"])
        for modality in ("audio", "vision"):
            lengths = part[f"{modality}_lengths"]
            for row, length in enumerate(lengths):
                np.testing.assert_allclose(read.data[modality][row], part[modality][row, :length], rtol=1e-6)
        assert {block.dtype for block in read.data.values()} == {np.dtype(np.float32)}
        np.testing.assert_array_equal(read.target, part["regression_labels"])
        np.testing.assert_array_equal(read.labels["classification_labels"], part["classification_labels"])
        assert read.labels["annotations"].tolist() == part["annotations"]
        assert read.ids.tolist() == part["id"]
        assert read.groups.tolist() == [name.split("$")[0].removesuffix("_") for name in part["id"]]
        assert read.raw_text == part["raw_text"].tolist()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_mult_archives_give_back_what_was_written(tmp_path, protocol):
    content = three(mult_part)
    read = load_feature_archive(write(tmp_path, content, protocol), subset="valid")
    part = content["valid"]
    for name in ("text", "audio", "vision"):
        np.testing.assert_array_equal(read.data[name], part[name])
    np.testing.assert_array_equal(read.target, part["labels"].ravel())
    assert read.ids[:3].tolist() == ["v_0$_$0.0$_$1.0", "v_0$_$1.0$_$2.0", "v_1$_$2.0$_$3.0"]
    assert read.groups.tolist() == ["v_0", "v_0", "v_1", "v_1"]
    assert read.raw_text is None


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3).astype(dtype)
        for dtype in ("f2", "f4", "f8", ">f4", ">i2", "i1", "u2", "u8", "i8", "?")
    ]
    + [
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(12.0)[::-2],
        np.array(3.5),
        np.zeros((0, 4), np.float32),
        np.array([["a", "bcd"], ["é", ""]]),
        np.array([b"ab", b"\xff\x00c"]),
        np.array(["ab", b"c", 1, 2.5, None, True, np.float32(1.5)], dtype=object),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_numbers_and_strings_survive(tmp_path, array, protocol):
    read = read_pickle(str(write(tmp_path, {"x": [array, {"again": array}]}, protocol)))["x"]
    for found in (read[0], read[1]["again"]):
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars_and_containers_survive(tmp_path, protocol):
    content = {
        "a": (1, 2.5, None, True),
        "b": b"\x00\xff",
        "c": b"",
        "d": {1, 2},
        "e": [np.float64(1.5), np.str_("é")],
    }
    assert read_pickle(str(write(tmp_path, content, protocol))) == content


def test_the_names_of_numpy_1_and_of_python_2_are_known(tmp_path):
    # what NumPy 1 wrote, and Python 2, whose bytes are strings
    one = pickle.dumps({"x": np.arange(3.0)}, protocol=2).replace(b"numpy._core", b"numpy.core")
    assert b"numpy.core.multiarray" in one
    np.testing.assert_array_equal(read_pickle(str(write(tmp_path, one)))["x"], np.arange(3.0))
    raw = np.array([1.5, -2.0]).tobytes()
    two = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\n"
        b"dtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U"
        + struct.pack("B", len(raw))
        + raw
        + b"tb."
    )
    np.testing.assert_array_equal(read_pickle(str(write(tmp_path, two))), [1.5, -2.0])


def test_a_subset_as_X_and_y_trains_an_estimator(tmp_path):
    path = write(tmp_path, three(mmsa_part))
    X, y = load_feature_archive(path, subset="train", return_X_y=True)
    X_test, _ = load_feature_archive(path, subset="test", return_X_y=True)
    reg = MultimodalRegressor(n_members=1, max_epochs=2, random_state=0).fit(X, y)
    assert np.isfinite(reg.predict(X_test)).all()


def test_token_ids_are_what_the_mask_shows(tmp_path):
    content = three(mmsa_part)
    read = load_feature_archive(write(tmp_path, content), subset="train", modalities=["text_bert", "audio"])
    assert read.data.kinds == {"text_bert": "tokens", "audio": "sequence"}
    ids, mask, _ = np.moveaxis(content["train"]["text_bert"], 1, 0)
    for row, tokens in enumerate(read.data["text_bert"]):
        np.testing.assert_array_equal(tokens, ids[row][mask[row] > 0])
        assert tokens.dtype == np.int64


def test_other_labels_on_request(tmp_path):
    content = three(mmsa_part)
    for part in content.values():
        part["regression_labels_T"] = np.arange(len(part["id"]), dtype=float)
    path = write(tmp_path, content)
    read = load_feature_archive(path, target="regression_labels_T").test
    np.testing.assert_array_equal(read.target, np.arange(6))
    with pytest.raises(
        ValueError, match=r"'valid' has no labels 'regression_labels_V'; it has \['regression_labels'"
    ):
        load_feature_archive(path, target="regression_labels_V", subset="valid")


def test_padding_stays_on_request(tmp_path):
    content = three(mmsa_part)
    read = load_feature_archive(write(tmp_path, content), subset="train", ragged=False)
    np.testing.assert_allclose(read.data["audio"], content["train"]["audio"], rtol=1e-6)


def test_a_sequence_of_length_0_is_missing(tmp_path):
    content = three(mmsa_part)
    content["train"]["audio_lengths"][2] = 0
    read = load_feature_archive(write(tmp_path, content), subset="train")
    assert np.flatnonzero(~read.data.present["audio"]).tolist() == [2]


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["a$_$1", "a$_$2", "b$_$1"], ["a", "a", "b"]),
        (["a_-b[0]", "a_-b[12]", "c[1][2]"], ["a_-b", "a_-b", "c[1]"]),
        (["a_1", "a_2", "b_1"], None),  # an underscore may be part of a video's name
        (["a$_$1", "a_2", "b$_$1"], None),
    ],
)
def test_groups_are_the_videos_where_names_tell_them(tmp_path, names, groups):
    part = {"text": np.zeros((3, 2)), "labels": np.zeros(3), "id": names}
    found = load_feature_archive(write(tmp_path, {"train": part}), subset="train").groups
    assert (found if found is None else found.tolist()) == groups


# -- infinite values -----------------------------------------------------------------------------------------------


def with_infinities(tmp_path, unaligned):
    content = three(lambda n, seed: mmsa_part(n, seed=seed, unaligned=unaligned))
    audio, train = content["train"]["audio"], content["train"]
    if unaligned:
        train["audio_lengths"] = [9, 5, 9, 9] + train["audio_lengths"][4:]
        audio[1, 5:] = np.nan  # behind the end
    audio[0, 0, 1] = audio[2, 3, 0] = -np.inf
    audio[2, 4, 0] = np.nan
    return write(tmp_path, content), audio


@pytest.mark.parametrize("unaligned", [True, False])
def test_infinite_values_become_zero_with_a_warning_that_counts_them(tmp_path, unaligned):
    path, audio = with_infinities(tmp_path, unaligned)
    with pytest.warns(UserWarning, match=r"infinite values and NaN replaced by 0 \(audio: 3\)"):
        read = load_feature_archive(path)
    for row in (0, 2):
        expected = np.where(np.isfinite(audio[row]), audio[row], 0)
        np.testing.assert_allclose(read.train.data["audio"][row], expected, rtol=1e-6)
    assert read.train.data.present["audio"].all()


@pytest.mark.parametrize("unaligned", [True, False])
def test_infinite_values_make_a_row_missing_or_an_error_on_request(tmp_path, unaligned):
    path, _ = with_infinities(tmp_path, unaligned)
    with pytest.warns(UserWarning, match="made their sample's modality missing"):
        read = load_feature_archive(path, nonfinite="missing", subset="train")
    assert np.flatnonzero(~read.data.present["audio"]).tolist() == [0, 2]
    assert read.data.present["text"].all()
    with pytest.raises(ValueError, match=r"'train', modality 'audio': 3 values are infinite or NaN, .* in row 0"):
        load_feature_archive(path, nonfinite="raise")
    with pytest.raises(ValueError, match="unknown nonfinite 'drop', valid are"):
        load_feature_archive(path, nonfinite="drop")


# -- what is refused -----------------------------------------------------------------------------------------------


class Runs:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("function", "args", "named"),
    [
        (os.mkdir, ("harm",), r"\w+.mkdir"),
        (eval, ("__import__('os').mkdir('harm')",), r"_*builtins?_*.eval"),
        (exec, ("import os; os.mkdir('harm')",), r"_*builtins?_*.exec"),
        (getattr, (os, "mkdir"), "getattr"),
        (np.load, ("harm",), r"numpy\S*\.load"),
        (np.save, ("harm", 1), r"numpy\S*\.save"),
        (np.memmap, ("harm", "u1", "w+", 0, (3,)), r"numpy\S*memmap"),
        (pickle.loads, (b"N.",), r"_?pickle.loads"),
        (io.open, ("harm", "w"), r"io.open"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_pickle_that_would_run_something_is_refused_and_does_not(
    tmp_path, monkeypatch, protocol, function, args, named
):
    monkeypatch.chdir(tmp_path)
    if function is getattr:
        args = (Runs(__import__, "os"), "mkdir")
        named = "__import__|getattr"
    path = write(tmp_path, {"train": mult_part(3), "extra": Runs(function, *args)}, protocol)
    with pytest.raises(ValueError, match=rf"archive.pkl' .* it asks for \S*({named}), .* nothing was run"):
        load_feature_archive(path)
    assert os.listdir(tmp_path) == ["archive.pkl"]


NDARRAY = b"cnumpy\nndarray\n"


@pytest.mark.parametrize(
    "content",
    {
        "NEWOBJ": b"\x80\x02" + NDARRAY + b")\x81.",
        "REDUCE": b"\x80\x02" + NDARRAY + b"K\x03\x85R.",
        "BUILD": b"\x80\x02" + NDARRAY + b"}X\x01\x00\x00\x00xK\x01sb.",
        "BUILD with slots": b"\x80\x02" + NDARRAY + b"N}X\x04\x00\x00\x00callK\x01s\x86b.",
        "the class itself": b"\x80\x02" + NDARRAY + b".",
        "INST": b"(inumpy\nndarray\n.",
        "OBJ": b"\x80\x02(" + NDARRAY + b"o.",
        "a persistent name": b"\x80\x02Pname\n.",
        "an attribute": b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.dumps\x93.",
        "an array without content": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n"
        + NDARRAY
        + b"K\x00\x85C\x01b\x87R.",
    }.items(),
    ids=lambda item: item[0],
)
def test_what_an_opcode_can_do_with_a_permitted_name_is_an_error(tmp_path, content):
    with pytest.raises(ValueError, match="cannot be read as a pickle of plain arrays"):
        load_feature_archive(write(tmp_path, content[1]))


def doubled(value, kind, times=10, levels=25):
    """A value that is small in memory and in the file, and larger than both when it is written out."""
    for level in range(levels):
        value = {f"{level}{i}": value for i in range(times)} if kind is dict else kind([value] * times)
    return value


@pytest.mark.parametrize("kind", [list, tuple, dict])
@pytest.mark.parametrize("where", ["extra", "id", "raw_text", "labels", "audio_lengths"])
def test_lists_in_lists_that_no_memory_holds_are_refused(tmp_path, kind, where):
    part = mult_part(3)
    part[where] = doubled("x", kind)
    path = write(tmp_path, {"train": part})
    assert path.stat().st_size < 20_000
    with pytest.raises(ValueError, match=rf"plain arrays: it holds a {kind.__name__} of .*e\+\d+ values"):
        load_feature_archive(path)


def test_an_array_of_objects_that_no_memory_holds_is_refused(tmp_path):
    part = mult_part(3)
    part["id"] = np.empty(3, dtype=object)
    part["id"][:] = [doubled("x", list)] * 3
    with pytest.raises(ValueError, match="an array of objects, among them a list"):
        load_feature_archive(write(tmp_path, {"train": part}))


@pytest.mark.parametrize("kind", [list, dict])
def test_what_holds_itself_is_refused(tmp_path, kind):
    endless = kind()
    endless.append(endless) if kind is list else endless.update(again=[endless])
    path = write(tmp_path, {"train": mult_part(3), "extra": endless})
    with pytest.raises(ValueError, match=rf"it holds a {kind.__name__} that holds itself"):
        load_feature_archive(path)


def test_what_stands_in_several_places_is_read_in_all(tmp_path):
    part = mult_part(4)
    read = load_feature_archive(write(tmp_path, {"train": part, "valid": part, "more": [part["id"]] * 3}))
    for subset in (read.train, read.valid):
        np.testing.assert_array_equal(subset.target, part["labels"].ravel())
        np.testing.assert_array_equal(subset.data["text"], part["text"])


def test_a_file_that_memory_cannot_hold_says_so(tmp_path, monkeypatch):
    def load(self):
        raise MemoryError

    monkeypatch.setattr("skmm.datasets._pickles._Machine.run", load)
    with pytest.raises(ValueError, match=r"cannot be read as a pickle of plain arrays: MemoryError\.$"):
        load_feature_archive(write(tmp_path, {}))


def test_a_state_that_would_make_an_array_of_pointers_is_refused(tmp_path):
    """NumPy's own dtype believes a state that calls eight bytes an object, and the array then follows them."""
    content = pickle.dumps({"train": {"text": np.arange(2)}}, protocol=2)
    state, fields = rb"(X\x01\x00\x00\x00<q.)NNN", b"\\1NX\x01\x00\x00\x00f\x85N"
    content, n = re.subn(state, fields, content, flags=re.DOTALL)
    assert n == 1
    with pytest.raises(ValueError, match="an array of records"):
        load_feature_archive(write(tmp_path, content))


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (np.array([np.zeros(2), [1]], dtype=object), "an array of objects, among them a ndarray"),
        (np.array([{"a": 1}, None], dtype=object), "an array of objects, among them a dict"),
        (np.zeros(2, dtype=[("a", "f4")]), "dtype 'V4'"),
        (np.zeros(2, dtype="M8[s]"), "dtype 'M8'"),
        (np.zeros(2, dtype=complex), "dtype 'c16'"),
        (np.ma.masked_array([1.0, 2.0], mask=[True, False]), "numpy.ma"),
        (np.recarray(2, dtype=[("a", "f4")]), "numpy.rec"),
    ],
    ids=["ragged", "dicts", "records", "dates", "complex", "masked", "recarray"],
)
def test_arrays_that_are_not_plain_are_refused(tmp_path, array, named):
    with pytest.raises(ValueError, match=named):
        load_feature_archive(write(tmp_path, {"train": {"text": array}}))


@pytest.mark.parametrize(
    ("dtype", "raw", "named"),
    [
        ("f8", [1.0, 2.0], "whose content is a list, not bytes"),
        ("f8", b"too short", "buffer size must be a multiple"),
        ("f8", bytes(24), "cannot reshape array of size 3"),
        ("O", bytes(16), "an array of objects that is no list"),
    ],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_array_must_hold_what_its_dtype_says(tmp_path, protocol, dtype, raw, named):
    class Made:
        def __reduce__(self):
            whole, made, _ = np.zeros(2).__reduce__()
            return whole, made, (1, (2,), np.dtype(dtype), False, raw)

    with pytest.raises(ValueError, match=named):
        load_feature_archive(write(tmp_path, {"train": {"text": Made()}}, protocol))


def test_what_is_read_can_be_written_to(tmp_path):
    read = load_feature_archive(write(tmp_path, three(mult_part)), subset="train")
    read.target -= read.target.mean()
    assert read.target.mean() == pytest.approx(0)


@pytest.mark.parametrize("keep", [0, 1, 10, 200, -1])
def test_a_file_that_is_cut_off_is_no_archive(tmp_path, keep):
    whole = pickle.dumps(three(mult_part))
    with pytest.raises(ValueError, match="cannot be read as a pickle of plain arrays"):
        load_feature_archive(write(tmp_path, whole[:keep]))


def test_a_file_that_is_no_pickle_is_no_archive(tmp_path):
    with pytest.raises(ValueError, match="cannot be read as a pickle of plain arrays"):
        load_feature_archive(write(tmp_path, b"PK\x03\x04 this is a zip file"))
    with pytest.raises(FileNotFoundError):
        load_feature_archive(tmp_path / "absent.pkl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, expected a dict of 'train', 'valid' and 'test'"),
        ({"videos": {"a": 1}, "n": 3}, r"the keys found are \{'videos': \['a'\], 'n': 'int'\}"),
        (
            {"train": {"text": [[1.0], [2.0, 3.0]], "labels": [1, 2]}},
            r"modality 'text': expected an array of numbers .* list",
        ),
        (
            {"train": {"text": np.zeros(3), "labels": np.zeros(3)}},
            r"modality 'text': expected an array .* float64 \(3,\)",
        ),
        ({"train": {"text": np.zeros((3, 2)), "labels": np.zeros(2)}}, "subset 'train': .*inconsistent numbers"),
        (
            {"train": {"text": np.zeros((3, 2)), "audio": np.zeros((2, 2)), "labels": np.zeros(3)}},
            "'text': 3, 'audio': 2",
        ),
        ({"train": {"text": np.zeros((3, 2))}}, r"has no labels 'labels'; it has \[\] among the keys \['text'\]"),
        (
            {"train": {"audio": np.zeros((2, 4, 1)), "audio_lengths": [3, 5], "labels": np.zeros(2)}},
            r"modality 'audio': its lengths must be 2 whole numbers from 0 to 4, .* from 3 to 5",
        ),
        (
            {"train": {"audio": np.zeros((2, 4, 1)), "audio_lengths": [3], "labels": np.zeros(2)}},
            "its lengths must be 2 whole numbers",
        ),
    ],
)
def test_another_layout_is_an_error_that_says_what_was_found(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        load_feature_archive(write(tmp_path, content))


def test_unknown_subsets_and_modalities_are_named(tmp_path):
    path = write(tmp_path, three(mult_part))
    with pytest.raises(ValueError, match=r"unknown subset 'dev', valid are \['train', 'valid', 'test'\]"):
        load_feature_archive(path, subset="dev")
    with pytest.raises(ValueError, match="has no modality 'smell'; its keys are"):
        load_feature_archive(path, modalities=["text", "smell"])
    with pytest.raises(ValueError, match="has no modality 'smell'; its keys are"):
        load_feature_archive(path, modalities="smell")
    with pytest.raises(ValueError, match="return_X_y=True needs a subset"):
        load_feature_archive(path, return_X_y=True)


def test_one_modality_may_be_given_by_its_name(tmp_path):
    path = write(tmp_path, three(mult_part))
    read = load_feature_archive(path, modalities="text", subset="train")
    assert list(read.data) == ["text"]
    np.testing.assert_array_equal(read.data["text"], load_feature_archive(path).train.data["text"])


# -- .csd ----------------------------------------------------------------------------------------------------------


def csd(path, videos):
    with h5py.File(path, "w") as file:
        for video, (features, intervals) in videos.items():
            group = file.create_group(f"{path.stem}/data/{video}")
            group["features"], group["intervals"] = features, intervals
    return path


@pytest.fixture
def sequences(tmp_path):
    words = {"v1": ([[b"good"], [b"film"], [b"bad"]], [[0, 1], [1, 2], [2, 4]])}
    pitch = {
        "v1": ([[1.0], [3.0], [-np.inf], [7.0]], [[0, 1], [1, 2], [2, 3], [3, 4]]),
        "v2": ([[5.0], [9.0]], [[0, 1], [1, 2]]),
    }
    labels = {"v1": ([[1.5], [-2.0]], [[0, 2], [2, 4]]), "v2": ([[0.5]], [[0, 2]])}
    files = {"words": csd(tmp_path / "words.csd", words), "pitch": csd(tmp_path / "pitch.csd", pitch)}
    return files, csd(tmp_path / "labels.csd", labels)


def test_computational_sequences_are_cut_into_labelled_segments(sequences):
    read = load_csd(*sequences)
    assert read.ids.tolist() == ["v1[0]", "v1[1]", "v2[0]"]
    assert read.groups.tolist() == ["v1", "v1", "v2"]
    assert read.target.tolist() == [1.5, -2.0, 0.5]
    assert [x.ravel().tolist() for x in read.data["pitch"]] == [[1, 3], [0, 7], [5, 9]]
    assert read.text == {"words": [["good", "film"], ["bad"], None]}


def test_computational_sequences_are_aligned_on_request(sequences):
    read = load_csd(*sequences, align_to="words")
    assert [read.data["pitch"][i].ravel().tolist() for i in (0, 1)] == [[1, 3], [7]]
    assert read.data.present["pitch"].tolist() == [True, True, False]  # v2 has no words to align to
    assert read.target.tolist() == [1.5, -2.0, 0.5]
    with pytest.raises(ValueError, match="unknown align_to 'sound', valid are"):
        load_csd(*sequences, align_to="sound")


def test_computational_sequences_as_data_and_target(sequences):
    read, (data, target) = load_csd(*sequences), load_csd(*sequences, return_X_y=True)
    assert [x.ravel().tolist() for x in data["pitch"]] == [x.ravel().tolist() for x in read.data["pitch"]]
    assert target.tolist() == read.target.tolist()


def test_modalities_of_which_nothing_is_labelled_are_named(sequences, tmp_path):
    files, labels = sequences
    other = csd(tmp_path / "energy.csd", {f"w{i}": ([[1.0]], [[0, 1]]) for i in range(4)})
    message = (
        r"modality 'energy' would be missing in all of the 3 segments: no step of its 4 videos, "
        r"\['w0', 'w1', 'w2'\] and so on, lies in a labelled segment of the 2 videos \['v1', 'v2'\]"
    )
    with pytest.raises(ValueError, match=message):
        load_csd({**files, "energy": other}, labels)
    late = csd(tmp_path / "late.csd", {"v1": ([[1.0]], [[9, 10]])})  # after the last label
    with pytest.raises(ValueError, match="modality 'late' would be missing in all of the 3 segments"):
        load_csd({**files, "late": late}, labels)
    words = csd(tmp_path / "names.csd", {"w1": ([[b"good"]], [[0, 1]])})
    with pytest.raises(ValueError, match="modality 'words' would be missing in all"):
        load_csd({**files, "words": words}, labels)
    beside = csd(tmp_path / "beside.csd", {"v2": ([[1.0]], [[0, 1]])})  # where there are no words
    assert load_csd({**files, "beside": beside}, labels).data.present["beside"].tolist() == [False, False, True]
    with pytest.raises(
        ValueError, match="modality 'beside' would be missing in all .* overlaps with one of 'words'"
    ):
        load_csd({**files, "beside": beside}, labels, align_to="words")


def test_several_labels_and_no_numbers(sequences, tmp_path):
    files, _ = sequences
    two = csd(tmp_path / "two.csd", {"v1": ([[1.5, 0.0], [-2.0, 1.0]], [[0, 2], [2, 4]])})
    assert load_csd(files, two).target.tolist() == [[1.5, 0.0], [-2.0, 1.0]]
    with pytest.raises(ValueError, match=r"no sequence of numbers among \['words'\]"):
        load_csd({"words": files["words"]}, two)

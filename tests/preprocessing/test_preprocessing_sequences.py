"""Tests of skmm.preprocessing.sequences."""

import json
import sys

import h5py
import numpy as np
import pytest
from conftest import small

from skmm.preprocessing.sequences import TimedSequence, align, read_csd, segment


def write_csd(path, name, videos, metadata=None):
    """A file as the SDK writes it."""
    with h5py.File(path, "w") as file:
        for video, (intervals, features) in videos.items():
            group = file.create_group(f"{name}/data/{video}")
            group.create_dataset("intervals", data=np.asarray(intervals))
            group.create_dataset("features", data=np.asarray(features))
        group = file.create_group(f"{name}/metadata")
        for key, value in (metadata or {}).items():
            text = group.create_dataset(key, (1,), dtype=h5py.special_dtype(vlen=str))
            text[0] = json.dumps(value)
    return path


def random_sequence(rng, videos, n_features=3, *, nested=False, name="s"):
    intervals, features = {}, {}
    for video in videos:
        n = rng.integers(5, 40)
        cuts = np.sort(rng.uniform(0, 10, n + 1))
        if nested:  # overlapping, unsorted, of any length
            start = rng.uniform(0, 10, n)
            times = np.column_stack([start, start + rng.exponential(1.0, n)])
        else:
            times = np.column_stack([cuts[:-1], cuts[1:]])
        intervals[video], features[video] = times, rng.normal(size=(n, n_features)).astype(np.float32)
    return TimedSequence(intervals, features, name)


def by_loops(sequence, reference, video, how):
    """Average of the overlapping features, as its definition reads."""
    out = []
    for a, b in reference.intervals[video]:
        chosen, weights = [], []
        for (start, end), feature in zip(sequence.intervals[video], sequence.features[video], strict=True):
            seconds = min(end, b) - max(start, a)
            if seconds > 1e-6:
                chosen.append(feature.astype(np.float64))
                weights.append(seconds if how == "weighted" else 1.0)
        out.append(
            np.average(chosen, axis=0, weights=weights) if chosen else np.zeros(sequence.features[video].shape[1])
        )
    return np.array(out)


@pytest.mark.parametrize("how", ["mean", "weighted"])
@pytest.mark.parametrize("nested", [False, True])
def test_alignment_is_the_average_of_what_overlaps(how, nested):
    rng = np.random.default_rng(0)
    videos = ["v1", "v2", "v3"]
    words = random_sequence(rng, videos, 1)
    audio = random_sequence(rng, videos, 3, nested=nested)
    aligned = align({"words": words, "audio": audio}, to="words", how=how)
    for row, video in enumerate(aligned.ids):
        np.testing.assert_allclose(
            aligned.data["audio"][row], by_loops(audio, words, video, how), rtol=1e-5, atol=1e-5
        )


def test_the_reference_keeps_its_own_features_and_times():
    rng = np.random.default_rng(1)
    words = random_sequence(rng, ["a", "b"], nested=True)
    aligned = align({"words": words, "audio": random_sequence(rng, ["a", "b"])}, to="words")
    for row, video in enumerate(aligned.ids):
        np.testing.assert_array_equal(aligned.data["words"][row], words.features[video])
        np.testing.assert_array_equal(aligned.intervals[row], words.intervals[video])


def test_videos_missing_in_a_modality_are_missing_rows():
    words = TimedSequence({"a": [[0, 1]], "b": [[0, 1]]}, {"a": [["x"]], "b": [["y"]]})
    audio = TimedSequence({"b": [[0, 1]], "c": [[0, 1]]}, {"b": [[1.0]], "c": [[2.0]]})
    video = TimedSequence({"a": [[0, 1]], "b": [[5, 6]]}, {"a": [[1.0]], "b": [[2.0]]})
    aligned = align({"audio": audio, "video": video, "words": words}, to="words")
    assert aligned.ids.tolist() == ["a", "b", "c"]
    assert aligned.data.present["audio"].tolist() == [False, True, False]
    assert aligned.data.present["video"].tolist() == [True, False, False]  # in b it overlaps with no word
    assert aligned.text == [["x"], ["y"], None]
    assert [len(times) for times in aligned.intervals] == [1, 1, 0]


def test_a_step_without_overlap_has_the_fill_value():
    words = TimedSequence({"a": [[0, 1], [1, 2]]}, {"a": [["x"], ["y"]]})
    audio = TimedSequence({"a": [[0, 1]]}, {"a": [[3.0, 4.0]]})
    for fill in (0.0, -1.0):
        data = align({"words": words, "audio": audio}, to="words", fill_value=fill).data
        assert data["audio"][0].tolist() == [[3.0, 4.0], [fill, fill]]


def test_intervals_that_touch_do_not_overlap_even_if_rounded():
    words = TimedSequence({"a": [[0, 0.1 + 0.2], [0.1 + 0.2, 1]]}, {"a": [["x"], ["y"]]})
    audio = TimedSequence({"a": [[0, 0.3], [0.3, 1]]}, {"a": [[1.0], [5.0]]})
    assert align({"words": words, "audio": audio}, to="words").data["audio"][0].tolist() == [[1.0], [5.0]]


@pytest.mark.parametrize("how", ["mean", "weighted"])
def test_a_point_in_time_belongs_to_the_step_that_it_lies_in(how):
    words = TimedSequence({"a": [[0, 1], [1, 2]]}, {"a": [["x"], ["y"]]})
    audio = TimedSequence({"a": [[0, 0], [0.5, 0.5], [1, 1], [2, 2]]}, {"a": [[1.0], [3.0], [5.0], [7.0]]})
    data = align({"words": words, "audio": audio}, to="words", how=how).data
    np.testing.assert_allclose(data["audio"][0], [[2.0], [5.0]], rtol=1e-6)


def test_nan_and_infinity_are_left_out_of_the_average():
    words = TimedSequence({"a": [[0, 2], [2, 3]]}, {"a": [["x"], ["y"]]})
    audio = TimedSequence({"a": [[0, 1], [1, 2], [2, 3]]}, {"a": [[np.nan, 2.0], [4.0, -np.inf], [np.nan, 6.0]]})
    data = align({"words": words, "audio": audio}, to="words").data
    assert data["audio"][0].tolist() == [[4.0, 2.0], [0.0, 6.0]]


def test_strings_are_text_and_only_of_the_reference():
    words = TimedSequence({"a": [[0, 1]]}, {"a": [["x"]]})
    audio = TimedSequence({"a": [[0, 1]]}, {"a": [[1.0]]})
    with pytest.raises(ValueError, match="'words' holds strings"):
        align({"words": words, "audio": audio}, to="audio")
    with pytest.raises(ValueError, match=r"no sequence of numbers among \['words'\]"):
        align({"words": words}, to="words")
    assert align({"audio": audio}, to="audio").text is None


@pytest.mark.parametrize(
    ("change", "message"),
    [({"to": "word"}, "'word'.*Did you mean 'words'"), ({"how": "sum"}, "'sum'.*mean.*weighted")],
)
def test_unknown_names_are_quoted(change, message):
    words = TimedSequence({"a": [[0, 1]]}, {"a": [[1.0]]})
    with pytest.raises(ValueError, match=message):
        align({"words": words}, **{"to": "words", **change})


def test_other_objects_are_no_sequence():
    with pytest.raises(ValueError, match="'words' must be a TimedSequence, got dict"):
        align({"words": {}}, to="words")


@pytest.mark.parametrize(
    ("intervals", "features", "message"),
    [
        ({"v": [[0, 1]]}, {}, "video 'v' has no features"),
        ({}, {"v": [[0.0]]}, "video 'v' has no intervals"),
        ({"v": [[0, 1]]}, {"v": [[0.0], [1.0]]}, r"'v'.*\(1, 2\) and \(2, 1\)"),
        ({"v": [0, 1]}, {"v": [[0.0], [1.0]]}, "'v'.*expected intervals"),
        ({"v": [[0, 1], [2, 1]]}, {"v": [[0.0], [1.0]]}, r"'v', step 1: \[2.0, 1.0\]"),
        ({"v": [[0, np.nan]]}, {"v": [[0.0]]}, "'v', step 0"),
        ({"v": [[0, 1]]}, {"v": [["a", "b"]]}, "'v'.*one column of strings"),
        ({"v": [[0, 1]]}, {"v": [[None]]}, "'v'.*object"),
    ],
)
def test_a_wrong_sequence_names_the_video(intervals, features, message):
    with pytest.raises(ValueError, match=message):
        TimedSequence(intervals, features, "s")


# -- files -----------------------------------------------------------------------------------------------------


def test_a_file_is_read_as_plain_h5py_reads_it(tmp_path):
    rng = np.random.default_rng(0)
    videos = {
        f"v{i}": (np.sort(rng.uniform(0, 9, (n, 2)), axis=1), rng.normal(size=(n, 4))) for i, n in [(1, 5), (2, 7)]
    }
    meta = {"root name": "COVAREP", "dimension names": ["a", "b"], "alignment": False}
    sequence = read_csd(write_csd(tmp_path / "a.csd", "COVAREP", videos, meta))
    assert (sequence.name, sequence.metadata) == ("COVAREP", meta)
    with h5py.File(tmp_path / "a.csd") as file:
        assert list(sequence.intervals) == list(file["COVAREP/data"])
        for video in sequence.intervals:
            np.testing.assert_array_equal(sequence.features[video], file[f"COVAREP/data/{video}/features"])
            np.testing.assert_array_equal(sequence.intervals[video], file[f"COVAREP/data/{video}/intervals"])


@pytest.mark.parametrize(
    ("stored", "dtype"), [("S8", "S8"), (object, h5py.special_dtype(vlen=str))], ids=["fixed", "variable"]
)
def test_words_are_strings(tmp_path, stored, dtype):
    with h5py.File(tmp_path / "w.csd", "w") as file:
        group = file.create_group("words/data/v")
        group["intervals"] = [[0.0, 1.0], [1.0, 2.0]]
        group.create_dataset("features", data=np.array([["é".encode()], [b"sp"]], dtype=stored), dtype=dtype)
    assert read_csd(tmp_path / "w.csd").features["v"].tolist() == [["é"], ["sp"]]


def test_files_are_aligned_and_learned_from(tmp_path):
    """From files to a prediction: the label is the sign of the audio's mean."""
    rng = np.random.default_rng(0)
    names = [f"v{i:02}" for i in range(60)]
    y = rng.integers(0, 2, 60)
    words, audio = {}, {}
    for name, label in zip(names, y, strict=True):
        n = rng.integers(3, 8)
        cuts = np.arange(n + 1.0)
        words[name] = np.column_stack([cuts[:-1], cuts[1:]]), np.array([[b"w"]] * n)
        times = np.arange(0, n, 0.1)
        audio[name] = np.column_stack([times, times + 0.1]), rng.normal(2 * label - 1, 1, (len(times), 2))
    sequences = {
        "words": read_csd(write_csd(tmp_path / "w.csd", "words", words)),
        "audio": read_csd(write_csd(tmp_path / "a.csd", "audio", audio)),
    }
    aligned = align(sequences, to="words")
    assert aligned.ids.tolist() == names
    assert aligned.data["audio"].lengths.tolist() == [len(text) for text in aligned.text]
    assert small().fit(aligned.data[:40], y[:40]).score(aligned.data[40:], y[40:]) == 1.0


def test_wrong_files_are_named(tmp_path):
    (tmp_path / "text.csd").write_text("no HDF5")
    with pytest.raises(ValueError, match=r"text\.csd.*cannot be read"):
        read_csd(tmp_path / "text.csd")
    with pytest.raises(ValueError, match=r"absent\.csd"):
        read_csd(tmp_path / "absent.csd")
    with h5py.File(tmp_path / "other.csd", "w") as file:
        file["x"] = [1]
    with pytest.raises(ValueError, match=r"other\.csd.*no computational sequence"):
        read_csd(tmp_path / "other.csd")
    with h5py.File(tmp_path / "half.csd", "w") as file:
        file["s/data/v/features"] = [[1.0]]
    with pytest.raises(ValueError, match=r"half\.csd.*video 'v': there is no array 'intervals'"):
        read_csd(tmp_path / "half.csd")
    with pytest.raises(ValueError, match=r"odd\.csd.*video 'v'"):
        read_csd(write_csd(tmp_path / "odd.csd", "s", {"v": ([[0, 1]], [[1.0], [2.0]])}))


def test_without_h5py_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"skmm\[sequences\]"):
        read_csd("a.csd")


# -- segments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nested", [False, True])
def test_a_segment_has_the_steps_that_overlap_with_it(nested):
    rng = np.random.default_rng(2)
    labels, audio = random_sequence(rng, ["a", "b"], 1), random_sequence(rng, ["a", "c"], nested=nested)
    cut = segment({"labels": labels, "audio": audio}, by="labels")
    for i, (start, end) in enumerate(labels.intervals["a"]):
        times = audio.intervals["a"]
        inside = np.minimum(times[:, 1], end) - np.maximum(times[:, 0], start) > 1e-6
        found = cut["audio"].features.get(f"a[{i}]", np.zeros((0, 3)))
        np.testing.assert_array_equal(found, audio.features["a"][inside])
        np.testing.assert_array_equal(cut["labels"].features[f"a[{i}]"], labels.features["a"][[i]])
    assert not any(video.startswith(("b", "c")) for video in cut["audio"].intervals)
    assert len(cut["labels"].intervals) == sum(map(len, labels.intervals.values()))


def test_segments_can_be_aligned():
    labels = TimedSequence({"v": [[0, 2], [2, 4]]}, {"v": [[1.0], [-1.0]]})
    words = TimedSequence({"v": [[0, 1], [1, 2], [2.5, 3]]}, {"v": [["a"], ["b"], ["c"]]})
    audio = TimedSequence({"v": [[0, 1.5], [1.5, 4]]}, {"v": [[2.0], [6.0]]})
    cut = segment({"labels": labels, "words": words, "audio": audio}, by="labels")
    aligned = align({name: cut[name] for name in ("words", "audio")}, to="words")
    assert aligned.ids.tolist() == ["v[0]", "v[1]"]
    assert aligned.text == [["a", "b"], ["c"]]
    assert [steps.ravel().tolist() for steps in aligned.data["audio"]] == [[2.0, 4.0], [6.0]]


def test_segments_of_an_unknown_sequence():
    with pytest.raises(ValueError, match="'label'.*Did you mean 'labels'"):
        segment({"labels": TimedSequence({"v": [[0, 1]]}, {"v": [[1.0]]})}, by="label")

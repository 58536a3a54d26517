"""Tests of generated video clips, of what is learned from them, and of evidence frame by frame."""

import av
import numpy as np
import pytest
from conftest import make_data, members, small
from scipy.special import log_expit, logit
from sklearn.pipeline import make_pipeline

from skmm import Blocks, ModalityTransformer, MultimodalClassifier, MultimodalRegressor
from skmm.blocks import RaggedArray
from skmm.datasets import make_video_events
from skmm.preprocessing import LogMel, VideoAudio, VideoFrames


def frames_of(file):
    with av.open(file) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)


def sound_of(file):
    with av.open(file) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


# -- the clips ----------------------------------------------------------------------------------------------------


def test_files_hold_what_is_said_of_them(tmp_path):
    X, y, truth = make_video_events(tmp_path / "clips", 12, difficulty=0, random_state=0, return_truth=True)
    assert X.columns.tolist() == ["frames", "sound"]
    assert X["frames"].tolist() == X["sound"].tolist() == [str(f) for f in sorted((tmp_path / "clips").iterdir())]
    assert np.unique(y, return_counts=True)[1].tolist() == [3, 3, 3, 3]
    assert y.tolist() == [f"{shape} {tone}" for shape, tone in zip(truth.shape, truth.tone, strict=True)]
    for i, file in enumerate(X["frames"]):
        frames, sound = frames_of(file), sound_of(file)
        assert frames.shape == (16, 64, 64, 3)
        seen = np.ptp(frames.mean(axis=3), axis=(1, 2)) > 40  # nothing else is in a picture without noise
        first, end = truth.shown[i]
        assert np.flatnonzero(seen).tolist() == list(range(first, end))
        assert end - first == 12
        loud = np.flatnonzero(np.abs(sound) > 0.03) / 16000
        assert loud[0] == pytest.approx(truth.heard[i, 0], abs=0.1)
        assert loud[-1] == pytest.approx(truth.heard[i, 1], abs=0.1)
        spectrum = np.abs(np.fft.rfft(sound))
        hertz = spectrum.argmax() / len(sound) * 16000
        assert (hertz > 500) == (truth.tone[i] == "high")


@pytest.mark.slow
def test_shapes_differ_in_form_and_not_in_size(tmp_path):
    X, _, truth = make_video_events(tmp_path, 60, difficulty=0, random_state=0, return_truth=True)
    size = np.zeros(60)
    for i, file in enumerate(X["frames"]):
        grey = frames_of(file)[truth.shown[i, 0] + 5].mean(axis=2)
        size[i] = (grey > (grey.min() + grey.max()) / 2).sum()
    by_shape = [size[truth.shape == shape].mean() for shape in ("disc", "bar")]
    assert by_shape[0] == pytest.approx(by_shape[1], rel=0.12)


def test_difficulty_adds_noise_and_shortens(tmp_path):
    noise, length = [], []
    for difficulty in (0.0, 0.5, 1.0):
        X, _, truth = make_video_events(tmp_path, 4, difficulty=difficulty, random_state=0, return_truth=True)
        first, end = truth.shown[0]
        frames = frames_of(X["frames"][0])
        noise.append(frames[(end if end < 16 else first - 1), :8].std(axis=(0, 1)).mean())
        length.append(end - first)
    assert noise[0] < 3 < 10 < noise[1] < noise[2]
    assert length == [12, 8, 4]


@pytest.mark.slow
def test_missing_streams_are_missing_in_the_file(tmp_path):
    X, y = make_video_events(tmp_path / "a", 60, missing_rate=0.4, random_state=0)
    whole, same = make_video_events(tmp_path / "b", 60, random_state=0)
    assert np.array_equal(y, same)
    lacks = X.isna().to_numpy()
    assert not lacks.all(axis=1).any()
    assert (lacks.mean(axis=0) > 0.15).all()
    assert (lacks.mean(axis=0) < 0.55).all()
    assert not whole.isna().to_numpy().any()
    for i in range(60):
        with av.open(str(tmp_path / "a" / f"{i:04}.mp4")) as container:
            assert [len(container.streams.video), len(container.streams.audio)] == (~lacks[i]).tolist()
    i = int(np.flatnonzero(lacks[:, 1])[0])
    assert np.array_equal(frames_of(X["frames"][i]), frames_of(whole["frames"][i]))


@pytest.mark.slow
def test_same_seed_same_clips(tmp_path):
    X, _ = make_video_events(tmp_path / "a", 10, random_state=1)
    again, _ = make_video_events(tmp_path / "b", 10, random_state=1)
    other, _ = make_video_events(tmp_path / "c", 10, random_state=2)
    for i in range(10):
        assert np.array_equal(frames_of(X["frames"][i]), frames_of(again["frames"][i]))
        assert np.array_equal(sound_of(X["sound"][i]), sound_of(again["sound"][i]))
        assert not np.array_equal(frames_of(X["frames"][i]), frames_of(other["frames"][i]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_samples": 0},
        {"difficulty": 1.5},
        {"difficulty": np.nan},
        {"difficulty": "hard"},
        {"missing_rate": 1.0},
        {"missing_rate": np.nan},
    ],
)
def test_bad_parameters(tmp_path, wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=rf"{name} (== {value}|must be a number in \[0, 1[\])], got {value!r})"):
        make_video_events(tmp_path / "clips", **wrong)
    assert not (tmp_path / "clips").exists()


# -- what is learned of them --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_clips_need_picture_and_sound(tmp_path):
    """From the files on: both together above 95 %, either alone under 70 %, and more than chance."""
    X, y, truth = make_video_events(tmp_path, 600, random_state=0, return_truth=True)
    hear = make_pipeline(VideoAudio(duration=2), LogMel(hop=0.02))
    modalities = [("frames", VideoFrames(8), "frames"), ("sound", hear, "sound")]
    train, test = X.iloc[:400], X.iloc[400:]

    def fitted(modalities):
        clf = MultimodalClassifier(n_members=1, max_epochs=20, random_state=0)
        return make_pipeline(ModalityTransformer(modalities), clf).fit(train, y[:400])

    for alone in modalities:
        assert 0.4 < fitted([alone]).score(test, y[400:]) < 0.7
    both = fitted(modalities)
    assert both.score(test, y[400:]) > 0.95

    label = both[1].classes_.searchsorted(y[400:])
    evidence = both[1].frame_evidence(both[0].transform(test), "frames", width=3)["frames"]
    speaks = np.take_along_axis(evidence, label[:, None, None], 2)[..., 0]  # for the right class
    read = 2 * np.arange(8) + 1  # of the 16 frames of a clip
    shown = (read >= truth.shown[400:, :1]) & (read < truth.shown[400:, 1:])
    assert speaks[shown].mean() > 2 * np.abs(speaks[~shown].mean())


# -- evidence -----------------------------------------------------------------------------------------------------


def log_proba(clf, X):
    return np.log(clf.predict_proba(X))


def with_mean(X, clf, name, step, width=1):
    """X, some steps of one modality at the mean of training."""
    blocks, mean = dict(X.items()), clf.inputs_.scalers[name].mean
    start, stop = max(0, step - width // 2), step + width // 2 + 1
    block = blocks[name]
    if isinstance(block, RaggedArray):
        changed = [sample.copy() for sample in block]
        for sample in changed:
            sample[start:stop] = mean
    else:
        changed = block.copy()
        changed[:, start:stop] = mean
    return Blocks({**blocks, name: changed}, present=X.present)


@pytest.mark.one_by_default
@members
@pytest.mark.parametrize("fusion", ["concat", "attention", "late", "crossmodal", "gated"])
def test_evidence_is_the_fall_of_the_log_probability(fusion, n_members):
    X, y = make_data(30, kinds=["vector", "sequence", "ragged", "video"], n_classes=3)
    X = Blocks({**dict(X.items()), "video": X["video"].astype(np.float64)})
    clf = small(fusion=fusion, n_members=n_members, max_epochs=3).fit(X, y)
    evidence = clf.frame_evidence(X)
    assert {name: e.shape for name, e in evidence.items()} == {
        "sequence": (30, 7, 3),
        "ragged": (30, 8, 3),
        "video": (30, 4, 3),
    }
    for name, found in evidence.items():
        lengths = X[name].lengths if name == "ragged" else np.full(30, found.shape[1])
        for step in range(found.shape[1]):
            has = lengths > step
            expected = log_proba(clf, X) - log_proba(clf, with_mean(X, clf, name, step))
            np.testing.assert_allclose(found[has, step], expected[has], atol=1e-6)
            assert np.isnan(found[~has, step]).all()


@pytest.mark.parametrize("width", [1, 3, 5])
def test_neighbours_are_occluded_together(width):
    X, y = make_data(30, kinds=["sequence"])
    clf = small(max_epochs=3).fit(X, y)
    found = clf.frame_evidence(X, width=width)["sequence"]
    for step in range(7):
        expected = log_proba(clf, X) - log_proba(clf, with_mean(X, clf, "sequence", step, width))
        np.testing.assert_allclose(found[:, step], expected, atol=1e-6)


def test_missing_samples_have_no_evidence():
    X, y = make_data(30, kinds=["sequence", "ragged"])
    gone = np.arange(30) % 3 == 0
    X = Blocks(X, present={"sequence": ~gone, "ragged": ~np.roll(gone, 1)})
    clf = small(max_epochs=3).fit(X, y)
    found = clf.frame_evidence(X)
    assert np.array_equal(np.isnan(found["sequence"]).all(axis=(1, 2)), gone)
    assert np.array_equal(np.isnan(found["ragged"]).all(axis=(1, 2)), np.roll(gone, 1))
    assert clf.frame_evidence(X.select(["ragged"]), "sequence")["sequence"].shape == (30, 0, 2)


def test_evidence_of_values_and_of_several_labels():
    X, y = make_data(40, kinds=["vector", "sequence"])
    reg = small(MultimodalRegressor, max_epochs=3).fit(X, 100 + 10.0 * y)
    found = reg.frame_evidence(X)["sequence"]
    expected = reg.predict(X) - reg.predict(with_mean(X, reg, "sequence", 2))
    np.testing.assert_allclose(found[:, 2, 0], expected, atol=1e-5)
    labels = np.column_stack([y, 1 - y, np.arange(40) % 2])
    clf = small(max_epochs=3).fit(X, labels)
    found = clf.frame_evidence(X)["sequence"]
    before, after = clf.predict_proba(X), clf.predict_proba(with_mean(X, clf, "sequence", 2))
    np.testing.assert_allclose(found[:, 2], log_expit(logit(before)) - log_expit(logit(after)), atol=1e-5)


def test_evidence_reads_lazy_videos_and_bytes():
    X, y = make_data(30, kinds=["video"])
    film = np.clip(128 + 30 * X["video"], 0, 255).astype(np.uint8)

    class Stored:
        """Rows on disk, as it were."""

        shape, dtype = film.shape, film.dtype

        def __getitem__(self, rows):
            return film[rows]

    clf = small(max_epochs=3).fit({"film": film}, y)
    found = clf.frame_evidence({"film": film}, "film")["film"]
    assert np.abs(found).max() > 0.01
    np.testing.assert_allclose(clf.frame_evidence({"film": Stored()})["film"], found, atol=1e-5)


def test_evidence_names_what_it_cannot_do():
    X, y = make_data(30, kinds=["vector", "sequence"])
    clf = small(max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match=r"unknown sequence or video: 'vector'.*\['sequence'\]"):
        clf.frame_evidence(X, "vector")
    with pytest.raises(ValueError, match="width=2 must be odd"):
        clf.frame_evidence(X, width=2)
    with pytest.raises(ValueError, match=r"none of the modalities \['vector'\] is a sequence or a video"):
        small(max_epochs=1).fit(X.select(["vector"]), y).frame_evidence(X.select(["vector"]))

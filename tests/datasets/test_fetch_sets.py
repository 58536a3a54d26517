"""What is fetched is read as its authors laid it out; the files here are small, their layout is the true one."""

import gzip
import hashlib
import io
import pickle
import wave
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat

from skmm.datasets import (
    _fetch_actions,
    _fetch_digits,
    _fetch_sentiment,
    fetch_av_digits,
    fetch_fsdd,
    fetch_mfeat,
    fetch_mosei,
    fetch_mosi,
    fetch_sims,
    fetch_utd_mhad,
)

ALL = [fetch_av_digits, fetch_fsdd, fetch_mfeat, fetch_mosei, fetch_mosi, fetch_sims, fetch_utd_mhad]


def serve(server, remote, body):
    """A file at the local server, with its own digest."""
    server.files[remote.name] = body
    return replace(remote, url=server.url(remote.name), sha256=hashlib.sha256(body).hexdigest())


def as_lines(values, fmt, sep, lead=""):
    return "".join(lead + sep.join(fmt % v for v in row) + "\n" for row in values).encode()


def as_zip(contents):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in contents.items():
            archive.writestr(name, body)
    return file.getvalue()


def as_wav(samples, rate=8000, channels=1):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(np.asarray(samples, dtype="<i2").tobytes())
    return file.getvalue()


def as_mat(**variables):
    file = io.BytesIO()
    savemat(file, variables, do_compression=True)
    return file.getvalue()


def as_idx(values):
    head = np.array([0x800 + values.ndim, *values.shape], dtype=">u4").tobytes()
    return gzip.compress(head + values.astype(np.uint8).tobytes())


# -- features of handwriting -------------------------------------------------------------------------------------


@pytest.fixture
def mfeat(server, monkeypatch):
    rng = np.random.default_rng(0)
    views = {view: rng.integers(0, 7, (20, width)) for view, width in _fetch_digits.VIEWS.items()}
    files = {
        view: serve(server, _fetch_digits.MFEAT_FILES[view], as_lines(views[view], "%d", "  ", "  "))
        for view in views
    }
    monkeypatch.setattr(_fetch_digits, "MFEAT_FILES", files)
    return views


def test_mfeat(tmp_path, server, mfeat):
    digits = fetch_mfeat(data_home=tmp_path)
    assert list(digits.data) == ["fou", "fac", "kar", "pix", "zer", "mor"]
    for view, values in mfeat.items():
        assert digits.data[view].dtype == np.float32
        np.testing.assert_array_equal(digits.data[view], values)
    assert digits.target.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9]
    assert digits.target_names[7] == "seven"
    server.files.clear()
    X, y = fetch_mfeat(data_home=tmp_path, download_if_missing=False, return_X_y=True)
    np.testing.assert_array_equal(X["zer"], mfeat["zer"])
    assert y.tolist() == digits.target.tolist()
    assert len(server.requests) == 6


def test_mfeat_of_another_width(tmp_path, server, mfeat):
    _fetch_digits.MFEAT_FILES["zer"] = serve(server, _fetch_digits.MFEAT_FILES["zer"], b"1 2 3\n" * 20)
    with pytest.raises(
        ValueError, match=r"mfeat-zer' cannot be read as .*: expected rows of 47 numbers.*\(20, 3\)"
    ):
        fetch_mfeat(data_home=tmp_path)


@pytest.mark.data
@pytest.mark.parametrize(("view", "form"), [("pix", ("%d", "  ", "  ")), ("fac", ("%4d", " ", " "))])
def test_the_real_mfeat_has_the_digest_that_is_expected(data_folder, tmp_path, view, form):
    """Written as UCI writes them, the real values are the very file, and are read again."""
    with np.load(data_folder / "mfeat" / "mfeat.npz") as real:
        values, y = real[view], real["y"]
    path = tmp_path / "view"
    path.write_bytes(as_lines(values, *form))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == _fetch_digits.MFEAT_FILES[view].sha256
    np.testing.assert_array_equal(_fetch_digits._read_view(path, _fetch_digits.VIEWS[view]), values)
    np.testing.assert_array_equal(y, np.repeat(np.arange(10), 200))


# -- spoken digits -----------------------------------------------------------------------------------------------


def recordings(speakers=("theo", "george"), takes=(0, 4, 5, 10)):
    """Samples by digit, speaker and take."""
    rng = np.random.default_rng(0)
    return {
        (digit, speaker, take): rng.integers(-32768, 32768, rng.integers(400, 900)).astype(np.int16)
        for digit in range(10)
        for speaker in speakers
        for take in takes
    }


def fsdd_archive(said, folder="free-spoken-digit-dataset-1.0.10"):
    wavs = {f"{folder}/recordings/{d}_{s}_{t}.wav": as_wav(samples) for (d, s, t), samples in said.items()}
    return as_zip({f"{folder}/README.md": b"", f"{folder}/metadata.py": b"", **wavs})


@pytest.fixture
def fsdd(server, monkeypatch):
    said = recordings()
    monkeypatch.setattr(_fetch_digits, "FSDD_FILE", serve(server, _fetch_digits.FSDD_FILE, fsdd_archive(said)))
    return said


def test_fsdd(tmp_path, server, fsdd):
    spoken = fetch_fsdd(data_home=tmp_path)
    keys = list(zip(spoken.target.tolist(), spoken.speaker.tolist(), spoken["take"].tolist(), strict=True))
    assert keys == sorted(fsdd)  # take 10 behind take 5
    for key, waveform in zip(keys, spoken.data["audio"], strict=True):
        assert waveform.dtype == np.float32
        np.testing.assert_array_equal(waveform[:, 0] * 32768, fsdd[key])
    assert spoken.sample_rate == 8000
    assert spoken.target_names[spoken.target[-1]] == "nine"


def test_fsdd_has_an_official_split(tmp_path, fsdd):
    parts = {subset: fetch_fsdd(subset=subset, data_home=tmp_path) for subset in ("train", "test")}
    assert set(parts["test"]["take"]) == {0, 4}
    assert set(parts["train"]["take"]) == {5, 10}
    assert len(parts["test"].data) == len(parts["train"].data) == 40
    X, y = fetch_fsdd(subset="test", data_home=tmp_path, return_X_y=True)
    np.testing.assert_array_equal(X["audio"][3], parts["test"].data["audio"][3])
    np.testing.assert_array_equal(y, parts["test"].target)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"no archive", "BadZipFile"),
        (as_zip({"x/README.md": b""}), "none of its 1 members"),
        (as_zip({"x/recordings/1_theo_0.wav": as_wav([1, 2], rate=16000)}), r"1_theo_0\.wav: expected .*16000"),
        (as_zip({"x/recordings/1_theo_0.wav": b"RIFF"}), "cannot be read as spoken digits"),
    ],
    ids=["no zip", "other files", "another rate", "no wav"],
)
def test_an_archive_that_is_no_fsdd(tmp_path, server, monkeypatch, body, said):
    monkeypatch.setattr(_fetch_digits, "FSDD_FILE", serve(server, _fetch_digits.FSDD_FILE, body))
    with pytest.raises(ValueError, match=said) as caught:
        fetch_fsdd(data_home=tmp_path)
    assert "free-spoken-digit-dataset-1.0.10.zip" in str(caught.value)


@pytest.mark.data
def test_the_real_fsdd(data_folder, tmp_path, server, monkeypatch):
    with np.load(data_folder / "fsdd" / "fsdd.npz") as real:
        pcm, ends = real["pcm"], real["offsets"]
        keys = list(zip(real["y"].tolist(), real["speaker"].tolist(), real["take"].tolist(), strict=True))
    said = {key: pcm[ends[i] : ends[i + 1]] for i, key in enumerate(keys) if key[2] in (4, 5)}
    monkeypatch.setattr(_fetch_digits, "FSDD_FILE", serve(server, _fetch_digits.FSDD_FILE, fsdd_archive(said)))
    test = fetch_fsdd(subset="test", data_home=tmp_path)
    assert len(test.data) == 60
    for digit, speaker, take, waveform in zip(
        test.target, test.speaker, test["take"], test.data["audio"], strict=True
    ):
        np.testing.assert_array_equal(waveform[:, 0] * 32768, said[digit, speaker, take])


# -- digits written and said -------------------------------------------------------------------------------------


@pytest.fixture
def mnist(server, monkeypatch, fsdd):
    """Images whose first pixel is their own number, 12 of each digit in an order of their own."""
    rng = np.random.default_rng(1)
    labels = rng.permutation(np.repeat(np.arange(10), 12))
    images = rng.integers(0, 256, (120, 28, 28))
    images[:, 0, 0] = np.arange(120)
    for name, values in {"MNIST_IMAGES": images, "MNIST_LABELS": labels}.items():
        monkeypatch.setattr(_fetch_digits, name, serve(server, getattr(_fetch_digits, name), as_idx(values)))
    return images, labels


def test_av_digits_pair_images_and_recordings_of_the_same_digit(tmp_path, fsdd, mnist):
    images, labels = mnist
    pairs = fetch_av_digits(image_energy=1, data_home=tmp_path)
    np.testing.assert_array_equal(pairs.data["image"], images[pairs.image_index])
    np.testing.assert_array_equal(labels[pairs.image_index], pairs.target)
    assert len(set(pairs.image_index.tolist())) == len(pairs.target) == len(fsdd)
    assert pairs.speaker.tolist() == [key[1] for key in sorted(fsdd)]
    for key, frames in zip(sorted(fsdd), pairs.data["audio"], strict=True):
        assert frames.shape == (1 + len(fsdd[key]) // 80, 40)


def test_av_digits_take_energy_from_the_images(tmp_path, mnist):
    left = {
        energy: fetch_av_digits(image_energy=energy, data_home=tmp_path, return_X_y=True)[0]["image"]
        for energy in (0.05, 0.5, 1)
    }
    variances = [images.astype(float).var(axis=0).sum() for images in left.values()]
    assert variances[0] < 0.2 * variances[2] < 0.4 * variances[2] < variances[1] < 0.6 * variances[2]
    assert left[0.05].dtype == np.uint8


def test_av_digits_are_drawn_by_random_state(tmp_path, mnist):
    drawn = [fetch_av_digits(image_energy=1, random_state=seed, data_home=tmp_path) for seed in (0, 0, 1)]
    index = [pairs.image_index.tolist() for pairs in drawn]
    assert index[0] == index[1] != index[2]


@pytest.mark.parametrize("energy", [0, -1, 1.5, "all", True])
def test_av_digits_energy_is_a_share(energy):
    with pytest.raises(ValueError, match="image_energy must"):
        fetch_av_digits(image_energy=energy)


@pytest.mark.parametrize(
    "body",
    [gzip.compress(b"\0\0\x08\x01" + bytes(12)), as_idx(np.zeros((9, 28, 28)))[:-9], b"no gzip"],
    ids=["labels", "cut off", "no gzip"],
)
def test_a_file_that_is_no_mnist(tmp_path, server, monkeypatch, mnist, body):
    monkeypatch.setattr(_fetch_digits, "MNIST_IMAGES", serve(server, _fetch_digits.MNIST_IMAGES, body))
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz' cannot be read as a file of MNIST"):
        fetch_av_digits(data_home=tmp_path)


# -- actions -----------------------------------------------------------------------------------------------------


def actions(n_subjects=4, n_trials=2):
    """What is felt (n_steps, 6) and seen (20, 3, n_steps), by action, subject and trial."""
    rng = np.random.default_rng(0)
    keys = [(a, s, t) for a in (1, 2, 10, 27) for s in range(1, n_subjects + 1) for t in range(1, n_trials + 1)]
    felt = {key: rng.normal(size=(rng.integers(5, 9), 6)) for key in keys}
    seen = {key: rng.normal(size=(20, 3, rng.integers(3, 7))) for key in keys}
    return felt, seen


@pytest.fixture
def utd(server, monkeypatch):
    felt, seen = actions()
    del seen[10, 2, 1]  # a broken recording
    bodies = {
        "inertial": as_zip(
            {f"Inertial/a{a}_s{s}_t{t}_inertial.mat": as_mat(d_iner=v) for (a, s, t), v in felt.items()}
        ),
        "skeleton": as_zip(
            {
                "Skeleton/Skeleton_joint_order.txt": b"1. head",
                **{f"Skeleton/a{a}_s{s}_t{t}_skeleton.mat": as_mat(d_skel=v) for (a, s, t), v in seen.items()},
            }
        ),
    }
    files = {name: serve(server, _fetch_actions.UTD_FILES[name], body) for name, body in bodies.items()}
    monkeypatch.setattr(_fetch_actions, "UTD_FILES", files)
    return felt, seen


def test_utd_mhad(tmp_path, utd):
    felt, seen = utd
    people = fetch_utd_mhad(data_home=tmp_path)
    keys = list(zip((people.target + 1).tolist(), people.subject.tolist(), people.trial.tolist(), strict=True))
    assert keys == sorted(felt)  # action 10 behind action 2
    for row, key in enumerate(keys):
        np.testing.assert_allclose(people.data["inertial"][row], felt[key], rtol=1e-6)
        if key in seen:
            steps = people.data["skeleton"][row]
            assert steps.shape == (seen[key].shape[2], 60)
            np.testing.assert_allclose(steps[1, 9:12], seen[key][3, :, 1], rtol=1e-6)  # the hips, second step
    assert people.data.present["skeleton"].tolist() == [key in seen for key in keys]
    assert len(people.target_names) == 27
    assert people.target_names[26] == "squat"


def test_utd_mhad_is_split_by_people(tmp_path, utd):
    parts = {subset: fetch_utd_mhad(subset=subset, data_home=tmp_path) for subset in ("train", "test")}
    assert set(parts["train"].subject) == {1, 3}
    assert set(parts["test"].subject) == {2, 4}
    X, y = fetch_utd_mhad(subset="train", data_home=tmp_path, return_X_y=True)
    assert len(X) == len(y) == 16


def test_utd_mhad_downloads_what_is_asked_for(tmp_path, server, utd):
    people = fetch_utd_mhad(modalities="inertial", data_home=tmp_path)
    assert list(people.data) == ["inertial"]
    assert server.requests == ["Inertial.zip"]


@pytest.mark.parametrize(
    ("mat", "got"),
    [
        (as_mat(d_skel=np.zeros((20, 3, 4))), "none"),
        (as_mat(d_iner=np.zeros((9, 5))), r"float64 \(9, 5\)"),
        (as_mat(d_iner=np.array(["x" * 6] * 3)), "U6"),
        (b"no mat", "cannot be read"),
    ],
    ids=["another variable", "another width", "words", "no mat"],
)
def test_a_recording_that_is_none(tmp_path, server, monkeypatch, utd, mat, got):
    body = as_zip({"Inertial/a1_s1_t1_inertial.mat": mat})
    _fetch_actions.UTD_FILES["inertial"] = serve(server, _fetch_actions.UTD_FILES["inertial"], body)
    with pytest.raises(ValueError, match=got) as caught:
        fetch_utd_mhad(data_home=tmp_path)
    assert "Inertial.zip' cannot be read as recordings of UTD-MHAD" in str(caught.value)


def test_a_recording_that_unpacks_to_more_than_it_may_is_refused(tmp_path, server, monkeypatch, utd):
    mat = as_mat(d_iner=np.zeros((2000, 6)))
    assert len(mat) < 1000
    body = as_zip({"Inertial/a1_s1_t1_inertial.mat": mat})
    _fetch_actions.UTD_FILES["inertial"] = serve(server, _fetch_actions.UTD_FILES["inertial"], body)
    assert len(fetch_utd_mhad(modalities="inertial", data_home=tmp_path).data) == 1
    monkeypatch.setattr(_fetch_actions, "MAT_BYTES", 50_000)
    with pytest.raises(ValueError, match=r"a1_s1_t1_inertial\.mat: takes more than 50000 bytes unpacked"):
        fetch_utd_mhad(modalities="inertial", data_home=tmp_path)


# -- sentiment ---------------------------------------------------------------------------------------------------


def sentiment_archive():
    """Three subsets as MMSA lays them out."""
    rng = np.random.default_rng(0)
    return pickle.dumps(
        {
            name: {
                "raw_text": np.array(["well"] * n),
                "text": rng.normal(size=(n, 5, 4)).astype(np.float32),
                "audio": rng.normal(size=(n, 5, 3)).astype(np.float32),
                "vision": rng.normal(size=(n, 5, 2)).astype(np.float32),
                "id": [f"{name}{i}$_$1" for i in range(n)],
                "regression_labels": np.linspace(-1, 1, n),
            }
            for name, n in {"train": 4, "valid": 2, "test": 3}.items()
        }
    )


@pytest.mark.parametrize(
    ("fetch", "key", "name"),
    [
        (fetch_mosi, ("mosi", True), "MOSI/Processed/aligned_50.pkl"),
        (fetch_mosei, ("mosei", True), "MOSEI/Processed/aligned_50.pkl"),
        (fetch_sims, ("sims", False), "SIMS/Processed/unaligned_39.pkl"),
    ],
)
def test_sentiment_says_what_to_download_and_then_reads_it(tmp_path, monkeypatch, fetch, key, name):
    with pytest.raises(FileNotFoundError, match=r"download \w+\.pkl of https://github\.com/thuiar/MMSA") as caught:
        fetch(data_home=tmp_path)
    assert name in str(caught.value)
    path = tmp_path / key[0] / name.rpartition("/")[2]
    assert str(path) in str(caught.value)

    path.write_bytes(sentiment_archive())  # into the folder that is there by now
    with pytest.raises(OSError, match="damaged, or another version"):
        fetch(data_home=tmp_path)
    known = replace(_fetch_sentiment.FEATURE_FILES[key], sha256=hashlib.sha256(sentiment_archive()).hexdigest())
    monkeypatch.setitem(_fetch_sentiment.FEATURE_FILES, key, known)
    people = fetch(data_home=tmp_path)
    assert [len(people[subset].data) for subset in ("train", "valid", "test")] == [4, 2, 3]
    assert people.test.target.tolist() == [-1, 0, 1]
    assert "Licence" in people.DESCR
    X, y = fetch(data_home=tmp_path, subset="valid", modalities=["text", "audio"], return_X_y=True)
    assert list(X) == ["text", "audio"]
    assert len(y) == 2


def test_a_copy_of_the_features_is_downloaded_and_held_to_the_published_digest(tmp_path, server, monkeypatch):
    server.files["copy.pkl"] = sentiment_archive()
    with pytest.raises(OSError, match="expected 78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524"):
        fetch_mosi(aligned=False, url=server.url("copy.pkl"), data_home=tmp_path)
    key = ("mosi", False)
    known = replace(_fetch_sentiment.FEATURE_FILES[key], sha256=hashlib.sha256(sentiment_archive()).hexdigest())
    monkeypatch.setitem(_fetch_sentiment.FEATURE_FILES, key, known)
    people = fetch_mosi(aligned=False, url=server.url("copy.pkl"), data_home=tmp_path, subset="train")
    assert len(people.data) == 4
    assert "MOSI" in people.DESCR
    server.files.clear()
    assert len(fetch_mosi(aligned=False, data_home=tmp_path).test.data) == 3


def test_sims_has_a_sentiment_of_each_modality(tmp_path, monkeypatch):
    content = pickle.loads(sentiment_archive())
    for part in content.values():
        part["regression_labels_T"] = -part["regression_labels"]
    body = pickle.dumps(content)
    known = replace(_fetch_sentiment.FEATURE_FILES["sims", False], sha256=hashlib.sha256(body).hexdigest())
    monkeypatch.setitem(_fetch_sentiment.FEATURE_FILES, ("sims", False), known)
    (tmp_path / "sims").mkdir()
    (tmp_path / "sims" / "unaligned_39.pkl").write_bytes(body)
    clips = fetch_sims(target="regression_labels_T", subset="test", data_home=tmp_path)
    assert clips.target.tolist() == [1, 0, -1]


def test_a_subset_is_asked_for_before_anything_is_downloaded(tmp_path, server):
    with pytest.raises(ValueError, match="return_X_y=True needs a subset"):
        fetch_mosi(return_X_y=True, url=server.url("copy.pkl"), data_home=tmp_path)
    assert server.requests == []


# -- all of them -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fetch", ALL)
def test_without_a_network_each_says_what_to_put_where(tmp_path, fetch):
    with pytest.raises(
        FileNotFoundError, match=r"there is no file '.*', and .*: download .*https://.* put it there"
    ):
        fetch(data_home=tmp_path, download_if_missing=False)


@pytest.mark.parametrize(
    "descr",
    [
        _fetch_digits._MFEAT_DESCR,
        _fetch_digits._FSDD_DESCR,
        _fetch_digits._AV_DESCR,
        _fetch_actions._DESCR,
        *_fetch_sentiment._DESCRS.values(),
    ],
)
def test_each_description_names_source_licence_and_authors(descr):
    assert "\nSource" in descr
    assert "\nLicence" in descr
    assert "\nCite: " in descr

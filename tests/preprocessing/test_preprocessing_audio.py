"""Tests of skmm.preprocessing.audio."""

import io
import pickle
import struct
import sys
import tracemalloc

import librosa
import numpy as np
import pandas as pd
import pytest
import scipy.fft
import scipy.io.wavfile
import scipy.signal
import soundfile
import soxr
from conftest import small
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
from test_preprocessing_files import assert_sklearn_checks

from skmm import Blocks, ModalityTransformer
from skmm.blocks import RaggedArray, is_lazy
from skmm.blocks._blocks import sample_shape
from skmm.preprocessing.audio import BLOCK, MFCC, AudioLoader, LogMel
from skmm.preprocessing.text import TextTokens

RATE = 8000


def tone(frequency=440.0, seconds=0.5, rate=RATE, level=0.5):
    return level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def noise(n, seed=0):
    return np.random.default_rng(seed).uniform(-0.9, 0.9, n)


def write(path, waveform, rate=RATE, **kwargs):
    soundfile.write(path, waveform, rate, **kwargs)
    return path


# -- files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.wav", "PCM_32"), ("a.wav", "FLOAT"), ("a.wav", "PCM_U8"),
     ("a.flac", "PCM_16"), ("a.aiff", "PCM_16")],
)  # fmt: skip
def test_files_of_every_kind_hold_the_same_samples(tmp_path, name, subtype, as_bytes):
    path = write(tmp_path / name, noise(1000), subtype=subtype)
    (waveform,) = AudioLoader(RATE).fit_transform([path.read_bytes() if as_bytes else path])
    assert (waveform.dtype, waveform.shape) == (np.float32, (1000,))
    steps = {"PCM_U8": 2**-7, "PCM_16": 2**-15}.get(subtype, 2**-23)
    np.testing.assert_allclose(waveform, noise(1000), atol=steps + 1e-7)


def test_integers_are_read_as_scipy_reads_them_over_their_largest(tmp_path):
    path = write(tmp_path / "a.wav", noise(500))
    _, pcm = scipy.io.wavfile.read(path)
    assert pcm.dtype == np.int16
    (waveform,) = AudioLoader(RATE).fit_transform([path])
    np.testing.assert_array_equal(waveform, (pcm / 32768).astype(np.float32))


def test_floats_stay_as_they_are_even_above_1(tmp_path):
    path = write(tmp_path / "a.wav", 3 * noise(500), subtype="FLOAT")
    np.testing.assert_allclose(AudioLoader(RATE).fit_transform([path])[0], 3 * noise(500), rtol=1e-6)


def test_channels_are_averaged_or_kept(tmp_path):
    stereo = np.column_stack([noise(300, 0), noise(300, 1)])
    path = write(tmp_path / "a.wav", stereo, subtype="FLOAT")
    np.testing.assert_allclose(AudioLoader(RATE).fit_transform([path])[0], stereo.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(AudioLoader(RATE, mono=False).fit_transform([path])[0], stereo, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_a_tone_of_any_rate_becomes_the_same_tone(tmp_path, rate):
    path = write(tmp_path / "a.wav", tone(rate=rate), rate, subtype="FLOAT")
    (waveform,) = AudioLoader(16000).fit_transform([path])
    expected = tone(rate=16000)
    assert abs(len(waveform) - len(expected)) <= 1
    inner = slice(400, 7600)  # at its ends the filter sees that the tone is cut
    np.testing.assert_allclose(waveform[inner], expected[inner], atol=2e-3)


def test_what_the_new_rate_cannot_hold_is_filtered_out_not_folded(tmp_path):
    path = write(tmp_path / "a.wav", tone(7000, rate=44100), 44100)
    (waveform,) = AudioLoader(8000).fit_transform([path])
    assert np.abs(waveform[200:-200]).max() < 1e-3


def test_rates_that_differ_by_row(tmp_path):
    files = [write(tmp_path / f"{rate}.wav", tone(rate=rate), rate) for rate in (8000, 44100)]
    lengths = [len(w) for w in AudioLoader(16000).fit_transform(files)]
    assert lengths == [8000, 8000]


def test_duration_cuts_and_fills_up_with_zeros(tmp_path):
    files = [write(tmp_path / f"{n}.wav", noise(n), subtype="FLOAT") for n in (900, 1000, 1500)]
    block = AudioLoader(RATE, duration=0.125).fit_transform(files)
    assert (block.shape, block.dtype) == ((3, 1000, 1), np.float32)
    assert not block[0, 900:].any()
    for row, n in enumerate((900, 1000, 1500)):
        np.testing.assert_allclose(block[row, :n, 0], noise(n)[:1000], atol=1e-6)
    assert Blocks(audio=block).kinds == {"audio": "sequence"}


def test_the_start_of_a_long_file_is_that_of_the_whole_file(tmp_path):
    """Only the start is read, which must not change how it is resampled."""
    path = write(tmp_path / "a.wav", noise(44100), 44100, subtype="FLOAT")
    (whole,) = AudioLoader(RATE).fit_transform([path])
    start = AudioLoader(RATE, duration=0.3).fit_transform([path])
    np.testing.assert_allclose(start[0, :, 0], whole[:2400], atol=1e-5)


def test_arrays_are_waveforms_of_the_loaders_rate_or_have_their_own():
    pcm = (noise(100) * 32767).astype(np.int16)
    rows = [noise(100), pcm, (noise(100), RATE), (noise(200), 2 * RATE), noise(100)[:, None]]
    waveforms = AudioLoader(RATE).fit_transform(rows)
    assert [w.shape for w in waveforms] == [(100,)] * 5
    np.testing.assert_array_equal(waveforms[0], noise(100).astype(np.float32))
    np.testing.assert_array_equal(waveforms[1], (pcm / 32768).astype(np.float32))
    np.testing.assert_array_equal(waveforms[2], waveforms[0])
    np.testing.assert_array_equal(waveforms[4], waveforms[0])


# extension, subtype, share of the bytes that is left, and what the message says
CUT = [
    ("wav", "PCM_16", 0.5, "15978 of 32000 bytes"),
    ("wav", "FLOAT", 0.97, "of 64000 bytes"),
    ("aiff", "PCM_16", 0.97, "of 32008 bytes"),
    ("au", "PCM_16", 0.5, "of 32000 bytes"),
    ("caf", "PCM_16", 0.97, "bytes"),
    ("w64", "PCM_16", 0.5, "bytes"),
    ("rf64", "PCM_16", 0.5, "bytes"),
    ("mp3", None, 0.5, r"it has \d+ of 1[26]\d00 samples"),
    ("ogg", "VORBIS", 0.5, "its last page is incomplete"),
    ("ogg", "VORBIS", 0.97, "its last page is incomplete"),
    ("ogg", "OPUS", 0.7, "its last page is incomplete"),
    ("flac", "PCM_16", 0.5, "decoder"),
]


@pytest.mark.parametrize("duration", [None, 1.5])
@pytest.mark.parametrize(("extension", "subtype", "share", "reason"), CUT)
def test_a_file_that_was_cut_is_no_shorter_sound(tmp_path, extension, subtype, share, reason, duration):
    content = write(tmp_path / f"a.{extension}", noise(16000), subtype=subtype).read_bytes()
    path = tmp_path / f"cut.{extension}"
    path.write_bytes(content[: int(share * len(content))])
    loader = AudioLoader(RATE, duration=duration)
    assert len(loader.fit_transform([tmp_path / f"a.{extension}"])[0]) == (16000 if duration is None else 12000)
    for source in (path, path.read_bytes()):
        with pytest.raises(ValueError, match=f"row 1: cannot read .*{reason}"):
            loader.fit_transform([noise(10), source])


@pytest.mark.parametrize("size", [0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_a_wav_that_was_written_to_a_pipe_does_not_know_its_length(tmp_path, size):
    content = bytearray(write(tmp_path / "a.wav", noise(1000)).read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = size.to_bytes(4, "little")
    assert len(AudioLoader(RATE).fit_transform([bytes(content)])[0]) == 1000


def test_an_mp3_that_does_not_say_its_length_is_read(tmp_path):
    """Frames behind the first, which says how many there are: libsndfile guesses their number."""
    content = write(tmp_path / "a.mp3", noise(16000)).read_bytes()
    rest = content[content.index(content[:2], 2) :]
    expected, _ = soundfile.read(io.BytesIO(rest), dtype="float32")
    np.testing.assert_array_equal(AudioLoader(RATE).fit_transform([rest])[0], expected)


@pytest.mark.parametrize("name", ["a.ogg", "a.wav", "a.mp3"])
def test_what_some_programs_write_behind_a_file_does_no_harm(tmp_path, name):
    content = write(tmp_path / name, noise(16000)).read_bytes()
    assert len(AudioLoader(RATE).fit_transform([content + b"TAG" + bytes(125)])[0]) == 16000


# -- files that claim what they do not hold -----------------------------------------------------------------------


def flac(waveform, claimed=None, rate=RATE):
    """A FLAC file, of which the header may claim another number of samples."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, rate, format="FLAC", subtype="PCM_16")
    content = bytearray(buffer.getvalue())
    if claimed is not None:
        content[21:26] = bytes([content[21] & 0xF0 | claimed >> 32]) + (claimed & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize("claimed", [2000, 2**31, 2**36 - 1])
@pytest.mark.parametrize("duration", [None, 0.3])
def test_a_length_that_is_claimed_is_not_allocated(claimed, duration):
    content = flac(noise(1000), claimed)
    tracemalloc.start()
    with pytest.raises(
        ValueError, match=r"row 0: cannot read .*truncated: it has 1000 of (2000|2\d{9}|6\d{10}|3\d{3})"
    ):
        AudioLoader(RATE, duration=duration).fit_transform([content])
    with pytest.warns(UserWarning, match="1 of 2 rows cannot be read .*row 1"):
        rows = AudioLoader(RATE, errors="missing").fit_transform([noise(9), content])
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert rows[1] is None
    start = AudioLoader(RATE, duration=0.02).fit_transform([content])[0, :, 0]  # what is kept is there
    np.testing.assert_allclose(start, noise(1000)[:160], atol=1e-4)


def test_a_flac_that_was_written_to_a_pipe_does_not_know_its_length():
    np.testing.assert_allclose(AudioLoader(RATE).fit_transform([flac(noise(1000), 0)])[0], noise(1000), atol=1e-4)


@pytest.mark.parametrize("mono", [True, False])
def test_a_small_file_does_not_become_a_long_waveform(mono):
    content = flac(np.zeros((500_000, 2)))
    assert len(content) < 5000
    loader = AudioLoader(RATE, mono=mono, max_samples=500_000 if mono else 10**6)
    assert len(loader.fit_transform([content])[0]) == 500_000
    loader.set_params(max_samples=loader.max_samples - 1)
    with pytest.raises(
        ValueError, match="row 0: .*more than max_samples=[49]99999 values, 62.49+.* s of . channel"
    ):
        loader.fit_transform([content])
    with pytest.raises(ValueError, match="row 0: .*more than max_samples=[49]99999 values"):
        AudioLoader(2 * RATE, mono=mono, max_samples=loader.max_samples).fit_transform(
            [flac(np.zeros((250_000, 2)))]
        )
    rows = loader.set_params(errors="missing").fit_transform([noise(5), noise(5)])
    assert [len(row) for row in rows] == [5, 5]


def test_a_duration_bounds_the_waveform_but_not_what_a_file_has_decoded_for_it():
    content = flac(np.zeros((100_000, 8)), rate=96000)
    block = AudioLoader(RATE, duration=0.5, max_samples=100_000).fit_transform([content])
    assert block.shape == (1, 4000, 1)
    with pytest.raises(
        ValueError, match="row 0: .*more than 80000 values .*8 times as many as max_samples=10000; rai"
    ):
        AudioLoader(RATE, max_samples=10_000).fit_transform([content])
    with pytest.raises(ValueError, match="more than 80000 values"):
        AudioLoader(RATE, duration=1, max_samples=10_000).fit_transform([content])


@pytest.mark.parametrize(
    ("name", "subtype"), [("a.flac", None), ("a.ogg", "VORBIS"), ("a.mp3", None), ("a.wav", None)]
)
@pytest.mark.parametrize("mono", [True, False])
def test_a_sound_of_many_blocks_is_what_it_is_in_one(tmp_path, name, subtype, mono):
    """Files are decoded and resampled block by block."""
    n = 2 * BLOCK // 2 + 4321
    path = write(tmp_path / name, np.column_stack([noise(n, 0), noise(n, 1)]), 44100, subtype=subtype)
    with soundfile.SoundFile(path) as file:
        whole = file.read(dtype="float32")
    whole = whole.mean(axis=1) if mono else whole
    found = AudioLoader(16000, mono=mono).fit_transform([path])[0]
    np.testing.assert_allclose(found, soxr.resample(whole, 44100, 16000), atol=1e-6)


def test_nan_behind_the_first_block_is_found_at_its_place(tmp_path):
    waveform = np.zeros(BLOCK + 100)
    waveform[BLOCK + 7] = np.nan
    path = write(tmp_path / "a.wav", waveform, subtype="FLOAT")
    with pytest.raises(ValueError, match=f"row 0: .*NaN or infinity in 1 of 100 samples, first in {BLOCK + 7}"):
        AudioLoader(RATE).fit_transform([path])


def test_a_file_that_macos_lays_beside_another_is_no_part_of_it(tmp_path):
    path = write(tmp_path / "a.mp3", noise(16000))
    (tmp_path / "._a.mp3").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(100))
    assert len(AudioLoader(RATE).fit_transform([path])[0]) == 16000


def test_a_form_that_is_not_known_is_told_in_words():
    wav = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 5 * RATE, 5, 36)
    wav += b"data" + struct.pack("<I", 50) + bytes(50)
    with pytest.raises(
        ValueError, match="row 0: cannot read 94 bytes: File contains data in an unimplemented format.$"
    ):
        AudioLoader(RATE).fit_transform([b"RIFF" + struct.pack("<I", len(wav)) + wav])


def broken(tmp_path):
    good = noise(100)
    nan = good.copy()
    nan[[7, 9]] = np.nan
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no audio at all")
    return [
        (tmp_path / "absent.wav", "absent.wav.*No such file"),
        (tmp_path / "empty.wav", "empty.wav.*0 bytes"),
        (tmp_path / "text.wav", "text.wav.*Format not recognised"),
        (write(tmp_path / "none.wav", good[:0]), "none.wav.*no samples"),
        (write(tmp_path / "nan.wav", nan, subtype="FLOAT"), "nan.wav.*NaN .* in 2 of 100 samples, first in 7"),
        (nan, "NaN or infinity in 2 of 100"),
        (good[:0], "no samples"),
        (np.where(np.isnan(nan), 1e300, nan), r"a sample of 1e\+300 is more than a float32 holds"),
        (write(tmp_path / "slow.wav", good, 1), "slow.wav.*100 samples .* would become 800000 of 8000"),
        (good.astype(np.int64), "int64"),
        (good.astype(complex), "complex128"),
        (np.zeros((2, 100)), "more channels than samples"),
        (np.zeros((4, 4, 4)), r"\(4, 4, 4\)"),
        ((good, -5), "sample rate must be a number above 0, got -5"),
        ((good[:1], 1e6), "too short"),
    ]  # fmt: skip


@pytest.mark.parametrize("case", range(15))
def test_what_cannot_be_read_names_row_and_file(tmp_path, case):
    item, message = broken(tmp_path)[case]
    with pytest.raises(ValueError, match=f"row 1: .*{message}"):
        AudioLoader(RATE).fit_transform([noise(10), item])


@pytest.mark.parametrize("duration", [None, 0.01])
def test_what_cannot_be_read_may_be_missing(tmp_path, duration):
    items = [noise(100), *[item for item, _ in broken(tmp_path)], None]
    loader = AudioLoader(RATE, duration=duration, errors="missing")
    with pytest.warns(UserWarning, match=r"15 of 17 rows .* row 1: cannot read .*absent\.wav"):
        block = loader.fit_transform(items)
    assert Blocks(audio=block).present["audio"].tolist() == [True] + [False] * 16


@pytest.mark.parametrize("duration", [None, 0.1])
@pytest.mark.parametrize(
    ("steps", "width"), [([], 1), ([LogMel(RATE)], 40), ([MFCC(RATE)], 13)], ids=["waveforms", "LogMel", "MFCC"]
)
def test_a_batch_of_which_nothing_can_be_read_is_of_the_same_kind_still(tmp_path, duration, steps, width):
    pipe = make_pipeline(AudioLoader(RATE, duration=duration, errors="missing"), *steps)
    there = Blocks(sound=pipe.fit_transform([noise(900), noise(400)]))
    with pytest.warns(UserWarning, match="2 of 2 rows"):
        block = Blocks(sound=pipe.transform([tmp_path / "a.wav", tmp_path / "b.wav"]))
    assert block.kinds == there.kinds
    assert sample_shape(block["sound"]) == sample_shape(there["sound"]) == (width,)
    assert block["sound"].dtype == there["sound"].dtype
    assert block.present["sound"].tolist() == [False, False]
    assert Blocks(sound=pipe.transform([None])).present["sound"].tolist() == [False]
    if steps:  # a list of nothing says as little of its kind
        assert Blocks(sound=steps[0].transform([None, None])).kinds == {"sound": "sequence"}


def test_an_estimator_predicts_for_a_batch_of_which_nothing_can_be_read(tmp_path):
    pipe = make_pipeline(AudioLoader(RATE, errors="missing"), LogMel(RATE, n_mels=8))
    y = np.arange(20) % 2
    tones = [tone(400 + 1000 * label, 0.05 + 0.005 * i) for i, label in enumerate(y)]
    X = Blocks(
        {"sound": pipe.fit_transform(tones), "table": y[:, None] + 0.5}, present={"sound": np.arange(20) > 2}
    )
    clf = small(max_epochs=2).fit(X, y)
    with pytest.warns(UserWarning, match="2 of 2 rows"):
        lost = Blocks(sound=pipe.transform([tmp_path / "a", tmp_path / "b"]), table=np.ones((2, 1)))
    expected = clf.predict_proba(Blocks(table=np.ones((2, 1))))
    np.testing.assert_allclose(clf.predict_proba(lost), expected, atol=1e-6)


@pytest.mark.parametrize("item", [3, 2.5, [0.1, 0.2], (1, 2), (np.zeros(3), 8000, 1), object()])
def test_other_objects_are_an_error_in_any_case(item):
    with pytest.raises(ValueError, match="row 0.*expected a path, bytes, an array"):
        AudioLoader(RATE, errors="missing").transform([item])


@pytest.mark.parametrize(
    "params",
    [
        {"sample_rate": 0},
        {"sample_rate": "16k"},
        {"sample_rate": np.inf},
        {"duration": -1.0},
        {"duration": 1e-9},
        {"duration": True},
        {"max_samples": 0},
        {"max_samples": 1.5},
        {"errors": "skip"},
    ],
)
def test_parameters_are_checked(params):
    name, value = next(iter(params.items()))
    with pytest.raises(ValueError, match=rf"{name}.*{value!r}"):
        AudioLoader(**params).fit([])


def test_lazy_rows_are_read_when_indexed(tmp_path):
    files = [write(tmp_path / f"{i}.wav", noise(100, i)) for i in range(4)]
    block = AudioLoader(RATE, duration=0.01, lazy=True).fit_transform(files)
    files[3].unlink()
    assert block.shape == (4, 80, 1)
    np.testing.assert_allclose(block[[2, 0]][:, :, 0], [noise(100, 2)[:80], noise(100, 0)[:80]], atol=1e-4)


@pytest.mark.parametrize("transformer", [LogMel(RATE), MFCC(RATE)], ids=lambda t: type(t).__name__)
def test_frames_of_lazy_waveforms_are_lazy(tmp_path, transformer):
    files = [write(tmp_path / f"{i}.wav", noise(400, i)) for i in range(4)]
    expected = make_pipeline(AudioLoader(RATE, duration=0.05), transformer).fit_transform(files)
    lazily = make_pipeline(AudioLoader(RATE, duration=0.05, lazy=True, n_jobs=2, errors="missing"), transformer)
    frames = lazily.fit_transform(files)
    assert (frames.shape, frames.dtype, frames.n_jobs, len(frames)) == (expected.shape, np.float32, 2, 4)
    block = Blocks(sound=frames)["sound"]
    assert is_lazy(block)
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(block))), expected)
    np.testing.assert_array_equal(frames[-1], expected[-1])
    np.testing.assert_array_equal(frames[[2, 0]], expected[[2, 0]])
    files[3].unlink()
    with pytest.warns(UserWarning, match="row 3: cannot read"):
        rows = block.read(np.array([3, 1]))
    assert rows[1].tolist() == [False, True]
    frames.note(np.array([0, 1, 2]), np.ones(3, dtype=bool))


def test_lazy_reading_needs_one_length():
    with pytest.raises(ValueError, match="one shape"):
        AudioLoader(RATE, lazy=True).fit_transform([noise(10)])


@pytest.mark.parametrize(("package", "rate"), [("soundfile", RATE), ("soxr", 4000)])
def test_without_a_package_the_error_says_how_to_install_it(tmp_path, monkeypatch, package, rate):
    path = write(tmp_path / "a.wav", noise(100), rate)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"skmm\[audio\]"):
        AudioLoader(RATE).fit_transform([path])


# -- spectra ---------------------------------------------------------------------------------------------------


def librosa_mel(waveform, rate, n_mels=40, window=0.025, hop=0.01, **kwargs):
    win_length = round(window * rate)
    return librosa.feature.melspectrogram(
        y=np.asarray(waveform, np.float32), sr=rate, n_fft=2 ** int(np.ceil(np.log2(win_length))),
        win_length=win_length, hop_length=round(hop * rate), n_mels=n_mels, **kwargs,
    ).T  # fmt: skip


@pytest.mark.parametrize(
    ("rate", "params"),
    [
        (8000, {}),
        (16000, {}),
        (22050, {"n_mels": 64, "window": 0.05, "hop": 0.0125}),
        (16000, {"fmin": 60.0, "fmax": 5000.0, "window": 0.032}),
    ],
)
def test_log_mel_energies_are_those_of_librosa(rate, params):
    waveform = noise(rate) * np.linspace(0, 1, rate) ** 4
    (frames,) = LogMel(rate, **params).fit_transform([waveform])
    np.testing.assert_allclose(frames, np.log(librosa_mel(waveform, rate, **params) + 1e-6), rtol=1e-4, atol=1e-4)


def test_log_mel_energies_are_those_of_a_plain_loop_over_frames():
    waveform = noise(1000)
    log_mel = LogMel(RATE, n_mels=10, window=0.03, hop=0.007).fit([])
    taper = np.zeros(256)
    taper[8:248] = scipy.signal.get_window("hann", 240)
    padded = np.concatenate([np.zeros(128), waveform, np.zeros(128)])
    expected = [
        np.log(np.abs(scipy.fft.rfft(taper * padded[i * 56 : i * 56 + 256])) ** 2 @ log_mel.filters_ + 1e-6)
        for i in range(1 + 1000 // 56)
    ]
    np.testing.assert_allclose(log_mel.transform([waveform])[0], expected, rtol=1e-4, atol=1e-4)


def test_coefficients_are_those_of_librosa_from_the_same_energies():
    waveform = noise(RATE)
    (frames,) = MFCC(RATE, n_mfcc=12, n_mels=30).fit_transform([waveform])
    energies = np.log(librosa_mel(waveform, RATE, 30) + 1e-6)
    expected = librosa.feature.mfcc(S=energies.T, n_mfcc=12).T
    np.testing.assert_allclose(frames, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("frequency", [300.0, 1000.0, 3000.0])
def test_a_tone_is_loudest_in_the_band_around_it(frequency):
    log_mel = LogMel(RATE).fit([])
    band = log_mel.transform([tone(frequency)])[0].mean(axis=0).argmax()
    centres = librosa.mel_frequencies(42, fmin=0, fmax=RATE / 2)
    assert centres[band] < frequency < centres[band + 2]


def test_a_waveform_longer_than_a_chunk_of_frames():
    waveform = noise(9000)
    frames = LogMel(RATE, hop=1 / RATE, n_mels=5).fit_transform([waveform])[0]
    np.testing.assert_allclose(frames[::80], LogMel(RATE, n_mels=5).fit_transform([waveform])[0], atol=1e-5)


@pytest.mark.parametrize("transformer", [LogMel(RATE), MFCC(RATE, n_mfcc=40)], ids=lambda t: type(t).__name__)
def test_every_form_of_waveforms_gives_the_same_frames(transformer):
    one = np.array([noise(800, i) for i in range(3)])
    forms = {
        "array": one,
        "sequence": one[:, :, None],
        "list": list(one),
        "columns": [w[:, None] for w in one],
        "ragged": RaggedArray.from_list(one),
        "ragged columns": RaggedArray.from_list(one[:, :, None]),
        "series": pd.Series(list(one)),
        "lazy": AudioLoader(RATE, duration=0.1, lazy=True).transform(list(one)),
    }
    found = {name: transformer.fit_transform(form) for name, form in forms.items()}
    for name, frames in found.items():
        np.testing.assert_array_equal(np.stack(list(frames)), found["array"], err_msg=name)
    assert found["array"].shape == (3, 11, 40)
    assert found["array"].dtype == np.float32


def test_samples_do_not_see_each_other():
    waveforms = [noise(n, n) for n in (300, 800, 80, 1)]
    frames = LogMel(RATE).fit_transform(waveforms)
    for waveform, expected in zip(waveforms, frames, strict=True):
        np.testing.assert_array_equal(LogMel(RATE).fit_transform([waveform])[0], expected)


def test_missing_waveforms_are_missing_frames():
    one = np.ma.MaskedArray(np.ones((3, 800, 1)), mask=np.zeros((3, 800, 1), bool))
    one[1] = np.ma.masked
    for block in (LogMel(RATE).fit_transform(one), LogMel(RATE).fit_transform([noise(800), None, noise(90)])):
        assert Blocks(audio=block).present["audio"].tolist() == [True, False, True]
    one[:] = np.ma.masked
    assert LogMel(RATE).fit_transform(one).shape == (3, 11, 40)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (np.zeros(0), "no samples"),
        (np.array([0.0, np.nan, np.inf]), "NaN or infinity in 2 of 3"),
        (np.zeros((50, 2)), r"2 channels, expected one; AudioLoader\(mono=True\)"),
        (np.zeros((5, 5, 5)), r"\(5, 5, 5\)"),
        ("a.wav", "expected a waveform.*'a.wav'"),
        (np.array(["a"]), "not <U1"),
    ],
)
def test_a_wrong_waveform_names_its_row(row, message):
    with pytest.raises(ValueError, match=f"row 1: .*{message}"):
        LogMel(RATE).fit_transform([noise(100), row])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_mels": 0}, "n_mels .*0"),
        ({"n_mels": 200}, "n_mels=200: band 0 is narrower than the 31.25 Hz"),
        ({"window": 200}, "window=200"),
        ({"hop": 80}, "hop=80"),
        ({"hop": 0}, "hop .*0"),
        ({"hop": 1e-6}, "hop=1e-06"),
        ({"fmax": 5000.0}, "4000 Hz; got fmin=0.0 and fmax=5000.0"),
        ({"fmin": 4000.0}, "fmin=4000.0"),
        ({"log_offset": 0.0}, "log_offset .*0.0"),
        ({"sample_rate": -1}, "sample_rate .*-1"),
        ({"n_mfcc": 41}, "n_mfcc=41 coefficients of n_mels=40"),
        ({"n_mfcc": 1.5}, "n_mfcc .*1.5"),
    ],
)
def test_wrong_parameters_are_quoted(params, message):
    with pytest.raises(ValueError, match=message):
        MFCC(**{"sample_rate": RATE, **params}).fit([])


@pytest.mark.parametrize("duration", [None, 0.1])
def test_scikit_learns_checks_of_the_loader(duration):
    assert_sklearn_checks(AudioLoader(RATE, duration=duration))


EXPECTED = {
    "check_estimators_dtypes": "integers of 64 bits have no loudest value to be scaled by",
    "check_estimator_sparse_tag": "fit learns nothing and does not look at X; transform refuses sparse input",
    "check_transformer_general": "waveforms of any length have their frames, also of another length than in fit",
}


# the data of the checks have 2 to 10 columns: waveforms of so many samples
@pytest.mark.parametrize(
    "transformer",
    [LogMel(100, n_mels=1, window=0.04), MFCC(100, n_mels=1, n_mfcc=1, window=0.04)],
    ids=lambda t: type(t).__name__,
)
def test_scikit_learns_checks(transformer):
    results = check_estimator(transformer, expected_failed_checks=EXPECTED, on_skip=None)
    assert {r["check_name"] for r in results if r["status"] == "xfail"} == set(EXPECTED)


# -- as modalities ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duration", [None, 0.2])
def test_speech_from_files_and_text_are_learned_from(tmp_path, duration):
    """Neither modality is enough: the class is their combination. Some rows lack one of them."""
    rng = np.random.default_rng(0)
    n = 120
    high, praise = rng.integers(0, 2, n), rng.integers(0, 2, n)
    files = [
        write(tmp_path / f"{i}.wav", tone(1500 if high[i] else 400, rng.uniform(0.1, 0.3)) + 0.1 * noise(1, i))
        for i in range(n)
    ]
    words = [["bad", "dull"], ["good", "fine"]]
    texts = [f"a {rng.choice(words[p])} film" for p in praise]
    df = pd.DataFrame({"file": [str(f) for f in files], "text": texts})
    df.loc[[3, 50], "file"] = None
    df.loc[[4, 60], "text"] = None
    spectrum = make_pipeline(AudioLoader(RATE, duration=duration), LogMel(RATE, n_mels=20))
    pipe = make_pipeline(
        ModalityTransformer([("audio", spectrum, "file"), ("text", TextTokens(), "text")]),
        small(max_epochs=30),
    )
    y = 2 * high + praise
    pipe.fit(df[:80], y[:80])
    assert pipe.score(df[80:], y[80:]) == 1.0
    again = pickle.loads(pickle.dumps(pipe))
    np.testing.assert_array_equal(again.predict_proba(df), pipe.predict_proba(df))

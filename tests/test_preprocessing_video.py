"""Frames and sound of videos that the tests make, against PyAV's own decoding."""

import io
import sys
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_preprocessing_files import assert_sklearn_checks

from skmm import Blocks, ModalityTransformer
from skmm.preprocessing import AudioLoader, VideoAudio, VideoFrames

RATE = 16000
FORMATS = {
    "mp4": ("mpeg4", "aac", RATE),
    "mkv": ("mpeg4", "pcm_s16le", RATE),
    "avi": ("mpeg4", "pcm_s16le", RATE),
    "webm": ("libvpx", "libopus", 48000),
}


def tone(seconds, rate, channels=1):
    """A tone of 440 Hz, each further channel half as loud."""
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return np.stack([wave / 2**c for c in range(channels)], axis=1).astype(np.float32)


def levels(n):
    """Pictures whose grey level tells which one they are."""
    return np.repeat(10 + 10 * np.arange(n, dtype=np.uint8), 48 * 64 * 3).reshape(n, 48, 64, 3)


def add_sound(container, stream, sound, rate):
    layout = {1: "mono", 2: "stereo"}[sound.shape[1]]
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.T), format="fltp", layout=layout)
    frame.sample_rate = rate
    codec = stream.codec_context
    to_codec = av.AudioResampler(codec.format, codec.layout, codec.sample_rate, frame_size=codec.frame_size or 1024)
    for part in [*to_codec.resample(frame), *to_codec.resample(None)]:
        container.mux(stream.encode(part))
    container.mux(stream.encode())


def make(path, frames=None, extension="mp4", *, sound=None, fps=10, times=None, rotation=0, options=None):
    """Write a video file and return its path."""
    video_codec, audio_codec, rate = FORMATS[extension]
    path = path / f"video.{extension}" if path.is_dir() else path
    with av.open(path, "w", options=options or {}) as container:
        video = audio = None
        if frames is not None:
            video = container.add_stream(video_codec, rate=fps, options={"qscale": "1", "g": "4"})
            video.width, video.height, video.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
            video.bit_rate = 2_000_000
            if rotation:
                video.set_display_rotation(rotation)
        if sound is not None:
            audio = container.add_stream(audio_codec, rate=rate, layout={1: "mono", 2: "stereo"}[sound.shape[1]])
        for place, pixels in enumerate([] if frames is None else frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = (place if times is None else times[place]), Fraction(1, fps)
            container.mux(video.encode(frame))
        if video:
            container.mux(video.encode())
        if audio:
            add_sound(container, audio, sound, rate)
    return path


def numbers(block):
    """Which of the pictures of ``levels`` each frame is."""
    return np.round((block.astype(float).mean(axis=(-3, -2, -1)) - 10) / 10).astype(int).tolist()


# -- frames -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", FORMATS)
def test_frames_as_pyav_decodes_them(tmp_path, extension):
    path = make(tmp_path, levels(20), extension, sound=tone(2, FORMATS[extension][2]))
    with av.open(path) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(decoded) == 20
    expected = np.stack([decoded[i] for i in (2, 7, 12, 17)])  # centres of four parts of five frames
    small = [np.asarray(Image.fromarray(p).resize((16, 24), Image.Resampling.BILINEAR)) for p in expected]
    for source in (path, str(path), path.read_bytes()):
        np.testing.assert_array_equal(VideoFrames(4, size=(48, 64)).fit_transform([source])[0], expected)
        np.testing.assert_array_equal(VideoFrames(4, size=(24, 16)).fit_transform([source])[0], small)


@pytest.mark.parametrize(
    ("n_frames", "expected"),
    [(1, [10]), (2, [5, 15]), (5, [2, 6, 10, 14, 18]), (20, list(range(20))), (40, sorted([*range(20)] * 2))],
)
def test_frames_at_the_centres_of_equal_parts(tmp_path, n_frames, expected):
    block = VideoFrames(n_frames).fit_transform([make(tmp_path, levels(20))])
    assert numbers(block[0]) == expected


@pytest.mark.parametrize(
    ("fps", "n_frames", "expected"),
    [
        (10, 4, [0, 1, 2, 3]),
        (5, 4, [0, 2, 4, 6]),
        (20, 5, [0, 0, 1, 1, 2]),
        (2.5, 8, [0, 4, 8, 12, 16, 19, 19, 19]),
        (0.1, 2, [0, 19]),
    ],
)
@pytest.mark.parametrize("extension", FORMATS)
def test_frames_at_a_rate(tmp_path, fps, n_frames, expected, extension):
    block = VideoFrames(n_frames, fps=fps).fit_transform([make(tmp_path, levels(20), extension)])
    assert numbers(block[0]) == expected


def test_frames_that_last_unequally_long(tmp_path):
    path = make(tmp_path, levels(4), "mkv", times=[0, 1, 2, 9])  # 0.1 s each, the third 0.7 s
    assert numbers(VideoFrames(5).fit_transform([path])[0]) == [1, 2, 2, 2, 3]


def test_one_frame(tmp_path):
    assert numbers(VideoFrames(3).fit_transform([make(tmp_path, levels(1))])[0]) == [0, 0, 0]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation(tmp_path, rotation):
    y, x = np.mgrid[:48, :64]
    frames = np.repeat(np.stack([3 * x, 4 * y, 0 * x], axis=2).astype(np.uint8)[None], 3, axis=0)
    path = make(tmp_path, frames, rotation=rotation)
    with av.open(path) as container:
        stored = next(container.decode(video=0))
    turned = np.rot90(stored.to_ndarray(format="rgb24"), stored.rotation // 90)  # counterclockwise
    assert stored.rotation % 360 == rotation
    block = VideoFrames(1, size=turned.shape[:2]).fit_transform([path])
    np.testing.assert_array_equal(block[0, 0], turned)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_every_output_is_a_video_block(tmp_path, mode, dtype):
    path = make(tmp_path, levels(20))
    loader = VideoFrames(4, mode=mode, dtype=dtype)
    now = loader.fit_transform([path, levels(20)])
    assert now.shape == (2, 4, 32, 32, 3 if mode == "RGB" else 1)
    assert now.max() > 1 if dtype == "uint8" else 0 < now.max() <= 1
    X = Blocks(now=now, lazy=loader.set_params(lazy=True).fit_transform([path, levels(20)]))
    assert X.kinds == {"now": "video", "lazy": "video"}
    np.testing.assert_array_equal(np.asarray(X["lazy"]), now)


def test_arrays_of_frames():
    assert numbers(VideoFrames(4).fit_transform([levels(20)])[0]) == [2, 7, 12, 17]
    assert numbers(VideoFrames(4, fps=3).fit_transform([levels(3)])[0]) == [0, 1, 2, 2]
    with pytest.raises(ValueError, match="row 0: .* must have shape \\(time, height, width, channels\\)"):
        VideoFrames().fit_transform([levels(2)[0]])


# -- sound --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", FORMATS)
def test_sound_as_pyav_decodes_it(tmp_path, extension):
    rate = FORMATS[extension][2]
    path = make(tmp_path, levels(10), extension, sound=tone(1, rate, 2))
    with av.open(path) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    planes = [f if len(f) == 2 else f.reshape(-1, 2).T / 32768 for f in frames]  # PCM has the channels interleaved
    expected = np.concatenate(planes, axis=1)
    for source in (path, path.read_bytes()):
        np.testing.assert_allclose(VideoAudio(rate).fit_transform([source])[0], expected.mean(axis=0), atol=1e-6)
        both = VideoAudio(rate, mono=False).fit_transform([source])[0]
        np.testing.assert_allclose(both, expected.T, atol=1e-6)


def test_sound_without_loss_is_what_was_written(tmp_path):
    path = make(tmp_path, None, "mkv", sound=tone(1, RATE))
    np.testing.assert_allclose(VideoAudio(RATE).fit_transform([path])[0], tone(1, RATE)[:, 0], atol=1e-4)


def test_sound_of_a_video_is_that_of_an_audio_file(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "tone.wav", tone(1, RATE), RATE, subtype="PCM_16")
    path = make(tmp_path, levels(10), "mkv", sound=tone(1, RATE))
    for rate, duration in [(RATE, None), (8000, None), (8000, 0.5), (22050, 1.5)]:
        expected = AudioLoader(rate, duration=duration).fit_transform([tmp_path / "tone.wav"])[0]
        found = VideoAudio(rate, duration=duration).fit_transform([path])[0]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_long_video_is_read_no_further_than_the_duration(tmp_path, monkeypatch):
    path = make(tmp_path, None, "mkv", sound=tone(30, RATE))
    decoded = []
    frames = VideoAudio._frames

    def counted(*args):
        for block in frames(*args):
            decoded.append(len(block))
            yield block

    monkeypatch.setattr(VideoAudio, "_frames", counted)
    block = VideoAudio(RATE, duration=1).fit_transform([path])
    np.testing.assert_allclose(block[0, :, 0], tone(1, RATE)[:, 0], atol=1e-4)
    assert RATE <= sum(decoded) < 2 * RATE


# -- what cannot be read ------------------------------------------------------------------------------------------


def faststart(folder):
    """An MP4 whose index comes first, so that it opens after having been cut."""
    return make(folder / "whole.mp4", levels(20), sound=tone(2, RATE), options={"movflags": "faststart"})


def broken(folder):
    """Files of which neither frames nor sound can be read, with the reason that the message gives."""
    whole = {
        "cut_index.mp4": faststart(folder),
        "cut.mkv": make(folder / "whole.mkv", levels(20), "mkv", sound=tone(2, RATE)),
        "cut.avi": make(folder / "whole.avi", levels(20), "avi", sound=tone(2, RATE)),
        "cut.webm": make(folder / "whole.webm", levels(20), "webm", sound=tone(2, 48000)),
    }
    files = {name: (path.read_bytes()[: path.stat().st_size // 2], "truncated") for name, path in whole.items()}
    content = whole["cut_index.mp4"].read_bytes()
    start = content.index(b"mdat") + 4
    files |= {
        "zeros.mp4": (content[:start] + bytes(len(content) - start), ""),
        "cut.mp4": (make(folder / "m.mp4", levels(20)).read_bytes()[:-100], ""),
        "text.mp4": (b"no video, but words", "Invalid data"),
        "noise.mp4": (np.random.RandomState(0).bytes(5000), ""),
        "empty.mp4": (b"", "empty \\(0 bytes\\)"),
    }
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    return {folder / name: reason for name, (_, reason) in files.items()} | {folder / "absent.mp4": "No such file"}


@pytest.mark.parametrize("loader", [VideoFrames(), VideoAudio()], ids=["frames", "sound"])
def test_files_that_cannot_be_read(tmp_path, loader):
    bad = broken(tmp_path)
    if isinstance(loader, VideoAudio):  # of the sound of an AVI file nobody knows how long it was
        del bad[tmp_path / "cut.avi"]
    for path, reason in bad.items():
        for source in [path, *([path.read_bytes()] if path.exists() else [])]:
            name = path.name if source is path else "bytes"
            with pytest.raises(ValueError, match=f"row 0: cannot read .*{name}.*{reason}"):
                loader.fit_transform([source])
    good = tmp_path / "whole.mp4"
    loader = loader.set_params(errors="missing", n_jobs=2)
    with pytest.warns(UserWarning, match=f"{len(bad)} of {len(bad) + 2} rows cannot be read") as record:
        rows = loader.fit_transform([good, *bad, good])
    assert len(record) == 1
    missing = [row is None or np.ma.getmaskarray(row).all() for row in rows]
    assert missing == [False, *[True] * len(bad), False]


def test_a_playlist_fetches_nothing(tmp_path):
    fetched = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            fetched.append(self.path)
            self.send_error(404)

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/part.ts"
        path = tmp_path / "playlist.m3u8"
        path.write_text(f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n")
        for source in (path, path.read_bytes(), url):
            with pytest.raises(ValueError, match="row 0: cannot read"):
                VideoFrames().fit_transform([source])
        server.shutdown()
    assert not fetched


def test_a_video_without_sound_and_sound_without_a_video(tmp_path):
    silent = make(tmp_path / "silent.mp4", levels(5))
    blind = make(tmp_path / "blind.mp4", sound=tone(1, RATE))
    with pytest.raises(ValueError, match="row 0: cannot read .*silent.mp4': it has no audio"):
        VideoAudio().fit_transform([silent])
    with pytest.raises(ValueError, match="row 0: cannot read .*blind.mp4': it has no video"):
        VideoFrames().fit_transform([blind])
    with pytest.warns(UserWarning, match="1 of 2 rows cannot be read .*row 1: .*blind.mp4"):
        frames = VideoFrames(errors="missing").fit_transform([silent, blind])
    assert frames.mask.all(axis=(1, 2, 3, 4)).tolist() == [False, True]
    with pytest.warns(UserWarning, match="1 of 2 rows cannot be read .*row 0: .*silent.mp4"):
        sounds = VideoAudio(errors="missing").fit_transform([silent, blind])
    assert sounds[0] is None
    assert len(sounds[1]) >= RATE


def test_too_large_frames_are_refused(tmp_path):
    path = make(tmp_path, levels(2))
    with pytest.raises(ValueError, match="video.mp4': it has 64 x 48 = 3072 pixels, more than max_pixels=3071"):
        VideoFrames(max_pixels=3071).fit_transform([path])
    assert VideoFrames(max_pixels=3072).fit_transform([path]).shape == (1, 8, 32, 32, 3)


def test_content_in_a_buffer_is_read_from_its_start(tmp_path):
    content = make(tmp_path, levels(20)).read_bytes()
    assert numbers(VideoFrames(2).fit_transform([memoryview(content)])[0]) == [5, 15]
    with pytest.raises(ValueError, match="row 0: cannot read an object of type BytesIO: expected a path"):
        VideoFrames().fit_transform([io.BytesIO(content)])


@pytest.mark.parametrize("package", ["PIL.Image", "av"])
def test_without_a_package_the_error_says_how_to_install_it(tmp_path, monkeypatch, package):
    path = make(tmp_path, levels(2))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"skmm\[video\]"):
        VideoFrames(errors="missing").fit_transform([path])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_frames": 0}, "n_frames must be a positive integer, got 0"),
        ({"n_frames": 2.0}, "n_frames must be a positive integer, got 2.0"),
        ({"fps": 0}, "fps must be a number above 0, got 0"),
        ({"fps": "10"}, "fps must be a number above 0, got '10'"),
        ({"size": -1}, "size must be"),
        ({"mode": "RGBA"}, "unknown mode 'RGBA', valid are \\['RGB', 'L'\\]"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"aspect": "fill"}, "unknown aspect 'fill'"),
        ({"max_pixels": None}, "max_pixels must be a positive integer, got None"),
        ({"errors": "skip"}, "unknown errors 'skip'"),
    ],
)
def test_wrong_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        VideoFrames(**params).fit([levels(3)])


# -- together with the rest ---------------------------------------------------------------------------------------


def test_frames_and_sound_in_a_modality_transformer(tmp_path):
    path = str(make(tmp_path, levels(20), sound=tone(2, RATE)))
    df = pd.DataFrame({"clip": [path, None, path]})
    transformer = ModalityTransformer([("video", VideoFrames(4), "clip"), ("audio", VideoAudio(8000), "clip")])
    X = transformer.fit_transform(df)
    assert X.kinds == {"video": "video", "audio": "sequence"}
    assert X.present["video"].tolist() == X.present["audio"].tolist() == [True, False, True]
    assert numbers(X["video"][2]) == [2, 7, 12, 17]


@pytest.mark.parametrize("loader", [VideoFrames(), VideoAudio(), VideoAudio(duration=1)])
def test_loaders_pass_sklearn_checks(loader):
    assert_sklearn_checks(loader)

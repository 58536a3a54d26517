"""Frames and sound of videos that the tests make, against PyAV's own decoding."""

import io
import struct
import sys
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import av
import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image
from test_preprocessing_files import assert_sklearn_checks

from skmm import Blocks, ModalityTransformer
from skmm.preprocessing import AudioLoader, VideoAudio, VideoFrames
from skmm.preprocessing._containers import packets_of

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


# -- sound as AudioLoader reads it --------------------------------------------------------------------------------


def many(n_channels, n=3000):
    """Sound of any number of channels, which differ."""
    return np.random.default_rng(n_channels).uniform(-0.9, 0.9, (n, n_channels)).astype(np.float32)


def contained(sound, container, codec, rate=RATE, layout=None):
    """The content of a file of sound in a container, as FFmpeg writes it."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        layout = layout or f"{sound.shape[1]} channels"
        stream = output.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame(format="flt", layout=layout, samples=len(sound))
        frame.planes[0].update(np.ascontiguousarray(sound).tobytes())
        frame.sample_rate = rate
        to_codec = stream.codec_context
        resampler = av.AudioResampler(to_codec.format, layout, rate, frame_size=to_codec.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode())
    return buffer.getvalue()


@pytest.mark.parametrize("n_channels", [1, 2, 6, 7, 8, 9, 16, 64])
@pytest.mark.parametrize(
    ("container", "codec"), [("matroska", "pcm_s16le"), ("mov", "pcm_f32le"), ("wav", "pcm_s16le")]
)
def test_every_channel_of_any_number_is_exact(n_channels, container, codec):
    """From eight on PyAV reads behind a frame's planes, which ended Python."""
    content = contained(many(n_channels), container, codec)
    found = VideoAudio(RATE, mono=False).fit_transform([content])[0]
    np.testing.assert_allclose(found, many(n_channels), atol=1 / 32768 + 1e-6)
    np.testing.assert_allclose(VideoAudio(RATE).fit_transform([content])[0], found.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("layout", ["7.1", "5.1", "quad", "hexadecagonal"])
def test_sound_in_planes_of_any_layout(layout):
    n_channels = av.AudioLayout(layout).nb_channels
    content = contained(many(n_channels), "wv", "wavpack", layout=layout)
    found = VideoAudio(RATE, mono=False).fit_transform([content])[0]
    np.testing.assert_allclose(found, many(n_channels), atol=1 / 128 + 1e-6)


SOUNDS = [
    *[("WAV", subtype, endian) for subtype in ("PCM_16", "PCM_24", "FLOAT") for endian in ("LITTLE", "BIG")],
    *[("WAV", subtype, "BIG") for subtype in ("PCM_32", "DOUBLE", "ALAW", "IMA_ADPCM")],
    *[(container, "PCM_16", "FILE") for container in ("W64", "RF64", "AIFF", "CAF", "AU")],
    *[(container, "PCM_24", "FILE") for container in ("W64", "RF64", "AIFF", "CAF", "AU", "FLAC")],
    *[("AIFF", "PCM_24", "LITTLE"), ("AU", "FLOAT", "LITTLE"), ("WAV", "G721_32", "LITTLE")],
    *[
        ("OGG", "VORBIS", "FILE"),
        ("OGG", "OPUS", "FILE"),
        ("MP3", "MPEG_LAYER_III", "FILE"),
        ("CAF", "ALAC_16", "FILE"),
    ],
]


@pytest.mark.parametrize(("container", "subtype", "endian"), SOUNDS)
def test_a_file_of_sound_is_what_the_audio_loader_reads(container, subtype, endian):
    buffer = io.BytesIO()
    wave = 0.8 * np.sin(np.arange(4000) / 9)
    soundfile.write(buffer, wave, RATE, format=container, subtype=subtype, endian=endian)
    content = buffer.getvalue()
    (found,) = VideoAudio(RATE).fit_transform([content])
    np.testing.assert_array_equal(found, AudioLoader(RATE).fit_transform([content])[0])
    lossy = subtype in ("IMA_ADPCM", "G721_32", "ALAW", "VORBIS", "OPUS", "MPEG_LAYER_III")
    np.testing.assert_allclose(found[500:3500], wave[500:3500], atol=0.15 if lossy else 1e-4)
    for loader in (AudioLoader(RATE), VideoAudio(RATE)):  # a cut one is refused by both
        with pytest.raises(ValueError, match="row 0: .*(truncated|decoder|file is malformed|End of file)"):
            loader.fit_transform([content[: int(0.6 * len(content))]])


def wav(bits, magic=b"RIFF"):
    """A WAV file of integers of any number of bits, made by hand."""
    order, width = (">" if magic == b"RIFX" else "<"), (bits + 7) // 8
    data = b"".join(
        (int(v * 2.0 ** (8 * width - 1)) >> (8 * width - bits) << (8 * width - bits)).to_bytes(
            width, "big" if order == ">" else "little", signed=True
        )
        for v in np.linspace(-0.9, 0.9, 1000)
    )
    head = struct.pack(order + "HHIIHH", 1, 1, RATE, RATE * width, width, bits)
    body = b"WAVEfmt " + struct.pack(order + "I", 16) + head + b"data" + struct.pack(order + "I", len(data)) + data
    return magic + struct.pack(order + "I", len(body)) + body


@pytest.mark.parametrize("magic", [b"RIFF", b"RIFX"])
@pytest.mark.parametrize("bits", [12, 16, 20, 24, 32, 36, 45, 53, 64])
def test_integers_of_any_size_and_order_are_right_or_refused_in_words(bits, magic):
    content = wav(bits, magic)
    if bits <= 32 or (bits, magic) == (64, b"RIFF"):
        np.testing.assert_allclose(
            VideoAudio(RATE).fit_transform([content])[0],
            np.linspace(-0.9, 0.9, 1000),
            atol=2.0 ** (1 - bits) + 1e-6,
        )
    else:
        reason = "RIFX" if (bits, magic) == (64, b"RIFX") else "does not decode|says neither"
        with pytest.raises(ValueError, match=f"row 0: cannot read {len(content)} bytes: .*({reason})"):
            VideoAudio(RATE).fit_transform([content])


@pytest.mark.parametrize("container", ["wav", "caf"])
def test_a_cut_file_that_ffmpeg_alone_reads_is_refused_too(tmp_path, container):
    content = contained(many(1), container, {"wav": "ac3", "caf": "adpcm_ima_qt"}[container], 48000, "mono")
    with pytest.raises(ValueError, match="unimplemented|Malformed|supported|Unknown"):
        AudioLoader(RATE).fit_transform([content])
    assert len(VideoAudio(48000).fit_transform([content])[0]) >= 2900
    path = tmp_path / "cut"
    path.write_bytes(content[: len(content) // 2])
    for source in (path, path.read_bytes()):
        with pytest.raises(ValueError, match=r"row 0: .*truncated: it has \d+ of \d+ bytes"):
            VideoAudio(48000).fit_transform([source])


def test_a_small_file_does_not_become_a_long_waveform():
    content = contained(np.zeros((100_000, 1), np.float32), "matroska", "aac", 48000, "mono")
    assert len(content) < 10_000
    assert len(VideoAudio(16000, max_samples=40_000).fit_transform([content])[0]) < 40_000
    with pytest.raises(
        ValueError, match="row 0: .*more than max_samples=30000 values, 1.875 s of 1 channels at 16000"
    ):
        VideoAudio(16000, max_samples=30_000).fit_transform([content])


# -- containers that point elsewhere, or claim what they do not hold -----------------------------------------------


def pointers(folder):
    """Files that would have FFmpeg open another one, or a socket."""
    make(folder / "neighbour.mp4", levels(20))
    part = folder / "part.ts"
    with av.open(part, "w") as container:
        stream = container.add_stream("mpeg2video", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for pixels in levels(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    sdp = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=x", "c=IN IP4 127.0.0.1", "t=0 0", "m=video 50004 RTP/AVP 96"]
    namespace = 'xmlns="urn:mpeg:dash:schema:mpd:2011"'
    return {
        "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{part.as_uri()}\n#EXT-X-ENDLIST\n",
        "neighbour.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\npart.ts\n#EXT-X-ENDLIST\n",
        "a.ffconcat": "ffconcat version 1.0\nfile neighbour.mp4\n",
        "a.sdp": "\n".join([*sdp, "a=rtpmap:96 H264/90000", ""]),
        "a.mpd": f'<?xml version="1.0"?><MPD {namespace}><BaseURL>{part.as_uri()}</BaseURL></MPD>',
        "a.mp4": "ffconcat version 1.0\nfile neighbour.mp4\n",
    }


@pytest.mark.parametrize("loader", [VideoFrames(), VideoAudio()], ids=["frames", "sound"])
def test_nothing_but_the_file_itself_is_opened(tmp_path, loader, monkeypatch):
    monkeypatch.setattr("socket.socket", lambda *a, **k: pytest.fail("a socket"))
    bad = pointers(tmp_path)
    for name, text in bad.items():
        path = tmp_path / name
        path.write_text(text)
        for source in (path, path.read_bytes()):
            with pytest.raises(
                ValueError, match="row 0: .*(no container format that is read; these are mov, |Invalid data)"
            ):
                loader.fit_transform([source])


def test_a_name_of_a_file_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a|b.mp4", "http:a.mp4", "pipe:0", "data:a"):
        make(tmp_path / "a.mp4", levels(20)).rename(name)
        assert numbers(VideoFrames(2).fit_transform([name])[0]) == [5, 15]


def box(content, name):
    return content.index(name) + 4


@pytest.mark.parametrize("n", [10**6, 50_000_000, 2**32 - 1])
@pytest.mark.parametrize("hidden", [False, True])
def test_an_index_longer_than_the_file_is_not_made(tmp_path, n, hidden):
    content = bytearray(make(tmp_path, levels(2)).read_bytes())
    place = box(content, b"stsz")
    content[place + 4 : place + 12] = struct.pack(">II", 1, n)
    if hidden:  # FFmpeg looks for it in free space, too
        content[box(content, b"moov") - 4 : box(content, b"moov")] = b"free"
    with pytest.raises(ValueError, match=rf"row 0: .*it claims {n} samples or more, where it has \d+ bytes"):
        VideoFrames().fit_transform([bytes(content)])
    with pytest.warns(UserWarning, match="1 of 1 rows"):
        VideoFrames(errors="missing").fit_transform([bytes(content)])


def test_runs_of_a_fragmented_file_count_together(tmp_path):
    path = make(tmp_path, levels(20), options={"movflags": "frag_keyframe+empty_moov"})
    assert numbers(VideoFrames(2).fit_transform([path])[0]) == [5, 15]
    content = path.read_bytes()
    run = struct.pack(">I4sII", 16, b"trun", 0, len(content))
    moof = struct.pack(">I4s", 8 + 16 * 40, b"moof") + 40 * run
    with pytest.raises(ValueError, match="samples or more"):
        VideoFrames().fit_transform([content + moof])


def test_samples_that_share_their_bytes_are_no_more_than_these():
    class Packet:
        size = 1000

    class Container:
        size = 5000

        def demux(self, stream):
            while True:
                yield Packet()

    with pytest.raises(ValueError, match="more than 145536 bytes of packets, where it has 5000 bytes"):
        list(packets_of(Container(), None))


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

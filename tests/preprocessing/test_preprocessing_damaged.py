"""Cut and altered files of every format through every loader: none ends the process, hangs it or fills it."""

import subprocess
import sys

import pytest

CODE = """
import io, random, resource, sys, warnings
from fractions import Fraction

import av, numpy as np, soundfile
from PIL import Image

from skmm.preprocessing import AudioLoader, ImageLoader, VideoAudio, VideoFrames

resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
rng = np.random.default_rng(0)
sound = np.cumsum(rng.normal(size=(3000, 2)), axis=0)
sound *= 0.5 / np.abs(sound).max()
pixels = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)


def sounds():
    for kind in ("WAV", "WAVEX", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3", "VOC", "MAT5"):
        buffer = io.BytesIO()
        soundfile.write(buffer, sound, 16000, format=kind)
        yield buffer.getvalue()


def pictures():
    for kind in "PNG JPEG GIF BMP TIFF WEBP PPM JPEG2000 AVIF ICO ICNS DDS PCX SGI TGA".split():
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        yield buffer.getvalue()


def videos():
    codecs = {"mp4": "mpeg4", "avi": "mpeg4", "flv": "flv1", "mpegts": "mpeg2video", "webm": "libvpx"}
    for kind, codec in codecs.items():
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=kind) as container:
            video = container.add_stream(codec, rate=25)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            for i in range(6):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * i, np.uint8))
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(video.encode(frame))
            container.mux(video.encode())
        yield buffer.getvalue()


def altered(content, rng):
    content = bytearray(content)
    place = rng.randrange(min(len(content), rng.choice((64, 400, 10**9))))
    how = rng.randrange(4)
    if how == 0:
        return bytes(content[: rng.randrange(1, len(content))])
    if how == 1:
        del content[place : place + rng.randrange(1, 200)]
    elif how == 2:  # a length, which becomes a huge one
        content[place : place + 4] = bytes.fromhex(rng.choice(("ffffffff", "7fffffff", "ffffff7f", "00000000")))
    else:
        for _ in range(rng.choice((1, 2, 8, 40))):
            content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


warnings.simplefilter("ignore")
listen = [AudioLoader(errors="missing"), AudioLoader(duration=0.2, errors="missing"), VideoAudio(errors="missing")]
look = [VideoFrames(2, size=8, errors="missing")]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
n = 0
see = [ImageLoader(8, errors="missing"), *look]
for makers, loaders in ((sounds, listen + look), (pictures, see), (videos, listen + look)):
    for content in makers():
        whole = [loader.fit_transform([content])[0] for loader in loaders]
        assert any(one is not None and np.ma.count(one) for one in whole), content[:20]
        rng = random.Random(len(content))
        files = [altered(content, rng) for _ in range(int(sys.argv[1]))]
        for loader in loaders:
            assert len(loader.fit_transform(files)) == len(files)
            n += len(files)
print(n, "read; MB more:", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.one_by_default
@pytest.mark.parametrize("n", [5, pytest.param(300, marks=pytest.mark.slow)])
def test_altered_files_are_read_or_missing(n):
    done = subprocess.run([sys.executable, "-c", CODE, str(n)], capture_output=True, text=True, timeout=30 + 3 * n)
    assert done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr[-2000:])
    n_read, _, grown = done.stdout.strip().partition(" read; MB more: ")
    assert int(n_read) > 90 * n
    assert int(grown) < 1000

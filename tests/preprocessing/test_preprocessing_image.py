"""Images from files, against Pillow's own reading, and the features of small vision models."""

import io
import pickle
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from test_preprocessing_files import assert_sklearn_checks

from skmm import Blocks, ModalityTransformer
from skmm.preprocessing import ImageEmbedder, ImageLoader


def photo(height=40, width=60, channels=3, seed=0):
    """Smooth pixels that differ everywhere, so that a turned or mirrored picture is another."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (9 + 3 * c) + c + seed) + np.cos(y / (7 + 2 * c)) + x / width for c in range(channels)]
    pixels = np.stack(waves, axis=2)
    return (255 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint8).squeeze()


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, bits, colour, rows):
    """A PNG made by hand: Pillow writes no colours of 16 bits."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def exact(height=40, width=60, **params):
    """A loader that leaves the size of ``photo()`` as it is."""
    return ImageLoader(size=(height, width), **params)


# -- what is read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_files_as_pillow_reads_them(tmp_path, extension, mode):
    path = tmp_path / f"photo.{extension}"
    Image.fromarray(photo()).save(path)
    with Image.open(path) as image:
        image = image.convert("RGB").convert(mode)
        whole = np.asarray(image).reshape(40, 60, -1)
        small = np.asarray(image.resize((30, 16), Image.Resampling.BILINEAR)).reshape(16, 30, -1)
    for source in (path, str(path), path.read_bytes()):
        np.testing.assert_array_equal(exact(mode=mode).fit_transform([source])[0], whole)
        np.testing.assert_array_equal(ImageLoader((16, 30), mode=mode).fit_transform([source])[0], small)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photo()).save(path, exif=exif, quality=95)
    stored = np.asarray(Image.open(path))  # Pillow leaves it as stored
    # the EXIF standard: where the stored picture's first row and first column are shown
    shown = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored.transpose(1, 0, 2)[:, ::-1],
        7: stored.transpose(1, 0, 2)[::-1, ::-1],
        8: stored.transpose(1, 0, 2)[::-1],
    }[orientation]
    block = ImageLoader(size=shown.shape[:2]).fit_transform([path])
    np.testing.assert_array_equal(block[0], shown)


def test_float32_is_from_0_to_1():
    block = exact(dtype="float32").fit_transform([photo()])
    assert block.dtype == np.float32
    np.testing.assert_allclose(block[0], photo() / 255, rtol=1e-6)


@pytest.mark.parametrize(
    "item", [photo(), Image.fromarray(photo()), encoded(photo())], ids=["array", "PIL", "bytes"]
)
def test_decoded_objects_read_as_files(item):
    np.testing.assert_array_equal(exact().fit_transform([item])[0], photo())


def test_a_block_of_arrays():
    block = np.stack([photo(seed=s) for s in range(3)])
    np.testing.assert_array_equal(exact().fit_transform(block), block)
    np.testing.assert_array_equal(exact(mode="L").fit_transform(block[..., 0]), block[..., :1])


def test_the_users_picture_is_left_alone():
    image = Image.fromarray(photo())
    image.getexif()[0x0112] = 6
    ImageLoader(8).fit_transform([image])
    assert image.size == (60, 40)
    assert image.getexif()[0x0112] == 6


def test_grey_of_16_bits_is_scaled():
    levels = np.arange(0, 65536, 256 // 8, dtype=np.uint16).reshape(32, 64)
    expected = np.round(levels / 257).astype(np.uint8)
    for item in (encoded(levels), encoded(levels, "TIFF"), levels):
        block = exact(32, 64, mode="L").fit_transform([item])
        np.testing.assert_array_equal(block[0, :, :, 0], expected)


def tiff(values, bits, kind=1, photometric=1, order="<"):
    """A grey TIFF of one strip, made by hand: ``kind`` 1 has unsigned numbers, 2 signed ones."""
    height, width = values.shape
    if bits == 12:  # two levels in three bytes
        pairs = values.reshape(-1, 2)
        parts = [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255]
        data = np.stack(parts, axis=1).astype(np.uint8).tobytes()
    else:
        data = values.astype(f"{order}{'ui'[kind - 1]}{bits // 8}").tobytes()
    short, long = 3, 4
    tags = [(256, long, width), (257, long, height), (258, short, bits), (259, short, 1), (262, short, photometric)]
    tags += [(273, long, 8 + 2 + 12 * 10 + 4), (277, short, 1), (278, long, height), (279, long, len(data))]
    tags += [(339, short, kind)]
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(tags))
    for tag, form, value in tags:
        number = struct.pack(order + "HH", value, 0) if form == short else struct.pack(order + "I", value)
        head += struct.pack(order + "HHI", tag, form, 1) + number
    return head + struct.pack(order + "I", 0) + data


GREY = np.arange(0, 65536, 32).reshape(32, 64)  # levels of 16 bits
EXPECTED_GREY = np.round(GREY / 257).astype(np.uint8)


@pytest.mark.parametrize("white", [256, 300, 1023, 4095, 32767, 65534, 65535, 255, 100, 1])
@pytest.mark.parametrize("plain", [False, True])
def test_grey_of_any_white_in_a_pgm(white, plain):
    values = np.round(GREY * (white / 65535)).astype(int)
    head = b"P%d\n64 32\n%d\n" % (2 if plain else 5, white)
    binary = values.astype(">u2" if white > 255 else "u1").tobytes()
    content = head + (" ".join(map(str, values.ravel())).encode() if plain else binary)
    block = exact(32, 64, mode="L").fit_transform([content])
    np.testing.assert_allclose(block[0, :, :, 0].astype(float), 255 * values / white, atol=0.502)


@pytest.mark.parametrize("order", ["<", ">"])
def test_signed_grey_of_16_bits_is_black_where_it_is_least(order):
    block = exact(32, 64, mode="L").fit_transform([tiff(GREY - 32768, 16, 2, order=order)])
    np.testing.assert_array_equal(block[0, :, :, 0], EXPECTED_GREY)
    # so it is in JPEG 2000, the other format that has signed numbers
    jpeg_2000 = encoded((GREY // 2).astype(np.uint16), "JPEG2000", signed=True)
    both = exact(32, 64, mode="L").fit_transform([tiff(GREY // 2, 16, 2, order=order), jpeg_2000])
    np.testing.assert_array_equal(both[0], both[1])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (tiff(GREY, 16), EXPECTED_GREY),
        (tiff(GREY, 16, order=">"), EXPECTED_GREY),
        (tiff(GREY, 16, photometric=0), 255 - EXPECTED_GREY),
        (tiff(GREY >> 8, 8), GREY >> 8),
        (tiff(GREY >> 8, 8, photometric=0), 255 - (GREY >> 8)),
        (tiff((GREY >> 8) - 128, 8, 2), GREY >> 8),
    ],
    ids=["16", "16, big-endian", "16, 0 is white", "8", "8, 0 is white", "8, signed"],
)
def test_grey_of_a_tiff(content, expected):
    np.testing.assert_array_equal(exact(32, 64, mode="L").fit_transform([content])[0, :, :, 0], expected)


def test_grey_of_12_bits_is_as_bright_as_of_16():
    block = exact(32, 64, mode="L").fit_transform([tiff(GREY >> 4, 12)])
    np.testing.assert_allclose(block[0, :, :, 0].astype(float), 255 * (GREY >> 4) / 4095, atol=0.51)


@pytest.mark.parametrize("order", ["<", ">"])
def test_grey_of_32_bits_is_refused(order):
    with pytest.raises(ValueError, match="row 0: .*(32 bits|no image)"):
        ImageLoader().fit_transform([tiff(GREY, 32, 2, order=order)])


STARTS = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    "WMF": b"\xd7\xcd\xc6\x9a" + bytes(40),
    "FITS": b"SIMPLE  =                    T" + bytes(100),
    "GRIB": b"GRIB" + bytes(40),
    "BUFR": b"BUFR" + bytes(40),
}


@pytest.mark.parametrize("content", STARTS.values(), ids=STARTS)
def test_formats_that_start_programs_or_call_others_are_not_read(tmp_path, monkeypatch, content):
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail("a program was started"))
    path = tmp_path / "a.eps"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(
            ValueError, match="row 0: .*no image, or of a format that is not read; these are PNG, JPEG"
        ):
            ImageLoader().fit_transform([source])


def test_a_picture_inside_another_is_no_larger_than_allowed():
    """An icon tells the size of a picture within it, which has its own."""
    content = bytearray(encoded(photo(32, 32, 4), "ICO", sizes=[(32, 32)]))
    inner = encoded(np.zeros((300, 300, 4), np.uint8))
    content[14:18] = len(inner).to_bytes(4, "little")
    with (
        pytest.warns(UserWarning, match="not the expected size"),
        pytest.raises(ValueError, match="more than max_pix"),
    ):
        ImageLoader(max_pixels=2000).fit_transform([bytes(content[:22]) + inner])


def test_colours_of_16_bits_are_scaled():
    levels = np.linspace(0, 65535, 8 * 8 * 3).astype(">u2").reshape(8, 8, 3)
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    block = exact(8, 8).fit_transform([png(8, 8, 16, 2, rows)])
    np.testing.assert_allclose(block[0].astype(float), levels / 257, atol=1)


def test_colours_of_16_bits_in_an_array_are_scaled():
    levels = np.linspace(0, 65535, 8 * 8 * 3).astype(np.uint16).reshape(8, 8, 3)
    np.testing.assert_array_equal(exact(8, 8).fit_transform([levels])[0], np.round(levels / 257))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_without_a_known_white_are_refused(mode):
    with pytest.raises(ValueError, match=f"32 bits \\(mode '{mode}'\\)"):
        ImageLoader().fit_transform([encoded(Image.new(mode, (8, 8), 3), "TIFF")])


def test_palettes():
    image = Image.fromarray(photo()).quantize(16)
    np.testing.assert_array_equal(exact().fit_transform([encoded(image)])[0], np.asarray(image.convert("RGB")))


def test_black_and_white():
    pixels = photo(channels=1) > 100
    block = exact(mode="L").fit_transform([encoded(Image.fromarray(pixels))])
    np.testing.assert_array_equal(block[0, :, :, 0], 255 * pixels)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind):
    red = Image.new("CMYK", (60, 40), (0, 255, 255, 0))
    block = exact().fit_transform([encoded(red, kind)])
    np.testing.assert_allclose(block[0].astype(int), np.broadcast_to([255, 0, 0], (40, 60, 3)), atol=2)


@pytest.mark.parametrize(("background", "level"), [("white", 255), ("black", 0), ("#204060", None)])
def test_transparency_shows_the_background(background, level):
    pixels = photo(channels=4)
    pixels[..., 3] = np.linspace(0, 255, 60)
    behind = np.array([0x20, 0x40, 0x60]) if level is None else np.full(3, level)
    opacity = pixels[..., 3:] / 255
    expected = pixels[..., :3] * opacity + behind * (1 - opacity)
    block = exact(background=background).fit_transform([encoded(pixels)])
    np.testing.assert_allclose(block[0].astype(float), expected, atol=1)
    np.testing.assert_array_equal(exact(mode="RGBA").fit_transform([encoded(pixels)])[0], pixels)


def test_transparent_entry_of_a_palette():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.putpixel((0, 0), 0)
    block = exact(8, 8).fit_transform([encoded(image, "PNG", transparency=0)])
    assert block[0, 0, 0].tolist() == [255, 255, 255]
    assert block[0, 4, 4].tolist() == [200, 10, 10]


def test_colours_hidden_by_transparency_do_not_bleed():
    pixels = np.zeros((40, 60, 4), np.uint8)
    pixels[:, :30] = [0, 0, 255, 255]
    pixels[:, 30:] = [255, 0, 0, 0]
    assert not ImageLoader(5).fit_transform([pixels])[..., 0][0, :, 0].any()
    assert not ImageLoader(5, mode="RGBA").fit_transform([pixels])[0, ..., 0][:, :3].any()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (60, 40), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    block = exact().fit_transform([encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)])
    np.testing.assert_array_equal(block[0], np.asarray(frames[0]))


# -- aspect ratio -------------------------------------------------------------------------------------------------


def test_stretch():
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 40:] = 255
    block = ImageLoader(20).fit_transform([pixels])[0]
    assert not block[:, :9].any()
    assert (block[:, 11:] == 255).all()


def test_crop_keeps_the_middle():
    cropped = ImageLoader(20, aspect="crop").fit_transform([photo(40, 80)])
    np.testing.assert_array_equal(cropped, ImageLoader((20, 40)).fit_transform([photo(40, 80)])[:, :, 10:30])
    tall = ImageLoader((40, 20), aspect="crop").fit_transform([photo(40, 80)])[0]
    np.testing.assert_array_equal(tall, photo(40, 80)[:, 30:50])


@pytest.mark.parametrize(("mode", "black"), [("RGB", [0, 0, 0]), ("L", [0]), ("RGBA", [0, 0, 0, 255])])
def test_pad_fills_up_two_sides(mode, black):
    block = ImageLoader(40, mode=mode, aspect="pad", background="black").fit_transform(
        [np.full((40, 80), 255, "u1")]
    )
    assert (block[0, :10] == black).all()
    assert (block[0, 30:] == black).all()
    assert (block[0, 10:30] == 255).all()


# -- what cannot be read ------------------------------------------------------------------------------------------


def broken(folder):
    """Files that cannot be read, with the reason that the message gives."""
    files = {
        "text.png": (b"no picture, but words", "no image"),
        "cut.png": (encoded(photo(200, 200))[:-2000], "truncated"),
        "cut.jpg": (encoded(photo(200, 200), "JPEG")[:-2000], "truncated"),
        "cut.gif": (encoded(photo(200, 200), "GIF")[:-5000], "truncated"),
        "cut.webp": (encoded(photo(200, 200), "WEBP")[:-1000], ""),
        "cut.tiff": (encoded(photo(200, 200), "TIFF")[:-5000], ""),
        "head.png": (encoded(photo())[:20], ""),
        "noise.png": (encoded(photo())[:60] + b"\x13\x37" * 400, ""),
        "empty.png": (b"", "empty \\(0 bytes\\)"),
        "bomb.png": (png(20000, 20000, 8, 2, b"\0"), "20000 x 20000 = 400000000 pixels|decompression bomb"),
    }
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    return {folder / name: reason for name, (_, reason) in files.items()} | {folder / "absent.png": "No such file"}


def test_files_that_cannot_be_read_are_named(tmp_path):
    for path, reason in broken(tmp_path).items():
        for source in [path, *([path.read_bytes()] if path.exists() else [])]:
            name = path.name if source is path else "bytes"
            with pytest.raises(ValueError, match=f"row 1: cannot read .*{name}.*({reason})"):
                ImageLoader().fit_transform([photo(), source])


def test_files_that_cannot_be_read_are_missing(tmp_path):
    bad = list(broken(tmp_path))
    with pytest.warns(UserWarning, match=f"{len(bad)} of {len(bad) + 1} rows.*text.png") as record:
        block = ImageLoader(errors="missing", n_jobs=2).fit_transform([photo(), *bad])
    assert len(record) == 1
    assert block.mask.all(axis=(1, 2, 3)).tolist() == [False] + [True] * len(bad)


def test_three_percent_unreadable(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(100)]
    for i, path in enumerate(paths):
        path.write_bytes(encoded(np.full((8, 8, 3), i, np.uint8))[: -40 if i in (7, 50, 99) else None])
    with pytest.warns(UserWarning, match="3 of 100 rows cannot be read .*row 7: .*7.png") as record:
        block = ImageLoader(8, errors="missing", n_jobs=2).fit_transform(paths)
    assert len(record) == 1
    assert np.flatnonzero(block.mask.all(axis=(1, 2, 3))).tolist() == [7, 50, 99]
    assert block[:, 0, 0, 0].compressed().tolist() == [i for i in range(100) if i not in (7, 50, 99)]


def test_content_decides_not_the_extension(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(photo(), "PNG"))
    np.testing.assert_array_equal(exact().fit_transform([path])[0], photo())


def test_too_many_pixels_are_refused_before_decoding(tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(photo()))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=r"photo.png'.* 60 x 40 = 2400 pixels, more than max_pixels=2399"):
        ImageLoader(max_pixels=2399).fit_transform([path])


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_of_what_is_refused_pillow_does_not_warn_too(monkeypatch, n_jobs):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # of more than so many Pillow warns
    loader = ImageLoader(max_pixels=2000, n_jobs=n_jobs)
    with pytest.raises(ValueError, match="row 0: .* 2400 pixels, more than max_pixels=2000"):
        loader.fit_transform([encoded(photo())])
    with pytest.warns(UserWarning, match="1 of 1 rows") as record:
        loader.set_params(errors="missing").fit_transform([encoded(photo())])
    assert len(record) == 1
    with pytest.warns(Image.DecompressionBombWarning):  # what is let through it is to warn of
        ImageLoader(max_pixels=2400).fit_transform([encoded(photo())])


def test_as_many_pixels_as_allowed():
    assert ImageLoader(max_pixels=2400).fit_transform([encoded(photo())]).shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    "pixels",
    [photo() / 255, photo().astype(np.int64), photo()[0, 0], photo(channels=2), np.zeros((0, 4, 3), np.uint8)],
    ids=["float", "int64", "1-D", "2 channels", "empty"],
)
def test_arrays_that_are_no_pixels(pixels):
    with pytest.raises(ValueError, match="row 0: cannot read a ndarray of shape .*: arrays of pixels must"):
        ImageLoader().fit_transform([pixels])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"size": 0}, "size must be a positive integer, got 0"),
        ({"size": (8, -1)}, "size must be a positive integer, got -1"),
        ({"size": (8, 8, 3)}, "size must be .* a pair \\(height, width\\), got \\(8, 8, 3\\)"),
        ({"size": "8"}, "size must be"),
        ({"size": 8.0}, "size must be"),
        ({"size": True}, "size must be"),
        ({"mode": "CMYK"}, "unknown mode 'CMYK', valid are \\['RGB', 'L', 'RGBA'\\]"),
        ({"dtype": "float64"}, "unknown dtype 'float64'"),
        ({"aspect": "fill"}, "unknown aspect 'fill'"),
        ({"background": "sky"}, "background must be a colour .* got 'sky'"),
        ({"background": 3}, "background must be a colour .* got 3"),
        ({"max_pixels": 0}, "max_pixels must be a positive integer, got 0"),
        ({"errors": "skip"}, "unknown errors 'skip'"),
    ],
)
def test_wrong_parameters(params, message):
    for method in (ImageLoader(**params).fit, ImageLoader(**params).transform):
        with pytest.raises(ValueError, match=message):
            method([photo()])


# -- together with the rest ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_every_output_is_an_image_block(mode, dtype):
    loader = ImageLoader(8, mode=mode, dtype=dtype)
    X = Blocks(
        now=loader.fit_transform([photo()] * 3), lazy=loader.set_params(lazy=True).fit_transform([photo()] * 3)
    )
    assert X.kinds == {"now": "image", "lazy": "image"}
    np.testing.assert_array_equal(np.asarray(X["lazy"]), X["now"])


def test_in_a_modality_transformer(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(photo()))
    df = pd.DataFrame({"photo": [str(path), None, str(path)]})
    X = ModalityTransformer([("image", ImageLoader(8), "photo")]).fit_transform(df)
    assert X.kinds == {"image": "image"}
    assert X.present["image"].tolist() == [True, False, True]


def test_loader_passes_sklearn_checks():
    assert_sklearn_checks(ImageLoader())


# -- embeddings ---------------------------------------------------------------------------------------------------

# small models of the common architectures, their size of output, and how Pillow prepares pictures for them
_TOKENS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
_STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1]}
MODELS = ["vit", "dinov2", "convnext", "resnet", "clip", "clip_vision"]


def build(name):
    import transformers as t

    if name == "vit":
        return t.ViTModel(t.ViTConfig(**_TOKENS))
    if name == "dinov2":
        return t.Dinov2Model(t.Dinov2Config(**_TOKENS))
    if name == "convnext":
        return t.ConvNextModel(t.ConvNextConfig(**_STAGES, num_stages=2))
    if name == "resnet":
        return t.ResNetModel(t.ResNetConfig(**_STAGES, embedding_size=8, layer_type="basic"))
    if name == "clip_vision":
        return t.CLIPVisionModel(t.CLIPVisionConfig(**_TOKENS))
    texts = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50}
    texts |= {"bos_token_id": 0, "eos_token_id": 1}
    return t.CLIPModel(t.CLIPConfig(text_config=texts, vision_config=_TOKENS, projection_dim=12))


def save(model, folder):
    from transformers import ViTImageProcessorPil

    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in model.parameters():  # the usual first weights give nearly the same vector for all
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    ViTImageProcessorPil(
        size={"height": 32, "width": 32}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4]
    ).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: save(build(name), tmp_path_factory.mktemp(name)) for name in MODELS}


@pytest.fixture(scope="module")
def vit(folders):
    return folders["vit"]


PHOTOS = [photo(seed=s) for s in range(7)]


def pixels_of(photos):
    """What the processor's settings say, on Pillow alone: (n, 3, 32, 32)."""
    small = [np.asarray(Image.fromarray(p).resize((32, 32), Image.Resampling.BILINEAR)) / 255 for p in photos]
    scaled = (np.stack(small) - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.4]
    return torch.tensor(scaled.transpose(0, 3, 1, 2), dtype=torch.float32)


@torch.no_grad()
def outputs_of(folder, photos):
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    return (getattr(model, "vision_model", model))(pixel_values=pixels_of(photos)), model


@pytest.mark.parametrize("name", MODELS)
def test_embeddings_are_what_the_model_gives(folders, name):
    output, model = outputs_of(folders[name], PHOTOS)
    expected = output.pooler_output.flatten(1)
    if name == "clip":
        expected = expected @ model.visual_projection.weight.T
    vectors = ImageEmbedder(folders[name], batch_size=3).fit_transform([encoded(p) for p in PHOTOS])
    assert vectors.dtype == np.float32
    assert np.ptp(vectors, axis=0).max() > 1e-2
    np.testing.assert_allclose(vectors, expected.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_poolings(folders, name):
    hidden = outputs_of(folders[name], PHOTOS)[0].last_hidden_state
    mean = hidden.mean(1) if hidden.ndim == 3 else hidden.mean((2, 3))
    found = ImageEmbedder(folders[name], pooling="mean").fit_transform(PHOTOS)
    np.testing.assert_allclose(found, mean.detach(), rtol=1e-4, atol=1e-4)
    if hidden.ndim == 3:
        found = ImageEmbedder(folders[name], pooling="cls").fit_transform(PHOTOS)
        np.testing.assert_allclose(found, hidden[:, 0].detach(), rtol=1e-4, atol=1e-4)
    else:
        with pytest.raises(ValueError, match="has no tokens for pooling='cls'"):
            ImageEmbedder(folders[name], pooling="cls").fit(PHOTOS)


def test_a_pooler_without_weights_is_not_used(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification

    folder = save(ViTForImageClassification(ViTConfig(**_TOKENS)), tmp_path)
    cls = ImageEmbedder(folder, pooling="cls").fit_transform(PHOTOS)
    np.testing.assert_array_equal(ImageEmbedder(folder).fit_transform(PHOTOS), cls)
    with pytest.raises(ValueError, match="lacks the weights of its pooler"):
        ImageEmbedder(folder, pooling="pooler").fit(PHOTOS)


def test_a_model_without_its_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save(build("vit"), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    key = next(k for k in weights if k.endswith("layernorm.weight"))
    del weights[key]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks the weights .*layernorm.weight"):
        ImageEmbedder(folder).fit(PHOTOS)


@pytest.mark.parametrize("name", MODELS)
def test_images_do_not_see_each_other(folders, name):
    embedder = ImageEmbedder(folders[name]).fit(PHOTOS)
    alone = np.concatenate([embedder.transform([p]) for p in PHOTOS])
    np.testing.assert_allclose(embedder.transform(PHOTOS), alone, rtol=1e-4, atol=1e-5)


def test_the_same_again_and_random_state_left_alone(vit):
    state = torch.get_rng_state()
    first = ImageEmbedder(vit).fit_transform(PHOTOS)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    np.testing.assert_array_equal(ImageEmbedder(vit, n_jobs=2).fit_transform(PHOTOS), first)


def test_pickle_holds_no_weights(vit, tmp_path):
    embedder = ImageEmbedder(vit).fit(PHOTOS)
    expected = embedder.transform(PHOTOS)
    content = pickle.dumps(embedder)
    assert len(content) < 3000
    np.testing.assert_array_equal(pickle.loads(content).transform(PHOTOS), expected)
    np.testing.assert_array_equal(clone(embedder).fit_transform(PHOTOS), expected)


def test_another_model_under_the_same_name_is_refused(tmp_path):
    content = pickle.dumps(ImageEmbedder(save(build("vit"), tmp_path)).fit(PHOTOS))
    model = build("vit")
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is not the one that this was fitted with"):
        pickle.loads(content).transform(PHOTOS)


def test_rows_without_an_image_are_nan(vit):
    embedder = ImageEmbedder(vit, batch_size=2, errors="missing").fit(PHOTOS)
    with pytest.warns(UserWarning, match="2 of 5 rows cannot be read .*row 1: .*no image") as record:
        vectors = embedder.transform([PHOTOS[0], b"text", None, b"", PHOTOS[1]])
    assert len(record) == 1
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, True, True, False]
    np.testing.assert_allclose(vectors[[0, 4]], embedder.transform(PHOTOS[:2]), rtol=1e-4, atol=1e-5)
    assert np.isnan(embedder.transform([None])).all()
    with pytest.raises(ValueError, match="row 3: cannot read 4 bytes: its content is no image"):
        ImageEmbedder(vit, batch_size=2).fit_transform([*PHOTOS[:3], b"text"])


def test_cache_spares_the_model(vit, tmp_path, monkeypatch):
    files = [encoded(p) for p in PHOTOS]
    first = ImageEmbedder(vit, cache=tmp_path / "cache").fit_transform(files[:4])
    embedder = ImageEmbedder(vit, cache=str(tmp_path / "cache")).fit(files)
    seen = []
    embed = embedder._loaded.embed
    monkeypatch.setattr(embedder._loaded, "embed", lambda pixels: seen.append(len(pixels)) or embed(pixels))
    path = tmp_path / "photo.png"
    path.write_bytes(files[0])
    again = embedder.transform([path, *files, PHOTOS[0]])
    assert seen == [len(files) - 4 + 1]  # arrays are not kept
    np.testing.assert_array_equal(again[:5], first[[0, 0, 1, 2, 3]])
    other = ImageEmbedder(vit, pooling="mean", cache=tmp_path / "cache").fit_transform(files)
    np.testing.assert_array_equal(other, ImageEmbedder(vit, pooling="mean").fit_transform(files))
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_cached_vector_is_that_of_its_background(vit, tmp_path):
    clear = [encoded(np.zeros((40, 60, 4), np.uint8))]
    white, black = (
        ImageEmbedder(vit, cache=tmp_path, background=b).fit_transform(clear) for b in ("white", "black")
    )
    np.testing.assert_array_equal(black, ImageEmbedder(vit, background="black").fit_transform(clear))
    assert np.abs(white - black).max() > 1e-3


def test_a_wrong_entry_of_the_cache_is_no_vector(vit, tmp_path):
    files = [encoded(p) for p in PHOTOS[:3]]
    first = ImageEmbedder(vit, cache=tmp_path).fit_transform(files)
    for file in tmp_path.rglob("*.vector"):
        file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.warns(UserWarning, match="is damaged, and is computed anew") as caught:
        again = ImageEmbedder(vit, cache=tmp_path).fit_transform(files)
    assert len(caught) == 1
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(ImageEmbedder(vit, cache=tmp_path).fit_transform(files), first)


def test_transparent_pixels_show_the_background(vit):
    clear = np.zeros((40, 60, 4), np.uint8)
    grey = np.full((40, 60, 3), 128, np.uint8)
    embedder = ImageEmbedder(vit, background="#808080").fit([clear])
    np.testing.assert_allclose(embedder.transform([clear]), embedder.transform([grey]), rtol=1e-5)


def test_names_of_features_and_output_as_a_frame(vit):
    embedder = ImageEmbedder(vit).fit(PHOTOS)
    assert embedder.n_features_out_ == 16
    assert embedder.get_feature_names_out()[-1] == "imageembedder15"
    frame = embedder.set_output(transform="pandas").transform(PHOTOS)
    assert frame.shape == (7, 16)
    df = pd.DataFrame({"photo": pd.Series([encoded(p) for p in PHOTOS], dtype=object)})
    X = ModalityTransformer([("image", ImageEmbedder(vit), "photo")]).fit(df)
    assert X.get_feature_names_out()[0] == "image__imageembedder0"
    assert X.transform(df).kinds == {"image": "vector"}


def test_nothing_is_printed(vit, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    ImageEmbedder(vit).fit_transform(PHOTOS)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    ImageEmbedder(vit, verbose=True).fit_transform(PHOTOS)
    assert "ImageEmbedder: 100%" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"model": "/no/such/folder"}, "model='/no/such/folder': there is no such folder"),
        ({"model": str(Path(__file__).parent)}, "cannot be loaded as a vision model"),
        ({"pooling": "max"}, "unknown pooling 'max', valid are"),
        ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
        ({"device": "gpu"}, "device='gpu'"),
        ({"errors": "skip"}, "unknown errors 'skip'"),
        ({"max_pixels": -1}, "max_pixels must be"),
    ],
)
def test_wrong_parameters_of_an_embedder(vit, params, message):
    with pytest.raises(ValueError, match=message):
        ImageEmbedder(**{"model": vit, **params}).fit(PHOTOS)


def test_embedder_passes_sklearn_checks(vit):
    assert_sklearn_checks(ImageEmbedder(vit))


def test_an_embedder_knows_where_files_lie(vit, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for name in ("in/a.png", "out.png"):
        Image.fromarray(PHOTOS[0]).save(tmp_path / name)
    embedder = ImageEmbedder(vit, base_dir=tmp_path / "in", cache=tmp_path / "cache").fit(PHOTOS)
    wanted = embedder.transform(PHOTOS[:1])
    for _ in range(2):  # computed, and from the cache
        np.testing.assert_allclose(
            embedder.transform(["a.png", "../out.png"]), np.repeat(wanted, 2, axis=0), atol=1e-6
        )
    embedder.set_params(within=tmp_path / "in")
    with pytest.raises(ValueError, match="row 1: .*out.png, outside of"):  # the cache knows its content
        embedder.transform(["a.png", "../out.png"])

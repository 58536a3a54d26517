"""What all transformers that read a column of files share: rows, errors, parallel and lazy reading."""

import os
import pickle
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator

from skmm import Blocks, ModalityTransformer
from skmm._optional import import_optional
from skmm.files._sources import local_path
from skmm.preprocessing import AudioLoader, ImageLoader, VideoAudio, VideoFrames
from skmm.preprocessing._files import FileLoader, LazyFiles, as_column

_NUMBERS = "calls transform on a column of numbers, which are no files"
_TWO_D = "indexes X as a 2-D array; tags say that X is a column"
# checks of scikit-learn that cannot apply to a transformer of a column of files, and why
INAPPLICABLE = {
    "check_fit_score_takes_y": _NUMBERS,
    "check_estimators_dtypes": _NUMBERS,
    "check_pipeline_consistency": _NUMBERS,
    "check_estimators_pickle": _NUMBERS,
    "check_transformer_preserve_dtypes": _NUMBERS,
    "check_transformers_unfitted_stateless": _NUMBERS,
    "check_fit_idempotent": _NUMBERS,
    "check_dont_overwrite_parameters": _TWO_D,
    "check_f_contiguous_array_estimator": _TWO_D,
    "check_transformer_general": _TWO_D,
    "check_methods_sample_order_invariance": _TWO_D,
    "check_methods_subset_invariance": _TWO_D,
    "check_fit2d_1sample": _TWO_D,
    "check_fit2d_1feature": _TWO_D,
    "check_dict_unchanged": _TWO_D,
    "check_estimator_sparse_array": "makes a 1-D sparse array, which scipy does not convert to every format",
}


def assert_sklearn_checks(estimator, inapplicable=INAPPLICABLE):
    """Run scikit-learn's checks on a transformer of a column: exactly the inapplicable ones may fail.

    For the tests of every such transformer. scikit-learn itself runs no check on what does not read 2-D arrays; so
    the instance says that it does, and its clones, which the checks are run on, tell the truth.

    Parameters
    ----------
    estimator : transformer
    inapplicable : dict of str to str
        Names of checks that cannot apply, and why.
    """
    tags = get_tags(estimator)
    tags.input_tags.two_d_array = True
    estimator.__sklearn_tags__ = lambda: tags
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    run = {result["check_name"] for result in results}
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert len(run - failed.keys()) > 15
    assert failed.keys() == inapplicable.keys() & run, failed


# what decoders raise of content that is broken
FAULTS = {
    b"memory": MemoryError("no memory"),
    b"nothing": MemoryError(),
    b"struct": struct.error("unpack requires 4 bytes"),
    b"attribute": AttributeError("'NoneType' object has no attribute 'size'"),
    b"syntax": SyntaxError("not a TIFF file"),
    b"overflow": OverflowError("int too large"),
    b"recursion": RecursionError("maximum recursion depth exceeded"),
    b"key": KeyError(7),
    b"import": ImportError("no such package"),
}


class Letters(FileLoader):
    """Reads the first four bytes of a file."""

    _accepts = "a path, bytes or a list of letters"

    def __init__(self, errors="raise", lazy=False, n_jobs=None, verbose=False):
        self.errors = errors
        self.lazy = lazy
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _sample_shape(self):
        return (4, 1)

    def _sample_dtype(self):
        return np.dtype(np.uint8)

    def _decode(self, source):
        content = Path(source).read_bytes() if isinstance(source, str) else source.read()
        if content in FAULTS:
            raise FAULTS[content]
        return np.frombuffer(content[:4], np.uint8).reshape(4, 1)

    def _convert(self, item):
        return np.frombuffer("".join(item).encode(), np.uint8).reshape(4, 1) if isinstance(item, list) else None


class Words(Letters):
    """Reads all bytes of a file."""

    def _sample_shape(self):
        return None

    def _decode(self, source):
        return np.frombuffer(source.read(), np.uint8)


def text(block):
    return [bytes(row.ravel().tolist()).decode() for row in np.asarray(block)]


CONTENTS = [b"abcd", b"efgh", b"ijkl"]


@pytest.mark.parametrize(
    "column",
    [
        CONTENTS,
        tuple(CONTENTS),
        np.array(CONTENTS, dtype=object),
        np.array(CONTENTS, dtype=object)[:, None],
        pd.Series(CONTENTS, index=[5, 5, 7]),
        pd.DataFrame({"file": CONTENTS}),
        pl.Series(CONTENTS),
        pl.DataFrame({"file": CONTENTS}),
    ],
    ids=["list", "tuple", "array", "column", "Series", "DataFrame", "pl.Series", "pl.DataFrame"],
)
def test_columns(column):
    assert text(Letters().fit_transform(column)) == ["abcd", "efgh", "ijkl"]


@pytest.mark.parametrize(
    ("X", "found"),
    [
        ("photo.png", "'photo.png'"),
        (b"abcd", "4 bytes"),
        (5, "5 \\(int\\)"),
        (None, "NoneType"),
        ({"a": 1}, "dict"),
        (np.array(3.0), "shape \\(\\)"),
        (np.array([["a", "b"]], dtype=object), "shape \\(1, 2\\)"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), "DataFrame of shape \\(1, 2\\)"),
        (sp.csr_array(np.eye(2)), "sparse"),
    ],
)
def test_what_is_no_column(X, found):
    for method in (Letters().fit, Letters().transform, as_column):
        with pytest.raises(ValueError, match=f"expected .*column.*{found}"):
            method(X)


def test_paths_bytes_and_objects_in_one_column(tmp_path):
    path = tmp_path / "文件 a.bin"
    path.write_bytes(b"abcd")
    column = [path, str(path), CONTENTS[1], bytearray(CONTENTS[1]), memoryview(CONTENTS[2]), list("wxyz")]
    assert text(Letters().fit_transform(column)) == ["abcd", "abcd", "efgh", "efgh", "ijkl", "wxyz"]


def unreadable(folder):
    """Rows that no loader can read, and what the message says of each."""
    (folder / "empty").write_bytes(b"")
    os.mkfifo(folder / "pipe")  # to open it would wait for a writer for ever
    return {
        folder / "absent": "absent': No such file",
        folder / "empty": "empty': it is empty",
        folder: "it is a folder",
        folder / "pipe": "it is no regular file",
        b"": "0 bytes: it is empty",
        "a\0b": "null",
        "x" * 5000: "File name too long",
    }


def test_a_row_that_cannot_be_read_is_named(tmp_path):
    for item, reason in unreadable(tmp_path).items():
        with pytest.raises(ValueError, match=f"row 2: cannot read .*{reason}"):
            Letters().fit_transform([*CONTENTS[:2], item, b""])


def test_rows_that_cannot_be_read_are_missing(tmp_path):
    bad = list(unreadable(tmp_path))
    column = [CONTENTS[0], *bad, CONTENTS[2]]
    with pytest.warns(
        UserWarning, match=f"{len(bad)} of {len(column)} rows .*; row 1: .*absent.*No such"
    ) as record:
        block = Letters(errors="missing").fit_transform(column)
    assert len(record) == 1
    assert block.dtype == np.uint8
    assert np.ma.getmaskarray(block).all(axis=(1, 2)).tolist() == [False, *[True] * len(bad), False]
    assert not np.ma.getmaskarray(block)[[0, -1]].any()
    assert text(block[[0, -1]]) == ["abcd", "ijkl"]


def test_nothing_is_masked_where_all_is_read():
    assert type(Letters(errors="missing").fit_transform(CONTENTS)) is np.ndarray


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT, "", "  "])
@pytest.mark.parametrize("errors", ["raise", "missing"])
def test_a_missing_value_is_a_missing_row(missing, errors):
    block = Letters(errors).fit_transform([b"abcd", missing])
    assert np.ma.getmaskarray(block).all(axis=(1, 2)).tolist() == [False, True]


def test_the_warning_points_at_the_users_line():
    df = pd.DataFrame({"file": [b"abcd", b"", b"ijkl"]})
    pipe = make_pipeline(ModalityTransformer([("letters", Letters("missing"), "file")]))
    with pytest.warns(UserWarning, match="1 of 3 rows") as record:
        _ = [pipe.fit_transform(df), Letters("missing").fit_transform(df)]
    assert [w.filename for w in record] == [__file__] * 2


def test_ragged_rows():
    with pytest.warns(UserWarning, match="1 of 3 rows"):
        rows = Words(errors="missing").fit_transform([b"ab", b"", b"abcde"])
    assert rows[1] is None
    assert [len(rows[0]), len(rows[2])] == [2, 5]


@pytest.mark.parametrize("errors", ["raise", "missing"])
@pytest.mark.parametrize("item", [5, 2.5, np.float32(1), {"a": 1}, object(), np.zeros(4)])
def test_a_row_of_another_type_is_always_an_error(item, errors):
    with pytest.raises(ValueError, match="row 1: cannot read .*: expected a path, bytes or a list of letters"):
        Letters(errors).fit_transform([b"abcd", item])


def test_what_is_not_the_files_fault_is_raised():
    with pytest.raises(ImportError):
        Letters("missing").fit_transform([b"import"])


@pytest.mark.parametrize("content", [content for content in FAULTS if content != b"import"])
def test_whatever_a_decoder_raises_is_the_fault_of_the_row(content):
    """Want of memory too: a small file may claim to be a large one."""
    reason = str(FAULTS[content]) or "more memory than there is"
    with pytest.raises(ValueError, match=f"row 1: cannot read {len(content)} bytes: .*{reason}"):
        Letters().fit_transform([b"abcd", content])
    with pytest.warns(UserWarning, match=f"1 of 3 rows cannot be read and are missing; row 1: .*{reason}"):
        block = Letters("missing").fit_transform([b"abcd", content, b"ijkl"])
    assert np.ma.getmaskarray(block).all(axis=(1, 2)).tolist() == [False, True, False]


@pytest.mark.parametrize("n_jobs", [None, 1, 2, 3])
def test_order_is_kept(n_jobs):
    column = [f"{i:04}".encode() for i in range(100)]
    assert text(Letters(n_jobs=n_jobs).fit_transform(column)) == [c.decode() for c in column]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_first_unreadable_row_is_named_whatever_n_jobs(n_jobs):
    column = [b"abcd"] * 60
    column[23] = column[41] = b""
    with pytest.raises(ValueError, match="row 23:"):
        Letters(n_jobs=n_jobs).fit_transform(column)


def test_without_rows():
    assert Letters().fit_transform([]).shape == (0, 4, 1)


def test_progress(capsys):
    Letters(verbose=True).fit_transform(CONTENTS)
    assert "Letters: 100%" in capsys.readouterr().err
    Letters().fit_transform(CONTENTS)
    assert not capsys.readouterr().err


def test_unknown_errors():
    for method in (Letters("ignore").fit, Letters("ignore").transform):
        with pytest.raises(ValueError, match=r"unknown errors 'ignore', valid are \['raise', 'missing'\]"):
            method(CONTENTS)


# -- where files lie ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loader", [ImageLoader, AudioLoader, VideoFrames, VideoAudio])
@pytest.mark.parametrize("lazy", [False, True])
def test_every_loader_knows_where_files_lie(tmp_path, loader, lazy):
    (tmp_path / "in").mkdir()
    (tmp_path / "out.bin").write_bytes(b"abcd")
    sound = {"duration": 1.0} if issubclass(loader, AudioLoader) else {}
    made = clone(loader(base_dir=tmp_path / "in", within=tmp_path, lazy=lazy, **sound))
    with pytest.raises(
        ValueError, match=f"row 0: .*'a.bin': No such file or directory; looked for {tmp_path}/in/a.bin"
    ):
        made.transform(["a.bin"])[:]
    with pytest.raises(ValueError, match=r"row 0: cannot read '\.\./out.bin': ") as caught:
        made.transform(["../out.bin"])[:]
    assert "outside" not in str(caught.value)
    made.set_params(within=tmp_path / "in")
    for path in ("../out.bin", tmp_path / "out.bin", {"bytes": None, "path": "../out.bin"}):
        with pytest.raises(
            ValueError, match=f"row 0: .*: it leads to {tmp_path}/out.bin, outside of {tmp_path}/in; if"
        ):
            made.transform([path])[:]
    for name in ("base_dir", "within"):
        with pytest.raises(ValueError, match=f"{name} must be a folder that exists, or None, got 'nowhere'"):
            clone(made).set_params(**{name: "nowhere"}).fit(["a"])


def test_the_base_is_where_relative_paths_start(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").write_bytes(b"abcd")
    (tmp_path / "b").write_bytes(b"efgh")
    monkeypatch.chdir(tmp_path)
    loader = Letters()
    assert text(loader.transform(["in/a", "b"])) == ["abcd", "efgh"]
    loader.base_dir = "in"
    assert text(loader.transform(["a", "../b", tmp_path / "b"])) == ["abcd", "efgh", "efgh"]  # any path is read
    loader.within = tmp_path
    assert text(loader.transform(["a", "../b", tmp_path / "b"])) == ["abcd", "efgh", "efgh"]


@pytest.mark.parametrize(
    "address", ["http://x.org/a.png", "HTTPS://x.org/a", "ftp://x/a", "file:///etc/hosts", "file:a"]
)
def test_addresses_are_refused_by_name(address):
    with pytest.raises(
        ValueError, match=r"row 1: .*it is an address \(.*:.*\), and what stands there is not fetched"
    ):
        Letters().transform([b"abcd", address])


def test_a_name_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("concat:a").write_bytes(b"abcd")
    assert text(Letters().transform(["concat:a"])) == ["abcd"]
    assert local_path("concat:a") == os.path.join(os.curdir, "concat:a")  # FFmpeg reads a protocol no more


@pytest.mark.parametrize("cell", [{"bytes": None, "path": None}, {"bytes": None, "path": ""}, {"bytes": None}])
def test_a_dict_of_nothing_is_a_missing_row(cell):
    block = Letters().fit_transform([b"abcd", cell])
    assert np.ma.getmaskarray(block).all(axis=(1, 2)).tolist() == [False, True]


# -- lazy ---------------------------------------------------------------------------------------------------------


def test_lazy_reads_what_is_asked_for():
    lazy = Letters(lazy=True).fit_transform([b"abcd", b"", b"ijkl"])
    assert isinstance(lazy, LazyFiles)
    assert (len(lazy), lazy.shape, lazy.dtype) == (3, (3, 4, 1), np.uint8)
    assert text(lazy[[2, 0, 2]]) == ["ijkl", "abcd", "ijkl"]
    assert text(lazy[np.array([True, False, True])]) == ["abcd", "ijkl"]
    assert text(lazy[::2]) == ["abcd", "ijkl"]
    assert lazy[-1].shape == (4, 1)
    assert lazy[[]].shape == (0, 4, 1)
    for rows in (1, [0, 1], slice(None)):
        with pytest.raises(ValueError, match="row 1: cannot read 0 bytes"):
            lazy[rows]


def test_lazy_warns_of_the_first_and_counts_all_once_and_masks():
    lazy = Letters("missing", lazy=True).fit_transform([b"abcd", b"", b"ijkl", b""])
    with pytest.warns(UserWarning, match="row 1: cannot read") as record:
        blocks = [lazy[rows] for rows in ([0, 1], [1, 3], [2, 3], slice(None), slice(None))]
    first, count = (str(warning.message) for warning in record)
    assert first.startswith("row 1: cannot read 0 bytes: it is empty")
    assert "It is missing, as will be any other such row" in first
    assert count.startswith("2 of 4 rows cannot be read and are missing; row 1: cannot read 0 bytes")
    assert all(warning.filename == __file__ for warning in record)
    masks = [np.ma.getmaskarray(block).all(axis=(1, 2)).tolist() for block in blocks[:3]]
    assert masks == [[False, True], [True, True], [False, True]]
    assert list(lazy.failures) == [1, 3]


def test_a_part_that_comes_again_is_counted_as_a_part():
    """Of the rows of a training set the others are never read."""
    lazy = Letters("missing", lazy=True).fit_transform([b"abcd", b"", b"ijkl", b"", b""])
    with pytest.warns(UserWarning, match="row 1: cannot read") as record:
        _ = [lazy[rows] for rows in ([0, 1], [2, 3], [1, 2], [0, 3])]
    assert [str(w.message)[:6] for w in record] == ["row 1:", "2 of 4"]


def test_what_other_processes_read_is_counted_too():
    lazy = Letters("missing", lazy=True).fit_transform([b"abcd", b"", None, b""])
    lazy.note(np.array([0, 1]), np.array([True, False]))
    with pytest.warns(UserWarning, match="2 of 4 rows cannot be read and are missing; row 1: .*another process"):
        lazy.note(np.array([2, 3]), np.array([False, False]))
    assert list(lazy.failures) == [1, 3]  # the row without a value lacks nothing


def test_lazy_survives_pickle():
    lazy = pickle.loads(pickle.dumps(Letters(lazy=True).fit_transform(CONTENTS)))
    assert text(lazy[:]) == ["abcd", "efgh", "ijkl"]


def test_lazy_in_blocks():
    X = Blocks(letters=Letters(lazy=True).fit_transform([b"abcd", b"", b"ijkl"]))
    assert text(X[[2, 0]]["letters"]) == ["ijkl", "abcd"]


def test_ragged_rows_cannot_be_lazy():
    with pytest.raises(ValueError, match="lazy=True needs samples of one shape"):
        Words(lazy=True).fit_transform(CONTENTS)


# -- with scikit-learn and the rest of the package ------------------------------------------------------------


def test_in_a_modality_transformer():
    df = pd.DataFrame({"file": [b"abcd", None, b"ijkl"], "price": [1.0, 2.0, 3.0]})
    X = ModalityTransformer([("letters", Letters(), "file"), ("frame", Letters(), ["file"])]).fit_transform(df)
    for name in ("letters", "frame"):
        assert X.present[name].tolist() == [True, False, True]
        assert text(X[[0, 2]][name]) == ["abcd", "ijkl"]


def test_rows_that_cannot_be_read_are_missing_in_blocks():
    df = pd.DataFrame({"file": [b"abcd", b"", None, b"ijkl"]})
    transformer = ModalityTransformer([("block", Letters("missing"), "file"), ("ragged", Words("missing"), "file")])
    with pytest.warns(UserWarning, match="1 of 3 rows cannot be read .*row 1: "):
        X = transformer.fit_transform(df)
    for name in ("block", "ragged"):
        assert X.present[name].tolist() == [True, False, False, True]


def test_an_error_names_the_modality_too():
    df = pd.DataFrame({"file": [b"abcd", b""]})
    with pytest.raises(ValueError, match="row 1: cannot read 0 bytes") as info:
        ModalityTransformer([("letters", Letters(), "file")]).fit(df)
    assert "modality 'letters'" in info.value.__notes__[0]


def test_sklearn_checks():
    assert_sklearn_checks(Letters())


def test_nothing_is_fitted():
    loader = Letters()
    assert vars(clone(loader).fit(CONTENTS)) == vars(loader)
    assert text(Letters().transform(CONTENTS)) == ["abcd", "efgh", "ijkl"]


def test_filters_of_warnings_are_left_alone():
    before = list(warnings.filters)
    Letters(n_jobs=2).fit_transform(CONTENTS * 20)
    assert warnings.filters == before


# -- optional packages --------------------------------------------------------------------------------------------


def test_import_optional():
    assert import_optional("os.path", extra="none") is os.path
    with pytest.raises(ImportError, match=r"'nopackage' cannot be imported: .*pip install .*skmm\[image\]"):
        import_optional("nopackage.part", extra="image")


def test_a_package_without_its_library_of_the_system_is_no_fault_of_the_files(tmp_path, monkeypatch):
    """soundfile raises an OSError where it finds no libsndfile."""

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "soundfile":
                raise OSError("sndfile library not found")

    monkeypatch.delitem(sys.modules, "soundfile", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(ImportError, match=r"'soundfile' .*skmm\[audio\].*sndfile library not found"):
        AudioLoader(errors="missing").transform([tmp_path / "a.wav"])


@pytest.mark.slow
def test_optional_packages_are_not_imported_with_the_module():
    code = (
        "import sys, skmm.preprocessing;"
        "print([m for m in ('PIL', 'av', 'transformers', 'soundfile', 'soxr', 'librosa') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

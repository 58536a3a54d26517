"""Data sets of HDF5 files as blocks: other processes open the file by its name."""

import io
import pickle

import h5py
import numpy as np
import pytest
from conftest import small
from joblib import parallel_config
from sklearn.model_selection import cross_val_score

from skmm import Blocks
from skmm.model_selection import FusionSearchCV, compare_fusions

N = 24
RNG = np.random.default_rng(0)
Y = np.arange(N) % 2
VALUES = RNG.normal(2 * Y[:, None], 1, (N, 3)).astype(np.float32)
TABLE = RNG.normal(size=(N, 2))


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "clips.h5", "w") as file:
        file["part/x"] = VALUES
    return tmp_path / "clips.h5"


def rows(X, name="x"):
    return np.asarray(X[name])


@pytest.mark.parametrize("mode", [pytest.param("r", marks=pytest.mark.slow), "a"])
def test_what_uses_several_processes_reads_the_file_in_each(path, mode):
    clf = small(n_members=1, max_epochs=2)
    whole = Blocks(x=VALUES, table=TABLE)
    expected = cross_val_score(clf, whole, Y, cv=2)
    with h5py.File(path, mode) as file, parallel_config("loky", n_jobs=2):
        X = {"x": file["part/x"], "table": TABLE}
        np.testing.assert_array_equal(cross_val_score(clf, Blocks(X), Y, cv=2), expected)
        search = FusionSearchCV(clf, {"fusion": ["early", "late"]}, cv=2, n_jobs=2, refit=False).fit(X, Y)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        fusions = ["early", "late"]
        compared = compare_fusions(X, Y, estimator=clf, fusions=fusions, cv=2, n_jobs=2, baselines=False)
        assert all(np.isfinite(compared.scores[name]["accuracy"]).all() for name in fusions)


def test_a_copy_opens_the_file_again(path):
    with h5py.File(path) as file:
        content = pickle.dumps(Blocks(x=file["part/x"])[[5, 2, 2]])
    assert len(content) < 2000
    np.testing.assert_array_equal(rows(pickle.loads(content)), VALUES[[5, 2, 2]])


def test_a_file_that_was_closed_is_opened_again(path):
    with h5py.File(path) as file:
        X = Blocks(x=file["part/x"])
    np.testing.assert_array_equal(rows(X), VALUES)


def test_a_copy_sees_what_was_written_before(path):
    with h5py.File(path, "a") as file:
        file["part/x"][0] = 7.0
        copy = pickle.loads(pickle.dumps(Blocks(x=file["part/x"])))
        np.testing.assert_array_equal(rows(copy)[0], [7.0] * 3)


def swapped_shape(file, path):
    file["part/x"] = VALUES[:5]


def swapped_link(file, path):
    with h5py.File(path.with_name("secret.h5"), "w") as other:
        other["x"] = VALUES
    file["part/x"] = h5py.ExternalLink(str(path.with_name("secret.h5")), "/x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file, path: None, "'/part/x' is no longer a data set of float32 and shape"),
        (swapped_shape, "'/part/x' is no longer a data set of float32 and shape"),
        (swapped_link, r"a link to another file, .*secret\.h5"),
    ],
)
def test_another_file_of_that_name_is_an_error(path, change, message):
    with h5py.File(path) as file:
        content = pickle.dumps(Blocks(x=file["part/x"]))
    with h5py.File(path, "a") as file:
        del file["part/x"]
        change(file, path)
    with pytest.raises(ValueError, match=rf"clips\.h5' cannot be read as HDF5: .*{message}"):
        rows(pickle.loads(content))
    path.unlink()
    with pytest.raises(ValueError, match=r"clips\.h5' cannot be read as HDF5: .*No such file"):
        rows(pickle.loads(content))


def test_a_file_without_a_name_says_what_to_do():
    with h5py.File(io.BytesIO(), "w") as file:
        file["x"] = VALUES
        X = Blocks(x=file["x"])
        np.testing.assert_array_equal(rows(X), VALUES)
        with pytest.raises(
            TypeError, match=r"the HDF5 data set '/x' cannot be pickled, .*dataset\[:\], or .*n_jobs=1"
        ):
            pickle.dumps(X)
    with pytest.raises(ValueError, match="the HDF5 file of '/x' is closed, and was none that can be opened by its"):
        rows(X)


def test_a_column_of_numbers_is_read_whole(path):
    with h5py.File(path, "a") as file:
        file["y"] = Y
        assert Blocks(y=file["y"])["y"].ravel().tolist() == Y.tolist()

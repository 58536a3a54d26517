"""Loaders of the real sets that the benchmarks run on.

Each set is one file ``FOLDER/<set>/<set>.npz``. ``load`` turns it into a :class:`Dataset`: raw or ready input, the
target, and the splits to evaluate on. What is learnt from data (vocabularies, scales) is learnt on the training
part alone, by :meth:`Dataset.split`.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from skmm import Blocks
from skmm.compose import ModalityTransformer


@dataclass(frozen=True)
class Dataset:
    """One set: input, target, and where to split it.

    ``X`` is a Blocks, or a DataFrame that ``transformer`` turns into one. ``splits`` holds one pair of row indices
    (train, test) for a set with a fixed split, several for one that is cross-validated. ``metric`` is the one that
    is compared first, and ``published`` what others report of it on the same splits.
    """

    name: str
    X: Blocks | pd.DataFrame
    y: np.ndarray
    task: str  # "classification" or "regression"
    splits: list[tuple[np.ndarray, np.ndarray]]
    metrics: tuple[str, ...]
    groups: np.ndarray | None = None
    transformer: BaseEstimator | None = None
    n_segments: int | None = 8  # how a linear model reads a sequence: in so many segments, or flattened
    time: np.ndarray | None = None  # what orders the rows, where the test part is the later one
    metric: str = "accuracy"
    published: dict[str, float] = field(default_factory=dict)

    def split(self, i: int) -> tuple[Blocks, np.ndarray, Blocks, np.ndarray, np.ndarray | None]:
        """Training and test part of split ``i``, and the groups of the training rows."""
        train, test = self.splits[i]
        X_train, X_test = self._rows(train), self._rows(test)
        if self.transformer is not None:
            transformer = clone(self.transformer)
            X_train = transformer.fit_transform(X_train)
            X_test = transformer.transform(X_test)
        groups = None if self.groups is None else self.groups[train]
        return X_train, self.y[train], X_test, self.y[test], groups

    def fit_params(self, i: int) -> dict[str, np.ndarray]:
        """What is known of the training rows of split ``i`` beside input and target: ``groups``, ``time``."""
        known = {"groups": self.groups, "time": self.time}
        return {name: value[self.splits[i][0]] for name, value in known.items() if value is not None}

    def _rows(self, rows: np.ndarray) -> Any:
        return self.X.iloc[rows] if isinstance(self.X, pd.DataFrame) else self.X[rows]


CLASSIFICATION = ("accuracy", "log_loss", "ece")
REGRESSION = ("r2", "rmse")
N_PUBLISHED = 5  # of ten published random splits, those that are run unless all are asked for


# -- pieces ---------------------------------------------------------------------------------------------------


def image_features(images: np.ndarray) -> np.ndarray:
    """Classical features of small colour images, for estimators that read vectors.

    Histograms of gradient directions (9) over 4 x 4 cells, histograms (24 bins) of hue, saturation and value, and
    an 8 x 8 thumbnail.

    Shape: images (n, height, width, 3) uint8, height and width divisible by 8; the result (n, 408) float32.
    """
    n, height, width, _ = images.shape
    rgb = images.astype(np.float32) / 255
    dy, dx = np.gradient(rgb.mean(axis=3), axis=(1, 2))
    direction = np.minimum((np.arctan2(dy, dx) % np.pi / np.pi * 9).astype(int), 8)
    cell = 4 * np.repeat(np.arange(4), height // 4)[:, None] + np.repeat(np.arange(4), width // 4)
    gradients = _histograms(9 * cell + direction, 4 * 4 * 9, np.hypot(dx, dy)).reshape(n, 16, 9)
    gradients /= np.linalg.norm(gradients, axis=2, keepdims=True) + 1e-3

    value, spread = rgb.max(axis=3), np.ptp(rgb, axis=3)
    safe = np.where(spread > 0, spread, 1)
    red, green, blue = np.moveaxis(rgb, 3, 0)
    hue = np.select(
        [value == red, value == green],
        [(green - blue) / safe % 6, (blue - red) / safe + 2],
        (red - green) / safe + 4,
    )
    channels = np.stack([hue / 6, spread / np.maximum(value, 1e-6), value], axis=1)  # (n, 3, height, width)
    bins = np.minimum((channels * 24).astype(int), 23) + 24 * np.arange(3)[:, None, None]
    colours = _histograms(bins, 3 * 24) / (height * width)

    thumbnail = rgb.reshape(n, 8, height // 8, 8, width // 8, 3).mean(axis=(2, 4))
    parts = (gradients, colours, thumbnail)
    return np.concatenate([p.reshape(n, -1) for p in parts], axis=1).astype(np.float32)


def _histograms(bins: np.ndarray, n_bins: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Weighted counts of bin numbers, one histogram per row: (n, ...) to (n, n_bins)."""
    n = len(bins)
    index = bins.reshape(n, -1) + n_bins * np.arange(n)[:, None]
    flat = None if weights is None else weights.ravel()
    return np.bincount(index.ravel(), flat, minlength=n * n_bins).reshape(n, n_bins)


def _cells(array: np.ndarray) -> pd.Series:
    """A column whose cells are the rows of an array."""
    return pd.Series(list(array), dtype=object)


def _stack(column: Iterable[np.ndarray]) -> np.ndarray:
    return np.stack(list(column))


class StepImputer(TransformerMixin, BaseEstimator):
    """Fill gaps in sequences of any length, cells of a column, by the mean over all steps."""

    def fit(self, column: Iterable[np.ndarray], y: Any = None) -> StepImputer:
        self.imputer_ = SimpleImputer().fit(np.concatenate(list(column)))
        return self

    def transform(self, column: Iterable[np.ndarray]) -> list[np.ndarray]:
        return [self.imputer_.transform(steps) for steps in column]


def _tfidf(n_rows: int) -> TfidfVectorizer:
    return TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, min_df=5 if n_rows >= 5000 else 2, dtype=np.float32
    )


def _fixed(z: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(z["train_idx"], z["test_idx"])]


def _folds(z: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    fold = z["fold"]
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(fold.max() + 1)]


def _published(n_rows: int, tests: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Splits given by their test rows, each trained on all others."""
    return [(np.setdiff1d(np.arange(n_rows), test), test) for test in tests]


def _few_or_all(tests: np.ndarray, options: set[str]) -> np.ndarray:
    return tests if "all-folds" in options else tests[:N_PUBLISHED]


# -- sets -----------------------------------------------------------------------------------------------------


def _utd_mhad(z: Any, options: set[str]) -> dict[str, Any]:
    skeleton = z["skeleton"]  # (n, time, joint, xyz)
    if "absolute" not in options:
        skeleton = skeleton - skeleton[:, :, 3:4]  # joint 3 is the centre of the hips
    X = Blocks(inertial=z["inertial"], skeleton=skeleton.reshape(*skeleton.shape[:2], -1))
    published = {"SafeSense": 0.963, "PG-MoE, inertial alone": 0.823}
    return {"X": X, "y": z["y"], "splits": _fixed(z), "groups": z["subject"], "published": published}


def _avdigits(z: Any, options: set[str]) -> dict[str, Any]:
    X = Blocks(image=z["image_pca25"], audio=z["logmel"].astype(np.float32))
    return {"X": X, "y": z["y"], "splits": _fixed(z), "groups": z["speaker"], "n_segments": None}


def _mfeat(z: Any, options: set[str]) -> dict[str, Any]:
    return {"X": Blocks(fou=z["fou"], zer=z["zer"], mor=z["mor"]), "y": z["y"], "splits": _folds(z)}


def _wiki(z: Any, options: set[str]) -> dict[str, Any]:
    return {"X": Blocks(image=z["image"], text=z["text"]), "y": z["y"], "splits": _fixed(z)}


def _flipkart(z: Any, options: set[str]) -> dict[str, Any]:
    price = z["price"]
    X = pd.DataFrame({"name": z["product_name"], "retail": price[:, 0], "discounted": price[:, 1]})
    X["photo"] = _cells(z["image"] if "raw" in options else z["image_feat"])
    transformer = ModalityTransformer(
        [
            ("name", _tfidf(len(X)), "name"),
            ("image", FunctionTransformer(_stack), "photo"),
            ("price", FunctionTransformer(np.log1p), ["retail", "discounted"]),
        ]
    )
    return {"X": X, "y": z["y"], "splits": _folds(z), "transformer": transformer}


def _clothing(z: Any, options: set[str]) -> dict[str, Any]:
    X = pd.DataFrame({"title": z["title"], "review": z["review"]})
    numeric = z["numeric_names"].tolist()
    X[numeric] = z["numeric"]
    transformer = ModalityTransformer(
        [
            ("title", _tfidf(len(X)), "title"),
            ("review", _tfidf(len(X)), "review"),
            ("table", "passthrough", numeric),
        ]
    )
    splits = _folds(z) if "all-folds" in options else _fixed(z)
    return {
        "X": X,
        "y": z["y"],
        "splits": splits,
        "transformer": transformer,
        "metrics": (*CLASSIFICATION, "auroc"),
        "metric": "auroc",
    }


def _houses(z: Any, options: set[str]) -> dict[str, Any]:
    rooms = ["frontal", "bedroom", "kitchen", "bathroom"]
    table = z["tabular_names"].tolist()
    X = pd.DataFrame(z["tabular"], columns=table)
    X["zipcode"] = z["zipcode"]
    for room in rooms:
        X[room] = _cells(z[room] if "raw" in options else image_features(z[room]))
    if "zip" in options:
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
        encode = make_column_transformer((one_hot, ["zipcode"]), remainder="passthrough")
        tabular = ("table", encode, [*table, "zipcode"])
    else:
        tabular = ("table", "passthrough", table)
    transformer = ModalityTransformer([tabular, *((room, FunctionTransformer(_stack), room) for room in rooms)])
    return {
        "X": X,
        "y": np.log(z["y"]),
        "splits": _folds(z),
        "transformer": transformer,
        "task": "regression",
        "metrics": REGRESSION,
        "metric": "r2",
    }


def _babies(z: Any, options: set[str]) -> dict[str, Any]:
    categories = z["categories_names"].tolist()
    X = pd.DataFrame({"title": z["title"], "is_discounted": z["is_discounted"][:, 0]})
    X[categories] = z["categories"]  # a missing one is a category of its own: ""
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=5, sparse_output=False)
    table = make_column_transformer((one_hot, categories), remainder="passthrough")
    transformer = ModalityTransformer(
        [("title", _tfidf(len(X)), "title"), ("table", table, [*categories, "is_discounted"])]
    )
    return {
        "X": X,
        "y": z["y"],
        "splits": _published(len(X), z["test_fits"]),
        "transformer": transformer,
        "task": "regression",
        "metrics": REGRESSION,
        "metric": "r2",
        "published": {
            "TabFM": 0.941,
            "TabICLv2": 0.932,
            "TabPFN-3": 0.927,
            "TabPFN-2.5": 0.914,
            "AutoGluon-MM": 0.905,
            "TabM": 0.900,
            "CatBoost, E5 tuned": 0.893,
            "TabSTAR": 0.890,
            "CatBoost": 0.872,
            "RealMLP": 0.856,
            "LightGBM": 0.848,
            "XGBoost": 0.836,
            "random forest": 0.822,
        },
    }


def _imdb_genre(z: Any, options: set[str]) -> dict[str, Any]:
    texts = ["title", "description", "director", "actors"]
    table = z["table_names"].tolist()
    X = pd.DataFrame({name: z[name] for name in texts})
    X[table] = z["table"]
    transformer = ModalityTransformer(
        [*((name, _tfidf(len(X)), name) for name in texts), ("table", SimpleImputer(add_indicator=True), table)]
    )
    splits, published = _fixed(z), {}
    if "multabench" in options:
        splits = [(np.setdiff1d(z["train_idx"], test), test) for test in z["multabench_test_fits"]]
        published = {"TabPFN-2.5": 0.865, "TabPFN-2": 0.859, "TabM": 0.851, "CatBoost": 0.831, "LightGBM": 0.810}
    return {
        "X": X,
        "y": z["y"],
        "splits": splits,
        "transformer": transformer,
        "metrics": (*CLASSIFICATION, "auroc"),
        "metric": "auroc",
        "published": published,
    }


def _cmapss_fd001(z: Any, options: set[str]) -> dict[str, Any]:
    sensors = ("temperature", "pressure", "speed", "flow", "settings")
    return {
        "X": Blocks({name: z[name] for name in sensors}),
        "y": z["y"],
        "splits": _fixed(z),
        "groups": z["engine"],
        "task": "regression",
        "metrics": REGRESSION,
        "metric": "rmse",
        "published": {
            "MTSTAN": 10.97,
            "MS-DCNN": 11.44,
            "bi-level LSTM": 11.80,
            "FFVE": 12.31,
            "AGCNN": 12.42,
            "RVE": 13.42,
            "deep LSTM": 16.14,
            "CNN": 18.45,
            "SVR": 20.96,
        },
    }


def _maec16(z: Any, options: set[str]) -> dict[str, Any]:
    text, at = z["text__utf8"].tobytes(), z["text__at"]
    X = pd.DataFrame({"text": [text[start:stop].decode() for start, stop in itertools.pairwise(at)]})
    X["audio"] = pd.Series(np.split(z["audio__rows"], z["audio__at"][1:-1]), dtype=object)  # (sentences, 29)
    X["history"] = _cells(z["history"])
    transformer = ModalityTransformer(
        [
            ("text", _tfidf(len(X)), "text"),
            ("audio", StepImputer(), "audio"),
            ("history", FunctionTransformer(_stack), "history"),
        ]
    )
    # the published networks stop early by the validation part, which lies between training and test part; here
    # each model chooses its own within the training rows
    train = np.concatenate([z["train_idx"], z["val_idx"]])
    return {
        "X": X,
        "y": z["y"],
        "splits": [(train, z["test_idx"])],
        "transformer": transformer,
        "time": z["date"].astype("datetime64[D]"),
        "task": "regression",
        "metrics": ("mse", "r2"),
        "metric": "mse",
        "published": {
            "mean of a ticker's earlier volatility": 0.247,
            "KeFVP": 0.301,
            "HTML, text and audio": 0.556,
            "HTML, text": 0.579,
            "MDRM": 0.618,
            "BiLSTM with attention": 0.691,
        },
    }


def _landuse21(z: Any, options: set[str]) -> dict[str, Any]:
    return {
        "X": Blocks({name: z[name] for name in ("gist", "phog", "lbp")}),
        "y": z["y"],
        "splits": _published(len(z["y"]), _few_or_all(z["test_fits"], options)),
        "published": {  # means of ten splits; at least PML's is the best of all epochs on the test part
            "PML": 0.821,
            "FUML": 0.767,
            "DCP-CG": 0.757,
            "DCP-CV": 0.717,
            "ECML": 0.601,
            "UIMC": 0.580,
            "QMF": 0.479,
            "CCML": 0.449,
            "ETMC": 0.435,
            "TMC": 0.317,
        },
    }


def _ccv(z: Any, options: set[str]) -> dict[str, Any]:
    return {
        "X": Blocks({name: z[name] for name in ("view_1", "view_2", "view_3")}),
        "y": z["y"],
        "splits": _published(len(z["y"]), _few_or_all(z["test_fits"], options)),
    }


def _mosi(z: Any, options: set[str]) -> dict[str, Any]:
    X = Blocks(text=z["text_feat"], audio=z["audio"], visual=z["visual"])
    return {"X": X, "y": z["y"], "splits": _fixed(z), "groups": z["video_id"]}


_LOADERS: dict[str, tuple[Callable[[Any, set[str]], dict[str, Any]], set[str]]] = {
    "utd_mhad": (_utd_mhad, {"absolute"}),
    "avdigits": (_avdigits, set()),
    "mfeat": (_mfeat, set()),
    "wiki": (_wiki, set()),
    "flipkart": (_flipkart, {"raw"}),
    "clothing": (_clothing, {"all-folds"}),
    "houses": (_houses, {"raw", "zip"}),
    "babies": (_babies, set()),
    "imdb_genre": (_imdb_genre, {"multabench"}),
    "cmapss_fd001": (_cmapss_fd001, set()),
    "maec16": (_maec16, set()),
    "landuse21": (_landuse21, {"all-folds"}),
    "ccv": (_ccv, {"all-folds"}),
    "mosi": (_mosi, set()),
}

# mosi's text and visual features were learnt with the training labels: a stress test, and no benchmark
SETS = tuple(name for name in _LOADERS if name != "mosi")


def load(name: str, folder: str | os.PathLike[str]) -> Dataset:
    """Load one set.

    ``name`` is one of ``SETS`` or ``mosi``, with options joined by ``+``: ``houses+zip`` adds the zip code to the
    table, ``houses+raw`` and ``flipkart+raw`` give the pixels of the photos instead of features computed from them,
    ``clothing+all-folds`` runs five folds instead of the first, ``landuse21+all-folds`` and ``ccv+all-folds`` ten
    splits instead of five, ``imdb_genre+multabench`` MulTaBench's five splits of the training part instead of the
    official one, ``utd_mhad+absolute`` leaves the joints in the camera's coordinates instead of relative to the
    hips.
    """
    base, *options = name.split("+")
    if base not in _LOADERS:
        raise ValueError(f"unknown set {base!r}, expected one of {', '.join(_LOADERS)}.")
    loader, allowed = _LOADERS[base]
    unknown = set(options) - allowed
    if unknown:
        raise ValueError(f"set {base!r} has no option {sorted(unknown)[0]!r}; it has {sorted(allowed) or 'none'}.")
    file = Path(folder) / base / f"{base}.npz"
    if not file.exists():
        raise FileNotFoundError(f"there is no file {file}; --data names the folder that holds {base}/{base}.npz.")
    with np.load(file, allow_pickle=False) as z:
        fields = {"task": "classification", "metrics": CLASSIFICATION, **loader(z, set(options))}
    return Dataset(name=name, **fields)


def takes_all_folds(name: str) -> bool:
    """Whether a set runs on more splits with the option ``all-folds``."""
    base, *options = name.split("+")
    return "all-folds" in _LOADERS[base][1] - set(options)


def add_data_argument(parser: argparse.ArgumentParser) -> None:
    """The option ``--data``, which the environment variable ``SKMM_DATA`` sets too."""
    parser.add_argument(
        "--data",
        default=os.environ.get("SKMM_DATA"),
        help="folder of the data sets (default: the environment variable SKMM_DATA)",
    )


def data_folder(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Path:
    """The folder given, or an exit that says what is missing."""
    if args.data is None:
        parser.error("no data: give the folder with --data, or set SKMM_DATA.")
    if not Path(args.data).is_dir():
        parser.error(f"no data: {args.data!r} is not a folder.")
    return Path(args.data)

"""Kinds of column, and the transformer that makes a modality of one, or of those that share the table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skmm._checks import unknown
from skmm.columns._cells import ColumnTfidf, date_names, dates, listed, numbers, stacked, texts, token_ids
from skmm.columns._levels import MAX_CATEGORIES, Categories
from skmm.columns._written import COMMA, DAY_FIRST, MONTH_FIRST, POINT, NumberForm
from skmm.files._sources import check_folder


@dataclass(frozen=True)
class _Kind:
    """What is done with columns of a kind; ``make`` a modality of one column, those of the table share theirs."""

    transformer: str
    make: Callable[[], Any] | None = None


def _image() -> Any:
    # the loaders import torch and more, which a table without files need not wait for
    from skmm.preprocessing import ImageLoader

    return ImageLoader()


def _audio() -> Any:
    from skmm.preprocessing import AudioLoader, LogMel

    return make_pipeline(AudioLoader(), LogMel())


def _soundtrack() -> Any:
    from skmm.preprocessing import LogMel, VideoAudio

    return make_pipeline(VideoAudio(), LogMel())


def _video() -> Any:
    from skmm.preprocessing import VideoFrames

    return VideoFrames()


def _text() -> Any:
    return ColumnTfidf(sublinear_tf=True)


def _characters() -> Any:
    return ColumnTfidf(sublinear_tf=True, analyzer="char", ngram_range=(1, 2))


KINDS = {
    **dict.fromkeys(("number", POINT, COMMA), _Kind("SimpleImputer + StandardScaler")),
    "category": _Kind("OneHotEncoder"),
    **dict.fromkeys(("date", DAY_FIRST, MONTH_FIRST), _Kind("year, and places in year, week and day")),
    "text": _Kind("TfidfVectorizer", _text),
    "characters": _Kind("TfidfVectorizer of characters", _characters),
    "image": _Kind("ImageLoader", _image),
    "audio": _Kind("AudioLoader + LogMel", _audio),
    "video": _Kind("VideoFrames", _video),
    "soundtrack": _Kind("VideoAudio + LogMel", _soundtrack),
    "array": _Kind("stacked", lambda: FunctionTransformer(stacked)),
    "sequence": _Kind("passed on", lambda: FunctionTransformer(listed)),
    "tokens": _Kind("passed on", lambda: FunctionTransformer(token_ids)),
    "drop": _Kind("dropped"),
}
ERRORS = ["raise", "missing"]
FILES = ("image", "audio", "video", "soundtrack")
TABLE = ("number", "category", "date", DAY_FIRST, MONTH_FIRST)


@dataclass(frozen=True)
class Loading:
    """What transformers are told: what unreadable cells are, where relative paths start, where files must lie, in
    how many processes they are read, and which transformer a kind of column gets in place of its own."""

    errors: str = "raise"
    base_dir: Any = None
    within: Any = None
    n_jobs: Any = None
    transformers: Any = field(default_factory=dict)

    def check(self) -> None:
        """Raise a ValueError if one of these cannot be."""
        if self.errors not in ERRORS:
            raise unknown("errors", self.errors, ERRORS)
        check_folder("base_dir", self.base_dir)
        check_folder("within", self.within)

    def made(self, kind: str) -> Any:
        """The transformer of a modality of one column."""
        if kind in self.transformers:
            return self.placed(self.transformers[kind])
        made = KINDS[kind].make()  # type: ignore[misc]  # only kinds of the table make none, and never come here
        told = {name: getattr(self, name.rpartition("__")[2], None) for name in made.get_params()}
        return made.set_params(**{name: value for name, value in told.items() if value is not None})

    def transformer_name(self, kind: str) -> str:
        """What the transformer of a kind of column is called."""
        return type(self.transformers[kind]).__name__ if kind in self.transformers else KINDS[kind].transformer

    def placed(self, transformer: Any) -> Any:
        """A transformer that is given; its loaders know what is told to all, where they say nothing of it."""
        params = transformer.get_params() if hasattr(transformer, "get_params") else {}
        told: dict[str, Any] = {}
        for loader in (name.removesuffix("base_dir") for name in params if name.rpartition("__")[2] == "base_dir"):
            if params[f"{loader}base_dir"] is None and params.get(f"{loader}within") is None:
                told |= {f"{loader}{name}": getattr(self, name) for name in ("base_dir", "within")}
            if self.n_jobs is not None and params.get(f"{loader}n_jobs", 1) is None:
                told[f"{loader}n_jobs"] = self.n_jobs
            if self.errors != "raise" and f"{loader}errors" in params:
                told[f"{loader}errors"] = self.errors
        return clone(transformer).set_params(**told) if told else transformer


DEFAULT_LOADING = Loading()


@dataclass(frozen=True)
class TableColumn:
    """A column of the table: where it stands among those of the modality, and how its numbers are written."""

    name: Any
    place: int
    form: NumberForm | None = None


def table_transformer(by_kind: Mapping[str, list[TableColumn]], errors: str = "raise") -> ColumnTransformer:
    """One transformer for columns of numbers, categories and dates, and for texts that share their modality.

    With ``errors="missing"`` a cell that is no number, or no date, is a missing one.
    """
    from sklearn.impute import SimpleImputer  # brings neighbours, which nothing else here needs

    impute = SimpleImputer(keep_empty_features=True)
    one_hot = OneHotEncoder(
        max_categories=MAX_CATEGORIES, handle_unknown="infrequent_if_exist", sparse_output=False
    )
    forms = [column.form or NumberForm() for column in by_kind.get("number", [])]
    lenient = {} if errors == "raise" else {"errors": errors}
    steps = {
        "number": make_pipeline(
            _reading(numbers, forms=None if set(forms) == {NumberForm()} else forms, **lenient),
            impute,
            StandardScaler(),
        ),
        "category": make_pipeline(Categories(), one_hot),
    }
    for kind, order in {"date": None, DAY_FIRST: DAY_FIRST, MONTH_FIRST: MONTH_FIRST}.items():
        read = FunctionTransformer(dates, feature_names_out=date_names, kw_args={"order": order, **lenient})
        steps[kind] = make_pipeline(read, impute, StandardScaler())
    parts = [
        (kind, step, [column.place for column in by_kind[kind]])
        for kind, step in steps.items()
        if by_kind.get(kind)
    ]
    words = [
        (
            modality_name(f"text_{column.name}", set()),
            make_pipeline(FunctionTransformer(texts), make()),
            column.place,
        )
        for kind, make in {"text": _text, "characters": _characters}.items()
        for column in by_kind.get(kind, [])
    ]
    return ColumnTransformer([*parts, *words], sparse_threshold=bool(words))


def _reading(function: Callable[..., np.ndarray], **known: Any) -> FunctionTransformer:
    return FunctionTransformer(function, feature_names_out="one-to-one", kw_args=known)


def modality_name(column: Any, taken: set[str]) -> str:
    """The column's name, changed where the parameters of a transformer have another use for it."""
    name = re.sub("_{2,}", "_", str(column)) or "column"
    while name in taken:
        name += "_"
    return name


def as_written(transformer: Any, columns: list[Any]) -> set[Any]:
    """Columns of which a fitted transformer reads the cells as they are written in a file of text.

    Those of texts, paths, dates and arrays, of categories that were strings, and of numbers that are written in a
    form of their own: ``007`` is no 7, and ``1.200`` may be 1200. Of a transformer that is not known nothing is
    said.
    """
    if isinstance(transformer, Pipeline):
        return as_written(transformer[0], columns)
    if isinstance(transformer, ColumnTransformer):
        parts = [(inner, _chosen(where, columns)) for _, inner, where in transformer.transformers_]
        return set().union(*(as_written(inner, chosen) for inner, chosen in parts if not isinstance(inner, str)))
    if isinstance(transformer, Categories):
        of_strings = [all(isinstance(level, str) for level in labels) for labels in transformer.labels_]
        return {column for column, strings in zip(columns, of_strings, strict=True) if strings}
    if isinstance(transformer, FunctionTransformer):
        if transformer.func is numbers:
            forms = transformer.kw_args.get("forms") or [NumberForm()] * len(columns)
            return {column for column, form in zip(columns, forms, strict=True) if form != NumberForm()}
        return set(columns) if transformer.func in _READ_TEXT else set()
    loads = hasattr(transformer, "get_params") and "base_dir" in transformer.get_params(deep=False)
    return set(columns) if loads or isinstance(transformer, CountVectorizer) else set()


_READ_TEXT = (dates, stacked, listed, token_ids, texts)


def _chosen(where: Any, columns: list[Any]) -> list[Any]:
    """Columns by their places or names among others."""
    named = [place for place in (where if isinstance(where, list) else [where]) if isinstance(place, int | str)]
    return [place if isinstance(place, str) else columns[place] for place in named]

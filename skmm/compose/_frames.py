"""Which columns of a DataFrame make which modality, and what was decided of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skmm._checks import unknown
from skmm._private import safe_indexing
from skmm._warnings import warn
from skmm.columns._cells import cells
from skmm.columns._written import COMMA, DAY_FIRST, MONTH_FIRST, POINT, is_placeholder, number_form
from skmm.compose._detection import find_kind
from skmm.compose._findings import Found
from skmm.compose._kinds import (
    DEFAULT_LOADING,
    KINDS,
    TABLE,
    Loading,
    TableColumn,
    modality_name,
    table_transformer,
)

_CHOSEN = "you say so"


@dataclass(frozen=True)
class _Decision:
    """What was decided of a column, with its transformer where it is a modality of its own."""

    name: Any
    place: int
    found: Found
    transformer: Any = None
    called: str = ""

    @property
    def kind(self) -> str:
        return "drop" if self.found.useless else self.found.kind

    def told(self, modality: str | None) -> dict[str, Any]:
        """The decision as a row of a table."""
        useless, why = self.found.useless, self.found.why
        return {
            "column": self.name,
            "kind": self.kind,
            "modality": modality,
            "transformer": self.called or KINDS[self.kind].transformer,
            "why": "; ".join(filter(None, (why, useless))),
        }


def modality_of(frame: Any, columns: list[Any], loading: Loading = DEFAULT_LOADING) -> tuple[Any, Any]:
    """A transformer of some columns as one modality, and the columns as it takes them.

    Raises
    ------
    ValueError
        If files or arrays are among several columns.
    """
    by_kind: dict[str, list[TableColumn]] = {}
    names = list(frame.columns)
    for place, name in enumerate(columns):
        found = find_kind(name, safe_indexing(frame, names.index(name), axis=1), loading)
        by_kind.setdefault(found.kind, []).append(TableColumn(name, place, found.form))
    kinds = list(by_kind)
    selected = _selection(names, [names.index(name) for name in columns])
    if "drop" in kinds:
        raise ValueError(f"column {by_kind['drop'][0].name!r} has no values.")
    if len(columns) == 1 and KINDS[kinds[0]].make is not None:
        return loading.made(kinds[0]), selected[0]
    alone = next((kind for kind in kinds if kind not in (*TABLE, "text", "characters")), None)
    if alone is not None:
        raise ValueError(f"column {by_kind[alone][0].name!r} is {alone}, which is a modality of its own.")
    return table_transformer(by_kind, loading.errors), selected


def _selection(names: list[Any], places: list[int]) -> list[Any]:
    """Columns as a ModalityTransformer selects them: by name, or by place where a name is no string."""
    return [names[place] for place in places] if all(isinstance(name, str) for name in names) else places


def plan_frame(
    frame: Any, overrides: Mapping[Any, Any], reserved: set[str], loading: Loading = DEFAULT_LOADING
) -> tuple[list[tuple[str, Any, Any]], list[dict[str, Any]]]:
    """Modalities of a DataFrame: the transformers with their columns, and what was decided of each column.

    Parameters
    ----------
    frame : DataFrame
        The table.
    overrides : mapping of column to str or transformer
        What is known better: a kind of column, ``"drop"``, or the transformer itself.
    reserved : set of str
        Names that no modality may have.
    loading : Loading, optional
        What the loaders are told.
    """
    _check_request(frame, overrides, loading)
    names = list(frame.columns)
    decisions = [
        _decide(name, place, safe_indexing(frame, place, axis=1), overrides.get(name), loading)
        for place, name in enumerate(names)
    ]
    by_kind: dict[str, list[_Decision]] = {}
    for decision in decisions:
        if decision.kind in TABLE:
            by_kind.setdefault(decision.kind, []).append(decision)
    transformers: list[tuple[str, Any, Any]] = []
    modalities: dict[int, str] = {}  # by place
    if by_kind:
        places = [decision.place for same in by_kind.values() for decision in same]
        columns = {
            kind: [TableColumn(d.name, places.index(d.place), d.found.form) for d in same]
            for kind, same in by_kind.items()
        }
        transformers.append(("table", table_transformer(columns, loading.errors), _selection(names, places)))
        modalities = dict.fromkeys(places, "table")
    for decision in decisions:
        if decision.transformer is not None:
            modality = modality_name(decision.name, {*reserved, *modalities.values()})
            transformers.append((modality, decision.transformer, _selection(names, [decision.place])[0]))
            modalities[decision.place] = modality
    if not transformers:
        raise ValueError(f"no column of {names} is left to learn from: each is dropped.")
    return transformers, [decision.told(modalities.get(decision.place)) for decision in decisions]


_SAME_KIND = {POINT: "number", COMMA: "number", DAY_FIRST: "date", MONTH_FIRST: "date"}
_PLURALS = {"number": "numbers", "category": "categories", "date": "dates"}
_NAMED = 6  # modalities, and columns that were dropped, that one line names


def told_in_a_line(decisions: list[dict[str, Any]]) -> str:
    """What was decided of the columns of a table, in one line."""
    table: dict[str, int] = {}
    alone, dropped = [], []
    for decision in decisions:
        if decision["modality"] is None:
            dropped.append(str(decision["column"]))
        elif decision["kind"] in TABLE:
            kind = _SAME_KIND.get(decision["kind"], decision["kind"])
            table[kind] = table.get(kind, 0) + 1
        else:
            kind = decision["transformer"] if decision["kind"] == "given" else decision["kind"]
            alone.append(f"{decision['modality']} ({kind})")
    counted = ", ".join(f"{n} {kind if n == 1 else _PLURALS[kind]}" for kind, n in table.items())
    line = _named([*([f"table ({counted})"] if table else []), *alone])
    return f"{line}; dropped: {_named(dropped)}" if dropped else line


def _named(names: list[str]) -> str:
    """The first of some names, and how many more there are."""
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _check_request(frame: Any, overrides: Mapping[Any, Any], loading: Loading) -> None:
    """Refuse what is no table of named columns, and what is said of columns that are not there or cannot be."""
    loading.check()
    if not hasattr(frame, "columns"):
        raise ValueError(f"columns are typed in a pandas or polars DataFrame, got {type(frame).__name__}.")
    names = list(frame.columns)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"column {twice!r} stands in the table {names.count(twice)} times; columns are {names}. "
            "df.loc[:, ~df.columns.duplicated()] keeps the first of each name."
        )
    if not len(frame):
        raise ValueError(f"Found array with 0 sample(s) (shape={frame.shape}) while a minimum of 1 is required.")
    for name, choice in overrides.items():
        if name not in names:
            raise unknown("column", name, names)
        if isinstance(choice, str) and choice not in KINDS:
            raise unknown(f"kind of column {name!r}:", choice, KINDS)
        if not isinstance(choice, str) and not (hasattr(choice, "fit") and hasattr(choice, "transform")):
            raise ValueError(
                f"column {name!r}: {choice!r} is neither a kind ({list(KINDS)}) nor a transformer, which has fit "
                "and transform."
            )


def _decide(name: Any, place: int, column: Any, choice: Any, loading: Loading) -> _Decision:
    """What becomes of a column: what was chosen, or else what its content says, with a warning if it is useless."""
    if choice is None:
        found = find_kind(name, column, loading)
    elif isinstance(choice, str):
        found = _chosen(choice, column)
    else:
        found = Found("given", _CHOSEN)
    if found.useless:
        warn(
            f"column {name!r} is dropped: {found.useless}. Keep it with "
            f"{_said(name, 'category' if found.kind == 'drop' else found.kind)}."
        )
        return _Decision(name, place, found)
    if found.doubtful:
        right = f"{_said(name, found.kind)} says that this is right"
        warn(f"column {name!r} is read as {found.kind}: {found.why}. {right}.")
    if found.kind == "given":
        return _Decision(name, place, found, loading.placed(choice), type(choice).__name__)
    if found.kind in (*TABLE, "drop"):
        return _Decision(name, place, found)
    return _Decision(name, place, found, loading.made(found.kind), loading.transformer_name(found.kind))


def _said(name: Any, kind: str) -> str:
    """How a user says what a column is."""
    told = f"{{{name!r}: {kind!r}}}"
    return f"from_frame(df, {told}), or modalities=AutoModalities({told}) of an estimator"


def _chosen(kind: str, column: Any) -> Found:
    """What a column was said to be, with the form of its numbers."""
    if kind not in ("number", POINT, COMMA):
        return Found(kind, _CHOSEN)
    values, missing = cells(column)
    strings = [cell for cell in values[~missing] if isinstance(cell, str) and not is_placeholder(cell)]
    form = number_form(strings, None if kind == "number" else kind)[0] if strings else None
    return Found("number", _CHOSEN, form=form)

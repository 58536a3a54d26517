"""A small result table that needs no pandas."""

from __future__ import annotations

import html
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from skmm._optional import how_to_install


def _text(value: Any) -> str:
    """A cell as text: floats with four decimals, an absent value as nothing."""
    if value is None:
        return ""
    if _is_number(value) and not isinstance(value, numbers.Integral):
        size = abs(value)
        # what four decimals would round away, or what is too long to read, in scientific notation
        return f"{value:.3e}" if 0 < size < 5e-5 or 1e9 <= size < float("inf") else f"{value:.4f}"
    return str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


class Table:
    """A small immutable table of results.

    Parameters
    ----------
    data : iterable of mappings, or mapping of str to sequence
        Rows, each a mapping from column name to value, all with the same columns; or columns of equal length.

    Attributes
    ----------
    columns : list of str
        Names of the columns, in order.

    Raises
    ------
    ValueError
        If a row lacks a column or has one more than the first row, or if columns differ in length.

    Examples
    --------
    >>> from skmm.table import Table
    >>> table = Table([{"method": "mfb", "accuracy": 0.91234}, {"method": "late", "accuracy": 0.9}])
    >>> table
    method  accuracy
    mfb       0.9123
    late      0.9000
    >>> table["method"]
    ['mfb', 'late']
    >>> len(table), table.columns
    (2, ['method', 'accuracy'])
    >>> print(table.to_markdown())
    | method | accuracy |
    | :--- | ---: |
    | mfb | 0.9123 |
    | late | 0.9000 |
    """

    __slots__ = ("_columns", "_n")

    def __init__(self, data: Iterable[Mapping[str, Any]] | Mapping[str, Sequence[Any]]) -> None:
        if isinstance(data, Mapping):
            columns = {name: list(values) for name, values in data.items()}
            lengths = {name: len(values) for name, values in columns.items()}
            if len(set(lengths.values())) > 1:
                raise ValueError(f"columns have different lengths: {lengths}.")
        else:
            rows = list(data)
            names = list(rows[0]) if rows else []
            for i, row in enumerate(rows):
                if set(row) != set(names):
                    raise ValueError(f"row {i} has the columns {list(row)}, the first row has {names}.")
            columns = {name: [row[name] for row in rows] for name in names}
        self._columns = columns
        self._n = len(next(iter(columns.values()), []))

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order; the table keeps its own list."""
        return list(self._columns)

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return ({name: values[i] for name, values in self._columns.items()} for i in range(self._n))

    def __getitem__(self, column: str) -> list[Any]:
        if column not in self._columns:
            raise KeyError(f"no column {column!r}; there are {self.columns}")
        return list(self._columns[column])

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                f"Table.to_pandas needs pandas, which is not installed: {how_to_install('dataframe')}."
            ) from error
        return pd.DataFrame(dict(self._columns))

    def to_markdown(self) -> str:
        """The table in Markdown, numbers aligned to the right."""
        rule = ["---:" if self.is_numeric(name) else ":---" for name in self._columns]
        head = [name.replace("|", "\\|") for name in self._columns]
        body = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in self.cells()]
        return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *body])

    def is_numeric(self, name: str) -> bool:
        """Whether a column holds numbers, which are aligned to the right."""
        values = [v for v in self._columns[name] if v is not None]
        return bool(values) and all(_is_number(v) for v in values)

    def cells(self) -> list[list[str]]:
        """The rows as text, as every form of the table shows them."""
        return [[_text(value) for value in row.values()] for row in self]

    def __repr__(self) -> str:
        if not self._columns:
            return "Table(0 rows)"
        rows = [self.columns, *self.cells()]
        widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
        right = [self.is_numeric(name) for name in self._columns]
        return "\n".join(
            "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()
            for row in rows
        )

    def _repr_html_(self) -> str:
        def line(cells: list[str], tag: str) -> str:
            styles = [' style="text-align: right"' if self.is_numeric(name) else "" for name in self._columns]
            inner = "".join(f"<{tag}{s}>{html.escape(c)}</{tag}>" for c, s in zip(cells, styles, strict=True))
            return f"<tr>{inner}</tr>"

        return f"<table>{line(self.columns, 'th')}{''.join(line(row, 'td') for row in self.cells())}</table>"

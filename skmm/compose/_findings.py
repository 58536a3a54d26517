"""What numbers and strings say of their column: numbers, dates or words, and whether they only name its rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skmm.columns._cells import as_date, as_floats, short
from skmm.columns._levels import MAX_CATEGORIES
from skmm.columns._written import (
    COMMA,
    DAY_FIRST,
    MONTH_FIRST,
    YEAR_LAST,
    NumberForm,
    looks_like_date,
    may_be_decimal,
    number_form,
)

# one word of these characters, different in every row, names the row
_CODE = re.compile(r"[\x21-\x7e]{1,64}")
_ID_NAME = re.compile(r"(?i:(^|[_\W])(id|uuid|guid|index|key|row)$)|[a-z](Id|ID|Key)$")
# names that pandas, pyarrow and R give a column of row labels which a file kept
_SAVED_INDEX = re.compile(
    r"Unnamed: \d+(\.\d+)*(_level_\d+)?|(__index_)?level_\d+(__)?|row[._ ]?(names?|nr|num)|", re.IGNORECASE
)
_LEADING_ZERO = re.compile(r"\s*[-+]?0\d")  # of a code: a number would not have it
_ODD = 0.1  # strings of which no more than this share are no numbers are numbers with faults


@dataclass(frozen=True)
class Found:
    """What a column holds, and why that is believed.

    ``useless`` says why nothing can be learned from it, ``form`` how its numbers are written as strings; of what is
    ``doubtful`` the user is told, for it may be meant otherwise.
    """

    kind: str
    why: str
    useless: str = ""
    form: NumberForm | None = None
    doubtful: bool = False


def ways_out(name: Any) -> str:
    """What to do about a column that cannot be typed."""
    told = f"{{{name!r}: 'category'}}"
    return (
        f"say what it is, e.g. from_frame(df, {told}), or {{{name!r}: 'drop'}}; to an estimator, "
        f"modalities=AutoModalities({told})"
    )


def few(there: np.ndarray, missing: np.ndarray, found: Found) -> Found:
    """Of a column with one value for all rows, that it is useless."""
    if found.useless or len(set(there.tolist())) > 1:
        return found
    if not missing.any():
        return Found(found.kind, found.why, f"all its cells are {short(there[0])}")
    return Found("category", f"{found.why}, with one value {short(there[0])}: what tells is whether it is missing")


def names_rows(name: Any) -> bool:
    """Whether a column by its name holds names of rows."""
    return bool(_ID_NAME.search(str(name)) or _SAVED_INDEX.fullmatch(str(name).strip()))


def plain_number(name: Any, there: np.ndarray, why: str) -> Found:
    """Of a column of numbers, whether they only count or name the rows."""
    whole = there.dtype.kind in "iu" or (there.dtype.kind == "f" and bool((there == np.floor(there)).all()))
    if whole and len(there) > 2:
        distinct = np.unique(there)
        # tables that were put together bring the same labels several times
        if _SAVED_INDEX.fullmatch(str(name).strip()) and 2 * len(distinct) >= len(there) and distinct[0] >= 0:
            return Found("number", why, "by its name it is the index of a table that was saved with it")
        if len(distinct) == len(there):
            named = bool(_ID_NAME.search(str(name)))
            if (np.diff(there) == 1).all() and (named or there[0] in (0, 1)):
                return Found("number", why, "it counts the rows")
            if named:
                return Found("number", why, "it names each row by a number of its own")
    return Found("number", why)


def words(strings: list[str]) -> Found:
    """What strings are that are no files, numbers or dates."""
    n, distinct = len(strings), set(strings)
    if len(distinct) == 1:
        return Found("category", "its cells are strings")
    if len(distinct) <= min(MAX_CATEGORIES, max(2, n // 2)):
        return Found("category", f"{len(distinct)} strings in {n} cells")
    length = sum(len(cell.split()) for cell in distinct) / len(distinct)
    if length >= 2:
        return Found("text", f"{len(distinct)} strings of {length:.1f} words on average")
    codes = all(_CODE.fullmatch(cell) for cell in distinct)
    if codes and len(distinct) == n:
        return Found("category", "strings of one word", "it names each row by a string of its own")
    if codes:
        return Found("category", f"{len(distinct)} strings of one word in {n} cells")
    return Found("characters", f"{len(distinct)} strings without spaces between words")


# Each of these gives what strings are, or None and, where most are that, the spelling that stands in the way.
Reading = tuple[Found | None, str]


def _spread(strings: list[str]) -> list[str]:
    """Some hundreds of strings over the whole column, from which it shows what most are not."""
    return strings[:: max(1, len(strings) // 200)]


def written_numbers(name: Any, strings: list[str], rows: np.ndarray) -> Reading:
    """Numbers that are written as strings."""
    few_of_them = _spread(strings)
    if 4 * len(number_form(few_of_them)[1]) > 3 * len(few_of_them):
        return None, ""
    form, odd = number_form(strings)
    n = len(strings)
    if 2 * len(odd) > n:
        return None, ""
    zeros = [i for i, cell in enumerate(strings) if _LEADING_ZERO.match(cell)]
    if zeros and not odd:
        return None, f"they are numbers but for the leading zero of {short(strings[zeros[0]])}"
    if not odd:
        if form == NumberForm():
            why = "its cells are numbers, written as strings"
        else:
            longest = max(strings, key=len)
            why = f"its cells are numbers, {short(longest)} is {form.read(longest):.12g}"
        if may_be_decimal(strings, form):
            why = f"{why}: say {COMMA!r} if its comma is decimal"
        values = as_floats(name, np.array(strings, dtype=object), np.arange(n), form)
        return replace(plain_number(name, values, why), form=form), ""
    first = f"row {rows[odd[0]]} has {short(strings[odd[0]])}"
    if len(odd) <= _ODD * n and not form.unit and not zeros:
        raise ValueError(
            f"column {name!r} holds numbers, written as strings, in all rows but {len(odd)}: {first}. Correct it "
            f"or mark it as missing, or {ways_out(name)}."
        )
    most = f"{n - len(odd)} of {n} are numbers {form}".rstrip()
    return None, f"{most}, {first}"


def written_dates(name: Any, strings: list[str], rows: np.ndarray) -> Reading:
    """Dates that are written as strings."""
    if not any(looks_like_date(cell) or YEAR_LAST.fullmatch(cell) for cell in _spread(strings)):
        return None, ""
    forms = [looks_like_date(cell) for cell in strings]
    form, count = Counter(forms).most_common(1)[0]
    if form and 2 * count >= len(strings):
        odd = [i for i, cell in enumerate(strings) if forms[i] != form or not _are_dates([cell])]
        if not odd:
            return Found("date", f"its cells are {form}"), ""
        if len(odd) == len(strings):
            return None, ""
        return None, (
            f"{len(strings) - len(odd)} of {len(strings)} are {form}, "
            f"row {rows[odd[0]]} has {short(strings[odd[0]])}"
        )
    distinct = set(strings)
    order = _order_of_dates(distinct)
    if order is not None and _are_dates(distinct, order):
        return Found(order, f"its cells are dates, {order}"), ""
    if order is None and _are_dates(distinct, DAY_FIRST) and _are_dates(distinct, MONTH_FIRST):
        found = words(strings)
        why = f"dates, but is {strings[0]!r} day or month first: say {DAY_FIRST!r} or {MONTH_FIRST!r}"
        return Found("characters" if found.useless else found.kind, why, doubtful=True), ""
    return None, ""


def _order_of_dates(strings: set[str]) -> str | None:
    """Whether day or month comes first in dates whose year is last, where a day above 12 tells."""
    parts = [YEAR_LAST.fullmatch(cell) for cell in strings]
    days = {DAY_FIRST: 1, MONTH_FIRST: 3}
    told = [order for order, place in days.items() if any(p is not None and int(p[place]) > 12 for p in parts)]
    return told[0] if len(told) == 1 else None


def _are_dates(strings: Iterable[str], order: str | None = None) -> bool:
    if order and not all(YEAR_LAST.fullmatch(cell) for cell in strings):
        return False
    try:
        return all(as_date(cell, order) is not None for cell in strings)
    except ValueError:
        return False

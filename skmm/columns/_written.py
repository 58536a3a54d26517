"""Numbers, dates and arrays as people write them in text."""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

# what stands where a number or a date is unknown
_PLACEHOLDERS = {
    *("", "?", "??", "-", "--", "---", "\N{EN DASH}", "\N{EM DASH}", ".", "na", "n/a", "n.a.", "#n/a", "<na>"),
    *("nan", "nat", "null", "none", "nil", "missing"),
}
_LONGEST = 64  # characters of a number or a date

# -- numbers -------------------------------------------------------------------------------------------------------

POINT, COMMA = "1,234.5", "1.234,5"  # kinds of column that say what a comma is
_CURRENCY = (
    r"(?:[A-Z]{1,3}\s?)?[$€£¥₹₽₩₺₴₪₫฿₦]|(?:USD|EUR|GBP|JPY|CHF|CNY|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN"
    r"|ZAR|KRW|RUB|TRY|SGD|HKD)(?![A-Za-z])|(?:kr|Rs)\b\.?"
)
_UNIT = r"[%‰°]|[°µμ]?[^\W\d_]{1,15}(?:[/·*][^\W\d_]{1,10})?[²³23]?|[\"″'′]"
_CELL = re.compile(
    rf"\s*(?P<open>\()?(?P<sign>[-+−]?)\s?(?P<before>{_CURRENCY})?\s?(?P<inner>[-+−]?)"
    r"(?P<digits>[.,]?\d[\d.,'’\s]*)(?P<power>[eE][-+]?\d+(?!\w))?"
    rf"\s?(?P<after>{_CURRENCY}|{_UNIT})?\s*(?P<close>\))?\s*"
)
_GAP = "[\\s'’]"
_GROUPED = {  # decimal mark and what sets groups of three digits apart: how such digits look
    (".", ""): r"\d+\.?\d*|\.\d+",
    (".", ","): r"(?:\d+|[1-9]\d{0,2}(?:,\d{2,3})*,\d{3})(?:\.\d*)?|\.\d+",
    (",", "."): r"(?:\d+|[1-9]\d{0,2}(?:\.\d{3})+)(?:,\d*)?|,\d+",
    (".", " "): rf"(?:\d+|[1-9]\d{{0,2}}(?:{_GAP}\d{{3}})+)(?:\.\d*)?|\.\d+",
    (",", " "): rf"(?:\d+|[1-9]\d{{0,2}}(?:{_GAP}\d{{3}})+)(?:,\d*)?|,\d+",
}
_LOOKS = {marks: re.compile(pattern) for marks, pattern in _GROUPED.items()}
_SAYS = {POINT: ".", COMMA: ","}


def is_placeholder(cell: str) -> bool:
    """Whether a string stands for a value that is unknown."""
    return cell.strip().lower() in _PLACEHOLDERS


@dataclass(frozen=True)
class NumberForm:
    """How the numbers of a column are written: all alike.

    Parameters
    ----------
    decimal : {".", ","}
    thousands : {"", ",", ".", " "}
        What may set groups of three digits apart; a space stands for any, and for apostrophes.
    unit : str
        What stands before or after each number; of ``%`` and ``‰`` the numbers are shares of 1.
    """

    decimal: str = "."
    thousands: str = ""
    unit: str = ""

    def read(self, cell: str) -> float:
        """The number that a cell says, NaN if it is a placeholder.

        Raises
        ------
        ValueError
            If it is written in another form.
        """
        if is_placeholder(cell):
            return float("nan")
        parts = _parts(cell)
        if (
            parts is None
            or parts.unit != self.unit
            or not _LOOKS[self.decimal, self.thousands].fullmatch(parts.digits)
        ):
            raise ValueError(f"{cell!r} is no number {self}".rstrip())
        digits = parts.digits
        if self.thousands:
            digits = re.sub(_GAP if self.thousands == " " else re.escape(self.thousands), "", digits)
        number = float(digits.replace(self.decimal, ".") + parts.power)
        scale = {"%": 100, "‰": 1000}.get(self.unit, 1)
        return (-number if parts.negative else number) / scale

    def __str__(self) -> str:
        if self == NumberForm():
            return ""
        group = self.thousands
        return f"written as {f'1{group}234{self.decimal}5 {self.unit}'.strip()}"


@dataclass(frozen=True)
class _Parts:
    negative: bool
    digits: str
    power: str
    unit: str


def _parts(cell: str) -> _Parts | None:
    """A number's digits and what stands around them."""
    found = _CELL.fullmatch(cell) if len(cell) <= _LONGEST else None
    if found is None:
        return None
    signs = found["sign"] + found["inner"]
    if len(signs) > 1 or bool(found["open"]) != bool(found["close"]) or (signs and found["open"]):
        return None
    units = [re.sub(r"\s", "", part) for part in (found["before"], found["after"]) if part]
    # "1 month", "12 months"
    units = [unit[:-1] if len(unit) > 2 and unit.endswith("s") else unit for unit in units]
    negative = bool(found["open"]) or signs in ("-", "−")
    return _Parts(negative, found["digits"].strip(), found["power"] or "", " ".join(units))


def number_form(cells: Sequence[str], says: str | None = None) -> tuple[NumberForm, list[int]]:
    """The form in which most strings are numbers, and the places of those that it does not read.

    Parameters
    ----------
    cells : sequence of str
        No placeholders among them.
    says : {"1,234.5", "1.234,5"}, optional
        What is known of its commas.
    """
    parts = [_parts(cell) for cell in cells]
    units = Counter(part.unit for part in parts if part is not None)
    unit = units.most_common(1)[0][0] if units else ""
    wanted = [marks for marks in _LOOKS if says is None or (marks[0] == _SAYS[says] and marks[1] != " ")]
    best: tuple[NumberForm, list[int]] | None = None
    for marks in wanted:
        looks = _LOOKS[marks]
        odd = [
            i
            for i, part in enumerate(parts)
            if part is None or part.unit != unit or not looks.fullmatch(part.digits)
        ]
        if best is None or len(odd) < len(best[1]):
            best = NumberForm(*marks, unit), odd
    assert best is not None  # there is a form for either of the marks
    return best


def may_be_decimal(cells: Iterable[str], form: NumberForm) -> bool:
    """Whether the commas that are taken to set thousands apart may be decimal as well."""
    if form.thousands != ",":
        return False
    parts = [part for part in map(_parts, cells) if part is not None]
    return all(_LOOKS[",", "."].fullmatch(part.digits) for part in parts)


# -- dates ---------------------------------------------------------------------------------------------------------

DAY_FIRST, MONTH_FIRST = "day/month/year", "month/day/year"
_TIME = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:\s?[AaPp]\.?[Mm]\.?)?"
# a date with its year last, and maybe a time of day: which of the first two is the day, the cell does not say
YEAR_LAST = re.compile(rf"\s*(\d{{1,2}})([/.-])(\d{{1,2}})\2(\d{{4}})(?:[T\s]\s*({_TIME}))?\s*")
_YEAR_FIRST = re.compile(rf"\s*(\d{{4}})([-/.])(\d{{1,2}})\2(\d{{1,2}})(?:[T\s]\s*({_TIME}))?\s*")
_MONTH = re.compile(r"\s*((?:1[5-9]|2[01])\d{2})[-/.](0?[1-9]|1[0-2])\s*")  # other years are those of codes
_ISO = re.compile(r"\s*\d{4}-\d{2}-\d{2}(?:[T ].*)?")
_CLOCK = re.compile(rf"\s*({_TIME})\s*")
_DAY_NAMED = re.compile(
    rf"\s*(?:[A-Za-z]{{3,9}},?\s+)?(\d{{1,2}})(?:st|nd|rd|th)?[\s.-]\s*([A-Za-z]{{3,9}})[\s.,-]\s*(\d{{4}})(?:,?\s+({_TIME}))?\s*"
)
_NAMED_DAY = re.compile(
    rf"\s*(?:[A-Za-z]{{3,9}},?\s+)?([A-Za-z]{{3,9}})\.?\s+(\d{{1,2}})(?:st|nd|rd|th)?,?\s+(\d{{4}})(?:,?\s+({_TIME}))?\s*"
)
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


def looks_like_date(cell: str) -> str:
    """Which spelling of a date a string may be, "" for none; :func:`read_date` says whether it is one."""
    forms = {
        "dates, year-month-day": (_ISO, _YEAR_FIRST),
        "dates, year-month": (_MONTH,),
        "dates, the month by name": (_DAY_NAMED, _NAMED_DAY),
        "times of day": (_CLOCK,),
    }
    if len(cell) > _LONGEST:
        return ""
    return next((name for name, looks in forms.items() if any(each.fullmatch(cell) for each in looks)), "")


def read_date(text: str, order: str | None = None) -> datetime.datetime | None:
    """The date and time that a string says, None if it is a placeholder.

    A time of day without a date is that of the first of January 1970, a month without a day its first.

    Parameters
    ----------
    text : str
        With the year first, the month by its English name, or the year last where an ``order`` is given.
    order : {"day/month/year", "month/day/year"}, optional
        How to read a string with the year last.

    Raises
    ------
    ValueError
        If it is no date.
    """
    if is_placeholder(text):
        return None
    if len(text) > _LONGEST:
        raise ValueError("a date is shorter")
    parts = YEAR_LAST.fullmatch(text) if order else None
    if parts:
        first, _, second, year, time = parts.groups()
        day, month = (first, second) if order == DAY_FIRST else (second, first)
        return _date(year, month, day, time)
    parts = _YEAR_FIRST.fullmatch(text)
    if parts:
        year, _, month, day, time = parts.groups()
        return _date(year, month, day, time)
    parts = _MONTH.fullmatch(text)
    if parts:
        return _date(parts[1], parts[2], "1", None)
    parts = _CLOCK.fullmatch(text)
    if parts:
        return _date("1970", "1", "1", parts[1])
    for looks, places in ((_DAY_NAMED, (3, 2, 1, 4)), (_NAMED_DAY, (3, 1, 2, 4))):
        parts = looks.fullmatch(text)
        if parts and parts[places[1]][:3].lower() in _MONTHS:
            year, month, day, time = (parts[place] for place in places)
            return _date(year, str(_MONTHS.index(month[:3].lower()) + 1), day, time)
    return datetime.datetime.fromisoformat(text.strip())


def _date(year: str, month: str, day: str, time: str | None) -> datetime.datetime:
    date = datetime.date(int(year), int(month), int(day))
    if not time:
        return datetime.datetime.combine(date, datetime.time())
    half = re.search(r"([AaPp])\.?[Mm]", time)
    hour, _, rest = re.sub(r"[^\d:.]|\.$", "", time).strip(".").partition(":")
    hours = int(hour)
    if half:
        if not 1 <= hours <= 12:
            raise ValueError(f"{time!r} is no time of day")
        hours = hours % 12 + 12 * (half[1].lower() == "p")
    return datetime.datetime.combine(date, datetime.time.fromisoformat(f"{hours:02}:{rest}"))


# -- arrays --------------------------------------------------------------------------------------------------------

_ARRAY = re.compile(r"[\d\s.,;eE+\-\[\]()]*")
_BRACKETED = re.compile(r"\s*[\[(][\s\S]*[\])]\s*")
_DEEPEST = 8
_MANY = 8  # numbers side by side that can be nothing but an array


def is_array(cell: str) -> bool:
    """Whether a string is numbers in brackets, or many side by side, or several with decimal points."""
    if not cell or not _ARRAY.fullmatch(cell) or not any(letter.isdigit() for letter in cell):
        return False
    if _BRACKETED.fullmatch(cell):
        return True
    numbers = re.split(r"[\s,;]+", cell.strip())
    return len(numbers) >= _MANY or (len(numbers) > 1 and all("." in number for number in numbers))


def read_array(cell: str) -> np.ndarray:
    """The array that a string is: numbers between blanks, commas or semicolons, in brackets or not.

    Returns
    -------
    ndarray
        Of int64 where no number has a decimal point or a power, else of float64.

    Raises
    ------
    ValueError
        If it is no array of numbers.
    """
    if not _ARRAY.fullmatch(cell):
        raise ValueError("it is no array of numbers")
    text = cell.strip()
    if _BRACKETED.fullmatch(text):
        text = text.replace("(", "[").replace(")", "]")
        if text.count("[") == 1:
            text = text[1:-1].strip(", \t\n")
    kind = np.float64 if re.search(r"[.eE]", text) else np.int64
    if "[" not in text:
        return np.array([part for part in re.split(r"[\s,;]+", text) if part], dtype=kind)
    depth = len(re.match(r"(?:\[\s*)*", text)[0].replace(" ", ""))  # type: ignore[index]
    if depth > _DEEPEST or text.count("[") != text.count("]"):
        raise ValueError("its brackets are no array")
    # numpy leaves out the commas, and zeros next to a decimal point
    text = re.sub(r"(?<=[\d.\]])[\s;]+(?=[-+.\d\[])", ",", text)
    text = re.sub(r"(?<!\d)\.(?=\d)", "0.", re.sub(r"(?<=\d)\.(?!\d)", ".0", text))
    return np.array(json.loads(re.sub(r",\s*\]", "]", text.replace("+", ""))), dtype=kind)

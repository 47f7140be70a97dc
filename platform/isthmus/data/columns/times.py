"""Times of the steps of series, read from texts: every cell of a column in the same format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isthmus.errors import DataError

# A date whose year comes last or has two digits: only other dates tell its day from its month.
_DATE = r"^(\d{1,2})([-/. ])(\d{1,2})\2(\d{4}|\d{1,2})(.*)$"
_LONGEST_DATE = 10
_TIME_OF_DAY = re.compile(
    r"(?P<before>\s+|T|,\s*)\d{1,2}:\d{2}(?P<second>:\d{2}(?P<point>[.,])?(?(point)\d+))?"
    r"(?P<half>\s?[AaPp][Mm])?(?P<zone>\s?(?:Z|[+-]\d{2}:?\d{2}))?"
)
# Dates that can be read in one way only: the year first, the month as a word, no date at all.
_PLAIN = (
    r"^\d{4}\D"
    r"|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
    r"|^\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s?[AaPp][Mm])?$"
)
_YEAR_FIRST = r"^\d{4}[-/]"
_ORDERS = (("%d", "%m", "%Y"), ("%m", "%d", "%Y"))
_ORDERS_OF_SHORT_YEARS = (("%d", "%m", "%y"), ("%m", "%d", "%y"), ("%y", "%m", "%d"))
_RANGES = {"%d": (1, 31), "%m": (1, 12), "%y": (0, 99), "%Y": (1, 9999)}
# The years that nanoseconds since 1970 reach in 64 bits.
_FIRST_YEAR, _LAST_YEAR = 1678, 2261
_LONGEST_SHOWN = 40


@dataclass(frozen=True, eq=False)
class Times:
    """Times of steps.

    Attributes:
        ticks: Shape (T,). Whole nanoseconds of dates, which float64 seconds could not tell apart;
            of numbers, the numbers themselves.
        ticks_per_s: The number of ticks in a second.
        format: The format of all dates, if they do not say day and month by themselves.
    """

    ticks: NDArray[Any]
    ticks_per_s: float
    format: str | None = None


def read_times(texts: NDArray[np.str_], column: str, name: str, form: str | None) -> Times:
    """Reads times: dates, or numbers that count as seconds.

    Args:
        texts: Shape (T,). The cells of the column.
        column: The name.
        name: The name of the source for messages.
        form: The format of the dates for strptime, if it is known. Dates that begin with a year
            of four digits are understood beside it.

    Raises:
        DataError: If a cell holds no time, or nothing tells the days from the months.
    """
    cells = pd.Series(texts).str.strip()
    _refuse_no_time((cells != "").to_numpy(), texts, column, name, None)
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy()
    is_number = np.isfinite(numbers)
    if form is None and is_number.all():
        return Times(numbers, 1.0)
    if form is None or (cells.str.match(_YEAR_FIRST).all() and not form.startswith("%Y")):
        dates = pd.to_datetime(cells, format="ISO8601", errors="coerce", utc=True)
        if dates.notna().all():
            return Times(_nanoseconds(dates, texts, column, name, None), 1e9, form)
    if form is None:
        if is_number[:1].all():  # a text among numbers, and no number among dates
            _refuse_no_time(is_number, texts, column, name, None)
        form = _found_format(cells, column, name)
    dates = _plain_dates(cells) if form is None else _dates_of_form(cells, form)
    return Times(_nanoseconds(dates, texts, column, name, form), 1e9, form)


def read_times_there_are(
    texts: NDArray[np.str_], column: str, name: str, form: str | None
) -> tuple[Times, NDArray[np.bool_]]:
    """Reads times as `read_times` does, except for the cells that hold none.

    Returns:
        The times of the other cells, and which cells those are, shape (T,).

    Raises:
        DataError: If fewer than half of the cells hold a time of one form, because then the column
            is at fault; or if nothing tells the days from the months.
    """
    try:
        return read_times(texts, column, name, form), np.ones(len(texts), dtype=bool)
    except DataError:
        is_time = _are_times(pd.Series(texts).str.strip(), form)
        if 2 * is_time.sum() < len(texts):
            raise
    return read_times(texts[is_time], column, name, form), is_time


def no_time(column: str, text: str) -> str:
    """Returns the reason why a step with such a cell in the column of times is set aside."""
    if not text.strip():
        return f'column "{column}" holds no value'
    shown = text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."
    return f'column "{column}" holds "{shown}", which is no time'


def _are_times(cells: pd.Series[str], form: str | None) -> NDArray[np.bool_]:
    """Returns which cells hold times of the form that most of them have, shape (T,)."""
    iso = pd.to_datetime(cells, format="ISO8601", errors="coerce", utc=True)
    if form is None:
        numbers = pd.to_numeric(cells, errors="coerce").to_numpy()
        found = [np.isfinite(numbers), _are_in_reach(iso), _are_in_reach(_plain_dates(cells))]
    else:
        is_year_first = cells.str.match(_YEAR_FIRST).to_numpy(dtype=bool)
        found = [_are_in_reach(_dates_of_form(cells, form)), _are_in_reach(iso) & is_year_first]
    return max(found, key=np.count_nonzero)


def _are_in_reach(dates: pd.Series[pd.Timestamp]) -> NDArray[np.bool_]:
    return dates.dt.year.between(_FIRST_YEAR, _LAST_YEAR).to_numpy(dtype=bool)


def _found_format(cells: pd.Series[str], column: str, name: str) -> str | None:
    """Returns the one format of dates such as 25/01/2024; `None` if there are no such dates."""
    heads = cells.str[:_LONGEST_DATE].drop_duplicates()  # many times are of one day
    parts = heads.str.extract(_DATE).dropna()
    if parts.empty:
        return None
    first = cells[parts.index[:1]]
    example = str(first.iloc[0])
    separator, rest = (str(part) for part in first.str.extract(_DATE).iloc[0, [1, 4]])
    is_short = parts[3].str.len().max() <= 2
    numbers = parts[[0, 2, 3]].astype(int).to_numpy()
    fitting = [
        order
        for order in (_ORDERS_OF_SHORT_YEARS if is_short else _ORDERS)
        if all(_fits(numbers[:, place], code) for place, code in enumerate(order))
    ]
    time_of_day = _time_of_day_format(rest)
    if len(fitting) == 1 and time_of_day is not None:
        return separator.join(fitting[0]) + time_of_day
    beginning = f'{name}: column "{column}" (data.time) holds dates such as "{example}"'
    forms = [f'"{separator.join(order)}{time_of_day or " ..."}"' for order in fitting]
    if len(fitting) > 1:
        raise DataError(
            f"{beginning}, and no date tells the day from the month; set data.time_format: "
            f"{' or '.join(forms)}, or write them as 2024-12-31 23:59:00"
        )
    what = "in more than one order of day and month" if not fitting else "of an unknown form"
    raise DataError(
        f"{beginning}, {what}; set data.time_format (a format of strptime, such as "
        '"%d/%m/%Y %H:%M"), or write them as 2024-12-31 23:59:00'
    )


def _fits(numbers: NDArray[np.int64], code: str) -> bool:
    least, most = _RANGES[code]
    return bool(((numbers >= least) & (numbers <= most)).all())


def _time_of_day_format(text: str) -> str | None:
    """Returns the format of what follows a date; `None` if it is not known."""
    if not text:
        return ""
    found = _TIME_OF_DAY.fullmatch(text)
    if found is None:
        return None
    second = ":%S" if found["second"] else ""
    fraction = f"{found['point']}%f" if found["point"] else ""
    half, zone = found["half"], found["zone"]
    return (
        f"{found['before']}{'%I' if half else '%H'}:%M{second}{fraction}"
        f"{_after_space(half, '%p')}{_after_space(zone, '%z')}"
    )


def _after_space(text: str | None, code: str) -> str:
    if not text:
        return ""
    return f" {code}" if text[0].isspace() else code


def _plain_dates(cells: pd.Series[str]) -> pd.Series[pd.Timestamp]:
    is_plain = cells.str.contains(_PLAIN)
    return pd.to_datetime(cells.where(is_plain), format="mixed", errors="coerce", utc=True)


def _dates_of_form(cells: pd.Series[str], form: str) -> pd.Series[pd.Timestamp]:
    """Parses dates; a fraction of a second may be there or not, as most programs write it."""
    dates = pd.to_datetime(cells, format=form, errors="coerce", utc=True)
    if dates.notna().all() or "%S" not in form:
        return dates
    other = re.sub(r"%S[.,]%f", "%S", form) if "%f" in form else form.replace("%S", "%S.%f")
    return dates.fillna(pd.to_datetime(cells, format=other, errors="coerce", utc=True))


def _nanoseconds(
    dates: pd.Series[pd.Timestamp],
    texts: NDArray[np.str_],
    column: str,
    name: str,
    form: str | None,
) -> NDArray[np.int64]:
    _refuse_no_time(_are_in_reach(dates), texts, column, name, form)
    return np.asarray(dates.dt.as_unit("ns").astype("int64"), dtype=np.int64)


def _refuse_no_time(
    is_time: NDArray[np.bool_], texts: NDArray[np.str_], column: str, name: str, form: str | None
) -> None:
    if is_time.all():
        return
    row = int(np.argmin(is_time))
    what = (
        "is no time; write it as 2024-12-31 23:59:00 or in seconds, or set data.time_format"
        if form is None
        else f'is not of the form "{form}" (data.time_format) of the other times'
    )
    raise DataError(
        f'{name}: column "{column}" (data.time) holds "{texts[row]}" in row {row}, counted '
        f"from 0, which {what}"
    )

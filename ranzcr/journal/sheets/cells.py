"""What people write into cells, as numbers, counts, dates and text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

Cell = str | int | float | bool | datetime | date | None

_NOTHING = {"", "-", "--", "---", "–", "—", "?", "??", "???", "...", "…"}
_NOTHING |= {"n/a", "na", "n.a.", "nan", "none", "null", "tbd"}
_NOTHING |= {"#n/a", "#div/0!", "#ref!", "#value!", "#name?", "#num!", "#null!"}  # failed formulas
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_THOUSANDS_BY_SPACE = re.compile(r"[+-]?\d{1,3}([ '’]\d{3})+([.,]\d+)?")
_THOUSANDS_BY_COMMA = re.compile(r"[+-]?\d{1,3}((,\d{3})+\.\d+|(,\d{3}){2,})")
_THOUSANDS_BY_DOT = re.compile(r"[+-]?\d{1,3}((\.\d{3})+,\d+|(\.\d{3}){2,})")
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # 1,234
_SQUARE = re.compile(r"(\d+)(?:\s*[x×*]\s*(\d+))?\s*(?:px|pixels)?", re.IGNORECASE)
_SLASHES = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(.*)")
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y")
_DATES_IN_WORDS = ("%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y")
_TIMES = ("", " %H:%M", " %H:%M:%S")
_DAY_0 = datetime(1899, 12, 30)  # of spreadsheets
_SERIAL = (25569, 73050)  # days that a spreadsheet counts: 1970 to 2099


class UnreadableError(ValueError):
    """A cell that does not say what its column must; the text is what was found, what to do."""


def text(cell: Cell) -> str:
    """One line; "" for nothing."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return " ".join(str(cell).split())


def is_nothing(cell: Cell) -> bool:
    """Whether a cell is empty, or says so: "-", "n/a", "?"."""
    return text(cell).casefold() in _NOTHING


def number(cell: Cell) -> float | None:
    """0.5, 0,5, 50%, 1 234,5, 1,234.5 as a float; None for nothing.

    Raises UnreadableError for words, and for 1,234, which may be either of two numbers.
    """
    return _number(cell, "")


def score(cell: Cell, *, percent: bool = False) -> float | None:
    """An AUC from 0 to 1; None for nothing.

    Args:
        cell: as `number`, and 0,971 is no thousand.
        percent: whether the column is in percent.

    Raises UnreadableError for what is none: 971.2, and 97.12 in a column that is not in percent.
    """
    value = _number(cell, ".")
    if value is None:
        return None
    if percent and not text(cell).endswith("%"):
        value = _hundredth(value)
    if not 0 <= value <= 1:
        raise UnreadableError(
            f"{text(cell)!r} is no AUC from 0 to 1; write 0.9712 or 97.12%, or map the column as "
            '"cv_auc %" where all of it is in percent'
        )
    return value


def count(cell: Cell) -> int | None:
    """A whole number; None for nothing."""
    value = number(cell)
    if value is not None and (value < 0 or not value.is_integer()):
        raise UnreadableError(f"{text(cell)!r} is no whole number; correct it")
    return None if value is None else int(value)


def size(cell: Cell) -> int | None:
    """Pixels per side: 512, 512px, 512x512; None for nothing."""
    found = _SQUARE.fullmatch(text(cell))
    if found is None or found[2] not in (None, found[1]):
        try:
            return count(cell)
        except UnreadableError:
            raise UnreadableError(
                f"{text(cell)!r} is no size of a square image; write 512, or map the column as "
                "params.image_size to keep it as text"
            ) from None
    return int(found[1])


def folds(cell: Cell) -> int | None:
    """How many folds: 5, "5 folds", "0,1,2,3,4"; None for nothing."""
    told = re.sub(r"\s*folds?$", "", text(cell), flags=re.IGNORECASE)
    if re.fullmatch(r"\d(\s*[,;+ ]\s*\d)+", told):
        return len(set(re.findall(r"\d", told)))
    return count(told if isinstance(cell, str) else cell)


def moment(cell: Cell, *, day_first: bool | None = None) -> int | None:
    """Milliseconds since 1970, by UTC where no zone is told; None for nothing.

    Args:
        cell: ISO 8601, 17.03.2021, 17 Mar 2021, 3/17/2021, or the days that a spreadsheet counts.
        day_first: how the column writes dates with slashes; None where it does not tell.

    Raises UnreadableError for what is no date, and for 3/4/2021 where the order is not known.
    """
    if is_nothing(cell):
        return None
    when = _when(cell, day_first)
    if when is None:
        raise UnreadableError(f"{text(cell)!r} is no date; write 2021-03-17")
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def day_first(cells: Iterable[Cell]) -> bool | None:
    """Whether a column of dates with slashes begins with days; None where none of them tells."""
    for cell in cells:
        found = _SLASHES.fullmatch(text(cell))
        if found and int(found[1]) > 12:
            return True
        if found and int(found[2]) > 12:
            return False
    return None


def fails(read: Callable[[Cell], object], cells: Iterable[Cell]) -> bool:
    """Whether any of the cells is unreadable."""
    try:
        for cell in cells:
            read(cell)
    except UnreadableError:
        return True
    return False


def _number(cell: Cell, comma: str) -> float | None:
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return None if math.isnan(cell) else float(cell)
    if is_nothing(cell):
        return None
    written = text(cell).replace("\N{MINUS SIGN}", "-")
    percent = written.endswith("%")
    digits = _plain(written.removesuffix("%").strip(), comma)
    if not _PLAIN.fullmatch(digits):
        raise UnreadableError(f"{text(cell)!r} is no number; correct it, or empty the cell")
    return _hundredth(float(digits)) if percent else float(digits)


def _plain(written: str, comma: str) -> str:
    """Without marks between thousands, with a point before the decimals."""
    if _THOUSANDS_BY_SPACE.fullmatch(written):
        return re.sub("[ '’]", "", written).replace(",", ".")
    if _THOUSANDS_BY_COMMA.fullmatch(written):
        return written.replace(",", "")
    if _THOUSANDS_BY_DOT.fullmatch(written):
        return written.replace(".", "").replace(",", ".")
    if _EITHER.fullmatch(written) and not comma:
        raise UnreadableError(
            f"{written!r} may be {written.replace(',', '')} or "
            f"{written.replace(',', '.')}; write one of these"
        )
    return written.replace(",", ".") if written.count(",") == 1 else written


def _hundredth(value: float) -> float:
    return float(Decimal(repr(value)) / 100)  # 0.9712 for 97.12, not 0.97120000000000001


def _when(cell: Cell, first: bool | None) -> datetime | None:
    if isinstance(cell, datetime):
        return cell
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day)
    written = text(cell)
    if re.fullmatch(r"\d{5}(\.\d+)?", written) and _SERIAL[0] <= float(written) < _SERIAL[1]:
        return _DAY_0 + timedelta(days=float(written))
    slashes = _SLASHES.fullmatch(written)
    if slashes:
        written = _iso(slashes, first)
    return _from_words(written)


def _iso(slashes: re.Match[str], first: bool | None) -> str:
    a, b, year, rest = slashes.groups()
    if first is None:
        if a != b:
            raise UnreadableError(
                f"{slashes[0]!r} may begin with the day or the month; write {year}-{b:0>2}-{a:0>2} "
                f"or {year}-{a:0>2}-{b:0>2}"
            )
        first = True
    day, month = (a, b) if first else (b, a)
    return f"{year}-{month:0>2}-{day:0>2}{rest}"


def _from_words(written: str) -> datetime | None:
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        pass
    words = re.sub(r"(?<=[A-Za-z])\.|,", "", written)
    for form in (f"{day}{time}" for day in (*_DATES, *_DATES_IN_WORDS) for time in _TIMES):
        try:
            return datetime.strptime(words, form)
        except ValueError:
            continue
    return None

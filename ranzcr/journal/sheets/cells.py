"""Cells as numbers, times and texts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

from ranzcr.errors import nearest
from ranzcr.journal.columns import KINDS
from ranzcr.journal.sheets.tables import Cell, Layout, text

Reader = Callable[[Cell], str | float | None]  # None for an empty cell; raises CellError

_EMPTY = {"", "-", "–", "—", "?", "n/a", "na", "nan", "none", "null", "#n/a"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


class CellError(ValueError):
    """A cell that cannot be read; the text says what was found and what to do."""


def reader(reading: str, layout: Layout) -> Reader:
    """The function that reads the cells of a column, see `Column.reading`."""
    number_of, whole = partial(number, decimal=layout.decimal), partial(_whole, layout.decimal)
    readers: dict[str, Reader] = {
        "verbatim": lambda cell: cell if isinstance(cell, str) else text(cell) or None,
        "text": lambda cell: text(cell) or None,
        "words": lambda cell: None if is_empty(cell) else text(cell),
        "note": lambda cell: None if is_empty(cell) else str(cell).strip(),
        "names": _names,
        "kind": _kind,
        "status": _status,
        "number": number_of,
        "score": lambda cell: _score(cell, number_of(cell)),
        "percent": lambda cell: _score(cell, _of_percent(cell, number_of(cell))),
        "size": whole,
        "folds": whole,
        "moment": partial(moment, form=layout.date_format),
    }
    return readers[reading]


def is_empty(cell: Cell) -> bool:
    """Whether a cell holds nothing, or a word for it: "-", "n/a", "?"."""
    return text(cell).casefold() in _EMPTY


def number(cell: Cell, *, decimal: str = ".") -> float | None:
    """0.5 or 50% as a float."""
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return None if math.isnan(cell) else float(cell)
    if is_empty(cell):
        return None
    digits = text(cell).removesuffix("%").strip().replace(decimal, ".")
    if not _NUMBER.fullmatch(digits):
        raise CellError(
            f"{text(cell)!r} is not a number; correct it, or set `decimal: ','` in a mapping"
        )
    return _hundredth(float(digits)) if text(cell).endswith("%") else float(digits)


def moment(cell: Cell, *, form: str = "") -> int | None:
    """Milliseconds since 1970; a time without a zone is UTC."""
    if is_empty(cell):
        return None
    try:
        read = datetime.fromisoformat if not form else lambda words: datetime.strptime(words, form)
        time = cell if isinstance(cell, datetime) else read(text(cell))
    except ValueError:
        raise CellError(
            f"{text(cell)!r} is not a date; write 2021-03-17, or set `date_format:` in a mapping"
        ) from None
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def _of_percent(cell: Cell, value: float | None) -> float | None:
    return value if value is None or text(cell).endswith("%") else _hundredth(value)


def _score(cell: Cell, value: float | None) -> float | None:
    if value is not None and not 0 <= value <= 1:
        raise CellError(
            f"{text(cell)!r} is not a valid AUC (expected 0 to 1); write 0.9712 or 97.12%, or map "
            'a column in percent as "cv_auc %"'
        )
    return value


def _whole(decimal: str, cell: Cell) -> str | None:
    value = number(cell, decimal=decimal)
    if value is not None and (value < 0 or not value.is_integer()):
        raise CellError(f"{text(cell)!r} is not a whole number; correct it")
    return None if value is None else str(int(value))


def _hundredth(value: float) -> float:
    return float(Decimal(repr(value)) / 100)  # 0.9712 for 97.12, not 0.97120000000000001


def _kind(cell: Cell) -> str | None:
    kind = text(cell).casefold()
    if not is_empty(cell) and kind not in KINDS:
        raise CellError(f"{kind!r} is not a kind; {nearest(kind, KINDS)}")
    return None if is_empty(cell) else kind


def _status(cell: Cell) -> str | None:
    """FAILED or KILLED; None for all other states. Neptune writes True for failed."""
    state = "FAILED" if text(cell).casefold() == "true" else text(cell)
    return state if state in ("FAILED", "KILLED") else None


def _names(cell: Cell) -> str | None:
    """Names, "a + b" or "a, b", with commas between; weights stay with them: "a:0.6,b:0.4"."""
    if is_empty(cell):
        return None
    if re.search(r"[*×=(]", text(cell)):
        raise CellError(f"{text(cell)!r} is not a list of names; write a:0.6 b:0.4")
    return ",".join(filter(None, re.split(r"\s*[,;+]\s*|\s+(?=\S+\s*:)", text(cell))))

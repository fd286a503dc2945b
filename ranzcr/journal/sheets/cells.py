"""Cells as numbers, times and texts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

from ranzcr.errors import nearest
from ranzcr.journal.columns import KINDS
from ranzcr.journal.sheets.tables import Cell, Layout, text

_EMPTY = {"", "-", "–", "—", "?", "n/a", "na", "nan", "none", "null", "#n/a"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


class CellError(ValueError):
    """A cell that cannot be read; the text says what was found and what to do."""


def is_empty(cell: Cell) -> bool:
    """Check if a cell holds nothing, or a word for it: "-", "n/a", "?"."""
    return text(cell).casefold() in _EMPTY


def number(cell: Cell, layout: Layout) -> float | None:
    """0.5 or 50% as a float."""
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return None if math.isnan(cell) else float(cell)
    if is_empty(cell):
        return None
    digits = text(cell).removesuffix("%").strip().replace(layout.decimal, ".")
    if not _NUMBER.fullmatch(digits):
        advice = "correct it, or set `decimal: ','` in a mapping"
        raise CellError(f"{text(cell)!r} is not a number; {advice}")
    return _hundredth(float(digits)) if text(cell).endswith("%") else float(digits)


def moment(cell: Cell, layout: Layout) -> int | None:
    """Milliseconds since 1970; a time without a zone is UTC."""
    if is_empty(cell):
        return None
    try:
        if isinstance(cell, datetime):
            time = cell
        elif layout.date_format:
            time = datetime.strptime(text(cell), layout.date_format)
        else:
            time = datetime.fromisoformat(text(cell))
    except ValueError:
        advice = "write 2021-03-17, or set `date_format:` in a mapping"
        raise CellError(f"{text(cell)!r} is not a date; {advice}") from None
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def score(cell: Cell, layout: Layout, *, percent: bool = False) -> float | None:
    """An AUC from 0 to 1; a column in percent has its numbers without %."""
    value = number(cell, layout)
    if value is not None and percent and not text(cell).endswith("%"):
        value = _hundredth(value)
    if value is not None and not 0 <= value <= 1:
        advice = 'write 0.9712 or 97.12%, or map a column in percent as "cv_auc %"'
        raise CellError(f"{text(cell)!r} is not a valid AUC (expected 0 to 1); {advice}")
    return value


def _hundredth(value: float) -> float:
    return float(Decimal(repr(value)) / 100)  # 0.9712 for 97.12, not 0.97120000000000001


def _whole(cell: Cell, layout: Layout) -> str | None:
    value = number(cell, layout)
    if value is not None and (value < 0 or not value.is_integer()):
        raise CellError(f"{text(cell)!r} is not a whole number; correct it")
    return None if value is None else str(int(value))


def _kind(cell: Cell, _: Layout) -> str | None:
    kind = text(cell).casefold()
    if not is_empty(cell) and kind not in KINDS:
        raise CellError(f"{kind!r} is not a kind; {nearest(kind, KINDS)}")
    return None if is_empty(cell) else kind


def _status(cell: Cell, _: Layout) -> str | None:
    """FAILED or KILLED; None for all other states."""
    return text(cell) if text(cell) in ("FAILED", "KILLED") else None


def _names(cell: Cell, _: Layout) -> str | None:
    """Names, "a + b" or "a, b", with commas between; weights stay with them: "a:0.6,b:0.4"."""
    if re.search(r"[*×=(]", text(cell)):
        raise CellError(f"{text(cell)!r} is not a list of names; write a:0.6 b:0.4")
    names = "" if is_empty(cell) else text(cell)
    return ",".join(filter(None, re.split(r"\s*[,;+]\s*|\s+(?=\S+\s*:)", names))) or None


# By `Column.reading`. Each returns None for an empty cell, and raises CellError.
READERS: dict[str, Callable[[Cell, Layout], str | float | None]] = {
    "verbatim": lambda cell, _: cell if isinstance(cell, str) else text(cell) or None,
    "text": lambda cell, _: text(cell) or None,
    "words": lambda cell, _: None if is_empty(cell) else text(cell),
    "note": lambda cell, _: None if is_empty(cell) else str(cell).strip(),
    **{"names": _names, "kind": _kind, "status": _status, "size": _whole, "folds": _whole},
    **{"number": number, "score": score, "moment": moment},
    "percent": lambda cell, layout: score(cell, layout, percent=True),
}

"""Filters of the journal's rows: `cv_auc>0.96`, `experiment~smoke`, `decision=`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from ranzcr.errors import ConfigError
from ranzcr.journal.columns import Cell

_ORDER: dict[str, Callable[[float | str, float | str], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FORM = re.compile(r"\s*(?P<column>.+?)\s*(?P<sign>!=|<=|>=|=|<|>|~)\s*(?P<value>.*?)\s*")
_EXPECTED = "expected column, one of = != < <= > >= ~, and a value, as in cv_auc>0.96"


@dataclass(frozen=True)
class Filter:
    """One condition on one column.

    `=` and `!=` compare numbers by value and words literally; without a value they test whether
    the cell is empty. `<`, `<=`, `>` and `>=` never hold for an empty cell, nor for a word if the
    value is a number. `~` tests whether the cell contains the value, ignoring case.
    """

    column: str
    sign: str
    value: str

    def holds(self, cell: Cell) -> bool:
        """Return whether a cell meets the condition; None and "" are empty cells."""
        text = "" if cell is None else str(cell)
        if self.sign == "=":
            return self._equals(text)
        if self.sign == "!=":
            return not self._equals(text)
        if not text:
            return False
        if self.sign == "~":
            return self.value.casefold() in text.casefold()
        return self._in_order(text)

    def _equals(self, text: str) -> bool:
        if text == self.value:
            return True
        cell, value = number(text), number(self.value)
        return cell is not None and cell == value

    def _in_order(self, text: str) -> bool:
        compare, value = _ORDER[self.sign], number(self.value)
        if value is None:
            return compare(text, self.value)
        cell = number(text)
        return cell is not None and compare(cell, value)


def parse(text: str) -> Filter:
    """Parse a filter. Raises ConfigError if the text is not one."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ConfigError(f"filter {text!r}: {_EXPECTED}")
    condition = Filter(**match.groupdict())
    if condition.sign in (*_ORDER, "~") and not condition.value:
        raise ConfigError(f"filter {text!r}: no value after {condition.sign}; {_EXPECTED}")
    return condition


def number(text: str) -> float | None:
    """Return the number that the text is; None for words and NaN."""
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value

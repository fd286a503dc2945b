"""Filters of the journal's rows: `cv_auc>0.96`, `experiment~smoke`, `decision=`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from ranzcr.errors import ConfigError

Cell = str | float | None

_ORDER: dict[str, Callable[[float | str, float | str], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FORM = re.compile(r"\s*(?P<column>.+?)\s*(?P<sign>!=|<=|>=|=|<|>|~)\s*(?P<value>.*?)\s*")
_EXAMPLE = "expected column, one of = != < <= > >= ~, and a value, as in cv_auc>0.96"


@dataclass(frozen=True)
class Filter:
    """One condition on one column.

    `=` and `!=` compare numbers as numbers and words as they stand; without a value they ask
    whether the cell is empty. `<` and its like never hold for an empty cell, nor for a word where
    the value is a number. `~` asks whether the cell contains the value, in any case.
    """

    column: str
    sign: str
    value: str

    def holds(self, cell: Cell) -> bool:
        """Whether a row with this cell is shown; None and "" are empty."""
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
        mine, asked = number(text), number(self.value)
        return mine is not None and mine == asked

    def _in_order(self, text: str) -> bool:
        compare, asked = _ORDER[self.sign], number(self.value)
        if asked is None:
            return compare(text, self.value)
        mine = number(text)
        return mine is not None and compare(mine, asked)


def parse(text: str) -> Filter:
    """A filter as people write it. Raises ConfigError for what is none."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ConfigError(f"filter {text!r}: {_EXAMPLE}")
    wanted = Filter(**found.groupdict())
    if wanted.sign in (*_ORDER, "~") and not wanted.value:
        raise ConfigError(f"filter {text!r}: no value after {wanted.sign}; {_EXAMPLE}")
    return wanted


def number(text: str) -> float | None:
    """A number that can be compared; None for words, and for NaN."""
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value

"""Filters of the journal's rows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranzcr.journal import filters
from ranzcr.journal.filters import Filter

NUMBERS = st.floats(allow_nan=False)
WORDS = st.text(max_size=8)
CELLS = st.none() | WORDS | NUMBERS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cv_auc>0.96", Filter("cv_auc", ">", "0.96")),
        (" cv_auc >= 0.96 ", Filter("cv_auc", ">=", "0.96")),
        ("auc/CVC - Normal<1e-1", Filter("auc/CVC - Normal", "<", "1e-1")),
        ("decision=", Filter("decision", "=", "")),
        ("changed~head: gap", Filter("changed", "~", "head: gap")),
        ("teachers!=a=b", Filter("teachers", "!=", "a=b")),
    ],
)
def test_a_filter_is_column_sign_and_value(text, expected):
    assert filters.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "cell", "holds"),
    [
        ("size=512", "512", True),
        ("size=512.0", "512", True),
        ("size!=512.0", "512", False),
        ("name=B7", "b7", False),
        ("name~B7", "xb7v3", True),
        ("score>0.9", 0.95, True),
        ("score>0.9", None, False),
        ("score<0.9", None, False),
        ("size>100", "512x512", False),  # not a number
        ("started>2026-01", "2026-11-22T10:00:00Z", True),  # compared as words
        ("decision=", None, True),
        ("decision!=", "keep", True),
        ("decision!=drop", "", True),
        ("decision~e", "", False),
    ],
)
def test_a_filter_holds_or_not(text, cell, holds):
    assert filters.parse(text).holds(cell) is holds


@given(value=NUMBERS, cell=CELLS)
def test_a_number_is_below_at_or_above_another_number(value, cell):
    below, at, above = (Filter("x", sign, repr(value)).holds(cell) for sign in "<=>")
    is_number = filters.number("" if cell is None else str(cell)) is not None
    assert [below, at, above].count(True) == (1 if is_number else 0)


@given(value=WORDS, cell=CELLS)
def test_unequal_is_the_opposite_of_equal(value, cell):
    assert Filter("x", "=", value).holds(cell) is not Filter("x", "!=", value).holds(cell)


@given(value=NUMBERS, cell=CELLS)
def test_at_least_means_above_or_equal(value, cell):
    above, at, both = (Filter("x", sign, repr(value)).holds(cell) for sign in (">", "=", ">="))
    assert both is (above or at)


@given(cell=NUMBERS | WORDS.filter(str.strip))
def test_a_cell_equals_and_contains_itself(cell):
    assert Filter("x", "=", str(cell)).holds(cell)
    assert Filter("x", "~", str(cell)).holds(cell)


@given(
    column=st.text("abc_/. -", min_size=1).filter(lambda name: name.strip() == name),
    sign=st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~"]),
    value=st.text(min_size=1).filter(lambda text: text.strip() == text and "\n" not in text),
)
def test_a_written_filter_is_parsed_back(column, sign, value):
    if value[0] in "=~" and sign in ("<", ">"):
        return  # "<" and "=5" are "<=" and "5"
    assert filters.parse(f"{column} {sign} {value}") == Filter(column, sign, value)


def test_nan_is_not_a_number():
    assert filters.number("nan") is None
    assert filters.number("inf") == math.inf

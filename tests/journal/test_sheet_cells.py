"""Cells as people write them."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranzcr.journal.sheets import cells
from ranzcr.journal.sheets.cells import UnreadableError


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("0,9712", 0.9712),
        ("0.9712", 0.9712),
        ("97.12%", 0.9712),
        ("97,12 %", 0.9712),
        (0.9712, 0.9712),
        ("0,971", 0.971),
        ("1", 1.0),
        (" .5 ", 0.5),
    ],
)
def test_a_score_is_read_however_it_is_written(cell, value):
    assert cells.score(cell) == value


@pytest.mark.parametrize("cell", [None, "", " ", "-", "–", "n/a", "N/A", "?", "nan", "#DIV/0!"])
def test_what_says_nothing_is_nothing(cell):
    assert cells.score(cell) is None
    assert cells.moment(cell) is None
    assert cells.size(cell) is None


@pytest.mark.parametrize("cell", ["971.2", "97.12", "-0.5", 1.5, "1,234"])
def test_what_is_no_auc_is_refused_with_a_way_out(cell):
    with pytest.raises(UnreadableError, match=r"is no AUC from 0 to 1; write 0\.9712 or 97\.12%"):
        cells.score(cell)


def test_a_column_in_percent_is_read_as_such():
    assert cells.score("97.12", percent=True) == 0.9712
    assert cells.score("97.12%", percent=True) == 0.9712


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1 234,5", 1234.5),
        ("1\u00a0234,5", 1234.5),
        ("1'234.5", 1234.5),
        ("1,234.5", 1234.5),
        ("1.234,5", 1234.5),
        ("1,234,567", 1234567.0),
        ("12,5", 12.5),
        ("\N{MINUS SIGN}3", -3.0),
        ("1e-3", 0.001),
        ("50%", 0.5),
    ],
)
def test_numbers_with_marks_between_thousands(cell, value):
    assert cells.number(cell) == value


def test_a_comma_that_may_be_either_is_refused():
    with pytest.raises(UnreadableError, match=r"'1,234' may be 1234 or 1.234; write one of these"):
        cells.number("1,234")


@pytest.mark.parametrize("cell", ["0.97 0.96", "0.97 ± 0.01", "good", "1,23.4", "2021.03.17", True])
def test_words_are_no_numbers(cell):
    with pytest.raises(UnreadableError, match="is no number; correct it, or empty the cell"):
        cells.number(cell)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_that_python_writes_is_read_back(value):
    assert cells.number(repr(value)) == value


@pytest.mark.parametrize("cell", ["512", 512, 512.0, "512px", "512x512", "512 × 512 px"])
def test_sizes_of_square_images(cell):
    assert cells.size(cell) == 512


def test_an_image_that_is_not_square_is_refused():
    with pytest.raises(UnreadableError, match=r"'512x768' is no size of a square image; write 512"):
        cells.size("512x768")


@pytest.mark.parametrize("cell", [5, "5", "5 folds", "0,1,2,3,4", "0 1 2 3 4"])
def test_folds_are_counted(cell):
    assert cells.folds(cell) == 5


MARCH_17 = int(datetime(2021, 3, 17, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    "cell",
    [
        "2021-03-17",
        "2021-03-17T00:00:00Z",
        "2021-03-17 00:00:00.000000",
        "2021-03-17 03:00:00+03:00",
        "17.03.2021",
        "17.03.2021 00:00",
        "2021/03/17",
        "17 Mar 2021",
        "March 17, 2021",
        datetime(2021, 3, 17),
        date(2021, 3, 17),
        "44272",
        44272,
    ],
)
def test_dates_however_they_are_written(cell):
    assert cells.moment(cell) == MARCH_17


def test_slashes_are_read_as_the_column_writes_them():
    assert cells.day_first(["3/4/2021", "17/3/2021"]) is True
    assert cells.day_first(["3/4/2021", "3/17/2021"]) is False
    assert cells.day_first(["3/4/2021", "n/a"]) is None
    assert cells.moment("17/3/2021", day_first=True) == MARCH_17
    assert cells.moment("3/17/2021", day_first=False) == MARCH_17


def test_a_date_that_may_be_either_is_refused():
    with pytest.raises(UnreadableError, match="write 2021-04-03 or 2021-03-04"):
        cells.moment("3/4/2021")


@pytest.mark.parametrize("cell", ["yesterday", "2021", "31/31/2021", 17])
def test_what_is_no_date_is_refused(cell):
    with pytest.raises(UnreadableError, match="is no date; write 2021-03-17"):
        cells.moment(cell, day_first=True)

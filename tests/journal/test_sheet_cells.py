"""Cells as people write them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranzcr.journal.sheets import cells
from ranzcr.journal.sheets.cells import CellError
from ranzcr.journal.sheets.tables import Layout


def read(reading, cell, **layout):
    return cells.READERS[reading](cell, Layout(**layout))


@pytest.mark.parametrize("cell", ["0.9712", "97.12%", "97.12 %", 0.9712, " .9712 ", "9712e-4"])
def test_scores(cell):
    assert read("score", cell) == 0.9712


@pytest.mark.parametrize("cell", [None, "", " ", "-", "–", "n/a", "N/A", "?", "nan", "None"])
@pytest.mark.parametrize("reading", ["score", "moment", "size", "words", "note", "kind", "names"])
def test_empty_cells(cell, reading):
    assert read(reading, cell) is None


@pytest.mark.parametrize("cell", ["971.2", "97.12", "-0.5", 1.5])
def test_a_score_that_is_not_a_valid_auc_is_refused_with_advice(cell):
    with pytest.raises(CellError, match=r"is not a valid AUC \(expected 0 to 1\); write 0\.9712"):
        read("score", cell)


def test_a_column_in_percent():
    assert read("percent", "97.12") == 0.9712
    assert read("percent", "97.12%") == 0.9712


def test_a_decimal_comma_is_read_if_the_mapping_says_so():
    assert read("score", "0,9712", decimal=",") == 0.9712
    assert read("number", "97,12 %", decimal=",") == 0.9712
    with pytest.raises(CellError, match="'0,9712' is not a number; correct it, or set `decimal: "):
        read("score", "0,9712")


@pytest.mark.parametrize(
    "cell", ["0.97 0.96", "0.97 ± 0.01", "good", "1,234.5", "2021.03.17", True]
)
def test_words_are_not_numbers(cell):
    with pytest.raises(CellError, match="is not a number; correct it"):
        read("number", cell)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_that_python_writes_is_read_back(value):
    assert read("number", repr(value)) == value


@pytest.mark.parametrize("cell", ["512", 512, 512.0])
def test_sizes_and_folds_are_whole_numbers(cell):
    assert read("size", cell) == read("folds", cell) == "512"
    with pytest.raises(CellError, match=r"'512\.5' is not a whole number"):
        read("size", "512.5")


@pytest.mark.parametrize("cell", ["a+b", "a + b", "a, b", "a; b"])
def test_names_of_members(cell):
    assert read("names", cell) == "a,b"
    assert read("names", "a:0.6 b:0.4") == "a:0.6,b:0.4"
    with pytest.raises(CellError, match=r"is not a list of names; write a:0.6 b:0.4"):
        read("names", "0.6*a + 0.4*b")


def test_states_of_runs():
    states = ["FAILED", "KILLED", "FINISHED", "RUNNING", None]
    assert [read("status", state) for state in states] == ["FAILED", "KILLED", None, None, None]


MARCH_17 = int(datetime(2021, 3, 17, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    "cell",
    [
        "2021-03-17",
        "2021-03-17T00:00:00Z",
        "2021-03-17 00:00:00.000000",
        "2021-03-17 03:00:00+03:00",
        datetime(2021, 3, 17),
    ],
)
def test_dates(cell):
    assert read("moment", cell) == MARCH_17


def test_other_dates_are_read_if_the_mapping_says_how():
    assert read("moment", "17.03.2021", date_format="%d.%m.%Y") == MARCH_17
    with pytest.raises(
        CellError, match="is not a date; write 2021-03-17, or set `date_format:` in"
    ):
        read("moment", "17.03.2021")

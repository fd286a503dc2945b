from __future__ import annotations

import pandas as pd
import pytest

from ranzcr.errors import DataError
from ranzcr.labels import UID
from ranzcr.submission.validate import validate


@pytest.fixture
def sample(tmp_path):
    table = pd.DataFrame({UID: ["1.2", "1.10", "1.3"], "a": 0, "b": 0})
    table.to_csv(tmp_path / "sample_submission.csv", index=False)
    return tmp_path / "sample_submission.csv"


@pytest.fixture
def check(tmp_path, sample):
    def checked(change) -> int:
        change(pd.read_csv(sample, dtype={UID: str})).to_csv(tmp_path / "s.csv", index=False)
        return validate(tmp_path / "s.csv", sample)

    return checked


def test_a_good_submission_passes_in_any_order_of_studies(check):
    assert check(lambda table: table[::-1].assign(a=0.25, b=[0, 1, 0.5])) == 3


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.drop(columns="b"), "s.csv: missing column b; keep the columns of sample"),
        (lambda t: t.assign(c=0), "s.csv: unknown column c; keep the columns"),
        (lambda t: t[[UID, "b", "a"]], "s.csv: column 2 is b, expected a; keep the columns"),
        (lambda t: t[["a", "b"]], "s.csv: no column StudyInstanceUID; found a, b"),
        (lambda t: t[:2], "s.csv: 1 studies of sample_submission.csv are missing, e.g. 1.3"),
        (lambda t: pd.concat([t, t[:1]]), "s.csv: 1.2 appears more than once"),
        (
            lambda t: pd.concat([t, t[:1].assign(**{UID: "9"})]),
            "s.csv: 1 studies are not in sample_submission.csv, e.g. 9",
        ),
        (lambda t: t.assign(b=[0, 1.5, 0]), "s.csv: 1.10 has 1.5 for b; expected a probability"),
        (lambda t: t.assign(b=[0, None, 0]), "s.csv: 1.10 has nan for b; expected a probability"),
        (lambda t: t.assign(b=["x", 0, 0]), "s.csv: 1.2 has x for b; expected a probability"),
    ],
)
def test_each_problem_is_one_line(check, change, problem):
    with pytest.raises(DataError) as raised:
        check(change)
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path, sample):
    with pytest.raises(DataError, match=r"none.csv: not a submission table"):
        validate(tmp_path / "none.csv", sample)


def test_the_real_sample_is_a_valid_submission(real_data):
    sample = real_data / "ranzcr" / "sample_submission.csv"
    assert validate(sample, sample) == 3582

"""The index of drift: 0 for the same, the textbook's value for the rest."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranzcr.data import drift
from ranzcr.data.dataset import Dataset

SHARES = st.lists(st.floats(0.01, 1), min_size=2, max_size=8)


def normal(values):
    return [value / sum(values) for value in values]


def test_the_index_is_the_textbooks():
    expected = (0.6 - 0.5) * math.log(0.6 / 0.5) + (0.4 - 0.5) * math.log(0.4 / 0.5)
    assert drift.stability([0.6, 0.4], [0.5, 0.5], 1e-4) == pytest.approx(expected)


@given(SHARES)
def test_it_is_zero_for_the_same_and_the_same_both_ways(values):
    shares = normal(values)
    turned = shares[::-1]
    assert drift.stability(shares, shares, 1e-4) == 0
    there, back = drift.stability(shares, turned, 1e-4), drift.stability(turned, shares, 1e-4)
    assert there == pytest.approx(back)
    assert there >= 0


def test_a_label_without_a_positive_is_compared(dataset):
    profile = drift.profile(Dataset.open(dataset))
    label = next(iter(profile.prevalence))
    none = profile.model_copy(update={"prevalence": {**profile.prevalence, label: 0.0}})
    assert math.isfinite(drift.compare(none, profile)[f"label/{label}"])


def test_a_profile_has_shares(dataset):
    profile = drift.profile(Dataset.open(dataset))
    assert profile.studies == 24
    assert sum(profile.pixels) == pytest.approx(1, abs=1e-4)
    assert all(0 <= share <= 1 for share in profile.prevalence.values())

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranzcr.ensemble.auc import label_aucs, macro_auc
from ranzcr.ensemble.bootstrap import PatientAuc, interval, paired


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_weights_equal_repeated_rows(seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, (30, 2))
    scores = rng.integers(0, 6, (30, 2)) / 5  # many ties
    patients = np.sort(rng.integers(0, 8, 30))
    auc = PatientAuc(targets, scores, patients)
    weights = rng.integers(0, 4, auc.patients)
    repeats = weights[np.unique(patients, return_inverse=True)[1]]
    expected = label_aucs(np.repeat(targets, repeats, axis=0), np.repeat(scores, repeats, axis=0))
    np.testing.assert_allclose(auc.label_aucs(weights), expected)


def test_weights_of_one_give_the_plain_auc(studies):
    auc = PatientAuc(studies.targets, studies.members["fair"], studies.patients)
    plain = label_aucs(studies.targets, studies.members["fair"])
    np.testing.assert_allclose(auc.label_aucs(np.ones(auc.patients, int)), plain)


def test_the_interval_contains_the_auc_and_is_reproducible(studies):
    args = (studies.targets, studies.members["good"], studies.patients, 300)
    lo, hi = interval(*args)
    assert lo < macro_auc(*args[:2]) < hi
    assert (lo, hi) == interval(*args)
    assert (lo, hi) != interval(*args, seed=1)


def test_a_wider_level_gives_a_wider_interval(studies):
    args = (studies.targets, studies.members["good"], studies.patients, 300)
    (lo, hi), (wide_lo, wide_hi) = interval(*args, level=0.8), interval(*args, level=0.99)
    assert wide_lo < lo < hi < wide_hi


def test_rows_of_one_patient_count_together(studies):
    """Copies of every row add no information if they belong to the same patients."""
    targets, scores = (np.tile(part, (4, 1)) for part in (studies.targets, studies.members["good"]))
    honest = np.subtract(*interval(targets, scores, np.tile(studies.patients, 4), 300))
    blind = np.subtract(*interval(targets, scores, np.arange(len(targets)), 300))
    assert abs(honest) > 1.5 * abs(blind)


def test_without_both_classes_there_is_no_interval():
    ones = np.ones((4, 1))
    assert np.isnan(interval(ones, ones, np.arange(4), 10)).all()
    assert np.isnan(paired(ones, ones, ones, np.arange(4), 10))


def test_the_better_model_wins_most_replicates(studies):
    members, rest = studies.members, (studies.patients, 300)
    chance = paired(studies.targets, members["good"], members["weak"], *rest)
    assert chance > 0.95
    assert paired(studies.targets, members["weak"], members["good"], *rest) == pytest.approx(
        1 - chance
    )


def test_the_same_predictions_are_even(studies):
    fair = studies.members["fair"]
    assert paired(studies.targets, fair, fair, studies.patients, 50) == 0.5


def test_patients_that_do_not_fit_the_rows_are_refused(studies):
    with pytest.raises(ValueError, match="3 patients do not match"):
        interval(studies.targets, studies.members["good"], studies.patients[:3])

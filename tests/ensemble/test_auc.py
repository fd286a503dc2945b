from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from ranzcr.ensemble.auc import label_aucs, macro_auc

# Few distinct scores, so that most rows tie.
ROWS = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.int8, (n, 2), elements=st.integers(0, 1)),
        hnp.arrays(np.float32, (n, 2), elements=st.sampled_from([0, 0.25, 0.5, 0.500001, 1])),
    )
)


@settings(max_examples=150, deadline=None)
@given(ROWS)
def test_equals_scikit_learn_also_with_ties(rows):
    targets, scores = rows
    for label, auc in enumerate(label_aucs(targets, scores)):
        if len(set(targets[:, label])) < 2:
            assert np.isnan(auc)
        else:
            assert auc == pytest.approx(roc_auc_score(targets[:, label], scores[:, label]))


@settings(max_examples=50, deadline=None)
@given(ROWS)
def test_negated_scores_mirror_the_auc(rows):
    targets, scores = rows
    np.testing.assert_allclose(label_aucs(targets, scores), 1 - label_aucs(targets, -scores))


def test_rows_below_zero_or_nan_are_left_out_only_for_their_label():
    targets = np.array([[1, 1], [0, 0], [-1, 0], [np.nan, 1]])
    scores = np.array([[0.9, 0.9], [0.1, 0.1], [1.0, 0.8], [0.0, 0.2]])
    np.testing.assert_allclose(label_aucs(targets, scores), [1, 0.75])


def test_the_macro_auc_is_over_the_labels_that_have_one():
    targets, scores = np.array([[1, 1], [0, 1]]), np.array([[0.9, 0.3], [0.1, 0.4]])
    assert macro_auc(targets, scores) == 1
    assert np.isnan(macro_auc(targets[:, 1:], scores[:, 1:]))


def test_a_nan_score_gives_no_auc_instead_of_a_wrong_one():
    targets = np.array([[1], [0], [1]])
    assert np.isnan(macro_auc(targets, np.array([[0.5], [np.nan], [0.2]])))


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"targets \(3, 2\) and scores \(3, 1\) must be"):
        label_aucs(np.zeros((3, 2)), np.zeros((3, 1)))

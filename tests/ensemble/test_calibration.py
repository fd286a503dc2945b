"""Expected calibration error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranzcr.ensemble.calibration import BINS, calibration_error

RNG = np.random.default_rng(0)


def test_calibrated_probabilities_have_almost_no_error():
    values = RNG.random((20_000, 2))
    targets = (RNG.random(values.shape) < values).astype(np.int8)
    assert calibration_error(targets, values) < 0.015


def test_halved_probabilities_are_a_quarter_off():
    values = RNG.random((20_000, 1))
    targets = (RNG.random(values.shape) < values / 2).astype(np.int8)
    assert calibration_error(targets, values) == pytest.approx(0.25, abs=0.01)


def test_two_bins_computed_by_hand():
    values = np.repeat([0.2, 0.6], 50)[:, None]
    targets = np.repeat([0, 1], 50)[:, None]
    assert calibration_error(targets, values) == pytest.approx((0.2 + 0.4) / 2)


def test_few_rows_are_one_bin_where_chance_evens_out():
    values, targets = np.full((40, 1), 0.5), np.tile([0, 1], 20)[:, None]
    assert calibration_error(targets, values) == pytest.approx(0)


def test_a_row_without_a_label_is_left_out_and_a_label_without_rows_too():
    values = np.array([[0.1, 0.5], [0.9, 0.5]])
    assert calibration_error(np.array([[0, -1], [-1, -1]]), values) == pytest.approx(0.1)
    assert np.isnan(calibration_error(np.full((2, 2), -1), values))


@given(st.integers(1, 60 * BINS), st.integers(0, 2**32 - 1))
def test_it_is_between_0_and_1_and_needs_no_order(rows, seed):
    rng = np.random.default_rng(seed)
    values, targets = rng.random((rows, 2)), rng.integers(0, 2, (rows, 2))
    error = calibration_error(targets, values)
    assert 0 <= error <= 1
    order = rng.permutation(rows)
    assert calibration_error(targets[order], values[order]) == pytest.approx(error)


def test_real_blends_are_within_the_packaged_limit_and_ranks_are_not(real_data):
    from ranzcr import predictions
    from ranzcr.ensemble.score import Truth
    from ranzcr.registry import gate_rules

    truth = Truth.read(real_data / "ranzcr" / "train.csv")
    files = sorted((real_data / "ranzcr" / "oof").glob("*.csv.gz"))[:3]
    models = [predictions.read(file, truth.schema) for file in files]
    uids = models[0].uids
    blend = np.mean([model.aligned(uids).values for model in models], axis=0)
    targets = truth.of(uids).targets
    limit = gate_rules.load()["calibration"].at_most
    assert calibration_error(targets, blend) < limit / 2
    ranks = blend.argsort(axis=0).argsort(axis=0) / len(blend)
    assert calibration_error(targets, ranks) > 5 * limit
